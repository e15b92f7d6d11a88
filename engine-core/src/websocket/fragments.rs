//! Reassembly of fragmented messages (RFC 6455, 5.4).

use crate::copy::append;
use crate::utf8::from_utf8;
use alloc::{borrow::Cow, string::String, vec::Vec};

#[cfg(feature = "deflate")]
use super::deflate::inflate;
use super::{DeflatePool, Error, Message};

/// Maximum number of empty fragments in one message. They cost us work, and the limit on bytes does
/// not bound them.
pub(super) const MAX_EMPTY: u8 = 128;

/// The fragments of a message that have arrived. Memory grows with the bytes received, never by a
/// declared length.
#[derive(Debug)]
pub(super) struct Fragments {
    content: Content,
    empty: u8,
}

#[derive(Debug)]
enum Content {
    Text(Text),
    Binary(Vec<u8>),
    /// Compressed data is inflated at the end, because inflating it piece by piece would take a window per connection.
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

    /// Creates the fragments of a compressed message.
    #[cfg(feature = "deflate")]
    pub(super) fn deflated(is_text: bool) -> Self {
        Self::new(Content::Deflated { is_text, data: Vec::new() })
    }

    fn new(content: Content) -> Self {
        Self { content, empty: 0 }
    }

    /// Returns the number of bytes of all fragments so far.
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
                append(data, payload);
                Ok(())
            }
            #[cfg(feature = "deflate")]
            Content::Deflated { data, .. } => {
                append(data, payload);
                Ok(())
            }
        }
    }

    /// Returns the message of at most `limit` bytes, after its last fragment.
    pub(super) fn finish(self, limit: usize, pool: &DeflatePool) -> Result<Message<'static>, Error> {
        // Uncompressed fragments were checked against the limit as they arrived.
        #[cfg(not(feature = "deflate"))]
        let _ = (limit, pool);
        match self.content {
            Content::Text(text) if !text.pending().is_empty() => Err(Error::InvalidUtf8),
            Content::Text(text) => Ok(Message::Text(Cow::Owned(text.whole))),
            Content::Binary(data) => Ok(Message::Binary(Cow::Owned(data))),
            #[cfg(feature = "deflate")]
            Content::Deflated { is_text, data } => inflate(&data, is_text, limit, pool),
        }
    }
}

/// Text in fragments that may end inside a character. Almost every byte is validated only once.
#[derive(Debug, Default)]
struct Text {
    whole: String,
    /// The first bytes of a character that the next fragment continues.
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
                // This validates the text a second time, as avoiding that takes unsafe code. Few
                // fragments end inside a character.
                let text = from_utf8(text).ok_or(Error::InvalidUtf8)?;
                self.whole.push_str(text);
                for &byte in start {
                    self.push_pending(byte)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a byte to the pending ones, and moves them to `whole` once they form a character.
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
