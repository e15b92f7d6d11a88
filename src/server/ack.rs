//! Acknowledgements that the server waits for.

use crate::engine::Id;
use crate::engine::timers::{Expire, Key, Notify};
use crate::error::{AckError, EmitError};
use crate::pending::{Answer, Asked, Asks, Pending, Reading};
use crate::server::Engine;
use crate::server::cluster::{Asker, Link, refused};
use crate::server::socket::Socket;
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::cluster::{BusValue, Cluster, ClusterError, Reply, RequestId};
use sockeye_core::socketio::{self, OwnedArgs};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// Waits for the acknowledgements of one message by one or many sockets.
pub(crate) struct Waiter {
    /// The acknowledgement id of the message.
    id: u64,
    engine: Weak<Engine>,
    state: Mutex<State>,
}

struct State {
    /// The sockets of this server that were asked; `None` stands for one of another server, and for the request to them.
    pending: Pending<Option<Socket>, OwnedArgs, AckError>,
    /// The message could not be sent to any socket.
    error: Option<EmitError>,
    timer: Option<Key>,
    cluster: Option<Box<Part>>,
}

/// The part of other servers in the acknowledgements of a message.
enum Part {
    /// They ask their clients, too.
    Asked(Request),
    /// One of them waits for the acknowledgements of the sockets here.
    Relayed { link: Weak<Link>, reply: Reply },
}

/// A request to other servers.
struct Request {
    link: Weak<Link>,
    /// Known once it was sent.
    id: Option<RequestId>,
    /// The index of its entry, which is open until the request is over.
    at: u32,
    silent: Vec<String>,
}

impl Waiter {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new(id: u64, engine: Weak<Engine>) -> Arc<Waiter> {
        let state = State { pending: Pending::default(), error: None, timer: None, cluster: None };
        Arc::new(Waiter { id, engine, state: Mutex::new(state) })
    }

    /// Expects an acknowledgement from a socket. Called before the message is sent, because the answer could
    /// arrive before this returns. Returns the index of the entry, or `None` if the message must not be sent.
    pub(crate) fn ask(self: &Arc<Self>, socket: &Socket) -> Option<u32> {
        let at = self.state.lock().pending.ask(Some(socket.clone()));
        match socket.expect_ack(self.id, self.clone(), at) {
            Ok(()) => Some(at),
            Err(error) => {
                self.settle(at, Err(error.into()));
                None
            }
        }
    }

    /// Notes that the message could not be sent to a socket.
    pub(crate) fn fail(&self, socket: &Socket, at: u32, error: EmitError) {
        socket.forget_ack(self.id);
        self.settle(at, Err(error.into()));
    }

    /// Notes that the message could not be sent to any socket.
    pub(super) fn fail_all(&self, error: EmitError) {
        self.state.lock().error = Some(error);
    }

    pub(crate) fn acknowledge(&self, at: u32, args: socketio::Args<'_>) {
        self.settle(at, Ok(args.into_owned()));
    }

    pub(crate) fn disconnected(&self, at: u32) {
        self.settle(at, Err(AckError::Disconnected));
    }

    fn settle(&self, at: u32, result: Result<OwnedArgs, AckError>) {
        let mut state = self.state.lock();
        let waker = state.pending.settle(at, result);
        let timer = if state.pending.is_over() { state.timer.take() } else { None };
        let link = if state.cluster.is_some() { state.relay() } else { None };
        drop(state);
        self.disarm(timer);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(link) = link {
            link.send();
        }
    }

    /// Notes that other servers are about to be asked, too: [`begin`](Waiter::begin) has to follow.
    pub(super) fn ask_cluster(&self, link: &Arc<Link>) {
        let state = &mut *self.state.lock();
        let at = state.pending.ask(None);
        let link = Arc::downgrade(link);
        state.cluster = Some(Box::new(Part::Asked(Request { link, id: None, at, silent: Vec::new() })));
    }

    /// Sends the request to other servers, unless it is refused. What has to leave because of that waits for
    /// [`Link::send`].
    pub(super) fn begin(
        self: &Arc<Self>,
        link: &Link,
        request: impl FnOnce(&mut Cluster, Time) -> Result<RequestId, ClusterError>,
    ) {
        let this: Weak<Waiter> = Arc::downgrade(self);
        let request = link.queue(|state, now| {
            let request = request(&mut state.cluster, now);
            request.inspect(|request| state.expect(request, this))
        });
        match request {
            Ok(id) => {
                if let Some(Part::Asked(request)) = self.state.lock().cluster.as_deref_mut() {
                    request.id = Some(id);
                }
            }
            Err(error) => self.finished(refused(error)),
        }
    }

    /// Sends the acknowledgements to the server that waits for them, from now on. Called once all sockets were asked.
    pub(super) fn begin_relay(&self, link: &Weak<Link>, reply: Reply) {
        let Some(to) = link.upgrade() else { return };
        let mut state = self.state.lock();
        let clients = state.pending.hopeful();
        to.queue(|state, _| state.cluster.reply_clients(&reply, clients));
        state.cluster = Some(Box::new(Part::Relayed { link: link.clone(), reply }));
        state.relay();
        drop(state);
        to.send();
    }

    /// Sets the deadline at which the waiter gives up.
    pub(crate) fn arm(self: &Arc<Self>, deadline: Time) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut state = self.state.lock();
        if state.pending.is_over() {
            return;
        }
        let this: Arc<dyn Expire> = self.clone();
        let (key, driver) = engine.timers.insert(deadline, Notify::Object(Arc::downgrade(&this)));
        state.timer = Some(key);
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn disarm(&self, timer: Option<Key>) {
        if let (Some(timer), Some(engine)) = (timer, self.engine.upgrade()) {
            engine.timers.remove(timer);
        }
    }

    /// Stops waiting: later acknowledgements are ignored, and nothing is kept for them.
    fn give_up(&self) {
        let (sockets, waker, timer, request) = {
            let mut state = self.state.lock();
            if state.pending.is_over() && state.timer.is_none() && state.cluster.is_none() {
                return;
            }
            let sockets = state.pending.fail_open(|| AckError::Timeout);
            (sockets, state.pending.take_waker(), state.timer.take(), state.take_request())
        };
        self.disarm(timer);
        self.forget(sockets);
        if let Some((link, request)) = request {
            link.cancel(&request);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn forget(&self, sockets: Vec<Option<Socket>>) {
        for socket in sockets.into_iter().flatten() {
            socket.forget_ack(self.id);
        }
    }
}

impl State {
    /// Takes the request to other servers, to cancel it.
    fn take_request(&mut self) -> Option<(Arc<Link>, RequestId)> {
        match *self.cluster.take()? {
            Part::Asked(Request { link, id, .. }) => Some((link.upgrade()?, id?)),
            Part::Relayed { .. } => None,
        }
    }

    /// Returns the index of the entry of the request to other servers.
    fn request_at(&self) -> Option<u32> {
        match self.cluster.as_deref()? {
            Part::Asked(request) => Some(request.at),
            Part::Relayed { .. } => None,
        }
    }

    /// Queues the acknowledgements that have arrived for the server that waits for them. Returns the link that may then have
    /// something to send.
    fn relay(&mut self) -> Option<Arc<Link>> {
        let Some(Part::Relayed { link, reply }) = self.cluster.as_deref() else { return None };
        let link = link.upgrade()?;
        while let Some((_, args)) = self.pending.take_first() {
            link.queue(|state, _| state.cluster.reply_answer(reply, args.as_args().into()));
        }
        Some(link)
    }
}

impl Asker for Waiter {
    fn answer(&self, value: &BusValue) {
        // Half of a value is no answer.
        let Ok(args) = value.to_args() else { return };
        let at = self.state.lock().pending.ask(None);
        self.settle(at, Ok(args));
    }

    fn finished(&self, silent: Vec<String>) {
        let at = match self.state.lock().cluster.as_deref_mut() {
            Some(Part::Asked(request)) => {
                request.silent = silent;
                request.id = None;
                request.at
            }
            _ => return,
        };
        self.settle(at, Err(AckError::Timeout));
    }
}

impl Expire for Waiter {
    /// Gives up on the sockets of this server. The cluster itself ends the request to others, at the same time.
    fn expire(self: Arc<Self>, _now: Time) {
        let (sockets, waker) = {
            let mut state = self.state.lock();
            state.timer = None;
            let except = state.request_at();
            let sockets = state.pending.fail_open_except(except, || AckError::Timeout);
            let waker = if state.pending.is_over() { state.pending.take_waker() } else { None };
            (sockets, waker)
        };
        self.forget(sockets);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The results of a message that one task waits for. Dropping this gives up.
pub(super) struct Waiting(Arc<Waiter>);

/// The results of a message.
pub(super) struct Settled {
    /// The sockets that were asked. `None` is one of another server if it has answered, and nothing otherwise.
    pub(super) asked: Asks<Option<Socket>, OwnedArgs, AckError>,
    /// The names of the servers that have not answered.
    pub(super) silent: Vec<String>,
    /// The reason if the message could not be sent to any socket.
    pub(super) error: Option<EmitError>,
}

impl Waiting {
    pub(super) fn new(waiter: Arc<Waiter>) -> Waiting {
        Waiting(waiter)
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// Waits for all sockets, and returns the results of those whose answer was not taken alone.
    pub(super) fn poll_all(&self, cx: &Context<'_>) -> Poll<Settled> {
        let mut state = self.0.state.lock();
        if let Some(asked) = state.pending.take_all() {
            let silent = match state.cluster.as_deref_mut() {
                Some(Part::Asked(request)) => std::mem::take(&mut request.silent),
                _ => Vec::new(),
            };
            return Poll::Ready(Settled { asked, silent, error: state.error.take() });
        }
        let replaced = state.pending.wait(cx, false);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Waits for the next answer, and takes it.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<(Option<Id>, OwnedArgs)>> {
        let mut state = self.0.state.lock();
        if let Some((socket, args)) = state.pending.take_first() {
            return Poll::Ready(Some((socket.as_ref().map(Socket::id), args)));
        }
        if state.pending.is_over() {
            return Poll::Ready(None);
        }
        let replaced = state.pending.wait(cx, true);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Waiting {
    /// Waits for the first acknowledgement of a socket of another server.
    fn poll_remote(&self, cx: &Context<'_>) -> Poll<Result<OwnedArgs, AckError>> {
        self.poll_next(cx).map(|answer| match answer {
            Some((_, args)) => Ok(args),
            None => {
                let mut state = self.0.state.lock();
                let is_silent =
                    matches!(state.cluster.as_deref(), Some(Part::Asked(it)) if !it.silent.is_empty());
                Err(match state.error.take() {
                    Some(error) => error.into(),
                    None if is_silent => AckError::Timeout,
                    // No server has asked it.
                    None => AckError::Disconnected,
                })
            }
        })
    }
}

impl Future for Waiting {
    type Output = Result<OwnedArgs, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        if state.cluster.is_some() {
            drop(state);
            return self.poll_remote(cx);
        }
        if let Some(mut asked) = state.pending.take_all() {
            let result = asked.pop().and_then(Asked::into_result);
            return Poll::Ready(result.unwrap_or(Err(AckError::Disconnected)));
        }
        let replaced = state.pending.wait(cx, false);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// The acknowledgement of one socket. The message is sent whether or not this is awaited; dropping it
/// discards the answer.
#[must_use = "the message is sent in any case; use `emit` if no answer is wanted"]
pub struct AckFuture<T>(Reading<Waiting, T>);

impl<T> AckFuture<T> {
    pub(super) fn new(waiter: Arc<Waiter>) -> Self {
        AckFuture(Reading::new(Waiting::new(waiter)))
    }
}

impl<T: Answer> Future for AckFuture<T> {
    type Output = Result<T, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> fmt::Debug for AckFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckFuture").field("id", &self.0.future.id()).finish()
    }
}
