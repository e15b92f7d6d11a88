//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! Messages are compressed independently of each other (`no_context_takeover`, both ways). Therefore a connection holds
//! no window, one state serves any number of connections, and a broadcast is compressed once.

use super::{DeflatePool, Error, Header, Message, Opcode, apply_mask};
use alloc::{borrow::Cow, boxed::Box, format, string::String, vec::Vec};
use core::fmt;
use core::num::NonZeroU8;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The permessage-deflate settings that a server accepts or a client offers.
///
/// Each message is compressed on its own, in both directions: this takes no memory between messages, but does not
/// exploit repetition across them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    threshold: u32,
    level: u8,
}

impl PerMessageDeflate {
    /// Creates the default settings: messages of 1024 bytes and more are compressed at level 6.
    pub const fn new() -> Self {
        Self { threshold: 1024, level: 6 }
    }

    /// Sets the size in bytes from which on a message is compressed. Default: 1024.
    pub const fn threshold(mut self, bytes: u32) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the compression level, from 1 (fastest) to 9 (smallest); other values are clamped. Default: 6.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = clamp_level(level);
        self
    }

    const fn with_window(self, window: Window) -> Deflate {
        Deflate { threshold: self.threshold, level: self.level, window }
    }
}

/// Returns the nearest level of compression that there is.
pub(crate) const fn clamp_level(level: u8) -> u8 {
    match level {
        0 => 1,
        1..=9 => level,
        _ => 9,
    }
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        Self::new()
    }
}

/// Permessage-deflate as negotiated for a connection: the settings by which outgoing messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    threshold: u32,
    level: u8,
    window: Window,
}

/// The size of the window that was agreed for a connection, in bits: all of a [`Deflate`] that is not the same for all
/// connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window(NonZeroU8);

impl Window {
    /// Returns what was agreed on the server's settings.
    #[inline]
    pub(crate) fn with(self, settings: Option<PerMessageDeflate>) -> Option<Deflate> {
        settings.map(|settings| settings.with_window(self))
    }
}

/// The window that applies if a peer does not limit it: 15 bits, which is 32 KiB.
const WHOLE_WINDOW: NonZeroU8 = NonZeroU8::new(15).expect("not zero");
/// The smallest window in bits that we can compress for: zlib has no encoder for 8.
const SMALLEST_WINDOW: u8 = 9;

impl Deflate {
    /// The value of `Sec-WebSocket-Extensions` by which a client offers the extension. It includes
    /// `client_max_window_bits`, because some servers accept no offer without it.
    pub const OFFER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";

    /// Accepts the first of a client's offers that a server can satisfy, and returns it with the value of
    /// `Sec-WebSocket-Extensions` for the response (RFC 7692, 5.1 and 7.1). `offers` are the values of all headers of
    /// that name.
    ///
    /// Malformed offers are declined. If all are, the connection goes on without compression.
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
        Some((config.with_window(Window(bits)), answer))
    }

    /// Returns what a server accepted of a client's [`OFFER`](Deflate::OFFER), from the values of all
    /// `Sec-WebSocket-Extensions` headers of its response; `None` if there are none.
    ///
    /// # Errors
    /// If the server accepted anything that was not offered. The client must then fail the connection (RFC 7692, 7.1).
    pub fn agreed<'a>(
        config: &PerMessageDeflate,
        mut answer: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Deflate>, InvalidExtensions> {
        let Some(value) = answer.next() else { return Ok(None) };
        let parameters = Parameters::parse(value.trim_ascii()).ok_or(InvalidExtensions)?;
        if !parameters.server_no_context_takeover || answer.next().is_some() {
            return Err(InvalidExtensions);
        }
        // In a response the parameter must have a value (RFC 7692, 7.1.2.2).
        let window = parameters.client_max_window_bits.map(|bits| bits.and_then(NonZeroU8::new));
        let bits = window.unwrap_or(Some(WHOLE_WINDOW)).ok_or(InvalidExtensions)?;
        Ok(Some(config.with_window(Window(bits))))
    }

    pub(crate) const fn window(self) -> Window {
        self.window
    }

    /// Returns the size in bytes from which on a message is compressed.
    pub(crate) fn threshold(self) -> usize {
        usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }

    /// Appends a whole message as a compressed frame, like [`write_frame`](super::write_frame); `payload` are its
    /// pieces. The state of compression comes from `pool`.
    ///
    /// Returns `false`, and appends nothing, if the message is shorter than the threshold or would not become shorter.
    /// The caller then sends it uncompressed.
    ///
    /// # Panics
    ///
    /// If it is a control frame: those are never compressed.
    pub fn write_frame(
        self,
        pool: &DeflatePool,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[&[u8]],
        mask: Option<[u8; 4]>,
    ) -> bool {
        assert!(!opcode.is_control(), "a control frame is never compressed");
        let len = payload.iter().map(|piece| piece.len()).sum();
        // Messages may always be sent uncompressed (RFC 7692, 6), so too small a window is no error.
        let Window(bits) = self.window;
        if len < self.threshold() || bits.get() < SMALLEST_WINDOW {
            return false;
        }
        pool.with(|state| {
            let compressor = state.compressor(self.level, bits);
            let compressed = compressor.compress(payload, len, FlushCompress::Sync);
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
            is_written
        })
    }
}

/// The server accepted an extension or a parameter that was not offered, or omitted a required parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's sec-websocket-extensions do not match the offer")]
pub struct InvalidExtensions;

/// The state that messages are compressed and inflated with, one after the other. See [`DeflatePool`].
///
/// A new one has allocated nothing; its two halves, for the two directions, are created on first use. It keeps nothing
/// of a message.
#[derive(Default)]
pub struct DeflateState {
    compressor: Option<Box<Compressor>>,
    inflater: Option<Box<Decompress>>,
}

impl DeflateState {
    /// Creates a state.
    pub const fn new() -> Self {
        Self { compressor: None, inflater: None }
    }

    /// Returns the compressor, which is a new one if the last one had other settings.
    fn compressor(&mut self, level: u8, window_bits: NonZeroU8) -> &mut Compressor {
        let known = self.compressor.take().filter(|known| known.settings == (level, window_bits));
        self.compressor.insert(known.unwrap_or_else(|| Box::new(Compressor::new(level, window_bits))))
    }

    /// Compresses data to one whole deflate stream, and passes it to `f`. Returns `None` if it does not become shorter.
    pub(crate) fn compress<R>(&mut self, level: u8, data: &[&[u8]], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let compressor = self.compressor(level, WHOLE_WINDOW);
        let len = data.iter().map(|piece| piece.len()).sum();
        let result = compressor.compress(data, len, FlushCompress::Finish).map(f);
        compressor.forget();
        result
    }

    fn inflater(&mut self) -> &mut Decompress {
        self.inflater.get_or_insert_with(|| Box::new(Decompress::new(false)))
    }
}

impl fmt::Debug for DeflateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeflateState").finish_non_exhaustive()
    }
}

/// Capacity in bytes that the buffer of a state keeps, so that a long message does not occupy its memory from then on.
const KEEP: usize = 64 << 10;
/// The bytes that a flush ends with, which are not sent (RFC 7692, 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];
/// [`TAIL`] and a final, empty block: the decoder then reports the end of the stream only if the message ended with a
/// block.
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

    /// Compresses a payload of `len` bytes in total; returns `None` if it does not become shorter. With
    /// [`FlushCompress::Finish`], the result is a whole stream, otherwise one block without [`TAIL`].
    fn compress(&mut self, payload: &[&[u8]], len: usize, flush: FlushCompress) -> Option<&[u8]> {
        // A result that is shorter than the payload never fills this capacity, even with the tail that is cut off.
        self.buffer.reserve_exact(len + TAIL.len());
        let (last, front) = payload.split_last()?;
        for piece in front {
            self.state.compress_vec(piece, &mut self.buffer, FlushCompress::None).ok()?;
        }
        self.state.compress_vec(last, &mut self.buffer, flush).ok()?;
        let is_whole = self.state.total_in() == len as u64 && self.buffer.len() < self.buffer.capacity();
        let compressed = match flush {
            FlushCompress::Finish => &self.buffer,
            _ => self.buffer.strip_suffix(TAIL)?,
        };
        (is_whole && compressed.len() < len).then_some(compressed)
    }

    fn forget(&mut self) {
        self.state.reset();
        self.buffer.clear();
        self.buffer.shrink_to(KEEP);
    }
}

/// Inflates a payload to a message of at most `limit` bytes (RFC 7692, 7.2.2).
pub(super) fn inflate(
    payload: &[u8],
    is_text: bool,
    limit: usize,
    pool: &DeflatePool,
) -> Result<Message<'static>, Error> {
    let data = pool.with(|state| {
        let inflater = state.inflater();
        let data = inflate_whole(inflater, payload, limit);
        inflater.reset(false);
        data
    });
    if !is_text {
        return Ok(Message::Binary(Cow::Owned(data?)));
    }
    String::from_utf8(data?).map(|text| Message::Text(Cow::Owned(text))).map_err(|_| Error::InvalidUtf8)
}

fn inflate_whole(state: &mut Decompress, payload: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    // A guess in proportion to what was received; it grows as needed.
    let mut data = Vec::with_capacity(payload.len().saturating_mul(2).min(limit));
    let is_whole = match inflate_piece(state, payload, &mut data, limit)? {
        // The stream ended with a final block, which a zero byte may follow (7.2.3.4).
        Some(rest) => matches!(rest, [] | [0]),
        None => inflate_piece(state, END, &mut data, limit)?.is_some_and(<[u8]>::is_empty),
    };
    is_whole.then_some(data).ok_or(Error::InvalidDeflate)
}

/// Inflates `input` to its end, or up to the end of the stream and then returns the bytes after it.
fn inflate_piece<'a>(
    state: &mut Decompress,
    mut input: &'a [u8],
    data: &mut Vec<u8>,
    limit: usize,
) -> Result<Option<&'a [u8]>, Error> {
    loop {
        if data.len() == data.capacity() {
            // One byte more than the limit, to notice that it is exceeded.
            let left = limit.saturating_add(1).saturating_sub(data.len());
            data.reserve_exact(data.len().max(1024).min(left));
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
            // The output is full, so there may be more.
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
    /// In an offer, a parameter without a number means that the client supports the parameter in the response.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Returns `None` if this is another extension, or has a parameter that is unknown, repeated or of invalid value.
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

/// Parses a number from 8 to 15, which may be quoted (RFC 6455, 9.1).
fn window_bits(value: &[u8]) -> Option<u8> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    match *quoted.unwrap_or(value) {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Splits at separators that are not in quotes, and trims the parts.
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
