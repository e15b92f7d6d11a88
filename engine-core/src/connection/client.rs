//! One byte stream of a client: requests, one at a time, or a WebSocket connection.

use crate::http::{self, Chunked, InvalidHeader, Progress, ResponseBody, ResponseHead};
use crate::outbound::Outbound;
use crate::random::Random;
use crate::time::Time;
use crate::websocket::{self, Decoder, Deflate, DeflatePool, Message, Opcode, PerMessageDeflate, Role};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// Timeout for the server to close the stream, once everything was sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of answers to WebSocket pings that wait to be written. Further pings are not answered.
const MAX_PONGS: u8 = 100;

/// The client's side of one byte stream.
///
/// Write a [`request`](Connection::request) or ask for an [`upgrade`](Connection::upgrade). With the bytes that arrive, call
/// [`next_response`](Connection::next_response) while it [awaits one](Connection::awaits_response), or
/// [`next_message`](Connection::next_message) once it [is WebSocket](Connection::is_websocket). The bytes to write are in
/// [`outbound`](Connection::outbound).
#[derive(Debug)]
pub struct Connection {
    out: Outbound,
    state: State,
    random: Random,
    /// Maximum size of a body or message in bytes.
    max_message: usize,
    deadline: Option<Time>,
    /// The number of answers to pings that were queued since the queue was empty.
    pongs: u8,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A response is awaited: to a WebSocket handshake, if there is one here.
    Head(Option<Box<Handshake>>),
    /// A body of this length is awaited.
    Length {
        status: u16,
        keep_alive: bool,
        length: usize,
    },
    Chunked(Box<Partial<Chunked>>),
    UntilEnd(Box<Partial<()>>),
    WebSocket(Decoder),
    /// The last bytes are queued, and have to be written.
    Closing,
    Lingering,
    Closed,
}

/// The request of a WebSocket handshake.
#[derive(Debug)]
struct Handshake {
    key: [u8; 24],
    deflate: Option<PerMessageDeflate>,
}

/// A body of which a part has arrived.
#[derive(Debug)]
struct Partial<D> {
    status: u16,
    keep_alive: bool,
    decoder: D,
    buffer: Vec<u8>,
}

/// A response to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'b> {
    /// The status code.
    pub status: u16,
    /// The body, without transfer coding.
    pub body: Cow<'b, [u8]>,
    /// The compression of messages, if this is a WebSocket handshake that negotiated one.
    pub deflate: Option<Deflate>,
}

/// The reason why a server's answer is not a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It is not HTTP, or exceeds a limit.
    #[error("not an http response: {0}")]
    Http(#[from] http::Error),
    /// The answer to a WebSocket handshake does not prove that the server understood it.
    #[error("invalid answer to the websocket handshake: {0}")]
    Handshake(&'static str),
    /// The server uses TLS, and the client does not.
    #[error("the server uses tls: connect by https or wss")]
    Tls,
    /// The server redirects to another address. Redirects are not followed, so that no credentials reach another server.
    #[error("the server redirects to {location} with status {status}: connect to that address instead")]
    Redirect {
        /// The status code: 301, 302, 303, 307 or 308.
        status: u16,
        /// The header `Location`, cut after 256 bytes.
        location: Box<str>,
    },
    /// The body has a content coding, which was not asked for.
    #[error("the answer, with status {status}, is encoded as {coding}, which was not asked for")]
    ContentCoding {
        /// The status code.
        status: u16,
        /// The header `Content-Encoding`, cut after 256 bytes.
        coding: Box<str>,
    },
    /// The server switched protocols without being asked.
    #[error("an answer with status 101 to a request without an upgrade")]
    Unasked,
}

impl Connection {
    /// Creates the client's side of an open stream. Bodies and messages of more than `max_message` bytes are errors.
    pub fn new(random: Random, max_message: usize) -> Connection {
        Connection { out: Outbound::new(), state: State::Idle, random, max_message, deadline: None, pongs: 0 }
    }

    /// Returns whether a request can be written.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Returns whether a response is awaited.
    pub fn awaits_response(&self) -> bool {
        matches!(self.state, State::Head(_) | State::Length { .. } | State::Chunked(_) | State::UntilEnd(_))
    }

    /// Returns whether this is a WebSocket connection.
    pub fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket(_))
    }

    /// Returns whether the stream is to be closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns the queue of the bytes to write.
    pub fn outbound(&mut self) -> &mut Outbound {
        &mut self.out
    }

    /// Writes a request, unless one is in progress.
    ///
    /// # Errors
    /// Returns an error if the target, the host or a header is not valid in a request; then nothing is written.
    pub fn request<'n, 'v>(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
        body: Option<Outbound>,
    ) -> Result<(), InvalidHeader> {
        if !self.is_idle() {
            return Ok(());
        }
        let length = body.as_ref().map(Outbound::len);
        self.out.write_with(|out| http::write_request(out, method, target, host, headers, length))?;
        if let Some(mut body) = body {
            self.out.append(&mut body);
        }
        self.state = State::Head(None);
        Ok(())
    }

    /// Writes a WebSocket handshake, unless a request is in progress. It offers compression if `deflate` is given.
    ///
    /// # Errors
    /// Returns an error if the target, the host or a header is not valid in a request; then nothing is written.
    pub fn upgrade<'n, 'v>(
        &mut self,
        target: &str,
        host: &str,
        headers: impl IntoIterator<Item = (&'n str, &'v str)>,
        deflate: Option<PerMessageDeflate>,
    ) -> Result<(), InvalidHeader> {
        if !self.is_idle() {
            return Ok(());
        }
        let key = websocket::encode_key(self.random.bytes());
        let text = core::str::from_utf8(&key).expect("base64 is ASCII");
        let own = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", text),
        ];
        // Shortens the values' lifetime to that of the key.
        let headers = headers.into_iter().map(|(name, value): (_, &_)| (name, value));
        let offer = deflate.map(|_| ("Sec-WebSocket-Extensions", Deflate::OFFER));
        let headers = own.into_iter().chain(offer).chain(headers);
        self.out.write_with(|out| http::write_request(out, "GET", target, host, headers, None))?;
        self.state = State::Head(Some(Box::new(Handshake { key, deflate })));
        Ok(())
    }

    /// Returns the number of bytes of the input that were consumed, and the response, or `None` while more bytes are
    /// needed. Calls `see` with the head.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a response; then the stream is to be closed.
    pub fn next_response<'b>(
        &mut self,
        input: &'b [u8],
        see: impl FnOnce(&ResponseHead<'_>),
    ) -> Result<(usize, Option<Response<'b>>), ResponseError> {
        match &mut self.state {
            State::Head(_) => self.next_head(input, see),
            State::Length { status, keep_alive, length } => {
                // The caller keeps the bytes until the body is complete, so that it is not copied.
                let (status, keep_alive, length) = (*status, *keep_alive, *length);
                let Some(body) = input.get(..length) else { return Ok((0, None)) };
                self.end_response(keep_alive);
                Ok((length, Some(Response { status, body: Cow::Borrowed(body), deflate: None })))
            }
            State::Chunked(partial) => {
                let (used, body) = partial.decode(input)?;
                let Some(body) = body else { return Ok((used, None)) };
                let (status, keep_alive) = (partial.status, partial.keep_alive);
                self.end_response(keep_alive);
                Ok((used, Some(Response { status, body: Cow::Owned(body), deflate: None })))
            }
            State::UntilEnd(partial) => {
                if partial.buffer.len().saturating_add(input.len()) > self.max_message {
                    return Err(http::Error::BodyTooLarge.into());
                }
                partial.buffer.extend_from_slice(input);
                Ok((input.len(), None))
            }
            _ => Ok((0, None)),
        }
    }

    fn next_head<'b>(
        &mut self,
        input: &'b [u8],
        see: impl FnOnce(&ResponseHead<'_>),
    ) -> Result<(usize, Option<Response<'b>>), ResponseError> {
        let State::Head(handshake) = &self.state else { return Ok((0, None)) };
        // An alert or a handshake, of any version.
        if matches!(input, [0x15 | 0x16, 3, ..]) {
            return Err(ResponseError::Tls);
        }
        let mut slots = http::header_slots();
        let Some(head) = http::parse_response(input, &mut slots, http::MAX_HEAD)? else {
            return Ok((0, None));
        };
        // The statuses 100 and 103 precede the response.
        if matches!(head.status, 100..=199) && head.status != 101 {
            return Ok((head.len, None));
        }
        if head.status == 101 {
            let handshake = handshake.as_ref().ok_or(ResponseError::Unasked)?;
            let deflate = check_accept(&head, handshake)?;
            see(&head);
            let mut decoder = Decoder::new(Role::Client, self.max_message);
            if let Some(deflate) = deflate {
                decoder.set_deflate(deflate);
            }
            self.state = State::WebSocket(decoder);
            return Ok((head.len, Some(Response { status: 101, body: Cow::Borrowed(&[]), deflate })));
        }
        check_body(&head)?;
        let (status, keep_alive, len) = (head.status, head.keep_alive, head.len);
        match head.body {
            ResponseBody::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > self.max_message {
                    return Err(http::Error::BodyTooLarge.into());
                }
                see(&head);
                let end = len.saturating_add(length);
                let Some(body) = input.get(len..end) else {
                    self.state = State::Length { status, keep_alive, length };
                    return Ok((len, None));
                };
                self.end_response(keep_alive);
                Ok((end, Some(Response { status, body: Cow::Borrowed(body), deflate: None })))
            }
            ResponseBody::Chunked => {
                see(&head);
                let decoder = Chunked::new(self.max_message);
                self.state =
                    State::Chunked(Box::new(Partial { status, keep_alive, decoder, buffer: Vec::new() }));
                Ok((len, None))
            }
            ResponseBody::UntilEnd => {
                see(&head);
                let partial = Partial { status, keep_alive, decoder: (), buffer: Vec::new() };
                self.state = State::UntilEnd(Box::new(partial));
                Ok((len, None))
            }
        }
    }

    fn end_response(&mut self, keep_alive: bool) {
        self.state = if keep_alive { State::Idle } else { State::Closed };
    }

    /// Returns the next message, and removes it from the front of `input`. Pings are answered here; pongs are returned.
    ///
    /// A close frame is answered and returned; no message follows it.
    ///
    /// # Errors
    /// Returns an error if the server broke the protocol or a limit. Then a close frame with the code is queued, and the
    /// stream is closing.
    pub fn next_message<'b>(
        &mut self,
        now: Time,
        input: &mut &'b mut [u8],
        pool: &DeflatePool,
    ) -> Result<Option<Message<'b>>, websocket::Error> {
        let State::WebSocket(decoder) = &mut self.state else { return Ok(None) };
        let (out, pongs, random) = (&mut self.out, &mut self.pongs, &mut self.random);
        let message = loop {
            let data = match decoder.decode_with(input, pool) {
                Ok(Some(Message::Ping(data))) => data,
                other => break other,
            };
            *pongs = if out.is_empty() { 1 } else { pongs.saturating_add(1) };
            if *pongs <= MAX_PONGS {
                let mask = random.bytes();
                out.write_with(|out| websocket::write_frame(out, Opcode::Pong, data, Some(mask)));
            }
        };
        match &message {
            Ok(Some(Message::Close(frame))) => self.close(now, frame.map(|frame| frame.code), ""),
            Ok(_) => {}
            Err(error) => self.close(now, Some(error.close_code()), &error.to_string()),
        }
        message
    }

    /// Closes after what is queued: a WebSocket connection with a close frame.
    pub fn close(&mut self, now: Time, code: Option<u16>, reason: &str) {
        match self.state {
            State::WebSocket(_) => {
                let mask = self.random.bytes();
                let code = code.filter(|code| websocket::is_valid_close_code(*code));
                self.out.write_with(|out| websocket::write_close(out, code, reason, Some(mask)));
                self.state = State::Closing;
                self.deadline = Some(now + CLOSE_TIMEOUT);
            }
            State::Closing | State::Lingering | State::Closed => {}
            _ => self.abort(),
        }
    }

    /// Closes the stream immediately. Queued bytes are lost.
    pub fn abort(&mut self) {
        self.out = Outbound::new();
        self.deadline = None;
        self.state = State::Closed;
    }

    /// Handles the end of the server's bytes. Returns the response that ends with the stream, if there is one.
    pub fn handle_eof(&mut self) -> Option<Response<'static>> {
        let state = core::mem::replace(&mut self.state, State::Closed);
        self.abort();
        match state {
            State::UntilEnd(partial) => {
                let body = Cow::Owned(partial.buffer);
                Some(Response { status: partial.status, body, deflate: None })
            }
            _ => None,
        }
    }

    /// Returns the deadline at which to call [`handle_timeout`](Connection::handle_timeout).
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Handles a deadline that has passed. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.abort();
        }
    }

    /// Returns whether to shut down the writing side, because everything was written.
    pub fn wants_half_close(&self) -> bool {
        matches!(self.state, State::Closing) && self.out.is_empty()
    }

    /// Notes that the writing side was shut down. The server is expected to read the rest, and to close.
    pub fn handle_half_closed(&mut self, now: Time) {
        if self.wants_half_close() {
            self.deadline = Some(now + CLOSE_TIMEOUT);
            self.state = State::Lingering;
        }
    }
}

impl Partial<Chunked> {
    /// Returns the number of bytes that were consumed, and the body once it is complete.
    fn decode(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), http::Error> {
        self.buffer.extend_from_slice(input);
        match self.decoder.decode(&mut self.buffer)? {
            Progress::More { body } => {
                self.buffer.truncate(body);
                Ok((input.len(), None))
            }
            Progress::Done { body, end } => {
                let rest = self.buffer.len().saturating_sub(end);
                self.buffer.truncate(body);
                Ok((input.len().saturating_sub(rest), Some(core::mem::take(&mut self.buffer))))
            }
        }
    }
}

/// Maximum number of bytes kept of a header for an error.
const MAX_QUOTED: usize = 256;

/// Refuses a redirect and a body with a content coding.
fn check_body(head: &ResponseHead<'_>) -> Result<(), ResponseError> {
    let status = head.status;
    let quoted = |value: &[u8]| -> Box<str> {
        String::from_utf8_lossy(value.get(..MAX_QUOTED).unwrap_or(value)).into_owned().into()
    };
    if matches!(status, 301 | 302 | 303 | 307 | 308)
        && let Some(location) = head.header("location")
    {
        return Err(ResponseError::Redirect { status, location: quoted(location) });
    }
    match head.header("content-encoding") {
        Some(coding) if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") => {
            Err(ResponseError::ContentCoding { status, coding: quoted(coding) })
        }
        _ => Ok(()),
    }
}

/// Checks that the server understood the handshake (RFC 6455, section 4.1), and returns the compression that it agreed
/// to.
fn check_accept(head: &ResponseHead<'_>, handshake: &Handshake) -> Result<Option<Deflate>, ResponseError> {
    if !head.has_token("upgrade", "websocket") || !head.has_token("connection", "upgrade") {
        return Err(ResponseError::Handshake("no upgrade to websocket"));
    }
    let accept = head.header("sec-websocket-accept").unwrap_or_default();
    if !websocket::is_valid_accept(handshake.key, accept) {
        return Err(ResponseError::Handshake("a wrong Sec-WebSocket-Accept"));
    }
    let named = head.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("sec-websocket-extensions"));
    let mut extensions = named.map(|header| header.value).filter(|value| !value.is_empty());
    match &handshake.deflate {
        Some(config) => Deflate::agreed(config, extensions)
            .map_err(|_| ResponseError::Handshake("permessage-deflate is not answered as it was offered")),
        None if extensions.next().is_some() => {
            Err(ResponseError::Handshake("an extension that was not offered"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Connection {
        Connection::new(Random::from_seed([3; 20]), 1000)
    }

    fn written(client: &mut Connection) -> String {
        let bytes = client.outbound().chunks().flatten().copied().collect();
        client.outbound().clear();
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn asked() -> Connection {
        let mut client = client();
        client.request("GET", "/x", "h", [], None).unwrap();
        client
    }

    fn ask(client: &mut Connection, input: &str) -> Result<(usize, Option<(u16, String)>), ResponseError> {
        let (used, response) = client.next_response(input.as_bytes(), |_| {})?;
        Ok((used, response.map(|it| (it.status, String::from_utf8_lossy(&it.body).into_owned()))))
    }

    #[test]
    fn a_response_is_read_whole_in_each_framing() {
        for (text, len) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 43),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 68),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 67),
        ] {
            for step in [1, 3, 100] {
                let mut client = asked();
                let (mut at, mut end, mut answer) = (0, 0, None);
                while answer.is_none() {
                    end = text.len().min(end + step);
                    loop {
                        let (used, response) = ask(&mut client, text.get(at..end).unwrap()).unwrap();
                        at += used;
                        answer = response;
                        if used == 0 || answer.is_some() {
                            break;
                        }
                    }
                }
                assert_eq!((answer, at), (Some((200, "hello".into())), len), "{text} {step}");
                assert!(client.is_idle());
            }
        }
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_named() {
        for (text, error) in [
            (
                "HTTP/1.1 302 Found\r\nLocation: https://other.example/x\r\nContent-Length: 0\r\n\r\n",
                "the server redirects to https://other.example/x with status 302: connect to that address instead",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n",
                "the answer, with status 200, is encoded as gzip, which was not asked for",
            ),
            ("\x15\x03\x01\x00\x02\x02\x46", "the server uses tls: connect by https or wss"),
        ] {
            assert_eq!(ask(&mut asked(), text).map_err(|error| error.to_string()), Err(error.into()));
        }
        let plain = "HTTP/1.1 304 Not Modified\r\nLocation: /x\r\nContent-Encoding: Identity\r\n\r\n";
        assert_eq!(ask(&mut asked(), plain), Ok((plain.len(), Some((304, String::new())))));
    }

    #[test]
    fn pings_are_answered_as_long_as_the_answers_are_read() {
        let mut client = client();
        client.state = State::WebSocket(Decoder::new(Role::Client, 1000));
        let ping = |client: &mut Connection, times: usize| {
            let mut input = b"\x89\x02hi".repeat(times);
            assert_eq!(
                client.next_message(Time::ZERO, &mut input.as_mut_slice(), &DeflatePool::default()),
                Ok(None)
            );
            let queued = client.outbound().len();
            client.outbound().clear();
            queued / 8
        };
        assert_eq!(ping(&mut client, 3), 3);
        assert_eq!(ping(&mut client, 10_000), 100);
        assert_eq!(ping(&mut client, 3), 3);
    }

    #[test]
    fn the_answer_to_a_ping_is_given_out() {
        let mut client = client();
        client.state = State::WebSocket(Decoder::new(Role::Client, 1000));
        let mut input = *b"\x89\x02hi\x8a\x01a";
        let message = client.next_message(Time::ZERO, &mut input.as_mut_slice(), &DeflatePool::default());
        assert_eq!(message, Ok(Some(Message::Pong(b"a"))));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut client = asked();
        let text = "HTTP/1.0 502 Bad Gateway\r\n\r\nsorry";
        let (used, none) = ask(&mut client, text).unwrap();
        assert_eq!(none, None);
        ask(&mut client, text.get(used..).unwrap()).unwrap();
        let response = client.handle_eof().unwrap();
        assert_eq!((response.status, &*response.body), (502, &b"sorry"[..]));
        assert!(client.is_closed());
    }

    #[test]
    fn a_head_is_consumed_and_seen_once_before_its_body_is_complete() {
        let mut client = asked();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let mut seen = 0;
        assert_eq!(client.next_response(head, |_| seen += 1), Ok((head.len(), None)));
        assert_eq!(client.next_response(b"hell", |_| seen += 1), Ok((0, None)));
        let body = Cow::Borrowed(&b"hello"[..]);
        let response = Response { status: 200, body, deflate: None };
        assert_eq!(client.next_response(b"hello!", |_| seen += 1), Ok((5, Some(response))));
        assert!(client.is_idle());
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused_before_it_comes() {
        let error = Err(ResponseError::Http(http::Error::BodyTooLarge));
        assert_eq!(ask(&mut asked(), "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), error);
        let mut client = asked();
        ask(&mut client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(ask(&mut client, "fffffff\r\n"), error);
    }

    #[test]
    fn only_the_right_answer_to_a_handshake_upgrades() {
        let upgrade = |answer: &str| {
            let mut client = client();
            client.upgrade("/x", "h", [], None).unwrap();
            let sent = written(&mut client);
            let key =
                sent.split("Sec-WebSocket-Key: ").nth(1).and_then(|it| it.split("\r\n").next()).unwrap();
            let accept = String::from_utf8(websocket::accept_key(key).to_vec()).unwrap();
            let answer = answer.replace("ACCEPT", &accept);
            let result = ask(&mut client, &answer).map(|(_, response)| response.map(|it| it.0));
            (result, client.is_websocket())
        };
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        let (answer, open) = upgrade(&alloc::format!("{head}Sec-WebSocket-Accept: ACCEPT\r\n\r\n"));
        assert_eq!((answer, open), (Ok(Some(101)), true));
        for wrong in [
            alloc::format!("{head}Sec-WebSocket-Accept: nonsense\r\n\r\n"),
            alloc::format!("{head}\r\n"),
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n".into(),
            alloc::format!("{head}Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
        ] {
            let (answer, open) = upgrade(&wrong);
            assert!(matches!(answer, Err(ResponseError::Handshake(_))) && !open, "{wrong}");
        }
        assert_eq!(ask(&mut asked(), &alloc::format!("{head}\r\n")), Err(ResponseError::Unasked));
    }

    /// A client that offered to compress, and what it makes of an answer with these headers.
    #[cfg(feature = "deflate")]
    fn offered(headers: &str) -> (Connection, Result<Option<Deflate>, ResponseError>) {
        let mut client = client();
        client.upgrade("/x", "h", [], Some(PerMessageDeflate::new())).unwrap();
        let sent = written(&mut client);
        assert!(sent.contains(&alloc::format!("\r\nSec-WebSocket-Extensions: {}\r\n", Deflate::OFFER)));
        let key = sent.split("Sec-WebSocket-Key: ").nth(1).and_then(|it| it.split("\r\n").next()).unwrap();
        let accept = String::from_utf8(websocket::accept_key(key).to_vec()).unwrap();
        let answer = alloc::format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
        );
        let response = client.next_response(answer.as_bytes(), |_| {});
        let deflate = response.map(|(_, response)| response.unwrap().deflate);
        (client, deflate)
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn compressed_messages_are_taken_where_the_server_agreed_to_them() {
        let config = PerMessageDeflate::new().threshold(0);
        let (deflate, _) = Deflate::agree(&config, [Deflate::OFFER.as_bytes()].into_iter()).unwrap();
        let compressed = |len: usize| {
            let mut frame = Vec::new();
            assert!(deflate.write_frame(
                &DeflatePool::default(),
                &mut frame,
                Opcode::Binary,
                &[&[7].repeat(len)],
                None
            ));
            frame
        };
        for window in ["", "; server_max_window_bits=10", "; client_max_window_bits=8"] {
            let (mut client, agreed) = offered(&alloc::format!(
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover{window}\r\n"
            ));
            assert!(agreed.unwrap().is_some());
            let (mut short, mut long) = (compressed(1000), compressed(1001));
            let message = client.next_message(Time::ZERO, &mut short.as_mut_slice(), &DeflatePool::default());
            assert_eq!(message, Ok(Some(Message::Binary(Cow::Owned([7].repeat(1000))))));
            let message = client.next_message(Time::ZERO, &mut long.as_mut_slice(), &DeflatePool::default());
            assert_eq!(message, Err(websocket::Error::TooLarge { limit: 1000 }));
        }
        for none in ["", "Sec-WebSocket-Extensions: \r\n"] {
            let (mut client, agreed) = offered(none);
            assert_eq!(agreed, Ok(None));
            let message = client
                .next_message(Time::ZERO, &mut compressed(100).as_mut_slice(), &DeflatePool::default())
                .err();
            assert_eq!(message, Some(websocket::Error::ReservedBits));
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn an_answer_to_what_was_not_offered_fails_the_connection() {
        for wrong in [
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
            "x-webkit-deflate-frame",
        ] {
            let (client, answer) = offered(&alloc::format!("Sec-WebSocket-Extensions: {wrong}\r\n"));
            assert!(matches!(answer, Err(ResponseError::Handshake(_))) && !client.is_websocket(), "{wrong}");
        }
    }
}
