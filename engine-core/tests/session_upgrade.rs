//! Upgrades from polling to WebSocket.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use sockeye_core::engineio::{
    CloseReason, Frames, Part, Transport,
    server::{Probing, Refused},
};
use support::*;

#[test]
fn the_probe_releases_a_waiting_poll_and_the_upgrade_switches_to_websocket() {
    let mut rig = Rig::polling();
    rig.poll();
    let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
    rig.look();
    assert!(rig.polling, "the poll waits until the probe");
    assert!(!rig.session.wants_transmit());
    assert_eq!(rig.probe(ticket, "2probe"), Probing::Answer);
    assert!(rig.session.wants_transmit(), "the poll's connection must be woken");
    rig.look();
    assert_eq!(rig.take(), [control("6")]);
    assert_eq!(rig.session.transport(), Transport::Polling);
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    assert_eq!(rig.session.transport(), Transport::WebSocket);
    assert_eq!(rig.session.begin_poll(at(1), false), Err(Refused::TransportMismatch));
    assert_eq!(rig.session.begin_post(at(1), false), Err(Refused::TransportMismatch));
    rig.read();
    assert_eq!(rig.take(), [], "no noop is sent over websocket");
    assert!(rig.session.is_writable());
}

#[test]
fn the_first_poll_after_the_probe_is_released_at_once_and_later_ones_every_100_ms() {
    for waits in [true, false] {
        let mut rig = Rig::polling();
        if waits {
            rig.poll();
        }
        rig.probed();
        rig.poll();
        assert_eq!(rig.take(), [control("6")]);
        for turn in 0..3 {
            rig.poll();
            assert!(rig.polling && !rig.session.wants_transmit(), "the next poll waits for its release");
            // 100 ms after the last release.
            let due = at(100 * (turn + 1));
            assert_eq!(rig.pass(due), [due]);
            assert!(rig.session.wants_transmit(), "the poll's connection is to be woken");
            rig.look();
            assert_eq!(rig.take(), [control("6")]);
        }
        rig.now = at(1_000);
        rig.poll();
        assert_eq!(rig.take(), [control("6")], "the last release was long ago");
    }
}

#[test]
fn a_poll_that_waits_for_its_release_is_answered_by_a_message() {
    let mut rig = Rig::polling();
    rig.probed();
    rig.poll();
    rig.poll();
    assert_eq!(rig.take(), [control("6")]);
    rig.send("a").unwrap();
    assert_eq!(rig.session.next_deadline(), Some(at(10_000)), "no release is needed any more");
    rig.look();
    assert_eq!(rig.take(), [text("a")]);
}

#[test]
fn a_poll_that_waits_for_its_release_goes_on_waiting_if_the_upgrade_is_given_up() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.poll();
    rig.poll();
    assert_eq!(rig.take(), [control("6")]);
    rig.session.abort_upgrade(ticket);
    rig.pass(at(1_000));
    rig.look();
    assert!(rig.polling);
}

#[test]
fn a_client_may_upgrade_without_a_probe() {
    for polls in [true, false] {
        let mut rig = Rig::polling();
        if polls {
            rig.poll();
        }
        let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
        assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
        assert_eq!(rig.session.transport(), Transport::WebSocket);
        rig.look();
        assert_eq!(rig.take(), if polls { vec![control("6")] } else { vec![] });
        rig.send("a").unwrap();
        rig.read();
        assert_eq!(rig.take(), [text("a")]);
    }
}

#[test]
fn each_of_several_probes_is_answered_and_they_do_not_prolong_the_upgrade() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    for second in 1..10 {
        rig.now = at(second * 1_000);
        assert_eq!(rig.probe(ticket, "2probe"), Probing::Answer);
    }
    assert_eq!(rig.session.next_deadline(), Some(at(10_000)));
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
}

#[test]
fn a_poll_that_waits_when_the_upgrade_completes_is_released_once() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.begin_poll(at(0), false).unwrap();
    rig.send("a").unwrap();
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    rig.polling = true;
    rig.look();
    assert_eq!(rig.take(), [control("6")]);
    assert!(rig.session.take_payload().is_none());
    rig.read();
    assert_eq!(rig.take(), [text("a")]);
}

#[test]
fn a_released_poll_whose_connection_closes_does_not_end_the_session() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.begin_poll(at(0), false).unwrap();
    rig.probe(ticket, "5");
    rig.session.abort_poll(at(1));
    assert_eq!(rig.session.closed(), None);
}

#[test]
fn an_upgrade_waits_for_the_post_that_is_under_way() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.begin_post(at(0), false).unwrap();
    assert_eq!(rig.probe(ticket, "5"), Probing::Wait);
    assert!(rig.session.is_upgrading(ticket) && !rig.session.is_upgrade_due(ticket));
    assert_eq!(rig.packets("4a"), [text("a")]);
    assert_eq!(rig.session.transport(), Transport::Polling);
    rig.session.end_post();
    assert!(rig.session.is_upgrade_due(ticket));
    // Another POST may have begun before the connection has its turn.
    rig.session.begin_post(at(0), false).unwrap();
    assert!(!rig.session.is_upgrade_due(ticket));
    assert_eq!(rig.probe(ticket, "5"), Probing::Wait);
    rig.session.end_post();
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    assert_eq!(rig.session.transport(), Transport::WebSocket);
    assert_eq!(rig.session.closed(), None);
}

#[test]
fn an_upgrade_that_waits_for_a_post_is_given_up_at_its_deadline() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.begin_post(at(0), false).unwrap();
    assert_eq!(rig.probe(ticket, "5"), Probing::Wait);
    rig.session.handle_timeout(at(10_000));
    rig.session.end_post();
    assert!(!rig.session.is_upgrading(ticket) && !rig.session.is_upgrade_due(ticket));
    assert_eq!(rig.probe(ticket, "5"), Probing::Close);
    assert_eq!((rig.session.transport(), rig.session.closed()), (Transport::Polling, None));
}

#[test]
fn a_session_that_closes_while_its_upgrade_waits_says_so_on_the_new_connection() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.begin_post(at(0), false).unwrap();
    assert_eq!(rig.probe(ticket, "5"), Probing::Wait);
    rig.session.close(at(0), CloseReason::ServerShutdown);
    assert!(!rig.session.is_finished());
    rig.session.end_post();
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    assert!(rig.session.is_finished());
}

#[test]
fn messages_before_during_and_after_the_upgrade_arrive_once_and_in_order() {
    let mut rig = Rig::polling();
    rig.send("1").unwrap();
    let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
    rig.send_binary(b"2").unwrap();
    rig.probe(ticket, "2probe");
    rig.session.send([Part::Text(b"3"), Part::Binary(&[3; 300])].into_iter()).unwrap();
    rig.poll();
    rig.session.send_shared(&mut Frames::new([Part::Text(b"4"), Part::Binary(b"44")].into_iter())).unwrap();
    rig.send_binary(b"").unwrap();
    rig.send("").unwrap();
    rig.probe(ticket, "5");
    rig.send("5").unwrap();
    rig.session.send_shared(&mut Frames::new([Part::Binary(&[6; 300])].into_iter())).unwrap();
    rig.read();
    assert_eq!(
        rig.take(),
        [
            text("1"),
            binary(b"2"),
            text("3"),
            binary(&[3; 300]),
            text("4"),
            binary(b"44"),
            binary(b""),
            text(""),
            text("5"),
            binary(&[6; 300]),
        ]
    );
}

#[test]
fn messages_that_max_payload_held_back_move_to_the_websocket_in_order() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.max_payload = 10));
    let messages = ["first one", "second one", "third one", "x"];
    messages.iter().for_each(|message| rig.send(message).unwrap());
    rig.send_binary(&[9; 20]).unwrap();
    let ticket = rig.probed();
    rig.poll();
    assert_eq!(rig.take(), [text("first one")]);
    rig.probe(ticket, "5");
    rig.read();
    assert_eq!(rig.take(), [text("second one"), text("third one"), text("x"), binary(&[9; 20])]);
}

#[test]
fn a_websocket_whose_first_packet_is_no_probe_is_dropped_and_polling_continues() {
    for packet in ["40", "42[\"x\"]", "2", "3", "3probe", "6", "1", "2probes"] {
        let mut rig = Rig::polling();
        let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
        assert_eq!(rig.probe(ticket, packet), Probing::Close, "{packet}");
        assert!(!rig.session.is_upgrading(ticket));
        rig.send("a").unwrap();
        rig.poll();
        assert_eq!(rig.take(), [text("a")]);
        rig.upgrade();
    }
}

#[test]
fn any_packet_except_upgrade_after_the_probe_drops_the_websocket() {
    for packet in ["2", "42[\"x\"]", "3", "6", "1"] {
        let mut rig = Rig::polling();
        let ticket = rig.probed();
        assert_eq!(rig.probe(ticket, packet), Probing::Close, "{packet}");
        rig.poll();
        rig.pass(at(1_000));
        rig.look();
        assert!(rig.polling, "polls wait again");
        assert_eq!(rig.session.closed(), None);
    }
}

#[test]
fn the_upgrade_timeout_cancels_only_the_upgrade() {
    for probed in [false, true] {
        let mut rig = Rig::polling();
        rig.now = at(1_000);
        let ticket = rig.session.begin_upgrade(rig.now, false).unwrap();
        if probed {
            rig.now = at(2_000);
            rig.probe(ticket, "2probe");
        }
        let deadline = if probed { at(12_000) } else { at(11_000) };
        assert_eq!(rig.pass(at(20_000)), [deadline]);
        assert!(!rig.session.is_upgrading(ticket));
        assert_eq!(rig.probe(ticket, if probed { "5" } else { "2probe" }), Probing::Close);
        assert_eq!(rig.session.closed(), None);
        rig.poll();
        assert!(rig.polling);
        assert_eq!(rig.session.next_deadline(), Some(at(25_000)));
    }
}

#[test]
fn a_second_upgrade_is_refused_and_does_not_disturb_the_first() {
    let mut rig = Rig::polling();
    let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
    assert_eq!(rig.session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
    rig.probe(ticket, "2probe");
    assert_eq!(rig.session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    assert_eq!(rig.session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
    assert_eq!(rig.session.closed(), None);
}

#[test]
fn disabled_upgrades_are_refused() {
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.allow_upgrades = false));
    assert_eq!(rig.session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.websocket = false));
    assert_eq!(rig.session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
    assert_eq!(Rig::websocket().session.begin_upgrade(at(0), false), Err(Refused::NoUpgrade));
}

#[test]
fn a_websocket_that_fails_during_the_upgrade_does_not_affect_polling() {
    for probed in [false, true] {
        let mut rig = Rig::polling();
        let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
        if probed {
            rig.probe(ticket, "2probe");
        }
        rig.send("a").unwrap();
        rig.session.abort_upgrade(ticket);
        rig.poll();
        assert_eq!(rig.take(), [text("a")]);
        rig.poll();
        assert!(rig.polling);
        assert_eq!(rig.session.next_deadline(), Some(at(25_000)));
    }
}

#[test]
fn an_aborted_upgrade_cannot_abort_or_complete_the_next_one() {
    let mut rig = Rig::polling();
    let old = rig.session.begin_upgrade(at(0), false).unwrap();
    rig.session.abort_upgrade(old);
    let new = rig.session.begin_upgrade(at(0), false).unwrap();
    rig.session.abort_upgrade(old);
    assert!(rig.session.is_upgrading(new));
    assert_eq!(rig.probe(old, "2probe"), Probing::Close);
    assert!(rig.session.is_upgrading(new));
    assert_eq!(rig.probe(new, "2probe"), Probing::Answer);
    assert_eq!(rig.probe(old, "5"), Probing::Close);
    assert_eq!(rig.probe(new, "5"), Probing::Complete);
}

#[test]
fn a_close_while_upgrading_reaches_both_transports() {
    for probed in [false, true] {
        let mut rig = Rig::polling();
        rig.poll();
        let ticket = rig.session.begin_upgrade(at(0), false).unwrap();
        if probed {
            rig.probe(ticket, "2probe");
        }
        rig.session.close(at(1), CloseReason::ForcedClose(None));
        assert!(!rig.session.is_upgrading(ticket));
        assert_eq!(rig.probe(ticket, if probed { "5" } else { "2probe" }), Probing::Close);
        rig.look();
        assert_eq!(rig.take(), [control("1")]);
        assert!(rig.session.is_finished());
        assert_eq!(rig.session.begin_upgrade(at(2), false), Err(Refused::Closed));
    }
}

#[test]
fn a_closing_session_finishes_when_the_client_completes_its_upgrade() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ServerShutdown);
    assert!(rig.session.is_upgrading(ticket));
    assert!(!rig.session.is_finished());
    assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
    assert!(rig.session.is_finished() && rig.session.next_deadline().is_none());
    rig.read();
    assert_eq!(rig.take(), [text("last")]);
}

#[test]
fn a_client_that_polls_a_closing_session_cannot_complete_its_upgrade() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.send("last").unwrap();
    rig.session.close(at(1), CloseReason::ServerShutdown);
    rig.poll();
    rig.poll();
    assert_eq!(rig.take(), [text("last"), control("1")]);
    assert!(rig.session.is_finished() && !rig.session.is_upgrading(ticket));
    assert_eq!(rig.probe(ticket, "5"), Probing::Close);
}

#[test]
fn a_session_that_closes_during_an_upgrade_finishes_after_the_close_timeout() {
    let mut rig = Rig::polling();
    let ticket = rig.probed();
    rig.session.close(at(1), CloseReason::ForcedClose(None));
    assert_eq!(rig.pass(at(100_000)), [at(30_001)]);
    assert!(rig.session.is_finished() && !rig.session.is_upgrading(ticket));
}

#[test]
fn the_heartbeat_is_not_suspended_while_upgrading() {
    let config = config_with(|c| c.upgrade_timeout = std::time::Duration::from_secs(600));
    let mut rig = Rig::open(Transport::Polling, config);
    rig.probed();
    assert_eq!(rig.pass(at(100_000)), [at(25_000), at(45_000)]);
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
}

/// A step of an upgrade, in any order that the protocol allows.
#[derive(Clone, Copy, Debug)]
enum Step {
    Poll,
    Probe,
    Complete,
    Text,
    Binary,
    Shared,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![Just(Poll), Just(Probe), Just(Complete), Just(Text), Just(Binary), Just(Shared), Just(Read)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_order_of_probe_poll_and_upgrade_loses_repeats_or_reorders_messages(
        steps in proptest::collection::vec(step(), 0..40),
        max_payload in prop_oneof![Just(1usize), Just(20), Just(1_000_000)],
    ) {
        let mut rig = Rig::open(Transport::Polling, config_with(|c| c.max_payload = max_payload));
        let mut ticket = None;
        let mut sent = Vec::new();
        for (i, step) in steps.into_iter().enumerate() {
            let message = format!("message {i}");
            let upgraded = rig.session.transport() == Transport::WebSocket;
            match step {
                Step::Poll if !upgraded => rig.poll(),
                Step::Probe if ticket.is_none() => ticket = Some(rig.probed()),
                Step::Complete if !upgraded => if let Some(ticket) = ticket {
                    prop_assert_eq!(rig.probe(ticket, "5"), Probing::Complete);
                },
                Step::Text => { rig.send(&message).unwrap(); sent.push(text(&message)); }
                Step::Binary => { rig.send_binary(message.as_bytes()).unwrap(); sent.push(binary(message.as_bytes())); }
                Step::Shared => {
                    let parts = [Part::Text(message.as_bytes()), Part::Binary(message.as_bytes())];
                    rig.session.send_shared(&mut Frames::new(parts.into_iter())).unwrap();
                    sent.extend([text(&message), binary(message.as_bytes())]);
                }
                Step::Read if upgraded => rig.read(),
                _ => {}
            }
            rig.look();
        }
        while rig.session.queued() > 0 {
            match rig.session.transport() {
                Transport::Polling => rig.poll(),
                Transport::WebSocket => rig.read(),
            }
        }
        let mut got = rig.take();
        let noops = got.iter().filter(|got| **got == control("6")).count();
        got.retain(|got| *got != control("6"));
        prop_assert_eq!(got, sent);
        prop_assert!(ticket.is_some() || noops == 0);
    }
}
