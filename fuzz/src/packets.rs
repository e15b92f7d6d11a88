//! The codecs of Engine.IO and Socket.IO, and the session above them.

use super::Choices;
use super::support::{Got, Rig, at, config_with};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use sockeye_core::engineio::{Message, Packet, Transport, split_payload};
use sockeye_core::socketio::{self, Encoder, Joining, Kind, Limits, Received, Text};
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
    let limits = Limits { max_attachment_bytes: 300, ..Limits::default() };
    let mut session = socketio::Session::<u32>::default();
    let mut now = at(0);
    session.open(now, Duration::from_secs(45));
    let mut deciding = Vec::<(Arc<str>, u32)>::new();
    let mut sockets = 0;
    // The number of attachments that were announced and have not arrived.
    let mut missing = 0;
    let mut bytes = 0;
    while !choices.is_empty() {
        let ended = match choices.byte() {
            kind @ 0..=99 => {
                let length = choices.byte().into();
                let Ok(text) = std::str::from_utf8(choices.bytes(length)) else { continue };
                let announced =
                    socketio::Packet::decode(text, &limits).map_or(0, |packet| packet.attachments);
                match session.handle_text(now, Text::read(text, &limits), &limits) {
                    Ok(Received::Connect(packet)) => {
                        assert_eq!((packet.kind, missing), (Kind::Connect, 0));
                        let name: Arc<str> = packet.namespace.into();
                        sockets += 1;
                        let begun = (kind < 80)
                            .then(|| session.begin_connect(name.clone(), &sockets, kind < 70, &limits));
                        if begun == Some(Ok(Joining::Begun)) {
                            deciding.push((name, sockets));
                        }
                        matches!(begun, Some(Err(_)))
                    }
                    Ok(Received::Packet(_, packet)) => {
                        assert!((packet.kind.is_event() || packet.kind.is_ack()) && missing == 0);
                        assert_eq!(packet.attachments, 0);
                        false
                    }
                    Ok(Received::Complete(..)) => panic!("text completes nothing"),
                    Ok(Received::Disconnect(_)) => false,
                    Ok(Received::Nothing) => {
                        (missing, bytes) = (announced, 0);
                        false
                    }
                    Err(_) => true,
                }
            }
            100..=159 => {
                let length = choices.byte().into();
                let data = choices.bytes(length);
                bytes += data.len();
                match session.handle_binary(data, &limits) {
                    Ok(Received::Complete(_, complete)) => {
                        assert_eq!(missing, 1, "complete before the last attachment");
                        assert_eq!(complete.attachments().iter().last(), Some(data));
                        assert!(bytes <= limits.max_attachment_bytes);
                        missing = 0;
                        false
                    }
                    Ok(Received::Nothing) => {
                        assert!(missing > 0, "an attachment that was not announced");
                        missing -= 1;
                        false
                    }
                    Ok(other) => panic!("{other:?} from an attachment"),
                    Err(_) => true,
                }
            }
            choice @ 160..=199 => {
                if let Some((name, socket)) = deciding.pop() {
                    match choice {
                        160..=189 => drop(session.accept(&name, &socket)),
                        _ => drop(session.refuse(&name, &socket)),
                    }
                }
                false
            }
            200..=209 => {
                let _ = session.leave("/", true);
                false
            }
            210..=239 => {
                now = now + Duration::from_millis(choices.short().into());
                let ended = session.handle_timeout(now).is_err();
                assert!(
                    ended || session.next_deadline().is_none_or(|next| next > now),
                    "the deadline was not moved"
                );
                ended
            }
            240.. => {
                assert!(session.sockets().count() <= 100);
                false
            }
        };
        if ended {
            break;
        }
    }
    let joined = session.sockets().count();
    // With those that are being joined.
    assert!(session.take_all().count() >= joined);
    assert_eq!((session.next_deadline(), session.sockets().count()), (None, 0));
}
