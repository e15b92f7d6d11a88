//! A packet from the server, read before the client is locked.

use super::super::args::OwnedArgs;
use super::super::attached::Attached;
use super::super::error::DecodeError;
use super::super::kind::Kind;
use super::super::limits::Limits;
use super::super::packet::Packet;
use super::super::parser::text::Reassembly;
use super::super::parser::{Complete, Form, Parser};
use crate::engineio::{Message, Packet as EnginePacket, PacketError};
use alloc::borrow::Cow;

/// A packet of a payload or a message of WebSocket that was read, for
/// [`Client::handle_text`](super::Client::handle_text).
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
    /// An attachment of a packet that has begun.
    Attachment(&'a [u8]),
    /// A packet that owns its text, and the same copy.
    Whole(Complete<'a>, Option<OwnedArgs>),
    Wrong(DecodeError),
    /// The Engine.IO packet is no message, or is read later.
    Nothing,
}

impl<'a> Text<'a> {
    /// Reads a packet. If it is wrong, the client ends the session when it handles it.
    pub fn read(text: &'a str, parser: Parser, limits: &Limits) -> Text<'a> {
        let packet = EnginePacket::decode(text);
        let read = match &packet {
            Ok(EnginePacket::Message(Message::Text(text))) => Read::new(parser.decode_text(text, limits).0),
            _ => Read::Nothing,
        };
        Text { packet, read }
    }

    /// Reads a binary message that arrived over WebSocket.
    pub fn read_binary(data: &'a [u8], parser: Parser, limits: &Limits) -> Text<'a> {
        let packet = Ok(EnginePacket::Message(Message::Binary(Cow::Borrowed(data))));
        Text { packet, read: Read::new(parser.decode_binary(data, limits).0) }
    }

    /// Returns the Engine.IO packet, if it could be decoded.
    pub fn packet(&self) -> Option<&EnginePacket<'a>> {
        self.packet.as_ref().ok()
    }

    /// Returns whether handling this packet certainly sends nothing: it is an event, or an acknowledgement without
    /// `retries`. With them, the next event is sent.
    pub fn sends_nothing(&self, retries: u32) -> bool {
        let kind = match &self.read {
            Read::Packet(packet, _) => packet.kind,
            Read::Whole(complete, _) => complete.packet().kind,
            _ => return false,
        };
        kind == Kind::Event || kind == Kind::Ack && retries == 0
    }
}

impl<'a> Read<'a> {
    pub(super) fn new(form: Form<'a>) -> Read<'a> {
        match form {
            Form::Packet(packet) => {
                let args = match packet.kind {
                    Kind::Event | Kind::Ack => packet.args(Attached::default()),
                    _ => None,
                };
                Read::Packet(packet, args.map(|args| args.into_owned()))
            }
            Form::Begun(_, Ok(reassembly)) => Read::Begun(reassembly),
            Form::Attachment(data) => Read::Attachment(data),
            Form::Whole(complete) => {
                let args = complete.packet().args(complete.attachments()).map(|args| args.into_owned());
                Read::Whole(complete, args)
            }
            Form::Begun(_, Err(error)) | Form::Wrong(error) => Read::Wrong(error),
        }
    }
}
