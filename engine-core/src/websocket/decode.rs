//! Decoding of received frames.

use alloc::{borrow::Cow, boxed::Box};

#[cfg(feature = "deflate")]
use super::deflate;
use super::{
    CloseFrame, Deflate, DeflatePool, Error, MAX_CONTROL_PAYLOAD, Opcode, Role, apply_mask, bits,
    fragments::Fragments,
};
use crate::utf8::from_utf8;

/// A whole message or a control frame of the peer. It borrows from the input, unless the message
/// was fragmented or compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping of at most 125 bytes, which must be answered by a pong with the same payload (RFC
    /// 6455, 5.5.2).
    Ping(&'a [u8]),
    /// A pong of at most 125 bytes (RFC 6455, 5.5.3).
    Pong(&'a [u8]),
    /// The last frame of this peer, which must be answered by a close frame unless we sent one first
    /// (RFC 6455, 5.5.1). `None` if its body was empty.
    Close(Option<CloseFrame<'a>>),
}

/// Decodes the messages of one peer. Each connection has its own, of 16 bytes; heap memory is used
/// only while a fragmented message is in progress, and after a violation of the protocol.
#[derive(Debug)]
pub struct Decoder {
    /// `None` between messages that are not fragmented. Boxed, because that is nearly always.
    state: Option<Box<State>>,
    /// A small integer, because every connection has one. No message is longer than this can be.
    max_message: u32,
    role: Role,
    /// Messages may be compressed.
    inflates: bool,
}

#[derive(Debug)]
enum State {
    /// Inside a message that comes in fragments.
    Fragmented(Fragments),
    /// After a close frame: all further input is ignored.
    Closed,
    /// After a protocol violation: it is unknown where the next frame starts.
    Failed(Error),
}

impl Decoder {
    /// Creates a decoder for a new connection. `role` is our side; `max_message` is the maximum
    /// size of a message in bytes, all its fragments together, and itself at most `u32::MAX`.
    pub const fn new(role: Role, max_message: usize) -> Self {
        let max_message = if max_message < u32::MAX as usize { max_message as u32 } else { u32::MAX };
        Self { state: None, max_message, role, inflates: false }
    }

    /// Accepts compressed messages from now on, because permessage-deflate was negotiated. The limit `max_message`
    /// applies to the compressed and to the inflated size.
    pub const fn set_deflate(&mut self, deflate: Deflate) {
        _ = deflate;
        self.inflates = true;
    }

    const fn max_message(&self) -> usize {
        self.max_message as usize
    }

    /// Returns whether no message is in progress.
    pub fn is_idle(&self) -> bool {
        matches!(self.state.as_deref(), None | Some(State::Closed))
    }

    /// Returns the message in progress, if it comes in fragments.
    fn fragments(&self) -> Option<&Fragments> {
        match self.state.as_deref() {
            Some(State::Fragmented(fragments)) => Some(fragments),
            _ => None,
        }
    }

    /// Takes the next message off the front of `input`, and shortens `input` to the bytes after it.
    /// The message is unmasked in place and borrows those bytes, not the decoder.
    ///
    /// Returns `None` if more bytes are needed. Fragments before an incomplete frame are consumed
    /// and kept; the bytes of the incomplete frame stay in `input`, unchanged. Call again with them
    /// and the bytes that follow. The cost of such a retry does not depend on their number.
    ///
    /// After a close frame all input is consumed and ignored (RFC 6455, 5.5.1).
    ///
    /// # Errors
    ///
    /// Fails as soon as the header or the payload of a frame breaks the protocol, or a header
    /// declares too long a message. All later calls return the same error.
    pub fn decode<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Message<'a>>, Error> {
        self.decode_with(input, &DeflatePool::default())
    }

    /// Does the same as [`decode`](Decoder::decode), and inflates messages with the state of `pool`. Use this if messages
    /// may be compressed.
    ///
    /// # Errors
    ///
    /// The same as those of `decode`.
    // Inlined up to the short text, because to move a message takes the processor longer than to decode it:
    // `benches/count ack16`.
    #[inline]
    pub fn decode_with<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        pool: &DeflatePool,
    ) -> Result<Option<Message<'a>>, Error> {
        let result = match self.short_text(input) {
            Some(payload) => match from_utf8(payload) {
                Some(text) => return Ok(Some(Message::Text(Cow::Borrowed(text)))),
                None => Err(Error::InvalidUtf8),
            },
            None => self.any_message(input, pool),
        };
        if let Err(error) = result {
            self.state = Some(Box::new(State::Failed(error)));
        }
        result
    }

    /// Consumes and unmasks the next frame if it is what most are: a whole text message that is short, and not
    /// compressed. Otherwise, returns `None` and leaves the input as it is. It only saves instructions: `benches/count
    /// ack16`.
    #[inline]
    fn short_text<'a>(&self, input: &mut &'a mut [u8]) -> Option<&'a [u8]> {
        const TEXT: u8 = bits::FIN | Opcode::Text as u8;
        let Some(&[TEXT, second]) = input.first_chunk() else { return None };
        let (masked, header_len) = match self.role {
            Role::Server => (bits::MASKED, 6),
            Role::Client => (0, 2),
        };
        let len = second ^ masked;
        // The first of these is true, too, if the bit that says whether the frame is masked is wrong.
        if len >= bits::LENGTH_16 || u32::from(len) > self.max_message || self.state.is_some() {
            return None;
        }
        let frame = input.split_off_mut(..header_len + usize::from(len))?;
        let (header, payload) = frame.split_at_mut_checked(header_len)?;
        if let [_, _, key @ ..] = header
            && let Some(key) = key.first_chunk()
        {
            apply_mask(payload, *key);
        }
        Some(payload)
    }

    fn any_message<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        pool: &DeflatePool,
    ) -> Result<Option<Message<'a>>, Error> {
        match self.state.as_deref() {
            None | Some(State::Fragmented(_)) => {}
            Some(State::Closed) => {
                *input = &mut [];
                return Ok(None);
            }
            Some(State::Failed(error)) => return Err(*error),
        }
        while let Some(frame) = self.next_frame(input)? {
            if let Some(message) = self.take_in(frame, pool)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Consumes and unmasks the next frame if it is complete.
    fn next_frame<'a>(&self, input: &mut &'a mut [u8]) -> Result<Option<Frame<'a>>, Error> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let (opcode, is_final) = self.check_start(first, second)?;
        let Some((len, mut rest)) = split_length(second, rest)? else {
            return Ok(None);
        };
        if !opcode.is_control() {
            self.check_limit(len)?;
        }
        let mut key = None;
        if let Role::Server = self.role {
            let Some((bytes, tail)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (key, rest) = (Some(*bytes), tail);
        }

        let header_len = input.len() - rest.len();
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= rest.len()) else {
            return Ok(None);
        };
        // Neither of these returns, because both lengths were checked above.
        let Some(_) = input.split_off_mut(..header_len) else {
            return Ok(None);
        };
        let Some(payload) = input.split_off_mut(..len) else {
            return Ok(None);
        };
        if let Some(key) = key {
            apply_mask(payload, key);
        }
        let is_deflated = cfg!(feature = "deflate") && first & bits::DEFLATED != 0;
        Ok(Some(Frame { opcode, is_final, is_deflated, payload }))
    }

    /// Checks the first two bytes of a frame, except the length; returns the opcode and whether FIN is set.
    fn check_start(&self, first: u8, second: u8) -> Result<(Opcode, bool), Error> {
        if first & bits::RESERVED != 0 && !self.may_be_deflated(first) {
            return Err(Error::ReservedBits);
        }
        let number = first & bits::OPCODE;
        let opcode = Opcode::from_bits(number).ok_or(Error::ReservedOpcode(number))?;
        let is_final = first & bits::FIN != 0;
        if opcode.is_control() {
            if !is_final {
                return Err(Error::FragmentedControl);
            }
            if usize::from(second & bits::LENGTH) > MAX_CONTROL_PAYLOAD {
                return Err(Error::ControlTooLong);
            }
        } else {
            let is_fragmented = self.fragments().is_some();
            match opcode {
                Opcode::Continuation if !is_fragmented => {
                    return Err(Error::UnexpectedContinuation);
                }
                Opcode::Text | Opcode::Binary if is_fragmented => {
                    return Err(Error::UnfinishedMessage);
                }
                _ => {}
            }
        }
        match (self.role, second & bits::MASKED != 0) {
            (Role::Server, false) => Err(Error::NotMasked),
            (Role::Client, true) => Err(Error::Masked),
            _ => Ok((opcode, is_final)),
        }
    }

    /// Returns whether the reserved bits of a frame only say that it begins a compressed message (RFC 7692, 6), and
    /// whether that was negotiated.
    #[cold]
    fn may_be_deflated(&self, first: u8) -> bool {
        let is_data = matches!(Opcode::from_bits(first & bits::OPCODE), Some(Opcode::Text | Opcode::Binary));
        self.inflates && is_data && first & bits::RESERVED == bits::DEFLATED
    }

    /// Checks the declared length of a data frame, before its payload has arrived.
    fn check_limit(&self, len: u64) -> Result<(), Error> {
        let before = self.fragments().map_or(0, Fragments::len);
        let left = self.max_message().saturating_sub(before);
        if usize::try_from(len).is_ok_and(|len| len <= left) {
            Ok(())
        } else {
            Err(Error::TooLarge { limit: self.max_message() })
        }
    }

    /// Returns the message that a frame completes, or keeps its fragment.
    fn take_in<'a>(&mut self, frame: Frame<'a>, pool: &DeflatePool) -> Result<Option<Message<'a>>, Error> {
        let payload = frame.payload;
        #[cfg(feature = "deflate")]
        if frame.is_deflated {
            let is_text = frame.opcode == Opcode::Text;
            return match frame.is_final {
                true => deflate::inflate(payload, is_text, self.max_message(), pool).map(Some),
                false => self.start(Fragments::deflated(is_text), payload),
            };
        }
        let message = match (frame.opcode, frame.is_final) {
            (Opcode::Text, true) => {
                Message::Text(Cow::Borrowed(from_utf8(payload).ok_or(Error::InvalidUtf8)?))
            }
            (Opcode::Binary, true) => Message::Binary(Cow::Borrowed(payload)),
            (Opcode::Ping, _) => Message::Ping(payload),
            (Opcode::Pong, _) => Message::Pong(payload),
            (Opcode::Close, _) => {
                let close = CloseFrame::parse(payload)?;
                self.state = Some(Box::new(State::Closed));
                Message::Close(close)
            }
            (Opcode::Text, false) => return self.start(Fragments::text(), payload),
            (Opcode::Binary, false) => return self.start(Fragments::binary(), payload),
            (Opcode::Continuation, is_final) => return self.resume(payload, is_final, pool),
        };
        Ok(Some(message))
    }

    #[cold]
    fn start(&mut self, mut fragments: Fragments, payload: &[u8]) -> Result<Option<Message<'static>>, Error> {
        fragments.push(payload)?;
        self.state = Some(Box::new(State::Fragmented(fragments)));
        Ok(None)
    }

    #[cold]
    fn resume(
        &mut self,
        payload: &[u8],
        is_final: bool,
        pool: &DeflatePool,
    ) -> Result<Option<Message<'static>>, Error> {
        let Some(State::Fragmented(fragments)) = self.state.as_deref_mut() else {
            return Err(Error::UnexpectedContinuation);
        };
        fragments.push(payload)?;
        if !is_final {
            return Ok(None);
        }
        match self.state.take().map(|state| *state) {
            Some(State::Fragmented(fragments)) => fragments.finish(self.max_message(), pool).map(Some),
            _ => Ok(None),
        }
    }
}

/// A complete, unmasked frame.
struct Frame<'a> {
    opcode: Opcode,
    is_final: bool,
    /// This frame and the rest of its message are compressed.
    #[cfg_attr(not(feature = "deflate"), expect(dead_code))]
    is_deflated: bool,
    payload: &'a [u8],
}

/// Parses the length of the payload from a frame's second byte and the bytes after it; returns it
/// with the bytes that follow, or `None` if more are needed. Only the shortest encoding is valid
/// (RFC 6455, 5.2).
fn split_length(second: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Error> {
    let (len, shortest, rest) = match second & bits::LENGTH {
        bits::LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*bytes)), 126, rest)
        }
        bits::LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*bytes), 0x1_0000, rest)
        }
        len => (u64::from(len), 0, rest),
    };
    if len < shortest || len > i64::MAX as u64 {
        return Err(Error::InvalidLength);
    }
    Ok(Some((len, rest)))
}
