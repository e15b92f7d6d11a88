//! The connection of a client, which comes and goes, and what its namespaces make of it.

mod join;
mod receive;
mod send;

use super::namespace::{Left, Namespace, State};
use super::text::Read;
use super::{Config, ConnectError, DisconnectReason, Event, NamespaceId, Offline, Text};
use crate::engineio::client::{CloseReason, Lane, Received, Request, Session, TransportError, Want};
use crate::engineio::{Message, Packet as EnginePacket, Transport, split_payload};
use crate::outbound::Outbound;
use crate::random::Random;
use crate::socketio::parser::text::Reassembly;
use crate::time::{Time, earliest};
use crate::websocket::{self, Deflate};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The client's side of Socket.IO: several namespaces over one connection, which is opened again when it is lost.
///
/// The byte streams belong to a driver, which looks after each call at what is [wanted](Client::wants) of each lane of
/// the current [generation](Client::generation), and takes the [events](Client::poll_event).
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    random: Random,
    link: Link,
    engine: Option<Box<Session>>,
    /// Names the session in `engine`: each has other streams.
    generation: u64,
    /// A session that this side has closed, until its last words are fetched.
    parting: Option<(u64, Box<Session>)>,
    /// How many attempts were made in a row to open the connection again, and to join a namespace by it.
    attempts: u32,
    /// The attempt under way is one of those.
    reconnecting: bool,
    /// WebSocket worked the last time.
    websocket_worked: bool,
    namespaces: Vec<Namespace>,
    reassembly: Reassembly,
    reassembly_deadline: Option<Time>,
    tokens: u64,
    events: VecDeque<Event>,
}

/// No wait is shorter, so that after each deadline the next one is later.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Idle,
    /// The connection has to be open until then.
    Opening(Time),
    Open,
    /// The connection is opened again then.
    Waiting(Time),
}

impl Client {
    /// A client that is not connected.
    pub fn new(config: Arc<Config>, random: Random) -> Client {
        Client {
            config,
            random,
            link: Link::Idle,
            engine: None,
            generation: 0,
            parting: None,
            attempts: 0,
            reconnecting: false,
            websocket_worked: false,
            namespaces: Vec::new(),
            reassembly: Reassembly::new(),
            reassembly_deadline: None,
            tokens: 0,
            events: VecDeque::new(),
        }
    }

    // Getters.

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What [`poll_event`](Client::poll_event) has to give. The queue's memory may come from a pool, and go back there.
    pub fn events_mut(&mut self) -> &mut VecDeque<Event> {
        &mut self.events
    }

    /// Whether a namespace is joined.
    pub fn is_connected(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(|it| it.state == State::Joined)
    }

    /// Whether a namespace is wanted: joined, or to be joined.
    pub fn is_active(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(Namespace::is_active)
    }

    /// The id that the server gave, while a namespace is joined.
    pub fn sid(&self, id: NamespaceId) -> Option<&str> {
        self.namespaces.get(id.index())?.sid.as_deref()
    }

    /// Whether the server took the last connection as a continuation of the one before.
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

    /// The transport in use, while there is a connection.
    pub fn transport(&self) -> Option<Transport> {
        self.engine.as_ref().filter(|it| it.is_open()).map(|it| it.transport())
    }

    /// Whether nothing goes on: no connection, and none is going to be opened.
    pub fn is_idle(&self) -> bool {
        self.link == Link::Idle && self.engine.is_none() && self.parting.is_none()
    }

    /// Randomness for a stream.
    pub fn fork_random(&mut self) -> Random {
        self.random.fork()
    }

    /// A namespace by its name, which begins with a slash.
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

    /// The name of a namespace.
    pub fn name(&self, id: NamespaceId) -> Option<&Arc<str>> {
        self.namespaces.get(id.index()).map(|it| &it.name)
    }

    // The connection.

    /// Names the current session; streams of an earlier one are of no use any more.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn current(&mut self, generation: u64) -> Option<&mut Session> {
        self.engine.as_deref_mut().filter(|_| generation == self.generation)
    }

    /// What is wanted of a lane of a session.
    pub fn wants(&self, now: Time, generation: u64, lane: Lane) -> Want {
        match &self.engine {
            Some(engine) if generation == self.generation => engine.wants(now, lane),
            _ => Want::Nothing,
        }
    }

    /// The request to be written on a lane that wants one.
    pub fn begin(&mut self, now: Time, generation: u64, lane: Lane, query: &str) -> Option<Request> {
        self.current(generation)?.begin(now, lane, query)
    }

    /// Moves what is for the WebSocket connection to `out`, once that is written. Whether that made room for what
    /// waited, so that there may be events.
    pub fn transmit(&mut self, now: Time, generation: u64, out: &mut Outbound) -> bool {
        if let Some(engine) = self.current(generation) {
            engine.transmit(out);
            let waits = self.namespaces.iter().any(Namespace::waits_for_capacity);
            if waits {
                self.follow_engine(now);
            }
            return waits;
        }
        if let Some((_, mut engine)) = self.parting.take_if(|(parting, _)| *parting == generation) {
            engine.transmit(out);
        }
        false
    }

    /// Where what is sent waits to be transmitted, if there is a session. Its memory may come from a pool, and go back
    /// there.
    pub fn queue_mut(&mut self) -> Option<&mut Outbound> {
        self.engine.as_mut().map(|engine| engine.queue_mut())
    }

    /// Whether [`transmit`](Client::transmit) has something.
    pub fn wants_transmit(&self, generation: u64) -> bool {
        match &self.engine {
            Some(engine) if generation == self.generation => engine.wants_transmit(),
            _ => self.parting.as_ref().is_some_and(|(parting, _)| *parting == generation),
        }
    }

    /// Whether any namespace is joined.
    pub fn is_any_connected(&self) -> bool {
        self.namespaces.iter().any(|it| it.state == State::Joined)
    }

    /// Whether the driver leaves the server unread because the application has fallen behind: then that is why no ping
    /// came.
    pub fn set_behind(&mut self, is_behind: bool) {
        if let Some(engine) = &mut self.engine {
            engine.set_behind(is_behind);
        }
    }

    /// Ends the connection at once, and leaves all namespaces: there will be no more streams, for this reason.
    pub fn give_up(&mut self, now: Time, error: TransportError) {
        if let Some(engine) = &mut self.engine {
            engine.fail(error.into());
        }
        self.follow_engine(now);
        self.close(now);
        self.parting = None;
    }

    /// Ends the connection because more events wait for the application than may.
    pub fn fall_behind(&mut self, now: Time) {
        if let Some(engine) = &mut self.engine {
            engine.fail(CloseReason::Behind);
        }
        self.follow_engine(now);
    }

    /// Bytes arrived on a lane.
    pub fn heard(&mut self, now: Time, generation: u64) {
        if let Some(engine) = self.current(generation) {
            engine.heard(now);
        }
    }

    /// What was agreed on for a session's WebSocket connection, whose handshake was answered: how messages are
    /// compressed. To be called before [`handle_response`](Client::handle_response).
    pub fn set_deflate(&mut self, generation: u64, deflate: Option<Deflate>) {
        if let Some(engine) = self.current(generation) {
            engine.set_deflate(deflate);
        }
    }

    /// A response arrived.
    pub fn handle_response(&mut self, now: Time, generation: u64, lane: Lane, status: u16, body: &[u8]) {
        let Some(engine) = self.current(generation) else { return };
        if let Some(text) = engine.handle_response(now, lane, status, body) {
            for packet in split_payload(text) {
                self.receive_packet(now, generation, lane, Text::read(packet, &self.config.limits));
            }
            if let Some(engine) = self.current(generation) {
                engine.end_poll(now);
            }
        }
        self.follow_engine(now);
    }

    /// Handles a text message that arrived over WebSocket.
    pub fn handle_text(&mut self, now: Time, generation: u64, text: Text<'_>) {
        self.receive_packet(now, generation, Lane::WebSocket, text);
        self.follow_engine(now);
    }

    /// Handles a message that arrived over WebSocket. For a text message, prefer
    /// [`handle_text`](Client::handle_text).
    pub fn handle_message(&mut self, now: Time, generation: u64, message: &websocket::Message<'_>) {
        match message {
            websocket::Message::Text(text) => {
                let text = Text::read(text, &self.config.limits);
                self.receive_packet(now, generation, Lane::WebSocket, text);
            }
            websocket::Message::Binary(data) => {
                let packet = Ok(EnginePacket::Message(Message::Binary(Cow::Borrowed(data))));
                let binary = Text { packet, read: Read::Nothing };
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
            Received::Message(Message::Text(_)) => self.receive_text(now, text.read),
            Received::Message(Message::Binary(data)) => self.receive_binary(now, &data),
            // Pings that wait to be reported are reported as one, because a server may send any number of them.
            Received::Ping if self.events.back() == Some(&Event::Ping) => {}
            Received::Ping => self.events.push_back(Event::Ping),
            Received::Nothing => {}
        }
    }

    /// A lane's stream could not be opened, or broke.
    pub fn handle_failed(&mut self, now: Time, generation: u64, lane: Lane, error: TransportError) {
        match self.current(generation) {
            Some(engine) => engine.handle_failed(now, lane, error),
            None => self.forget_parting(generation, lane),
        }
        self.follow_engine(now);
    }

    /// A lane's stream ended, and nothing said why.
    pub fn handle_eof(&mut self, now: Time, generation: u64, lane: Lane) {
        match self.current(generation) {
            Some(engine) => engine.handle_eof(now, lane),
            None => self.forget_parting(generation, lane),
        }
        self.follow_engine(now);
    }

    /// Nobody will fetch the last words of a session.
    fn forget_parting(&mut self, generation: u64, lane: Lane) {
        self.parting.take_if(|(parting, _)| lane == Lane::WebSocket && *parting == generation);
    }

    fn open_engine(&mut self, now: Time) {
        self.generation += 1;
        let worked = self.websocket_worked && self.config.remember_upgrade;
        let engine = Session::open(now, self.config.engine.clone(), self.random.fork(), worked);
        self.link = Link::Opening(now + self.patience());
        self.engine = Some(Box::new(engine));
        self.follow_engine(now);
    }

    fn opened(&mut self, now: Time) {
        self.link = Link::Open;
        if core::mem::take(&mut self.reconnecting) {
            self.events.push_back(Event::Reconnect(self.attempts));
        }
        for at in 0..self.namespaces.len() {
            if self.namespaces.get(at).is_some_and(|it| it.state == State::Wanted) {
                self.ask_to_join(now, NamespaceId::at(at));
            }
        }
    }

    /// Follows a session that has ended, or that has capacity again.
    fn follow_engine(&mut self, now: Time) {
        let Some(engine) = &mut self.engine else { return };
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
        let Some(engine) = self.engine.take() else { return };
        if matches!(reason, CloseReason::TransportError(_)) {
            self.websocket_worked = false;
        }
        // By polling they were sent before the end.
        if reason == CloseReason::Client && engine.wants_transmit() {
            self.parting = Some((self.generation, engine));
        }
        self.reassembly.clear();
        self.reassembly_deadline = None;
        let was_open = self.link == Link::Open;
        for namespace in &mut self.namespaces {
            (namespace.unanswered, namespace.left) = (None, Left::No);
            if !namespace.is_active() {
                continue;
            }
            let was_joined = namespace.state == State::Joined;
            // With the session that it was asked of.
            namespace.attempt = namespace.attempt.wrapping_add(1);
            namespace.leave(State::Wanted, self.config.retries, &mut self.events);
            if was_joined {
                let reason = DisconnectReason::Closed(reason.clone());
                self.events.push_back(Event::Disconnected(namespace.id, reason));
            } else if reason != CloseReason::Client {
                namespace.report_failure(ConnectError::Closed(reason.clone()), &mut self.events);
            }
        }
        self.link = Link::Idle;
        if !self.namespaces.iter().any(Namespace::is_active) {
            return;
        }
        match reason {
            // It was closed, and wanted again before it had ended.
            CloseReason::Client => self.open_engine(now),
            reason => self.reconnect(now, was_open, reason),
        }
    }

    /// Whether there is another attempt after so many in a row that failed.
    fn tries_again(&self, attempts: u32) -> bool {
        self.config.reconnection && self.config.reconnection_attempts.is_none_or(|max| attempts < max)
    }

    /// How long to wait after so many attempts in a row that failed.
    fn back_off(&mut self, attempts: u32) -> Duration {
        let config = &self.config;
        let doubled = config.reconnection_delay.saturating_mul(1 << attempts.min(20));
        let delay =
            self.random.jitter(doubled.min(config.reconnection_delay_max), config.randomization_factor);
        // What is too long is so much shorter instead: not all clients at the most that there may be.
        let max = config.reconnection_delay_max;
        delay.min(max.saturating_sub(delay.saturating_sub(max))).max(SHORTEST)
    }

    /// How long anything may take that belongs to connecting.
    fn patience(&self) -> Duration {
        self.config.timeout.max(SHORTEST)
    }

    /// Waits for the next attempt, if there is to be one.
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

    /// When [`handle_timeout`](Client::handle_timeout) has something to do.
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

    /// Time passed. Does nothing before the deadline.
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
                    engine.fail(TransportError::Connect("timeout".into()).into());
                }
            }
            Link::Waiting(until) if until <= now => {
                self.events.push_back(Event::ReconnectAttempt(self.attempts));
                self.open_engine(now);
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
