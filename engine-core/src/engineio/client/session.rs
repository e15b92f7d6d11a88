//! The client's side of one Engine.IO session.

mod end;
mod mark;
mod masks;
mod notes;
mod resume;
mod sending;
mod upgrade;

pub use notes::Note;
pub(crate) use notes::Notes;
pub use resume::Unconfirmed;

use self::resume::Opened;
use super::Config;
use super::error::{CloseReason, HandshakeError, TransportError};
use super::handshake::{Handshake, is_version_3};
use super::lane::{Lane, Received, Request, Want};
use crate::engineio::packet::{Message, Packet, PacketError};
use crate::engineio::payload::Payload;
use crate::engineio::transport::Transport;
use crate::engineio::version::Version;
use crate::random::Random;
use crate::time::{Time, earliest};
use crate::utf8::from_utf8;
use crate::websocket::Deflate;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::num::NonZeroUsize;
use core::time::Duration;

/// The client's side of one Engine.IO session, over up to three byte streams.
///
/// The streams belong to a driver. After every call it checks what the session [`wants`](Session::wants) of each
/// [`Lane`], opens or closes a stream, writes the request that [`begin`](Session::begin) returns, and reports the result.
/// [`transmit`](Session::transmit) moves frames to a WebSocket connection. All methods may be called at any time, in any
/// order.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    random: Random,
    masks: masks::Masks,
    /// The packets to send: while on WebSocket, its text is frames.
    queue: Payload,
    state: State,
    /// The compression of messages on the WebSocket connection.
    deflate: Option<Deflate>,
    handshake: Option<Handshake>,
    /// The deadline of the next ping, once the session is open.
    ping_deadline: Time,
    /// The first deadline that the server missed since its last ping.
    late_since: Option<Time>,
    last_heard: Time,
    /// The number of requests, each of which has a different `t`, and of pings of WebSocket.
    requests: u32,
    /// The driver does not read, because the application has fallen behind.
    is_behind: bool,
    /// The packet that closes the session is queued; nothing is queued after it.
    said_close: bool,
    closed: Option<Box<CloseReason>>,
    /// The position up to which the session watches what the server has read. Rarely needed.
    mark: Option<Box<mark::Mark>>,
    /// What lets the session outlive its connections, if the server has agreed.
    resume: Option<Box<resume::Resume>>,
    /// The notes for a program that watches. Rarely needed.
    notes: Option<Box<Notes>>,
}

#[derive(Debug)]
enum State {
    /// The transport with this index is being opened.
    Opening {
        index: usize,
        asked: bool,
    },
    Polling(Box<Polling>),
    WebSocket,
    /// The connection is lost, and there is no attempt to open another one.
    Detached,
}

#[derive(Debug, Default)]
struct Polling {
    /// A poll is in progress.
    poll: bool,
    /// The deadline of the answer to a request that sends packets, while one is in progress.
    post: Option<Time>,
    /// The number of consecutive polls that brought nothing.
    empty: u32,
    /// The poll in progress has brought a packet.
    brought: bool,
    /// The next poll waits until this time.
    pause: Option<Time>,
    /// The session is closing: until this deadline it sends what is queued, and tells the server.
    closing: Option<Time>,
    probe: Option<Box<Probe>>,
}

impl Polling {
    fn is_pausing(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.stage == Stage::Pausing)
    }
}

/// A WebSocket connection that may take over.
#[derive(Debug)]
struct Probe {
    stage: Stage,
    deadline: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no connection yet.
    Wanted,
    /// The handshake is in progress.
    Asked,
    /// The probe is to be sent.
    Open,
    /// The probe was sent.
    Sent,
    /// The probe was answered; the requests in progress are awaited.
    Pausing,
}

/// Number of consecutive polls that may bring nothing before the next one is delayed.
const EMPTY_POLLS: u32 = 5;
/// The delay of a poll after those.
const EMPTY_PAUSE: Duration = Duration::from_millis(100);
/// Maximum length of a ping's data, which is sent back.
const MAX_PING: usize = 125;
/// Maximum number of bytes kept of a response that is an error.
const MAX_ERROR_BODY: usize = 256;
/// Maximum number of packets in one request: python-engineio refuses more, and ends the session.
/// <https://python-engineio.readthedocs.io/en/latest/server.html>
const MAX_PACKETS: usize = 16;
/// Maximum length of a payload if the server names no limit.
const DEFAULT_PAYLOAD: usize = 1_000_000;

impl Session {
    /// Creates a session that is opened with the first of the transports, or with WebSocket if `websocket_worked`.
    pub fn open(now: Time, config: Arc<Config>, random: Random, websocket_worked: bool) -> Session {
        let first = config.transports.iter().position(|it| *it == Transport::WebSocket);
        let index = first.filter(|_| websocket_worked).unwrap_or(0);
        let mut session = Session {
            random,
            masks: masks::Masks::default(),
            queue: Payload::default(),
            state: State::Opening { index, asked: false },
            deflate: None,
            handshake: None,
            ping_deadline: now,
            late_since: None,
            last_heard: now,
            requests: 0,
            is_behind: false,
            said_close: false,
            closed: None,
            mark: None,
            resume: None,
            notes: None,
            config,
        };
        if session.config.transports.is_empty() {
            session.end(TransportError::NoTransport.into());
        }
        session
    }

    // Getters.

    /// Returns whether the session is open: not before the server has opened it, nor once it is closing.
    pub fn is_open(&self) -> bool {
        let is_attached = matches!(self.state, State::Polling(_) | State::WebSocket);
        is_attached && self.closed.is_none() && self.closing().is_none()
    }

    /// Returns the transport in use, or being opened.
    pub fn transport(&self) -> Transport {
        match &self.state {
            State::Opening { index, .. } => {
                self.config.transports.get(*index).copied().unwrap_or(Transport::Polling)
            }
            State::Polling(_) => Transport::Polling,
            State::WebSocket => Transport::WebSocket,
            State::Detached => Transport::Polling,
        }
    }

    /// Returns the reason why the session ended, if it has.
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_deref()
    }

    /// Returns the largest message that the server accepts, if it named a limit.
    pub fn max_payload(&self) -> Option<usize> {
        self.handshake.as_ref()?.max_payload.map(NonZeroUsize::get)
    }

    /// Returns the number of bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queue.text().len()
    }

    /// Returns whether a message sent now would be written immediately.
    pub fn is_writable(&self) -> bool {
        let ready = match &self.state {
            State::Opening { .. } | State::Detached => false,
            State::Polling(polling) => polling.post.is_none() && !polling.is_pausing(),
            State::WebSocket => true,
        };
        ready && self.queue.text().is_empty() && self.is_open()
    }

    // Lanes.

    /// Returns what the session wants of a lane.
    pub fn wants(&self, now: Time, lane: Lane) -> Want {
        if self.closed.is_some() {
            return Want::Nothing;
        }
        match (&self.state, lane) {
            (State::Opening { asked, .. }, _) => match (lane == self.opening_lane(), asked) {
                (false, _) => Want::Nothing,
                (true, false) => Want::Request,
                (true, true) => Want::Keep,
            },
            (State::Polling(polling), Lane::Poll) => {
                let waits = polling.pause.is_some_and(|until| now < until);
                match polling.poll || polling.is_pausing() || polling.closing.is_some() || waits {
                    true => Want::Keep,
                    false => Want::Request,
                }
            }
            (State::Polling(polling), Lane::Post) => {
                match polling.post.is_none() && !self.queue.text().is_empty() && !polling.is_pausing() {
                    true => Want::Request,
                    false => Want::Keep,
                }
            }
            (State::Polling(polling), Lane::WebSocket) => match polling.probe.as_ref().map(|it| it.stage) {
                None => Want::Nothing,
                Some(Stage::Wanted) => Want::Request,
                Some(_) => Want::Keep,
            },
            (State::WebSocket, Lane::WebSocket) => Want::Keep,
            (State::WebSocket | State::Detached, _) => Want::Nothing,
        }
    }

    /// Returns the lane of the request that opens the session.
    fn opening_lane(&self) -> Lane {
        match self.transport() {
            Transport::Polling => Lane::Poll,
            Transport::WebSocket => Lane::WebSocket,
        }
    }

    /// Returns whether something is in progress on a lane, or about to be, so that its end matters.
    fn is_needed(&self, now: Time, lane: Lane) -> bool {
        self.is_busy(lane) || self.wants(now, lane) == Want::Request
    }

    /// Returns whether something is in progress on a lane.
    fn is_busy(&self, lane: Lane) -> bool {
        match (&self.state, lane) {
            (State::Opening { asked, .. }, _) => *asked && lane == self.opening_lane(),
            (State::Polling(polling), Lane::Poll) => polling.poll,
            (State::Polling(polling), Lane::Post) => polling.post.is_some(),
            (State::Polling(polling), Lane::WebSocket) => polling.probe.is_some(),
            (State::WebSocket, lane) => lane == Lane::WebSocket,
            (State::Detached, _) => false,
        }
    }

    /// Returns the request to write on a lane that [wants](Want::Request) one. `query` is added to its query, in the form
    /// that it has in a URL; it may be empty.
    pub fn begin(&mut self, now: Time, lane: Lane, query: &str) -> Option<Request> {
        if self.wants(now, lane) != Want::Request {
            return None;
        }
        let mut body = None;
        match &mut self.state {
            State::Opening { asked, .. } => *asked = true,
            State::Polling(polling) => match lane {
                Lane::Poll => (polling.poll, polling.brought) = (true, false),
                Lane::Post => {
                    polling.post = Some(now + self.config.request_timeout);
                    let limit = self.max_payload();
                    let limit = limit.unwrap_or(DEFAULT_PAYLOAD);
                    let queued = self.queue.text().len();
                    body = Some(self.queue.take(limit, MAX_PACKETS));
                    if let Some(mark) = &mut self.mark {
                        mark.advance(queued - self.queue.text().len());
                    }
                }
                Lane::WebSocket => {
                    if let Some(probe) = &mut polling.probe {
                        probe.stage = Stage::Asked;
                    }
                }
            },
            State::WebSocket | State::Detached => return None,
        }
        Some(Request {
            method: if lane == Lane::Post { "POST" } else { "GET" },
            target: self.target(lane, query),
            body,
            upgrade: lane == Lane::WebSocket,
        })
    }

    fn target(&mut self, lane: Lane, query: &str) -> String {
        let config = &self.config;
        let mut target = String::with_capacity(config.path.len() + query.len() + 80);
        target.push_str(&config.path);
        target.push('?');
        if !query.is_empty() {
            target.push_str(query);
            target.push('&');
        }
        target.push_str("EIO=");
        target.push_str(Version::V4.as_str());
        target.push_str("&transport=");
        target.push_str(if lane == Lane::WebSocket { "websocket" } else { "polling" });
        if config.timestamp_requests && lane != Lane::WebSocket {
            self.requests = self.requests.wrapping_add(1);
            let [a, b, c, d] = self.random.bytes::<4>();
            let nonce =
                u64::from(u32::from_be_bytes([a, b, c, d])) << 20 | u64::from(self.requests & 0xf_ffff);
            target.push_str("&t=");
            target.push_str(itoa::Buffer::new().format(nonce));
        }
        if let Some(handshake) = &self.handshake {
            target.push_str("&sid=");
            target.push_str(&handshake.sid);
        }
        if let State::Opening { .. } = self.state
            && let Some(handled) = self.resume_from()
        {
            target.push_str("&resume=");
            target.push_str(itoa::Buffer::new().format(handled));
        }
        if let Some(attempt) = self.attempt() {
            target.push_str("&attempt=");
            target.push_str(itoa::Buffer::new().format(attempt));
        }
        let config = &self.config;
        if config.force_base64 && (lane == Lane::WebSocket || self.handshake.is_none()) {
            target.push_str("&b64=1");
        }
        target
    }

    /// Sets the compression that was negotiated for the WebSocket connection.
    pub fn set_deflate(&mut self, deflate: Option<Deflate>) {
        self.deflate = deflate;
    }

    /// Handles a response. Returns the payload of a poll, whose packets have to be [handled](Session::handle_packet);
    /// after them call [`end_poll`](Session::end_poll).
    pub fn handle_response<'b>(
        &mut self,
        now: Time,
        lane: Lane,
        status: u16,
        body: &'b [u8],
    ) -> Option<&'b str> {
        if self.closed.is_some() || !self.is_busy(lane) {
            return None;
        }
        self.last_heard = self.last_heard.max(now);
        let expected = if lane == Lane::WebSocket { 101 } else { 200 };
        if status != expected {
            let body = body.get(..MAX_ERROR_BODY).unwrap_or(body);
            let body = String::from_utf8_lossy(body).into_owned().into();
            let path = self.config.path.as_str().into();
            self.handle_failed(now, lane, TransportError::Status { status, path, body });
            return None;
        }
        match (&mut self.state, lane) {
            (State::Polling(polling), Lane::Post) => {
                polling.post = None;
                self.pass_mark();
                self.complete_upgrade();
                self.complete_close();
                None
            }
            (State::Polling(polling), Lane::WebSocket) => {
                if let Some(probe) = &mut polling.probe
                    && probe.stage == Stage::Asked
                {
                    probe.stage = Stage::Open;
                }
                None
            }
            (State::Opening { .. }, Lane::Poll) if is_version_3(body) => {
                self.fail_opening(TransportError::from(HandshakeError::Version).into());
                None
            }
            (_, Lane::Poll) => match from_utf8(body) {
                Some(text) => Some(text),
                None => {
                    self.handle_unreadable(now, lane, PacketError::Utf8);
                    None
                }
            },
            _ => None,
        }
    }

    /// Ends a poll, all packets of whose answer were handled.
    pub fn end_poll(&mut self, now: Time) {
        match &mut self.state {
            State::Polling(polling) => {
                polling.poll = false;
                polling.empty = if polling.brought { 0 } else { polling.empty.saturating_add(1) };
                // A server that answers immediately with nothing would keep both sides busy.
                let hurries = polling.empty >= EMPTY_POLLS && polling.probe.is_none();
                polling.pause = hurries.then(|| now + EMPTY_PAUSE);
                self.complete_upgrade();
            }
            // No packet opened the session. If that was reported already, the next transport has begun.
            State::Opening { asked: true, .. } if self.closed.is_none() => {
                self.fail_opening(TransportError::from(HandshakeError::NotOpen).into());
            }
            _ => {}
        }
    }

    /// Handles that a lane's stream could not be opened, or broke. Does nothing if the stream was not needed.
    ///
    /// Do not call this for a stream that was only kept for the next request.
    pub fn handle_failed(&mut self, now: Time, lane: Lane, error: TransportError) {
        if self.closed.is_some() || !self.is_needed(now, lane) {
            return;
        }
        match &mut self.state {
            State::Opening { .. } => self.fail_opening(error.into()),
            State::Polling(_) if lane == Lane::WebSocket => self.stay_polling(error),
            _ if Session::may_resume_after(&error) => self.lose(now, error.into()),
            _ => self.end(error.into()),
        }
    }

    /// Tries the next transport, if there is one to try.
    fn fail_opening(&mut self, reason: CloseReason) {
        if let State::Opening { index, asked } = &mut self.state
            && self.resume.is_none()
            && self.config.try_all_transports
            && *index + 1 < self.config.transports.len()
        {
            (*index, *asked) = (*index + 1, false);
            return self.note(|session| Note::Opening(session.transport()));
        }
        self.fail_attempt(reason);
    }

    /// Handles a WebSocket close frame.
    pub fn handle_close_frame(&mut self, now: Time, code: Option<u16>) {
        match self.state {
            State::WebSocket => self.end(CloseReason::TransportClose(code)),
            _ => self.handle_failed(now, Lane::WebSocket, TransportError::Closed(code)),
        }
    }

    /// Handles the end of a lane's stream.
    pub fn handle_eof(&mut self, now: Time, lane: Lane) {
        match self.state {
            State::WebSocket if lane == Lane::WebSocket => {
                self.lose(now, CloseReason::TransportClose(None));
            }
            State::Opening { .. } => self.handle_failed(now, lane, HandshakeError::Ended.into()),
            _ => self.handle_failed(now, lane, TransportError::Lost),
        }
    }

    // Packets.

    /// Handles a frame, or a packet of a payload, that cannot be decoded.
    pub fn handle_unreadable(&mut self, now: Time, lane: Lane, error: PacketError) {
        match self.state {
            State::Opening { .. } if self.is_busy(lane) => {
                self.fail_opening(TransportError::from(HandshakeError::Unreadable(error)).into());
            }
            State::Opening { .. } | State::Detached => {}
            State::Polling(_) if lane == Lane::WebSocket => {
                self.handle_failed(now, lane, TransportError::OutOfPlace("an answer to the probe"));
            }
            _ => self.end(CloseReason::ParseError(error)),
        }
    }

    /// Handles a packet that arrived on a lane.
    pub fn handle_packet<'a>(&mut self, now: Time, lane: Lane, packet: Packet<'a>) -> Received<'a> {
        if self.closed.is_some() {
            return Received::Nothing;
        }
        self.last_heard = self.last_heard.max(now);
        match &mut self.state {
            State::Opening { .. } => return self.handle_open(now, lane, &packet),
            State::Polling(polling) if lane == Lane::WebSocket => {
                match (&mut polling.probe, &packet) {
                    (Some(probe), Packet::Pong("probe")) if probe.stage == Stage::Sent => {
                        probe.stage = Stage::Pausing;
                        self.complete_upgrade();
                    }
                    _ => self.stay_polling(TransportError::OutOfPlace("an answer to the probe")),
                }
                return Received::Nothing;
            }
            State::WebSocket if lane != Lane::WebSocket => return Received::Nothing,
            State::Detached => return Received::Nothing,
            State::Polling(polling) => polling.brought |= packet != Packet::Noop(""),
            State::WebSocket => {}
        }
        match packet {
            Packet::Message(message) => {
                let len = match &message {
                    Message::Text(text) => text.len(),
                    Message::Binary(data) => data.len(),
                };
                if self.resume.as_mut().is_some_and(|resume| resume.count(len)) {
                    self.tell_handled();
                }
                Received::Message(message)
            }
            Packet::Ping(data) if data.len() <= MAX_PING => {
                self.expect_ping(now);
                let mut pong = [b'3'; MAX_PING + 1];
                if let Some((_, buffer)) = pong.split_first_mut()
                    && let Some(buffer) = buffer.get_mut(..data.len())
                {
                    buffer.copy_from_slice(data.as_bytes());
                }
                self.push_control(pong.get(..=data.len()).unwrap_or(b"3"));
                self.tell_with_pong();
                Received::Ping
            }
            Packet::Close => {
                self.end(CloseReason::TransportClose(None));
                Received::Nothing
            }
            Packet::Noop(data) => {
                if !data.is_empty() {
                    self.handle_count(data);
                }
                Received::Nothing
            }
            Packet::Ping(_) => self.refuse("a long ping"),
            Packet::Open(_) => self.refuse("a second handshake"),
            Packet::Pong(_) => self.refuse("a pong without a ping"),
            Packet::Upgrade => self.refuse("an upgrade"),
        }
    }

    fn refuse(&mut self, what: &'static str) -> Received<'static> {
        self.end(TransportError::OutOfPlace(what).into());
        Received::Nothing
    }

    fn handle_open(&mut self, now: Time, lane: Lane, packet: &Packet<'_>) -> Received<'static> {
        // The packet follows one that failed this transport: the next one has begun.
        if !self.is_busy(lane) {
            return Received::Nothing;
        }
        let parsed = match packet {
            Packet::Open(data) => Handshake::parse(data),
            _ => Err(HandshakeError::NotOpen),
        };
        let agreed = parsed.and_then(|(handshake, terms)| Ok((self.agree(&handshake, terms)?, handshake)));
        let (opened, handshake) = match agreed {
            Ok(agreed) => agreed,
            Err(error) => {
                self.fail_opening(TransportError::from(error).into());
                return Received::Nothing;
            }
        };
        self.state = match self.transport() {
            Transport::WebSocket => State::WebSocket,
            Transport::Polling => {
                let config = &self.config;
                let wanted = config.upgrade && config.transports.contains(&Transport::WebSocket);
                let deadline = now + config.upgrade_timeout;
                let probe = || Box::new(Probe { stage: Stage::Wanted, deadline });
                let probe = (wanted && handshake.can_upgrade).then(probe);
                // The poll continues, because the rest of its answer has not been read yet.
                let polling = Polling { poll: true, brought: true, probe, ..Polling::default() };
                State::Polling(Box::new(polling))
            }
        };
        self.handshake = Some(handshake);
        self.expect_ping(now);
        match opened {
            Opened::New => {
                self.note(|_| Note::Opened);
                Received::Open
            }
            Opened::Resumed => {
                self.note(|_| Note::Resumed);
                self.replay();
                Received::Resumed
            }
            Opened::Replaced(unconfirmed) => {
                self.mark = None;
                self.note(|_| Note::Opened);
                Received::Replaced(unconfirmed)
            }
        }
    }

    fn expect_ping(&mut self, now: Time) {
        if let Some(handshake) = &self.handshake {
            self.ping_deadline = now + handshake.patience();
            self.late_since = None;
        }
    }

    // Time.

    /// Returns the next time at which [`handle_timeout`](Session::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.closed.is_some() {
            return None;
        }
        let mut next = match &self.state {
            State::Opening { .. } | State::Detached => self.lost_until(),
            State::Polling(polling) => earliest(polling.closing, Some(self.ping_deadline)),
            State::WebSocket => Some(self.ping_deadline),
        };
        if let State::Polling(polling) = &self.state {
            next = earliest(next, polling.post);
            next = earliest(next, polling.pause);
            next = earliest(next, polling.probe.as_ref().map(|probe| probe.deadline));
        }
        next
    }

    /// Handles that time has passed. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.closed.is_some() {
            return;
        }
        if self.closing().is_some_and(|deadline| deadline <= now) {
            return self.end(CloseReason::Client);
        }
        if let State::Polling(polling) = &mut self.state {
            if polling.pause.is_some_and(|until| until <= now) {
                polling.pause = None;
            }
            let is_late = polling.post.is_some_and(|deadline| deadline <= now);
            if polling.probe.as_ref().is_some_and(|probe| probe.deadline <= now) {
                self.stay_polling(TransportError::RequestTimeout);
            }
            if is_late {
                return self.lose(now, TransportError::RequestTimeout.into());
            }
        }
        if let State::Opening { .. } | State::Detached = self.state {
            if self.lost_until().is_some_and(|until| until <= now) {
                self.give_up_resuming();
            }
            return;
        }
        if let Some(handshake) = &self.handshake
            && self.ping_deadline <= now
        {
            // A long message may delay the ping, so bytes that arrive extend the deadline for a limited time.
            let late_since = *self.late_since.get_or_insert(self.ping_deadline);
            let latest = late_since + self.config.message_timeout;
            let extended = latest.min(self.last_heard + handshake.ping_timeout());
            match extended > now {
                true => self.ping_deadline = extended,
                false if self.is_behind => self.lose(now, CloseReason::Behind),
                false => self.lose(now, CloseReason::PingTimeout),
            }
        }
    }

    /// Sets whether the driver does not read because the application has fallen behind, which is then the reason for a
    /// missing ping.
    pub fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Notes that bytes arrived: the server is alive.
    pub fn heard(&mut self, now: Time) {
        self.last_heard = self.last_heard.max(now);
    }
}
