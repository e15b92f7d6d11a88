//! A message that was read.

use super::complete::Complete;
use super::text::Reassembly;
use crate::socketio::error::DecodeError;
use crate::socketio::packet::Packet;

/// A message that [`Parser::decode`](super::Parser::decode) has read, for the session that received it.
#[derive(Debug)]
pub struct Decoded<'a>(pub(in crate::socketio) Form<'a>);

impl<'a> Decoded<'a> {
    /// Returns the packet if it is an event or an acknowledgement whose only message this is, as most are: ask
    /// [`Session::socket_for`](crate::socketio::server::Session::socket_for) which socket it is for. Every other message is
    /// for [`Session::handle_message`](crate::socketio::server::Session::handle_message).
    #[inline]
    pub fn plain(&self) -> Option<&Packet<'a>> {
        match &self.0 {
            Form::Packet(packet) if packet.kind.is_event() || packet.kind.is_ack() => Some(packet),
            _ => None,
        }
    }
}

/// The forms of a message.
#[derive(Debug)]
pub(in crate::socketio) enum Form<'a> {
    /// A packet without attachments.
    Packet(Packet<'a>),
    /// The beginning of a packet for this namespace, whose attachments follow.
    Begun(&'a str, Result<Reassembly, DecodeError>),
    /// An attachment of a packet that has begun.
    Attachment(&'a [u8]),
    /// A packet that owns its text, with its attachments.
    Whole(Complete<'a>),
    /// A message that is not valid.
    Wrong(DecodeError),
}
