//! The handlers of one socket, by the name of their event.

use crate::handler::{AnyHandler, Kept};
use crate::socket::Socket;
use std::borrow::Cow;

/// The handlers of one socket: a list, as there are few. Every socket has one, so it is small.
pub(crate) struct Handlers<S: 'static = Socket>(Vec<Entry<S>>);

enum Entry<S: 'static> {
    /// What most are: a literal, and a function that captures nothing.
    Plain(&'static str, &'static dyn AnyHandler<S>),
    Other(Box<Other<S>>),
}

struct Other<S: 'static> {
    event: Cow<'static, str>,
    handler: Kept<S>,
    /// It goes with the first event.
    once: bool,
}

impl<S> Default for Handlers<S> {
    fn default() -> Self {
        Handlers(Vec::new())
    }
}

impl<S: Clone> Handlers<S> {
    pub(crate) fn get(&self, event: &str) -> Option<Kept<S>> {
        self.0.iter().find(|entry| entry.event() == event).map(Entry::handler)
    }

    /// Gives back what it replaces.
    pub(crate) fn insert(&mut self, event: Cow<'static, str>, handler: Kept<S>) -> Option<Kept<S>> {
        let replaced = self.remove(&event);
        let entry = match (event, handler) {
            (Cow::Borrowed(event), Kept::Plain(handler)) => Entry::Plain(event, handler),
            (event, handler) => Entry::Other(Box::new(Other { event, handler, once: false })),
        };
        self.push(entry);
        replaced
    }

    /// The same, until [`remove_once`](Handlers::remove_once).
    pub(crate) fn insert_once(&mut self, event: Cow<'static, str>, handler: Kept<S>) -> Option<Kept<S>> {
        let replaced = self.remove(&event);
        self.push(Entry::Other(Box::new(Other { event, handler, once: true })));
        replaced
    }

    /// The list doubles from one on: many sockets have one handler.
    fn push(&mut self, entry: Entry<S>) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(self.0.len().max(1));
        }
        self.0.push(entry);
    }

    /// Removes a handler that is for one event only.
    pub(crate) fn remove_once(&mut self, event: &str) -> Option<Kept<S>> {
        let is_once = |entry: &Entry<S>| matches!(entry, Entry::Other(other) if other.once);
        let is_due = self.0.iter().any(|entry| entry.event() == event && is_once(entry));
        if is_due { self.remove(event) } else { None }
    }

    pub(crate) fn remove(&mut self, event: &str) -> Option<Kept<S>> {
        let at = self.0.iter().position(|entry| entry.event() == event)?;
        Some(match self.0.remove(at) {
            Entry::Plain(_, handler) => Kept::Plain(handler),
            Entry::Other(other) => other.handler,
        })
    }
}

impl<S: Clone> Entry<S> {
    fn event(&self) -> &str {
        match self {
            Entry::Plain(event, _) => event,
            Entry::Other(other) => &other.event,
        }
    }

    fn handler(&self) -> Kept<S> {
        match self {
            Entry::Plain(_, handler) => Kept::Plain(*handler),
            Entry::Other(other) => other.handler.clone(),
        }
    }
}
