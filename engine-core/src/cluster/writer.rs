//! Messages to the bus, written in JSON or in MessagePack by the same calls.

use super::args::PublishedArgs;
use crate::socketio::msgpack::{to_msgpack, write_str};
use crate::socketio::text::Elements;
use crate::socketio::{Flags, Rooms, Target};
use alloc::vec::Vec;
use bytes::Bytes;
use rmp::encode;

/// A message that is being written. The keys of maps are written in the order in which the reference writes them.
#[derive(Debug)]
pub(super) struct Writer {
    is_json: bool,
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn new(is_json: bool) -> Writer {
        Writer { is_json, out: Vec::with_capacity(128) }
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.into()
    }

    /// Separates a value from the one in front of it.
    fn next(&mut self) {
        if self.is_json && !matches!(self.out.last(), None | Some(b'[' | b'{' | b':')) {
            self.out.push(b',');
        }
    }

    /// Writes a map of `len` pairs.
    pub(super) fn map(&mut self, len: u32, write: impl FnOnce(&mut Writer)) {
        self.next();
        match self.is_json {
            true => self.out.push(b'{'),
            // Writing to memory does not fail.
            false => drop(encode::write_map_len(&mut self.out, len)),
        }
        write(self);
        if self.is_json {
            self.out.push(b'}');
        }
    }

    /// Writes an array of `len` elements.
    pub(super) fn array(&mut self, len: usize, write: impl FnOnce(&mut Writer)) {
        self.next();
        match self.is_json {
            true => self.out.push(b'['),
            false => drop(encode::write_array_len(&mut self.out, u32::try_from(len).unwrap_or(u32::MAX))),
        }
        write(self);
        if self.is_json {
            self.out.push(b']');
        }
    }

    pub(super) fn key(&mut self, key: &'static str) {
        self.str(key);
        if self.is_json {
            self.out.push(b':');
        }
    }

    pub(super) fn str(&mut self, text: &str) {
        self.next();
        match self.is_json {
            true => push_json_string(&mut self.out, text),
            false => write_str(&mut self.out, text),
        }
    }

    pub(super) fn uint(&mut self, number: u64) {
        self.next();
        match self.is_json {
            true => self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            false => drop(encode::write_uint(&mut self.out, number)),
        }
    }

    pub(super) fn bool(&mut self, is: bool) {
        self.next();
        match (self.is_json, is) {
            (true, true) => self.out.extend_from_slice(b"true"),
            (true, false) => self.out.extend_from_slice(b"false"),
            (false, _) => self.out.push(if is { 0xc3 } else { 0xc2 }),
        }
    }

    /// Writes a JSON value, in which placeholders stand for the attachments of `args`.
    pub(super) fn value(&mut self, json: &str, args: PublishedArgs<'_>) {
        self.next();
        match self.is_json {
            true => self.out.extend_from_slice(json.as_bytes()),
            false => to_msgpack(&mut self.out, json, |number| args.attachment(number)),
        }
    }

    /// Writes an event as a list: the arguments, with `name` in front unless they begin with it.
    pub(super) fn event(&mut self, name: Option<&str>, args: PublishedArgs<'_>) {
        let Some(name) = name else { return self.value(args.json(), args) };
        let values = Elements::new(args.json());
        self.array(1 + values.clone().count(), |to| {
            to.str(name);
            values.for_each(|value| to.value(value, args));
        });
    }

    pub(super) fn rooms(&mut self, rooms: &Rooms) {
        self.array(rooms.len(), |to| rooms.iter().for_each(|room| to.str(room)));
    }

    /// Writes the target, and the flags if they are given.
    pub(super) fn target(&mut self, target: &Target, flags: Option<&Flags>) {
        self.map(if flags.is_some() { 3 } else { 2 }, |to| {
            to.key("rooms");
            to.rooms(&target.rooms);
            to.key("except");
            to.rooms(&target.except);
            if let Some(flags) = flags {
                to.key("flags");
                to.flags(flags);
            }
        });
    }

    /// Writes the flags that differ from the defaults, as the reference does.
    fn flags(&mut self, flags: &Flags) {
        let len = u32::from(flags.volatile) + u32::from(!flags.compress) + u32::from(flags.timeout.is_some());
        self.map(len, |to| {
            if flags.volatile {
                to.key("volatile");
                to.bool(true);
            }
            if !flags.compress {
                to.key("compress");
                to.bool(false);
            }
            if let Some(timeout) = flags.timeout {
                to.key("timeout");
                to.uint(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            }
        });
    }
}

/// Appends a JSON string.
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                let digit = |at: u8| HEX.get(usize::from(at)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
