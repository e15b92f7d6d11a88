//! What a session knows of its connections: round trips, and the bytes in both directions.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Buf;
use sockeye_core::Outbound;
use sockeye_core::engineio::{Transport, server::Session};
use std::time::Duration;
use support::*;

/// Returns the round trip that the session has measured last, in milliseconds.
fn round_trip(rig: &Rig) -> Option<u128> {
    rig.session.conn().round_trip.map(|time| time.as_millis())
}

/// Lets a pong arrive at `ms`.
fn pong(rig: &mut Rig, ms: u64) {
    rig.now = at(ms);
    rig.packets("3");
}

#[test]
fn the_round_trip_is_that_of_the_last_answered_ping() {
    let mut rig = Rig::websocket();
    rig.pass(at(25_000));
    assert_eq!(round_trip(&rig), None);
    pong(&mut rig, 25_125);
    assert_eq!(round_trip(&rig), Some(125));
    rig.pass(at(50_125));
    assert_eq!(round_trip(&rig), Some(125), "a ping is on its way");
    pong(&mut rig, 50_425);
    assert_eq!(round_trip(&rig), Some(300));
    pong(&mut rig, 51_000);
    assert_eq!(round_trip(&rig), Some(300), "a pong without a ping tells nothing");
}

#[test]
fn a_late_timer_is_not_part_of_the_round_trip() {
    let mut rig = Rig::websocket();
    rig.session.handle_timeout(at(27_000));
    pong(&mut rig, 27_010);
    assert_eq!(round_trip(&rig), Some(10));
}

#[test]
fn a_ping_that_waits_for_a_poll_is_measured_from_that_poll() {
    let mut rig = Rig::polling();
    rig.pass(at(25_000));
    rig.now = at(28_000);
    rig.poll();
    assert_eq!(rig.take(), [control("2")]);
    rig.now = at(28_125);
    rig.poll();
    rig.post("3");
    assert_eq!(round_trip(&rig), Some(125));
    // The next one leaves at once, because a poll waits.
    rig.pass(at(53_125));
    rig.look();
    assert_eq!(rig.take(), [control("2")]);
    rig.now = at(53_185);
    rig.poll();
    rig.now = at(53_205);
    rig.post("3");
    assert_eq!(round_trip(&rig), Some(80));
}

#[test]
fn a_ping_that_waits_for_a_poll_may_leave_with_the_upgrade() {
    let mut rig = Rig::polling();
    rig.now = at(24_000);
    let ticket = rig.probed();
    rig.pass(at(25_000));
    rig.now = at(26_000);
    rig.probe(ticket, "5");
    rig.read();
    assert_eq!(rig.take(), [control("2")]);
    pong(&mut rig, 26_015);
    assert_eq!(round_trip(&rig), Some(15));
}

#[test]
fn a_pong_that_may_answer_an_excused_ping_is_not_measured() {
    let mut rig = Rig::websocket();
    rig.pass(at(25_000));
    rig.read();
    rig.session.heard(at(30_000));
    // Its pong is here, but the application is behind.
    rig.session.excuse_pong(at(45_000), false);
    rig.session.handle_timeout(at(45_000));
    rig.read();
    assert_eq!(rig.take(), [control("2"), control("2")]);
    pong(&mut rig, 45_125);
    assert_eq!(round_trip(&rig), None);
    pong(&mut rig, 45_150);
    rig.pass(at(70_125));
    pong(&mut rig, 70_155);
    assert_eq!(round_trip(&rig), Some(30));
}

#[test]
fn bytes_are_sent_when_they_are_written_and_queued_until_then() {
    let mut rig = Rig::websocket();
    let opened = rig.session.conn().sent_bytes;
    rig.send("hello").unwrap();
    let conn = rig.session.conn();
    // Two bytes of the frame's header, and the packet's type.
    assert_eq!((conn.sent_bytes - opened, conn.queued_bytes), (0, 8));
    let mut out = Outbound::new();
    rig.session.take_frames(&mut out);
    let conn = rig.session.conn();
    assert_eq!((conn.sent_bytes - opened, conn.queued_bytes), (0, 8));
    out.advance(3);
    rig.session.set_in_flight(out.len());
    let conn = rig.session.conn();
    assert_eq!((conn.sent_bytes - opened, conn.queued_bytes), (3, 5));
}

#[test]
fn the_counts_continue_after_an_upgrade() {
    let mut rig = Rig::polling();
    let opened = rig.session.conn().sent_bytes;
    assert_eq!(rig.session.conn().transport, Transport::Polling);
    rig.session.count_received(7);
    rig.send("a").unwrap();
    rig.poll();
    // The one is in a payload, the other in a frame.
    rig.upgrade();
    rig.send("b").unwrap();
    rig.read();
    rig.session.count_received(9);
    let conn = rig.session.conn();
    assert_eq!((conn.transport, conn.received_bytes), (Transport::WebSocket, 16));
    assert_eq!(conn.sent_bytes - opened, 2 + 4);
    assert_eq!(rig.take(), [text("a"), text("b")]);
}

#[test]
fn a_round_trip_is_bounded() {
    let mut rig = Rig::open(Transport::WebSocket, config_with(|c| c.ping_timeout = Duration::MAX));
    rig.pass(at(25_000));
    pong(&mut rig, u64::MAX / 2_000_000);
    assert_eq!(rig.session.conn().round_trip, Some(Duration::from_micros(u64::from(u32::MAX) - 1)));
}

#[test]
fn a_session_stays_small() {
    assert!(size_of::<Session>() <= 144, "{} bytes", size_of::<Session>());
}
