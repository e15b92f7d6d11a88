//! Frames on their way in.

use alloc::{borrow::Cow, boxed::Box};
use core::mem;

#[cfg(feature = "deflate")]
use super::deflate;
use super::{
    CloseFrame, Deflate, Error, MAX_CONTROL_PAYLOAD, Opcode, Role, apply_mask, bits, fragments::Fragments,
};

/// What a peer sent: a whole message, or a control frame. Borrowed from the input but for a
/// message that came in fragments or compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping of at most 125 bytes, to be answered by a pong with the same (RFC 6455, 5.5.2).
    Ping(&'a [u8]),
    /// A pong of at most 125 bytes (RFC 6455, 5.5.3).
    Pong(&'a [u8]),
    /// The last frame of this peer, to be answered by a close frame unless we sent one first (RFC
    /// 6455, 5.5.1). `None` if its body was empty.
    Close(Option<CloseFrame<'a>>),
}

/// Takes messages off the front of the bytes of one peer. One for each connection: 32 bytes, and
/// nothing on the heap unless a fragmented message is under way.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    max_message: usize,
    role: Role,
    /// Messages may be compressed.
    inflates: bool,
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Idle,
    /// Inside a message that comes in fragments.
    Fragmented(Box<Fragments>),
    /// A close frame has come: nothing counts that comes after it.
    Closed,
    /// The peer broke the protocol: there is no telling where the next frame starts.
    Failed(Error),
}

impl Decoder {
    /// A decoder at the start of a connection. `role` is our side; `max_message` is the most
    /// bytes a message may have, its fragments taken together.
    pub const fn new(role: Role, max_message: usize) -> Self {
        Self { state: State::Idle, max_message, role, inflates: false }
    }

    /// Takes compressed messages, too, from now on: permessage-deflate was agreed on. `max_message` is the most bytes
    /// of what they are compressed to, and of what comes out.
    pub const fn set_deflate(&mut self, deflate: Deflate) {
        _ = deflate;
        self.inflates = true;
    }

    /// Whether no message is under way.
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::Closed)
    }

    /// Takes the next message off the front of `input`, which is shortened to what comes after
    /// it. The message is unmasked where it lies and borrows those bytes, not the decoder.
    ///
    /// `None` if more bytes are needed. Fragments in front of an incomplete frame are then taken
    /// off and kept, while the bytes of that frame are left in `input`, untouched: call again
    /// with them and what follows. The work of trying again does not depend on their number.
    ///
    /// After a close frame all input is taken off and ignored (RFC 6455, 5.5.1).
    ///
    /// # Errors
    ///
    /// As soon as the header or the payload of a frame breaks the protocol; too long a message,
    /// as soon as its length is declared. All later calls give the same error.
    pub fn decode<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Message<'a>>, Error> {
        match self.state {
            State::Idle | State::Fragmented(_) => {}
            State::Closed => {
                *input = &mut [];
                return Ok(None);
            }
            State::Failed(error) => return Err(error),
        }
        let result = self.next_message(input);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn next_message<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Message<'a>>, Error> {
        while let Some(frame) = self.next_frame(input)? {
            if let Some(message) = self.take_in(frame)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Takes off a frame, if it is all there, and unmasks it.
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
        // Neither gives up: both lengths were just seen to be there.
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

    /// Checks all that the first two bytes of a frame tell: its opcode and FIN come back.
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
            let is_fragmented = matches!(self.state, State::Fragmented(_));
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

    /// Whether the reserved bits of a frame say no more than that a message begins that is compressed (RFC 7692, 6).
    #[cold]
    fn may_be_deflated(&self, first: u8) -> bool {
        let is_data = matches!(Opcode::from_bits(first & bits::OPCODE), Some(Opcode::Text | Opcode::Binary));
        self.inflates && is_data && first & bits::RESERVED == bits::DEFLATED
    }

    /// Checks the declared length of a data frame, before any of it is waited for.
    fn check_limit(&self, len: u64) -> Result<(), Error> {
        let before = match &self.state {
            State::Fragmented(fragments) => fragments.len(),
            _ => 0,
        };
        let room = self.max_message.saturating_sub(before);
        if usize::try_from(len).is_ok_and(|len| len <= room) {
            Ok(())
        } else {
            Err(Error::TooLarge { limit: self.max_message })
        }
    }

    /// The message that a frame completes; a fragment is kept if it does not.
    fn take_in<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Message<'a>>, Error> {
        let payload = frame.payload;
        #[cfg(feature = "deflate")]
        if frame.is_deflated {
            let is_text = frame.opcode == Opcode::Text;
            return match frame.is_final {
                true => deflate::inflate(payload, is_text, self.max_message).map(Some),
                false => self.start(Fragments::deflated(is_text), payload),
            };
        }
        let message = match (frame.opcode, frame.is_final) {
            (Opcode::Text, true) => {
                let text = simdutf8::basic::from_utf8(payload).map_err(|_| Error::InvalidUtf8)?;
                Message::Text(Cow::Borrowed(text))
            }
            (Opcode::Binary, true) => Message::Binary(Cow::Borrowed(payload)),
            (Opcode::Ping, _) => Message::Ping(payload),
            (Opcode::Pong, _) => Message::Pong(payload),
            (Opcode::Close, _) => {
                let close = CloseFrame::parse(payload)?;
                self.state = State::Closed;
                Message::Close(close)
            }
            (Opcode::Text, false) => return self.start(Fragments::text(), payload),
            (Opcode::Binary, false) => return self.start(Fragments::binary(), payload),
            (Opcode::Continuation, is_final) => return self.resume(payload, is_final),
        };
        Ok(Some(message))
    }

    #[cold]
    fn start(&mut self, mut fragments: Fragments, payload: &[u8]) -> Result<Option<Message<'static>>, Error> {
        fragments.push(payload)?;
        self.state = State::Fragmented(Box::new(fragments));
        Ok(None)
    }

    #[cold]
    fn resume(&mut self, payload: &[u8], is_final: bool) -> Result<Option<Message<'static>>, Error> {
        let State::Fragmented(fragments) = &mut self.state else {
            return Err(Error::UnexpectedContinuation);
        };
        fragments.push(payload)?;
        if !is_final {
            return Ok(None);
        }
        match mem::replace(&mut self.state, State::Idle) {
            State::Fragmented(fragments) => fragments.finish(self.max_message).map(Some),
            _ => Ok(None),
        }
    }
}

/// A frame that is all there, unmasked.
struct Frame<'a> {
    opcode: Opcode,
    is_final: bool,
    /// This and what follows of the message is compressed.
    #[cfg_attr(not(feature = "deflate"), expect(dead_code))]
    is_deflated: bool,
    payload: &'a [u8],
}

/// The length of the payload and what follows it, from a frame's second byte and the bytes after
/// it; `None` if those are too few. The shortest encoding is the only one (RFC 6455, 5.2).
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
