//! An event that its handlers failed to handle, as the application is told of it.

use crate::Socket;
use crate::error::EmitError;
use crate::guard::guard;
use crate::handler::Acknowledge;
use crate::observe::HandlerFailure;
use crate::payload::Payload;
use std::cell::Cell;
use std::fmt;

/// An event that its handlers failed to handle, or for which there is none: see
/// [`ServerBuilder::on_handler_error`](crate::ServerBuilder::on_handler_error).
pub struct FailedEvent<'a, S = Socket> {
    socket: Option<&'a S>,
    namespace: &'a str,
    event: &'a str,
    failure: HandlerFailure<'a>,
    /// The acknowledgement that the peer waits for and nothing else will send: its id, and what sends it.
    ack: Cell<Option<(u64, &'a dyn Acknowledge)>>,
    not_sent: Cell<Option<EmitError>>,
}

/// The application's function for failures.
pub(crate) type OnFailure<S> = Box<dyn Fn(&FailedEvent<'_, S>) + Send + Sync>;

impl<'a, S> FailedEvent<'a, S> {
    pub(crate) fn new(
        socket: Option<&'a S>,
        namespace: &'a str,
        event: &'a str,
        failure: HandlerFailure<'a>,
        ack: Option<(u64, &'a dyn Acknowledge)>,
    ) -> FailedEvent<'a, S> {
        FailedEvent { socket, namespace, event, failure, ack: Cell::new(ack), not_sent: Cell::new(None) }
    }

    /// Calls the application's function. Returns why its acknowledgement was not sent.
    pub(crate) fn tell(self, function: &OnFailure<S>) -> Option<EmitError> {
        guard("on_handler_error", || function(&self));
        // A client that has gone, or is closed because it does not read, needs no answer.
        self.not_sent
            .take()
            .filter(|error| !matches!(error, EmitError::Disconnected | EmitError::SlowConsumer { .. }))
    }

    /// Returns the socket of the event. `None` for an event that another server sent, and for a handler of a namespace that
    /// was [registered late](HandlerFailure::RegisteredLate).
    pub fn socket(&self) -> Option<&'a S> {
        self.socket
    }

    /// Returns the name of the namespace.
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// Returns the name of the event; for a handler in the socket's own life it is `connect`, `disconnect` and the like,
    /// which no event of a peer can have.
    pub fn event(&self) -> &'a str {
        self.event
    }

    /// Returns the cause.
    pub fn failure(&self) -> HandlerFailure<'a> {
        self.failure
    }

    /// Returns whether [`ack`](FailedEvent::ack) sends an acknowledgement: the peer wants one, and no handler of the
    /// event has sent it or may still do so.
    pub fn wants_ack(&self) -> bool {
        self.ack.get().is_some()
    }

    /// Sends the acknowledgement in place of the handler. Does nothing if none is [wanted](FailedEvent::wants_ack). If it
    /// cannot be sent, that is logged.
    pub fn ack(&self, args: impl Payload) {
        if let Some((id, reply)) = self.ack.take() {
            self.not_sent.set(reply.acknowledge(id, &args).err());
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for FailedEvent<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedEvent")
            .field("event", &self.event)
            .field("namespace", &self.namespace)
            .field("socket", &self.socket)
            .field("failure", &self.failure)
            .field("ack", &self.ack.get().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}
