//! The registration of the handlers of a client's socket.

use super::socket::{ClientSocket, State};
use crate::handler::{Handler, Kept};
use crate::listeners::On;
use sockeye_core::socketio::is_reserved;
use std::borrow::Cow;

impl ClientSocket {
    /// Calls `handler` for each event of this name, after the handlers of the event that were registered before.
    ///
    /// Handlers start in the order in which the server sent the events. If the event's data is not of the handler's
    /// type, it is not called: see [`extract`](crate::extract). The return value of the first handler of an event that
    /// is called is the acknowledgement, if the server wants one.
    ///
    /// # Panics
    /// If the name is [reserved](is_reserved), because no such event can arrive.
    pub fn on<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ClientSocket>,
    ) {
        let (on, handler) = (On::event(event), Kept::new(handler));
        self.listen(|state| state.listeners.add(on, handler));
    }

    /// Calls `handler` for the next event of this name only: see [`on`](ClientSocket::on).
    ///
    /// # Panics
    /// If the name is reserved.
    pub fn once<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ClientSocket>,
    ) {
        let (on, handler) = (On::event(event), Kept::new(handler));
        self.listen(|state| state.listeners.add_once(on, handler));
    }

    /// Removes the handlers of the events of this name.
    pub fn off(&self, event: &str) {
        if !is_reserved(event) {
            self.remove(&On::Event(event.to_owned().into()));
        }
    }

    /// Calls `handler` for every event that arrives, before the handlers of its name. Its return value is not
    /// used as an acknowledgement.
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Any, handler));
    }

    /// Does the same as [`on_any`](ClientSocket::on_any), but calls `handler` before those that were registered earlier.
    pub fn prepend_any<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.prepend(On::Any, handler));
    }

    /// Removes the handlers of [`on_any`](ClientSocket::on_any).
    pub fn off_any(&self) {
        self.remove(&On::Any);
    }

    /// Calls `handler` for every event that is sent, soon after it was handed to the connection. Its return value is
    /// ignored.
    ///
    /// The handler is called for an event that waits for a connection once it is sent, for one that is sent
    /// [again](crate::client::ClientBuilder::retries) each time, and for those that the handler itself emits. While
    /// 4 MiB of events wait for handlers, emitting fails with
    /// [`ClientEmitError::SlowConsumer`](crate::client::ClientEmitError::SlowConsumer).
    ///
    /// ```no_run
    /// # fn example(client: sockeye::Client) {
    /// use sockeye::{Args, extract::Event};
    ///
    /// client.on_any_outgoing(async |Event(name): Event, args: Args| println!("{name} with {} arguments", args.len()));
    /// # }
    /// ```
    pub fn on_any_outgoing<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::AnyOutgoing, handler));
        self.follow_outgoing();
    }

    /// Does the same as [`on_any_outgoing`](ClientSocket::on_any_outgoing), but calls `handler` before those that were
    /// registered earlier.
    pub fn prepend_any_outgoing<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.prepend(On::AnyOutgoing, handler));
        self.follow_outgoing();
    }

    /// Removes the handlers of [`on_any_outgoing`](ClientSocket::on_any_outgoing).
    pub fn off_any_outgoing(&self) {
        self.remove(&On::AnyOutgoing);
        self.follow_outgoing();
    }

    /// Calls `handler` for each event that has no handler of its own, after the fallback handlers that were registered
    /// before. The return value of the first that is called is the acknowledgement.
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Unhandled, handler));
    }

    /// Calls `handler` each time the namespace is joined, after the handlers that were registered before.
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Event("connect".into()), handler));
    }

    /// Calls `handler` each time the namespace cannot be joined, after the handlers that were registered before. It can
    /// extract the [`ClientConnectError`](crate::client::ClientConnectError).
    pub fn on_connect_error<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Event("connect_error".into()), handler));
    }

    /// Calls `handler` each time the namespace is left, after the handlers that were registered before. It can extract
    /// the [`ClientDisconnectReason`](crate::client::ClientDisconnectReason).
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Event("disconnect".into()), handler));
    }

    /// Calls `handler` for each event that may be lost: it was sent in a session with
    /// [stateful reconnect](crate::client::ClientBuilder::stateful_reconnect) that has ended before the server confirmed
    /// that it has handled it. It may have been handled nevertheless.
    ///
    /// The handlers are called after those for the end of the connection, in the order in which the events were sent. Events
    /// that wait for an acknowledgement are not among them, because their futures fail. What was not sent yet waits for the
    /// next connection.
    ///
    /// ```no_run
    /// # fn example(client: sockeye::Client) {
    /// use sockeye::{Args, extract::Event};
    ///
    /// client.on_lost(async |Event(name): Event, args: Args| println!("{name} with {} arguments", args.len()));
    /// # }
    /// ```
    pub fn on_lost<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Lost, handler));
    }

    /// Adds a listener, unless the client is gone, because nothing would remove it again.
    fn listen(&self, add: impl FnOnce(&mut State)) {
        // Held meanwhile: the end of the client removes the listeners.
        if let Some(_shared) = self.shared() {
            add(&mut self.0.state.lock());
        }
    }

    fn remove(&self, on: &On) {
        let removed = self.0.state.lock().listeners.remove(on);
        // Dropped without the lock: the destructors of captured values may use the socket.
        drop(removed);
    }

    /// Makes the core report the events that are sent if there is a handler for them.
    fn follow_outgoing(&self) {
        let Some(shared) = self.shared() else { return };
        // Under both locks, so that the core ends up with the last change if several threads make one.
        shared.look(|client| {
            let listens = self.0.state.lock().listeners.has(&On::AnyOutgoing);
            client.tell_outgoing(self.0.id, listens);
        });
    }
}
