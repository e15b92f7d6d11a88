//! Replaces `deflate.rs` if the feature `deflate` is off. The types have no values, so that the compiler removes the
//! code that handles them.

use super::{DeflatePool, Opcode};
use alloc::{borrow::Cow, vec::Vec};
use core::convert::Infallible;

/// The permessage-deflate settings that a server accepts or a client offers. Without values, because the feature
/// `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerMessageDeflate {}

/// Permessage-deflate as negotiated for a connection. Without values, because the feature `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deflate {}

/// The size of the window that was agreed for a connection. Without values, because the feature `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {}

impl Window {
    pub(crate) fn with(self, _: Option<PerMessageDeflate>) -> Option<Deflate> {
        match self {}
    }
}

impl Deflate {
    pub(crate) const OFFER: &str = "";

    pub(crate) fn agree<'a>(
        config: &PerMessageDeflate,
        _: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(Deflate, Cow<'static, str>)> {
        match *config {}
    }

    pub(crate) fn agreed<'a>(
        config: &PerMessageDeflate,
        _: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Deflate>, Infallible> {
        match *config {}
    }

    pub(crate) fn window(self) -> Window {
        match self {}
    }

    pub(crate) fn threshold(self) -> usize {
        match self {}
    }

    pub(crate) fn write_frame(
        self,
        _: &DeflatePool,
        _: &mut Vec<u8>,
        _: Opcode,
        _: &[&[u8]],
        _: Option<[u8; 4]>,
    ) -> bool {
        match self {}
    }
}

/// The state that messages are compressed and inflated with. It is empty, because the feature `deflate` is off.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DeflateState;

impl DeflateState {
    /// Creates a state.
    pub const fn new() -> Self {
        Self
    }
}
