//! The packets of the body of a request.

use crate::engineio::packet::{Packet, PacketError, split_first};
use crate::engineio::v3;
use crate::utf8::from_utf8;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The packets of a body, of which a limited number is handled in one turn.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: Option<Rest<'a>>,
    taken: usize,
}

/// The packets that are left.
#[derive(Clone, Copy, Debug)]
enum Rest<'a> {
    V4(&'a str),
    V3(v3::Payload<'a>),
}

/// The number of packets of a body that are handled in one turn, so that other connections get theirs.
const MAX_TURN: usize = 1024;

impl<'a> Packets<'a> {
    /// Reads a body of version 4.
    ///
    /// # Errors
    /// [`PacketError::Utf8`] if it is not UTF-8.
    pub fn of(body: &'a [u8]) -> Result<Packets<'a>, PacketError> {
        let text = from_utf8(body).ok_or(PacketError::Utf8)?;
        Ok(Packets::of_text(text))
    }

    fn of_text(text: &'a str) -> Packets<'a> {
        Packets { rest: Some(text).filter(|text| !text.is_empty()).map(Rest::V4), taken: 0 }
    }

    /// Reads a body of version 3. One without packets is an error of the first packet, as in the reference.
    pub fn of_v3(payload: v3::Payload<'a>) -> Packets<'a> {
        Packets { rest: Some(Rest::V3(payload)), taken: 0 }
    }

    /// Returns the next packet, or `None` at the end of the body or of the turn. Without `may_go_on`, the turn ends now.
    ///
    /// # Errors
    /// The error of a packet that cannot be read. The packets before it still count.
    pub fn next(&mut self, may_go_on: bool) -> Result<Option<Packet<'a>>, PacketError> {
        let is_over = !may_go_on || self.taken >= MAX_TURN;
        match self.rest {
            None => Ok(None),
            Some(Rest::V4(rest)) => {
                let (packet, tail) = split_first(rest);
                // An empty packet cannot be read, so the rest must not begin with one.
                if is_over && !packet.is_empty() {
                    return Ok(None);
                }
                self.rest = tail.map(Rest::V4);
                self.taken += 1;
                Packet::decode(packet).map(Some)
            }
            Some(Rest::V3(payload)) => self.next_v3(payload, may_go_on),
        }
    }

    #[cold]
    fn next_v3(
        &mut self,
        mut payload: v3::Payload<'a>,
        may_go_on: bool,
    ) -> Result<Option<Packet<'a>>, PacketError> {
        // An empty body is an error at once. Empty packets are skipped, but count.
        while (may_go_on && self.taken < MAX_TURN) || payload.is_empty() {
            let (packet, rest) = payload.split_first()?;
            self.rest = Some(Rest::V3(rest)).filter(|_| !rest.is_empty());
            self.taken += 1;
            if packet.is_some() || rest.is_empty() {
                return Ok(packet);
            }
            payload = rest;
        }
        Ok(None)
    }

    /// Returns a copy of the packets that are left, if any are.
    pub fn to_unhandled(&self) -> Option<Box<Unhandled>> {
        let body = match self.rest? {
            Rest::V4(text) => Body::V4(text.to_owned()),
            Rest::V3(v3::Payload::Text(text)) => Body::V3Text(text.to_owned()),
            Rest::V3(v3::Payload::Binary(bytes)) => Body::V3Binary(bytes.to_vec()),
        };
        Some(Box::new(Unhandled { body, at: 0 }))
    }

    /// Returns the length of the packets that are left, in bytes, if any are.
    pub fn left(&self) -> Option<usize> {
        self.rest.map(|rest| match rest {
            Rest::V4(text) => text.len(),
            Rest::V3(payload) => payload.len(),
        })
    }
}

/// The packets of a body that wait for another turn.
#[derive(Debug)]
pub struct Unhandled {
    body: Body,
    /// The start of the packets that are left, in bytes.
    at: usize,
}

#[derive(Debug)]
enum Body {
    V4(String),
    V3Text(String),
    V3Binary(Vec<u8>),
}

impl Unhandled {
    /// Returns the packets.
    pub fn packets(&self) -> Packets<'_> {
        match &self.body {
            Body::V4(text) => Packets::of_text(text.get(self.at..).unwrap_or_default()),
            Body::V3Text(text) => Packets::of_v3(v3::Payload::Text(text.get(self.at..).unwrap_or_default())),
            Body::V3Binary(bytes) => {
                Packets::of_v3(v3::Payload::Binary(bytes.get(self.at..).unwrap_or_default()))
            }
        }
    }

    /// Keeps the packets that were not taken, whose length is `left` bytes.
    pub fn keep(&mut self, left: usize) {
        let len = match &self.body {
            Body::V4(text) | Body::V3Text(text) => text.len(),
            Body::V3Binary(bytes) => bytes.len(),
        };
        self.at = len.saturating_sub(left);
    }
}
