//! The server's side of one Engine.IO session.

mod backlog;
mod opening;
mod upgrade;

pub use backlog::SendFlags;
pub use upgrade::{Probing, Ticket};

use super::config::Config;
use super::controls::Controls;
use super::rate::Rates;
use crate::engineio::conn::{Conn, Micros};
use crate::engineio::frames::{Frames, Part};
use crate::engineio::framing::Framing;
use crate::engineio::id::Id;
use crate::engineio::packet::{Message, Packet};
use crate::engineio::payload::Payload;
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::transport::Transport;
use crate::outbound::Outbound;
use crate::time::{Time, earliest};
use alloc::boxed::Box;
use alloc::sync::Arc;
use backlog::Backlog;
use bytes::Bytes;

/// The server's side of one Engine.IO session, over the connections that carry it.
///
/// A polling request, a WebSocket connection or one that is being tried belongs to a driver. The session decides
/// what is sent on each, and handles their packets. All methods may be called at any time, in any order:
///
/// - `begin_*`, `handle_*`, `end_*`, `abort_*`: something arrived, or a connection ended;
/// - [`send`](Session::send), [`send_shared`](Session::send_shared), [`close`](Session::close): commands;
/// - `take_*`, [`next_deadline`](Session::next_deadline): what has to go out, and when to call
///   [`handle_timeout`](Session::handle_timeout);
/// - the rest are getters.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    state: State,
    /// Messages that wait behind the queue, while there are any.
    backlog: Option<Box<Backlog>>,
    heartbeat: Heartbeat,
    last_heard: Time,
    /// The end of the session. Boxed, so that a session that has not ended owns no memory for it.
    closed: Option<Box<Closed>>,
    /// The number of bytes that arrived.
    received: u64,
    /// The number of bytes that connections have taken.
    taken: u64,
    /// The round trip of the last ping that was answered.
    round_trip: Option<Micros>,
    /// Another ping followed one whose pong is yet to be read, so it is not known which of them the next pong answers.
    is_ambiguous: bool,
    controls: Controls,
    /// The limits of what the client may send. Boxed, so that a session without any pays a pointer.
    rates: Option<Box<Rates>>,
}

#[derive(Debug)]
enum State {
    Polling(Polling),
    Streaming(Streaming),
}

/// A session over a connection that stays open.
#[derive(Debug, Default)]
struct Streaming {
    framing: Framing,
    /// The frames to send.
    queue: Outbound,
    /// The number of bytes that were taken from `queue` and are not written yet, at most `u32::MAX`.
    in_flight: u32,
    /// A poll was waiting when the session moved on.
    parked: bool,
}

impl Streaming {
    fn queued(&self) -> usize {
        self.queue.len() + self.in_flight as usize
    }

    fn set_in_flight(&mut self, bytes: usize) {
        self.in_flight = u32::try_from(bytes).unwrap_or(u32::MAX);
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
            State::Streaming(streaming) => streaming.framing.push_control(&mut streaming.queue, packet),
        }
    }
}

#[derive(Debug, Default)]
struct Polling {
    payload: Payload,
    /// A poll waits for something to send.
    parked: bool,
    /// A request with data is being read.
    posting: bool,
    /// A poll has come since the last ping.
    polled: bool,
    probe: Option<Box<upgrade::Probe>>,
    /// The number of upgrades that were begun, so that a late one is not taken for the current one.
    tickets: u32,
}

#[derive(Debug)]
enum Heartbeat {
    /// The next ping is due.
    Idle(Time),
    /// A ping was queued.
    Waiting {
        /// The time at which a connection took it: `None` while it waits for a poll.
        left: Option<Time>,
        deadline: Time,
    },
}

impl Heartbeat {
    /// Notes that a connection takes what waits.
    fn leave(&mut self, now: Time) {
        if let Heartbeat::Waiting { left, .. } = self {
            left.get_or_insert(now);
        }
    }
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

/// The reason why a request or an upgrade was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is over.
    #[error("the session is closed")]
    Closed,
    /// The session is on another transport.
    #[error("the session is on another transport")]
    TransportMismatch,
    /// Another request of this kind is in progress; the session is closed.
    #[error("two requests of a kind at a time")]
    Overlap,
    /// An upgrade is in progress or complete, or upgrades are off.
    #[error("no upgrade is possible now")]
    NoUpgrade,
}

/// The error of a message that was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is over.
    #[error("the session is closed")]
    Closed,
    /// The peer reads too slowly: the message would exceed the send buffer.
    #[error("the send buffer is full: {queued} bytes waiting")]
    Full {
        /// The number of bytes that wait.
        queued: usize,
    },
    /// The message is larger than the whole send buffer.
    #[error("a message larger than the send buffer of {limit} bytes")]
    TooLarge {
        /// The size of the send buffer.
        limit: usize,
    },
    /// A text with U+001E, which stands between the packets of a payload: it cannot be sent over polling.
    #[error("a text with U+001E, which cannot be sent over polling")]
    Separator,
}

impl Session {
    /// Opens a session: its first packet is the handshake.
    pub fn open(now: Time, config: Arc<Config>, id: &Id, transport: Transport) -> Session {
        Session::open_with_queue(now, config, id, transport, Outbound::new())
    }

    /// Does the same as [`open`](Session::open). Over WebSocket, the handshake is written to `queue`, which is empty, but may
    /// have [memory](Outbound::lend).
    pub fn open_with_queue(
        now: Time,
        config: Arc<Config>,
        id: &Id,
        transport: Transport,
        queue: Outbound,
    ) -> Session {
        let state = match transport {
            Transport::Polling => State::Polling(Polling::default()),
            Transport::WebSocket => State::Streaming(Streaming { queue, ..Streaming::default() }),
        };
        let open = Session::open_packet(&config, id, transport);
        let heartbeat = Heartbeat::Idle(now + config.ping_interval);
        let mut session = Session {
            rates: Rates::of(&config, now),
            config,
            state,
            backlog: None,
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

    /// Returns the transport in use.
    pub fn transport(&self) -> Transport {
        match self.state {
            State::Polling(_) => Transport::Polling,
            State::Streaming(Streaming { framing: Framing::WebSocket(_), .. }) => Transport::WebSocket,
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
        ready && self.state.queue().is_empty() && self.backlog.is_none() && self.closed.is_none()
    }

    /// Returns whether the transport's connection has something to take.
    pub fn wants_transmit(&self) -> bool {
        match &self.state {
            State::Polling(polling) => {
                polling.parked
                    && (!self.state.queue().is_empty() || self.closed.is_some() || polling.is_released())
            }
            State::Streaming(_) => {
                !self.state.queue().is_empty() || self.backlog.is_some() || self.closed.is_some()
            }
        }
    }

    /// Returns the number of bytes that wait for the peer.
    pub fn queued(&self) -> usize {
        self.state.queued() + self.backlog.as_ref().map_or(0, |backlog| backlog.size())
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

    // Polling.

    /// Notes that a poll arrived, which waits until [`take_payload`](Session::take_payload) has something for it.
    ///
    /// The poll is a sign of life: if the application `is_behind`, it counts in place of an overdue pong, as in
    /// [`excuse_pong`](Session::excuse_pong).
    pub fn begin_poll(&mut self, now: Time, is_behind: bool) -> Result<(), Refused> {
        if let State::Polling(polling) = &mut self.state {
            polling.polled = true;
        }
        self.catch_up(now, is_behind);
        if self.is_finished() {
            return Err(Refused::Closed);
        }
        self.heartbeat.leave(now);
        if let Some(closed) = self.closed.as_deref_mut() {
            closed.farewell = Some(closed.latest);
        }
        let State::Polling(polling) = &mut self.state else { return Err(Refused::TransportMismatch) };
        if core::mem::replace(&mut polling.parked, true) {
            self.close(now, TransportError::PollOverlap.into());
            return Err(Refused::Overlap);
        }
        if polling.payload.text().is_empty() {
            polling.release_poll(now);
        }
        Ok(())
    }

    /// Takes the response to the waiting poll, once there is one: at most `max_payload` bytes unless one packet has more.
    pub fn take_payload(&mut self) -> Option<Outbound> {
        let payload = self.next_payload()?;
        self.taken = self.taken.wrapping_add(payload.len() as u64);
        Some(payload)
    }

    fn next_payload(&mut self) -> Option<Outbound> {
        match &mut self.state {
            State::Polling(polling) if polling.parked => {
                if polling.payload.text().is_empty() && self.closed.is_none() && !polling.is_released() {
                    return None;
                }
                polling.parked = false;
                if let Some(probe) = &mut polling.probe {
                    probe.released = false;
                }
                if !polling.payload.text().is_empty() {
                    let payload = polling.payload.take(self.config.max_payload, usize::MAX);
                    self.refill();
                    return Some(payload);
                }
            }
            State::Polling(_) => return None,
            // The session is on WebSocket by now: a poll that still waits is answered with nothing.
            State::Streaming(streaming) => {
                self.controls.noop |= streaming.parked;
                return core::mem::take(&mut streaming.parked).then(|| control(b"6"));
            }
        }
        match &mut self.closed {
            None => {
                self.controls.noop = true;
                Some(control(b"6"))
            }
            // In a payload of its own: clients of the reference drop what stands before it in the same one.
            Some(closed) => {
                closed.farewell = None;
                let told = matches!(closed.reason, CloseReason::TransportClose);
                self.controls = Controls { noop: told, close: !told, ..self.controls };
                Some(control(if told { b"6" } else { b"1" }))
            }
        }
    }

    /// Handles the end of the waiting poll's connection before the response.
    pub fn abort_poll(&mut self, now: Time) {
        match &mut self.state {
            State::Polling(polling) => {
                if core::mem::take(&mut polling.parked) {
                    self.close(now, TransportError::PollAborted.into());
                }
            }
            // Nothing was on its way there.
            State::Streaming(streaming) => streaming.parked = false,
        }
    }

    /// Notes that a request with data arrived, whose packets follow once its body is complete.
    ///
    /// If the application `is_behind`, an overdue pong is excused as in [`excuse_pong`](Session::excuse_pong).
    pub fn begin_post(&mut self, now: Time, is_behind: bool) -> Result<(), Refused> {
        self.catch_up(now, is_behind);
        // A client that does not know of the end yet may close the session itself.
        if self.is_finished() {
            return Err(Refused::Closed);
        }
        let State::Polling(polling) = &mut self.state else { return Err(Refused::TransportMismatch) };
        if core::mem::replace(&mut polling.posting, true) {
            self.close(now, TransportError::PostOverlap.into());
            return Err(Refused::Overlap);
        }
        Ok(())
    }

    /// Notes that all packets of the request were handled, or that it was refused.
    pub fn end_post(&mut self) {
        if let State::Polling(polling) = &mut self.state {
            polling.posting = false;
        }
    }

    /// Handles the end of a request's connection before its body was complete.
    pub fn abort_post(&mut self, now: Time) {
        self.end_post();
        self.close(now, TransportError::PostAborted.into());
    }

    // Packets.

    /// Notes that bytes arrived on the session's transport: the peer is alive.
    pub fn heard(&mut self, now: Time) {
        self.last_heard = self.last_heard.max(now);
    }

    /// Counts bytes that arrived: the bodies of requests, and all bytes of WebSocket connections.
    pub fn count_received(&mut self, bytes: usize) {
        self.received = self.received.wrapping_add(bytes as u64);
    }

    /// Counts a message for the application, of `len` bytes, against the limits of [`Config::max_message_rate`] and
    /// [`Config::max_byte_rate`]. Returns `false` if it must not be handled: it exceeds a limit, which ends the session, or
    /// the session has ended before.
    ///
    /// Need not be called if [there is no limit](Config::has_rate_limit).
    pub fn count_message(&mut self, now: Time, len: usize) -> bool {
        if let Some(rates) = &mut self.rates
            && let Err(error) = rates.count(now, len)
        {
            self.close(now, error.into());
        }
        self.closed.is_none()
    }

    /// Returns the time at which bytes last arrived.
    pub fn last_heard(&self) -> Time {
        self.last_heard
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
        match packet {
            Packet::Message(message) => return Some(message),
            Packet::Pong(_) => {
                if let Heartbeat::Waiting { left, .. } = self.heartbeat {
                    let round_trip = left.map(|left| Micros::between(left, now));
                    if !core::mem::take(&mut self.is_ambiguous) {
                        self.round_trip = round_trip.or(self.round_trip);
                    }
                    self.heartbeat = Heartbeat::Idle(now + self.config.ping_interval);
                }
            }
            Packet::Ping(_) => self.close(now, TransportError::PingFromClient.into()),
            Packet::Close => self.close(now, CloseReason::TransportClose),
            // Only a server opens sessions, and the others have a meaning only on a connection that is being tried.
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => {}
        }
        None
    }

    // Sending.

    /// Queues messages as one unit: nothing comes between them, and all are queued or none.
    pub fn send<'a>(&mut self, parts: impl Iterator<Item = Part<'a>> + Clone) -> Result<(), SendError> {
        self.send_with(parts, SendFlags::default())
    }

    /// Does the same as [`send`](Session::send), with flags.
    ///
    /// With the policies [`WhenFull::DropNewest`](super::WhenFull::DropNewest) and
    /// [`WhenFull::DropOldest`](super::WhenFull::DropOldest), messages that may be dropped wait behind the queue once that is
    /// long, so that a ping and its pong need not wait for them.
    // Inlined, because most programs use one of its callers: `benches/count ack`.
    #[inline(always)]
    pub fn send_with<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        flags: SendFlags,
    ) -> Result<(), SendError> {
        if self.is_behind(flags) {
            return self.hold_parts(parts, flags);
        }
        let budget = self.budget();
        match &mut self.state {
            State::Streaming(streaming) => {
                budget.admit(streaming.queued(), streaming.framing.len(parts.clone()))?;
                let framing = match flags.compress {
                    true => streaming.framing,
                    false => streaming.framing.uncompressed(),
                };
                framing.write(&mut streaming.queue, parts, &self.config.deflate_pool);
            }
            State::Polling(polling) => {
                if parts.clone().any(Part::has_separator) {
                    return Err(SendError::Separator);
                }
                budget.admit(polling.payload.text().len(), Payload::len_of(parts.clone()))?;
                polling.payload.write(parts);
            }
        }
        Ok(())
    }

    #[cold]
    fn hold_parts<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        flags: SendFlags,
    ) -> Result<(), SendError> {
        if matches!(self.state, State::Polling(_)) && parts.clone().any(Part::has_separator) {
            return Err(SendError::Separator);
        }
        self.hold(&mut Frames::new(parts), flags)
    }

    /// Queues a reference to messages that were encoded for many sessions.
    pub fn send_shared(&mut self, frames: &mut Frames) -> Result<(), SendError> {
        self.send_shared_with(frames, SendFlags::default())
    }

    /// Does the same as [`send_shared`](Session::send_shared), with flags.
    pub fn send_shared_with(&mut self, frames: &mut Frames, flags: SendFlags) -> Result<(), SendError> {
        if self.is_behind(flags) {
            return self.hold(frames, flags);
        }
        let budget = self.budget();
        match &mut self.state {
            State::Streaming(streaming) => {
                let framing = match flags.compress {
                    true => streaming.framing,
                    false => streaming.framing.uncompressed(),
                };
                let frames = frames.frames(framing, &self.config.deflate_pool);
                budget.admit(streaming.queued(), frames.len())?;
                streaming.queue.push(frames.clone());
            }
            State::Polling(polling) => {
                budget.admit(polling.payload.text().len(), frames.payload().len() + 1)?;
                polling.payload.push_shared(frames);
            }
        }
        Ok(())
    }

    fn budget(&self) -> Budget {
        Budget { is_closed: self.closed.is_some(), limit: self.config.send_buffer }
    }

    /// Moves the frames that wait to the connection's own queue, while on WebSocket.
    ///
    /// Call [`set_in_flight`](Session::set_in_flight) as they are written.
    pub fn take_frames(&mut self, out: &mut Outbound) {
        self.refill();
        if let State::Streaming(streaming) = &mut self.state {
            let waiting = streaming.queue.len();
            if waiting > 0 {
                self.taken = self.taken.wrapping_add(waiting as u64);
                out.append(&mut streaming.queue);
            }
            streaming.set_in_flight(out.len());
        }
    }

    /// Sets the number of taken bytes that are not written yet.
    pub fn set_in_flight(&mut self, bytes: usize) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.set_in_flight(bytes);
        }
    }

    /// Returns the queue, so that its memory can come from a pool and return there.
    pub fn queue_mut(&mut self) -> &mut Outbound {
        match &mut self.state {
            State::Polling(polling) => polling.payload.text_mut(),
            State::Streaming(streaming) => &mut streaming.queue,
        }
    }

    // The end, and time.

    /// Ends the session. Messages that were queued before are still sent if the peer can be expected to read them.
    ///
    /// The first reason stays.
    pub fn close(&mut self, now: Time, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        let graceful = matches!(reason, CloseReason::ForcedClose(_) | CloseReason::ServerShutdown);
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
            if graceful {
                farewell = Some(latest);
            }
            // A server does not wait long for clients that are gone: those that live poll again at once.
            if reason == CloseReason::ServerShutdown && !polling.parked {
                farewell = Some(latest.min(now + self.config.shutdown_poll_timeout));
            }
        }
        self.closed = Some(Box::new(Closed { reason, farewell, latest, reported: false }));
    }

    /// Returns the time at which [`handle_timeout`](Session::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        if let Some(closed) = &self.closed {
            return closed.farewell;
        }
        let heartbeat = match self.heartbeat {
            Heartbeat::Idle(due) => due,
            Heartbeat::Waiting { deadline, .. } => deadline,
        };
        let (probe, release) = match &self.state {
            State::Polling(polling) => (
                polling.probe.as_ref().map(|probe| probe.deadline),
                // Packets that wait answer it anyway.
                polling.next_release().filter(|_| self.state.queue().is_empty()),
            ),
            State::Streaming(_) => (None, None),
        };
        earliest(earliest(Some(heartbeat), probe), release)
    }

    /// Accepts another sign of life in place of an overdue pong: bytes over WebSocket, or a poll. Then a new ping is due.
    ///
    /// Call this before [`handle_timeout`](Session::handle_timeout) while the application is behind, because the pong may
    /// have arrived and wait to be handled. If `is_deaf`, the connection is not read at all, so the peer's silence means
    /// nothing; but a ping cannot be written to a peer that is gone.
    pub fn excuse_pong(&mut self, now: Time, is_deaf: bool) {
        let Heartbeat::Waiting { left, deadline } = self.heartbeat else { return };
        if deadline > now {
            return;
        }
        let lives = match &mut self.state {
            // Each poll counts once.
            State::Polling(polling) => core::mem::take(&mut polling.polled),
            // Something was heard after the ping was due.
            State::Streaming(_) => is_deaf || self.last_heard + self.config.ping_timeout >= deadline,
        };
        if !lives {
            return;
        }
        self.heartbeat = match self.queued() {
            0 => {
                self.is_ambiguous = true;
                Heartbeat::Idle(now)
            }
            // What waits shows as much as a new ping would, and pings must not pile up.
            _ => Heartbeat::Waiting { left, deadline: now + self.config.ping_timeout },
        };
    }

    /// Handles a deadline that passed before its timer fired, because a request was faster.
    fn catch_up(&mut self, now: Time, is_behind: bool) {
        if is_behind {
            self.excuse_pong(now, false);
        }
        self.handle_timeout(now);
    }

    /// Handles that time has passed. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(closed) = &mut self.closed {
            if closed.farewell.is_some_and(|deadline| deadline <= now) {
                closed.farewell = None;
                self.state.clear();
            }
            return;
        }
        if let State::Polling(polling) = &mut self.state {
            if polling.probe.as_ref().is_some_and(|probe| probe.deadline <= now) {
                polling.probe = None;
            }
            if polling.payload.text().is_empty() {
                polling.release_poll(now);
            }
        }
        if let Heartbeat::Idle(due) = self.heartbeat
            && due <= now
        {
            let timeout = self.config.ping_timeout;
            // Counted from when the ping was due, so that timers that fire late do not add up; unless they fired
            // so late that the peer would have no time to answer.
            let sent = if now.saturating_since(due) < timeout / 4 { due } else { now };
            self.heartbeat = Heartbeat::Waiting { left: None, deadline: sent + timeout };
            self.state.push_control(b"2");
            self.controls.ping = true;
            if let State::Polling(polling) = &mut self.state {
                polling.polled = false;
            }
            if !matches!(self.state, State::Polling(Polling { parked: false, .. })) {
                self.heartbeat.leave(now);
            }
        }
        if let Heartbeat::Waiting { left, deadline } = self.heartbeat
            && deadline <= now
        {
            // A large message may delay the pong, so bytes that arrive are a sign of life, too.
            let extended = self.last_heard + self.config.ping_timeout;
            if extended > now {
                self.heartbeat = Heartbeat::Waiting { left, deadline: extended };
            } else {
                self.close(now, CloseReason::PingTimeout);
            }
        }
    }
}

/// The capacity of the send buffer.
#[derive(Clone, Copy)]
struct Budget {
    is_closed: bool,
    limit: usize,
}

impl Budget {
    /// Checks that `len` bytes, in the form in which they are queued, may be added to the `queued` ones.
    fn admit(self, queued: usize, len: usize) -> Result<(), SendError> {
        let Budget { is_closed, limit } = self;
        if is_closed {
            return Err(SendError::Closed);
        }
        if len > limit {
            return Err(SendError::TooLarge { limit });
        }
        if queued.saturating_add(len) > limit {
            return Err(SendError::Full { queued });
        }
        Ok(())
    }
}

/// A payload of one packet of the protocol itself.
fn control(packet: &'static [u8]) -> Outbound {
    let mut out = Outbound::new();
    out.push(Bytes::from_static(packet));
    out
}
