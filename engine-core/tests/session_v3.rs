//! A session of a client that speaks version 3 of Engine.IO.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use sockeye_core::engineio::server::{Config, Probing, SendFlags, Session, WhenFull};
use sockeye_core::engineio::{
    CloseReason, Frames, Id, Opening, Packet, Part, Transport, TransportError, Version, v3,
};
use sockeye_core::{Outbound, Time};
use std::time::Duration;
use support::*;

const MINUTE: Duration = Duration::from_secs(60);

fn open_with(config: impl FnOnce(&mut Config), transport: Transport, base64: bool) -> Session {
    let config = config_with(|it| {
        it.allow_eio3 = true;
        config(it);
    });
    let opening = Opening { transport, version: Version::V3, base64, resumable: false };
    let mut session = Session::open(at(0), config, &Id::from_random([7; 15]), opening);
    match transport {
        Transport::Polling => {
            let payload = String::from_utf8(poll(&mut session)).unwrap();
            let (length, packet) = payload.split_once(':').unwrap();
            assert!(
                length == packet.len().to_string() && packet.starts_with("0{\"sid\":\"BwcH"),
                "{payload}"
            );
        }
        Transport::WebSocket => assert!(frames(&mut session).starts_with(b"\x81\x6b0{\"sid\"")),
    }
    session
}

fn open(transport: Transport, base64: bool) -> Session {
    open_with(|_| {}, transport, base64)
}

/// Begins a poll and returns its answer, which must be there.
fn poll(session: &mut Session) -> Vec<u8> {
    session.begin_poll(at(0), false).unwrap();
    flat(session.take_payload().expect("something to send"))
}

fn frames(session: &mut Session) -> Vec<u8> {
    let mut out = Outbound::new();
    session.take_frames(&mut out);
    session.set_in_flight(0);
    flat(out)
}

fn send(session: &mut Session, part: Part<'_>) {
    session.send(std::iter::once(part)).unwrap();
}

fn handle(session: &mut Session, now: Time, packet: &str) {
    assert_eq!(session.handle_packet(now, v3::decode_text(packet).unwrap()), None);
}

#[test]
fn a_payload_has_the_length_of_each_packet_in_front_of_it() {
    let mut session = open(Transport::Polling, true);
    send(&mut session, Part::Text("€😀".as_bytes()));
    send(&mut session, Part::Binary(&[1, 2, 3, 4]));
    assert_eq!(poll(&mut session), "4:4€😀10:b4AQIDBA==".as_bytes());
}

#[test]
fn a_payload_with_a_binary_message_is_binary_unless_the_client_cannot_read_it() {
    let mut session = open(Transport::Polling, false);
    send(&mut session, Part::Text(b"a"));
    assert_eq!(poll(&mut session), b"2:4a");
    send(&mut session, Part::Text("é".as_bytes()));
    send(&mut session, Part::Binary(&[1, 2, 3, 4]));
    assert_eq!(poll(&mut session), b"\x00\x03\xff4\xc3\xa9\x01\x05\xff\x04\x01\x02\x03\x04");
}

#[test]
fn packets_that_are_sent_while_a_poll_waits_have_lengths_of_their_own() {
    for (base64, expected) in
        [(true, &b"2:4a6:b4AQI=2:4b"[..]), (false, b"\x00\x02\xff4a\x01\x03\xff\x04\x01\x02\x00\x02\xff4b")]
    {
        let mut session = open(Transport::Polling, base64);
        for _ in 0..2 {
            session.begin_poll(at(0), false).unwrap();
            assert!(session.take_payload().is_none());
            send(&mut session, Part::Text(b"a"));
            send(&mut session, Part::Binary(&[1, 2]));
            send(&mut session, Part::Text(b"b"));
            assert_eq!(flat(session.take_payload().unwrap()), expected);
        }
    }
}

#[test]
fn a_payload_takes_whole_packets_up_to_the_limit() {
    let mut session = open_with(|config| config.max_payload = 7, Transport::Polling, true);
    ["aa", "bb", "cccccccccc", "dd"]
        .into_iter()
        .for_each(|text| send(&mut session, Part::Text(text.as_bytes())));
    for expected in ["3:4aa3:4bb", "11:4cccccccccc", "3:4dd"] {
        assert_eq!(poll(&mut session), expected.as_bytes());
    }
}

#[test]
fn a_binary_frame_begins_with_the_type_of_the_packet() {
    let mut session = open(Transport::WebSocket, false);
    send(&mut session, Part::Binary(&[1, 2]));
    send(&mut session, Part::Text(b"a"));
    assert_eq!(frames(&mut session), b"\x82\x03\x04\x01\x02\x81\x024a");
    let mut session = open(Transport::WebSocket, true);
    send(&mut session, Part::Binary(&[1, 2]));
    assert_eq!(frames(&mut session), b"\x81\x06b4AQI=");
}

#[test]
fn a_shared_text_is_the_same_bytes_for_both_versions() {
    let text = [b'x'; 2000];
    let mut shared = Frames::new([Part::Text(&text)].into_iter());
    let mut places = Vec::new();
    for version in [Version::V3, Version::V4, Version::V3] {
        let opening = Opening { transport: Transport::WebSocket, version, base64: false, resumable: false };
        let mut session = Session::open(at(0), config(), &Id::from_random([7; 15]), opening);
        frames(&mut session);
        session.send_shared(&mut shared).unwrap();
        let mut out = Outbound::new();
        session.take_frames(&mut out);
        places.extend(out.chunks().map(<[u8]>::as_ptr));
    }
    assert!(places.len() == 3 && places.iter().all(|place| *place == places[0]), "{places:?}");
}

#[test]
fn a_shared_unit_with_attachments_is_encoded_once_for_each_version() {
    let parts = [Part::Text(b"51-[]"), Part::Binary(&[1; 500])];
    let mut shared = Frames::new(parts.into_iter());
    let mut all = Vec::new();
    let mut places = std::collections::BTreeSet::new();
    for (version, base64) in [(Version::V4, false), (Version::V3, false), (Version::V3, true)] {
        for _ in 0..3 {
            let opening = Opening { transport: Transport::WebSocket, version, base64, resumable: false };
            let mut session = Session::open(at(0), config(), &Id::from_random([7; 15]), opening);
            frames(&mut session);
            session.send_shared(&mut shared).unwrap();
            let mut out = Outbound::new();
            session.take_frames(&mut out);
            places.extend(out.chunks().map(<[u8]>::as_ptr));
            all.push(flat(out));
        }
    }
    assert_eq!(places.len(), 3);
    assert!(all[0].starts_with(b"\x81\x06451-[]\x82\x7e\x01\xf4\x01\x01"));
    assert!(all[3].starts_with(b"\x81\x06451-[]\x82\x7e\x01\xf5\x04\x01\x01"));
    assert!(all[6].starts_with(b"\x81\x06451-[]\x81\x7e\x02\x9eb4AQEB"), "{:?}", &all[6][..20]);
    // Over polling, the form of version 3 is made when a payload is taken.
    let mut session = open(Transport::Polling, false);
    session.send_shared(&mut shared).unwrap();
    let payload = poll(&mut session);
    assert!(payload.starts_with(b"\x00\x06\xff451-[]\x01\x05\x00\x01\xff\x04\x01\x01"), "{payload:?}");
}

#[test]
fn the_client_pings_and_the_server_answers() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut session = open(transport, false);
        for ping in 1..5 {
            let now = at(40_000 * ping);
            session.handle_timeout(now);
            assert!(session.queued() == 0, "the server sends no ping");
            handle(&mut session, now, "2");
            match transport {
                Transport::Polling => assert_eq!(poll(&mut session), b"1:3"),
                Transport::WebSocket => assert_eq!(frames(&mut session), b"\x81\x013"),
            }
            assert_eq!(session.next_deadline(), Some(now + Duration::from_secs(45)));
            assert!(session.take_controls().ping && session.closed().is_none());
        }
        session.handle_timeout(at(160_000 + 45_000));
        assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
    }
}

#[test]
fn bytes_that_arrive_put_the_timeout_off_and_silence_does_not() {
    let mut session = open(Transport::WebSocket, false);
    session.heard(at(44_000));
    session.handle_timeout(at(45_000));
    assert_eq!((session.closed(), session.next_deadline()), (None, Some(at(64_000))));
    session.handle_timeout(at(64_000));
    assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn an_overdue_ping_is_excused_while_the_application_is_behind() {
    let mut session = open(Transport::Polling, false);
    session.begin_poll(at(44_000), true).unwrap();
    session.excuse_pong(at(45_000), false);
    session.handle_timeout(at(45_000));
    assert_eq!((session.closed(), session.next_deadline()), (None, Some(at(65_000))));
    // Each poll counts once.
    session.excuse_pong(at(65_000), false);
    session.handle_timeout(at(65_000));
    assert_eq!(session.closed(), Some(&CloseReason::PingTimeout));
}

#[test]
fn an_upgrade_does_not_put_the_timeout_off() {
    let mut session = open(Transport::Polling, true);
    send(&mut session, Part::Binary(&[1, 2]));
    let ticket = session.begin_upgrade(at(1000), false).unwrap();
    assert_eq!(session.handle_probe(at(1000), ticket, &Packet::Ping("probe")), Probing::Answer);
    assert_eq!(session.handle_probe(at(2000), ticket, &Packet::Upgrade), Probing::Complete);
    // What waited is framed for the new connection, which reads bytes.
    assert_eq!(frames(&mut session), b"\x82\x03\x04\x01\x02");
    assert_eq!(session.next_deadline(), Some(at(45_000)));
}

#[test]
fn an_upgrade_keeps_base_64_if_its_request_asks_for_it() {
    let mut session = open(Transport::Polling, true);
    let ticket = session.begin_upgrade(at(0), false).unwrap();
    session.set_base64();
    session.handle_probe(at(0), ticket, &Packet::Upgrade);
    send(&mut session, Part::Binary(&[1, 2]));
    assert_eq!(frames(&mut session), b"\x81\x06b4AQI=");
}

#[test]
fn a_probed_poll_is_released_with_a_noop() {
    let mut session = open(Transport::Polling, false);
    session.begin_poll(at(0), false).unwrap();
    let ticket = session.begin_upgrade(at(0), false).unwrap();
    session.handle_probe(at(0), ticket, &Packet::Ping("probe"));
    assert_eq!(flat(session.take_payload().unwrap()), b"1:6");
    session.begin_poll(at(0), false).unwrap();
    session.handle_probe(at(0), ticket, &Packet::Upgrade);
    assert_eq!(flat(session.take_payload().unwrap()), b"1:6", "a poll that came too late");
}

#[test]
fn the_end_is_told_in_the_form_of_the_version() {
    let mut session = open(Transport::Polling, false);
    send(&mut session, Part::Text(b"41"));
    session.close(at(0), CloseReason::ForcedClose(None));
    assert_eq!(poll(&mut session), b"3:441");
    assert_eq!(poll(&mut session), b"1:1");
    assert!(session.is_finished());

    let mut session = open(Transport::Polling, false);
    session.begin_poll(at(0), false).unwrap();
    handle(&mut session, at(0), "1");
    assert_eq!(flat(session.take_payload().unwrap()), b"1:6");
    assert_eq!(session.closed(), Some(&CloseReason::TransportClose));
}

#[test]
fn a_pong_goes_in_the_wrong_direction() {
    let mut session = open(Transport::WebSocket, false);
    handle(&mut session, at(0), "3");
    assert_eq!(session.closed(), Some(&TransportError::PongFromClient.into()));
}

#[test]
fn a_client_that_pings_and_never_reads_is_closed() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut session = open_with(|config| config.send_buffer = 1000, transport, false);
        let pings = (1..).take_while(|_| {
            handle(&mut session, at(0), "2");
            session.closed().is_none()
        });
        assert!(pings.count() < 1000);
        let reason = session.closed().unwrap().to_string();
        assert_eq!(reason, "transport error");
    }
}

/// Little may wait, and what is too much is dropped.
fn dropping(config: &mut Config) {
    config.when_full = WhenFull::DropOldest;
    (config.send_buffer, config.high_water) = (1000, 200);
}

#[test]
fn messages_that_may_be_dropped_wait_as_in_version_4() {
    let mut session = open_with(dropping, Transport::Polling, true);
    let flags = SendFlags::default().may_drop(true);
    for number in 0..40u8 {
        let text = [b'a' + number % 26; 50];
        session.send_with(std::iter::once(Part::Text(&text)), flags).unwrap();
    }
    let body = String::from_utf8(poll(&mut session)).unwrap();
    let (mut left, mut count) = (v3::Payload::Text(&body), 0);
    while !left.is_empty() {
        left = left.split_first().unwrap().1;
        count += 1;
    }
    assert!((2..20).contains(&count), "{count}");
}

#[test]
fn silence_ends_the_session() {
    let mut session = open(Transport::Polling, false);
    while let Some(deadline) = session.next_deadline() {
        session.handle_timeout(deadline);
        assert!(deadline < at(0) + 2 * MINUTE);
    }
    assert!(session.is_finished());
}

#[test]
fn the_ping_of_a_client_that_reads_slowly_does_not_end_its_session_if_messages_may_be_dropped() {
    let mut session = open_with(dropping, Transport::WebSocket, false);
    let flags = SendFlags::default().may_drop(true);
    let send = |session: &mut Session, len| {
        session.send_with(std::iter::once(Part::Text(&vec![b'a'; len])), flags).unwrap();
    };
    while session.queued() < 800 {
        send(&mut session, 10);
    }
    // Fills it to the last byte: what waits to be dropped counts 64 bytes more than its frame.
    let left = 1000 - session.queued();
    send(&mut session, left - 64 - 3);
    assert_eq!(session.queued(), 1000);
    handle(&mut session, at(0), "2");
    assert_eq!(session.closed(), None);
}

#[test]
fn a_payload_has_a_limited_number_of_packets() {
    let mut session = open(Transport::Polling, false);
    (0..5000).for_each(|_| handle(&mut session, at(0), "2"));
    let [first, second] = [poll(&mut session), poll(&mut session)];
    assert_eq!(first, "1:3".repeat(4096).into_bytes());
    assert_eq!(second, "1:3".repeat(5000 - 4096).into_bytes());
}
