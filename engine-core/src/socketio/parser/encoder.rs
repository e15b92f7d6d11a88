//! The encoder of every packet that leaves a server or a client.

use super::{Encoded, Parser, msgpack, text};
use crate::socketio::args::Args;
use crate::socketio::error::EncodeError;
use crate::socketio::kind::Kind;
use crate::socketio::pid::Pid;
use serde::Serialize;

/// Encodes one packet at a time into buffers of its own, and allocates nothing once they are large enough.
///
/// Keep one for each thread, not for each session. Memory that a huge packet needed is freed with the next packet.
///
/// Arguments are one value: a tuple or tuple struct is the list of arguments, `()` and unit structs are none, a `Result`
/// is what it holds (see [`event`](Encoder::event) and [`ack`](Encoder::ack) for `Err`), anything else is one argument. A
/// `Result` inside of another value, even of another `Result`, is an ordinary enum. A value that serializes as unit but
/// has a size (`serde_json::Value::Null`, `&()`) is the argument `null`. Rust's arrays are tuples to serde, so `&[1, 2]` are two
/// arguments, while a slice or `Vec` is one. Data that serializes as bytes (`bytes::Bytes` with its feature `serde`,
/// `serde_bytes`) becomes an attachment, at any depth; `Vec<u8>` and `&[u8]` are lists of numbers to serde.
#[derive(Debug, Default)]
pub struct Encoder {
    parser: Parser,
    text: text::Encoder,
    msgpack: msgpack::Encoder,
}

impl Encoder {
    /// Creates an encoder for the default [`Parser`]. Nothing is allocated yet.
    pub const fn new() -> Encoder {
        Encoder::with_parser(Parser::Text)
    }

    /// Creates an encoder for this parser. Nothing is allocated yet.
    pub const fn with_parser(parser: Parser) -> Encoder {
        Encoder { parser, text: text::Encoder::new(), msgpack: msgpack::Encoder::new() }
    }

    /// Sets the parser whose form the next packets have.
    pub fn set_parser(&mut self, parser: Parser) {
        self.parser = parser;
    }

    /// Encodes an event, with an id if an acknowledgement is wanted.
    ///
    /// # Errors
    /// Returns an error if the name is reserved, if the namespace is illegal, or if `args` cannot be sent, as an `Err`
    /// cannot ([`EncodeError::ErrValue`]).
    pub fn event<A: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        event: &str,
        args: &A,
    ) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.event(namespace, id, event, args);
        finish(self.parser, &mut self.msgpack, Kind::Event, namespace, id, text)
    }

    /// Encodes an acknowledgement. An `Err` is acknowledged with the error that it holds, unless that
    /// [is not for the peer](crate::socketio::serialize_failure).
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal, or if `args` cannot be sent ([`EncodeError::Failed`] for an `Err`).
    pub fn ack<A: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        id: u64,
        args: &A,
    ) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.ack(namespace, id, args);
        finish(self.parser, &mut self.msgpack, Kind::Ack, namespace, Some(id), text)
    }

    /// Encodes an event with the unchanged arguments of a received packet.
    ///
    /// # Errors
    /// Returns an error if the name is reserved, or if the namespace is illegal.
    pub fn forward_event(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        event: &str,
        args: Args<'_>,
    ) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.forward_event(namespace, id, event, args);
        finish(self.parser, &mut self.msgpack, Kind::Event, namespace, id, text)
    }

    /// Encodes an acknowledgement with the unchanged arguments of a received packet.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn forward_ack(
        &mut self,
        namespace: &str,
        id: u64,
        args: Args<'_>,
    ) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.forward_ack(namespace, id, args);
        finish(self.parser, &mut self.msgpack, Kind::Ack, namespace, Some(id), text)
    }

    /// Encodes a client's request to join a namespace, with the JSON object that it shows to the server, if any.
    ///
    /// # Errors
    /// Returns [`EncodeError::Auth`] if `auth` is not a JSON object, or an error if the namespace is illegal.
    pub fn connect(&mut self, namespace: &str, auth: Option<&str>) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.connect(namespace, auth);
        finish(self.parser, &mut self.msgpack, Kind::Connect, namespace, None, text)
    }

    /// Encodes the server's answer to a client that has joined a namespace, with the id of its socket.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn connected(&mut self, namespace: &str, sid: &str) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.connected(namespace, sid);
        finish(self.parser, &mut self.msgpack, Kind::Connect, namespace, None, text)
    }

    /// Does the same as [`connected`](Encoder::connected) for a client that can be recovered later: it is told its private
    /// id, too.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn connected_as(&mut self, namespace: &str, pid: &Pid) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.connected_as(namespace, pid);
        finish(self.parser, &mut self.msgpack, Kind::Connect, namespace, None, text)
    }

    /// Encodes the server's answer to a client that it refuses.
    ///
    /// `data` is usually an object with a `message`. Unit and `None` stand for no data.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal, or if `data` cannot be sent or holds bytes.
    pub fn connect_error<D: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        data: &D,
    ) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.connect_error(namespace, data);
        finish(self.parser, &mut self.msgpack, Kind::ConnectError, namespace, None, text)
    }

    /// Encodes the packet by which a client leaves a namespace, or a server closes it for the client.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn disconnect(&mut self, namespace: &str) -> Result<Encoded<'_>, EncodeError> {
        let text = self.text.disconnect(namespace);
        finish(self.parser, &mut self.msgpack, Kind::Disconnect, namespace, None, text)
    }

    /// Frees the memory that it keeps for the next packet, which is at most 4 MiB.
    pub fn trim(&mut self) {
        self.text.trim();
        self.msgpack.trim();
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity() + self.msgpack.capacity()
    }
}

/// Returns a packet in the form of the parser. `kind`, `namespace` and `id` are those of the `text`.
// Inlined, because a call would move the packet: `benches/count json16`.
#[inline(always)]
fn finish<'e>(
    parser: Parser,
    msgpack: &'e mut msgpack::Encoder,
    kind: Kind,
    namespace: &str,
    id: Option<u64>,
    text: Result<Encoded<'e>, EncodeError>,
) -> Result<Encoded<'e>, EncodeError> {
    let encoded = text?;
    match parser {
        Parser::Text => Ok(encoded),
        Parser::MessagePack => {
            let packed = msgpack.pack(kind, namespace, id, encoded.json()?, encoded.attachments());
            Ok(Encoded { packed: Some(packed), ..encoded })
        }
    }
}

/// Returns the error of arguments that are an `Err`: [`EncodeError::Failed`] if it is not for the peer, otherwise
/// [`EncodeError::ErrValue`]. The value of an `Ok` is not encoded.
pub fn error_of<A: Serialize + ?Sized>(args: &A) -> Option<EncodeError> {
    text::error_of(args)
}
