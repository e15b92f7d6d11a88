//! The trace of every packet that arrives or is sent, and of the connection.

use crate::output::Output;
use crate::record::{Record, bytes};
use serde::Serialize;
use sockeye::engine::Message;
use sockeye::observe::{ClientEvent, ClientObserver, ClientPacketInfo, Direction, Packet};
use std::fmt;
use std::sync::Arc;

/// Shows packets while the output traces.
pub(crate) struct Trace(pub(crate) Arc<Output>);

/// The parts of a Socket.IO packet before its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Head {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) id: Option<u64>,
    pub(crate) event: Option<String>,
}

impl ClientObserver for Trace {
    fn packet(&self, direction: Direction, info: &ClientPacketInfo<'_>) {
        if !self.0.is_tracing() {
            return;
        }
        let (packet, raw) = match info.packet {
            Packet::Open(data) => ("open", format!("0{data}")),
            Packet::Close => ("close", "1".into()),
            Packet::Ping(data) => ("ping", format!("2{data}")),
            Packet::Pong(data) => ("pong", format!("3{data}")),
            Packet::Message(Message::Text(text)) => ("message", format!("4{text}")),
            Packet::Message(Message::Binary(data)) => ("message", bytes(data)),
            Packet::Upgrade => ("upgrade", "5".into()),
            Packet::Noop(data) => ("noop", format!("6{data}")),
        };
        let head = match info.packet {
            Packet::Message(Message::Text(text)) => Head::read(text),
            _ => None,
        };
        let direction = if direction == Direction::In { "in" } else { "out" };
        self.0.show(&Record::Packet { direction, transport: info.transport.name(), packet, head, raw });
    }

    fn event(&self, event: &ClientEvent<'_>) {
        if !self.0.is_tracing() {
            return;
        }
        let message = match event {
            ClientEvent::Opening { transport, .. } => format!("opening a connection by {transport}"),
            ClientEvent::Opened => "the connection is open".into(),
            ClientEvent::Upgraded => "the connection moved to websocket".into(),
            ClientEvent::NotUpgraded { cause, .. } => format!("the connection stays with polling: {cause}"),
            ClientEvent::Closed { reason, .. } => format!("the connection ended: {reason}"),
            _ => return,
        };
        self.0.show(&Record::Note { message });
    }
}

impl Head {
    /// Reads the head of a packet: see <https://socket.io/docs/v4/socket-io-protocol/#packet-encoding>.
    fn read(packet: &str) -> Option<Head> {
        let mut chars = packet.chars();
        let kind = match chars.next()? {
            '0' => "connect",
            '1' => "disconnect",
            '2' => "event",
            '3' => "ack",
            '4' => "connect_error",
            '5' => "binary_event",
            '6' => "binary_ack",
            _ => return None,
        };
        let mut rest = chars.as_str();
        if kind.starts_with("binary") {
            rest = rest.split_once('-')?.1;
        }
        let (namespace, rest) = match rest.starts_with('/') {
            true => rest.split_once(',').unwrap_or((rest, "")),
            false => ("/", rest),
        };
        let (id, data) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let event = data
            .strip_prefix('[')
            .filter(|_| kind.ends_with("event"))
            .and_then(|list| serde_json::Deserializer::from_str(list).into_iter::<String>().next()?.ok());
        Some(Head { kind, namespace: namespace.into(), id: id.parse().ok(), event })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.namespace)?;
        self.event.iter().try_for_each(|event| write!(f, " {event}"))?;
        self.id.iter().try_for_each(|id| write!(f, " #{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: &'static str, namespace: &str, id: Option<u64>, event: Option<&str>) -> Option<Head> {
        Some(Head { kind, namespace: namespace.into(), id, event: event.map(String::from) })
    }

    #[test]
    fn the_head_of_each_packet_is_read() {
        assert_eq!(Head::read("0"), head("connect", "/", None, None));
        assert_eq!(Head::read(r#"0/admin,{"sid":"x"}"#), head("connect", "/admin", None, None));
        assert_eq!(Head::read("1/admin,"), head("disconnect", "/admin", None, None));
        assert_eq!(Head::read(r#"2["a \"b\"",1]"#), head("event", "/", None, Some("a \"b\"")));
        assert_eq!(Head::read(r#"2/admin,12["x"]"#), head("event", "/admin", Some(12), Some("x")));
        assert_eq!(Head::read(r#"37["x"]"#), head("ack", "/", Some(7), None));
        assert_eq!(
            Head::read(r#"51-/a,3["x",{"_placeholder":true,"num":0}]"#),
            head("binary_event", "/a", Some(3), Some("x"))
        );
        assert_eq!(Head::read(r#"4{"message":"no"}"#), head("connect_error", "/", None, None));
    }

    #[test]
    fn what_is_no_packet_has_no_head() {
        for text in ["", "9", "x", "5", "é"] {
            assert_eq!(Head::read(text), None, "{text}");
        }
        assert_eq!(Head::read("2[7]"), head("event", "/", None, None));
    }
}
