//! The codecs of Engine.IO and Socket.IO, and the session above them.

use super::Choices;
use super::support::{Got, Rig, at, config_with, flat};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use sockeye_core::Time;
use sockeye_core::engineio::server::Session;
use sockeye_core::engineio::{
    Id, Message, Opening, Packet, PacketError, Part, Transport, Version, split_payload, v3,
};
use sockeye_core::socketio::{self, Encoder, Joining, Kind, Limits, Parser, Received};
use std::sync::Arc;
use std::time::Duration;

/// A message that can be decoded is the same after it was sent on, over each transport.
pub fn engine_packet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(Packet::Message(message)) = Packet::decode(text) else { return };
    let sent = [own(&message)];
    // A separator ends a packet in a payload, so a text that contains one can only be sent in a frame.
    if !text.contains('\u{1e}') {
        assert_eq!(send_on(Transport::Polling, &sent), sent);
    }
    assert_eq!(send_on(Transport::WebSocket, &sent), sent);
}

/// A payload consists of its packets with separators between them, and its messages can be sent on in one payload.
pub fn engine_payload(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let packets: Vec<_> = split_payload(body).collect();
    assert_eq!(packets.join("\u{1e}"), body);
    let messages = packets.iter().map_while(|packet| Packet::decode(packet).ok());
    let messages = messages.filter_map(|packet| match packet {
        Packet::Message(message) => Some(own(&message)),
        _ => None,
    });
    let messages: Vec<_> = messages.collect();
    assert_eq!(send_on(Transport::Polling, &messages), messages);
}

/// A body of version 3 is read to its end or its first error, and its messages can be sent on in one payload. The first byte
/// says whether the body is text or bytes, and in which of them it is sent on.
pub fn engine_payload_v3(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let mut payload = match (kind & 1, std::str::from_utf8(body)) {
        (0, Ok(text)) => v3::Payload::Text(text),
        (0, Err(_)) => return,
        _ => v3::Payload::Binary(body),
    };
    let (messages, _) = read_v3(&mut payload);
    if messages.is_empty()
        || messages.iter().any(|it| matches!(it, Got::Text(text) if text.contains('\u{1e}')))
    {
        return;
    }
    let opening = Opening {
        transport: Transport::Polling,
        version: Version::V3,
        base64: kind & 2 != 0,
        resumable: false,
    };
    let config = config_with(|config| (config.max_payload, config.send_buffer) = (usize::MAX, usize::MAX));
    let mut session = Session::open(at(0), config, &Id::from_random([7; 15]), opening);
    session.begin_poll(at(0), false).expect("the first poll");
    session.take_payload().expect("the handshake");
    for message in &messages {
        let part = match message {
            Got::Text(text) => Part::Text(text.as_bytes()),
            Got::Binary(data) => Part::Binary(data),
            Got::Control(_) => unreachable!("not a message"),
        };
        session.send(std::iter::once(part)).expect("the send buffer has capacity");
    }
    session.begin_poll(at(0), false).expect("the next poll");
    let sent = flat(session.take_payload().expect("messages"));
    let mut payload = match std::str::from_utf8(&sent) {
        Ok(text) if text.starts_with(|first: char| first.is_ascii_digit()) => v3::Payload::Text(text),
        _ => v3::Payload::Binary(&sent),
    };
    assert_eq!(read_v3(&mut payload), (messages, None));
}

/// Reads the messages of a body up to its first error.
fn read_v3(payload: &mut v3::Payload<'_>) -> (Vec<Got>, Option<PacketError>) {
    let mut messages = Vec::new();
    loop {
        let before = payload.len();
        match payload.split_first() {
            Ok((packet, rest)) => {
                if let Some(Packet::Message(message)) = packet {
                    messages.push(own(&message));
                }
                *payload = rest;
            }
            Err(error) => return (messages, Some(error)),
        }
        assert!(payload.len() < before, "no progress");
        if payload.is_empty() {
            return (messages, None);
        }
    }
}

fn own(message: &Message<'_>) -> Got {
    match message {
        Message::Text(text) => Got::Text((*text).into()),
        Message::Binary(data) => Got::Binary(data.to_vec()),
    }
}

/// Sends each message by itself, and returns what a client receives.
fn send_on(transport: Transport, messages: &[Got]) -> Vec<Got> {
    let mut rig = Rig::open(transport, config_with(|config| config.max_payload = usize::MAX));
    for message in messages {
        match message {
            Got::Text(text) => rig.send(text),
            Got::Binary(data) => rig.send_binary(data),
            Got::Control(_) => unreachable!("not a message"),
        }
        .expect("the send buffer has capacity");
    }
    match transport {
        Transport::Polling => rig.poll(),
        Transport::WebSocket => rig.read(),
    }
    rig.take()
}

/// A Socket.IO packet that can be decoded has the data of its kind, and can be encoded and decoded again.
pub fn socket_packet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = Limits::default();
    let Ok(packet) = socketio::Packet::decode(text, &limits) else { return };
    assert!(packet.namespace.starts_with('/') && !packet.namespace.contains(['?', ',']));
    assert_eq!(packet.attachments > 0, packet.kind.is_binary());
    assert!(packet.data.is_empty() || serde_json::from_str::<IgnoredAny>(packet.data).is_ok());
    let attachments = vec![Bytes::from_static(b"x"); packet.attachments];
    let Some(args) = packet.args(&attachments) else { return };
    assert_eq!(args.len(), args.iter().count());
    let _ = args.deserialize::<(Option<Value>, Option<String>, Option<Bytes>)>();
    let _ = args.deserialize::<Vec<f64>>();

    let mut encoder = Encoder::new();
    let encoded = match packet.event() {
        Some(event) => encoder.forward_event(packet.namespace, packet.id, &event, args),
        None => encoder.forward_ack(packet.namespace, packet.id.expect("an answer has an id"), args),
    };
    let encoded = encoded.expect("a decoded packet can be encoded");
    assert_eq!(encoded.attachments().count(), attachments.len());
    let text = std::str::from_utf8(encoded.text).expect("packets are text");
    // An escape may have become the character itself, which is never longer, so the limits still hold.
    let again = socketio::Packet::decode(text, &limits).expect("an encoded packet can be decoded");
    assert_eq!((again.kind, again.namespace, again.id), (packet.kind, packet.namespace, packet.id));
    assert_eq!(again.event(), packet.event());
    assert!(again.args(&attachments).expect("it has arguments as before").iter().eq(args.iter()));
}

/// Runs a session of namespaces with any messages, any decisions of the application, and any passing of time.
pub fn reassembly(data: &[u8]) {
    let mut choices = Choices(data);
    let mut peer = Peer::new();
    while !choices.is_empty() {
        let is_over = match choices.byte() {
            kind @ 0..=99 => peer.text(kind, &mut choices),
            100..=159 => peer.binary(&mut choices),
            choice @ 160..=199 => {
                peer.decide(choice < 190);
                false
            }
            200..=209 => {
                let _ = peer.session.leave("/", true);
                false
            }
            210..=239 => peer.wait(Duration::from_millis(choices.short().into())),
            240.. => {
                assert!(peer.session.sockets().count() <= 100);
                false
            }
        };
        if is_over {
            break;
        }
    }
    let joined = peer.session.sockets().count();
    // With those that are being joined.
    assert!(peer.session.take_all().count() >= joined);
    assert_eq!((peer.session.next_deadline(), peer.session.sockets().count()), (None, 0));
}

/// A client and the server's session for it.
struct Peer {
    session: socketio::server::Session<u32>,
    limits: Limits,
    now: Time,
    /// The namespaces that the application decides about, with their sockets.
    deciding: Vec<(Arc<str>, u32)>,
    /// The number of sockets so far.
    sockets: u32,
    /// The number of attachments that were announced and have not arrived.
    missing: usize,
    /// The size of those that have arrived.
    bytes: usize,
}

impl Peer {
    fn new() -> Peer {
        let mut session = socketio::server::Session::default();
        session.open(at(0), Duration::from_secs(45));
        Peer {
            session,
            limits: Limits { max_attachment_bytes: 300, ..Limits::default() },
            now: at(0),
            deciding: Vec::new(),
            sockets: 0,
            missing: 0,
            bytes: 0,
        }
    }

    /// Handles a text message. Returns whether it ends the session, as do the other methods.
    fn text(&mut self, kind: u8, choices: &mut Choices<'_>) -> bool {
        let length = choices.byte().into();
        let Ok(text) = std::str::from_utf8(choices.bytes(length)) else { return false };
        let announced = socketio::Packet::decode(text, &self.limits).map_or(0, |packet| packet.attachments);
        let message = Message::Text(text);
        let decoded = Parser::Text.decode(&message, &self.limits);
        match self.session.handle_message(self.now, decoded, &self.limits) {
            Ok(Received::Connect(packet)) => {
                assert_eq!((packet.kind, self.missing), (Kind::Connect, 0));
                self.connect(kind, packet.namespace.into())
            }
            Ok(Received::Packet(_, packet)) => {
                assert!((packet.kind.is_event() || packet.kind.is_ack()) && self.missing == 0);
                assert_eq!(packet.attachments, 0);
                false
            }
            Ok(Received::Complete(..) | Received::ConnectWhole(_)) => panic!("text completes nothing"),
            Ok(Received::Disconnect(_)) => false,
            Ok(Received::Nothing) => {
                (self.missing, self.bytes) = (announced, 0);
                false
            }
            Err(_) => true,
        }
    }

    /// Joins a namespace, unless it does not exist.
    fn connect(&mut self, kind: u8, name: Arc<str>) -> bool {
        self.sockets += 1;
        if kind >= 80 {
            return false;
        }
        let begun = self.session.begin_connect(name.clone(), &self.sockets, kind < 70, &self.limits);
        if begun == Ok(Joining::Begun) {
            self.deciding.push((name, self.sockets));
        }
        begun.is_err()
    }

    fn binary(&mut self, choices: &mut Choices<'_>) -> bool {
        let length = choices.byte().into();
        let data = choices.bytes(length);
        self.bytes += data.len();
        let message = Message::Binary(data.into());
        let decoded = Parser::Text.decode(&message, &self.limits);
        match self.session.handle_message(self.now, decoded, &self.limits) {
            Ok(Received::Complete(_, complete)) => {
                assert_eq!(self.missing, 1, "complete before the last attachment");
                assert_eq!(complete.attachments().iter().last(), Some(data));
                assert!(self.bytes <= self.limits.max_attachment_bytes);
                self.missing = 0;
                false
            }
            Ok(Received::Nothing) => {
                assert!(self.missing > 0, "an attachment that was not announced");
                self.missing -= 1;
                false
            }
            Ok(other) => panic!("{other:?} from an attachment"),
            Err(_) => true,
        }
    }

    fn decide(&mut self, admits: bool) {
        let Some((name, socket)) = self.deciding.pop() else { return };
        let _ = match admits {
            true => self.session.accept(&name, &socket),
            false => self.session.refuse(&name, &socket),
        };
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.now = self.now + time;
        let is_over = self.session.handle_timeout(self.now).is_err();
        let next = self.session.next_deadline();
        assert!(is_over || next.is_none_or(|next| next > self.now), "the deadline was not moved");
        is_over
    }
}
