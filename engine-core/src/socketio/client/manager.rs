//! A client: its connection, which is opened again when it is lost, and its namespaces.

mod join;
mod receive;
mod resume;
mod send;

use super::namespace::{Left, Namespace, State};
use super::text::Read;
use super::{Config, ConnectError, DisconnectReason, Event, NamespaceId, Offline, Text};
use crate::engineio::client::{
    CloseReason, Lane, Note, Notes, Received, Request, Session, TransportError, Want,
};
use crate::engineio::{Message, Transport};
use crate::outbound::Outbound;
use crate::random::Random;
use crate::socketio::Reassembly;
use crate::time::{Time, earliest};
use crate::websocket::{self, Deflate};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The client's side of Socket.IO: several namespaces over one connection, which is opened again when it is lost.
///
/// The byte streams belong to a driver. After each call it checks what the current
/// [generation](Client::generation) [wants](Client::wants) of each lane, and takes the
/// [events](Client::poll_event).
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    random: Random,
    link: Link,
    engine: Option<Box<Session>>,
    /// The number of the session in `engine`. Streams belong to one session.
    generation: u64,
    /// A session that this side has closed, with its number, until its last frames are transmitted.
    parting: Option<Box<(u64, Session)>>,
    /// The number of consecutive reconnection attempts without a namespace that was joined.
    attempts: u32,
    /// How far `generation` has grown since the session in `engine` began, because it went on with other streams. Saturates:
    /// the streams of so long ago have ended.
    resumed: u16,
    /// The attempt in progress is a reconnection attempt.
    reconnecting: bool,
    /// The last connection used WebSocket successfully.
    websocket_worked: bool,
    namespaces: Vec<Namespace>,
    reassembly: Reassembly,
    reassembly_deadline: Option<Time>,
    tokens: u64,
    events: VecDeque<Event>,
    /// The notes of a program that watches, while no session has them.
    notes: Option<Box<Notes>>,
}

/// Minimum of each delay and timeout, so that after each deadline the next one is later.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Idle,
    /// The connection is being opened, until this deadline.
    Opening(Time),
    Open,
    /// The connection is opened again at this time.
    Waiting(Time),
}

impl Client {
    /// Creates a client that is not connected.
    pub fn new(config: Arc<Config>, random: Random) -> Client {
        Client {
            config,
            random,
            link: Link::Idle,
            engine: None,
            generation: 0,
            parting: None,
            attempts: 0,
            resumed: 0,
            reconnecting: false,
            websocket_worked: false,
            namespaces: Vec::new(),
            reassembly: Reassembly::new(),
            reassembly_deadline: None,
            tokens: 0,
            events: VecDeque::new(),
            notes: None,
        }
    }

    // Getters.

    /// Returns the settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Removes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the queue of [events](Client::poll_event), so that its memory can come from a pool and return there.
    pub fn events_mut(&mut self) -> &mut VecDeque<Event> {
        &mut self.events
    }

    /// Writes down notes of what every session does from now on, for a program that watches:
    /// [take](Client::take_notes) them after each call. Call this before the client connects.
    pub fn begin_notes(&mut self) {
        self.notes = Some(Box::default());
    }

    /// Takes the notes of what sessions did since the last call, in order.
    pub fn take_notes(&mut self) -> Vec<Note> {
        let current = self.engine.as_mut().and_then(|engine| engine.notes_mut().as_mut());
        current.or(self.notes.as_mut()).map_or_else(Vec::new, |notes| notes.take())
    }

    /// Returns whether a namespace is joined.
    pub fn is_connected(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(|it| it.state == State::Joined)
    }

    /// Returns whether a namespace is joined, or is to be joined.
    pub fn is_active(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(Namespace::is_active)
    }

    /// Returns the id that the server assigned, while the namespace is joined.
    pub fn sid(&self, id: NamespaceId) -> Option<&str> {
        self.namespaces.get(id.index())?.sid.as_deref()
    }

    /// Returns whether the server recovered the previous connection.
    pub fn recovered(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(|it| it.recovered)
    }

    /// Returns the number of attempts to join that have failed, for [`result`](Client::result).
    pub fn failed_attempts(&self, id: NamespaceId) -> u32 {
        self.namespaces.get(id.index()).map_or(0, |it| it.results.failed)
    }

    /// Returns the result of the attempt to join a namespace, once one has ended since `failed` of them had
    /// failed; `None` while it is awaited. It is known before its [`Event`] is taken.
    pub fn result(&self, id: NamespaceId, failed: u32) -> Option<Result<(), ConnectError>> {
        self.namespaces.get(id.index()).and_then(|it| it.result(failed))
    }

    /// Returns a number that changes whenever an attempt to join a namespace has ended, so that there may be a
    /// [`result`](Client::result).
    pub fn ended_attempts(&self) -> u32 {
        self.namespaces.iter().fold(0, |sum, it| sum.wrapping_add(it.results.ended))
    }

    /// Returns the transport in use, while there is a connection.
    pub fn transport(&self) -> Option<Transport> {
        self.engine.as_ref().filter(|it| it.is_open()).map(|it| it.transport())
    }

    /// Returns whether there is no connection and none will be opened.
    pub fn is_idle(&self) -> bool {
        self.link == Link::Idle && self.engine.is_none() && self.parting.is_none()
    }

    /// Returns a random sequence for a stream.
    pub fn fork_random(&mut self) -> Random {
        self.random.fork()
    }

    /// Returns the namespace of this name, which begins with a slash.
    pub fn namespace(&mut self, name: &str) -> NamespaceId {
        if let Some(known) = self.namespaces.iter().find(|it| *it.name == *name) {
            return known.id;
        }
        let id = NamespaceId::at(self.namespaces.len());
        // Most clients have one.
        self.namespaces.reserve_exact(1);
        self.namespaces.push(Namespace::new(id, name.into()));
        id
    }

    /// Returns the name of a namespace.
    pub fn name(&self, id: NamespaceId) -> Option<&Arc<str>> {
        self.namespaces.get(id.index()).map(|it| &it.name)
    }

    // The connection.

    /// Returns the number of the current session. Streams of earlier sessions are no longer needed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn current(&mut self, generation: u64) -> Option<&mut Session> {
        self.engine.as_deref_mut().filter(|_| generation == self.generation)
    }

    /// Returns what a session wants of a lane.
    pub fn wants(&self, now: Time, generation: u64, lane: Lane) -> Want {
        match &self.engine {
            Some(engine) if generation == self.generation => engine.wants(now, lane),
            _ if self.is_given_up(generation) => Want::Abort,
            _ => Want::Nothing,
        }
    }

    /// Returns the request to write on a lane that wants one.
    pub fn begin(&mut self, now: Time, generation: u64, lane: Lane, query: &str) -> Option<Request> {
        self.current(generation)?.begin(now, lane, query)
    }

    /// Moves the frames for the WebSocket connection to `out`. Call this once `out` is written. Returns whether
    /// messages waited for capacity, so that there may be events.
    pub fn transmit(&mut self, now: Time, generation: u64, out: &mut Outbound) -> bool {
        if let Some(engine) = self.current(generation) {
            engine.transmit(out);
            let waits = self.namespaces.iter().any(Namespace::waits_for_capacity);
            if waits {
                self.follow_engine(now);
            }
            return waits;
        }
        if let Some(mut parting) = self.parting.take_if(|parting| parting.0 == generation) {
            parting.1.transmit(out);
        }
        false
    }

    /// Returns the queue of the bytes to transmit, if there is a session, so that its memory can come from a pool and
    /// return there.
    pub fn queue_mut(&mut self) -> Option<&mut Outbound> {
        self.engine.as_mut().map(|engine| engine.queue_mut())
    }

    /// Returns whether [`transmit`](Client::transmit) has something to move.
    pub fn wants_transmit(&self, generation: u64) -> bool {
        match &self.engine {
            Some(engine) if generation == self.generation => engine.wants_transmit(),
            _ => self.parting.as_ref().is_some_and(|parting| parting.0 == generation),
        }
    }

    /// Returns whether any namespace is joined.
    pub fn is_any_connected(&self) -> bool {
        self.namespaces.iter().any(|it| it.state == State::Joined)
    }

    /// Sets whether the driver does not read because the application has fallen behind, which is then the reason for a
    /// missing ping.
    pub fn set_behind(&mut self, is_behind: bool) {
        if let Some(engine) = &mut self.engine {
            engine.set_behind(is_behind);
        }
    }

    /// Ends the connection immediately, and leaves all namespaces, because there will be no more streams.
    pub fn give_up(&mut self, now: Time, error: TransportError) {
        if let Some(engine) = &mut self.engine {
            engine.fail(error.into());
        }
        self.follow_engine(now);
        self.close(now);
        self.parting = None;
    }

    /// Ends a session because too many events wait for the application.
    pub fn fall_behind(&mut self, now: Time, generation: u64) {
        if let Some(engine) = self.current(generation) {
            engine.fail(CloseReason::Behind);
        }
        self.follow_engine(now);
    }

    /// Notes that bytes arrived: the server is alive.
    pub fn heard(&mut self, now: Time, generation: u64) {
        if let Some(engine) = self.current(generation) {
            engine.heard(now);
        }
    }

    /// Sets the compression that was negotiated for a session's WebSocket connection. Call this before
    /// [`handle_response`](Client::handle_response) for the answer to the handshake.
    pub fn set_deflate(&mut self, generation: u64, deflate: Option<Deflate>) {
        if let Some(engine) = self.current(generation) {
            engine.set_deflate(deflate);
        }
    }

    /// Handles a response. Returns the payload of a poll, if it has packets: read each of them with [`Text::read`], pass
    /// it to [`handle_text`](Client::handle_text), and then call [`end_poll`](Client::end_poll). Until then, nothing else
    /// has changed.
    pub fn handle_response<'b>(
        &mut self,
        now: Time,
        generation: u64,
        lane: Lane,
        status: u16,
        body: &'b [u8],
    ) -> Option<&'b str> {
        let payload = self.current(generation)?.handle_response(now, lane, status, body);
        if payload.is_some_and(|payload| !payload.is_empty()) {
            return payload;
        }
        if payload.is_some() {
            self.end_poll(now, generation);
        }
        self.follow_engine(now);
        None
    }

    /// Ends a poll, all packets of whose payload were handled.
    pub fn end_poll(&mut self, now: Time, generation: u64) {
        if let Some(engine) = self.current(generation) {
            engine.end_poll(now);
        }
        self.follow_engine(now);
    }

    /// Handles a packet of a poll's payload, or a message that arrived over WebSocket.
    pub fn handle_text(&mut self, now: Time, generation: u64, lane: Lane, text: Text<'_>) {
        self.receive_packet(now, generation, lane, text);
        self.follow_engine(now);
    }

    /// Handles a message that arrived over WebSocket. For a text or a binary message, prefer
    /// [`handle_text`](Client::handle_text).
    pub fn handle_message(&mut self, now: Time, generation: u64, message: &websocket::Message<'_>) {
        match message {
            websocket::Message::Text(text) => {
                let text = Text::read(text, self.config.parser, &self.config.limits);
                self.receive_packet(now, generation, Lane::WebSocket, text);
            }
            websocket::Message::Binary(data) => {
                let binary = Text::read_binary(data, self.config.parser, &self.config.limits);
                self.receive_packet(now, generation, Lane::WebSocket, binary);
            }
            websocket::Message::Close(frame) => {
                let code = frame.map(|frame| frame.code);
                if let Some(engine) = self.current(generation) {
                    engine.handle_close_frame(now, code);
                }
            }
            websocket::Message::Pong(data) => self.handle_pong(now, generation, data),
            websocket::Message::Ping(_) => {}
        }
        self.follow_engine(now);
    }

    fn receive_packet(&mut self, now: Time, generation: u64, lane: Lane, text: Text<'_>) {
        let Some(engine) = self.current(generation) else { return };
        let packet = match text.packet {
            Ok(packet) => packet,
            Err(error) => return engine.handle_unreadable(now, lane, error),
        };
        match engine.handle_packet(now, lane, packet) {
            Received::Open => self.opened(now),
            Received::Resumed => self.resumed(now),
            Received::Replaced(unconfirmed) => self.replaced(now, *unconfirmed),
            Received::Message(Message::Binary(data)) if matches!(text.read, Read::Nothing) => {
                self.receive_binary(now, &data);
            }
            Received::Message(_) => self.receive_read(now, text.read),
            // Pings that wait to be reported are reported as one, because a server may send any number of them.
            Received::Ping if self.events.back() == Some(&Event::Ping) => {}
            Received::Ping => self.events.push_back(Event::Ping),
            Received::Nothing => {}
        }
    }

    /// Handles that a lane's stream could not be opened, or broke.
    pub fn handle_failed(&mut self, now: Time, generation: u64, lane: Lane, error: TransportError) {
        match self.current(generation) {
            Some(engine) => engine.handle_failed(now, lane, error),
            None => self.forget_parting(generation, lane),
        }
        self.follow_engine(now);
    }

    /// Handles the end of a lane's stream.
    pub fn handle_eof(&mut self, now: Time, generation: u64, lane: Lane) {
        match self.current(generation) {
            Some(engine) => engine.handle_eof(now, lane),
            None => self.forget_parting(generation, lane),
        }
        self.follow_engine(now);
    }

    /// Forgets a closed session whose last frames cannot be transmitted any more.
    fn forget_parting(&mut self, generation: u64, lane: Lane) {
        self.parting.take_if(|parting| lane == Lane::WebSocket && parting.0 == generation);
    }

    fn open_engine(&mut self, now: Time) {
        self.generation += 1;
        self.resumed = 0;
        let worked = self.websocket_worked && self.config.remember_upgrade;
        let mut engine = Session::open(now, self.config.engine.clone(), self.random.fork(), worked);
        if let Some(notes) = self.notes.take() {
            engine.set_notes(notes);
        }
        self.link = Link::Opening(now + self.patience());
        self.engine = Some(Box::new(engine));
        self.follow_engine(now);
    }

    fn opened(&mut self, now: Time) {
        self.link = Link::Open;
        if core::mem::take(&mut self.reconnecting) {
            self.events.push_back(Event::Reconnect(self.attempts));
        }
        self.join_wanted(now);
    }

    /// Follows a session that has ended, or that has capacity again.
    fn follow_engine(&mut self, now: Time) {
        let Some(engine) = &mut self.engine else { return };
        if engine.is_detached() && engine.closed().is_none() {
            return self.follow_detached(now);
        }
        if engine.is_open() && engine.transport() == Transport::WebSocket {
            self.websocket_worked = true;
        }
        let Some(reason) = engine.closed().cloned() else {
            let has_read = !engine.awaits_read();
            for at in 0..self.namespaces.len() {
                let Some(namespace) = self.namespaces.get(at) else { continue };
                let waits = namespace.waits_for_capacity();
                if has_read && namespace.left != Left::No {
                    self.left_was_read(now, NamespaceId::at(at), Left::Read);
                }
                if waits {
                    self.flush(now, NamespaceId::at(at));
                }
            }
            return;
        };
        let Some(mut engine) = self.engine.take() else { return };
        self.notes = engine.notes_mut().take();
        if matches!(reason, CloseReason::TransportError(_)) {
            self.websocket_worked = false;
        }
        // A session that was being resumed was open.
        let was_open = self.link == Link::Open || engine.lost().is_some();
        // What was sent before an ordinary close arrives before it.
        let is_lost = reason != CloseReason::Client || engine.lost().is_some();
        let unconfirmed = engine.take_unconfirmed();
        // When polling, everything was sent before the end.
        if reason == CloseReason::Client && engine.wants_transmit() {
            self.parting = Some(Box::new((self.generation, *engine)));
        }
        self.leave_all(&reason);
        if is_lost {
            self.report_lost(unconfirmed);
        }
        self.link = Link::Idle;
        if !self.namespaces.iter().any(Namespace::is_active) {
            return;
        }
        match reason {
            // It was closed, and connected again before it had ended.
            CloseReason::Client => self.open_engine(now),
            reason => self.reconnect(now, was_open, reason),
        }
    }

    /// Handles that the session has ended for all namespaces. Those that are active are to be joined with the next one.
    fn leave_all(&mut self, reason: &CloseReason) {
        self.reassembly.clear();
        self.reassembly_deadline = None;
        for namespace in &mut self.namespaces {
            (namespace.unanswered, namespace.left) = (None, Left::No);
            if !namespace.is_active() {
                continue;
            }
            let was_joined = namespace.state == State::Joined;
            // The attempt ended with its session.
            namespace.attempt = namespace.attempt.wrapping_add(1);
            namespace.leave(State::Wanted, self.config.retries, &mut self.events);
            if was_joined {
                let reason = DisconnectReason::Closed(reason.clone());
                self.events.push_back(Event::Disconnected(namespace.id, reason));
            } else if *reason != CloseReason::Client {
                namespace.report_failure(ConnectError::Closed(reason.clone()), &mut self.events);
            }
        }
    }

    /// Returns whether there is another attempt after this number of consecutive failures.
    fn tries_again(&self, attempts: u32) -> bool {
        self.config.reconnection && self.config.reconnection_attempts.is_none_or(|max| attempts < max)
    }

    /// Returns the delay after this number of consecutive failures.
    fn back_off(&mut self, attempts: u32) -> Duration {
        let config = &self.config;
        let doubled = config.reconnection_delay.saturating_mul(1 << attempts.min(20));
        let delay =
            self.random.jitter(doubled.min(config.reconnection_delay_max), config.randomization_factor);
        // An excess over the maximum is subtracted from it, because otherwise many clients would wait exactly the
        // maximum.
        let max = config.reconnection_delay_max;
        delay.min(max.saturating_sub(delay.saturating_sub(max))).max(SHORTEST)
    }

    /// Returns the timeout of each step of connecting.
    fn patience(&self) -> Duration {
        self.config.timeout.max(SHORTEST)
    }

    /// Waits for the next attempt, if there is another one.
    fn reconnect(&mut self, now: Time, was_open: bool, reason: CloseReason) {
        if self.reconnecting && !was_open {
            self.events.push_back(Event::ReconnectError(reason));
        }
        if !self.tries_again(self.attempts) {
            if self.config.reconnection {
                self.events.push_back(Event::ReconnectFailed);
            }
            self.attempts = 0;
            self.reconnecting = false;
            for namespace in &mut self.namespaces {
                namespace.state = State::Idle;
            }
            return;
        }
        let delay = self.back_off(self.attempts);
        self.attempts += 1;
        self.reconnecting = true;
        self.link = Link::Waiting(now + delay);
    }

    fn close_if_unused(&mut self, now: Time) {
        if self.namespaces.iter().any(|it| it.is_active() || matches!(it.left, Left::Untold(_))) {
            return;
        }
        self.attempts = 0;
        self.reconnecting = false;
        match &mut self.engine {
            Some(engine) => engine.close(now),
            None => self.link = Link::Idle,
        }
        self.follow_engine(now);
    }

    // Time.

    /// Returns the next time at which [`handle_timeout`](Client::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let own = match self.link {
            Link::Opening(deadline) | Link::Waiting(deadline) => Some(deadline),
            Link::Idle | Link::Open => None,
        };
        let mut next = earliest(own, self.reassembly_deadline);
        next = earliest(next, self.engine.as_ref().and_then(|it| it.next_deadline()));
        let age = self.offline_age();
        self.namespaces.iter().fold(next, |next, namespace| earliest(next, namespace.next_deadline(age)))
    }

    fn offline_age(&self) -> Option<Duration> {
        match self.config.offline {
            Offline::Buffer { age, .. } => age,
            Offline::Fail => None,
        }
    }

    /// Handles that time has passed. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        if let Some(engine) = &mut self.engine {
            engine.handle_timeout(now);
        }
        match self.link {
            Link::Opening(deadline) if deadline <= now => {
                if let Some(engine) = &mut self.engine {
                    engine.fail_attempt(TransportError::Connect("timeout".into()).into());
                }
            }
            Link::Waiting(until)
                if until <= now && self.engine.as_ref().is_none_or(|it| it.closed().is_none()) =>
            {
                self.events.push_back(Event::ReconnectAttempt(self.attempts));
                match &mut self.engine {
                    Some(engine) => {
                        engine.resume();
                        self.link = Link::Opening(now + self.patience());
                    }
                    None => self.open_engine(now),
                }
            }
            _ => {}
        }
        if self.reassembly_deadline.is_some_and(|deadline| deadline <= now) {
            self.reassembly_deadline = None;
            self.break_off(&"the attachments of a packet took too long");
        }
        let age = self.offline_age();
        for at in 0..self.namespaces.len() {
            let Some(namespace) = self.namespaces.get_mut(at) else { continue };
            namespace.handle_timeout(now, age, &mut self.events);
            self.expire_left(now, NamespaceId::at(at));
            self.expire_join(now, NamespaceId::at(at));
            self.expire_retry(now, NamespaceId::at(at));
        }
        self.follow_engine(now);
    }
}
