mod resume;

use super::*;
use crate::engineio::{Message, Packet, PacketError, Part, Transport as Way};
use crate::random::Random;
use crate::time::Time;
use crate::websocket::{Decoder, Message as Frame, Role};
use crate::{Outbound, engineio};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

const OPEN: &str =
    r#"{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100}"#;

fn at(millis: u64) -> Time {
    Time::from_origin(Duration::from_millis(millis))
}

fn session(change: impl FnOnce(&mut Config)) -> Session {
    let mut config = Config::default();
    change(&mut config);
    Session::open(at(0), Arc::new(config), Random::from_seed([1; 20]), false)
}

/// A session that the server has just opened by polling; its answer was read.
fn polling(change: impl FnOnce(&mut Config)) -> Session {
    let mut session = session(change);
    assert!(session.begin(at(0), Lane::Poll, "").is_some());
    assert!(session.handle_response(at(0), Lane::Poll, 200, b"0").is_some());
    assert_eq!(session.handle_packet(at(0), Lane::Poll, Packet::Open(OPEN)), Received::Open);
    session.end_poll(at(0));
    session
}

fn websocket() -> Session {
    let mut session = session(|config| config.transports = [Way::WebSocket].into());
    assert!(session.begin(at(0), Lane::WebSocket, "").is_some_and(|request| request.upgrade));
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    assert_eq!(session.handle_packet(at(0), Lane::WebSocket, Packet::Open(OPEN)), Received::Open);
    session
}

fn text(text: &str) -> impl Iterator<Item = Part<'_>> + Clone {
    core::iter::once(Part::Text(text.as_bytes()))
}

/// The frames that are to be written, as the server reads them.
fn frames(session: &mut Session) -> Vec<alloc::string::String> {
    let mut out = Outbound::new();
    session.transmit(&mut out);
    let mut bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    let mut input = bytes.as_mut_slice();
    let mut decoder = Decoder::new(Role::Server, 1000);
    let mut frames = Vec::new();
    while let Some(message) = decoder.decode(&mut input).unwrap() {
        frames.push(match message {
            Frame::Text(text) => text.into_owned(),
            Frame::Binary(data) => alloc::format!("{data:?}"),
            other => alloc::format!("{other:?}"),
        });
    }
    frames
}

fn body(session: &mut Session, now: Time) -> alloc::string::String {
    let request = session.begin(now, Lane::Post, "").unwrap();
    let bytes = request.body.unwrap().chunks().flatten().copied().collect();
    alloc::string::String::from_utf8(bytes).unwrap()
}

#[test]
fn requests_name_the_transport_and_the_session() {
    let mut session = session(|config| config.timestamp_requests = false);
    let first = session.begin(at(0), Lane::Poll, "a=b").unwrap();
    assert_eq!((first.method, &*first.target), ("GET", "/socket.io/?a=b&EIO=4&transport=polling"));
    assert!(session.begin(at(0), Lane::Poll, "a=b").is_none(), "one at a time");
    session.handle_response(at(0), Lane::Poll, 200, b"0");
    session.handle_packet(at(0), Lane::Poll, Packet::Open(OPEN));
    session.end_poll(at(0));
    let upgrade = session.begin(at(0), Lane::WebSocket, "a=b").unwrap();
    assert_eq!(upgrade.target, "/socket.io/?a=b&EIO=4&transport=websocket&sid=abc");
}

#[test]
fn each_poll_has_another_timestamp() {
    let targets = [(); 2].map(|()| session(|_| {}).begin(at(0), Lane::Poll, "").unwrap().target);
    assert!(targets[0].contains("&t="));
    let mut session = polling(|_| {});
    assert_ne!(session.begin(at(0), Lane::Poll, "").unwrap().target, targets[0]);
}

#[test]
fn an_upgrade_waits_for_both_requests_and_loses_nothing() {
    let mut session = polling(|_| {});
    session.begin(at(0), Lane::Poll, "").unwrap();
    session.send(at(0), text("first")).unwrap();
    assert_eq!(body(&mut session, at(0)), "4first");
    session.begin(at(0), Lane::WebSocket, "").unwrap();
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    assert_eq!(frames(&mut session), ["2probe"]);
    session.handle_packet(at(0), Lane::WebSocket, Packet::Pong("probe"));
    session.send(at(0), text("second")).unwrap();
    let binary: [Part<'_>; 2] = [Part::Text(b"third"), Part::Binary(&[1, 2])];
    session.send(at(0), binary.into_iter()).unwrap();
    assert!(session.begin(at(0), Lane::Post, "").is_none(), "nothing new while it is pausing");
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert_eq!((session.transport(), frames(&mut session)), (Way::Polling, vec![]));
    assert_eq!(session.handle_response(at(0), Lane::Poll, 200, b"6"), Some("6"));
    session.end_poll(at(0));
    assert_eq!(session.transport(), Way::WebSocket);
    assert_eq!(frames(&mut session), ["5", "4second", "4third", "[1, 2]"]);
    assert_eq!(session.wants(at(0), Lane::Poll), Want::Nothing);
}

#[test]
fn a_poll_that_is_released_before_the_probe_is_answered_is_followed_by_another() {
    let mut session = polling(|_| {});
    session.begin(at(0), Lane::Poll, "").unwrap();
    session.begin(at(0), Lane::WebSocket, "").unwrap();
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    assert_eq!(frames(&mut session), ["2probe"]);
    for _ in 0..2 {
        assert_eq!(session.handle_response(at(0), Lane::Poll, 200, b"6"), Some("6"));
        session.end_poll(at(0));
        assert_eq!(session.transport(), Way::Polling);
        session.begin(at(0), Lane::Poll, "").expect("it goes on polling");
    }
    session.handle_packet(at(0), Lane::WebSocket, Packet::Pong("probe"));
    assert_eq!((session.transport(), frames(&mut session)), (Way::Polling, vec![]));
    assert_eq!(session.handle_response(at(0), Lane::Poll, 200, b"6"), Some("6"));
    session.end_poll(at(0));
    assert_eq!((session.transport(), frames(&mut session)), (Way::WebSocket, vec!["5".into()]));
}

#[test]
fn an_upgrade_that_fails_in_any_way_leaves_polling_as_it_was() {
    for fail in [
        |session: &mut Session| session.handle_failed(at(0), Lane::WebSocket, TransportError::Lost),
        |session: &mut Session| _ = session.handle_response(at(0), Lane::WebSocket, 400, b"no"),
        |session: &mut Session| _ = session.handle_packet(at(0), Lane::WebSocket, Packet::Pong("wrong")),
        |session: &mut Session| session.handle_close_frame(at(0), None),
        |session: &mut Session| {
            session.handle_unreadable(at(0), Lane::WebSocket, engineio::PacketError::Empty)
        },
        |session: &mut Session| session.handle_timeout(at(10_000)),
    ] {
        let mut session = polling(|_| {});
        session.begin(at(0), Lane::WebSocket, "").unwrap();
        fail(&mut session);
        assert_eq!(session.wants(at(0), Lane::WebSocket), Want::Nothing);
        assert!(session.is_open() && session.begin(at(0), Lane::Poll, "").is_some());
    }
}

#[test]
fn a_ping_is_answered_and_its_absence_ends_the_session() {
    let mut session = websocket();
    assert_eq!(session.next_deadline(), Some(at(45_000)));
    assert_eq!(session.handle_packet(at(25_000), Lane::WebSocket, Packet::Ping("")), Received::Ping);
    assert_eq!(frames(&mut session), ["3"]);
    session.handle_timeout(at(69_999));
    assert!(session.is_open());
    session.handle_timeout(at(70_000));
    assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn bytes_of_a_long_message_keep_the_session_alive_and_nothing_is_sent_after_a_sleep() {
    let mut session = websocket();
    session.heard(at(44_000));
    session.handle_timeout(at(45_000));
    assert_eq!((session.is_open(), session.next_deadline()), (true, Some(at(64_000))));
    // The machine slept for an hour, and no timer has fired yet.
    assert_eq!(session.send(at(3_600_000), text("late")), Err(SendError::NotOpen));
    assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn a_server_that_sends_bytes_but_never_pings_is_given_up() {
    let mut session = websocket();
    for second in (19..105).step_by(19) {
        session.heard(at(second * 1000));
        session.handle_timeout(at(second * 1000));
    }
    session.heard(at(104_999));
    session.handle_timeout(at(104_999));
    assert_eq!((session.is_open(), session.next_deadline()), (true, Some(at(105_000))));
    session.handle_timeout(at(105_000));
    assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn a_late_ping_allows_the_next_one_to_be_as_late() {
    let mut session = websocket();
    session.heard(at(44_000));
    session.handle_timeout(at(45_000));
    session.handle_packet(at(60_000), Lane::WebSocket, Packet::Ping(""));
    assert_eq!(session.next_deadline(), Some(at(105_000)));
    session.heard(at(104_000));
    session.handle_timeout(at(105_000));
    assert_eq!((session.is_open(), session.next_deadline()), (true, Some(at(124_000))));
}

#[test]
fn a_message_larger_than_the_server_takes_is_refused_as_it_would_be_sent() {
    let too_large = |size| Err(SendError::TooLarge { size, limit: 100 });
    let (mut on_websocket, mut on_polling) = (websocket(), polling(|_| {}));
    let long = "x".repeat(100);
    assert_eq!(on_websocket.send(at(0), text(&long)), too_large(101));
    assert_eq!(on_polling.send(at(0), text(&long)), too_large(101));
    let binary = core::iter::once(Part::Binary(&[0; 90]));
    assert_eq!(on_websocket.send(at(0), binary.clone()), Ok(()));
    assert_eq!(on_polling.send(at(0), binary), too_large(121));
}

#[test]
fn a_message_larger_than_the_send_buffer_is_refused_and_one_that_fills_it_does_not_stop_pongs() {
    for on_websocket in [true, false] {
        let mut session = session(|config| {
            config.transports = [if on_websocket { Way::WebSocket } else { Way::Polling }].into();
            config.send_buffer = 50;
        });
        let lane = if on_websocket { Lane::WebSocket } else { Lane::Poll };
        session.begin(at(0), lane, "").unwrap();
        session.handle_response(at(0), lane, if on_websocket { 101 } else { 200 }, b"0");
        session.handle_packet(at(0), lane, Packet::Open(OPEN));
        let too_large = Err(SendError::TooLarge { size: 51, limit: 50 });
        assert_eq!(session.send(at(0), text(&"x".repeat(50))), too_large);
        let unit = [Part::Text(&[b'x'; 24]), Part::Text(&[b'x'; 25])];
        assert_eq!(session.send(at(0), unit.into_iter()), too_large);
        assert_eq!(session.send(at(0), text(&"x".repeat(49))), Ok(()));
        assert!(matches!(session.send(at(0), text("x")), Err(SendError::Full { .. })));
        assert_eq!(session.handle_packet(at(0), lane, Packet::Ping("")), Received::Ping);
        assert_eq!(session.closed(), None, "the server may just not have read the message yet");
    }
}

#[test]
fn many_short_messages_fill_the_send_buffer_with_what_they_take_in_memory() {
    let mut session = polling(|config| config.send_buffer = 9000);
    let sent = (0..10_000).take_while(|_| session.send(at(0), text("")).is_ok()).count();
    assert!((500..=1000).contains(&sent), "{sent} of at least nine bytes each");
}

#[test]
fn a_post_holds_no_more_than_the_server_takes() {
    let mut session = polling(|_| {});
    for _ in 0..3 {
        session.send(at(0), text(&"x".repeat(45))).unwrap();
    }
    assert_eq!(body(&mut session, at(0)).len(), 46 + 1 + 46);
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert_eq!(body(&mut session, at(0)).len(), 46);
}

#[test]
fn messages_that_are_not_read_and_answers_to_pings_are_bounded() {
    let mut session = websocket();
    let mut full = Ok(());
    for _ in 0..200_000 {
        full = full.and_then(|()| session.send(at(0), text(&"x".repeat(90))));
    }
    assert!(matches!(full, Err(SendError::Full { queued }) if queued <= 4 << 20));
    let mut pings = 0;
    while session.is_open() {
        session.handle_packet(at(0), Lane::WebSocket, Packet::Ping(""));
        pings += 1;
        assert!(pings < 1_000_000);
    }
    assert!(matches!(session.closed(), Some(CloseReason::TransportError(TransportError::NotRead { .. }))));
}

#[test]
fn a_server_that_answers_polls_with_nothing_is_not_asked_at_full_speed() {
    let mut session = polling(|config| config.upgrade = false);
    let mut polls = 0;
    while session.begin(at(0), Lane::Poll, "").is_some() {
        session.handle_response(at(0), Lane::Poll, 200, b"6");
        session.handle_packet(at(0), Lane::Poll, Packet::Noop(""));
        session.end_poll(at(0));
        polls += 1;
        assert!(polls < 100);
    }
    let next = session.next_deadline().unwrap();
    session.handle_timeout(next);
    assert!(next > at(0) && session.begin(next, Lane::Poll, "").is_some());
}

#[test]
fn packets_out_of_place_end_the_session_with_a_word() {
    let long = "x".repeat(200);
    for packet in [Packet::Open(OPEN), Packet::Pong(""), Packet::Upgrade, Packet::Ping(&long)] {
        let mut session = websocket();
        assert_eq!(session.handle_packet(at(0), Lane::WebSocket, packet), Received::Nothing);
        let reason = session.closed().unwrap();
        assert!(matches!(reason, CloseReason::TransportError(TransportError::OutOfPlace(_))), "{reason:?}");
        assert_eq!(reason.to_string(), "transport error");
    }
    let mut session = websocket();
    session.handle_packet(at(0), Lane::WebSocket, Packet::Close);
    assert_eq!(session.closed(), Some(&CloseReason::TransportClose(None)));
}

#[test]
fn a_first_packet_that_does_not_open_is_an_error() {
    for (packet, error) in [
        (Packet::Message(Message::Text("x")), HandshakeError::NotOpen),
        (Packet::Open("{}"), HandshakeError::Json),
    ] {
        let mut session = session(|_| {});
        session.begin(at(0), Lane::Poll, "");
        session.handle_response(at(0), Lane::Poll, 200, b"0{}");
        session.handle_packet(at(0), Lane::Poll, packet);
        assert_eq!(session.closed(), Some(&TransportError::Handshake(error).into()));
    }
    let mut session = session(|_| {});
    session.begin(at(0), Lane::Poll, "");
    session.handle_response(at(0), Lane::Poll, 200, b"");
    session.end_poll(at(0));
    assert_eq!(session.closed(), Some(&TransportError::Handshake(HandshakeError::NotOpen).into()));
}

#[test]
fn an_answer_at_a_wrong_path_is_an_error_that_names_the_path() {
    let error_of = |lane, act: &dyn Fn(&mut Session)| {
        let mut session = session(|config| {
            config.path = "/elsewhere/".into();
            config.transports = alloc::vec![if lane == Lane::Poll { Way::Polling } else { Way::WebSocket }];
        });
        session.begin(at(0), lane, "");
        act(&mut session);
        match session.closed() {
            Some(CloseReason::TransportError(error)) => error.to_string(),
            closed => panic!("{closed:?}"),
        }
    };
    let not_found = "the server answered with status 404 to /elsewhere/, which is probably not the path of its Socket.IO server";
    for (body, error) in [
        ("", not_found.into()),
        ("<p>Cannot GET /elsewhere/\n", alloc::format!("{not_found}: <p>Cannot GET /elsewhere/")),
    ] {
        for lane in [Lane::Poll, Lane::WebSocket] {
            let answer = |session: &mut Session| {
                session.handle_response(at(0), lane, 404, body.as_bytes());
            };
            assert_eq!(error_of(lane, &answer), error);
        }
    }
    // A page that is served at each path.
    let unreadable = |session: &mut Session| {
        session.handle_response(at(0), Lane::Poll, 200, b"<!doctype html>");
        session.handle_unreadable(at(0), Lane::Poll, PacketError::UnknownType);
    };
    assert!(error_of(Lane::Poll, &unreadable).ends_with("is the path that of a Socket.IO server?"));
    // Node does so with a WebSocket.
    for lane in [Lane::Poll, Lane::WebSocket] {
        let end = |session: &mut Session| session.handle_eof(at(0), lane);
        assert!(error_of(lane, &end).ends_with("is the path that of a Socket.IO server?"));
    }
}

#[test]
fn an_answer_with_another_status_is_an_error_with_its_beginning() {
    let mut session = session(|_| {});
    session.begin(at(0), Lane::Poll, "");
    session.handle_response(at(0), Lane::Poll, 403, &[b'x'; 1000]);
    let Some(CloseReason::TransportError(TransportError::Status { status: 403, body, .. })) =
        session.closed()
    else {
        panic!("{:?}", session.closed());
    };
    assert_eq!(body.len(), 256);
}

#[test]
fn the_next_transport_is_tried_where_that_is_wanted() {
    let mut session = session(|config| config.try_all_transports = true);
    session.begin(at(0), Lane::Poll, "");
    session.handle_failed(at(0), Lane::Poll, TransportError::Lost);
    assert_eq!((session.closed(), session.transport()), (None, Way::WebSocket));
    assert!(session.begin(at(0), Lane::WebSocket, "").is_some());
    session.handle_failed(at(0), Lane::WebSocket, TransportError::Lost);
    assert_eq!(session.closed(), Some(&TransportError::Lost.into()));
}

/// Answers the poll that is to open the session.
fn answer_first_poll(session: &mut Session, body: &str) {
    session.begin(at(0), Lane::Poll, "").unwrap();
    let text = session.handle_response(at(0), Lane::Poll, 200, body.as_bytes()).unwrap();
    for packet in engineio::split_payload(text) {
        match Packet::decode(packet) {
            Ok(packet) => assert_eq!(session.handle_packet(at(0), Lane::Poll, packet), Received::Nothing),
            Err(error) => session.handle_unreadable(at(0), Lane::Poll, error),
        }
    }
    session.end_poll(at(0));
}

#[test]
fn an_answer_that_is_no_handshake_leaves_it_to_the_next_transport() {
    let behind = alloc::format!("6\x1e0{OPEN}");
    let unreadable = ["<html>", "<html>\x1e<html>", "\x1e", ""];
    for body in ["4hello", "0{}", "1", "4a\x1e4b", &behind].into_iter().chain(unreadable) {
        let mut all = session(|config| config.try_all_transports = true);
        answer_first_poll(&mut all, body);
        assert_eq!((all.closed(), all.transport()), (None, Way::WebSocket), "{body}");
        assert_eq!(all.wants(at(0), Lane::WebSocket), Want::Request, "{body}");
        let mut one = session(|_| {});
        answer_first_poll(&mut one, body);
        assert!(one.closed().is_some(), "{body}");
    }
    let mut no_text = session(|config| config.try_all_transports = true);
    no_text.begin(at(0), Lane::Poll, "");
    assert_eq!(no_text.handle_response(at(0), Lane::Poll, 200, b"\xff"), None);
    assert_eq!((no_text.closed(), no_text.transport()), (None, Way::WebSocket));
}

#[test]
fn late_packets_of_a_failed_transport_do_not_concern_the_next_one() {
    let mut session = session(|config| {
        config.transports = [Way::WebSocket, Way::Polling].into();
        config.try_all_transports = true;
    });
    session.begin(at(0), Lane::WebSocket, "");
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    session.handle_packet(at(0), Lane::WebSocket, Packet::Noop(""));
    session.begin(at(0), Lane::Poll, "").unwrap();
    session.handle_packet(at(0), Lane::WebSocket, Packet::Open(OPEN));
    session.handle_unreadable(at(0), Lane::WebSocket, engineio::PacketError::Empty);
    assert_eq!(
        (session.closed(), session.is_open(), session.wants(at(0), Lane::Poll)),
        (None, false, Want::Keep)
    );
}

#[test]
fn a_close_before_the_session_is_open_is_told_with_its_code() {
    for (code, text) in [
        (Some(1008), "the server closed the connection with code 1008"),
        (None, "the server closed the connection"),
    ] {
        let mut session = session(|config| config.transports = [Way::WebSocket].into());
        session.begin(at(0), Lane::WebSocket, "");
        session.handle_response(at(0), Lane::WebSocket, 101, b"");
        session.handle_close_frame(at(0), code);
        let expected = TransportError::Closed(code);
        assert_eq!(expected.to_string(), text);
        assert_eq!(session.closed(), Some(&expected.into()));
    }
}

#[test]
fn a_session_is_opened_by_what_worked_the_last_time() {
    let config = Arc::new(Config::default());
    let session = Session::open(at(0), config, Random::from_seed([1; 20]), true);
    assert_eq!(session.transport(), Way::WebSocket);
}

#[test]
fn a_payload_has_no_more_packets_than_python_takes() {
    for (queued, requests) in [(15, vec![15]), (16, vec![16]), (17, vec![16, 1]), (33, vec![16, 16, 1])] {
        let mut session = polling(|_| {});
        for number in 0..queued {
            session.send(at(0), text(&number.to_string())).unwrap();
        }
        let mut sent = Vec::new();
        for expected in requests {
            let body = body(&mut session, at(0));
            let packets: Vec<_> = body.split('\x1e').map(ToString::to_string).collect();
            assert_eq!(packets.len(), expected, "{body:?}");
            sent.extend(packets);
            session.handle_response(at(0), Lane::Post, 200, b"ok");
        }
        assert!((0..queued).map(|number| alloc::format!("4{number}")).eq(sent));
        assert_eq!(session.wants(at(0), Lane::Post), Want::Keep);
    }
}

#[test]
fn closing_while_polling_sends_what_is_queued_and_a_goodbye_in_time() {
    let mut session = polling(|_| {});
    session.begin(at(0), Lane::Poll, "");
    session.send(at(0), text("last")).unwrap();
    session.close(at(0));
    assert_eq!(session.closed(), None);
    assert_eq!(body(&mut session, at(0)), "4last");
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert_eq!(session.closed(), None);
    assert_eq!(body(&mut session, at(0)), "1");
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert_eq!(session.closed(), Some(&CloseReason::Client));
    let mut silent = polling(|_| {});
    silent.close(at(0));
    silent.handle_timeout(at(5000));
    assert_eq!(silent.closed(), Some(&CloseReason::Client));
}

#[test]
fn a_goodbye_has_a_request_of_its_own_after_all_others_are_answered() {
    let mut session = polling(|_| {});
    session.begin(at(0), Lane::Poll, "");
    session.send(at(0), text("under way")).unwrap();
    assert_eq!(body(&mut session, at(0)), "4under way");
    // More than one request takes.
    (0..20).for_each(|_| session.send(at(0), text("queued")).unwrap());
    session.close(at(0));
    assert_eq!(session.wants(at(0), Lane::Post), Want::Keep);
    let mut bodies = Vec::new();
    while session.closed().is_none() {
        session.handle_response(at(0), Lane::Post, 200, b"ok");
        session.handle_packet(at(0), Lane::Poll, Packet::Ping(""));
        if session.closed().is_none() {
            bodies.push(body(&mut session, at(0)));
        }
    }
    assert_eq!(bodies.last().map(|it| &**it), Some("1"), "{bodies:?}");
    let before: usize = bodies.iter().map(|it| it.matches("4queued").count()).sum();
    assert_eq!((before, bodies.iter().filter(|it| it.contains('1')).count()), (20, 1), "{bodies:?}");
    assert_eq!(session.closed(), Some(&CloseReason::Client));

    let mut idle = polling(|_| {});
    idle.close(at(0));
    assert_eq!(body(&mut idle, at(0)), "1");
}

#[test]
fn the_answers_to_requests_show_what_the_server_has_read() {
    let mut session = polling(|config| config.upgrade = false);
    assert_eq!((session.watch_read(at(0)), session.awaits_read()), (None, false), "nothing was sent");
    session.send(at(0), text("a")).unwrap();
    assert_eq!(body(&mut session, at(0)), "4a");
    (0..16).for_each(|_| session.send(at(0), text("b")).unwrap());
    assert!(session.watch_read(at(0)).is_some_and(|until| until > at(60_000)));
    session.send(at(0), text("behind")).unwrap();
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert!(session.awaits_read());
    assert!(!body(&mut session, at(0)).contains("behind"));
    assert!(session.awaits_read());
    session.handle_response(at(0), Lane::Post, 200, b"ok");
    assert!(!session.awaits_read());
}

#[test]
fn the_answer_to_a_websocket_ping_shows_what_the_server_has_read() {
    let mut session = websocket();
    session.send(at(0), text("a")).unwrap();
    assert!(session.watch_read(at(0)).is_some());
    assert_eq!(frames(&mut session), ["4a", "Ping([0, 0, 0, 1])"]);
    assert!(session.watch_read(at(0)).is_some());
    for (pong, is_read) in [(1, false), (3, false), (2, true), (2, false)] {
        assert_eq!(session.handle_pong(&[0, 0, 0, pong]), is_read, "{pong}");
    }
    assert!(!session.awaits_read() && !session.handle_pong(b""));
}

#[test]
fn a_watched_position_moves_to_websocket() {
    let mut session = polling(|config| config.timestamp_requests = false);
    session.begin(at(0), Lane::Poll, "");
    session.begin(at(0), Lane::WebSocket, "");
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    assert_eq!(frames(&mut session), ["2probe"]);
    session.handle_packet(at(0), Lane::WebSocket, Packet::Pong("probe"));
    session.send(at(0), text("a")).unwrap();
    session.watch_read(at(0));
    session.handle_response(at(0), Lane::Poll, 200, b"6");
    session.end_poll(at(0));
    assert_eq!(frames(&mut session), ["5", "4a", "Ping([0, 0, 0, 1])"]);
    assert!(session.awaits_read() && session.handle_pong(&[0, 0, 0, 1]));
}

#[test]
fn a_request_that_is_never_answered_ends_the_session() {
    let mut session = polling(|config| config.upgrade = false);
    session.send(at(0), text("x")).unwrap();
    session.begin(at(0), Lane::Post, "");
    session.handle_timeout(at(30_000));
    assert_eq!(session.closed(), Some(&TransportError::RequestTimeout.into()));
}

#[test]
fn a_lane_that_cannot_be_opened_for_what_waits_ends_the_session() {
    let mut session = polling(|_| {});
    session.handle_failed(at(0), Lane::Post, TransportError::Lost);
    assert!(session.is_open(), "nobody needs it");
    session.send(at(0), text("x")).unwrap();
    session.handle_failed(at(0), Lane::Post, TransportError::Lost);
    assert_eq!(session.closed(), Some(&TransportError::Lost.into()));
}

#[cfg(feature = "deflate")]
#[test]
fn long_messages_are_compressed_as_was_agreed_and_packets_of_the_protocol_are_not() {
    use crate::websocket::{Deflate, PerMessageDeflate};
    let offer = [Deflate::OFFER.as_bytes()].into_iter();
    let (deflate, _) = Deflate::agree(&PerMessageDeflate::new(), offer).unwrap();
    let long = "x".repeat(2000);
    let mut session = session(|config| config.transports = [Way::WebSocket].into());
    session.begin(at(0), Lane::WebSocket, "");
    session.set_deflate(Some(deflate));
    session.handle_response(at(0), Lane::WebSocket, 101, b"");
    let open = OPEN.replace("100}", "10000}");
    session.handle_packet(at(0), Lane::WebSocket, Packet::Open(&open));
    session.send(at(0), text("short")).unwrap();
    let short = session.queued();
    let parts = [Part::Text(long.as_bytes()), Part::Binary(&[7; 2000])];
    session.send(at(0), parts.into_iter()).unwrap();
    assert!(short == 2 + 4 + 6 && session.queued() < 100, "{} bytes", session.queued());
    session.handle_packet(at(0), Lane::WebSocket, Packet::Ping(""));
    let mut out = Outbound::new();
    session.transmit(&mut out);
    let mut bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    let mut decoder = Decoder::new(Role::Server, 10_000);
    decoder.set_deflate(deflate);
    let mut input = bytes.as_mut_slice();
    let mut next = || decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(next(), Frame::Text("4short".into()));
    assert_eq!(next(), Frame::Text(alloc::format!("4{long}").into()));
    assert_eq!(next(), Frame::Binary(vec![7; 2000].into()));
    assert_eq!(next(), Frame::Text("3".into()));
}
