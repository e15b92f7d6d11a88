//! One byte stream of a client: the requests and frames it carries, and their responses.

use super::core::{Demand, Origin};
use super::shared::{Caller, Shared};
use crate::inflated::Inflated;
use crate::pool;
use sockeye_core::connection::client::{self, Response};
use sockeye_core::engineio::client::{Lane, Request, TransportError, Want};
use sockeye_core::engineio::split_first;
use sockeye_core::host::Outgoing;
use sockeye_core::protocol::{Protocol, StreamStatus};
use sockeye_core::socketio::client::Client;
use sockeye_core::{Outbound, Random, Time};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Maximum idle time after which a connection is still reused; later the server may be about to close it.
const REUSE: Duration = Duration::from_secs(1);
/// Maximum number of bytes that messages may be inflated to in one turn.
const MAX_INFLATED: usize = 256 << 10;
/// Maximum number of bytes of a payload that are handled in one turn, and at least one packet.
const MAX_TURN: usize = 256 << 10;
/// The number of bytes that a packet counts as if it is shorter: 1024 packets are handled in one turn.
const MIN_PACKET: usize = 256;

pub(super) struct LaneStream {
    shared: Arc<Shared>,
    lane: Lane,
    /// The session that this stream belongs to.
    generation: u64,
    id: u64,
    stream: client::Connection,
    waker: Option<Waker>,
    /// The deadline at which the keeper wakes this stream.
    armed: Option<Time>,
    /// The time of the last response.
    answered: Option<Time>,
    inflated: Inflated,
    /// The packets of the last response that are left for the next turns.
    rest: Option<Box<Rest>>,
    /// A request that the server has not seen: at first one that was begun elsewhere and is to be written
    /// first, then the one in progress on a reused connection until the first byte of a response arrives,
    /// because the server may be closing the connection at that moment.
    unseen: Option<Box<Request>>,
    /// The number of bytes that `handle_data` left unused the last time, at most `u32::MAX`.
    unread: u32,
    /// The session has been told that this stream has ended.
    told: bool,
    /// Something may be queued for this stream.
    may_transmit: bool,
}

/// The end of a payload, which begins at an index.
struct Rest {
    payload: String,
    at: usize,
}

impl LaneStream {
    pub(super) fn new(
        shared: Arc<Shared>,
        lane: Lane,
        generation: u64,
        id: u64,
        random: Random,
        max_message: usize,
    ) -> LaneStream {
        let stream = client::Connection::new(random, max_message);
        LaneStream {
            shared,
            lane,
            generation,
            id,
            stream,
            waker: None,
            armed: None,
            answered: None,
            inflated: Inflated::default(),
            rest: None,
            unseen: None,
            unread: 0,
            told: false,
            may_transmit: false,
        }
    }

    pub(super) fn with_request(mut self, begun: Option<Box<Request>>) -> LaneStream {
        self.unseen = begun;
        self
    }

    fn origin(&self) -> Origin {
        Origin { lane: self.lane, generation: self.generation }
    }

    /// Asks the session what this lane needs, and does it.
    fn follow(&mut self, now: Time) {
        let demand = self.shared.demand(now, self.origin());
        self.meet(now, demand);
    }

    fn meet(&mut self, now: Time, demand: Demand) {
        self.may_transmit = demand.transmits;
        match demand.want {
            Want::Nothing => {
                if self.lane == Lane::WebSocket {
                    self.shared.transmit(self.origin(), self.stream.outbound());
                }
                self.stream.close(now, None, "");
                self.rest = None;
                self.told = true;
                self.shared.release(self.lane, self.id);
            }
            Want::Abort => {
                self.rest = None;
                self.give_up();
            }
            // The request in progress has not ended yet.
            _ if self.rest.is_some() => {}
            _ if self.stream.is_idle() && self.unseen.is_some() => self.ask(),
            Want::Request if self.stream.is_idle() => {
                let is_old = self.answered.is_some_and(|at| now.saturating_since(at) > REUSE);
                match is_old {
                    true => self.give_up(),
                    false => self.ask(),
                }
            }
            Want::Request | Want::Keep => {}
        }
    }

    /// Returns whether the stream was only kept for the next request, so that its end is no loss.
    fn is_spare(&self) -> bool {
        self.answered.is_some() && self.stream.is_idle() && self.rest.is_none()
    }

    /// Closes this stream; another one carries the next request.
    fn give_up(&mut self) {
        self.stream.abort();
        self.told = true;
        self.shared.release(self.lane, self.id);
    }

    fn ask(&mut self) {
        let (origin, lane, generation) = (self.origin(), self.lane, self.generation);
        let settings = &self.shared.settings;
        // This changes the core: the timeout of the response starts.
        let begin = |client: &mut Client, now| client.begin(now, generation, lane, &settings.query);
        let begun = self.unseen.take();
        let Some(mut request) =
            begun.map(|begun| *begun).or_else(|| self.shared.act_from(Caller::Stream(origin), begin))
        else {
            return;
        };
        self.unseen = self.answered.is_some().then(|| Box::new(share(&mut request)));
        let cookies = self.shared.cookies();
        let own = [("Accept", "*/*")].into_iter();
        let own = own.chain(request.body.is_some().then_some(("Content-Type", "text/plain;charset=UTF-8")));
        let own = own.chain(cookies.as_deref().map(|cookies| ("Cookie", cookies)));
        let more = settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = own.chain(more);
        pool::lend(self.stream.outbound());
        let written = match request.upgrade {
            true => {
                let deflate = settings.config.engine.per_message_deflate;
                self.stream.upgrade(&request.target, &settings.authority, headers, deflate)
            }
            false => self.stream.request(
                request.method,
                &request.target,
                &settings.authority,
                headers,
                request.body,
            ),
        };
        if written.is_err() {
            self.fail(TransportError::Request);
        }
    }

    /// Aborts the stream, and tells the session why.
    fn fail(&mut self, error: TransportError) {
        self.stream.abort();
        self.end(|client, now, generation, lane| client.handle_failed(now, generation, lane, error));
    }

    /// Tells the session that the stream has ended, once.
    fn end(&mut self, tell: impl FnOnce(&mut Client, Time, u64, Lane)) {
        let Origin { lane, generation } = self.origin();
        if !std::mem::replace(&mut self.told, true) {
            let caller = Caller::Stream(self.origin());
            self.shared.act_from(caller, |client, now| tell(client, now, generation, lane));
        }
        self.shared.release(lane, self.id);
    }

    /// Sends the request in progress again, on another stream, if it is likely that the server has not seen
    /// it. That happens only once, because the other stream is new.
    ///
    /// A poll must be unseen for certain, because messages in its response would be lost: it is only repeated
    /// if part of it was never written. The same holds for every request of a session that can be resumed, which shows what
    /// the server has handled.
    fn ask_again(&mut self) -> bool {
        let is_written = self.stream.outbound().is_empty();
        let may_be_seen =
            is_written && (self.lane == Lane::Poll || self.shared.look(|client| client.is_resumable()));
        let is_reused = self.answered.is_some();
        let Some(request) = self.unseen.take().filter(|_| is_reused && !may_be_seen) else { return false };
        self.stream.abort();
        self.told = true;
        self.shared.open_again(self.lane, self.generation, self.id, request);
        true
    }

    /// Reads all complete responses. Returns the number of bytes consumed.
    fn read_responses(&mut self, now: Time, input: &[u8]) -> usize {
        let mut used = 0;
        while self.stream.awaits_response()
            && let Some(rest) = input.get(used..)
        {
            let shared = &self.shared;
            let keep_cookies = |head: &sockeye_core::http::ResponseHead<'_>| {
                let cookies = head.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("set-cookie"));
                cookies.for_each(|cookie| shared.store_cookie(cookie.value));
            };
            match self.stream.next_response(rest, keep_cookies) {
                Ok((0, None)) => break,
                Ok((n, None)) => used += n,
                Ok((n, Some(response))) => {
                    used += n;
                    self.answered = Some(now);
                    self.handle_response(now, &response);
                }
                Err(error) => {
                    self.fail(TransportError::Response(error));
                    return input.len();
                }
            }
        }
        used
    }

    fn handle_response(&mut self, now: Time, response: &Response<'_>) {
        let payload = self.shared.handle_response(now, self.origin(), response);
        match payload.and_then(|payload| self.read_packets(now, payload)) {
            Some(left) => self.rest = Some(Box::new(Rest { payload: left.into(), at: 0 })),
            None => self.end_response(),
        }
    }

    /// Handles packets that earlier turns have left.
    #[cold]
    fn resume_payload(&mut self, now: Time) {
        let Some(mut rest) = self.rest.take() else { return };
        match rest.payload.get(rest.at..).and_then(|left| self.read_packets(now, left)) {
            Some(left) => {
                rest.at = rest.payload.len() - left.len();
                self.rest = Some(rest);
            }
            None => self.end_response(),
        }
    }

    /// Handles packets of a payload, as many as one turn may take. Returns the others, for the next turn.
    fn read_packets<'a>(&self, now: Time, payload: &'a str) -> Option<&'a str> {
        let (mut left, mut read) = (Some(payload), 0);
        while let Some(payload) = left {
            // This stream is woken once the application has caught up.
            if !self.shared.may_read() {
                return left;
            }
            if read >= MAX_TURN {
                self.waker.iter().for_each(Waker::wake_by_ref);
                return left;
            }
            let (packet, behind) = split_first(payload);
            self.shared.receive_text(now, self.origin(), packet, behind.is_none());
            (left, read) = (behind, read + packet.len().max(MIN_PACKET));
        }
        None
    }

    /// Detaches this stream if the response that was handled is its last.
    fn end_response(&mut self) {
        if self.stream.is_closed() {
            self.told = true;
            self.shared.release(self.lane, self.id);
        }
    }

    /// Handles all complete messages. Returns what is demanded of this stream after the last of them.
    fn read_messages(&mut self, now: Time, input: &mut &mut [u8]) -> Option<Demand> {
        let mut demand = None;
        loop {
            match self.stream.next_message(now, input, &pool::DEFLATE) {
                Ok(Some(message)) => {
                    self.inflated.count(&message);
                    demand = self.shared.receive(now, self.origin(), &message);
                    if self.inflated.is_enough(MAX_INFLATED)
                        && let Some(waker) = &self.waker
                    {
                        waker.wake_by_ref();
                    }
                    if !self.wants_read() {
                        return demand;
                    }
                }
                Ok(None) => return demand,
                Err(error) => {
                    let error = TransportError::WebSocket(error);
                    self.end(|client, now, generation, lane| {
                        client.handle_failed(now, generation, lane, error)
                    });
                    return None;
                }
            }
        }
    }

    fn arm(&mut self) {
        let deadline = self.stream.next_deadline();
        if deadline != self.armed
            && let (Some(deadline), Some(waker)) = (deadline, &self.waker)
        {
            self.armed = Some(deadline);
            self.shared.wake_at(deadline, self.id, waker.clone());
        }
    }
}

impl Protocol for LaneStream {
    fn set_waker(&mut self, waker: &Waker) {
        if self.waker.is_none() {
            self.shared.stream_begins();
        }
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
            self.shared.set_waker(self.lane, self.id, waker);
        }
    }

    fn handle_wake(&mut self, now: Time) {
        self.inflated.begin_turn();
        self.stream.handle_timeout(now);
        if self.rest.is_some() {
            self.resume_payload(now);
        }
        if !self.told {
            self.follow(now);
        }
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        self.unseen = None;
        // Those left over from the last turn are passed again, and are no sign of life any more.
        let has_arrived = input.len() > self.unread as usize;
        let (mut used, mut demand) = (0, None);
        if self.stream.awaits_response() {
            used = self.read_responses(now, input);
        }
        if self.stream.is_websocket()
            && let Some(mut rest) = input.get_mut(used..)
        {
            let len = rest.len();
            demand = self.read_messages(now, &mut rest);
            used += len - rest.len();
        }
        match demand {
            _ if self.told => {}
            Some(demand) => self.meet(now, demand),
            None => {
                // A part of a response or message is a sign of life, too.
                if has_arrived {
                    self.shared.look(|client| client.heard(now, self.generation));
                }
                self.follow(now);
            }
        }
        // Discard bytes that answer no request.
        let is_unasked = !self.stream.awaits_response() && !self.stream.is_websocket();
        if is_unasked {
            used = input.len();
        }
        self.unread = u32::try_from(input.len().saturating_sub(used)).unwrap_or(u32::MAX);
        used
    }

    fn handle_eof(&mut self, now: Time) {
        if self.rest.is_some() {
            return self.stream.abort();
        }
        if self.is_spare() {
            return self.give_up();
        }
        if self.ask_again() {
            return;
        }
        match self.stream.handle_eof() {
            Some(response) => self.handle_response(now, &response),
            None => self.end(|client, now, generation, lane| client.handle_eof(now, generation, lane)),
        }
    }

    fn lend_buffer(&mut self) -> Box<[u8]> {
        pool::take_read_buffer()
    }

    fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
        pool::put_read_buffer(buffer);
    }

    fn lend_partial(&mut self, needed: usize) -> Vec<u8> {
        pool::take_partial(needed)
    }

    fn reclaim_partial(&mut self, buffer: Vec<u8>) {
        pool::put_partial(buffer);
    }

    fn wants_read(&self) -> bool {
        let may_read = || !self.inflated.is_enough(MAX_INFLATED) && self.shared.may_read();
        // Answers to requests that send bring no events, and have to arrive in time.
        let is_read = !self.stream.is_closed() && self.rest.is_none();
        is_read && (self.told || self.lane == Lane::Post || may_read())
    }

    fn poll_transmit(&mut self) -> Option<&mut Outbound> {
        if self.may_transmit && self.stream.is_websocket() && self.stream.outbound().is_empty() {
            self.may_transmit = self.shared.transmit(self.origin(), self.stream.outbound());
        }
        self.arm();
        let out = self.stream.outbound();
        if out.is_empty() {
            pool::reclaim(out);
            return None;
        }
        Some(out)
    }

    fn status(&self) -> StreamStatus {
        if self.rest.is_some() {
            StreamStatus::Open
        } else if self.stream.is_closed() {
            StreamStatus::Closed
        } else if self.stream.wants_half_close() {
            StreamStatus::HalfClose
        } else {
            StreamStatus::Open
        }
    }

    fn handle_half_closed(&mut self, now: Time) {
        self.stream.handle_half_closed(now);
    }
}

impl Outgoing for LaneStream {
    fn handle_failed(&mut self, _now: Time, error: &io::Error) {
        #[cfg(feature = "tls")]
        if sockeye_core::tls::is_plain(error) {
            let why = "the server does not speak TLS: use an http or ws url";
            return self.fail(TransportError::Connect(why.into()));
        }
        self.fail(TransportError::Connect(error.to_string().into()));
    }
}

impl Drop for LaneStream {
    fn drop(&mut self) {
        if self.armed.is_some() {
            self.shared.forget_deadline(self.id);
        }
        match self.is_spare() {
            true => self.give_up(),
            false if self.ask_again() => {}
            false => self.end(|client, now, generation, lane| {
                client.handle_failed(now, generation, lane, TransportError::Lost)
            }),
        }
        if self.waker.is_some() {
            self.shared.stream_ends();
        }
    }
}

/// Returns a copy of the request that shares its body.
fn share(request: &mut Request) -> Request {
    let body = request.body.take().map(|mut body| {
        let (mut one, mut other) = (Outbound::new(), Outbound::new());
        while let Some(piece) = body.pop() {
            one.push(piece.clone());
            other.push(piece);
        }
        request.body = Some(one);
        other
    });
    Request { method: request.method, target: request.target.clone(), body, upgrade: request.upgrade }
}
