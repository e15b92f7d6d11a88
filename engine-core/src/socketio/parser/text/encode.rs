//! The text form of a packet to send, and the attachments behind it.

use super::json;
use super::serialize::{ArgumentList, ErrIs, Sink};
use crate::socketio::args::Args;
use crate::socketio::error::EncodeError;
use crate::socketio::kind::is_reserved;
use crate::socketio::limits::MAX_DEPTH;
use crate::socketio::namespace_name::is_sendable_namespace;
use crate::socketio::parser::encoded::Encoded;
use crate::socketio::pid::Pid;
use serde::Serialize;

/// The capacity in bytes that an [`Encoder`] keeps of each buffer between two packets. More is kept only while it is needed.
const KEPT: usize = 64 * 1024;

/// The space in front of the JSON for all but a namespace: the type, the number of attachments, `-`, and the id. A number
/// has 20 digits at most.
const HEADROOM: usize = 1 + 20 + 1 + 20;

/// An encoder of packets as text, with the methods of [`Encoder`](crate::socketio::Encoder).
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    sink: Sink,
    /// The position of what was written in front of the JSON.
    start: usize,
    /// The position of the JSON of the packet.
    json: usize,
}

impl Encoder {
    pub(crate) const fn new() -> Encoder {
        Encoder { sink: Sink::new(), start: 0, json: 0 }
    }

    pub(crate) fn event<A: Serialize + ?Sized>(
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
        ArgumentList::write(&mut self.sink, true, ErrIs::Refused, args)?;
        self.sink.text.push(b']');
        self.finish_list([b'2', b'5'], json)
    }

    pub(crate) fn ack<A: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        id: u64,
        args: &A,
    ) -> Result<Encoded<'_>, EncodeError> {
        let json = self.start(namespace, Some(id))?;
        self.sink.text.push(b'[');
        ArgumentList::write(&mut self.sink, false, ErrIs::Sent, args)?;
        self.sink.text.push(b']');
        self.finish_list([b'3', b'6'], json)
    }

    pub(crate) fn forward_event(
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

    pub(crate) fn forward_ack(
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

    /// Appends arguments and their attachments: placeholders keep their numbers, and attachments their order.
    fn forward(&mut self, args: Args<'_>, named: bool) {
        for (i, argument) in args.iter().enumerate() {
            if named || i > 0 {
                self.sink.text.push(b',');
            }
            self.sink.text.extend_from_slice(argument.as_bytes());
        }
        self.sink.text.push(b']');
        for attachment in args.attachments().iter() {
            self.sink.binary.push(attachment);
        }
    }

    pub(crate) fn connect(
        &mut self,
        namespace: &str,
        auth: Option<&str>,
    ) -> Result<Encoded<'_>, EncodeError> {
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

    pub(crate) fn connected(&mut self, namespace: &str, sid: &str) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        self.sink.text.extend_from_slice(br#"{"sid":"#);
        self.sink.string(sid);
        self.sink.text.push(b'}');
        self.finish_plain(b'0')
    }

    pub(crate) fn connected_as(&mut self, namespace: &str, pid: &Pid) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        // The characters of an id need no escapes.
        let [first, second] = pid.halves().map(str::as_bytes);
        let ids = [&br#"{"sid":""#[..], pid.id.as_bytes(), br#"","pid":""#, first, second, br#""}"#];
        ids.iter().for_each(|piece| self.sink.text.extend_from_slice(piece));
        self.finish_plain(b'0')
    }

    pub(crate) fn connect_error<D: Serialize + ?Sized>(
        &mut self,
        namespace: &str,
        data: &D,
    ) -> Result<Encoded<'_>, EncodeError> {
        let json = self.start(namespace, None)?;
        data.serialize(&mut self.sink)?;
        if !self.sink.binary.ends.is_empty() {
            return Err(EncodeError::Binary);
        }
        if self.sink.text.get(json..) == Some(b"null") {
            self.sink.text.truncate(json);
        }
        self.finish_plain(b'4')
    }

    pub(crate) fn disconnect(&mut self, namespace: &str) -> Result<Encoded<'_>, EncodeError> {
        self.start(namespace, None)?;
        self.finish_plain(b'1')
    }

    pub(crate) fn trim(&mut self) {
        self.sink = Sink::new();
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let Sink { text, binary, .. } = &self.sink;
        text.capacity() + binary.bytes.capacity() + binary.ends.capacity() * size_of::<usize>()
    }

    /// Clears the buffers, and writes what comes between the number of attachments and the JSON. Returns the position of
    /// the JSON.
    ///
    /// The number is known only at the end. So all that comes in front of the JSON is written backwards, into space that is
    /// left for it.
    fn start(&mut self, namespace: &str, id: Option<u64>) -> Result<usize, EncodeError> {
        self.sink.clear(KEPT);
        let is_named = namespace != "/";
        if is_named {
            self.leave_space(namespace)?;
        }
        let text = &mut self.sink.text;
        text.extend_from_slice(&[0; HEADROOM]);
        self.json = text.len();
        self.start = match id {
            Some(id) => put_number(text, id).len(),
            None => self.json,
        };
        if is_named {
            self.put_namespace(namespace);
        }
        Ok(self.json)
    }

    /// Leaves space for a namespace and the comma behind it.
    #[inline(never)]
    fn leave_space(&mut self, namespace: &str) -> Result<(), EncodeError> {
        if !is_sendable_namespace(namespace) {
            return Err(EncodeError::Namespace);
        }
        self.sink.text.resize(namespace.len() + 1, 0);
        Ok(())
    }

    #[inline(never)]
    fn put_namespace(&mut self, namespace: &str) {
        let space = self.sink.text.get_mut(..self.start).unwrap_or_default();
        self.start = put(put(space, b","), namespace.as_bytes()).len();
    }

    #[inline(always)]
    fn finish_plain(&mut self, kind: u8) -> Result<Encoded<'_>, EncodeError> {
        let start = self.start - 1;
        if let Some(place) = self.sink.text.get_mut(start) {
            *place = kind;
        }
        self.finished(start)
    }

    /// Completes a list of arguments. `kinds` are the types of a packet without and with attachments.
    #[inline(always)]
    fn finish_list(&mut self, kinds: [u8; 2], json: usize) -> Result<Encoded<'_>, EncodeError> {
        let count = self.sink.binary.ends.len();
        if count > 0 && count_placeholders(self.sink.text.get(json..).unwrap_or_default()) != count {
            return Err(EncodeError::Placeholder);
        }
        self.finish_kind(kinds)
    }

    // Inlined without attachments, because a call would move the packet: `benches/count ack16`.
    #[inline(always)]
    fn finish_kind(&mut self, kinds: [u8; 2]) -> Result<Encoded<'_>, EncodeError> {
        let [plain, binary] = kinds;
        match self.sink.binary.ends.len() {
            0 => self.finish_plain(plain),
            count => self.finish_binary(binary, count),
        }
    }

    #[inline(never)]
    fn finish_binary(&mut self, kind: u8, count: usize) -> Result<Encoded<'_>, EncodeError> {
        let space = self.sink.text.get_mut(..self.start).unwrap_or_default();
        let start = put(put_number(put(space, b"-"), count as u64), &[kind]).len();
        self.finished(start)
    }

    /// Completes a packet that begins at `start`.
    #[inline(always)]
    fn finished(&self, start: usize) -> Result<Encoded<'_>, EncodeError> {
        Ok(Encoded {
            text: self.sink.text.get(start..).unwrap_or_default(),
            json: self.json - start,
            binary: &self.sink.binary,
            packed: None,
        })
    }
}

/// Writes bytes at the end of a space. Returns the space in front of them.
fn put<'a>(space: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let (rest, place) = space.split_at_mut(space.len() - bytes.len());
    place.copy_from_slice(bytes);
    rest
}

/// Writes the digits of a number at the end of a space. Returns the space in front of them.
fn put_number(space: &mut [u8], mut number: u64) -> &mut [u8] {
    let mut left = space.len();
    for place in space.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        left -= 1;
        if number == 0 {
            break;
        }
    }
    space.split_at_mut(left).0
}

/// Returns the number of objects in a text that have a key `_placeholder`.
///
/// A quote inside a JSON string has a backslash in front of it, so a part of a string is not taken for the key. A key
/// written with escapes is not found: only raw JSON can have one.
pub(super) fn count_placeholders(text: &[u8]) -> usize {
    const KEY: &[u8] = br#""_placeholder""#;
    memchr::memmem::find_iter(text, KEY)
        .filter(|at| {
            let escaped = at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\');
            let behind = text.get(at + KEY.len()..).unwrap_or_default();
            !escaped && behind.trim_ascii_start().first() == Some(&b':')
        })
        .count()
}
