//! The socket of a client that can be recovered.

use super::Socket;
use crate::engine::{self, Id};
use crate::error::{DisconnectReason, EmitError};
use crate::payload::sealed::{Encode, Head, Kind};
use crate::payload::{Payload, send_packet, with_encoder};
use crate::server::App;
use crate::server::admission::Told;
use crate::server::app::show_packet;
use crate::server::broadcast::Broadcast;
use crate::server::joined_rooms::JoinedRooms;
use crate::server::namespace::Namespace;
use crate::server::recovery::{Recorded, Returned, Stored};
use smol_str::SmolStr;
use sockeye_core::engineio::server::SendFlags;
use sockeye_core::engineio::{CloseReason, Frames};
use sockeye_core::socketio::recovery::{Claim, Epoch, Life};
use sockeye_core::socketio::{Flags, Target};
use std::task::Waker;

/// What is needed to recover the client of a socket.
pub(super) enum Standing {
    /// The client has come back, and the application has yet to let it in.
    Returned {
        claim: Claim,
        /// What the client missed before the events in the memory of the namespace.
        earlier: Vec<Frames>,
    },
    /// The client is connected.
    Here(Life),
}

impl Socket {
    /// Returns whether the client has lost its connection for a moment, and this socket continues the one that it had: with
    /// the same id, rooms and data, and with all events that it missed.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: sockeye::Socket| {
    ///     if !socket.recovered() {
    ///         // A new client, or one that was away for too long.
    ///         socket.join("lobby");
    ///     }
    /// });
    /// ```
    ///
    /// It is always `false` without
    /// [`connection_state_recovery`](crate::ServerBuilder::connection_state_recovery).
    pub fn recovered(&self) -> bool {
        self.0.recovered
    }

    /// Returns the socket of a client that has come back.
    pub(in crate::server) fn returned(
        namespace: Namespace,
        session: engine::Session<App>,
        auth: &str,
        returned: Returned,
    ) -> Socket {
        let Returned { claim, rooms, stored, earlier } = returned;
        let socket = Socket::with(namespace, session, claim.id(), auth, true);
        {
            let mut state = socket.0.state.lock();
            let more = state.more();
            more.data = stored.values;
            rooms.into_iter().for_each(|room| more.rooms.insert(room));
            more.standing = Some(Box::new(Standing::Returned { claim, earlier }));
        }
        if let Some(expires) = stored.expires {
            socket.authenticated_until(expires);
        }
        socket
    }

    /// Returns what has to be stored of the socket.
    pub(in crate::server) fn stored(&self) -> Stored {
        let mut state = self.0.state.lock();
        let expires = state.expiry().map(|expiry| expiry.at);
        let values = state.more.as_ref().map(|more| more.data.clone()).unwrap_or_default();
        Stored { values, expires, mark: 0 }
    }

    fn take_standing(&self) -> Option<Standing> {
        self.0.state.lock().take_standing().map(|standing| *standing)
    }

    /// Takes what is needed to recover the client, if it knows the secret.
    pub(in crate::server) fn take_life(&self, secret: &Id) -> Option<Life> {
        let mut state = self.0.state.lock();
        let standing = &mut state.more.as_mut()?.standing;
        match standing.take().map(|standing| *standing) {
            Some(Standing::Here(life)) if life.secret() == *secret => Some(life),
            other => {
                *standing = other.map(Box::new);
                None
            }
        }
    }

    pub(in crate::server) fn set_rooms(&self, rooms: JoinedRooms) {
        self.0.state.lock().more().rooms = rooms;
    }

    fn set_life(&self, life: Life) {
        self.0.state.lock().more().standing = Some(Box::new(Standing::Here(life)));
    }

    /// Gives a socket up that nobody has seen, so that its client can be recovered once more.
    pub(in crate::server) fn give_back(&self) {
        let mut state = self.0.state.lock();
        let (standing, expiry) = (state.take_standing(), state.take_expiry());
        drop(state);
        self.end_expiry(expiry);
        self.end_standing(standing);
    }

    /// Ends the claim of a client that was not let in.
    pub(super) fn end_standing(&self, standing: Option<Box<Standing>>) {
        if let Some(Standing::Returned { claim, .. }) = standing.as_deref() {
            self.0.namespace.release_claim(claim);
        }
    }

    /// Tells the client what it missed and that it is connected, and becomes a member of the namespace, so that no event is
    /// sent in between. The caller must hold no lock.
    pub(in crate::server) fn enter_recoverable(&self) -> Told {
        let namespace = &self.0.namespace;
        let now = namespace.now();
        let standing = self.take_standing();
        let mut order = namespace.order();
        let Some(memory) = &mut order.memory else { return Told::Gone };
        let (life, missed) = match standing {
            Some(Standing::Returned { claim, mut earlier }) => {
                let missed: Option<Vec<_>> = memory.retained.missed(&claim).map(Iterator::collect);
                match (missed, memory.retained.recover(now, &claim)) {
                    (Some(missed), Some((life, _))) => {
                        earlier.extend(missed);
                        (life, earlier)
                    }
                    (_, recovered) => {
                        namespace.end_step(order, recovered.map(|(_, kept)| (claim.id(), kept)));
                        return Told::Lost;
                    }
                }
            }
            // The client has gone again.
            _ if self.0.recovered => return Told::Gone,
            _ => match engine::random_id() {
                Some(secret) => (memory.retained.begin(secret), Vec::new()),
                None => return Told::Lost,
            },
        };
        let pid = life.pid(self.0.id);
        let mut missed: Vec<Frames> = missed;
        let (told, follow) = self.0.session.with_later(|engine, state| {
            if engine.closed().is_some() || !state.accept(namespace.name(), self) {
                return None;
            }
            self.set_connected();
            let flags = SendFlags::default();
            let sent = missed.iter_mut().try_for_each(|frames| engine.send_shared_with(frames, flags));
            Some(sent.map_err(EmitError::from).and_then(|()| {
                send_packet(engine, namespace.0.parser, |encoder| {
                    encoder.connected_as(namespace.name(), &pid)
                })
            }))
        });
        let (told, given_up) = match told {
            Some(Ok(())) if self.enter_quietly() => {
                self.set_life(life);
                (Told::Entered, None)
            }
            told => {
                // The client may come back once more.
                let (rooms, recovered) = (self.joined(), self.0.recovered);
                let given_up = match recovered {
                    true => namespace.keep_socket(&mut order, self, life, rooms.into_iter()),
                    false => None,
                };
                match told {
                    Some(Ok(())) => (Told::NotEntered, given_up),
                    Some(Err(_)) => (Told::Slow, given_up),
                    None => (Told::Gone, given_up),
                }
            }
        };
        namespace.end_step(order, given_up);
        self.0.session.finish(follow);
        namespace.tell_changes();
        if matches!(told, Told::Entered | Told::NotEntered) {
            missed.iter().for_each(|frames| self.0.session.show_sent(frames.parts()));
            show_packet(&self.0.session, namespace.0.parser, |encoder| {
                encoder.connected_as(namespace.name(), &pid)
            });
        }
        told
    }

    /// Returns the rooms that the socket has joined before it became a member.
    fn joined(&self) -> Vec<SmolStr> {
        let state = self.0.state.lock();
        state.more.iter().flat_map(|more| more.rooms.iter().cloned()).collect()
    }

    /// Leaves the namespace at the end of the connection, and is kept if the client may come back. Returns the rooms.
    pub(super) fn leave_recoverable(&self, reason: &DisconnectReason) -> JoinedRooms {
        let namespace = &self.0.namespace;
        let mut order = namespace.order();
        let rooms = namespace.remove_quietly(self);
        let given_up = match self.take_standing() {
            Some(Standing::Here(life)) if is_recoverable(reason) => {
                namespace.keep_socket(&mut order, self, life, rooms.iter().cloned())
            }
            _ => None,
        };
        namespace.end_step(order, given_up);
        namespace.tell_changes();
        rooms
    }

    /// Sends an event that is remembered, to the client that has this socket's id by now, or when it comes back.
    pub(super) fn emit_recorded(
        &self,
        epoch: Epoch,
        event: &str,
        args: &dyn Encode,
        flags: Flags,
    ) -> Result<(), EmitError> {
        let namespace = &self.0.namespace;
        let head = Head { namespace: namespace.name(), kind: Kind::Event(event, None) };
        let (draft, outgoing) = with_encoder(namespace.0.parser, |encoder| {
            let encoded = args.encode(encoder, head)?;
            Ok::<_, EmitError>((epoch.draft(&encoded), namespace.outgoing_args(&encoded)))
        })?;
        let now = namespace.now();
        let mut woken = Vec::new();
        let mut order = namespace.order();
        let recipient = namespace.0.members.read().find_any(&self.0.id).cloned();
        let (mut frames, _) = order.number(Recorded::Draft(draft));
        let sent = match &recipient {
            Some(socket) if !socket.has_left() => socket.send_shared(&mut frames, flags, &mut woken),
            // It is about to be kept.
            Some(_) => Ok(()),
            None if order.memory.as_ref().is_some_and(|it| it.retained.is_kept(&self.0.id)) => Ok(()),
            None => Err(EmitError::Disconnected),
        };
        if sent.is_ok() {
            let mut target = Target::default();
            target.rooms.insert(&self.0.id);
            order.record(now, &target, (&frames, None));
            woken.extend(namespace.arm_memory(&mut order));
        }
        drop(order);
        let Some(socket) = recipient.filter(|socket| !socket.has_left()) else {
            woken.into_iter().for_each(Waker::wake);
            return sent;
        };
        if sent.is_ok() {
            socket.0.session.show_sent(frames.parts());
        }
        woken.into_iter().for_each(Waker::wake);
        match (&sent, outgoing) {
            (Err(EmitError::SlowConsumer { .. }), _) => socket.close_slow(),
            (Ok(()), Some(args)) if socket.is_watched() => socket.tell_outgoing(event, &args),
            _ => {}
        }
        sent
    }

    /// Sends an event by the stream that the servers share: to the client that has this socket's id when it comes back from
    /// there, on whichever server, or when the client does.
    pub(super) fn emit_over_stream(
        &self,
        event: &str,
        args: &impl Payload,
        flags: Flags,
    ) -> Result<(), EmitError> {
        let namespace = &self.0.namespace;
        let is_member = || namespace.0.members.read().find_any(&self.0.id).is_some();
        let is_kept = || namespace.order().memory.as_ref().is_some_and(|it| it.retained.is_kept(&self.0.id));
        if !is_member() && !is_kept() {
            return Err(EmitError::Disconnected);
        }
        let delivery =
            Broadcast::new(namespace.clone()).to(self.0.id.as_str()).with_flags(flags).emit_ref(event, args);
        delivery.error.map_or(Ok(()), Err)
    }

    /// Becomes a member of the namespace as [`enter`](Socket::enter) does. The caller has to call
    /// [`Namespace::tell_changes`] without a lock.
    fn enter_quietly(&self) -> bool {
        self.0.namespace.change_members_quietly(|members| {
            let is_connected = self.is_connected() && !self.0.namespace.is_closed();
            if is_connected {
                let rooms = self.0.state.lock().take_rooms();
                members.insert(self.clone(), rooms);
            }
            is_connected
        })
    }
}

/// Returns whether a client may come back after a disconnection for this reason.
fn is_recoverable(reason: &DisconnectReason) -> bool {
    match reason {
        DisconnectReason::Closed(CloseReason::ParseError(_)) => false,
        DisconnectReason::Closed(_) => true,
        _ => false,
    }
}
