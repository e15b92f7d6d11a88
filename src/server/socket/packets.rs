//! The events that arrive: the packet middleware decides about each, one after the other, and handlers are called.

use super::{Socket, Stage, State};
use crate::engine::Running;
use crate::error::{EmitError, PacketError};
use crate::extract::Context;
use crate::guard::{BoxFuture, Guarded};
use crate::handler::{Acknowledge, AnySocket, Handler, Kept, run, spawn};
use crate::listeners::{Called, Entry, On};
use crate::observe::{HandlerFailure, ServerEvent};
use crate::server::App;
use crate::server::middleware::{self, AnyMiddleware, Middleware, ask, panicked};
use crate::server::patience::Patience;
use smallvec::SmallVec;
use smol_str::SmolStr;
use sockeye_core::socketio::{self, OwnedArgs};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{self, Poll, Waker, ready};
use std::time::Duration;

/// A packet middleware of one socket.
type Own = Arc<dyn AnyMiddleware<Result<(), PacketError>>>;

type Asked = BoxFuture<Result<(), PacketError>>;

/// The packet middleware of one socket, and the events that wait.
#[derive(Default)]
pub(super) struct Packets {
    own: SmallVec<[Own; 1]>,
    /// The events behind the one that is being decided about. Each counts as a handler that is running, so that the
    /// client is no longer read if there are many.
    waiting: VecDeque<Waiting>,
}

/// An event that has to wait.
struct Waiting {
    event: SmolStr,
    args: OwnedArgs,
    ack: Option<u64>,
    _running: Running<App>,
}

/// The decision about one event.
struct Decision {
    /// The number of middlewares of the namespace that were asked.
    asked: usize,
    own: smallvec::IntoIter<[Own; 1]>,
    /// The decision of the one that was asked last.
    current: Option<Guarded<Result<(), PacketError>>>,
}

impl Socket {
    /// Asks `middleware` about each event that the client sends, after the middleware of
    /// [`Namespace::use_packet`](crate::Namespace::use_packet), where everything about it is described, and after that of
    /// this socket that was registered before.
    ///
    /// ```
    /// use sockeye::{PacketError, Socket};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     // The first hundred events of each client are handled.
    ///     let count = Arc::new(AtomicU32::new(0));
    ///     socket.use_packet(move || {
    ///         let count = count.fetch_add(1, Ordering::Relaxed);
    ///         async move { if count < 100 { Ok(()) } else { Err(PacketError::new("too many events")) } }
    ///     });
    /// });
    /// ```
    #[doc(alias = "use")]
    pub fn use_packet<P: 'static>(&self, middleware: impl Middleware<P, Result<(), PacketError>>) {
        let middleware = Own::from(middleware::erase(middleware));
        self.listen(|state| state.more().packets.get_or_insert_default().own.push(middleware));
    }

    /// Calls `handler` for each event that a packet middleware refused, after the handlers of
    /// [`Namespace::on_error`](crate::Namespace::on_error). It can extract the [`PacketError`], and the name and the
    /// arguments of the event. Its return value is ignored.
    pub fn on_error<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Refused, handler));
    }

    /// Handles an event that arrived.
    #[inline]
    pub(crate) fn dispatch(&self, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) {
        if self.0.namespace.0.functions.has_packet_middleware() {
            return self.decide_in_turn(event, args, ack);
        }
        // If everything is registered at the namespace, nothing is locked: `benches/count json16`.
        if !self.0.listens.load(Ordering::Acquire) {
            return self.call(&Called::None, event, args, ack);
        }
        let mut state = self.0.state.lock();
        if state.has_packet_middleware() {
            drop(state);
            return self.decide_in_turn(event, args, ack);
        }
        let called = state.listeners.call(event);
        drop(state);
        self.call(&called, event, args, ack);
    }

    /// Calls the handlers of an event.
    // Inlined, because every event calls it: `benches/count ack`.
    #[inline(always)]
    fn call(&self, called: &Called<Socket>, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) {
        let functions = &self.0.namespace.0.functions;
        let is_handled = match functions.has_listeners() {
            false => {
                called.run(self, event, args, ack);
                called.has_own()
            }
            true => {
                let (named, others) = (functions.listeners_for(event), functions.other_listeners());
                called.run_with(named, others, self, event, args, ack)
            }
        };
        if !is_handled {
            self.unhandled(event, ack);
        }
    }

    /// Tells of an event that has no handler. Notes it at the namespace, and at the socket while a handler of the client
    /// waits, which may register one.
    #[cold]
    fn unhandled(&self, event: &str, ack: Option<u64>) {
        if self.0.session.has_running_handlers() {
            self.0.state.lock().miss(event);
        }
        self.0.namespace.0.functions.miss(event);
        self.tell_failure(event, HandlerFailure::Unhandled, ack);
    }

    /// Decides about an event, or keeps it behind the others that wait.
    #[cold]
    fn decide_in_turn(&self, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) {
        let Some(mut decision) = self.begin_decision() else {
            return self.keep(Waiting::new(self, event, args, ack));
        };
        match self.decide(&mut decision, event, args, ack) {
            true => self.decide_next(),
            false => self.wait(decision, Waiting::new(self, event, args, ack)),
        }
    }

    /// Begins a decision, unless there is one in progress.
    fn begin_decision(&self) -> Option<Decision> {
        let mut state = self.0.state.lock();
        let is_busy = std::mem::replace(&mut state.is_deciding, true);
        (!is_busy).then(|| state.decision())
    }

    /// Adds an event to those that wait.
    fn keep(&self, waiting: Waiting) {
        let mut state = self.0.state.lock();
        if state.stage == Stage::Ended {
            // Dropped without the lock.
            drop(state);
            return drop(waiting);
        }
        state.packets().waiting.push_back(waiting);
        // The decision that it had to wait for may be over by now.
        let is_busy = std::mem::replace(&mut state.is_deciding, true);
        drop(state);
        if !is_busy {
            self.decide_next();
        }
    }

    /// Decides about the events that wait, until a decision takes time.
    fn decide_next(&self) {
        while let Some((mut decision, waiting)) = self.next_waiting() {
            let Waiting { event, args, ack, .. } = &waiting;
            if !self.decide(&mut decision, event, &args.as_args(), *ack) {
                return self.wait(decision, waiting);
            }
        }
    }

    /// Takes the next event that waits. If there is none, no decision is in progress any more.
    fn next_waiting(&self) -> Option<(Decision, Waiting)> {
        let mut state = self.0.state.lock();
        match state.more.as_mut().and_then(|more| more.packets.as_mut()?.waiting.pop_front()) {
            Some(waiting) => Some((state.decision(), waiting)),
            None => {
                state.is_deciding = false;
                None
            }
        }
    }

    /// Polls a decision, and handles or refuses the event once it is made. Returns whether that is so.
    fn decide(
        &self,
        decision: &mut Decision,
        event: &str,
        args: &socketio::Args<'_>,
        ack: Option<u64>,
    ) -> bool {
        let polled = {
            let span = self.span(event);
            let _inside = span.enter();
            decision.poll(&mut task::Context::from_waker(Waker::noop()), self, event, args)
        };
        match polled {
            Poll::Ready(result) => self.decided(result, event, args, ack),
            Poll::Pending => return false,
        }
        true
    }

    /// Lets the runtime continue a decision that takes time.
    fn wait(&self, mut decision: Decision, waiting: Waiting) {
        let timeout = match self.0.namespace.0.engine.upgrade() {
            Some(engine) => engine.application.packet_timeout,
            None => Duration::ZERO,
        };
        let (socket, name) = (self.clone(), waiting.event.clone());
        let rest = async move {
            let Waiting { event, args, ack, .. } = &waiting;
            let result = {
                let decision = poll_fn(|cx| decision.poll(cx, &socket, event, &args.as_args()));
                Patience::new(socket.namespace(), timeout).limit(decision).await
            };
            socket.decided(result, event, &args.as_args(), *ack);
            drop(waiting);
            socket.decide_next();
            Ok(())
        };
        spawn(self, &name, Box::pin(rest));
    }

    /// Handles an event that may pass, or refuses it. Does nothing if the client has gone meanwhile.
    fn decided(
        &self,
        result: Result<(), PacketError>,
        event: &str,
        args: &socketio::Args<'_>,
        ack: Option<u64>,
    ) {
        if !self.is_connected() {
            return;
        }
        match result {
            Ok(()) => {
                let called = self.0.state.lock().listeners.call(event);
                self.call(&called, event, args, ack);
            }
            Err(error) => self.refuse(&error, event, args, ack),
        }
    }

    fn refuse(&self, error: &PacketError, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) {
        if let Some(id) = ack {
            // A client that has gone, or is closed because it does not read, needs no answer.
            let _: Result<(), EmitError> = self.acknowledge(id, error);
        }
        self.tell_refused(event, error.message());
        let own = self.0.state.lock().listeners.all(&On::Refused);
        let shared = self.0.namespace.0.functions.other_listeners().filter(|entry| entry.is_on(&On::Refused));
        for listener in shared.map(Entry::handler).chain(own) {
            let context = Context { args: Some(args), cause: Some(error), ..Context::new(self, event) };
            run(&*listener, &context);
        }
    }

    /// Logs a refusal, and passes it to the observer. The caller must hold no lock.
    pub(super) fn tell_refused(&self, event: &str, message: &str) {
        self.0.namespace.tell(&ServerEvent::EventRefused {
            session: self.0.session.id(),
            handshake: self.handshake(),
            namespace: self.0.namespace.name(),
            socket: self.0.id,
            event,
            message,
        });
    }
}

impl State {
    fn has_packet_middleware(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.packets.is_some())
    }

    fn packets(&mut self) -> &mut Packets {
        self.more().packets.get_or_insert_default()
    }

    /// Returns the decision about the next event, for which no middleware has been asked.
    fn decision(&self) -> Decision {
        let packets = self.more.as_ref().and_then(|more| more.packets.as_ref());
        let own = packets.map(|packets| packets.own.clone()).unwrap_or_default();
        Decision { asked: 0, own: own.into_iter(), current: None }
    }
}

impl Waiting {
    fn new(socket: &Socket, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) -> Waiting {
        let _running = socket.0.session.begin_handler();
        Waiting { event: event.into(), args: args.into_owned(), ack, _running }
    }
}

impl Decision {
    /// Asks the middlewares one after the other, until one refuses.
    fn poll(
        &mut self,
        cx: &mut task::Context<'_>,
        socket: &Socket,
        event: &str,
        args: &socketio::Args<'_>,
    ) -> Poll<Result<(), PacketError>> {
        loop {
            if let Some(current) = &mut self.current {
                let decided = ready!(Pin::new(current).poll(cx));
                self.current = None;
                match decided {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Poll::Ready(Err(error)),
                    Err(panic) => return Poll::Ready(Err(panicked(socket, event, &panic).into())),
                }
            }
            let context = Context { args: Some(args), ..Context::new(socket, event) };
            match self.ask_next(&context) {
                Some(Ok(asked)) => self.current = Some(Guarded(asked)),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Calls the next middleware, if there is one.
    fn ask_next(&mut self, context: &Context<'_>) -> Option<Result<Asked, PacketError>> {
        let functions = &context.socket.namespace().0.functions;
        if let Some(shared) = functions.packet_middlewares().nth(self.asked) {
            self.asked += 1;
            return Some(ask(shared, context));
        }
        Some(ask(&*self.own.next()?, context))
    }
}
