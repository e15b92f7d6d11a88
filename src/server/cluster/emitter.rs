//! Sending into a cluster from a program without a server.

use super::Adapter;
use super::link::{Sending, pass_next};
use crate::error::EmitError;
use crate::guard::guard;
use crate::observe::{self, ClusterEvent, ServerEvent};
use crate::payload::sealed::{Head, Kind};
use crate::payload::{Payload, with_encoder};
use crate::server::room_names::{self, RoomNames};
use crate::server::server_side;
use bytes::Bytes;
use parking_lot::Mutex;
use smol_str::SmolStr;
use sockeye_core::Time;
use sockeye_core::cluster::{Bus, BusStatus, Cluster, Node, RequestId};
use sockeye_core::host::{Connector, Runtime};
use sockeye_core::socketio::{Flags, Parser, Target, with_slash};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Sends into a [cluster](crate::cluster) from a program that has no server: a worker, a cron job, another web server. A
/// handle that is cheap to clone.
///
/// It needs the same adapter as the servers: a dialect with its settings, and a bus. It can do what needs no answer. The
/// methods that name no namespace apply to the main one, `/`.
///
/// It sends what `@socket.io/redis-emitter` (classic) and `@socket.io/redis-streams-emitter` send, so servers in Node
/// receive it, too.
///
/// ```
/// use sockeye::cluster::{Adapter, ClusterEmitter, MemoryBus};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[cfg(feature = "tokio")]
/// # async fn example() -> Result<(), sockeye::EmitError> {
/// let runtime = Arc::new(sockeye::runtime::tokio::Tokio::new());
/// let io = ClusterEmitter::new(Adapter::classic(MemoryBus::new()), runtime);
/// io.to("lobby").except("muted").emit("news", ("the job is done", 42))?;
/// io.of("/admin").to("user-7").disconnect_sockets(true);
/// io.server_side_emit("reload", ())?;
/// // Before the program ends: what was sent has left then, or a second has passed.
/// io.flush(Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct ClusterEmitter(Arc<Inner>);

struct Inner {
    bus: Box<dyn Bus>,
    state: Mutex<State>,
    /// What the bus knows of this program. It lives as long as the emitter.
    node: Arc<Sender>,
}

struct State {
    cluster: Cluster,
    /// A thread passes a command to the bus.
    is_sending: bool,
    /// The tasks that wait until no thread does.
    flushing: Vec<Waker>,
}

/// A node that receives nothing.
struct Sender {
    runtime: Arc<dyn Connector>,
}

/// The sockets of a cluster that a [`ClusterEmitter`] addresses, and the flags for sending.
#[derive(Clone)]
#[must_use = "nothing is sent until `emit`"]
pub struct ClusterBroadcast {
    emitter: ClusterEmitter,
    namespace: SmolStr,
    target: Target,
    flags: Flags,
}

impl ClusterEmitter {
    /// Creates an emitter, and connects its bus on `runtime`, for example `Arc::new(sockeye::runtime::tokio::Tokio::new())`.
    pub fn new(adapter: Adapter, runtime: Arc<dyn Connector>) -> ClusterEmitter {
        let node = Arc::new(Sender { runtime });
        let weak: Arc<dyn Node> = node.clone();
        guard("a bus", || adapter.bus.attach(Arc::downgrade(&weak)));
        let state =
            State { cluster: Cluster::new_emitter(adapter.config), is_sending: false, flushing: Vec::new() };
        ClusterEmitter(Arc::new(Inner { bus: adapter.bus, state: Mutex::new(state), node }))
    }

    /// Targets the sockets of a namespace. The leading slash of its name may be left out.
    pub fn of(&self, namespace: &str) -> ClusterBroadcast {
        ClusterBroadcast {
            emitter: self.clone(),
            namespace: with_slash(namespace).into(),
            target: Target::default(),
            flags: Flags::default(),
        }
    }

    /// Targets the sockets in a room, or in each of several, of the main namespace.
    pub fn to(&self, rooms: impl RoomNames) -> ClusterBroadcast {
        self.of("/").to(rooms)
    }

    /// Targets all sockets of the main namespace but those in a room, or in each of several.
    pub fn except(&self, rooms: impl RoomNames) -> ClusterBroadcast {
        self.of("/").except(rooms)
    }

    /// Targets the main namespace with messages that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> ClusterBroadcast {
        self.of("/").volatile()
    }

    /// Sends an event to all sockets of the main namespace: see [`ClusterBroadcast::emit`].
    ///
    /// # Errors
    /// If nothing was sent, because the name or the arguments cannot be encoded.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.of("/").emit(event, args)
    }

    /// Makes all sockets of the main namespace join a room, or several.
    pub fn sockets_join(&self, rooms: impl RoomNames) {
        self.of("/").sockets_join(rooms);
    }

    /// Makes all sockets of the main namespace leave a room, or several.
    pub fn sockets_leave(&self, rooms: impl RoomNames) {
        self.of("/").sockets_leave(rooms);
    }

    /// Disconnects all sockets of the main namespace; with `close`, also closes their connections.
    pub fn disconnect_sockets(&self, close: bool) {
        self.of("/").disconnect_sockets(close);
    }

    /// Sends an event to the servers: see [`ClusterBroadcast::server_side_emit`].
    ///
    /// # Errors
    /// If nothing was sent, because the name is reserved, or the arguments cannot be encoded.
    pub fn server_side_emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.of("/").server_side_emit(event, args)
    }

    /// Waits until the bus has sent everything, but no longer than `timeout`. Returns whether it has.
    pub async fn flush(&self, timeout: Duration) -> bool {
        let runtime = &self.0.node.runtime;
        let mut late = runtime.sleep_until(runtime.now() + timeout);
        let mut flush = None;
        poll_fn(|cx| {
            if flush.is_none() && self.poll_passed(cx).is_ready() {
                flush = Some(self.0.bus.flush());
            }
            match flush.as_mut().is_some_and(|flush| flush.as_mut().poll(cx).is_ready()) {
                true => Poll::Ready(true),
                false => late.as_mut().poll(cx).map(|()| false),
            }
        })
        .await
    }

    /// Returns `Ready` once the bus has everything: another thread may be passing what this one has sent.
    fn poll_passed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if !state.is_sending {
            return Poll::Ready(());
        }
        if !state.flushing.iter().any(|known| known.will_wake(cx.waker())) {
            state.flushing.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Sends what `f` asks for. Messages are passed to the bus in their order, without the lock.
    fn act(&self, f: impl FnOnce(&mut Cluster, Time)) {
        let now = self.0.node.runtime.now();
        let mut state = self.0.state.lock();
        f(&mut state.cluster, now);
        while pass_next(&mut state, &*self.0.bus) {}
        let flushing = if state.is_sending { Vec::new() } else { std::mem::take(&mut state.flushing) };
        drop(state);
        flushing.into_iter().for_each(Waker::wake);
    }
}

impl ClusterBroadcast {
    /// Adds the sockets in this room, or in each of several. Without any room, all sockets of the namespace are recipients.
    pub fn to(mut self, rooms: impl RoomNames) -> ClusterBroadcast {
        rooms.add_to(&mut self.target.rooms);
        self
    }

    /// Does the same as [`to`](ClusterBroadcast::to).
    pub fn within(self, rooms: impl RoomNames) -> ClusterBroadcast {
        self.to(rooms)
    }

    /// Excludes the sockets in this room, or in each of several.
    pub fn except(mut self, rooms: impl RoomNames) -> ClusterBroadcast {
        rooms.add_to(&mut self.target.except);
        self
    }

    /// Drops the message for clients that are not ready for it: see [`Socket::volatile`](crate::Socket::volatile).
    pub fn volatile(mut self) -> ClusterBroadcast {
        self.flags.volatile = true;
        self
    }

    /// Sets whether the message may be compressed: see [`Socket::compress`](crate::Socket::compress).
    pub fn compress(mut self, compress: bool) -> ClusterBroadcast {
        self.flags.compress = compress;
        self
    }

    /// Sends an event to the sockets. Never waits: `Ok` means that it was passed to the bus, not that it has arrived.
    ///
    /// # Errors
    /// If nothing was sent, because the name or the arguments cannot be encoded.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        let head = Head { namespace: &self.namespace, kind: Kind::Event(event, None) };
        with_encoder(Parser::default(), |encoder| {
            let encoded = args.encode(encoder, head)?;
            self.emitter.act(|cluster, now| {
                cluster.broadcast(now, &self.namespace, &self.target, &self.flags, encoded.into());
            });
            Ok(())
        })
    }

    /// Sends an event named `message`: see [`emit`](ClusterBroadcast::emit).
    ///
    /// # Errors
    /// If nothing was sent: see [`emit`](ClusterBroadcast::emit).
    pub fn send(self, args: impl Payload) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Makes the sockets join a room, or several.
    pub fn sockets_join(&self, rooms: impl RoomNames) {
        let rooms = room_names::collect(rooms);
        self.emitter.act(|cluster, now| cluster.join(now, &self.namespace, &self.target, &rooms));
    }

    /// Makes the sockets leave a room, or several.
    pub fn sockets_leave(&self, rooms: impl RoomNames) {
        let rooms = room_names::collect(rooms);
        self.emitter.act(|cluster, now| cluster.leave(now, &self.namespace, &self.target, &rooms));
    }

    /// Disconnects the sockets; with `close`, also closes their connections.
    pub fn disconnect_sockets(&self, close: bool) {
        self.emitter.act(|cluster, now| cluster.disconnect(now, &self.namespace, &self.target, close));
    }

    /// Sends an event to the servers that have the namespace, whose
    /// [`on_server_side_event`](crate::Namespace::on_server_side_event) handlers receive it. The addressed sockets are of no
    /// importance.
    ///
    /// # Errors
    /// If nothing was sent, because the name is reserved (`connect`, `connection` and `new_namespace` are), or the arguments
    /// cannot be encoded.
    pub fn server_side_emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        server_side::encode(&self.namespace, event, &args, |encoded| {
            self.emitter.act(|cluster, now| {
                cluster.server_side_emit(now, &self.namespace, event, encoded.into());
            });
        })
    }
}

impl Sending for State {
    fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn is_sending(&mut self) -> &mut bool {
        &mut self.is_sending
    }
}

impl Node for Sender {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn handle_message(&self, _: &str, _: Bytes) {}

    fn handle_entry(&self, _: &str, _: &str, _: &[(&str, Bytes)]) {}

    fn handle_count(&self, _: &RequestId, _: Option<usize>) {}

    fn handle_status(&self, status: BusStatus) {
        if let Some(event) = ClusterEvent::of_status(status) {
            observe::tell(None, &ServerEvent::ClusterChanged { event: &event });
        }
    }
}

impl fmt::Debug for ClusterEmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterEmitter").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClusterBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBroadcast")
            .field("namespace", &self.namespace)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
