//! The data that can be emitted: anything that serializes, and arguments that were received.

pub(crate) use crate::pool::with_encoder;
use sockeye_core::engineio;
use sockeye_core::socketio::{self, EncodeError, Encoded, Encoder, OwnedArgs, Parser};

/// The arguments of an event or an acknowledgement as they were received (JSON and attachments), to be read
/// later or forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args(pub(crate) OwnedArgs);

impl Args {
    /// Reads the arguments as `T`; see [`extract::Data`](crate::extract::Data).
    ///
    /// # Errors
    /// If they are not of that type.
    pub fn deserialize<T: serde::de::DeserializeOwned>(&self) -> Result<T, socketio::ArgsError> {
        self.0.as_args().deserialize()
    }

    /// Returns the number of arguments.
    pub fn len(&self) -> usize {
        self.0.as_args().len()
    }

    /// Returns whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.0.as_args().is_empty()
    }
}

/// The arguments of an event or an acknowledgement to send: anything that serializes, and [`Args`].
///
/// A tuple is several arguments, `()` is none, any other value is one: `None` and `serde_json::Value::Null`
/// are one `null`, and so is a `()` inside of a tuple. Note that arrays are tuples to serde: `[1, 2]` is two
/// arguments, `vec![1, 2]` is one.
///
/// A `Result` is what it holds: `Ok` its value, and `Err`, which only an acknowledgement may be, its error. Errors of this
/// library, such as [`HandlerError`](crate::HandlerError), are not for the peer and are not sent: see
/// [`Handler`](crate::Handler). A `Result` inside of another value is an ordinary enum.
///
/// A value that serializes as bytes, such as [`bytes::Bytes`], is sent as a binary attachment, at any depth.
/// A `Vec<u8>` is a list of numbers to serde: use `Bytes::from(vec)`, or `serde_bytes`.
///
/// A client that awaits `emitWithAck` sees only the first argument of the acknowledgement.
pub trait Payload: sealed::Encode {}

impl<T: sealed::Encode> Payload for T {}

pub(crate) mod sealed {
    use super::*;

    /// The packet whose arguments a payload becomes.
    #[derive(Clone, Copy, Debug)]
    pub struct Head<'a> {
        pub namespace: &'a str,
        pub kind: Kind<'a>,
    }

    #[derive(Clone, Copy, Debug)]
    pub enum Kind<'a> {
        /// The name, and the id if an acknowledgement is wanted.
        Event(&'a str, Option<u64>),
        Ack(u64),
    }

    pub trait Encode {
        fn encode<'e>(&self, encoder: &'e mut Encoder, head: Head<'_>) -> Result<Encoded<'e>, EncodeError>;

        /// Returns the error if the payload is an `Err`.
        fn failure(&self) -> Option<EncodeError>;
    }

    impl<T: serde::Serialize> Encode for T {
        fn encode<'e>(&self, encoder: &'e mut Encoder, head: Head<'_>) -> Result<Encoded<'e>, EncodeError> {
            match head.kind {
                Kind::Event(name, id) => encoder.event(head.namespace, id, name, self),
                Kind::Ack(id) => encoder.ack(head.namespace, id, self),
            }
        }

        fn failure(&self) -> Option<EncodeError> {
            socketio::error_of(self)
        }
    }

    impl Encode for Args {
        fn encode<'e>(&self, encoder: &'e mut Encoder, head: Head<'_>) -> Result<Encoded<'e>, EncodeError> {
            match head.kind {
                Kind::Event(name, id) => encoder.forward_event(head.namespace, id, name, self.0.as_args()),
                Kind::Ack(id) => encoder.forward_ack(head.namespace, id, self.0.as_args()),
            }
        }

        fn failure(&self) -> Option<EncodeError> {
            None
        }
    }
}

/// Queues a packet that the protocol itself sends.
pub(crate) fn send_packet(
    engine: &mut engineio::server::Session,
    parser: Parser,
    packet: impl for<'e> FnOnce(&'e mut Encoder) -> Result<Encoded<'e>, EncodeError>,
) -> Result<(), crate::EmitError> {
    with_encoder(parser, |encoder| Ok(engine.send(packet(encoder)?.parts())?))
}

/// Checks whether a payload is an `Err`, without sending it.
pub(crate) fn check(payload: &impl Payload) -> Result<(), crate::EmitError> {
    match payload.failure() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
