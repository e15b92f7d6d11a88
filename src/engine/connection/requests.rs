//! The HTTP requests of a connection, one at a time.

use super::Connection;
use super::link::{Link, Stage};
use crate::engine::exchange::{Caller, Content, Exchange, Incoming, Step, Upgrade};
use crate::engine::{Application, Handshake, TransportError};
use crate::log::{self, debug};
use crate::pool;
use sockeye_core::Time;
use sockeye_core::connection::{self as stream, BorrowedContent, Phase};
use sockeye_core::http::{self, Head};
use std::sync::Arc;

impl<A: Application> Connection<A> {
    /// Reads the head or the body of a request, or drops what follows the last one. Returns `true` if nothing more can be
    /// done now.
    pub(super) fn read_request(&mut self, now: Time, input: &mut &[u8]) -> bool {
        match self.stream.phase() {
            Phase::Body => self.read_body(now, input),
            Phase::Request | Phase::WebSocket => true,
            Phase::Closing | Phase::Closed => {
                *input = &[];
                true
            }
            // Do not pile up responses that the client does not read.
            Phase::Head if self.stream.queued() >= self.server().site.config.high_water => true,
            Phase::Head if self.is_delivering() && self.stream.queued() > 0 => true,
            Phase::Head => self.read_head(now, input),
        }
    }

    fn read_head(&mut self, now: Time, input: &mut &[u8]) -> bool {
        let mut slots = http::header_slots();
        match self.stream.next_head(now, input, &mut slots) {
            Ok(Some(head)) => {
                self.handle_request(now, &head);
                *input = input.get(head.len..).unwrap_or_default();
                false
            }
            Ok(None) => true,
            Err(error) => {
                let peer = log::peer(self.link.get_other().and_then(|other| other.peer.address));
                debug!(peer = %peer, cause = %error, "the head of a request cannot be read");
                true
            }
        }
    }

    fn read_body(&mut self, now: Time, input: &mut &[u8]) -> bool {
        match self.stream.next_body(now, input) {
            Ok(Some(body)) => self.handle_body(now, &body),
            Ok(None) => return true,
            Err(http::Error::BodyTooLarge) => {
                let limit = self.server().site.config.max_payload;
                self.refuse_body(now, TransportError::TooLarge { limit });
            }
            Err(error) => self.refuse_body(now, TransportError::Body(error)),
        }
        false
    }

    fn handle_request(&mut self, now: Time, head: &Head<'_>) {
        let request = &head.request;
        // Set before the session can be forgotten, because this request may get its last response.
        self.set_busy(true);
        // HTTP/1.0 has no `Upgrade` (RFC 9110, section 7.8).
        let upgrade = match head.version == http::Version::Http11 && stream::is_upgrade(request) {
            true => Upgrade::Http1,
            false => Upgrade::None,
        };
        let incoming = Incoming { request, upgrade, body: head.body };
        let server = &self.stream.config().0;
        let Some(other) = self.link.get_other() else { return };
        let client = server.client(other.peer, request);
        let handshake = |common: Option<&Arc<_>>| {
            let handshake = Handshake::new(request, client, common);
            #[cfg(all(feature = "http", feature = "testing"))]
            let handshake = handshake.with_extensions(crate::staged::extensions());
            handshake
        };
        let caller = Caller { now, server, waker: self.waker.as_ref(), peer: client.address };
        let (exchange, step) = Exchange::begin(caller, &incoming, handshake);
        if matches!(step, Step::Wait) {
            self.stream.defer(exchange.next_deadline());
        }
        if matches!(step, Step::Wait | Step::Body) {
            self.link.set_stage(Stage::Exchange(Box::new(exchange)));
        }
        self.take_step(now, step);
    }

    fn handle_body(&mut self, now: Time, body: &[u8]) {
        let Some((exchange, peer)) = self.link.exchange() else { return };
        let caller = Caller { now, server: &self.stream.config().0, waker: self.waker.as_ref(), peer };
        let step = exchange.handle_body(caller, body);
        self.take_step(now, step);
    }

    /// Handles the body of a request that has none: it is complete with its head, even if no more bytes come.
    #[inline]
    pub(super) fn handle_empty_body(&mut self, clock: &dyn Fn() -> Time) {
        if self.stream.phase() == Phase::Body {
            let now = clock();
            if let Ok(Some(body)) = self.stream.next_body(now, &mut &[][..]) {
                self.handle_body(now, &body);
            }
        }
    }

    pub(super) fn take_step(&mut self, now: Time, mut step: Step<A>) {
        match step {
            Step::Wait => {}
            Step::Body => self.stream.receive_body(now),
            // By reference, because a move of the response counts: `benches/count polling`.
            Step::Respond(ref mut response, ref mut delivery) => {
                pool::lend(self.stream.outbound());
                if let Link::Other(other) = &mut self.link {
                    other.owes = matches!(other.stage, Stage::Exchange(_));
                    other.stage = delivery.take().map_or(Stage::None, Stage::Delivering);
                }
                if response.close {
                    self.stream.end_keep_alive();
                }
                let body = match &mut response.body {
                    Content::Static(bytes) => BorrowedContent::Bytes(bytes),
                    Content::Queue(queue) => BorrowedContent::Queue(queue),
                    Content::HeadOnly(length) => BorrowedContent::HeadOnly(*length),
                };
                self.stream.respond(now, response.status, response.headers.iter(), body);
                if let Content::Queue(queue) = &mut response.body {
                    pool::reclaim(queue);
                }
            }
            Step::Upgrade(accept, carries) => {
                pool::lend(self.stream.outbound());
                self.stream.upgrade(now, &accept.key.unwrap_or_default(), accept.headers.iter());
                if let Some(deflate) = accept.deflate {
                    self.stream.set_deflate(deflate);
                }
                self.carry(now, carries);
                // The packet that opens a session leaves in one write with the response, except in version 3.
                self.transmit();
            }
        }
    }

    /// Refuses a request whose body is too large, too slow or malformed.
    pub(super) fn refuse_body(&mut self, now: Time, reason: TransportError) {
        if let Some((exchange, peer)) = self.link.exchange() {
            let caller = Caller { now, server: &self.stream.config().0, waker: self.waker.as_ref(), peer };
            let step = exchange.refuse_body(caller, reason);
            self.take_step(now, step);
        }
    }

    /// Returns whether the response to a poll is being written.
    fn is_delivering(&self) -> bool {
        matches!(&self.link, Link::Other(other) if matches!(other.stage, Stage::Delivering(_)))
    }
}
