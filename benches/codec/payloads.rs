//! Payloads: several packets in one HTTP body of polling.

use crate::beside;
use crate::inputs::{Chat, Input};
use bytes::{Buf, Bytes};
use criterion::Criterion;
use engineioxide_core::{Packet as TheirPacket, ProtocolVersion, Str, payload};
use http_body_util::Full;
use smol::stream::{self, StreamExt};
use sockeye_core::Time;
use sockeye_core::engineio::{
    Id, Message, Packet, Part, Transport,
    server::{Config, Session},
    split_payload,
};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const MAX: u64 = 1_000_000;
const BINARY: [u8; 300] = [0xa5; 300];

/// Returns a payload of fifteen chat messages and a binary message.
fn body() -> String {
    let mut packets = vec![Chat::sample().message(); 15];
    let Poll::Ready(binary) = now(payload::encoder(
        stream::iter([smallvec(TheirPacket::Binary(Bytes::from_static(&BINARY)))]),
        ProtocolVersion::V4,
        false,
        MAX,
    )) else {
        panic!("it waits for nothing")
    };
    packets.push(String::from_utf8(binary.data.to_vec()).expect("base64 is text"));
    packets.join("\x1e")
}

pub(crate) fn split(c: &mut Criterion) {
    let body = body();
    let ours = || {
        let packets = split_payload(black_box(&body)).map(|packet| Packet::decode(packet).expect("a packet"));
        packets.fold((0, 0), |(count, len), packet| match packet {
            Packet::Message(Message::Text(text)) => (count + 1, len + text.len()),
            Packet::Message(Message::Binary(data)) => (count + 1, len + data.len()),
            other => panic!("not a message: {other:?}"),
        })
    };
    let shared = Bytes::from(body.clone());
    let theirs = || {
        let body = Full::new(black_box(&shared).clone());
        let packets = payload::decoder(body, None, ProtocolVersion::V4, MAX);
        let sum = packets.fold((0, 0), |(count, len), packet| match packet.expect("a packet") {
            TheirPacket::Message(text) => (count + 1, len + text.len()),
            TheirPacket::Binary(data) => (count + 1, len + data.len()),
            other => panic!("not a message: {other:?}"),
        });
        match now(sum) {
            Poll::Ready(sum) => sum,
            Poll::Pending => panic!("the body is there"),
        }
    };
    assert_eq!(ours(), theirs());
    assert_eq!(ours().0, 16);
    beside(c, "split_payload", "16_packets", body.len(), ours, "socketioxide", theirs);
}

pub(crate) fn join(c: &mut Criterion) {
    let body = body();
    let text = Chat::sample().message();
    let text = text.strip_prefix('4').expect("it is a message");

    let id = Id::from_random([7; 15]);
    let mut session = Session::open(Time::ZERO, Arc::new(Config::default()), &id, Transport::Polling);
    session.begin_poll(Time::ZERO, false).expect("nobody polls");
    session.take_payload().expect("the handshake");
    let mut ours = || {
        for _ in 0..15 {
            let part = Part::Text(black_box(text).as_bytes());
            session.send(std::iter::once(part)).expect("there is room");
        }
        session.send(std::iter::once(Part::Binary(&BINARY))).expect("there is room");
        session.begin_poll(Time::ZERO, false).expect("nobody polls");
        session.take_payload().expect("something waits")
    };

    let shared = Str::from(text.to_owned());
    let theirs = || {
        let texts = (0..15).map(|_| TheirPacket::Message(black_box(&shared).clone()));
        let packets = texts.chain([TheirPacket::Binary(Bytes::from_static(&BINARY))]).map(smallvec);
        match now(payload::encoder(stream::iter(packets), ProtocolVersion::V4, false, MAX)) {
            Poll::Ready(payload) => payload.data,
            Poll::Pending => panic!("it waits for nothing"),
        }
    };
    let mut queue = ours();
    assert_eq!(queue.copy_to_bytes(queue.remaining()), body);
    assert_eq!(theirs(), body);
    beside(c, "join_payload", "16_packets", body.len(), ours, "socketioxide", theirs);
}

fn smallvec(packet: TheirPacket) -> engineioxide_core::PacketBuf {
    std::iter::once(packet).collect()
}

/// Polls a future that has nothing to wait for.
fn now<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
