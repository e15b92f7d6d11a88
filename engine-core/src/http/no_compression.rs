//! Replaces `compression.rs` if the feature `deflate` is off. The types have no values, so that the compiler removes
//! the code that handles them.

use super::{Error, Request};
use crate::outbound::Outbound;
use crate::websocket::DeflatePool;
use alloc::vec::Vec;

/// The settings by which a server compresses the bodies of its responses. Without values, because the feature `deflate`
/// is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpCompression {}

/// A coding that a body can have. Without values, because the feature `deflate` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {}

impl HttpCompression {
    /// Returns the coding for the response to a request.
    pub fn agree(&self, _: &Request<'_>) -> Option<Coding> {
        match *self {}
    }

    /// Returns the compressed body.
    pub fn compress(&self, _: Coding, _: &Outbound, _: &DeflatePool) -> Option<Vec<u8>> {
        match *self {}
    }
}

pub(crate) fn coding_of(_: &Request<'_>) -> Result<Option<Coding>, Error> {
    Ok(None)
}

impl Coding {
    /// Returns the inflated body.
    pub fn inflate(self, _: &[u8], _: usize) -> Result<Vec<u8>, Error> {
        match self {}
    }

    /// Returns the name of the coding in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {}
    }
}
