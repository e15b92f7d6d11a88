//! Messages to many sockets.

use crate::error::EmitError;
use crate::log::debug;
use crate::payload::sealed::{Head, Kind};
use crate::payload::{Payload, with_encoder};
use crate::server::ack::Waiter;
use crate::server::answers::AckStream;
use crate::server::cast::Cast;
use crate::server::cluster::{Gathering, Link};
use crate::server::namespace::Namespace;
use crate::server::recovery::{Numbering, Recorded};
use crate::server::room_names::{self, RoomNames};
use crate::server::socket::Socket;
use crate::server::wakes;
use smol_str::SmolStr;
use sockeye_core::cluster::{BusEvent, Reply};
use sockeye_core::engineio::Frames;
use sockeye_core::socketio::recovery::{Epoch, StreamPosition};
use sockeye_core::socketio::{EncodeError, Encoded, Flags, OwnedArgs, Rooms, Target};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The recipients of a message and the flags for sending it, made by [`Namespace::to`], [`Socket::broadcast`]
/// and similar methods.
///
/// The message is encoded once, and every recipient's queue holds a reference to it.
///
/// When `emit` returns, the message is queued for every recipient, so what the same thread sends afterwards arrives after
/// it. All sockets get the broadcasts of a namespace in the same order, whichever threads send them. Many recipients are
/// queued for in batches: other threads can send to single sockets, join and leave meanwhile. A socket that is selected
/// all the time is then reached exactly once; one that joins or leaves meanwhile, once or not at all.
///
/// In a [cluster](crate::cluster), the sockets of all servers are recipients, unless it is [local](Broadcast::local).
///
/// ```
/// use sockeye::{Server, Socket};
/// use std::time::Duration;
///
/// let io = Server::new();
/// io.on_connect(async |socket: Socket| {
///     // All sockets except this one; the sockets of a room except this one.
///     socket.broadcast().emit("joined", socket.id());
///     socket.to("lobby").emit("joined", socket.id());
/// });
/// // From anywhere: the sockets in at least one of two rooms, but not in a third.
/// io.to("red").to("blue").except("muted").emit("start", ());
/// // One socket, by its id.
/// io.to("G44JssuMt1Wif2zWCtWv").emit("you", ());
/// # async fn ask(io: Server) {
/// // The answers of all sockets.
/// let votes = io.timeout(Duration::from_secs(5)).emit_with_ack::<bool>("vote", "pizza?").await;
/// println!("{} for", votes.values().filter(|vote| **vote).count());
/// for missing in votes.missing {
///     println!("{:?}: {}", missing.socket, missing.reason);
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct Broadcast {
    namespace: Namespace,
    target: Target,
    flags: Flags,
}

/// The result of a broadcast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The number of sockets that the message was queued for. It is 0 for a message that this server sends when it comes back
    /// from the bus: see [Delivery][delivery] in the guide, section Several servers.
    ///
    /// [delivery]: https://github.com/sockeye-rs/sockeye/blob/main/docs/guide/delivery.md
    pub sent: usize,
    /// The number of selected sockets that the message was not queued for: they were not ready for a volatile
    /// message, read too slowly (see [`ServerBuilder::when_full`](crate::ServerBuilder::when_full)), have just
    /// disconnected, or have too many pending acknowledgements; or the message is larger than the [`send_buffer`](crate::ServerBuilder::send_buffer).
    pub dropped: usize,
    /// The reason why the message was queued for no socket, if it cannot be sent at all: it cannot be encoded, or is
    /// larger than the send buffer. The latter is noticed only if a socket is selected.
    pub error: Option<EmitError>,
    /// The message was also passed to the bus, for the sockets of other servers, which are not counted. `false` if the
    /// server has no [adapter](crate::ServerBuilder::adapter), or the message is [local](Broadcast::local).
    pub published: bool,
}

impl Broadcast {
    pub(crate) fn new(namespace: Namespace) -> Broadcast {
        Broadcast { namespace, target: Target::default(), flags: Flags::default() }
    }

    /// Adds the sockets in this room, or in each of several. Without any room, all sockets of the namespace are recipients.
    pub fn to(mut self, rooms: impl RoomNames) -> Broadcast {
        rooms.add_to(&mut self.target.rooms);
        self
    }

    /// Does the same as [`to`](Broadcast::to).
    pub fn within(self, rooms: impl RoomNames) -> Broadcast {
        self.to(rooms)
    }

    /// Excludes the sockets in this room, or in each of several.
    pub fn except(mut self, rooms: impl RoomNames) -> Broadcast {
        rooms.add_to(&mut self.target.except);
        self
    }

    /// Restricts the recipients to the sockets of this server, if it is part of a [cluster](crate::cluster).
    pub fn local(mut self) -> Broadcast {
        self.flags.local = true;
        self
    }

    /// Drops the message for clients that are not ready for it: see [`Socket::volatile`].
    pub fn volatile(mut self) -> Broadcast {
        self.flags.volatile = true;
        self
    }

    /// Sets whether the message may be compressed: see [`Socket::compress`].
    pub fn compress(mut self, compress: bool) -> Broadcast {
        self.flags.compress = compress;
        self
    }

    /// Sets how long to wait for acknowledgements. Default:
    /// [`ServerBuilder::ack_timeout`](crate::ServerBuilder::ack_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Broadcast {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Returns the sockets of this server that another server has named.
    pub(super) fn of_cluster(namespace: Namespace, target: Target, mut flags: Flags) -> Broadcast {
        flags.local = true;
        Broadcast { namespace, target, flags }
    }

    /// Returns the same with other flags.
    pub(super) fn with_flags(self, flags: Flags) -> Broadcast {
        Broadcast { flags, ..self }
    }

    /// Returns the link to other servers, unless only this one is meant.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        if self.flags.local { None } else { self.namespace.link() }
    }

    /// Asks the other servers for their sockets, unless only this one is meant.
    pub(super) fn fetch_elsewhere(&self) -> Option<Gathering> {
        let (namespace, target, timeout) = (self.namespace.name(), &self.target, self.flags.timeout);
        let link = self.link()?;
        Some(Gathering::begin(link, |cluster, now| cluster.fetch_sockets(now, namespace, target, timeout)))
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns the same in another namespace.
    pub(super) fn in_namespace(self, namespace: Namespace) -> Broadcast {
        Broadcast { namespace, ..self }
    }

    /// Sends the message, and returns how many sockets it was queued for. Never waits. If it cannot be sent
    /// at all, this neither panics nor returns an `Err`: see [`Delivery::error`].
    pub fn emit(self, event: &str, args: impl Payload) -> Delivery {
        self.deliver(event, &args, None)
    }

    /// Sends an event named `message`: see [`emit`](Broadcast::emit).
    pub fn send(self, args: impl Payload) -> Delivery {
        self.emit("message", args)
    }

    /// Does the same as [`emit`](Broadcast::emit), for arguments that are sent again.
    pub(super) fn emit_ref(&self, event: &str, args: &impl Payload) -> Delivery {
        self.deliver(event, args, None)
    }

    /// Sends the message, and waits for the acknowledgements: await them together as [`Answers`](crate::Answers), or
    /// take each as it arrives with [`next`](AckStream::next).
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckStream<T> {
        AckStream::new(self.ask(event, &args))
    }

    /// Sends the message, and returns what waits for the acknowledgements.
    pub(super) fn ask(mut self, event: &str, args: &impl Payload) -> Arc<Waiter> {
        let id = self.namespace.next_ack(|id| self.is_pending(id));
        let waiter = Waiter::new(id, self.namespace.0.engine.clone());
        let engine = self.namespace.0.engine.upgrade();
        let timeout = self.flags.timeout.or(engine.as_ref().map(|engine| engine.application.ack_timeout));
        self.flags.timeout = timeout;
        if let Some(error) = self.deliver(event, args, Some(&waiter)).error {
            waiter.fail_all(error);
        }
        if let (Some(engine), Some(timeout)) = (engine, timeout) {
            waiter.arm(engine.now() + timeout);
        }
        waiter
    }

    /// Returns whether any recipient waits for an acknowledgement with this id.
    fn is_pending(&self, id: u64) -> bool {
        let mut is_pending = false;
        self.namespace.visit(&self.target, |_, member| is_pending |= member.socket.awaits(id));
        is_pending
    }

    /// Returns the sockets of this server that are selected at present. For those of a cluster, use
    /// [`fetch_sockets`](Broadcast::fetch_sockets).
    pub fn sockets(&self) -> Vec<Socket> {
        let mut sockets = Vec::new();
        self.namespace.visit(&self.target, |_, member| sockets.push(member.socket.clone()));
        sockets
    }

    /// Returns the selected sockets of this server, with the rooms of each at that time.
    pub(super) fn sockets_and_rooms(&self) -> Vec<(Socket, Vec<SmolStr>)> {
        let mut sockets = Vec::new();
        self.namespace.visit(&self.target, |members, member| {
            sockets.push((member.socket.clone(), members.names(member)));
        });
        sockets
    }

    /// Makes the sockets join a room, or several. One that would then be in more than
    /// [`ServerBuilder::max_rooms`](crate::ServerBuilder::max_rooms) joins none of them, and a warning is logged.
    pub fn sockets_join(&self, rooms: impl RoomNames) {
        let rooms = room_names::collect(rooms);
        self.join_here(&rooms);
        if let Some(link) = self.link() {
            link.act(|cluster, now| cluster.join(now, self.namespace.name(), &self.target, &rooms));
        }
    }

    /// Makes the sockets leave a room, or several.
    pub fn sockets_leave(&self, rooms: impl RoomNames) {
        let rooms = room_names::collect(rooms);
        self.leave_here(&rooms);
        if let Some(link) = self.link() {
            link.act(|cluster, now| cluster.leave(now, self.namespace.name(), &self.target, &rooms));
        }
    }

    /// Disconnects the sockets; with `close`, also closes their connections.
    pub fn disconnect_sockets(&self, close: bool) {
        self.disconnect_here(close);
        if let Some(link) = self.link() {
            link.act(|cluster, now| cluster.disconnect(now, self.namespace.name(), &self.target, close));
        }
    }

    /// Makes the sockets of this server join rooms. Returns their number.
    pub(super) fn join_here(&self, rooms: &Rooms) -> usize {
        self.sockets().iter().map(|socket| socket.join(rooms)).count()
    }

    /// Makes the sockets of this server leave rooms. Returns their number.
    pub(super) fn leave_here(&self, rooms: &Rooms) -> usize {
        self.sockets().iter().map(|socket| socket.leave(rooms)).count()
    }

    /// Disconnects the sockets of this server. Returns their number.
    pub(super) fn disconnect_here(&self, close: bool) -> usize {
        self.sockets().iter().map(|socket| socket.disconnect(close)).count()
    }

    fn deliver(&self, event: &str, args: &impl Payload, waiter: Option<&Arc<Waiter>>) -> Delivery {
        let id = waiter.map(|waiter| waiter.id());
        let link = self.link();
        let form = self.form(waiter.is_some());
        let encoded = with_encoder(self.namespace.0.parser, |encoder| {
            let head = Head { namespace: self.namespace.name(), kind: Kind::Event(event, id) };
            let encoded = args.encode(encoder, head)?;
            if let Some(link) = &link {
                self.publish(link, encoded, waiter);
            }
            Ok::<_, EmitError>(self.take(&encoded, form))
        });
        let delivery = match encoded {
            Ok((message, outgoing)) => self.spread(message, event, outgoing, waiter),
            Err(error) => return unsendable(&self.namespace, event, error),
        };
        match link {
            Some(link) => {
                link.send();
                Delivery { published: true, ..delivery }
            }
            None => delivery,
        }
    }

    /// Returns how this server sends the message to its own sockets.
    fn form(&self, is_acknowledged: bool) -> Form {
        match self.namespace.0.numbering {
            Some(Numbering::Here(epoch)) if !is_acknowledged && !self.flags.volatile => Form::Recorded(epoch),
            Some(Numbering::Stream) if !is_acknowledged && !self.flags.volatile && !self.flags.local => {
                Form::Returning
            }
            _ => Form::Plain,
        }
    }

    /// Queues the message for other servers.
    fn publish(&self, link: &Arc<Link>, encoded: Encoded<'_>, waiter: Option<&Arc<Waiter>>) {
        let (namespace, target, flags) = (self.namespace.name(), &self.target, &self.flags);
        match waiter {
            None => link.queue(|state, now| {
                state.cluster.broadcast(now, namespace, target, flags, encoded.into());
            }),
            Some(waiter) => {
                waiter.ask_cluster(link);
                waiter.begin(link, |cluster, now| {
                    cluster.broadcast_with_ack(now, namespace, target, flags, encoded.into())
                });
            }
        }
    }

    /// Sends a message of another server. If that waits for acknowledgements, they are passed on to it.
    pub(super) fn relay(&self, event: &BusEvent, relay: Option<(Weak<Link>, Reply)>) {
        let waiter = relay.is_some().then(|| {
            let id = self.namespace.next_ack(|id| self.is_pending(id));
            Waiter::new(id, self.namespace.0.engine.clone())
        });
        let encoded = with_encoder(self.namespace.0.parser, |encoder| {
            let id = waiter.as_ref().map(|waiter| waiter.id());
            let encoded = event.encode(encoder, self.namespace.name(), id, None)?;
            Ok::<_, EncodeError>(self.take(&encoded, Form::Plain))
        });
        match encoded {
            Ok((message, outgoing)) => _ = self.spread(message, &event.name(), outgoing, waiter.as_ref()),
            Err(error) => self.note_unsendable(event, &error),
        }
        if let (Some(waiter), Some((link, reply))) = (waiter, relay) {
            waiter.begin_relay(&link, reply);
            if let Some(engine) = self.namespace.0.engine.upgrade() {
                waiter.arm(engine.now() + self.flags.timeout.unwrap_or(engine.application.ack_timeout));
            }
        }
    }

    /// Sends a message that has come from the stream, and remembers it with its position there.
    pub(super) fn relay_recorded(&self, event: &BusEvent, position: StreamPosition) {
        let offset = position.to_string();
        let encoded = with_encoder(self.namespace.0.parser, |encoder| {
            let encoded = event.encode(encoder, self.namespace.name(), None, Some(&offset))?;
            Ok::<_, EncodeError>(Frames::new(encoded.parts()))
        });
        // The listeners for outgoing events do not see the offset.
        let outgoing = self.namespace.is_watched().then(|| event.to_args().ok()).flatten();
        match encoded {
            Ok(frames) => {
                let message = Message::Recorded(Recorded::At(frames, position));
                self.spread(message, &event.name(), outgoing, None);
            }
            Err(error) => self.note_unsendable(event, &error),
        }
    }

    fn note_unsendable(&self, event: &BusEvent, error: &EncodeError) {
        let (event, namespace) = (event.name(), self.namespace.name());
        debug!(event = ?event, namespace = ?namespace, cause = %error, "a broadcast of another server cannot be sent");
    }

    /// Returns a message in the form for many recipients, and its arguments if listeners for outgoing events need them.
    fn take(&self, encoded: &Encoded<'_>, form: Form) -> (Message, Option<OwnedArgs>) {
        let message = match form {
            Form::Plain => Message::Plain(Frames::new(encoded.parts())),
            Form::Recorded(epoch) => Message::Recorded(Recorded::Draft(epoch.draft(encoded))),
            Form::Returning => return (Message::Returning, None),
        };
        (message, self.namespace.outgoing_args(encoded))
    }

    /// Sends a message to the sockets of this server.
    fn spread(
        &self,
        message: Message,
        event: &str,
        outgoing: Option<OwnedArgs>,
        waiter: Option<&Arc<Waiter>>,
    ) -> Delivery {
        let flags = self.flags.may_drop(waiter.is_none());
        let is_observed = self.namespace.0.observer.is_some();
        let make = |frames| Cast::new(frames, flags, waiter.cloned(), is_observed, outgoing.is_some());
        let cast = match message {
            Message::Plain(frames) => self.namespace.cast(&self.target, make(frames)),
            Message::Recorded(recorded) => self.namespace.cast_recorded(&self.target, recorded, make),
            Message::Returning => return Delivery::default(),
        };
        finish(cast, &self.namespace, event, outgoing)
    }
}

/// The form in which a message is sent to the sockets of this server.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    /// It is remembered, and gets an offset of this epoch.
    Recorded(Epoch),
    /// It is sent when it comes back from the stream.
    Returning,
}

/// A message in one of these forms.
enum Message {
    Plain(Frames),
    Recorded(Recorded),
    Returning,
}

/// Returns the result of a message that cannot be encoded.
fn unsendable(namespace: &Namespace, event: &str, error: EmitError) -> Delivery {
    debug!(event = ?event, namespace = ?namespace.name(), cause = %error, "a broadcast cannot be sent");
    Delivery { error: Some(error), ..Delivery::default() }
}

/// Does what follows from a message that was queued, without a lock: wakers, closing and the application's functions access
/// the members.
fn finish(cast: Cast, namespace: &Namespace, event: &str, outgoing: Option<OwnedArgs>) -> Delivery {
    cast.shown.iter().for_each(|socket| socket.session().show_sent(cast.frames.parts()));
    match cast.is_large {
        false => wakes::wake_each(cast.woken.into_iter()),
        true => wakes::wake(cast.woken, namespace.runtime()),
    }
    cast.slow.iter().for_each(Socket::close_slow);
    if let Some(args) = outgoing {
        cast.watched.iter().for_each(|socket| socket.tell_outgoing(event, &args));
    }
    cast.delivery
}
