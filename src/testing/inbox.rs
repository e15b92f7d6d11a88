//! The events that have arrived at a client, and the changes of its connection, until the test expects them.

use crate::client::{ClientConnectError, ClientDisconnectReason, ClientSocket, Events, Received};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::future::Future;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Maximum number of lines in the message of a failure.
const MAX_LINES: usize = 30;

#[derive(Clone)]
pub(super) struct Inbox(Arc<Mutex<State>>);

pub(super) struct State {
    stream: Events,
    /// The events, in the order in which they arrived.
    pub(super) events: VecDeque<Received>,
    pub(super) changes: VecDeque<Change>,
    /// The waker of the test.
    waker: Option<Waker>,
}

/// A change of the connection to a namespace.
pub(super) enum Change {
    Connected,
    Disconnected(ClientDisconnectReason),
    Failed(ClientConnectError),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Connected => f.write_str("connected"),
            Change::Disconnected(reason) => write!(f, "disconnected: {reason}"),
            Change::Failed(error) => write!(f, "not connected: {error}"),
        }
    }
}

impl Inbox {
    pub(super) fn new(socket: &ClientSocket) -> Inbox {
        let state =
            State { stream: socket.events(), events: VecDeque::new(), changes: VecDeque::new(), waker: None };
        let inbox = Inbox(Arc::new(Mutex::new(state)));
        let (connected, disconnected, failed) = (inbox.clone(), inbox.clone(), inbox.clone());
        socket.on_connect(move || {
            connected.note(Change::Connected);
            async {}
        });
        socket.on_disconnect(move |reason: ClientDisconnectReason| {
            disconnected.note(Change::Disconnected(reason));
            async {}
        });
        socket.on_connect_error(move |error: ClientConnectError| {
            failed.note(Change::Failed(error));
            async {}
        });
        inbox
    }

    fn note(&self, change: Change) {
        let waker = {
            let mut state = self.0.lock();
            state.changes.push_back(change);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits until `look` finds what it looks for, or `late` has completed.
    pub(super) async fn wait<T>(
        &self,
        mut late: impl Future<Output = ()> + Unpin,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        poll_fn(|cx| {
            let found = {
                let mut state = self.0.lock();
                state.fill(cx);
                state.waker = Some(cx.waker().clone());
                look(&mut state)
            };
            match found {
                Some(found) => Poll::Ready(Some(found)),
                None => std::pin::Pin::new(&mut late).poll(cx).map(|()| None),
            }
        })
        .await
    }

    /// Runs `f` on what has arrived by now.
    pub(super) fn look<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock();
        state.fill(&mut Context::from_waker(Waker::noop()));
        f(&mut state)
    }
}

impl State {
    fn fill(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(received)) = self.stream.poll_recv(cx) {
            self.events.push_back(received);
        }
    }

    /// Takes the first event of a name.
    pub(super) fn take(&mut self, event: &str) -> Option<Received> {
        let at = self.events.iter().position(|received| received.event() == event)?;
        self.events.remove(at)
    }

    /// Takes the first change that `pick` picks, and drops those before it.
    pub(super) fn take_change<T>(&mut self, pick: impl Fn(&Change) -> Option<T>) -> Option<T> {
        let (at, picked) =
            self.changes.iter().enumerate().find_map(|(at, change)| Some((at, pick(change)?)))?;
        self.changes.drain(..=at);
        Some(picked)
    }

    /// Returns whether nothing is left that the test has not expected.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.changes.iter().all(|change| matches!(change, Change::Connected))
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.changes.clear();
    }

    /// Describes what is left, for the message of a failure.
    pub(super) fn describe(&self, out: &mut String) {
        if self.is_empty() {
            out.push_str("\n  nothing else has arrived");
            return;
        }
        out.push_str("\n  this has arrived, and was not expected before:");
        let events = self.events.iter().map(|received| Line(received).to_string());
        let lines = events.chain(self.changes.iter().map(Change::to_string));
        let count = self.events.len() + self.changes.len();
        lines.take(MAX_LINES).for_each(|line| _ = write!(out, "\n    {line}"));
        if count > MAX_LINES {
            let _ = write!(out, "\n    and {} more", count - MAX_LINES);
        }
    }
}

/// Displays an event with its arguments.
pub(super) struct Line<'a>(pub(super) &'a Received);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.0.event(), self.0.args())
    }
}
