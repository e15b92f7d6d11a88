//! In the place of permessage-deflate where the feature `deflate` is off: types without a value, so that what would be
//! done with one costs nothing.

use super::Opcode;
use alloc::{borrow::Cow, vec::Vec};
use core::convert::Infallible;

/// What a server gives of permessage-deflate, or a client asks for: nothing, as the feature `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerMessageDeflate {}

/// Permessage-deflate as it was agreed on for a connection: never, as the feature `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deflate {}

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

    pub(crate) fn threshold(self) -> usize {
        match self {}
    }

    pub(crate) fn write_frame(self, _: &mut Vec<u8>, _: Opcode, _: &[&[u8]], _: Option<[u8; 4]>) -> bool {
        match self {}
    }
}
