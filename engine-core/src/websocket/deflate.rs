//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! Neither side uses a message for the next one (`no_context_takeover`, both ways). So a connection holds no window, one
//! state for each thread serves all of them, and what goes to many is compressed once.

use super::{Error, Header, Message, Opcode, apply_mask};
use alloc::{borrow::Cow, boxed::Box, format, string::String, vec::Vec};
use core::cell::Cell;
use core::num::NonZeroU8;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a server gives of permessage-deflate, or a client asks for.
///
/// What a message was is forgotten before the next one, on both sides: it takes no memory between messages, and finds
/// no repetition across them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    threshold: u32,
    level: u8,
}

impl PerMessageDeflate {
    /// Compresses messages of 1024 bytes and more, at level 6.
    pub const fn new() -> Self {
        Self { threshold: 1024, level: 6 }
    }

    /// From how many bytes on a message is compressed. 1024.
    pub const fn threshold(mut self, bytes: u32) -> Self {
        self.threshold = bytes;
        self
    }

    /// How hard to try, from 1, the fastest, to 9; what is higher is 9, and 0 is 1. 6.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = if level > 9 { 9 } else { level };
        self
    }

    const fn with_window(self, bits: NonZeroU8) -> Deflate {
        let level = if self.level == 0 { 1 } else { self.level };
        Deflate { threshold: self.threshold, level, window_bits: bits }
    }
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        Self::new()
    }
}

/// Permessage-deflate as it was agreed on for a connection: how messages are compressed that go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    threshold: u32,
    level: u8,
    window_bits: NonZeroU8,
}

/// The window that a peer has who says nothing of it: 32 KiB.
const WHOLE_WINDOW: NonZeroU8 = NonZeroU8::new(15).expect("not zero");
/// The smallest window that can be kept to: for 8 bits there is no encoder.
const SMALLEST_WINDOW: u8 = 9;

impl Deflate {
    /// The value of `Sec-WebSocket-Extensions` with which a client asks for it. It leaves the window of what the client
    /// sends to the server, as some take no offer that does not.
    pub const OFFER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";

    /// What a server agrees on, and the `Sec-WebSocket-Extensions` that says so: the first of the client's offers that
    /// can be kept to (RFC 7692, 5.1 and 7.1). `offers` are the values of all headers of that name.
    ///
    /// Offers that are not well-formed are declined: the connection goes on without compression.
    pub fn agree<'a>(
        config: &PerMessageDeflate,
        offers: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(Deflate, Cow<'static, str>)> {
        const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let accepted = |offer| {
            let window = Parameters::parse(offer)?.server_max_window_bits;
            let bits = window.map_or(Some(WHOLE_WINDOW), NonZeroU8::new)?;
            (bits.get() >= SMALLEST_WINDOW).then_some((window.is_some(), bits))
        };
        let (is_asked_for, bits) = offers.flat_map(|value| split(value, b',')).find_map(accepted)?;
        let answer = match is_asked_for {
            false => Cow::Borrowed(ANSWER),
            true => format!("{ANSWER}; server_max_window_bits={bits}").into(),
        };
        Some((config.with_window(bits), answer))
    }

    /// What a client has agreed on by [`OFFER`](Deflate::OFFER), from the values of all `Sec-WebSocket-Extensions` of
    /// the server's answer; `None` if there are none.
    ///
    /// # Errors
    /// When the server agrees to anything else: the connection has to be failed (RFC 7692, 7.1).
    pub fn agreed<'a>(
        config: &PerMessageDeflate,
        mut answer: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Deflate>, InvalidExtensions> {
        let Some(value) = answer.next() else { return Ok(None) };
        let parameters = Parameters::parse(value.trim_ascii()).ok_or(InvalidExtensions)?;
        if !parameters.server_no_context_takeover || answer.next().is_some() {
            return Err(InvalidExtensions);
        }
        // An answer has to say how large (RFC 7692, 7.1.2.2).
        let window = parameters.client_max_window_bits.map(|bits| bits.and_then(NonZeroU8::new));
        let bits = window.unwrap_or(Some(WHOLE_WINDOW)).ok_or(InvalidExtensions)?;
        Ok(Some(config.with_window(bits)))
    }

    /// From how many bytes on a message is compressed.
    pub(crate) fn threshold(self) -> usize {
        usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }

    /// Appends a whole message as a compressed frame, like [`write_frame`](super::write_frame); its payload may be in
    /// pieces. Whether it did: what is shorter than the threshold, or would not become shorter, is to be sent as it is.
    ///
    /// # Panics
    ///
    /// If it is a control frame: those are never compressed.
    pub fn write_frame(
        self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[&[u8]],
        mask: Option<[u8; 4]>,
    ) -> bool {
        assert!(!opcode.is_control(), "a control frame is never compressed");
        let len = payload.iter().map(|piece| piece.len()).sum();
        // A message may always be sent as it is (RFC 7692, 6), so that a window that cannot be kept to is no error.
        if len < self.threshold() || self.window_bits.get() < SMALLEST_WINDOW {
            return false;
        }
        let known = COMPRESSOR.take().filter(|known| known.settings == (self.level, self.window_bits));
        let mut compressor = known.unwrap_or_else(|| Box::new(Compressor::new(self.level, self.window_bits)));
        let compressed = compressor.compress(payload, len);
        if let Some(compressed) = compressed {
            out.extend_from_slice(&Header::new(opcode, compressed.len(), mask).deflated());
            let start = out.len();
            out.extend_from_slice(compressed);
            if let (Some(key), Some(masked)) = (mask, out.get_mut(start..)) {
                apply_mask(masked, key);
            }
        }
        let is_written = compressed.is_some();
        compressor.forget();
        COMPRESSOR.set(Some(compressor));
        is_written
    }
}

/// The server agreed to an extension or a parameter that was not asked for, or did not to one that it has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sec-websocket-extensions is not what was offered")]
pub struct InvalidExtensions;

std::thread_local! {
    // Taken out while in use. Nothing of a message is left in them.
    static COMPRESSOR: Cell<Option<Box<Compressor>>> = const { Cell::new(None) };
    static INFLATER: Cell<Option<Box<Decompress>>> = const { Cell::new(None) };
}

/// What is kept of a thread's buffer: a long message is not to cost its memory for ever.
const KEEP: usize = 64 << 10;
/// The end of what a flush writes, which is not sent (RFC 7692, 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];
/// The same and a last, empty block: so the decoder says whether the message ended where a block did.
const END: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

struct Compressor {
    state: Compress,
    settings: (u8, NonZeroU8),
    buffer: Vec<u8>,
}

impl Compressor {
    fn new(level: u8, window_bits: NonZeroU8) -> Self {
        let compression = Compression::new(level.into());
        let state = Compress::new_with_window_bits(compression, false, window_bits.get());
        Self { state, settings: (level, window_bits), buffer: Vec::new() }
    }

    /// The payload of `len` bytes as it is sent, if that is shorter.
    fn compress(&mut self, payload: &[&[u8]], len: usize) -> Option<&[u8]> {
        // With a tail that is cut off, and so that what fits has not filled it.
        self.buffer.reserve_exact(len + TAIL.len());
        let (last, front) = payload.split_last()?;
        for piece in front {
            self.state.compress_vec(piece, &mut self.buffer, FlushCompress::None).ok()?;
        }
        self.state.compress_vec(last, &mut self.buffer, FlushCompress::Sync).ok()?;
        let is_whole = self.state.total_in() == len as u64 && self.buffer.len() < self.buffer.capacity();
        let compressed = self.buffer.strip_suffix(TAIL)?;
        (is_whole && compressed.len() < len).then_some(compressed)
    }

    fn forget(&mut self) {
        self.state.reset();
        self.buffer.clear();
        self.buffer.shrink_to(KEEP);
    }
}

/// The message that a compressed payload is, of at most `limit` bytes (RFC 7692, 7.2.2).
pub(super) fn inflate(payload: &[u8], is_text: bool, limit: usize) -> Result<Message<'static>, Error> {
    let mut inflater = INFLATER.take().unwrap_or_else(|| Box::new(Decompress::new(false)));
    let data = inflate_whole(&mut inflater, payload, limit);
    inflater.reset(false);
    INFLATER.set(Some(inflater));
    if !is_text {
        return Ok(Message::Binary(Cow::Owned(data?)));
    }
    String::from_utf8(data?).map(|text| Message::Text(Cow::Owned(text))).map_err(|_| Error::InvalidUtf8)
}

fn inflate_whole(state: &mut Decompress, payload: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    // No more than the payload can account for; the rest comes as it turns out.
    let mut data = Vec::with_capacity(payload.len().saturating_mul(2).min(limit));
    let is_whole = match inflate_piece(state, payload, &mut data, limit)? {
        // A last block, and the empty one that may follow it (7.2.3.4).
        Some(rest) => matches!(rest, [] | [0]),
        None => inflate_piece(state, END, &mut data, limit)?.is_some_and(<[u8]>::is_empty),
    };
    is_whole.then_some(data).ok_or(Error::InvalidDeflate)
}

/// Inflates all of `input`, or up to the end of the stream: what comes after it.
fn inflate_piece<'a>(
    state: &mut Decompress,
    mut input: &'a [u8],
    data: &mut Vec<u8>,
    limit: usize,
) -> Result<Option<&'a [u8]>, Error> {
    loop {
        if data.len() == data.capacity() {
            // One more than the limit, to see whether it is exceeded.
            let room = limit.saturating_add(1).saturating_sub(data.len());
            data.reserve_exact(data.len().max(1024).min(room));
        }
        let before = state.total_in();
        let status =
            state.decompress_vec(input, data, FlushDecompress::None).map_err(|_| Error::InvalidDeflate)?;
        let used = usize::try_from(state.total_in() - before).map_err(|_| Error::InvalidDeflate)?;
        input = input.get(used..).ok_or(Error::InvalidDeflate)?;
        if data.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        match status {
            Status::StreamEnd => return Ok(Some(input)),
            // There may be more to come out.
            _ if data.len() == data.capacity() => {}
            _ if input.is_empty() => return Ok(None),
            _ if used == 0 => return Err(Error::InvalidDeflate),
            _ => {}
        }
    }
}

/// The parameters of one offer or answer (RFC 7692, 7.1).
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Without a number: the client can keep to one, if it is given.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// `None` if this is another extension, or one with a parameter that is unknown, repeated or has no such value.
    fn parse(extension: &[u8]) -> Option<Parameters> {
        let mut parts = split(extension, b';');
        if parts.next()? != b"permessage-deflate" {
            return None;
        }
        let mut parameters = Parameters::default();
        for part in parts {
            let (name, value) = match part.iter().position(|&byte| byte == b'=') {
                Some(at) => (part.get(..at)?, Some(part.get(at + 1..)?)),
                None => (part, None),
            };
            let bits = value.map(|value| window_bits(value.trim_ascii()));
            let is_new = match (name.trim_ascii(), bits) {
                (b"server_no_context_takeover", None) => {
                    !core::mem::replace(&mut parameters.server_no_context_takeover, true)
                }
                (b"client_no_context_takeover", None) => {
                    !core::mem::replace(&mut parameters.client_no_context_takeover, true)
                }
                (b"server_max_window_bits", Some(Some(bits))) => {
                    parameters.server_max_window_bits.replace(bits).is_none()
                }
                (b"client_max_window_bits", None) => {
                    parameters.client_max_window_bits.replace(None).is_none()
                }
                (b"client_max_window_bits", Some(Some(bits))) => {
                    parameters.client_max_window_bits.replace(Some(bits)).is_none()
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(parameters)
    }
}

/// A number from 8 to 15, which may stand in quotes (RFC 6455, 9.1).
fn window_bits(value: &[u8]) -> Option<u8> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    match *quoted.unwrap_or(value) {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// What stands between separators, but for those in quotes.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value.split(move |&byte| {
        if core::mem::take(&mut is_escaped) {
            return false;
        }
        match byte {
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        byte == separator && !is_quoted
    });
    parts.map(<[u8]>::trim_ascii)
}
