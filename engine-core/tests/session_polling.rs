//! A session over HTTP long-polling.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use sockeye_core::engineio::{
    CloseReason, Frames, Id, Packet, PacketError, Part, Transport, TransportError,
    server::{PollNumber, Refused, SendError, Session},
    split_payload,
};
use support::*;

fn closed(rig: &Rig) -> Option<&CloseReason> {
    rig.session.closed()
}

#[test]
fn the_first_poll_returns_the_handshake_and_the_messages_sent_after_it() {
    let mut session = Session::open(at(0), config(), &Id::from_random([0; 15]), Transport::Polling);
    session.send([Part::Text(b"hello")].into_iter()).unwrap();
    session.begin_poll(at(0), false).unwrap();
    let body = String::from_utf8(flat(session.take_payload().unwrap())).unwrap();
    assert_eq!(
        body,
        "0{\"sid\":\"AAAAAAAAAAAAAAAAAAAA\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":1000000}\u{1e}4hello"
    );
}

#[test]
fn upgrades_are_offered_only_if_they_are_possible() {
    let offer = |config, transport| {
        let mut session = Session::open(at(0), config, &Id::from_random([0; 15]), transport);
        let bytes = match transport {
            Transport::Polling => {
                session.begin_poll(at(0), false).unwrap();
                flat(session.take_payload().unwrap())
            }
            Transport::WebSocket => {
                let mut out = sockeye_core::Outbound::new();
                session.take_frames(&mut out);
                flat(out)
            }
        };
        String::from_utf8_lossy(&bytes).contains(r#""upgrades":["websocket"]"#)
    };
    assert!(offer(config(), Transport::Polling));
    assert!(!offer(config(), Transport::WebSocket));
    assert!(!offer(config_with(|c| c.websocket = false), Transport::Polling));
    assert!(!offer(config_with(|c| c.allow_upgrades = false), Transport::Polling));
}

#[test]
fn a_poll_waits_until_something_is_sent() {
    let mut rig = Rig::polling();
    rig.poll();
    assert!(rig.polling && rig.session.is_writable() && !rig.session.wants_transmit());
    rig.send("a").unwrap();
    assert!(rig.session.wants_transmit() && !rig.session.is_writable());
    rig.look();
    assert_eq!(rig.take(), [text("a")]);
    assert!(!rig.session.is_writable(), "no poll is waiting");
}

#[test]
fn packets_that_wait_for_a_poll_are_sent_in_one_payload_in_order() {
    let mut rig = Rig::polling();
    rig.send("a").unwrap();
    rig.send_binary(&[1, 2, 3, 4]).unwrap();
    rig.session.send([Part::Text(b"51-[]"), Part::Binary(b"x")].into_iter()).unwrap();
    rig.session.send_shared(&mut Frames::new([Part::Text("é".as_bytes())].into_iter())).unwrap();
    rig.poll();
    assert_eq!(rig.take(), [text("a"), binary(&[1, 2, 3, 4]), text("51-[]"), binary(b"x"), text("é")]);
    assert_eq!(rig.session.queued(), 0);
}

#[test]
fn packets_that_are_sent_while_a_poll_waits_are_sent_in_one_payload_in_order() {
    let mut rig = Rig::polling();
    for _ in 0..2 {
        rig.poll();
        assert!(rig.polling);
        rig.send("a").unwrap();
        rig.send_binary(&[1, 2]).unwrap();
        rig.send("b").unwrap();
        rig.look();
        assert_eq!(rig.take(), [text("a"), binary(&[1, 2]), text("b")]);
    }
}

#[test]
fn no_payload_is_returned_while_no_poll_waits() {
    let mut rig = Rig::polling();
    rig.send("a").unwrap();
    assert!(rig.session.take_payload().is_none());
    rig.poll();
    assert!(rig.session.take_payload().is_none());
    assert_eq!(rig.take(), [text("a")]);
    assert!(Rig::websocket().session.take_payload().is_none());
}

#[test]
fn a_payload_has_at_most_max_payload_bytes_of_whole_packets() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.max_payload = 10));
    for message in ["abc", "def", "g", "this one is longer", "h", ""] {
        rig.send(message).unwrap();
    }
    let mut sizes = Vec::new();
    while rig.session.queued() > 0 {
        rig.session.begin_poll(at(0), false).unwrap();
        let payload = rig.session.take_payload().unwrap();
        sizes.push(payload.len());
        rig.got.extend(from_payload(payload));
    }
    // `4abc` and `4def` with a separator, `4g`, the long one alone, `4h` and `4`.
    assert_eq!(sizes, [9, 2, 19, 4]);
    let all = ["abc", "def", "g", "this one is longer", "h", ""].map(text);
    assert_eq!(rig.take(), all);
}

#[test]
fn a_payload_of_exactly_max_payload_is_not_split() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.max_payload = 9));
    rig.send("abc").unwrap();
    rig.send("def").unwrap();
    rig.poll();
    assert_eq!(rig.take(), [text("abc"), text("def")]);
}

#[test]
fn ten_thousand_tiny_packets_in_one_payload_all_arrive_in_order() {
    let mut rig = Rig::polling();
    let body = (0..10_000).map(|i| format!("4{i}")).collect::<Vec<_>>().join("\u{1e}");
    let messages = rig.post(&body);
    assert_eq!(messages.len(), 10_000);
    assert!(messages.iter().enumerate().all(|(i, got)| *got == text(&i.to_string())));
}

#[test]
fn an_invalid_payload_is_decoded_up_to_its_first_invalid_packet() {
    let read = |body| {
        let packets: Vec<_> = split_payload(body).map(Packet::decode).collect();
        (
            packets.iter().take_while(|packet| packet.is_ok()).count(),
            packets.into_iter().find_map(Result::err),
        )
    };
    assert_eq!(read(""), (0, None));
    assert_eq!(read("4"), (1, None));
    assert_eq!(read("9"), (0, Some(PacketError::UnknownType)));
    assert_eq!(read("40\u{1e}"), (1, Some(PacketError::Empty)));
    assert_eq!(read("40\u{1e}\u{1e}"), (1, Some(PacketError::Empty)));
    assert_eq!(read("\u{1e}40"), (0, Some(PacketError::Empty)));
    assert_eq!(read("b!!!!"), (0, Some(PacketError::Base64)));
    assert_eq!(read("b4AB="), (0, Some(PacketError::Base64)));
}

#[test]
fn packets_that_only_servers_send_are_ignored_except_a_ping_which_ends_the_session() {
    let mut rig = Rig::polling();
    assert_eq!(rig.post("0{}\u{1e}6\u{1e}5\u{1e}3\u{1e}3probe\u{1e}4a"), [text("a")]);
    assert_eq!(closed(&rig), None);
    assert_eq!(rig.session.transport(), Transport::Polling);
    assert_eq!(rig.post("2\u{1e}4b"), []);
    assert_eq!(closed(&rig), Some(&TransportError::PingFromClient.into()));
}

#[test]
fn an_unsolicited_pong_does_not_postpone_the_next_ping() {
    let mut rig = Rig::polling();
    rig.now = at(20_000);
    rig.post("3");
    assert_eq!(rig.session.next_deadline(), Some(at(25_000)));
}

#[test]
fn packets_after_a_close_packet_are_not_delivered() {
    let mut rig = Rig::polling();
    rig.poll();
    assert_eq!(rig.post("40\u{1e}1\u{1e}42[\"a\"]"), [text("0")]);
    assert_eq!(closed(&rig), Some(&CloseReason::TransportClose));
    rig.look();
    assert_eq!(rig.take(), [control("6")], "the waiting poll is answered");
    assert!(rig.session.is_finished());
}

#[test]
fn a_text_with_a_separator_is_refused_over_polling_and_sent_over_websocket() {
    let mut rig = Rig::polling();
    assert_eq!(rig.send("a\u{1e}4b"), Err(SendError::Separator));
    assert_eq!(rig.session.queued(), 0);
    rig.send_binary(b"\x1e").unwrap();
    rig.poll();
    assert_eq!(rig.take(), [binary(b"\x1e")]);
    rig.upgrade();
    rig.send("a\u{1e}4b").unwrap();
    rig.read();
    assert_eq!(rig.take(), [text("a\u{1e}4b")]);
}

#[test]
fn overlapping_polls_end_the_session_and_answer_the_first() {
    let mut rig = Rig::polling();
    rig.poll();
    assert_eq!(rig.session.begin_poll(at(5), false), Err(Refused::Overlap));
    assert_eq!(closed(&rig), Some(&TransportError::PollOverlap.into()));
    rig.look();
    assert_eq!(rig.take(), [control("1")]);
    assert_eq!(rig.session.begin_poll(at(6), false), Err(Refused::Closed));
}

fn overlapping() -> Rig {
    Rig::open(Transport::Polling, config_with(|c| c.allow_overlapping_polls = true))
}

/// Begins a poll although one waits. Returns the number of that one.
fn replace_poll(rig: &mut Rig) -> PollNumber {
    let waiting = rig.session.poll_number();
    assert!(!rig.session.is_replaced(waiting));
    rig.session.begin_poll(rig.now, false).unwrap();
    waiting
}

#[test]
fn a_poll_takes_the_place_of_one_that_waits_if_that_is_allowed() {
    let mut rig = overlapping();
    rig.poll();
    let first = replace_poll(&mut rig);
    let second = replace_poll(&mut rig);
    assert!(rig.session.is_replaced(first) && rig.session.is_replaced(second));
    assert!(!rig.session.is_replaced(rig.session.poll_number()));
    assert_eq!(flat(rig.session.take_noop()), b"6");
    assert_eq!((rig.session.take_controls().noop, closed(&rig)), (true, None));
    assert!(!rig.session.wants_transmit());
    rig.send("a").unwrap();
    rig.look();
    assert_eq!(rig.take(), [text("a")]);
    assert!(rig.session.is_replaced(first), "even if no poll waits any more");
    rig.session.abort_poll(at(1));
    assert_eq!(closed(&rig), None);
}

#[test]
fn what_waits_for_a_poll_that_is_replaced_goes_to_the_next_one() {
    let mut rig = overlapping();
    rig.poll();
    rig.send("a").unwrap();
    let first = replace_poll(&mut rig);
    assert!(rig.session.is_replaced(first) && rig.session.wants_transmit());
    rig.look();
    assert_eq!((rig.take(), rig.session.queued()), (vec![text("a")], 0));
    // What was taken for a poll stays with it: the next one replaces none.
    let number = rig.session.poll_number();
    rig.poll();
    assert_eq!(rig.session.poll_number(), number);
    assert!(rig.polling && rig.session.take_payload().is_none());
}

#[test]
fn polls_that_wait_when_the_session_moves_on_are_all_answered_with_nothing() {
    for is_asked_first in [false, true] {
        let mut rig = overlapping();
        rig.poll();
        let first = replace_poll(&mut rig);
        let second = rig.session.poll_number();
        let ticket = rig.session.begin_upgrade(rig.now, false).unwrap();
        rig.send("a").unwrap();
        rig.session.handle_probe(rig.now, ticket, &Packet::Upgrade);
        let polls = if is_asked_first { [first, second] } else { [second, first] };
        for poll in polls {
            let noop = match rig.session.is_replaced(poll) {
                true => rig.session.take_noop(),
                false => rig.session.take_payload().unwrap(),
            };
            assert_eq!(flat(noop), b"6");
        }
        rig.polling = false;
        rig.read();
        assert_eq!(rig.take(), [text("a")]);
    }
}

#[test]
fn the_newest_poll_is_told_of_the_end() {
    let mut rig = overlapping();
    rig.poll();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    let first = replace_poll(&mut rig);
    assert_eq!((rig.session.is_replaced(first), flat(rig.session.take_noop())), (true, b"6".to_vec()));
    rig.look();
    rig.poll();
    assert_eq!(rig.take(), [text("last"), control("1")]);
    assert!(rig.session.is_finished());
}

#[test]
fn overlapping_posts_end_the_session_and_neither_is_applied() {
    let mut rig = Rig::polling();
    rig.session.begin_post(at(0), false).unwrap();
    assert_eq!(rig.session.begin_post(at(1), false), Err(Refused::Overlap));
    assert_eq!(closed(&rig), Some(&TransportError::PostOverlap.into()));
    assert_eq!(rig.packets("4a"), [], "the body of the first post arrives too late");
    rig.session.end_post();
    assert_eq!(rig.session.begin_post(at(2), false), Err(Refused::Closed));
}

#[test]
fn a_poll_whose_connection_closes_ends_the_session() {
    let mut rig = Rig::polling();
    rig.poll();
    rig.session.abort_poll(at(1));
    assert_eq!(closed(&rig), Some(&TransportError::PollAborted.into()));
    assert!(rig.session.is_finished());
}

#[test]
fn a_poll_that_was_answered_cannot_be_aborted() {
    let mut rig = Rig::polling();
    rig.session.abort_poll(at(1));
    assert_eq!(closed(&rig), None);
}

#[test]
fn a_post_whose_connection_closes_ends_the_session() {
    let mut rig = Rig::polling();
    rig.session.begin_post(at(0), false).unwrap();
    rig.session.abort_post(at(1));
    assert_eq!(closed(&rig), Some(&TransportError::PostAborted.into()));
}

#[test]
fn a_session_that_is_never_polled_again_ends_by_ping_timeout() {
    let mut rig = Rig::polling();
    rig.post("40");
    rig.send("a").unwrap();
    assert_eq!(rig.pass(at(1_000_000)), [at(25_000), at(45_000)]);
    assert_eq!(closed(&rig), Some(&CloseReason::PingTimeout));
    assert!(rig.session.is_finished());
    assert_eq!(rig.session.next_deadline(), None);
}

#[test]
fn the_bytes_that_wait_for_a_poll_are_limited() {
    for shared in [false, true] {
        let mut rig = Rig::open(Transport::Polling, config_with(|c| c.send_buffer = 1000));
        let mut taken = 0;
        let error = loop {
            let parts = [Part::Binary(&[0; 30])].into_iter();
            let result = match shared {
                true => rig.session.send_shared(&mut Frames::new(parts)),
                false => rig.session.send(parts),
            };
            match result {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        // Each takes 41 bytes of base64 and a separator.
        assert_eq!(taken, 23);
        assert_eq!(error, SendError::Full { queued: 23 * 42 - 1 });
        assert!(rig.session.queued() <= 1000);
        rig.poll();
        assert_eq!(rig.take().len(), 23, "accepted messages are delivered");
        rig.send_binary(&[0; 30]).unwrap();
    }
}

#[test]
fn no_part_of_a_unit_that_does_not_fit_is_queued() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.send_buffer = 20));
    let parts = [Part::Text(b"51-[]"), Part::Binary(&[0; 30])];
    assert_eq!(rig.session.send(parts.into_iter()), Err(SendError::TooLarge { limit: 20 }));
    assert_eq!(rig.session.queued(), 0);
}

#[test]
fn a_graceful_close_answers_the_waiting_poll() {
    let mut rig = Rig::polling();
    rig.poll();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    rig.look();
    assert_eq!(rig.take(), [text("last")]);
    rig.poll();
    assert_eq!(rig.take(), [control("1")]);
    assert!(rig.session.is_finished());
}

#[test]
fn a_graceful_close_sends_the_close_packet_in_its_own_payload() {
    // socket.io-client drops the events that precede a close packet in the same payload.
    let mut rig = Rig::polling();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    rig.poll();
    assert_eq!(rig.take(), [text("last")]);
    assert!(!rig.session.is_finished());
    rig.poll();
    assert_eq!(rig.take(), [control("1")]);
    assert!(rig.session.is_finished());
}

#[test]
fn a_closing_session_does_not_wait_for_a_client_that_closes_too() {
    let mut rig = Rig::polling();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    assert!(rig.post("4too late\u{1e}1").is_empty());
    assert!(rig.session.is_finished());
    assert_eq!((rig.session.queued(), rig.session.next_deadline()), (0, None));
    assert_eq!(closed(&rig), Some(&CloseReason::ForcedClose(None)));
}

#[test]
fn a_graceful_close_waits_for_the_poll_that_takes_the_close_packet() {
    let mut rig = Rig::polling();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    assert!(!rig.session.is_finished());
    assert_eq!(rig.send("too late"), Err(SendError::Closed));
    assert_eq!(rig.session.next_deadline(), Some(at(30_001)));
    rig.poll();
    rig.poll();
    assert_eq!(rig.take(), [text("last"), control("1")]);
    assert!(rig.session.is_finished());
    assert_eq!(rig.session.next_deadline(), None);
}

#[test]
fn a_closed_session_whose_client_does_not_poll_finishes_after_the_close_timeout() {
    let mut rig = Rig::polling();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    assert_eq!(rig.pass(at(100_000)), [at(30_001)]);
    assert!(rig.session.is_finished());
    assert_eq!(rig.session.queued(), 0);
}

#[test]
fn a_session_that_ends_with_its_server_waits_less_for_a_client_that_does_not_poll() {
    let mut rig = Rig::polling();
    rig.session.close(at(1), CloseReason::ServerShutdown);
    assert_eq!(rig.pass(at(100_000)), [at(5_001)]);
    assert!(rig.session.is_finished());
}

#[test]
fn a_session_that_ends_with_its_server_waits_for_a_client_that_polls() {
    let mut rig = Rig::polling();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ServerShutdown);
    rig.poll();
    assert_eq!(rig.session.next_deadline(), Some(at(30_001)));
    rig.poll();
    assert_eq!(rig.take(), [text("last"), control("1")]);
    assert!(rig.session.is_finished());
}

#[test]
fn a_graceful_close_delivers_several_payloads_even_if_a_poll_was_waiting() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.max_payload = 10));
    rig.poll();
    let messages = ["first one", "second one", "third one"];
    messages.iter().for_each(|message| rig.send(message).unwrap());
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    rig.look();
    while !rig.session.is_finished() {
        rig.poll();
    }
    assert_eq!(rig.take(), [text("first one"), text("second one"), text("third one"), control("1")]);
}

#[test]
fn queued_messages_are_dropped_when_the_transport_fails() {
    let mut rig = Rig::polling();
    rig.poll();
    rig.send("a").unwrap();
    rig.session.close(at(1), CloseReason::ParseError(PacketError::Utf8));
    rig.look();
    assert_eq!(rig.take(), [control("1")]);
}

#[test]
fn the_end_is_reported_once_with_the_first_reason() {
    let mut rig = Rig::polling();
    assert_eq!(rig.session.take_closed(), None);
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    rig.session.close(at(2), CloseReason::PingTimeout);
    assert_eq!(rig.session.take_closed(), Some(CloseReason::ForcedClose(None)));
    assert_eq!(rig.session.take_closed(), None);
    rig.pass(at(100_000));
    assert_eq!(rig.session.take_closed(), None);
}

#[test]
fn requests_on_a_websocket_session_are_refused_and_do_not_end_it() {
    let mut rig = Rig::websocket();
    assert_eq!(rig.session.begin_poll(at(0), false), Err(Refused::TransportMismatch));
    assert_eq!(rig.session.begin_post(at(0), false), Err(Refused::TransportMismatch));
    rig.session.end_post();
    rig.session.abort_poll(at(0));
    assert_eq!(closed(&rig), None);
}

#[test]
fn reasons_display_as_in_the_reference_implementation() {
    let reasons = [
        (CloseReason::TransportClose, "transport close"),
        (TransportError::PollOverlap.into(), "transport error"),
        (CloseReason::PingTimeout, "ping timeout"),
        (CloseReason::ParseError(PacketError::Empty), "parse error"),
        (CloseReason::ForcedClose(Some("why".into())), "forced close"),
        (CloseReason::ServerShutdown, "server shutting down"),
    ];
    for (reason, shown) in reasons {
        assert_eq!(reason.to_string(), shown);
    }
}
