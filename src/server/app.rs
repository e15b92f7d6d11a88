//! The Socket.IO layer on top of the Engine.IO sessions: the handling of its clients' messages.

use super::cluster::OnClusterEvent;
use super::hand_over::Handed;
use super::idempotency::Idempotency;
use super::namespaces::Namespaces;
use super::recovery::Recovery;
use super::socket::{CLOSED_BY_SERVER, Socket};
use super::v2::is_v2;
use crate::engine::{self, Batch, CloseReason, Message, Session};
use crate::error::DisconnectReason;
use crate::failed_event::OnFailure;
use crate::payload::with_encoder;
use smallvec::SmallVec;
use sockeye_core::Time;
use sockeye_core::socketio::{
    self, Attached, Decoded, EncodeError, Encoded, Encoder, Limits, Packet, Parser, ProtocolError, Received,
};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The Socket.IO layer on top of the Engine.IO sessions.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct App {
    pub(crate) parser: Parser,
    pub(super) limits: Limits,
    pub(super) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(super) packet_timeout: Duration,
    pub(crate) max_rooms: usize,
    pub(super) namespaces: Namespaces,
    pub(super) state: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub(super) on_handler_error: Option<OnFailure<Socket>>,
    pub(super) recovery: Option<Recovery>,
    /// What an earlier process has handed over.
    pub(super) handed: Option<Arc<Handed>>,
    pub(super) idempotency: Arc<Idempotency>,
    pub(super) on_cluster_event: Option<OnClusterEvent>,
}

impl Default for App {
    fn default() -> Self {
        App {
            parser: Parser::default(),
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(45),
            ack_timeout: Duration::from_secs(30),
            packet_timeout: Duration::from_secs(30),
            max_rooms: 100_000,
            namespaces: Namespaces::default(),
            state: HashMap::new(),
            on_handler_error: None,
            recovery: None,
            handed: None,
            idempotency: Arc::default(),
            on_cluster_event: None,
        }
    }
}

impl App {
    pub(crate) fn state<T: Clone + 'static>(&self) -> Option<T> {
        self.state.get(&TypeId::of::<T>())?.downcast_ref::<T>().cloned()
    }
}

/// Passes a packet that was queued by [`send_packet`](crate::payload::send_packet) to the observer, if there is one.
/// The caller must hold no lock.
pub(super) fn show_packet(
    session: &Session<App>,
    parser: Parser,
    packet: impl for<'e> FnOnce(&'e mut Encoder) -> Result<Encoded<'e>, EncodeError>,
) {
    if session.is_observed() {
        with_encoder(parser, |encoder| {
            if let Ok(encoded) = packet(encoder) {
                session.show_sent(encoded.parts());
            }
        });
    }
}

impl App {
    /// Handles a message that is more than a plain packet.
    // Not inlined, so that the code for plain packets lies together: `benches/count ack`.
    #[inline(never)]
    fn handle_other(&self, now: Time, session: &Session<App>, decoded: Decoded<'_>) {
        let mut was_connected = false;
        let received = session.peek(|_, state| {
            let received = state.handle_message(now, decoded, &self.limits);
            if let Ok(Received::Disconnect(socket)) = &received {
                was_connected = socket.set_left();
            }
            received
        });
        match received {
            Ok(Received::Packet(socket, packet)) => handle_packet(&socket, &packet, Attached::default()),
            Ok(Received::Complete(socket, complete)) => {
                handle_packet(&socket, &complete.packet(), complete.attachments());
            }
            Ok(Received::Connect(packet)) => self.connect(session, packet),
            Ok(Received::ConnectWhole(complete)) => self.connect(session, complete.packet()),
            Ok(Received::Disconnect(socket)) if was_connected => {
                socket.closed(&DisconnectReason::ClientNamespaceDisconnect);
            }
            Ok(Received::Disconnect(socket)) => socket.release(),
            // Attachments that follow have to arrive in time.
            Ok(Received::Nothing) => session.update_deadline(),
            Err(error) => close_for(session, &error),
        }
    }
}

/// Returns the socket that a packet is for. Closes the session if there is none, and the packet should not have been sent.
#[inline(never)]
fn look_up(session: &Session<App>, packet: &Packet<'_>) -> Option<Socket> {
    match session.peek(|_, state| state.socket_for(packet)) {
        Ok(socket) => socket,
        Err(error) => {
            close_for(session, &error);
            None
        }
    }
}

/// Closes the session of a client that broke the protocol.
#[cold]
fn close_for(session: &Session<App>, error: &ProtocolError) {
    session.close_with(CloseReason::ForcedClose(Some(error.to_string())));
}

/// Handles an event or an acknowledgement.
// Inlined, so that the attachments are not moved: `benches/count ack16`.
#[inline(always)]
fn handle_packet(socket: &Socket, packet: &Packet<'_>, attachments: Attached<'_>) {
    let Some(args) = packet.args(attachments) else { return };
    if let Some(event) = packet.event() {
        socket.dispatch(&event, &args, packet.id);
    } else if let Some(id) = packet.id {
        socket.acknowledged(id, args);
    }
}

impl engine::Application for App {
    type State = socketio::server::Session<Socket>;

    fn on_open(&self, session: &Session<Self>) {
        let now = session.now();
        session.peek(|_, state| state.open(now, self.connect_timeout));
        if is_v2(session) {
            self.connect(session, Packet::connect());
        }
    }

    fn on_message(&self, session: &Session<Self>, mut message: Message<'_>) {
        self.on_batched_message(session, &mut message, &mut Batch::default(), &|| session.now());
    }

    #[inline]
    fn begin_batch(state: &Self::State) -> Batch {
        let mut batch = Batch::default();
        if let Some(socket) = state.first_socket() {
            socket.keep_in(&mut batch);
        }
        batch
    }

    fn on_batched_message(
        &self,
        session: &Session<Self>,
        message: &mut Message<'_>,
        batch: &mut Batch,
        clock: &dyn Fn() -> Time,
    ) {
        // Decoded without the lock, so that threads that send to this client need not wait.
        let decoded = self.parser.decode(message, &self.limits);
        // The socket of the message before this one, or of the first namespace.
        let known = Socket::take_from(batch);
        let Some(packet) = decoded.plain() else { return self.handle_other(clock(), session, decoded) };
        let socket = match known {
            // Not looked up, which takes the session's lock: `benches/count ack16`.
            Some(socket) if socket.is_in(packet.namespace) => socket,
            _ => match look_up(session, packet) {
                Some(socket) => socket,
                None => return,
            },
        };
        handle_packet(&socket, packet, Attached::default());
        socket.keep_in(batch);
    }

    fn on_upgrade(&self, session: &Session<Self>) {
        let sockets: SmallVec<[Socket; 1]> = session.peek(|_, state| state.sockets().cloned().collect());
        sockets.iter().for_each(Socket::upgraded);
    }

    fn on_close(&self, session: &Session<Self>, reason: &CloseReason) {
        let reason = match *reason == CLOSED_BY_SERVER {
            true => DisconnectReason::ServerNamespaceDisconnect,
            false => DisconnectReason::Closed(reason.clone()),
        };
        // Ended without the lock, including those that were never let in.
        let sockets: SmallVec<[_; 1]> =
            session.peek(|_, state| state.take_all().map(|socket| (socket.set_left(), socket)).collect());
        for (was_connected, socket) in sockets {
            match was_connected {
                true => socket.closed(&reason),
                false => socket.release(),
            }
        }
    }

    fn next_deadline(state: &Self::State) -> Option<Time> {
        state.next_deadline()
    }

    fn postpone(state: &mut Self::State, away: Duration) {
        state.postpone(away);
    }

    fn handle_timeout(state: &mut Self::State, now: Time) -> Option<CloseReason> {
        let error = state.handle_timeout(now).err()?;
        Some(CloseReason::ForcedClose(Some(error.to_string())))
    }
}
