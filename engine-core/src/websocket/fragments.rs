//! A message that comes in fragments (RFC 6455, 5.4).

use alloc::{borrow::Cow, string::String, vec::Vec};

#[cfg(feature = "deflate")]
use super::deflate::inflate;
use super::{Error, Message};

/// How many frames of one message may be empty: they cost us work and the peer nothing that its
/// limit on bytes would stop.
pub(super) const MAX_EMPTY: u8 = 128;

/// What has come of a fragmented message. It grows with what arrived, never by what a header
/// declared.
#[derive(Debug)]
pub(super) struct Fragments {
    content: Content,
    empty: u8,
}

#[derive(Debug)]
enum Content {
    Text(Text),
    Binary(Vec<u8>),
    /// What is compressed is kept as it came: to inflate it piece by piece would take a window for each connection.
    #[cfg(feature = "deflate")]
    Deflated {
        is_text: bool,
        data: Vec<u8>,
    },
}

impl Fragments {
    pub(super) fn text() -> Self {
        Self::new(Content::Text(Text::default()))
    }

    pub(super) fn binary() -> Self {
        Self::new(Content::Binary(Vec::new()))
    }

    /// Of a message that is compressed.
    #[cfg(feature = "deflate")]
    pub(super) fn deflated(is_text: bool) -> Self {
        Self::new(Content::Deflated { is_text, data: Vec::new() })
    }

    fn new(content: Content) -> Self {
        Self { content, empty: 0 }
    }

    /// The bytes of all fragments so far.
    pub(super) fn len(&self) -> usize {
        match &self.content {
            Content::Text(text) => text.whole.len() + text.pending().len(),
            Content::Binary(data) => data.len(),
            #[cfg(feature = "deflate")]
            Content::Deflated { data, .. } => data.len(),
        }
    }

    /// Adds an unmasked fragment.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.is_empty() {
            self.empty += 1;
            if self.empty > MAX_EMPTY {
                return Err(Error::TooManyEmptyFragments);
            }
        }
        match &mut self.content {
            Content::Text(text) => text.push(payload),
            Content::Binary(data) => {
                data.extend_from_slice(payload);
                Ok(())
            }
            #[cfg(feature = "deflate")]
            Content::Deflated { data, .. } => {
                data.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    /// The message, after its last fragment: at most `limit` bytes.
    pub(super) fn finish(self, limit: usize) -> Result<Message<'static>, Error> {
        // Of the others, each fragment was looked at as it came.
        #[cfg(not(feature = "deflate"))]
        let _ = limit;
        match self.content {
            Content::Text(text) if !text.pending().is_empty() => Err(Error::InvalidUtf8),
            Content::Text(text) => Ok(Message::Text(Cow::Owned(text.whole))),
            Content::Binary(data) => Ok(Message::Binary(Cow::Owned(data))),
            #[cfg(feature = "deflate")]
            Content::Deflated { is_text, data } => inflate(&data, is_text, limit),
        }
    }
}

/// Text of which each byte is checked once, though a fragment may end inside a character.
#[derive(Debug, Default)]
struct Text {
    whole: String,
    /// The first bytes of a character whose last ones are to come.
    pending: [u8; 4],
    pending_len: u8,
}

impl Text {
    fn pending(&self) -> &[u8] {
        self.pending.get(..usize::from(self.pending_len)).unwrap_or_default()
    }

    fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut rest = payload;
        while self.pending_len > 0 {
            let Some((&byte, tail)) = rest.split_first() else {
                return Ok(());
            };
            rest = tail;
            self.push_pending(byte)?;
        }
        match simdutf8::compat::from_utf8(rest) {
            Ok(text) => self.whole.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(Error::InvalidUtf8),
            Err(error) => {
                let (text, start) = rest.split_at_checked(error.valid_up_to()).ok_or(Error::InvalidUtf8)?;
                // Checked already, but only unsafe code could make use of that. It is the one
                // fragment in many that ends inside a character.
                let text = simdutf8::basic::from_utf8(text).map_err(|_| Error::InvalidUtf8)?;
                self.whole.push_str(text);
                for &byte in start {
                    self.push_pending(byte)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a byte to the pending ones, and moves them over once they are a character.
    fn push_pending(&mut self, byte: u8) -> Result<(), Error> {
        let slot = self.pending.get_mut(usize::from(self.pending_len));
        *slot.ok_or(Error::InvalidUtf8)? = byte;
        self.pending_len += 1;
        match core::str::from_utf8(self.pending.get(..usize::from(self.pending_len)).unwrap_or_default()) {
            Ok(character) => {
                self.whole.push_str(character);
                self.pending_len = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(Error::InvalidUtf8),
        }
    }
}
