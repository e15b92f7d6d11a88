//! Packets as they leave: text, and attachments behind it.

use super::args::{Args, OwnedArgs};
use super::json;
use super::serialize::{ArgumentList, Sink};
use crate::engineio::Part;
use crate::socketio::error::EncodeError;
use crate::socketio::kind::is_reserved;
use crate::socketio::limits::MAX_DEPTH;
use alloc::vec::Vec;
use bytes::Bytes;
use core::iter::FusedIterator;
use serde::Serialize;

/// What an [`Encoder`] keeps of its scratch between two packets, in bytes per buffer.
const KEPT: usize = 64 * 1024;

/// In front of the namespace: the type, the number of attachments (20 digits at most), and `-`.
const HEADROOM: usize = 1 + 20 + 1;

/// Returns whether a namespace's name can stand in a packet, and the packet in a payload.
pub(crate) fn is_legal_namespace(name: &str) -> bool {
    name.starts_with('/') && !name.contains([',', '\u{1e}'])
}

/// Encodes one packet at a time into scratch of its own, which allocates nothing once warm.
///
/// Keep one for each thread, not for each session. What a huge packet made it allocate, it
/// returns with the next packet.
///
/// Arguments are one value: a tuple or tuple struct is the list of arguments, `()` and unit
/// structs are none, `Ok` is what it holds and `Err` is not sent, anything else is one argument.
/// What serializes as unit but has a size (`serde_json::Value::Null`, `&()`) is the argument `null`.
/// Rust's arrays are tuples to serde, so `&[1, 2]` are two arguments, while a slice or `Vec` is
/// one. Data that serializes as bytes
/// (`bytes::Bytes` with its feature `serde`, `serde_bytes`) becomes an attachment, at any depth;
/// `Vec<u8>` and `&[u8]` are lists of numbers to serde.
#[derive(Debug, Default)]
pub struct Encoder {
    sink: Sink,
    /// Where the JSON of the packet begins.
    json: usize,
}

impl Encoder {
    /// Nothing allocated yet.
    pub const fn new() -> Encoder {
        Encoder { sink: Sink::new(), json: 0 }
    }

    /// An event, with an id if an acknowledgement is wanted.
    ///
    /// # Errors
    /// If the name is reserved, the namespace illegal, or `args` cannot be sent.
    pub fn event<A: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        event: &str,
        args: &A,
    ) -> Result<Encoded<'_>, EncodeError> {
        if is_reserved(event) {
            return Err(EncodeError::ReservedEvent);
        }
        let json = self.start(namespace, id)?;
        self.sink.text.push(b'[');
        self.sink.string(event);
        ArgumentList::write(&mut self.sink, true, args)?;
        self.sink.text.push(b']');
        self.finish_list([b'2', b'5'], json)
    }

    /// An acknowledgement.
    ///
    /// # Errors
    /// If the namespace is illegal, or `args` cannot be sent.
    pub fn ack<A: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        id: u64,
        args: &A,
    ) -> Result<Encoded<'_>, EncodeError> {
        let json = self.start(namespace, Some(id))?;
        self.sink.text.push(b'[');
        ArgumentList::write(&mut self.sink, false, args)?;
        self.sink.text.push(b']');
        self.finish_list([b'3', b'6'], json)
    }

    /// An event with arguments that came with another packet, passed on as they are.
    ///
    /// # Errors
    /// If the name is reserved or the namespace illegal.
    pub fn forward_event(
        &mut self,
        namespace: &str,
        id: Option<u64>,
        event: &str,
        args: Args<'_>,
    ) -> Result<Encoded<'_>, EncodeError> {
        if is_reserved(event) {
            return Err(EncodeError::ReservedEvent);
        }
        self.start(namespace, id)?;
        self.sink.text.push(b'[');
        self.sink.string(event);
        self.forward(args, true);
        self.finish_kind([b'2', b'5'])
    }

    /// An acknowledgement with arguments that came with another packet.
    ///
    /// # Errors
    /// If the namespace is illegal.
    pub fn forward_ack(
        &mut self,
        namespace: &str,
        id: u64,
        args: Args<'_>,
    ) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, Some(id))?;
        self.sink.text.push(b'[');
        self.forward(args, false);
        self.finish_kind([b'3', b'6'])
    }

    /// Placeholders keep their numbers, and attachments their order.
    fn forward(&mut self, args: Args<'_>, named: bool) {
        for (i, argument) in args.iter().enumerate() {
            if named || i > 0 {
                self.sink.text.push(b',');
            }
            self.sink.text.extend_from_slice(argument.as_bytes());
        }
        self.sink.text.push(b']');
        for attachment in args.attachments().iter() {
            self.sink.binary.extend_from_slice(attachment);
            self.sink.ends.push(self.sink.binary.len());
        }
    }

    /// Encodes a client's request to join a namespace, with the JSON object that it shows to the server, if any.
    ///
    /// # Errors
    /// Returns [`EncodeError::Auth`] if `auth` is not a JSON object, or an error if the namespace is illegal.
    pub fn connect(&mut self, namespace: &str, auth: Option<&str>) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        if let Some(auth) = auth {
            let scanned = json::scan(auth.trim_start(), MAX_DEPTH).map_err(|_| EncodeError::Auth)?;
            if !scanned.value.starts_with('{') {
                return Err(EncodeError::Auth);
            }
            self.sink.text.extend_from_slice(scanned.value.as_bytes());
        }
        self.finish_plain(b'0')
    }

    /// Encodes the server's answer to a client that has joined a namespace, with the id of its socket.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn connected(&mut self, namespace: &str, sid: &str) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        self.sink.text.extend_from_slice(br#"{"sid":"#);
        self.sink.string(sid);
        self.sink.text.push(b'}');
        self.finish_plain(b'0')
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
        let json = self.start(namespace, None)?;
        data.serialize(&mut self.sink)?;
        if !self.sink.ends.is_empty() {
            return Err(EncodeError::Binary);
        }
        if self.sink.text.get(json..) == Some(b"null") {
            self.sink.text.truncate(json);
        }
        self.finish_plain(b'4')
    }

    /// Encodes the packet by which a client leaves a namespace, or a server closes it for the client.
    ///
    /// # Errors
    /// Returns an error if the namespace is illegal.
    pub fn disconnect(&mut self, namespace: &str) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        self.finish_plain(b'1')
    }

    /// Gives back what a huge packet made it allocate. Encoding the next packet does it as well.
    pub fn trim(&mut self) {
        self.sink.clear(KEPT);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        let Sink { text, binary, ends, .. } = &self.sink;
        text.capacity() + binary.capacity() + ends.capacity() * size_of::<usize>()
    }

    /// Clears the scratch and writes what comes between the number of attachments and the JSON.
    /// Returns where the JSON begins.
    ///
    /// The number is known only afterwards, so it gets room in front to be aligned to the right.
    fn start(&mut self, namespace: &str, id: Option<u64>) -> Result<usize, EncodeError> {
        if !is_legal_namespace(namespace) {
            return Err(EncodeError::Namespace);
        }
        self.sink.clear(KEPT);
        let text = &mut self.sink.text;
        text.resize(HEADROOM, 0);
        if namespace != "/" {
            text.extend_from_slice(namespace.as_bytes());
            text.push(b',');
        }
        if let Some(id) = id {
            text.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        }
        self.json = text.len();
        Ok(self.json)
    }

    fn finish_plain(&mut self, kind: u8) -> Result<Encoded<'_>, EncodeError> {
        self.finish(&[kind])
    }

    /// `kinds` are the types without and with attachments.
    fn finish_list(&mut self, kinds: [u8; 2], json: usize) -> Result<Encoded<'_>, EncodeError> {
        let count = self.sink.ends.len();
        if count > 0 && count_placeholders(self.sink.text.get(json..).unwrap_or_default()) != count {
            return Err(EncodeError::Placeholder);
        }
        self.finish_kind(kinds)
    }

    fn finish_kind(&mut self, kinds: [u8; 2]) -> Result<Encoded<'_>, EncodeError> {
        let [plain, binary] = kinds;
        let count = self.sink.ends.len();
        if count == 0 {
            return self.finish(&[plain]);
        }
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(count).as_bytes();
        let mut head = [b'-'; HEADROOM];
        if let Some((first, rest)) = head.split_first_mut() {
            *first = binary;
            if let Some((room, _)) = rest.split_at_mut_checked(digits.len()) {
                room.copy_from_slice(digits);
            }
        }
        let len = 1 + digits.len() + 1;
        self.finish(head.get(..len).unwrap_or_default())
    }

    /// Writes `head` in front of the rest.
    fn finish(&mut self, head: &[u8]) -> Result<Encoded<'_>, EncodeError> {
        let start = HEADROOM - head.len();
        if let Some(room) = self.sink.text.get_mut(start..HEADROOM) {
            room.copy_from_slice(head);
        }
        Ok(Encoded {
            text: self.sink.text.get(start..).unwrap_or_default(),
            json: self.json - start,
            binary: &self.sink.binary,
            ends: &self.sink.ends,
        })
    }
}

/// How many objects in a text have a key `_placeholder`.
///
/// A quote inside of a JSON string has a backslash in front of it, so the key cannot be mistaken
/// for a part of a string. A key written with escapes is not seen: only raw JSON can have one.
fn count_placeholders(text: &[u8]) -> usize {
    const KEY: &[u8] = br#""_placeholder""#;
    memchr::memmem::find_iter(text, KEY)
        .filter(|at| {
            let escaped = at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\');
            let behind = text.get(at + KEY.len()..).unwrap_or_default();
            !escaped && behind.trim_ascii_start().first() == Some(&b':')
        })
        .count()
}

/// A packet ready to be sent, borrowed from its [`Encoder`].
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The packet without Engine.IO's digit in front. Valid UTF-8.
    pub text: &'a [u8],
    /// Where the JSON begins in `text`.
    json: usize,
    /// All attachments, one behind the other.
    binary: &'a [u8],
    /// Where in `binary` each ends.
    ends: &'a [usize],
}

impl<'a> Encoded<'a> {
    /// Returns a copy of the arguments of an event, for those who watch what leaves.
    pub fn event_args(&self) -> OwnedArgs {
        let json = core::str::from_utf8(self.text.get(self.json..).unwrap_or_default());
        let json = json.expect("the encoder writes text");
        let attachments: Vec<_> = self.attachments().map(Bytes::copy_from_slice).collect();
        Args::new_event(json, &attachments).into_owned()
    }

    /// Returns where the arguments begin in `text`.
    pub(crate) fn args_start(&self) -> usize {
        self.json
    }

    /// Returns the messages to send, as one unit: the text, and the attachments behind it.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + Clone + use<'a> {
        core::iter::once(Part::Text(self.text)).chain(self.attachments().map(Part::Binary))
    }

    /// What has to be sent behind the text, each as a binary message, with nothing in between.
    pub fn attachments(&self) -> Attachments<'a> {
        Attachments { binary: self.binary, start: 0, ends: self.ends }
    }
}

/// The attachments of an [`Encoded`] packet.
#[derive(Debug, Clone)]
pub struct Attachments<'a> {
    binary: &'a [u8],
    start: usize,
    ends: &'a [usize],
}

impl<'a> Iterator for Attachments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&end, ends) = self.ends.split_first()?;
        let attachment = self.binary.get(self.start..end);
        self.start = end;
        self.ends = ends;
        attachment
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ends.len(), Some(self.ends.len()))
    }
}

impl ExactSizeIterator for Attachments<'_> {}
impl FusedIterator for Attachments<'_> {}
