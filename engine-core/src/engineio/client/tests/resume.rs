//! Stateful reconnect: the packets and requests as a server would send and read them.

use super::*;
use alloc::format;
use alloc::string::String;

/// The data of an open packet of a server that keeps sessions for 30 s.
fn open(sid: &str, received: u64, max_bytes: usize) -> String {
    let terms = format!(r#""resume":{{"received":{received},"window":30000,"maxBytes":{max_bytes}}}"#);
    format!(r#"{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,{terms}}}"#)
}

fn resumable(transports: &[Way], max_bytes: usize) -> Session {
    let transports = transports.to_vec();
    let mut session = session(|config| {
        (config.stateful_reconnect, config.timestamp_requests) = (true, false);
        config.transports = transports;
    });
    begin(&mut session);
    assert_eq!(hear(&mut session, &format!("0{}", open("abc", 0, max_bytes))), Received::Open);
    end_poll(&mut session);
    session
}

fn lane(session: &Session) -> Lane {
    match session.transport() {
        Way::Polling => Lane::Poll,
        Way::WebSocket => Lane::WebSocket,
    }
}

/// Begins to open the connection, and lets the server answer with an empty payload. Returns the target.
fn begin(session: &mut Session) -> String {
    let lane = lane(session);
    let request = session.begin(at(0), lane, "").unwrap();
    let status = if lane == Lane::WebSocket { 101 } else { 200 };
    session.handle_response(at(0), lane, status, b"4");
    request.target
}

fn end_poll(session: &mut Session) {
    if session.transport() == Way::Polling {
        session.end_poll(at(0));
    }
}

fn hear<'a>(session: &mut Session, packet: &'a str) -> Received<'a> {
    let lane = lane(session);
    session.handle_packet(at(0), lane, Packet::decode(packet).unwrap())
}

/// Resumes the session with a server that has handled this number of messages. Returns the request's target.
fn resume(session: &mut Session, received: u64) -> String {
    session.resume();
    let target = begin(session);
    assert_eq!(hear(session, &format!("0{}", open("abc", received, 1 << 20))), Received::Resumed);
    target
}

fn lose(session: &mut Session) {
    let lane = lane(session);
    if lane == Lane::Poll {
        session.begin(at(0), lane, "");
    }
    session.handle_eof(at(0), lane);
    assert!(session.is_detached() && session.closed().is_none());
}

fn send(session: &mut Session, packet: &str) {
    session.send(at(0), text(packet)).unwrap();
}

fn unconfirmed(session: &mut Session) -> Vec<String> {
    let packets = session.take_unconfirmed().packets;
    packets.iter().map(|packet| String::from_utf8(packet.to_vec()).unwrap()).collect()
}

#[test]
fn it_is_asked_for_in_the_first_request_only_and_depends_on_the_answer() {
    let mut plain = session(|config| config.timestamp_requests = false);
    assert!(!plain.begin(at(0), Lane::Poll, "").unwrap().target.contains("resume"));
    let mut asking = session(|config| {
        (config.stateful_reconnect, config.timestamp_requests) = (true, false);
    });
    let target = begin(&mut asking);
    assert_eq!(target, "/socket.io/?EIO=4&transport=polling&resume=0");
    assert_eq!(hear(&mut asking, &format!("0{OPEN}")), Received::Open);
    asking.end_poll(at(0));
    assert_eq!(
        asking.begin(at(0), Lane::Poll, "").unwrap().target,
        "/socket.io/?EIO=4&transport=polling&sid=abc"
    );
    // To a server that does not know it, the session is an ordinary one.
    assert!(!asking.is_resumable());
    for _ in 0..100 {
        hear(&mut asking, "4a");
    }
    hear(&mut asking, "6x");
    assert_eq!(asking.queued(), 0, "nothing is acknowledged");
    asking.handle_eof(at(0), Lane::Poll);
    assert_eq!(asking.closed(), Some(&TransportError::Lost.into()));
    // A client that did not ask gets no such session, whatever the server says.
    let mut plain = websocket();
    assert!(!plain.is_resumable());
    plain.handle_eof(at(0), Lane::WebSocket);
    assert!(plain.closed().is_some());
}

#[test]
fn a_session_goes_on_over_another_websocket_connection() {
    let mut session = resumable(&[Way::WebSocket], 1 << 20);
    ["a", "b", "c"].iter().for_each(|text| send(&mut session, text));
    assert_eq!(frames(&mut session), ["4a", "4b", "4c"]);
    hear(&mut session, "61");
    hear(&mut session, "4x");
    send(&mut session, "d");
    lose(&mut session);
    assert_eq!(session.send(at(0), text("e")), Err(SendError::NotOpen));
    assert_eq!(session.wants(at(0), Lane::WebSocket), Want::Nothing);
    assert_eq!(session.lost(), Some(&CloseReason::TransportClose(None)));
    assert_eq!(resume(&mut session, 2), "/socket.io/?EIO=4&transport=websocket&sid=abc&resume=1&attempt=1");
    assert!(session.is_open() && session.lost().is_none());
    send(&mut session, "e");
    assert_eq!(frames(&mut session), ["4c", "4d", "4e"]);
    hear(&mut session, "65");
    // Again, with nothing in between.
    lose(&mut session);
    assert_eq!(resume(&mut session, 5), "/socket.io/?EIO=4&transport=websocket&sid=abc&resume=1&attempt=2");
    assert_eq!(frames(&mut session), [""; 0]);
}

#[test]
fn messages_are_acknowledged_after_some_of_them_or_some_bytes_and_with_a_pong() {
    let mut session = resumable(&[Way::WebSocket], 32 << 10);
    (0..31).for_each(|_| _ = hear(&mut session, "4a"));
    assert_eq!(frames(&mut session), [""; 0]);
    hear(&mut session, "4a");
    assert_eq!(frames(&mut session), ["632"]);
    // Each counts its length and 64.
    let long = format!("4{}", "x".repeat(4096 - 64 - 65));
    hear(&mut session, &long);
    assert_eq!(frames(&mut session), [""; 0]);
    hear(&mut session, "4y");
    assert_eq!(frames(&mut session), ["634"]);
    hear(&mut session, "2");
    assert_eq!(frames(&mut session), ["3"], "nothing is new");
    hear(&mut session, "4a");
    hear(&mut session, "2");
    assert_eq!(frames(&mut session), ["3", "635"]);
    // A smaller limit of the peer does not wait for a larger one of this side.
    let mut session = resumable(&[Way::WebSocket], 1 << 30);
    let long = format!("4{}", "x".repeat(1 << 17));
    hear(&mut session, &long);
    assert_eq!(frames(&mut session), ["61"]);
}

#[test]
fn what_a_lost_poll_or_post_carried_is_told_from_what_was_handled() {
    for (handled, again) in [(0, "4a\u{1e}4b\u{1e}bAQI=\u{1e}4c"), (3, "4c"), (2, "bAQI=\u{1e}4c")] {
        let mut session = resumable(&[Way::Polling], 1 << 20);
        session.begin(at(0), Lane::Poll, "").unwrap();
        send(&mut session, "a");
        session.send(at(0), [Part::Text(b"b"), Part::Binary(&[1, 2])].into_iter()).unwrap();
        assert_eq!(body(&mut session, at(0)), "4a\u{1e}4b\u{1e}bAQI=");
        send(&mut session, "c");
        // The answer to the request that sends is lost, and so is the poll.
        session.handle_eof(at(0), Lane::Post);
        assert!(session.is_detached());
        assert_eq!(
            resume(&mut session, handled),
            "/socket.io/?EIO=4&transport=polling&sid=abc&resume=0&attempt=1"
        );
        assert_eq!(hear(&mut session, "4x"), Received::Message(Message::Text("x")));
        session.end_poll(at(0));
        assert_eq!(body(&mut session, at(0)), again);
    }
}

#[test]
fn the_other_transport_is_tried_if_one_fails_and_an_upgrade_is_possible_again() {
    let mut session = resumable(&[Way::Polling, Way::WebSocket], 1 << 20);
    let upgrade = |session: &mut Session| {
        session.begin(at(0), Lane::WebSocket, "").unwrap();
        session.handle_response(at(0), Lane::WebSocket, 101, b"");
        assert_eq!(frames(session), ["2probe"]);
        session.handle_packet(at(0), Lane::WebSocket, Packet::Pong("probe"));
        assert_eq!(session.transport(), Way::WebSocket);
    };
    upgrade(&mut session);
    send(&mut session, "a");
    assert_eq!(frames(&mut session), ["5", "4a"]);
    lose(&mut session);
    // A proxy in between finds no server.
    session.resume();
    assert_eq!(lane(&session), Lane::WebSocket);
    session.begin(at(0), Lane::WebSocket, "").unwrap();
    session.handle_response(at(0), Lane::WebSocket, 502, b"bad gateway");
    assert!(session.is_detached());
    assert!(matches!(
        session.resume_failure(),
        Some(CloseReason::TransportError(TransportError::Status { .. }))
    ));
    assert_eq!(resume(&mut session, 0), "/socket.io/?EIO=4&transport=polling&sid=abc&resume=0&attempt=2");
    session.end_poll(at(0));
    let poll = session.begin(at(0), Lane::Poll, "").unwrap();
    assert_eq!(poll.target, "/socket.io/?EIO=4&transport=polling&sid=abc&attempt=2");
    session.handle_response(at(0), Lane::Poll, 200, b"6");
    session.end_poll(at(0));
    send(&mut session, "b");
    upgrade(&mut session);
    assert_eq!(frames(&mut session), ["5", "4a", "4b"]);
}

#[test]
fn a_server_without_the_session_opens_another_one_and_what_it_did_not_confirm_is_known() {
    let mut session = resumable(&[Way::WebSocket], 1 << 20);
    send(&mut session, "a");
    session.send(at(0), [Part::Text(b"b"), Part::Binary(&[1]), Part::Binary(&[2])].into_iter()).unwrap();
    send(&mut session, "c");
    hear(&mut session, "4x");
    // The server has half of a packet.
    hear(&mut session, "63");
    lose(&mut session);
    session.resume();
    assert!(begin(&mut session).ends_with("&sid=abc&resume=1&attempt=1"));
    let answer = format!("0{}", open("def", 0, 1000));
    let Received::Replaced(lost) = hear(&mut session, &answer) else { panic!("not replaced") };
    assert_eq!(lost.reason, Some(CloseReason::TransportClose(None)));
    assert_eq!(lost.packets, ["4b", "bAQ==", "bAg==", "4c"]);
    // The new session begins to count anew, and can be resumed, too.
    assert_eq!(frames(&mut session), [""; 0]);
    send(&mut session, "d");
    lose(&mut session);
    session.resume();
    assert!(begin(&mut session).ends_with("&sid=def&resume=0&attempt=1"));
    // This server does not know stateful reconnect.
    let answer = format!("0{}", OPEN.replace("abc", "ghi"));
    let Received::Replaced(lost) = hear(&mut session, &answer) else { panic!("not replaced") };
    assert_eq!(lost.packets, ["4d"]);
    assert!(!session.is_resumable());
}

#[test]
fn an_answer_that_is_no_session_or_does_not_fit_ends_it_for_the_first_reason() {
    type Answer = fn(&mut Session);
    let answers: [Answer; 5] = [
        |session| _ = session.handle_response(at(0), Lane::WebSocket, 400, b"Session ID unknown"),
        |session| _ = session.handle_response(at(0), Lane::WebSocket, 200, b"hello"),
        // The session, but not resumed.
        |session| {
            session.handle_response(at(0), Lane::WebSocket, 101, b"");
            hear(session, &format!("0{OPEN}"));
        },
        // More than was sent.
        |session| {
            session.handle_response(at(0), Lane::WebSocket, 101, b"");
            hear(session, &format!("0{}", open("abc", 3, 1)));
        },
        // Less than was acknowledged.
        |session| {
            session.handle_response(at(0), Lane::WebSocket, 101, b"");
            hear(session, &format!("0{}", open("abc", 0, 1)));
        },
    ];
    for answer in answers {
        let mut session = resumable(&[Way::WebSocket], 1 << 20);
        send(&mut session, "a");
        send(&mut session, "b");
        hear(&mut session, "61");
        lose(&mut session);
        session.resume();
        session.begin(at(0), Lane::WebSocket, "").unwrap();
        answer(&mut session);
        assert_eq!(session.closed(), Some(&CloseReason::TransportClose(None)));
        assert_eq!(unconfirmed(&mut session), ["4b"]);
    }
}

#[test]
fn a_clean_end_and_a_broken_rule_are_no_loss() {
    type End = fn(&mut Session);
    let ends: [End; 7] = [
        |session| _ = hear(session, "1"),
        |session| session.handle_close_frame(at(0), Some(1000)),
        |session| session.handle_close_frame(at(0), None),
        |session| session.handle_unreadable(at(0), Lane::WebSocket, crate::engineio::PacketError::Empty),
        |session| _ = hear(session, "5"),
        |session| session.fail(CloseReason::Protocol("wrong".into())),
        |session| session.close(at(0)),
    ];
    for end in ends {
        let mut session = resumable(&[Way::WebSocket], 1 << 20);
        send(&mut session, "a");
        end(&mut session);
        assert!(!session.is_detached() && session.closed().is_some());
        assert_eq!(unconfirmed(&mut session), ["4a"]);
    }
}

#[test]
fn counts_that_cannot_be_right_end_the_session() {
    for count in ["63", "6-1", "6x", "60", "699999999999999999999"] {
        let mut session = resumable(&[Way::WebSocket], 1 << 20);
        send(&mut session, "a");
        send(&mut session, "b");
        hear(&mut session, "61");
        hear(&mut session, "61");
        assert!(session.is_open());
        hear(&mut session, count);
        let error = TransportError::OutOfPlace("a wrong count of messages");
        assert_eq!(session.closed(), Some(&error.into()), "{count}");
    }
}

#[test]
fn every_way_to_lose_a_connection_detaches_the_session_until_the_window_is_over() {
    type Loss = fn(&mut Session);
    let losses: [(Way, Loss); 6] = [
        (Way::WebSocket, |session| session.handle_eof(at(0), Lane::WebSocket)),
        (Way::WebSocket, |session| session.handle_failed(at(0), Lane::WebSocket, TransportError::Lost)),
        (Way::Polling, |session| {
            session.handle_failed(at(0), Lane::Poll, TransportError::Connect("".into()))
        }),
        (Way::Polling, |session| _ = session.handle_response(at(0), Lane::Poll, 504, b"")),
        (Way::WebSocket, |session| session.handle_timeout(at(45_000))),
        (Way::Polling, |session| {
            send(session, "b");
            session.begin(at(0), Lane::Post, "").unwrap();
            session.handle_timeout(at(30_000));
        }),
    ];
    for (way, loss) in losses {
        let mut session = resumable(&[way], 1 << 20);
        session.begin(at(0), Lane::Poll, "");
        loss(&mut session);
        assert!(session.is_detached());
        let reason = session.lost().cloned().unwrap();
        let until = session.next_deadline().unwrap();
        session.handle_timeout(at(until.since_origin().as_millis() as u64 - 1));
        assert!(session.is_detached());
        // Also while an attempt is in progress.
        session.resume();
        assert!(session.begin(until, lane(&session), "").is_some());
        assert_eq!(session.next_deadline(), Some(until));
        session.handle_timeout(until);
        assert_eq!(session.closed(), Some(&reason));
        assert!(!session.is_detached() || session.wants(until, Lane::Poll) == Want::Nothing);
    }
    // The server refuses requests of a connection that it has given up. What would be refused again ends the session.
    for (status, may_resume) in [(400, true), (408, true), (429, true), (413, false), (403, false)] {
        let mut session = resumable(&[Way::Polling], 1 << 20);
        session.begin(at(0), Lane::Poll, "");
        session.handle_response(at(0), Lane::Poll, status, b"no");
        assert_eq!((session.is_detached(), session.closed().is_some()), (may_resume, !may_resume));
    }
}

#[test]
fn events_wait_at_the_limit_but_what_the_protocol_needs_does_not() {
    let mut session = resumable(&[Way::WebSocket], 1000);
    let long = "x".repeat(400);
    send(&mut session, &long);
    send(&mut session, &long);
    assert!(matches!(session.send(at(0), text(&long)), Err(SendError::Full { .. })));
    session.send_control(at(0), Part::Text(long.as_bytes())).unwrap();
    assert!(session.awaits_acknowledgement());
    hear(&mut session, "63");
    // One alone may be longer.
    send(&mut session, &"y".repeat(2000));
    // Without a connection, packets that are needed are kept within the send buffer.
    lose(&mut session);
    session.send_control(at(0), Part::Text(b"bye")).unwrap();
    let huge = "z".repeat(9 << 20);
    assert!(session.closed().is_none());
    session.send_control(at(0), Part::Text(huge.as_bytes())).unwrap();
    assert_eq!(session.closed(), Some(&CloseReason::TransportClose(None)));
}

#[test]
fn a_server_that_acknowledges_nothing_does_not_fill_the_memory() {
    let mut session = resumable(&[Way::WebSocket], 1 << 20);
    let packet = "x".repeat(1 << 20);
    // Twice the send buffer.
    for sent in 0.. {
        assert!(sent < 16, "{sent} MiB");
        if session.send_control(at(0), Part::Text(packet.as_bytes())).is_err() {
            break;
        }
        session.transmit(&mut Outbound::new());
    }
    let reason = session.closed().unwrap();
    assert!(matches!(reason, CloseReason::TransportError(TransportError::NotRead { .. })), "{reason:?}");
}

#[test]
fn a_small_send_buffer_does_not_wait_for_a_heartbeat() {
    let mut session = session(|config| {
        (config.stateful_reconnect, config.send_buffer) = (true, 10_000);
        config.transports = vec![Way::WebSocket];
    });
    begin(&mut session);
    hear(&mut session, &format!("0{}", open("abc", 0, 1 << 20)));
    // The server acknowledges after 128 KiB.
    let (mut sent, long) = (0, "x".repeat(8000));
    while sent < 128 << 10 {
        send(&mut session, &long);
        session.transmit(&mut Outbound::new());
        sent += long.len() + 64;
    }
    send(&mut session, "one more");
}

#[test]
fn a_session_that_is_closing_or_is_closed_while_it_is_detached_does_not_come_back() {
    let mut session = resumable(&[Way::Polling], 1 << 20);
    send(&mut session, "a");
    session.close(at(0));
    session.begin(at(0), Lane::Post, "").unwrap();
    session.handle_eof(at(0), Lane::Post);
    assert_eq!(session.closed(), Some(&CloseReason::Client));
    let mut session = resumable(&[Way::WebSocket], 1 << 20);
    lose(&mut session);
    session.close(at(0));
    assert_eq!(session.closed(), Some(&CloseReason::Client));
    session.resume();
    assert_eq!(session.wants(at(0), Lane::WebSocket), Want::Nothing);
}

#[test]
fn watching_what_the_server_has_read_goes_on_with_the_next_connection() {
    let mut session = resumable(&[Way::WebSocket], 1 << 20);
    send(&mut session, "a");
    session.watch_read(at(0));
    frames(&mut session);
    lose(&mut session);
    assert!(session.awaits_read());
    resume(&mut session, 0);
    assert!(session.awaits_read());
    let written = frames(&mut session);
    assert!(written.len() == 2 && written[0] == "4a" && written[1].starts_with("Ping"), "{written:?}");
    assert!(session.handle_pong(&2u32.to_be_bytes()));
}
