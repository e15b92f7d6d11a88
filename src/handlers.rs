//! The handlers of one socket, by the name of their event.

use crate::handler::{AnyHandler, Kept};
use std::borrow::Cow;

/// The handlers of one socket: a list, as there are few. Every socket has one, so it is small.
#[derive(Default)]
pub(crate) struct Handlers(Vec<Entry>);

enum Entry {
    /// What most are: a literal, and a function that captures nothing.
    Plain(&'static str, &'static dyn AnyHandler),
    Other(Box<(Cow<'static, str>, Kept)>),
}

impl Handlers {
    pub(crate) fn get(&self, event: &str) -> Option<Kept> {
        self.0.iter().find(|entry| entry.event() == event).map(Entry::handler)
    }

    /// Gives back what it replaces.
    pub(crate) fn insert(&mut self, event: Cow<'static, str>, handler: Kept) -> Option<Kept> {
        let replaced = self.remove(&event);
        let entry = match (event, handler) {
            (Cow::Borrowed(event), Kept::Plain(handler)) => Entry::Plain(event, handler),
            other => Entry::Other(Box::new(other)),
        };
        self.0.push(entry);
        replaced
    }

    pub(crate) fn remove(&mut self, event: &str) -> Option<Kept> {
        let at = self.0.iter().position(|entry| entry.event() == event)?;
        Some(match self.0.remove(at) {
            Entry::Plain(_, handler) => Kept::Plain(handler),
            Entry::Other(other) => other.1,
        })
    }
}

impl Entry {
    fn event(&self) -> &str {
        match self {
            Entry::Plain(event, _) => event,
            Entry::Other(other) => &other.0,
        }
    }

    fn handler(&self) -> Kept {
        match self {
            Entry::Plain(_, handler) => Kept::Plain(*handler),
            Entry::Other(other) => other.1.clone(),
        }
    }
}
