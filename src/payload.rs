//! The data that can be emitted: anything that serializes, and arguments that were received.

pub(crate) use crate::pool::with_encoder;
use sockeye_core::engineio;
use sockeye_core::socketio::{self, Arg, ArgIter, EncodeError, Encoded, Encoder, OwnedArgs, Parser};
use std::fmt;

/// The arguments of an event or an acknowledgement, whatever they are: received, to be read later or forwarded; or put
/// together, to be sent.
///
/// For arguments of known types, use [`extract::Data`](crate::extract::Data) and a tuple instead. This is for those whose
/// types or number only the running program knows:
///
/// ```
/// use sockeye::extract::Event;
/// use sockeye::{Args, EmitError, HandlerError, Server, Socket};
/// use serde_json::json;
///
/// let io = Server::new();
/// io.on_connect(async |socket: Socket| {
///     // A log: `move [3, {"to":"e4"}, <12 bytes>]`
///     socket.on_any(async |Event(name): Event, args: Args| println!("{name} {args:?}"));
///     // Arguments to read one by one.
///     socket.on("sum", async |args: Args| {
///         let numbers = args.iter().map(|arg| arg.deserialize::<f64>());
///         Ok::<f64, HandlerError>(numbers.sum::<Result<f64, _>>()?)
///     });
///     // Any number of arguments to send.
///     let values = vec![json!(1), json!("two"), json!({ "three": 3 })];
///     socket.emit("values", Args::from_values(values)?)?;
///     let mut args = Args::new();
///     args.push("a file")?.push(bytes::Bytes::from_static(b"its bytes"))?;
///     socket.emit("file", args)
/// });
/// ```
///
/// Attachments are kept beside the JSON, in which a placeholder stands for each: `{"_placeholder":true,"num":0}` for the
/// first. Types that can hold bytes read the bytes in its place; [`to_values`](Args::to_values) and
/// [`to_json`](Args::to_json) leave the placeholder, because JSON has no bytes.
///
/// `Debug` writes a JSON array with `<12 bytes>` for an attachment, and at most 1,000 bytes of that. Equality compares
/// the JSON as it is written, and the attachments.
#[derive(Clone, Default)]
pub struct Args(pub(crate) OwnedArgs);

impl Args {
    /// Creates an empty list of arguments, for [`push`](Args::push).
    pub fn new() -> Args {
        Args::default()
    }

    /// Creates arguments from values, each of which becomes one: a list of `serde_json::Value`, for example. If the
    /// values have several types, use [`push`](Args::push).
    ///
    /// # Errors
    /// If a value cannot be sent, for example because a key of a map is not a string.
    pub fn from_values<T: serde::Serialize>(
        values: impl IntoIterator<Item = T>,
    ) -> Result<Args, EncodeError> {
        let mut args = Args::new();
        values.into_iter().try_for_each(|value| args.push(value).map(|_| ()))?;
        Ok(args)
    }

    /// Creates arguments from a JSON array and the attachments that its placeholders stand for: the reverse of
    /// [`to_json`](Args::to_json) and [`attachments`](Args::attachments).
    ///
    /// # Errors
    /// If the text is not a JSON array, is nested more than 128 levels deep, or has a placeholder without an attachment.
    pub fn from_json(
        json: &str,
        attachments: impl IntoIterator<Item = bytes::Bytes>,
    ) -> Result<Args, socketio::ArgsError> {
        OwnedArgs::from_json(json, attachments.into_iter().collect()).map(Args)
    }

    /// Appends an argument, and returns the arguments for the next one. Anything that serializes is one argument, a tuple
    /// too. A value that serializes as bytes, such as [`bytes::Bytes`], becomes an attachment, at any depth.
    ///
    /// # Errors
    /// If the value cannot be sent. The arguments are then the same as before.
    pub fn push(&mut self, value: impl serde::Serialize) -> Result<&mut Args, EncodeError> {
        self.0.push(&value)?;
        Ok(self)
    }

    /// Reads the arguments as `T`; see [`extract::Data`](crate::extract::Data).
    ///
    /// # Errors
    /// If they are not of that type.
    pub fn deserialize<T: serde::de::DeserializeOwned>(&self) -> Result<T, socketio::ArgsError> {
        self.0.as_args().deserialize()
    }

    /// Returns the arguments one by one.
    pub fn iter(&self) -> ArgIter<'_> {
        self.0.as_args().values()
    }

    /// Returns the argument at `index`, which counts from 0; `None` if there are fewer.
    ///
    /// It takes time proportional to the length of the arguments before it.
    pub fn get(&self, index: usize) -> Option<Arg<'_>> {
        self.iter().nth(index)
    }

    /// Returns the arguments as JSON values, with a placeholder for each attachment. Half of a surrogate pair in a string
    /// of JavaScript becomes U+FFFD.
    ///
    /// # Errors
    /// If an argument is nested more than 127 levels deep, or a number is too large for an `f64`.
    pub fn to_values(&self) -> Result<Vec<serde_json::Value>, socketio::ArgsError> {
        self.iter().map(|arg| arg.deserialize()).collect()
    }

    /// Returns the arguments as a JSON array, with a placeholder for each attachment.
    pub fn to_json(&self) -> String {
        let mut json = String::from("[");
        for arg in self {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(arg.json());
        }
        json + "]"
    }

    /// Returns the attachments. A placeholder with `"num":0` stands for the first.
    pub fn attachments(&self) -> &[bytes::Bytes] {
        self.0.attachments()
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

impl<'a> IntoIterator for &'a Args {
    type Item = Arg<'a>;
    type IntoIter = ArgIter<'a>;

    fn into_iter(self) -> ArgIter<'a> {
        self.iter()
    }
}

impl PartialEq for Args {
    fn eq(&self, other: &Args) -> bool {
        // Received arguments stand behind the event's name, which is not compared.
        self.iter().map(|arg| arg.json()).eq(other.iter().map(|arg| arg.json()))
            && self.attachments() == other.attachments()
    }
}

impl Eq for Args {}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The arguments of an event or an acknowledgement to send: anything that serializes, and [`Args`].
///
/// A tuple is several arguments, `()` is none, [`Args`] are any number, any other value is one: `None` and `serde_json::Value::Null`
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of an event, because it is not serializable",
    label = "not serializable",
    note = "add `#[derive(serde::Serialize)]` to its type"
)]
pub trait Payload: sealed::Encode {}

#[diagnostic::do_not_recommend]
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
    crate::pool::lend(engine.queue_mut());
    with_encoder(parser, |encoder| Ok(engine.send(packet(encoder)?.parts())?))
}

/// Checks whether a payload is an `Err`, without sending it.
pub(crate) fn check(payload: &impl Payload) -> Result<(), crate::EmitError> {
    match payload.failure() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
