//! Arguments on their way to the bus, and from it.

use super::raw::{Elements, Raw};
use crate::socketio::text;
use crate::socketio::{Args, EncodeError, Encoded, Encoder, OwnedArgs};
use alloc::borrow::Cow;
use alloc::string::String;
use bytes::Bytes;
use core::fmt;
use core::str;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use smol_str::SmolStr;

/// Arguments to send to other nodes: a packet that was encoded for the own clients, or arguments that were received.
///
/// ```
/// use sockeye_core::cluster::PublishedArgs;
/// use sockeye_core::socketio::Encoder;
///
/// let mut encoder = Encoder::new();
/// let encoded = encoder.event("/chat", None, "hello", &(1, "two"))?;
/// let args = PublishedArgs::from(encoded);
/// assert_eq!(args.json(), r#"["hello",1,"two"]"#);
/// # Ok::<(), sockeye_core::socketio::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PublishedArgs<'a>(Source<'a>);

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Encoded(Encoded<'a>),
    Args(Args<'a>),
}

impl<'a> PublishedArgs<'a> {
    /// Returns the JSON array, which begins with the name of the event if these are the arguments of one.
    pub fn json(&self) -> &'a str {
        match self.0 {
            Source::Encoded(encoded) => {
                str::from_utf8(encoded.text.get(encoded.args_start()..).unwrap_or_default()).unwrap_or("[]")
            }
            Source::Args(args) => args.json(),
        }
    }

    /// Returns the first element of the array as JSON.
    pub(super) fn first(&self) -> Option<&'a str> {
        text::Elements::new(self.json()).next()
    }

    pub(super) fn is_binary(&self) -> bool {
        match self.0 {
            Source::Encoded(encoded) => encoded.attachments().len() > 0,
            Source::Args(args) => !args.attachments().is_empty(),
        }
    }

    pub(super) fn attachment(&self, number: usize) -> Option<&'a [u8]> {
        match self.0 {
            Source::Encoded(encoded) => encoded.attachments().nth(number),
            Source::Args(args) => args.attachments().get(number),
        }
    }
}

impl<'a> From<Encoded<'a>> for PublishedArgs<'a> {
    fn from(encoded: Encoded<'a>) -> Self {
        PublishedArgs(Source::Encoded(encoded))
    }
}

impl<'a> From<Args<'a>> for PublishedArgs<'a> {
    fn from(args: Args<'a>) -> Self {
        PublishedArgs(Source::Args(args))
    }
}

/// Returns a part of a buffer, which shares its memory. Another slice is copied.
pub(super) fn share(buffer: &Bytes, part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr().checked_sub(buffer.as_ptr().addr());
    let range = start.and_then(|start| Some(start..start.checked_add(part.len())?));
    match range.filter(|range| range.end <= buffer.len()) {
        Some(range) => buffer.slice(range),
        None => Bytes::copy_from_slice(part),
    }
}

/// The size of buffers of many messages: see [`BusReceiver::handle_message`](super::BusReceiver::handle_message). A value that is
/// larger was read into one for it.
const LARGE: usize = 64 << 10;

/// A checked value that shares the memory of its message.
#[derive(Clone, PartialEq, Eq)]
struct Shared {
    bytes: Bytes,
    is_json: bool,
}

impl Shared {
    fn new(buffer: &Bytes, value: Raw<'_>) -> Shared {
        Shared { bytes: share(buffer, value.bytes()), is_json: value.is_json() }
    }

    fn raw(&self) -> Raw<'_> {
        Raw::checked(&self.bytes, self.is_json)
    }

    /// Moves the value into memory of its own.
    fn detach(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }

    /// Moves the value into memory of its own, unless it is most of what it shares memory with.
    fn detach_if_small(&mut self) {
        if self.bytes.len() < LARGE {
            self.detach();
        }
    }
}

/// An event that another node has sent: its name and its arguments, in the form in which they came over the bus.
///
/// It shares the memory of the message, and is read by [`encode`](BusEvent::encode) or [`to_args`](BusEvent::to_args)
/// only. If no local socket is addressed, drop it: nothing was spent.
#[derive(Clone, PartialEq, Eq)]
pub struct BusEvent(Shared);

impl BusEvent {
    pub(super) fn new(buffer: &Bytes, list: Raw<'_>) -> BusEvent {
        BusEvent(Shared::new(buffer, list))
    }

    /// Returns the number of bytes that it has in the message.
    pub(super) fn len(&self) -> usize {
        self.0.bytes.len()
    }

    pub(super) fn detach_if_small(&mut self) {
        self.0.detach_if_small();
    }

    /// Returns the name of the event. A number becomes its digits.
    pub fn name(&self) -> SmolStr {
        self.0.raw().elements().next().and_then(Raw::name).unwrap_or_default()
    }

    /// Encodes the event for clients. Binary data becomes attachments.
    ///
    /// `id` is the id of the acknowledgement that the clients are asked for, and `offset` an argument that is appended,
    /// the position in the stream of broadcasts from which a client can recover.
    ///
    /// # Errors
    /// Returns an error if the name is reserved, if the namespace is illegal, or if an object beside binary data looks
    /// like a placeholder.
    pub fn encode<'e>(
        &self,
        encoder: &'e mut Encoder,
        namespace: &str,
        id: Option<u64>,
        offset: Option<&str>,
    ) -> Result<Encoded<'e>, EncodeError> {
        let mut elements = self.0.raw().elements();
        let name = elements.next().and_then(Raw::name).unwrap_or_default();
        encoder.event(namespace, id, &name, &Rest { elements, offset })
    }

    /// Returns the arguments without the name.
    ///
    /// # Errors
    /// Returns an error if an object beside binary data looks like a placeholder.
    pub fn to_args(&self) -> Result<OwnedArgs, EncodeError> {
        let mut args = OwnedArgs::new();
        self.0.raw().elements().skip(1).try_for_each(|value| args.push(&value))?;
        Ok(args)
    }
}

impl fmt::Debug for BusEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusEvent({:?}, {} bytes)", self.name(), self.len())
    }
}

/// The arguments behind the name of an event, as a tuple, which is a list of arguments to the encoder.
struct Rest<'a> {
    elements: Elements<'a>,
    offset: Option<&'a str>,
}

impl Serialize for Rest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let len = self.elements.clone().count() + usize::from(self.offset.is_some());
        let mut tuple = serializer.serialize_tuple(len)?;
        self.elements.clone().try_for_each(|value| tuple.serialize_element(&value))?;
        self.offset.iter().try_for_each(|offset| tuple.serialize_element(offset))?;
        tuple.end()
    }
}

/// A value that another node has sent: an answer, or what it knows of a socket. It shares the memory of the message, and of
/// what was read with it: [`detach`](BusValue::detach) it to keep it.
#[derive(Clone, PartialEq, Eq)]
pub struct BusValue(Option<Shared>);

impl BusValue {
    pub(super) fn new(buffer: &Bytes, value: Option<Raw<'_>>) -> BusValue {
        BusValue(value.map(|value| Shared::new(buffer, value)))
    }

    pub(super) fn raw(&self) -> Option<Raw<'_>> {
        self.0.as_ref().map(Shared::raw)
    }

    /// Returns the same value in memory of its own.
    pub fn detach(mut self) -> BusValue {
        self.0.iter_mut().for_each(Shared::detach);
        self
    }

    pub(super) fn detach_if_small(&mut self) {
        self.0.iter_mut().for_each(Shared::detach_if_small);
    }

    /// Returns the number of bytes that it has in the message.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |shared| shared.bytes.len())
    }

    pub(super) fn bytes(&self) -> Option<&Bytes> {
        self.0.as_ref().map(|shared| &shared.bytes)
    }

    /// Returns a list of arguments with this value, or an empty one if the other node has sent none.
    ///
    /// # Errors
    /// Returns an error if an object beside binary data looks like a placeholder.
    pub fn to_args(&self) -> Result<OwnedArgs, EncodeError> {
        let mut args = OwnedArgs::new();
        self.0.iter().try_for_each(|value| args.push(&value.raw()))?;
        Ok(args)
    }

    /// Returns the value as JSON, or `None` if the other node has sent none, or binary data in it.
    pub fn to_json(&self) -> Option<Cow<'_, str>> {
        let shared = self.0.as_ref()?;
        if let Raw::Json(text) = shared.raw() {
            return Some(text.into());
        }
        let args = self.to_args().ok()?;
        let json = args.as_args().iter().next()?;
        args.attachments().is_empty().then(|| String::from(json).into())
    }
}

impl fmt::Debug for BusValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusValue({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_buffer_shares_its_memory_and_another_slice_is_copied() {
        let buffer = Bytes::from(b"0123456789".to_vec());
        let (part, rest) = (buffer.slice(2..5), buffer.slice(5..));
        for (of, slice) in [(&buffer, &buffer[2..5]), (&part, &part[..]), (&part, &part[3..]), (&buffer, b"")]
        {
            let shared = share(of, slice);
            assert_eq!(shared, slice);
            assert!(slice.is_empty() || shared.as_ptr() == slice.as_ptr());
        }
        // What ends behind the buffer, or begins before it.
        for (of, slice) in [(&part, &buffer[2..6]), (&rest, &buffer[4..6]), (&Bytes::new(), &buffer[..])] {
            let copied = share(of, slice);
            assert_eq!(copied, slice);
            assert_ne!(copied.as_ptr(), slice.as_ptr());
        }
    }
}
