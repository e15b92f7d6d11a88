//! Packets in MessagePack, compared with another implementation.

use bytes::Bytes;
use rmpv::Value;
use serde::de::IgnoredAny;
use sockeye_core::Time;
use sockeye_core::engineio::{Message, Part};
use sockeye_core::socketio::{Args, Encoder, Kind, Limits, Parser, Received, server};
use std::time::Duration;

/// A packet that can be decoded has the data of its kind, is what another implementation reads, and can be encoded and
/// decoded again. It fits into a text packet as well.
pub fn msgpack_packet(data: &[u8]) {
    let limits = Limits { max_attachments: 20, ..Limits::default() };
    let mut session = server::Session::default();
    session.open(Time::ZERO, Duration::from_secs(45));
    for (name, socket) in [("/", 0), ("/a", 1)] {
        let _ = session.begin_connect(name.into(), &socket, true, &limits);
        session.accept(name, &socket);
    }
    let message = Message::Binary(data.into());
    let decoded = Parser::MessagePack.decode(&message, &limits);
    let complete = match session.handle_message(Time::ZERO, decoded, &limits) {
        Ok(Received::ConnectWhole(complete)) => {
            let packet = complete.packet();
            assert_eq!((packet.kind, complete.attachments().len()), (Kind::Connect, 0));
            assert!(packet.data.is_empty() || serde_json::from_str::<IgnoredAny>(packet.data).is_ok());
            return;
        }
        Ok(Received::Complete(_, complete)) => complete,
        Ok(Received::Disconnect(_)) | Err(_) => return,
        Ok(other) => panic!("{other:?} from one message"),
    };
    let packet = complete.packet();
    assert!(packet.namespace.starts_with('/') && !packet.namespace.contains(['?', ',']));
    assert!(serde_json::from_str::<IgnoredAny>(packet.data).is_ok(), "{}", packet.data);
    let mut rest = data;
    // As deep as an input may be.
    let read = rmpv::decode::read_value_with_max_depth(&mut rest, 4096);
    let read = read.expect("the other implementation reads it");
    let fields = read.as_map().expect("a packet is a map");
    let mut list = fields.iter().filter(|(key, value)| key.as_str() == Some("data") && value.is_array());
    let (_, list) = list.next_back().expect("a list of arguments");

    let args = packet.args(complete.attachments()).expect("it has arguments");
    let _ = args.deserialize::<(Option<serde_json::Value>, Option<String>, Option<Bytes>)>();
    let mut encoder = Encoder::with_parser(Parser::MessagePack);
    let again = encode(&mut encoder, packet.event().as_deref(), args);
    let event = packet.event();
    if let Some(sent) = plain(list, event.as_deref()) {
        assert_eq!(plain(&again["data"], event.as_deref()), Some(sent));
    }

    encoder.set_parser(Parser::Text);
    let text = encoder.forward_ack("/", 1, args).expect("a decoded packet can be encoded");
    assert_eq!(text.attachments().count(), complete.attachments().len());
}

/// Encodes the arguments, and reads the packet by the other implementation.
fn encode(encoder: &mut Encoder, event: Option<&str>, args: Args<'_>) -> Value {
    let encoded = match event {
        Some(event) => encoder.forward_event("/", None, event, args),
        None => encoder.forward_ack("/", 1, args),
    };
    let encoded = encoded.expect("a decoded packet can be encoded");
    let parts: Vec<_> = encoded.parts().collect();
    let [Part::Binary(mut bytes)] = parts[..] else { panic!("{parts:?}") };
    rmpv::decode::read_value(&mut bytes).expect("an encoded packet can be decoded")
}

/// Returns the value as text, or `None` if it has something that is sent on as something else: a broken string, or an
/// extension, which the other implementation reads without its marker. `event` is the name in front of a list.
fn plain(value: &Value, event: Option<&str>) -> Option<String> {
    Some(match value {
        Value::Nil => "null".into(),
        Value::Boolean(is) => is.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::F32(number) => return plain(&Value::F64((*number).into()), None),
        Value::F64(number) if number.is_finite() => format!("{number:e}"),
        Value::F64(_) => "null".into(),
        Value::String(text) => format!("{:?}", text.as_str()?),
        Value::Binary(data) => format!("{data:?}"),
        Value::Array(list) => {
            let mut list: Vec<_> = list.iter().map(|value| plain(value, None)).collect::<Option<_>>()?;
            if let (Some(name), Some(first)) = (event, list.first_mut()) {
                *first = format!("{name:?}");
            }
            format!("[{}]", list.join(","))
        }
        Value::Map(members) => {
            let members = members.iter().map(|(key, value)| {
                let key = match key {
                    Value::Integer(number) => format!("{:?}", number.to_string()),
                    key => plain(key, None)?,
                };
                Some(format!("{key}:{}", plain(value, None)?))
            });
            format!("{{{}}}", members.collect::<Option<Vec<_>>>()?.join(","))
        }
        Value::Ext(..) => return None,
    })
}
