//! Pings, pongs, and clocks that jump.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use sockeye_core::engineio::{CloseReason, Transport, server::Refused};
use std::cell::Cell;
use std::time::Duration;
use support::*;

#[test]
fn the_first_ping_is_sent_once_after_one_interval() {
    let mut rig = Rig::websocket();
    rig.session.handle_timeout(at(24_999));
    rig.read();
    assert_eq!(rig.take(), []);
    for ms in [25_000, 25_000, 25_001, 26_000] {
        rig.session.handle_timeout(at(ms));
    }
    rig.read();
    assert_eq!(rig.take(), [control("2")]);
}

#[test]
fn a_pong_starts_the_next_interval() {
    let mut rig = Rig::websocket();
    rig.pass(at(25_000));
    rig.now = at(25_250);
    rig.packets("3");
    assert_eq!(rig.session.next_deadline(), Some(at(50_250)));
    rig.packets("3");
    assert_eq!(rig.session.next_deadline(), Some(at(50_250)), "an unsolicited pong is ignored");
}

#[test]
fn pings_of_many_sessions_are_due_at_the_same_times_and_a_little_early() {
    // The interval in milliseconds, and the time between two pings in nanoseconds.
    for (interval, step) in [(25_000, 31_250_000), (3200, 25_000_000), (1000, 7_812_500)] {
        let (interval, step) = (Duration::from_millis(interval), Duration::from_nanos(step));
        let config = config_with(|c| c.ping_interval = interval);
        let mut due = Vec::new();
        for ms in 0..1000 {
            let mut rig = Rig::open(Transport::WebSocket, config.clone());
            rig.pass(at(0) + interval);
            rig.now = at(ms) + interval;
            rig.packets("3");
            let latest = rig.now + interval;
            due.push(rig.session.next_deadline().unwrap());
            assert!(
                due.iter().all(|due| *due <= latest) && latest.saturating_since(due[due.len() - 1]) < step
            );
        }
        due.dedup();
        assert_eq!(
            due.len() as u128,
            Duration::from_secs(1).as_nanos().div_ceil(step.as_nanos()),
            "{interval:?}"
        );
    }
}

#[test]
fn without_a_pong_the_session_ends_after_interval_and_timeout() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut rig = Rig::open(transport, config());
        assert_eq!(rig.pass(at(3_600_000)), [at(25_000), at(45_000)], "{transport}");
        assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
        assert!(rig.session.is_finished());
    }
}

#[test]
fn a_waiting_poll_is_answered_with_the_ping() {
    let mut rig = Rig::polling();
    rig.poll();
    rig.pass(at(25_000));
    rig.look();
    assert_eq!(rig.take(), [control("2")]);
    rig.poll();
    rig.post("3");
    assert_eq!(rig.session.next_deadline(), Some(at(50_000)));
    rig.look();
    assert_eq!(rig.take(), [], "a pong has no answer");
}

#[test]
fn a_poll_that_waits_at_the_ping_timeout_is_answered_with_a_close() {
    let mut rig = Rig::polling();
    rig.pass(at(25_000));
    rig.poll();
    assert_eq!(rig.take(), [control("2")]);
    rig.poll();
    rig.pass(at(45_000));
    rig.look();
    assert_eq!(rig.take(), [control("1")]);
}

#[test]
fn arriving_bytes_keep_the_session_alive_before_the_pong() {
    let mut rig = Rig::websocket();
    rig.pass(at(25_000));
    for ms in (26_000..300_000).step_by(1000) {
        rig.pass(at(ms));
        rig.session.heard_with(&|| at(ms));
    }
    assert_eq!(rig.session.closed(), None);
    rig.read();
    assert_eq!(rig.take(), [control("2")], "one ping is enough");
    // The last byte was heard at 299 s.
    assert_eq!(rig.pass(at(400_000)).last(), Some(&at(319_000)));
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn the_time_at_which_bytes_arrive_matters_only_while_the_peer_is_to_answer_a_ping() {
    let mut rig = Rig::websocket();
    rig.session.heard_with(&|| panic!("no ping is out"));
    rig.pass(at(25_000));
    let is_asked = Cell::new(false);
    rig.session.heard_with(&|| {
        is_asked.set(true);
        at(30_000)
    });
    assert!(is_asked.get());
    rig.read();
    rig.now = at(31_000);
    rig.packets("3");
    rig.session.heard_with(&|| panic!("the ping was answered"));
}

#[test]
fn bytes_from_before_the_ping_do_not_count_for_it() {
    let mut rig = Rig::websocket();
    rig.session.heard(at(24_999));
    rig.pass(at(25_000));
    assert_eq!(rig.pass(at(100_000)), [at(45_000)]);
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn a_late_timer_does_not_extend_the_deadline_of_the_pong() {
    let mut rig = Rig::websocket();
    rig.session.handle_timeout(at(26_000));
    assert_eq!(rig.session.next_deadline(), Some(at(45_000)));
}

#[test]
fn after_an_hour_of_suspension_one_ping_is_sent_with_the_full_timeout() {
    let hour = 3_600_000;
    let mut rig = Rig::websocket();
    rig.session.handle_timeout(at(hour));
    rig.read();
    assert_eq!(rig.take(), [control("2")]);
    assert_eq!(rig.session.next_deadline(), Some(at(hour + 20_000)));
    rig.now = at(hour + 125);
    rig.packets("3");
    assert_eq!(rig.session.closed(), None);
    assert_eq!(rig.session.next_deadline(), Some(at(hour + 25_125)));
}

#[test]
fn an_hour_of_suspension_with_a_ping_pending_closes_once() {
    let mut rig = Rig::websocket();
    rig.pass(at(25_000));
    rig.session.handle_timeout(at(3_600_000));
    assert_eq!(rig.session.take_closed(), Some(CloseReason::PingTimeout));
    rig.session.handle_timeout(at(7_200_000));
    assert_eq!(rig.session.take_closed(), None);
    assert_eq!(rig.session.next_deadline(), None);
}

#[test]
fn a_clock_that_runs_backwards_is_tolerated() {
    let mut rig = Rig::polling();
    rig.now = at(10_000);
    rig.poll();
    rig.post("4a");
    rig.now = at(9_999);
    rig.post("4b");
    rig.session.handle_timeout(at(0));
    rig.pass(at(25_000));
    rig.look();
    rig.now = at(24_999);
    rig.post("3");
    assert_eq!(rig.session.next_deadline(), Some(at(49_968) + Duration::from_micros(750)));
    rig.session.heard(at(0));
    rig.session.close(at(0), CloseReason::ForcedClose(None));
    assert_eq!(rig.session.next_deadline(), Some(at(30_000)));
}

#[test]
fn zero_and_maximum_intervals_and_timeouts_do_not_spin() {
    let mut rig = Rig::open(Transport::WebSocket, config_with(|c| c.ping_timeout = Duration::ZERO));
    assert_eq!(rig.pass(at(100_000)), [at(25_000)]);
    assert!(rig.session.is_finished());
    let mut rig = Rig::open(Transport::WebSocket, config_with(|c| c.ping_interval = Duration::ZERO));
    assert_eq!(rig.pass(at(100_000)), [at(0), at(20_000)]);
    let mut rig = Rig::open(Transport::Polling, config_with(|c| c.ping_interval = Duration::MAX));
    assert_eq!(rig.pass(at(u64::MAX / 2_000_000)), []);
}

#[test]
fn an_upgrade_does_not_restart_the_heartbeat() {
    let mut rig = Rig::polling();
    rig.now = at(20_000);
    rig.upgrade();
    assert_eq!(rig.session.next_deadline(), Some(at(25_000)));
}

#[test]
fn a_ping_that_is_due_while_upgrading_is_sent_once() {
    for polls_before in [false, true] {
        let mut rig = Rig::polling();
        rig.now = at(24_000);
        let ticket = rig.probed();
        rig.pass(at(25_000));
        if polls_before {
            rig.poll();
            assert_eq!(rig.take(), [control("2")]);
        }
        rig.probe(ticket, "5");
        rig.read();
        let expected = if polls_before { vec![] } else { vec![control("2")] };
        assert_eq!(rig.take(), expected);
        assert_eq!(rig.session.next_deadline(), Some(at(45_000)));
    }
}

#[test]
fn a_ping_is_sent_even_if_the_send_buffer_is_full() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut rig = Rig::open(transport, config_with(|config| config.send_buffer = 100));
        while rig.send("a message of some bytes").is_ok() {}
        rig.pass(at(25_000));
        assert!(rig.send("a message of some bytes").is_err());
        match transport {
            Transport::Polling => rig.poll(),
            Transport::WebSocket => rig.read(),
        }
        assert_eq!(rig.take().last(), Some(&control("2")), "{transport}");
    }
}

/// Handles a deadline while the application is behind. `is_deaf` says that the connection is not read.
fn behind(rig: &mut Rig, ms: u64, is_deaf: bool) {
    rig.session.excuse_pong(at(ms), is_deaf);
    rig.session.handle_timeout(at(ms));
}

#[test]
fn while_the_application_is_behind_bytes_count_as_a_pong_and_pings_go_on() {
    let mut rig = Rig::websocket();
    behind(&mut rig, 25_000, false);
    rig.read();
    assert_eq!(rig.take(), [control("2")]);
    for ms in [45_000, 65_000, 85_000] {
        rig.session.heard(at(ms - 19_000));
        behind(&mut rig, ms - 1, false);
        assert_eq!(rig.session.next_deadline(), Some(at(ms)));
        behind(&mut rig, ms, false);
        rig.read();
        assert_eq!(rig.take(), [control("2")], "{ms}");
    }
    behind(&mut rig, 105_000, false);
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout), "a silent peer is given up");
}

#[test]
fn a_peer_that_is_not_read_at_all_is_pinged_and_not_given_up() {
    let mut rig = Rig::websocket();
    behind(&mut rig, 25_000, true);
    for n in 1..100 {
        let ms = 25_000 + 20_000 * n;
        behind(&mut rig, ms, true);
        assert_eq!(rig.session.next_deadline(), Some(at(ms + 20_000)));
    }
    assert_eq!(rig.session.closed(), None);
    rig.read();
    assert_eq!(rig.take(), [control("2")], "unwritten pings do not accumulate");
    behind(&mut rig, 2_025_000, true);
    rig.read();
    assert_eq!(rig.take(), [control("2")]);
}

#[test]
fn while_the_application_is_behind_a_poll_counts_as_a_pong() {
    let mut rig = Rig::polling();
    rig.poll();
    for ms in [25_000, 45_000, 65_000] {
        behind(&mut rig, ms, true);
        rig.look();
        assert_eq!(rig.take(), [control("2")], "{ms}");
        rig.poll();
    }
    behind(&mut rig, 85_000, true);
    rig.look();
    // The client polls no more.
    behind(&mut rig, 104_999, true);
    assert_eq!(rig.session.closed(), None);
    behind(&mut rig, 105_000, true);
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn a_poll_counts_as_one_pong_even_if_packets_are_still_queued() {
    let mut rig = Rig::polling();
    rig.poll();
    behind(&mut rig, 25_000, true);
    rig.look();
    assert_eq!(rig.take(), [control("2")]);
    rig.send("one").unwrap();
    rig.poll();
    assert_eq!(rig.take(), [text("one")]);
    // No poll takes this one.
    rig.send("last").unwrap();
    behind(&mut rig, 45_000, true);
    assert_eq!(rig.session.closed(), None, "it polled since the ping");
    behind(&mut rig, 65_000, true);
    assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn while_the_application_is_behind_a_poll_that_is_faster_than_the_timer_counts_as_a_pong() {
    for is_behind in [true, false] {
        let mut rig = Rig::polling();
        rig.session.handle_timeout(at(25_000));
        rig.poll();
        assert_eq!(rig.take(), [control("2")]);
        // The deadline has passed, but its timer has not fired yet.
        let begun = rig.session.begin_poll(at(45_000), is_behind);
        assert_eq!(begun, if is_behind { Ok(()) } else { Err(Refused::Closed) });
        if !is_behind {
            continue;
        }
        let payload = rig.session.take_payload().map(from_payload);
        assert_eq!(payload, Some(vec![control("2")]), "another ping is due");
        // That poll has counted: the silence after this ping ends the session.
        behind(&mut rig, 65_000, false);
        assert_eq!(rig.session.closed(), Some(&CloseReason::PingTimeout));
    }
}

#[test]
fn while_the_application_is_behind_a_request_that_is_faster_than_the_timer_does_not_end_the_session() {
    for is_behind in [true, false] {
        for is_upgrade in [true, false] {
            let mut rig = Rig::polling();
            rig.poll();
            rig.pass(at(25_000));
            rig.look();
            rig.poll();
            let begun = match is_upgrade {
                true => rig.session.begin_upgrade(at(45_000), is_behind).map(|_| ()),
                false => rig.session.begin_post(at(45_000), is_behind),
            };
            assert_eq!(begun, if is_behind { Ok(()) } else { Err(Refused::Closed) });
        }
    }
}
