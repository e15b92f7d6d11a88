//! One byte stream of a server: HTTP/1.1 requests, one at a time, then perhaps WebSocket. In [`client`], of a client.

pub mod client;
mod upgrade;

pub use upgrade::{
    HandshakeError, agree_deflate, agree_subprotocol, check_version, is_upgrade, websocket_key,
};

use crate::http::{self, Body, Chunked, Head, HeaderSlots, Progress, Status};
use crate::outbound::Outbound;
use crate::time::Time;
use crate::websocket::{self, Decoder, Deflate, DeflatePool, Message, Opcode, Role};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The limits of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The largest request head, in bytes. 16 KiB.
    pub max_head: usize,
    /// The largest body or message, in bytes. 1,000,000.
    pub max_payload: usize,
    /// How long the first request may take to begin, and any head to arrive. 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests. 65 s.
    pub keep_alive_timeout: Duration,
    /// How long the body of a request may take to arrive, from its head. 30 s.
    pub request_body_timeout: Duration,
    /// How long a WebSocket message may take to arrive, from its first byte; and the peer to read the last answer. 60 s.
    pub message_timeout: Duration,
    /// How long the peer may take to read the last words and to close. 5 s.
    pub close_timeout: Duration,
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
/// Look at [`phase`](Connection::phase), and call the `next_*` method that it names with the bytes that arrived.
/// A request has to be answered, [held](Connection::hold) or upgraded before the next one is read. What is to be
/// written stands in [`outbound`](Connection::outbound).
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    out: Outbound,
    state: State,
    deadline: Option<Time>,
    keep_alive: bool,
    /// The request under way asks for no body.
    is_head: bool,
}

#[derive(Debug)]
enum State {
    Head { begun: bool },
    Request { body: Body, expect_continue: bool },
    Body(Body),
    Chunked(Box<(Chunked, Vec<u8>)>),
    WebSocket(Decoder),
    Closing,
    Lingering,
    Closed,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A request: call [`next_head`](Connection::next_head).
    Head,
    /// The answer to a request.
    Request,
    /// The body of a request: call [`next_body`](Connection::next_body).
    Body,
    /// Messages: call [`next_message`](Connection::next_message).
    WebSocket,
    /// The end: what still arrives is dropped.
    Closing,
    /// Nothing more.
    Closed,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nothing that concerns anybody else; the connection is closing.
    Connection,
    /// A message that had begun to arrive: the connection is closing. Or a body: its request is to be answered
    /// ([408](Status::REQUEST_TIMEOUT)), and the connection closes after that.
    Message,
}

impl Connection {
    /// A stream that was accepted at `now`.
    pub fn new(now: Time, config: Arc<Config>) -> Connection {
        let deadline = Some(now + config.head_timeout);
        Connection::in_state(State::Head { begun: true }, deadline, config)
    }

    /// A stream that speaks WebSocket from its first byte: another HTTP server read the handshake, and answered it.
    pub fn websocket(config: Arc<Config>) -> Connection {
        Connection::in_state(State::WebSocket(Decoder::new(Role::Server, config.max_payload)), None, config)
    }

    fn in_state(state: State, deadline: Option<Time>, config: Arc<Config>) -> Connection {
        Connection { config, out: Outbound::new(), state, deadline, keep_alive: true, is_head: false }
    }

    /// What the connection waits for.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head { .. } => Phase::Head,
            State::Request { .. } => Phase::Request,
            State::Body(_) | State::Chunked(_) => Phase::Body,
            State::WebSocket(_) => Phase::WebSocket,
            State::Closing | State::Lingering => Phase::Closing,
            State::Closed => Phase::Closed,
        }
    }

    /// What is to be written.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.out
    }

    /// How many bytes are to be written.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// The next request's head; `None` if more bytes are needed or the connection is closing.
    ///
    /// The caller goes on behind the head once it is done with the request.
    pub fn next_head<'h, 'b: 'h>(
        &mut self,
        now: Time,
        input: &'b [u8],
        slots: &'h mut HeaderSlots<'b>,
    ) -> Option<Head<'h>> {
        let State::Head { begun } = &mut self.state else { return None };
        if input.is_empty() {
            return None;
        }
        match http::parse_head(input, slots, self.config.max_head) {
            Ok(Some(head)) => {
                // An HTTP/1.0 peer that wants to stay would have to be told; none is worth it.
                self.keep_alive = head.keep_alive && head.version == http::Version::Http11;
                self.is_head = head.request.method() == "HEAD";
                self.state = State::Request { body: head.body, expect_continue: head.expect_continue };
                self.deadline = None;
                Some(head)
            }
            Ok(None) => {
                if !core::mem::replace(begun, true) {
                    self.deadline = Some(now + self.config.head_timeout);
                }
                None
            }
            Err(error) => {
                self.refuse(now, error.status());
                None
            }
        }
    }

    /// Wants the body of the request; it is for the caller to compare a declared length with its limit before.
    pub fn receive_body(&mut self, now: Time) {
        let State::Request { body, expect_continue } = self.state else { return };
        if expect_continue {
            self.out.extend(http::CONTINUE);
        }
        self.deadline = Some(now + self.config.request_body_timeout);
        self.state = match body {
            Body::Chunked => State::Chunked(Box::new((Chunked::new(self.config.max_payload), Vec::new()))),
            body => State::Body(body),
        };
    }

    /// The whole body, or `None` while more bytes are needed; shortens `input` by what is used.
    ///
    /// # Errors
    /// The body is too large or malformed, and no more of it is read: the request is to be answered so, and the
    /// connection closes after that.
    pub fn next_body<'b>(
        &mut self,
        now: Time,
        input: &mut &'b [u8],
    ) -> Result<Option<Cow<'b, [u8]>>, http::Error> {
        let body = match &mut self.state {
            State::Body(Body::Length(length)) => {
                let body = usize::try_from(*length).ok().and_then(|n| input.split_off(..n));
                let Some(body) = body else { return Ok(None) };
                Cow::Borrowed(body)
            }
            State::Body(_) => Cow::Borrowed(&[][..]),
            State::Chunked(chunked) => {
                let (decoder, buffer) = &mut **chunked;
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
                        Cow::Owned(core::mem::take(buffer))
                    }
                }
            }
            _ => return Ok(None),
        };
        self.deadline = None;
        self.state = State::Request { body: Body::None, expect_continue: false };
        Ok(Some(body))
    }

    /// No more of the body is read: the request is to be answered, and the connection closes after that.
    fn give_up_body(&mut self, now: Time) {
        self.state = State::Request { body: Body::Chunked, expect_continue: false };
        self.deadline = Some(now + self.config.close_timeout);
    }

    /// The answer will come later: until then nothing is read but the end of the stream. It is to come before the
    /// `deadline`, if there is one, at which the connection is closed.
    pub fn hold(&mut self, deadline: Option<Time>) {
        self.deadline = deadline;
    }

    /// Closes the connection after the answer, whatever the peer wants.
    pub fn end_keep_alive(&mut self) {
        self.keep_alive = false;
    }

    /// Answers the request; of the answer to HEAD only the head is sent (RFC 9110, section 9.3.2).
    ///
    /// A header that would break the response turns the answer into a 500: what chose it is on our side.
    pub fn respond<'n, 'v>(
        &mut self,
        now: Time,
        status: Status,
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
        body: Answer<'_>,
    ) {
        let State::Request { body: unread, .. } = self.state else { return };
        // A body that nobody wants cannot be told from the next request: it is not waited for.
        let keep_alive = self.keep_alive && unread == Body::None;
        let length = match &body {
            Answer::Bytes(bytes) => bytes.len(),
            Answer::Queue(queue) => queue.len(),
            Answer::HeadOnly(length) => *length,
        };
        let head =
            self.out.write_with(|out| http::write_head(out, status, headers, Some(length), keep_alive));
        if head.is_err() {
            return self.refuse(now, Status::INTERNAL_SERVER_ERROR);
        }
        match body {
            _ if self.is_head => {}
            Answer::Bytes(bytes) => self.out.extend(bytes),
            Answer::Queue(queue) => self.out.append(queue),
            Answer::HeadOnly(_) => {}
        }
        if keep_alive {
            self.state = State::Head { begun: false };
            self.deadline = Some(now + self.config.keep_alive_timeout);
        } else {
            self.finish(now);
            // The answer may be long, and the peer's line slow.
            self.deadline = Some(now + self.config.message_timeout);
        }
    }

    /// Answers with the status alone, and closes.
    pub fn refuse(&mut self, now: Time, status: Status) {
        if matches!(self.state, State::WebSocket(_) | State::Closing | State::Lingering | State::Closed) {
            return;
        }
        let head = self.out.write_with(|out| http::write_head(out, status, [], Some(0), false));
        debug_assert!(head.is_ok(), "a head without headers cannot be refused");
        self.finish(now);
    }

    /// Accepts a WebSocket handshake; `key` is what [`websocket_key`] found.
    pub fn upgrade<'n, 'v>(
        &mut self,
        now: Time,
        key: &[u8],
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
    ) {
        let State::Request { .. } = self.state else { return };
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
        self.state = State::WebSocket(Decoder::new(Role::Server, self.config.max_payload));
    }

    /// Takes compressed messages, too: permessage-deflate was agreed on by the handshake.
    pub fn set_deflate(&mut self, deflate: Deflate) {
        if let State::WebSocket(decoder) = &mut self.state {
            decoder.set_deflate(deflate);
        }
    }

    /// The next message; shortens `input` by what is used. Pings are answered here.
    ///
    /// A close frame is answered and given out; nothing comes after it.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit: a close frame with the code is queued, and the connection is closing.
    pub fn next_message<'b>(
        &mut self,
        now: Time,
        input: &mut &'b mut [u8],
        pool: &DeflatePool,
    ) -> Result<Option<Message<'b>>, websocket::Error> {
        let State::WebSocket(decoder) = &mut self.state else { return Ok(None) };
        let before = input.len();
        let out = &mut self.out;
        let message = next_message(decoder, input, pool, |data| {
            out.write_with(|out| websocket::write_frame(out, Opcode::Pong, data, None));
        });
        match &message {
            Ok(None) => {
                let is_idle = decoder.is_idle();
                // What has begun since is given its own time.
                if is_idle && (input.len() < before || input.is_empty()) {
                    self.deadline = None;
                }
                if !(is_idle && input.is_empty()) {
                    self.deadline.get_or_insert(now + self.config.message_timeout);
                }
            }
            Ok(Some(Message::Close(frame))) => self.close(now, frame.map(|frame| frame.code), ""),
            Ok(Some(_)) => self.deadline = None,
            Err(error) => self.close(now, Some(error.close_code()), &error.to_string()),
        }
        message
    }

    /// Appends a text frame of the protocol's own, outside of the session's queue.
    pub fn send_text(&mut self, text: &[u8]) {
        if matches!(self.state, State::WebSocket(_)) {
            self.out.write_with(|out| websocket::write_frame(out, Opcode::Text, text, None));
        }
    }

    /// Closes a WebSocket connection after what is queued: with a close frame.
    pub fn close(&mut self, now: Time, code: Option<u16>, reason: &str) {
        if matches!(self.state, State::WebSocket(_)) {
            let code = code.filter(|code| websocket::is_valid_close_code(*code));
            self.out.write_with(|out| websocket::write_close(out, code, reason, None));
            self.finish(now);
        }
    }

    /// Closes at once; what is queued is lost.
    pub fn abort(&mut self) {
        self.out = Outbound::new();
        self.deadline = None;
        self.state = State::Closed;
    }

    /// Nothing more will be said.
    fn finish(&mut self, now: Time) {
        self.deadline = Some(now + self.config.close_timeout);
        self.state = State::Closing;
    }

    /// This side does not read: what is under way may take its time from now on.
    pub fn postpone(&mut self, now: Time) {
        if self.deadline.is_some() && matches!(self.state, State::WebSocket(_)) {
            self.deadline = Some(now + self.config.message_timeout);
        }
    }

    /// The peer will send no more.
    pub fn handle_eof(&mut self, now: Time) {
        match self.state {
            State::Lingering | State::Closed => self.abort(),
            State::Closing => {}
            _ => self.finish(now),
        }
    }

    /// When [`handle_timeout`](Connection::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Time passed. Says what took too long; does nothing before the deadline.
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
                Some(Expired::Connection)
            }
            State::Body(_) | State::Chunked(_) => {
                self.give_up_body(now);
                Some(Expired::Message)
            }
            State::WebSocket(_) => {
                self.close(now, Some(1008), "a message took too long to arrive");
                Some(Expired::Message)
            }
            State::Request { .. } | State::Closing | State::Lingering | State::Closed => {
                self.abort();
                Some(Expired::Connection)
            }
        }
    }

    /// Whether the stream's writing side is to be shut down: all was said and written.
    pub fn wants_half_close(&self) -> bool {
        matches!(self.state, State::Closing) && self.out.is_empty()
    }

    /// The writing side was shut down: the peer reads the rest, and closes.
    ///
    /// If it closed before, [`handle_eof`](Connection::handle_eof) has to be called once more: so the stream stays open
    /// until what it has buffered is out.
    pub fn handle_half_closed(&mut self, now: Time) {
        if self.wants_half_close() {
            self.deadline = Some(now + self.config.close_timeout);
            self.state = State::Lingering;
        }
    }
}

/// The next message that is for the layers above, on either side; `pong` is to answer the pings before it.
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
            other => return other,
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum Answer<'a> {
    /// These bytes, copied.
    Bytes(&'a [u8]),
    /// What stands in a queue, by reference where it is shared. It is empty afterwards, unless HEAD was asked for.
    Queue(&'a mut Outbound),
    /// None, though the head declares this length: the answer to HEAD.
    HeadOnly(usize),
}
