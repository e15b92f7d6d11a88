//! A text message from the server, read before the client is locked.

use super::super::attached::Attached;
use super::super::error::DecodeError;
use super::super::kind::Kind;
use super::super::limits::Limits;
use super::super::parser::text::{OwnedArgs, Packet, Reassembly};
use crate::engineio::{Message, Packet as EnginePacket, PacketError};

/// A text message that was read, for [`Client::handle_text`](super::Client::handle_text).
///
/// Reading takes time proportional to the length of the text and needs no client: do it before the client is locked.
#[derive(Debug)]
pub struct Text<'a> {
    pub(super) packet: Result<EnginePacket<'a>, PacketError>,
    pub(super) read: Read<'a>,
}

/// The packet of Socket.IO in a message.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// A packet without attachments, and a copy of its arguments if it is an event or an acknowledgement.
    Packet(Packet<'a>, Option<OwnedArgs>),
    /// A packet whose attachments follow.
    Begun(Reassembly),
    Wrong(DecodeError),
    /// The packet of Engine.IO is no message.
    Nothing,
}

impl<'a> Text<'a> {
    /// Reads a message. The client reports what is wrong with it.
    pub fn read(text: &'a str, limits: &Limits) -> Text<'a> {
        let packet = EnginePacket::decode(text);
        let read = match &packet {
            Ok(EnginePacket::Message(Message::Text(text))) => Read::text(text, limits),
            _ => Read::Nothing,
        };
        Text { packet, read }
    }

    /// Returns whether the client sends nothing when it handles this message, as far as the message says: it is an
    /// event, or an acknowledgement without `retries`, after which the next event is sent.
    pub fn sends_nothing(&self, retries: u32) -> bool {
        let Read::Packet(packet, _) = &self.read else { return false };
        packet.kind == Kind::Event || packet.kind == Kind::Ack && retries == 0
    }
}

impl<'a> Read<'a> {
    fn text(text: &'a str, limits: &Limits) -> Read<'a> {
        match Packet::decode(text, limits) {
            Ok(packet) if packet.attachments > 0 => {
                let mut reassembly = Reassembly::new();
                match reassembly.begin(&packet) {
                    Ok(()) => Read::Begun(reassembly),
                    Err(error) => Read::Wrong(error),
                }
            }
            Ok(packet) => {
                let args = match packet.kind {
                    Kind::Event | Kind::Ack => packet.args(Attached::default()),
                    _ => None,
                };
                Read::Packet(packet, args.map(|args| args.into_owned()))
            }
            Err(error) => Read::Wrong(error),
        }
    }
}
