//! The server's side of one Engine.IO session.

mod backlog;
mod heartbeat;
mod opening;
mod polling;
mod resume;
mod sending;
mod upgrade;

pub use backlog::SendFlags;
pub use polling::{PollNumber, Refused};
pub use resume::Attempt;
pub use sending::SendError;
pub use upgrade::{Probing, Ticket};

use super::config::Config;
use super::controls::Controls;
use super::rate::Rates;
use crate::engineio::conn::{Conn, Micros};
use crate::engineio::framing::Framing;
use crate::engineio::id::Id;
use crate::engineio::packet::{Message, Packet};
use crate::engineio::payload::Payload;
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::transport::Transport;
use crate::engineio::version::{BinaryForm, Opening, Version};
use crate::hint::cold_path;
use crate::outbound::Outbound;
use crate::time::Time;
use crate::websocket::{Deflate, Window};
use alloc::boxed::Box;
use alloc::sync::Arc;
use backlog::Backlog;
use heartbeat::Heartbeat;
use resume::Resumption;

/// The server's side of one Engine.IO session, over the connections that carry it.
///
/// A polling request, a WebSocket connection or one that is being tried belongs to a driver. The session decides
/// what is sent on each, and handles their packets. All methods may be called at any time, in any order:
///
/// - `begin_*`, `handle_*`, `end_*`, `abort_*`: something arrived, or a connection ended;
/// - [`send`](Session::send), [`send_shared`](Session::send_shared), [`close`](Session::close): commands;
/// - [`begin_resume`](Session::begin_resume), [`resume`](Session::resume), [`lose`](Session::lose): stateful reconnect, if it
///   is on;
/// - `take_*`, [`next_deadline`](Session::next_deadline): what has to go out, and when to call
///   [`handle_timeout`](Session::handle_timeout);
/// - the rest are getters.
// In this order, so that what each delivery of a broadcast uses lies together.
#[repr(C)]
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    /// What most sessions have no use for. One pointer for all of it, because it is looked at for each message.
    aside: Option<Box<Aside>>,
    /// The end of the session. Boxed, so that a session that has not ended owns no memory for it.
    closed: Option<Box<Closed>>,
    state: State,
    /// The number of bytes that connections have taken.
    taken: u64,
    /// The number of bytes that arrived.
    received: u64,
    last_heard: Time,
    heartbeat: Heartbeat,
    /// The limits of what the client may send. Boxed, so that a session without any pays a pointer.
    rates: Option<Box<Rates>>,
    /// The round trip of the last ping that was answered.
    round_trip: Option<Micros>,
    /// Another ping followed one whose pong is yet to be read, so it is not known which of them the next pong answers.
    is_ambiguous: bool,
    controls: Controls,
}

#[derive(Debug, Default)]
struct Aside {
    /// Messages that wait behind the queue.
    backlog: Backlog,
    /// The other side of a session with stateful reconnect.
    resumption: Option<Resumption>,
}

#[derive(Debug)]
enum State {
    // Boxed, so that a session over WebSocket, as most are for most of their time, is smaller.
    Polling(Box<Polling>),
    Streaming(Streaming),
}

/// A session over a connection that stays open.
#[derive(Debug)]
struct Streaming {
    /// What the [`framing`](Streaming::framing) needs besides the settings of the server, as every session has one.
    window: Option<Window>,
    form: BinaryForm,
    /// The frames to send.
    queue: Outbound,
    /// The number of bytes that were taken from `queue` and are not written yet, at most `u32::MAX`.
    in_flight: u32,
    /// A poll was waiting when the session moved on.
    parked: bool,
}

impl Streaming {
    fn new(framing: Framing, queue: Outbound, parked: bool) -> Streaming {
        let mut streaming = Streaming { window: None, form: BinaryForm::Plain, queue, in_flight: 0, parked };
        streaming.set_framing(framing);
        streaming
    }

    fn set_framing(&mut self, framing: Framing) {
        let Framing::WebSocket(deflate, form) = framing;
        (self.window, self.form) = (deflate.map(Deflate::window), form);
    }

    /// Returns the framing of messages, of those that are to be compressed or of others.
    #[inline]
    fn framing(&self, config: &Config, compress: bool) -> Framing {
        let window = if compress { self.window } else { None };
        let deflate = window.and_then(|window| window.with(config.per_message_deflate));
        Framing::WebSocket(deflate, self.form)
    }

    /// Returns the framing of what is not to be compressed.
    #[inline]
    fn plain_framing(&self) -> Framing {
        Framing::of(self.form)
    }

    fn queued(&self) -> usize {
        self.queue.len() + self.in_flight as usize
    }

    fn set_in_flight(&mut self, bytes: usize) {
        self.in_flight = u32::try_from(bytes).unwrap_or(u32::MAX);
    }
}

impl Aside {
    /// Returns whether there is something to send besides the queue.
    fn wants_transmit(&self) -> bool {
        !self.backlog.is_empty() || self.is_due()
    }

    /// Returns the number of bytes that wait for the peer besides the queue.
    fn size(&self) -> usize {
        self.backlog.size() + self.resumption.as_ref().map_or(0, Resumption::waiting)
    }
}

impl State {
    /// Returns the bytes that wait for a connection.
    fn queue(&self) -> &Outbound {
        match self {
            State::Polling(polling) => polling.payload.text(),
            State::Streaming(streaming) => &streaming.queue,
        }
    }

    /// Returns the number of bytes that wait for a connection, or are being written.
    fn queued(&self) -> usize {
        match self {
            State::Polling(polling) => polling.payload.text().len(),
            State::Streaming(streaming) => streaming.queued(),
        }
    }

    fn clear(&mut self) {
        match self {
            State::Polling(polling) => polling.payload.clear(),
            State::Streaming(streaming) => streaming.queue.clear(),
        }
    }

    /// Queues a packet of the protocol itself; these have no budget.
    fn push_control(&mut self, packet: &[u8]) {
        match self {
            State::Polling(polling) => polling.payload.push_control(packet),
            State::Streaming(streaming) => {
                streaming.plain_framing().push_control(&mut streaming.queue, packet)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Polling {
    payload: Payload,
    /// A poll waits for something to send.
    parked: bool,
    /// The number of that poll, or of the last one.
    poll: PollNumber,
    /// A request with data is being read.
    posting: bool,
    /// A poll has come since the last ping.
    polled: bool,
    /// The version of the session, with the form of binary messages in payloads.
    form: BinaryForm,
    probe: Option<Box<upgrade::Probe>>,
    /// The number of upgrades that were begun, so that a late one is not taken for the current one.
    tickets: u32,
}

#[derive(Debug)]
struct Closed {
    reason: CloseReason,
    /// The deadline of the poll by which a polling client is told.
    farewell: Option<Time>,
    /// The same, once the client has shown that it polls.
    latest: Time,
    reported: bool,
}

impl Session {
    /// Opens a session: its first packet is the handshake.
    pub fn open(now: Time, config: Arc<Config>, id: &Id, opening: impl Into<Opening>) -> Session {
        Session::open_with_queue(now, config, id, opening.into(), Outbound::new())
    }

    /// Does the same as [`open`](Session::open). Over WebSocket, the handshake is written to `queue`, which is empty, but may
    /// have [memory](Outbound::lend).
    pub fn open_with_queue(
        now: Time,
        config: Arc<Config>,
        id: &Id,
        opening: Opening,
        queue: Outbound,
    ) -> Session {
        let Opening { transport, version, base64, resumable } = opening;
        let form = BinaryForm::of(version, base64);
        let state = match transport {
            Transport::Polling => State::Polling(Box::new(Polling { form, ..Polling::default() })),
            Transport::WebSocket => State::Streaming(Streaming::new(Framing::of(form), queue, false)),
        };
        let resumption = Resumption::of(&config, resumable && version == Version::V4, transport);
        let open = Session::open_packet(&config, id, transport, resumption.as_ref().map(|_| 0));
        let heartbeat = Heartbeat::begin(now, &config, version);
        let mut session = Session {
            rates: Rates::of(&config, now),
            config,
            state,
            aside: resumption.map(|it| Box::new(Aside { resumption: Some(it), ..Aside::default() })),
            heartbeat,
            last_heard: now,
            closed: None,
            received: 0,
            taken: 0,
            round_trip: None,
            is_ambiguous: false,
            controls: Controls::default(),
        };
        session.state.push_control(open.as_bytes());
        session
    }

    // Getters.

    /// Returns the transport in use, or the last one while there is no connection.
    pub fn transport(&self) -> Transport {
        match &self.state {
            State::Polling(_) => self.lost_transport().unwrap_or(Transport::Polling),
            State::Streaming(_) => Transport::WebSocket,
        }
    }

    /// Returns the version of the protocol that the session speaks.
    pub fn version(&self) -> Version {
        match &self.state {
            State::Polling(polling) => polling.form.version(),
            State::Streaming(streaming) => streaming.form.version(),
        }
    }

    /// Returns the reason why the session ended, if it did.
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref().map(|closed| &closed.reason)
    }

    /// Returns whether the session ended and the client has been told, or cannot be, so that the session can be dropped.
    pub fn is_finished(&self) -> bool {
        self.closed.as_ref().is_some_and(|closed| closed.farewell.is_none())
    }

    /// Returns whether a message would leave at once: nothing waits, and a connection is ready to take it.
    pub fn is_writable(&self) -> bool {
        let ready = match &self.state {
            State::Polling(polling) => polling.parked,
            State::Streaming(streaming) => streaming.in_flight == 0,
        };
        ready && self.state.queue().is_empty() && !self.has_backlog() && self.closed.is_none()
    }

    /// Returns whether the transport's connection has something to take.
    pub fn wants_transmit(&self) -> bool {
        match &self.state {
            State::Polling(polling) => {
                cold_path();
                polling.parked
                    && (!self.state.queue().is_empty()
                        || self.closed.is_some()
                        || polling.is_released()
                        || self.aside.as_ref().is_some_and(|aside| aside.is_due()))
            }
            State::Streaming(_) => {
                !self.state.queue().is_empty()
                    || self.aside.as_ref().is_some_and(|aside| aside.wants_transmit())
                    || self.closed.is_some()
            }
        }
    }

    /// Returns the number of bytes that wait for the peer.
    pub fn queued(&self) -> usize {
        self.state.queued() + self.aside.as_ref().map_or(0, |aside| aside.size())
    }

    /// Returns the number of bytes that wait for the peer, except those that may be dropped as long as they wait.
    pub fn committed(&self) -> usize {
        self.state.queued()
    }

    /// Returns the facts about the session's connections at this moment.
    pub fn conn(&self) -> Conn {
        let in_flight = match &self.state {
            State::Polling(_) => 0,
            State::Streaming(streaming) => streaming.in_flight.into(),
        };
        Conn {
            transport: self.transport(),
            version: self.version(),
            round_trip: self.round_trip.map(Micros::to_duration),
            received_bytes: self.received,
            sent_bytes: self.taken.saturating_sub(in_flight),
            queued_bytes: self.queued(),
        }
    }

    /// Returns the session's settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns the reason why the session ended, the first time that this is called after the end.
    pub fn take_closed(&mut self) -> Option<CloseReason> {
        let closed = self.closed.as_mut()?;
        (!core::mem::replace(&mut closed.reported, true)).then(|| closed.reason.clone())
    }

    /// Takes the packets of the protocol itself that were queued since the last call, except the handshake.
    pub fn take_controls(&mut self) -> Controls {
        core::mem::take(&mut self.controls)
    }

    // Packets.

    /// Notes that bytes arrived on the session's transport: the peer is alive.
    pub fn heard(&mut self, now: Time) {
        self.last_heard = self.last_heard.max(now);
    }

    /// Does the same as [`heard`](Session::heard), and reads the clock only if something depends on the time: while the peer
    /// is to answer a ping, or to send one.
    #[inline]
    pub fn heard_with(&mut self, clock: &dyn Fn() -> Time) {
        if let Heartbeat::Waiting { .. } = self.heartbeat {
            cold_path();
            self.heard(clock());
        }
    }

    /// Counts bytes that arrived: the bodies of requests, and all bytes of WebSocket connections.
    pub fn count_received(&mut self, bytes: usize) {
        self.received = self.received.wrapping_add(bytes as u64);
    }

    /// Counts a message for the application, of `len` bytes, before it is handled: against the limits of
    /// [`Config::max_message_rate`] and [`Config::max_byte_rate`], and for stateful reconnect. Returns `false` if it must not
    /// be handled: it exceeds a limit, which ends the session, or the session has ended before, or its connection counts as
    /// lost, so that the client sends it again.
    ///
    /// Need not be called if [nothing is counted](Config::counts_messages).
    pub fn count_message(&mut self, now: Time, len: usize) -> bool {
        // What the client sends again is counted then.
        let is_detached = self.is_detached();
        if let Some(rates) = self.rates.as_mut().filter(|_| !is_detached)
            && let Err(error) = rates.count(now, len)
        {
            self.close(now, error.into());
        }
        self.closed.is_none() && self.count_handled(len)
    }

    /// Handles a packet from the session's transport. Returns it if it is a message for the application.
    ///
    /// After the end of the session packets are ignored, except a close: then the client need not be told any more.
    pub fn handle_packet<'a>(&mut self, now: Time, packet: Packet<'a>) -> Option<Message<'a>> {
        if let Some(closed) = &mut self.closed {
            if packet == Packet::Close && closed.farewell.take().is_some() {
                self.state.clear();
            }
            return None;
        }
        if self.is_detached() {
            return None;
        }
        match packet {
            Packet::Message(message) => return Some(message),
            Packet::Pong(_) => {
                if self.version() == Version::V3 {
                    self.close(now, TransportError::PongFromClient.into());
                }
                if let Heartbeat::Waiting { left, .. } = self.heartbeat {
                    let round_trip = left.map(|left| Micros::between(left, now));
                    if !core::mem::take(&mut self.is_ambiguous) {
                        self.round_trip = round_trip.or(self.round_trip);
                    }
                    self.heartbeat = Heartbeat::idle(now, &self.config);
                }
            }
            Packet::Ping(_) => match self.version() {
                Version::V4 => self.close(now, TransportError::PingFromClient.into()),
                Version::V3 => self.handle_ping(now),
            },
            Packet::Close => self.close(now, CloseReason::TransportClose),
            Packet::Noop(data) => self.handle_noop(now, data),
            // Only a server opens sessions, and an upgrade has a meaning only on a connection that is being tried.
            Packet::Open(_) | Packet::Upgrade => {}
        }
        None
    }

    // The end.

    /// Ends the session. Messages that were queued before are still sent if the peer can be expected to read them.
    ///
    /// The first reason stays.
    pub fn close(&mut self, now: Time, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        let graceful = matches!(reason, CloseReason::ForcedClose(_) | CloseReason::ServerShutdown);
        let is_detached = self.end_resumption();
        let (mut farewell, latest) = (None, now + self.config.close_timeout);
        match graceful {
            true => self.advance_backlog(usize::MAX),
            false => self.clear(),
        }
        if let State::Polling(polling) = &mut self.state {
            // A client whose probe was answered and that does not poll is told on the connection that it tries.
            let waits = polling.probe.as_ref().is_some_and(|probe| probe.waits);
            let may_upgrade =
                (polling.is_probed() || waits) && !(polling.parked && polling.payload.text().is_empty());
            if !(graceful && may_upgrade) {
                polling.probe = None;
            }
            // Even if a poll waits, because one payload may not hold all that is queued.
            if graceful && !is_detached {
                farewell = Some(latest);
            }
            // A server does not wait long for clients that are gone: those that live poll again at once.
            if reason == CloseReason::ServerShutdown && !polling.parked && !is_detached {
                farewell = Some(latest.min(now + self.config.shutdown_poll_timeout));
            }
        }
        self.closed = Some(Box::new(Closed { reason, farewell, latest, reported: false }));
    }
}
