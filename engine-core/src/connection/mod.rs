//! One byte stream of a server: HTTP/1.1 requests, one at a time, then perhaps WebSocket. [`client`] is the client's side.

pub mod client;
mod upgrade;

pub use upgrade::{UpgradeError, agree_deflate, agree_subprotocol, check_version, is_upgrade, websocket_key};

use crate::http::{self, Body, Chunked, Head, HeaderSlots, Progress, Status};
use crate::outbound::Outbound;
use crate::time::Time;
use crate::websocket::{self, Decoder, Deflate, DeflatePool, Message, Opcode, Role};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The limits of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Maximum size of a request head, in bytes. Default: 16 KiB.
    pub max_head: usize,
    /// Maximum size of a body or message, in bytes. Default: 1,000,000.
    pub max_payload: usize,
    /// Timeout for the head of a request to arrive, from its first byte. Default: 10 s.
    pub head_timeout: Duration,
    /// Maximum idle time before the first request and between requests. Default: 65 s, which is longer than the 60 s of
    /// most load balancers: the side that sends requests should be the one that closes an idle connection.
    pub keep_alive_timeout: Duration,
    /// Timeout for the body of a request, from its head. Default: 30 s.
    pub request_body_timeout: Duration,
    /// Timeout for a WebSocket message to arrive, from its first byte; also for the peer to read the last response.
    /// Default: 60 s.
    pub message_timeout: Duration,
    /// Timeout for the peer to read the last bytes, and then to close the stream. Default: 5 s.
    pub close_timeout: Duration,
}

impl AsRef<Config> for Config {
    fn as_ref(&self) -> &Config {
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_head: http::MAX_HEAD,
            max_payload: 1_000_000,
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(65),
            request_body_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
        }
    }
}

/// The server's side of one byte stream.
///
/// Call the `next_*` method that the [`phase`](Connection::phase) names with the bytes that arrived. A request has to be
/// answered, [deferred](Connection::defer) or upgraded before the next one is read. The bytes to write are in
/// [`outbound`](Connection::outbound).
///
/// `C` is the owner's handle of the limits, from which it may get more than those.
#[derive(Debug)]
pub struct Connection<C = Arc<Config>> {
    config: C,
    out: Outbound,
    state: State,
    deadline: Option<Time>,
}

/// The state of a connection: no larger than what WebSocket needs, because most connections become that.
#[derive(Debug)]
enum State {
    Head { begun: bool },
    Request(Pending),
    Body(Pending),
    Chunked(Box<(Pending, Chunked, Vec<u8>)>),
    WebSocket(Decoder),
    Closing,
    Lingering,
    Closed,
}

/// A request that is being answered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The body that has not been read yet.
    unread: Unread,
    expect_continue: bool,
    keep_alive: bool,
    /// It is a HEAD, whose response has no body.
    is_head: bool,
}

/// A [`Body`] in eight bytes: one that is longer than these can tell is too long anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    None,
    Length(u32),
    /// It is too long, or is not to be read to its end.
    Endless,
    Chunked,
}

impl From<Body> for Unread {
    fn from(body: Body) -> Unread {
        match body {
            Body::None => Unread::None,
            Body::Length(length) => u32::try_from(length).map_or(Unread::Endless, Unread::Length),
            Body::Chunked => Unread::Chunked,
        }
    }
}

/// The state of a connection, which says what to call next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a request: call [`next_head`](Connection::next_head).
    Head,
    /// Waits for the application to answer the request.
    Request,
    /// Waits for the body of a request: call [`next_body`](Connection::next_body).
    Body,
    /// Waits for messages: call [`next_message`](Connection::next_message).
    WebSocket,
    /// Waits for the end of the stream: bytes that still arrive are dropped.
    Closing,
    /// Waits for nothing: close the stream.
    Closed,
}

/// The consequence of a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// A response or the end of the stream took too long, or the next request did not begin: the connection is closing.
    Connection,
    /// The head of a request took too long to arrive: the connection is closing, after the response
    /// [408](Status::REQUEST_TIMEOUT).
    Head,
    /// A message took too long to arrive: the connection is closing. Or a body did: answer its request with
    /// [408](Status::REQUEST_TIMEOUT), after which the connection closes.
    Message,
}

impl<C: AsRef<Config>> Connection<C> {
    /// Creates the connection of a stream that was accepted at `now`.
    pub fn new(now: Time, config: C) -> Connection<C> {
        let deadline = Some(now + config.as_ref().keep_alive_timeout);
        Connection { config, out: Outbound::new(), state: State::Head { begun: false }, deadline }
    }

    /// Creates the connection of a stream on which another HTTP server has already answered the WebSocket handshake.
    pub fn websocket(config: C) -> Connection<C> {
        let decoder = Decoder::new(Role::Server, config.as_ref().max_payload);
        Connection { config, out: Outbound::new(), state: State::WebSocket(decoder), deadline: None }
    }

    /// Returns the handle of the limits that it was created with.
    pub fn config(&self) -> &C {
        &self.config
    }

    fn limits(&self) -> &Config {
        self.config.as_ref()
    }

    /// Returns what the connection waits for.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head { .. } => Phase::Head,
            State::Request(_) => Phase::Request,
            State::Body(_) | State::Chunked(_) => Phase::Body,
            State::WebSocket(_) => Phase::WebSocket,
            State::Closing | State::Lingering => Phase::Closing,
            State::Closed => Phase::Closed,
        }
    }

    /// Returns the queue of bytes to write.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.out
    }

    /// Returns the number of bytes to write.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Returns the next request's head, or `None` if more bytes are needed or the connection is closing.
    ///
    /// The caller must consume the [`len`](Head::len) bytes of the head once it is done with the request.
    ///
    /// # Errors
    /// If the head is malformed or too large. The request has been refused, and the connection closes.
    pub fn next_head<'h, 'b: 'h>(
        &mut self,
        now: Time,
        input: &'b [u8],
        slots: &'h mut HeaderSlots<'b>,
    ) -> Result<Option<Head<'h>>, http::Error> {
        let State::Head { begun } = &mut self.state else { return Ok(None) };
        if input.is_empty() {
            return Ok(None);
        }
        let limits = self.config.as_ref();
        match http::parse_head(input, slots, limits.max_head) {
            Ok(Some(head)) => {
                self.state = State::Request(Pending {
                    unread: head.body.into(),
                    expect_continue: head.expect_continue,
                    // Connections of HTTP/1.0 are not kept open: they would need a header of their own in the response.
                    keep_alive: head.keep_alive && head.version == http::Version::Http11,
                    is_head: head.request.method() == "HEAD",
                });
                self.deadline = None;
                Ok(Some(head))
            }
            Ok(None) => {
                if !core::mem::replace(begun, true) {
                    self.deadline = Some(now + limits.head_timeout);
                }
                Ok(None)
            }
            Err(error) => {
                self.refuse(now, error.status());
                Err(error)
            }
        }
    }

    /// Starts to receive the body of the request.
    pub fn receive_body(&mut self, now: Time) {
        let State::Request(request) = self.state else { return };
        if request.expect_continue {
            self.out.extend(http::CONTINUE);
        }
        self.deadline = Some(now + self.limits().request_body_timeout);
        self.state = match request.unread {
            Unread::Chunked => {
                State::Chunked(Box::new((request, Chunked::new(self.limits().max_payload), Vec::new())))
            }
            _ => State::Body(request),
        };
    }

    /// Returns the whole body, or `None` if more bytes are needed. Shortens `input` by the bytes consumed.
    ///
    /// # Errors
    /// If the body is too large or malformed. No more of it is read: answer the request with the status of the error, after
    /// which the connection closes.
    pub fn next_body<'b>(
        &mut self,
        now: Time,
        input: &mut &'b [u8],
    ) -> Result<Option<Cow<'b, [u8]>>, http::Error> {
        let max_payload = self.limits().max_payload;
        let (request, body) = match &mut self.state {
            State::Body(request) => {
                let length = match request.unread {
                    Unread::Length(length) => usize::try_from(length).ok(),
                    Unread::None | Unread::Chunked => Some(0),
                    Unread::Endless => None,
                };
                let Some(length) = length.filter(|length| *length <= max_payload) else {
                    *input = &[];
                    self.give_up_body(now);
                    return Err(http::Error::BodyTooLarge);
                };
                let Some(body) = input.split_off(..length) else { return Ok(None) };
                (*request, Cow::Borrowed(body))
            }
            State::Chunked(chunked) => {
                let (request, decoder, buffer) = &mut **chunked;
                buffer.extend_from_slice(input);
                let progress = match decoder.decode(buffer) {
                    Ok(progress) => progress,
                    Err(error) => {
                        *input = &[];
                        self.give_up_body(now);
                        return Err(error);
                    }
                };
                match progress {
                    Progress::More { body } => {
                        buffer.truncate(body);
                        *input = &[];
                        return Ok(None);
                    }
                    Progress::Done { body, end } => {
                        let rest = buffer.len().saturating_sub(end);
                        buffer.truncate(body);
                        let used = input.len().saturating_sub(rest);
                        *input = input.get(used..).unwrap_or_default();
                        (*request, Cow::Owned(core::mem::take(buffer)))
                    }
                }
            }
            _ => return Ok(None),
        };
        self.deadline = None;
        self.state = State::Request(Pending { unread: Unread::None, expect_continue: false, ..request });
        Ok(Some(body))
    }

    /// Reads no more of the body: the request has to be answered, and the connection then closes.
    fn give_up_body(&mut self, now: Time) {
        let request = match &self.state {
            State::Body(request) => *request,
            State::Chunked(chunked) => chunked.0,
            _ => return,
        };
        self.state = State::Request(Pending { unread: Unread::Endless, expect_continue: false, ..request });
        self.deadline = Some(now + self.limits().close_timeout);
    }

    /// Defers the response, because the application is not ready: until then only the end of the stream is noticed. At the
    /// `deadline`, if there is one, the connection is closed.
    pub fn defer(&mut self, deadline: Option<Time>) {
        self.deadline = deadline;
    }

    /// Closes the connection after the response, even if the peer wants to keep it.
    pub fn end_keep_alive(&mut self) {
        if let State::Request(request) = &mut self.state {
            request.keep_alive = false;
        }
    }

    /// Answers the request. The response to HEAD is sent without its body (RFC 9110, section 9.3.2).
    ///
    /// If a header would break the response, the response is 500 instead, because the header came from this side.
    pub fn respond<'n, 'v>(
        &mut self,
        now: Time,
        status: Status,
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
        body: BorrowedContent<'_>,
    ) {
        let State::Request(request) = self.state else { return };
        // An unread body cannot be distinguished from the next request, so the connection is not kept.
        let keep_alive = request.keep_alive && request.unread == Unread::None;
        let length = match &body {
            BorrowedContent::Bytes(bytes) => bytes.len(),
            BorrowedContent::Queue(queue) => queue.len(),
            BorrowedContent::HeadOnly(length) => *length,
        };
        let head =
            self.out.write_with(|out| http::write_head(out, status, headers, Some(length), keep_alive));
        if head.is_err() {
            return self.refuse(now, Status::INTERNAL_SERVER_ERROR);
        }
        match body {
            _ if request.is_head => {}
            BorrowedContent::Bytes(bytes) => self.out.extend(bytes),
            BorrowedContent::Queue(queue) => self.out.append(queue),
            BorrowedContent::HeadOnly(_) => {}
        }
        if keep_alive {
            self.state = State::Head { begun: false };
            self.deadline = Some(now + self.limits().keep_alive_timeout);
        } else {
            self.finish(now);
            // The response may be long and the peer's line slow.
            self.deadline = Some(now + self.limits().message_timeout);
        }
    }

    /// Responds with only a status, and closes.
    pub fn refuse(&mut self, now: Time, status: Status) {
        if matches!(self.state, State::WebSocket(_) | State::Closing | State::Lingering | State::Closed) {
            return;
        }
        let head = self.out.write_with(|out| http::write_head(out, status, [], Some(0), false));
        debug_assert!(head.is_ok(), "a head without headers cannot be refused");
        self.finish(now);
    }

    /// Accepts a WebSocket handshake. `key` is the one that [`websocket_key`] returned.
    pub fn upgrade<'n, 'v>(
        &mut self,
        now: Time,
        key: &[u8],
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
    ) {
        let State::Request(_) = self.state else { return };
        let accept = websocket::accept_key(key);
        let accept = core::str::from_utf8(&accept).expect("base64 is ASCII");
        let own = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)];
        // Shortens the values' lifetime to that of `accept`.
        let headers = headers.into_iter().map(|(name, value): (_, &_)| (name, value));
        let headers = own.into_iter().chain(headers);
        let head = self
            .out
            .write_with(|out| http::write_head(out, Status::SWITCHING_PROTOCOLS, headers, None, true));
        if head.is_err() {
            return self.refuse(now, Status::INTERNAL_SERVER_ERROR);
        }
        self.deadline = None;
        self.state = State::WebSocket(Decoder::new(Role::Server, self.limits().max_payload));
    }

    /// Accepts compressed messages from now on, because the handshake has negotiated permessage-deflate.
    pub fn set_deflate(&mut self, deflate: Deflate) {
        if let State::WebSocket(decoder) = &mut self.state {
            decoder.set_deflate(deflate);
        }
    }

    /// Returns the next message, and shortens `input` by the bytes consumed. Compressed messages are inflated with the state
    /// of `pool`.
    ///
    /// Answers pings itself. A close frame is answered and returned; no message follows it.
    ///
    /// # Errors
    /// If the peer broke the protocol or exceeded a limit. A close frame with the error's code is queued, and the connection
    /// is closing.
    pub fn next_message<'b>(
        &mut self,
        now: Time,
        input: &mut &'b mut [u8],
        pool: &DeflatePool,
    ) -> Result<Option<Message<'b>>, websocket::Error> {
        self.next_message_with(&|| now, input, pool, |out, data| {
            out.write_with(|out| websocket::write_frame(out, Opcode::Pong, data, None));
        })
    }

    /// Does the same as [`next_message`](Connection::next_message), but reads the clock only if something depends on the time,
    /// and calls `pong` to answer a ping, with the queue and the ping's data, so that what was sent before the ping arrived
    /// can go first.
    #[inline]
    pub fn next_message_with<'b>(
        &mut self,
        clock: &dyn Fn() -> Time,
        input: &mut &'b mut [u8],
        pool: &DeflatePool,
        mut pong: impl FnMut(&mut Outbound, &[u8]),
    ) -> Result<Option<Message<'b>>, websocket::Error> {
        let State::WebSocket(decoder) = &mut self.state else { return Ok(None) };
        let before = input.len();
        let out = &mut self.out;
        let message = next_message(decoder, input, pool, |data| pong(out, data));
        match &message {
            // The common case. It is put together again from its parts, because to copy the whole enum the processor has
            // to wait until they are in memory.
            &Ok(Some(Message::Text(Cow::Borrowed(text)))) => {
                self.deadline = None;
                return Ok(Some(Message::Text(Cow::Borrowed(text))));
            }
            Ok(None) => {
                let is_idle = decoder.is_idle();
                // A message that begins from now on gets a deadline of its own.
                if is_idle && (input.len() < before || input.is_empty()) {
                    self.deadline = None;
                }
                if !(is_idle && input.is_empty()) {
                    let timeout = self.config.as_ref().message_timeout;
                    self.deadline.get_or_insert_with(|| clock() + timeout);
                }
            }
            Ok(Some(Message::Close(frame))) => self.close(clock(), frame.map(|frame| frame.code), ""),
            Ok(Some(_)) => self.deadline = None,
            // Without a text, as in the reference, whose client checks that.
            Err(error) => self.close(clock(), Some(error.close_code()), ""),
        }
        message
    }

    /// Appends a text frame that is not part of the session's queue, such as the answer to a probe.
    pub fn send_text(&mut self, text: &[u8]) {
        if matches!(self.state, State::WebSocket(_)) {
            self.out.write_with(|out| websocket::write_frame(out, Opcode::Text, text, None));
        }
    }

    /// Closes a WebSocket connection with a close frame, after the bytes that are queued.
    #[cold]
    pub fn close(&mut self, now: Time, code: Option<u16>, reason: &str) {
        if matches!(self.state, State::WebSocket(_)) {
            let code = code.filter(|code| websocket::is_valid_close_code(*code));
            self.out.write_with(|out| websocket::write_close(out, code, reason, None));
            self.finish(now);
        }
    }

    /// Closes at once. Queued bytes are lost.
    pub fn abort(&mut self) {
        self.out = Outbound::new();
        self.deadline = None;
        self.state = State::Closed;
    }

    /// Closes after the bytes that are queued.
    fn finish(&mut self, now: Time) {
        self.deadline = Some(now + self.limits().close_timeout);
        self.state = State::Closing;
    }

    /// Restarts the timeout of a message that is arriving, because this side does not read at the moment.
    pub fn postpone(&mut self, now: Time) {
        if self.deadline.is_some() && matches!(self.state, State::WebSocket(_)) {
            self.deadline = Some(now + self.limits().message_timeout);
        }
    }

    /// Handles the end of the stream: the peer sends no more.
    #[cold]
    pub fn handle_eof(&mut self, now: Time) {
        match self.state {
            State::Lingering | State::Closed => self.abort(),
            State::Closing => {}
            _ => self.finish(now),
        }
    }

    /// Returns the deadline at which to call [`handle_timeout`](Connection::handle_timeout).
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Handles a deadline that has passed, and returns the consequence. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Expired> {
        self.deadline.filter(|deadline| *deadline <= now)?;
        self.deadline = None;
        match self.state {
            State::Head { begun: false } => {
                self.finish(now);
                Some(Expired::Connection)
            }
            State::Head { begun: true } => {
                self.refuse(now, Status::REQUEST_TIMEOUT);
                Some(Expired::Head)
            }
            State::Body(_) | State::Chunked(_) => {
                self.give_up_body(now);
                Some(Expired::Message)
            }
            State::WebSocket(_) => {
                self.close(now, Some(1008), "a message took too long to arrive");
                Some(Expired::Message)
            }
            State::Request(_) | State::Closing | State::Lingering | State::Closed => {
                self.abort();
                Some(Expired::Connection)
            }
        }
    }

    /// Returns whether to shut the stream's writing side down, because the last bytes are written.
    pub fn wants_half_close(&self) -> bool {
        matches!(self.state, State::Closing) && self.out.is_empty()
    }

    /// Notes that the writing side was shut down. The peer then reads the rest, and closes.
    ///
    /// If the peer had closed before, call [`handle_eof`](Connection::handle_eof) once more afterwards. The stream thus stays
    /// open until the bytes that it buffers are written.
    pub fn handle_half_closed(&mut self, now: Time) {
        if self.wants_half_close() {
            self.deadline = Some(now + self.limits().close_timeout);
            self.state = State::Lingering;
        }
    }
}

/// Returns the next message for the layers above. Calls `pong` with the payload of each ping before it.
fn next_message<'b>(
    decoder: &mut Decoder,
    input: &mut &'b mut [u8],
    pool: &DeflatePool,
    mut pong: impl FnMut(&[u8]),
) -> Result<Option<Message<'b>>, websocket::Error> {
    loop {
        match decoder.decode_with(input, pool) {
            Ok(Some(Message::Ping(data))) => pong(data),
            Ok(Some(Message::Pong(_))) => {}
            Ok(Some(Message::Text(Cow::Borrowed(text)))) => {
                return Ok(Some(Message::Text(Cow::Borrowed(text))));
            }
            other => return other,
        }
    }
}

/// The content of a response, borrowed from the caller.
#[derive(Debug)]
pub enum BorrowedContent<'a> {
    /// Bytes, which are copied.
    Bytes(&'a [u8]),
    /// The contents of a queue, whose shared pieces are not copied. The queue is empty afterwards, unless the request was a
    /// HEAD.
    Queue(&'a mut Outbound),
    /// No body, although the head declares this length: the response to a HEAD.
    HeadOnly(usize),
}
