//! The listeners of one socket of a server or a client, and those that the sockets of a namespace share.

mod shared;

pub(crate) use shared::SharedListeners;

use crate::extract::Context;
use crate::handler::{AnyHandler, AnySocket, Kept, run};
use smallvec::SmallVec;
use sockeye_core::socketio::{self, is_reserved};
use std::borrow::Cow;

/// The occasion for which a listener is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// An event of this name. The names of the occasions in the socket's own life, such as `disconnect`, are reserved, so
    /// that no event has them.
    Event(Cow<'static, str>),
    /// Every event that arrives, before the listeners of its name.
    Any,
    /// Every event that leaves.
    AnyOutgoing,
    /// Every event of a client that may be lost with its session.
    Lost,
    /// An event that has no listener of its own.
    Unhandled,
    /// The upgrade of the session to WebSocket. Not an event, because a client may send one named `upgrade`.
    Upgrade,
    /// An event that a packet middleware refused.
    Refused,
}

/// The listeners of one socket, in the order in which they are called.
///
/// A list, because a socket has few listeners. Every socket has one, so it is small, and no larger than its entries.
pub(crate) struct Listeners<S: 'static>(Box<[Entry<S>]>);

/// Listeners that were removed. Drop them without a lock, because their captures belong to the application.
#[must_use = "to be dropped without a lock"]
pub(crate) struct Removed<S: 'static>(
    #[allow(dead_code, reason = "kept for its destructor")] Box<[Entry<S>]>,
);

/// A listener.
pub(crate) enum Entry<S: 'static> {
    /// The common case: a literal, and a function that captures nothing.
    Plain(&'static str, &'static dyn AnyHandler<S>),
    Other(Box<Other<S>>),
}

/// A listener that captures something, or is not for the events of one name, which is a literal.
pub(crate) struct Other<S: 'static> {
    on: On,
    handler: Kept<S>,
    /// Removes the listener at the first event that it is called for.
    once: bool,
}

/// The listeners to call for one event.
pub(crate) enum Called<S: 'static> {
    /// No listener.
    None,
    /// The common case: one listener of the event, and no other.
    One(Kept<S>),
    Several {
        /// The catch-all listeners, then those of the event.
        listeners: SmallVec<[Kept<S>; 1]>,
        /// The number of catch-all listeners, which acknowledge nothing.
        any: usize,
        /// The others are for events of this name, and not for events that have no listener.
        is_named: bool,
    },
}

impl On {
    /// Events of this name.
    ///
    /// # Panics
    /// If the name is reserved.
    #[track_caller]
    pub(crate) fn event(name: impl Into<Cow<'static, str>>) -> On {
        let name = name.into();
        assert!(!is_reserved(&name), "{name:?} is a reserved event name{}", instead(&name));
        On::Event(name)
    }
}

/// Returns the method that is meant by a handler of this reserved name, as the end of a sentence.
fn instead(reserved: &str) -> &'static str {
    match reserved {
        "connect" => ": use `on_connect`",
        "connect_error" => ": use `on_connect_error` of a client",
        "disconnect" => ": use `on_disconnect`",
        "disconnecting" => ": use `on_disconnecting`",
        _ => "",
    }
}

impl<S> Default for Listeners<S> {
    fn default() -> Self {
        Listeners(Box::default())
    }
}

impl<S: Clone> Listeners<S> {
    /// Adds a listener behind the others.
    pub(crate) fn add(&mut self, on: On, handler: Kept<S>) {
        let entry = Entry::new(on, handler, false);
        self.insert(self.0.len(), entry);
    }

    /// Adds a listener that is removed by the first event that it is called for.
    pub(crate) fn add_once(&mut self, on: On, handler: Kept<S>) {
        let entry = Entry::new(on, handler, true);
        self.insert(self.0.len(), entry);
    }

    /// Adds a listener before the others.
    pub(crate) fn prepend(&mut self, on: On, handler: Kept<S>) {
        self.insert(0, Entry::new(on, handler, false));
    }

    fn insert(&mut self, at: usize, entry: Entry<S>) {
        self.change(|entries| {
            entries.reserve_exact(1);
            entries.insert(at, entry);
        });
    }

    fn change<R>(&mut self, f: impl FnOnce(&mut Vec<Entry<S>>) -> R) -> R {
        let mut entries = std::mem::take(&mut self.0).into_vec();
        let result = f(&mut entries);
        self.0 = entries.into_boxed_slice();
        result
    }

    /// Removes all listeners of a kind.
    pub(crate) fn remove(&mut self, on: &On) -> Removed<S> {
        Removed(self.change(|entries| entries.extract_if(.., |entry| entry.is_on(on)).collect()))
    }

    /// Removes every listener.
    pub(crate) fn clear(&mut self) -> Removed<S> {
        Removed(std::mem::take(&mut self.0))
    }

    /// Returns whether there is a listener of a kind.
    pub(crate) fn has(&self, on: &On) -> bool {
        self.0.iter().any(|entry| entry.is_on(on))
    }

    /// Returns the listeners of a kind.
    pub(crate) fn all(&self, on: &On) -> SmallVec<[Kept<S>; 1]> {
        self.0.iter().filter(|entry| entry.is_on(on)).map(Entry::handler).collect()
    }

    /// Returns the listeners to call for an event that arrived, and removes those that wanted one event only.
    // Inlined, because every event calls it: `benches/count ack`.
    #[inline(always)]
    pub(crate) fn call(&mut self, event: &str) -> Called<S> {
        let (mut found, mut is_one) = (None, true);
        for entry in &*self.0 {
            let is_called = match entry {
                Entry::Plain(name, _) => *name == event,
                Entry::Other(other) => {
                    let is_any = other.on == On::Any;
                    let is_called = is_any || entry.is_event(event);
                    is_one &= !(is_any || (is_called && other.once));
                    is_called
                }
            };
            if is_called {
                is_one &= found.is_none();
                found = Some(entry);
            }
        }
        match found {
            Some(entry) if is_one => Called::One(entry.handler()),
            None if self.0.is_empty() => Called::None,
            _ => self.call_several(event),
        }
    }

    fn call_several(&mut self, event: &str) -> Called<S> {
        let mut listeners = self.all(&On::Any);
        let any = listeners.len();
        listeners.extend(self.0.iter().filter(|entry| entry.is_event(event)).map(Entry::handler));
        // Their handlers live on in `listeners`.
        let is_over =
            |entry: &Entry<S>| matches!(entry, Entry::Other(other) if other.once && entry.is_event(event));
        if self.0.iter().any(is_over) {
            self.change(|entries| entries.retain(|entry| !is_over(entry)));
        }
        let is_named = listeners.len() > any;
        if !is_named {
            listeners.extend(self.all(&On::Unhandled));
        }
        Called::Several { listeners, any, is_named }
    }
}

impl<S> Called<S> {
    /// Returns whether the event has a listener of its own.
    pub(crate) fn is_named(&self) -> bool {
        match self {
            Called::None => false,
            Called::One(_) => true,
            Called::Several { is_named, .. } => *is_named,
        }
    }

    /// Returns whether the event has a listener of its own, or one for events without.
    pub(crate) fn has_own(&self) -> bool {
        match self {
            Called::None => false,
            Called::One(_) => true,
            Called::Several { listeners, any, .. } => listeners.len() > *any,
        }
    }
}

impl<S: AnySocket> Called<S> {
    /// Calls the listeners for an event that arrived. Nothing is locked meanwhile.
    pub(crate) fn run(&self, socket: &S, event: &str, args: &socketio::Args<'_>, ack: Option<u64>) {
        match self {
            Called::None => {}
            Called::One(listener) => {
                run(&**listener, &Context::for_event(socket, event, args, ack));
            }
            Called::Several { .. } => {
                self.run_several(std::iter::empty(), std::iter::empty(), socket, event, args, ack);
            }
        }
    }

    /// Does the same as [`run`](Called::run), and also calls the listeners that the socket shares with others: the
    /// catch-all ones of both before the others, and of each sort the shared ones first. Of these, `named` are those for
    /// the event, and `others` those that are not for the events of one name.
    ///
    /// Returns whether the event has a listener of its own, or one for events without.
    #[inline]
    pub(crate) fn run_with<'a>(
        &self,
        named: impl Iterator<Item = &'a Entry<S>> + Clone,
        others: impl Iterator<Item = &'a Entry<S>> + Clone,
        socket: &S,
        event: &str,
        args: &socketio::Args<'_>,
        ack: Option<u64>,
    ) -> bool {
        let is_empty = match self {
            Called::None => true,
            Called::One(_) => false,
            Called::Several { listeners, .. } => listeners.is_empty(),
        };
        let mut behind = named.clone();
        match behind.next() {
            Some(only)
                if is_empty
                    && behind.next().is_none()
                    && !others.clone().any(|entry| entry.is_on(&On::Any)) =>
            {
                run(only.as_handler(), &Context::for_event(socket, event, args, ack));
                true
            }
            _ => self.run_several(named, others, socket, event, args, ack),
        }
    }

    fn run_several<'a>(
        &self,
        named: impl Iterator<Item = &'a Entry<S>> + Clone,
        others: impl Iterator<Item = &'a Entry<S>> + Clone,
        socket: &S,
        event: &str,
        args: &socketio::Args<'_>,
        mut ack: Option<u64>,
    ) -> bool {
        let (any, own, is_own_named) = match self {
            Called::None => (&[][..], &[][..], false),
            Called::One(listener) => (&[][..], std::slice::from_ref(listener), true),
            Called::Several { listeners, any, is_named } => {
                let (any, own) = listeners.split_at(*any);
                (any, own, *is_named)
            }
        };
        let is_named = is_own_named || named.clone().next().is_some();
        let shared_any = others.clone().filter(|entry| entry.is_on(&On::Any)).map(|entry| entry.as_handler());
        for listener in shared_any.chain(any.iter().map(|listener| &**listener)) {
            run(listener, &Context::for_event(socket, event, args, None));
        }
        // The socket's listeners for events without one are not called if a shared one has the event's name.
        let own = if is_own_named == is_named { own } else { &[] };
        let unhandled = others.filter(|entry| !is_named && entry.is_on(&On::Unhandled));
        let mut is_handled = false;
        let shared = named.chain(unhandled).map(|entry| entry.as_handler());
        let mut listeners = shared.chain(own.iter().map(|own| &**own)).peekable();
        while let Some(listener) = listeners.next() {
            // The first listener that can be called acknowledges the event.
            let is_last = listeners.peek().is_none();
            let context = Context { is_last, ..Context::for_event(socket, event, args, ack) };
            run(listener, &context);
            ack = context.ack.get();
            is_handled = true;
        }
        is_handled
    }
}

impl<S: Clone> Entry<S> {
    pub(crate) fn new(on: On, handler: Kept<S>, once: bool) -> Entry<S> {
        match (on, handler) {
            (On::Event(Cow::Borrowed(event)), Kept::Plain(handler)) if !once => Entry::Plain(event, handler),
            (on, handler) => Entry::Other(Box::new(Other { on, handler, once })),
        }
    }

    pub(crate) fn is_event(&self, event: &str) -> bool {
        match self {
            Entry::Plain(name, _) => *name == event,
            Entry::Other(other) => matches!(&other.on, On::Event(name) if *name == event),
        }
    }

    pub(crate) fn is_on(&self, on: &On) -> bool {
        match (self, on) {
            (_, On::Event(event)) => self.is_event(event),
            (Entry::Plain(..), _) => false,
            (Entry::Other(other), on) => other.on == *on,
        }
    }

    pub(crate) fn handler(&self) -> Kept<S> {
        match self {
            Entry::Plain(_, handler) => Kept::Plain(*handler),
            Entry::Other(other) => other.handler.clone(),
        }
    }

    /// Returns the handler without counting a reference to it.
    fn as_handler(&self) -> &dyn AnyHandler<S> {
        match self {
            Entry::Plain(_, handler) => *handler,
            Entry::Other(other) => &*other.handler,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Started;
    use std::sync::{Arc, Mutex};

    type Calls = Arc<Mutex<Vec<&'static str>>>;

    /// A listener that notes its name.
    struct Note(&'static str, Calls);

    impl AnyHandler<()> for Note {
        fn start(&self, _: &Context<'_, ()>) -> Started<()> {
            self.1.lock().expect("no test panics with it").push(self.0);
            Started::Done(Ok(()))
        }
    }

    pub(super) struct Silent;

    impl AnyHandler<()> for Silent {
        fn start(&self, _: &Context<'_, ()>) -> Started<()> {
            Started::Done(Ok(()))
        }
    }

    fn on(event: &'static str) -> On {
        On::Event(event.into())
    }

    /// Calls what an event calls, and returns the names in order.
    fn event(listeners: &mut Listeners<()>, name: &str, calls: &Calls) -> Vec<&'static str> {
        let called = match listeners.call(name) {
            Called::None => SmallVec::new(),
            Called::One(handler) => SmallVec::from([handler]),
            Called::Several { listeners, .. } => listeners,
        };
        for handler in &called {
            assert!(matches!(handler.start(&Context::new(&(), name)), Started::Done(Ok(()))));
        }
        std::mem::take(&mut calls.lock().expect("no test panics with it"))
    }

    #[test]
    fn listeners_of_an_event_are_called_in_order_behind_the_catch_all_ones() {
        let calls = Calls::default();
        let note = |name| Kept::Capturing(Arc::new(Note(name, calls.clone())));
        let mut listeners = Listeners::default();
        listeners.add(on("a"), note("first"));
        listeners.add(on("b"), note("other"));
        listeners.add(On::Any, note("any"));
        listeners.add(On::Event(String::from("a").into()), note("second"));
        listeners.prepend(On::Any, note("any before"));
        listeners.add(On::Unhandled, note("unhandled"));
        listeners.add(On::AnyOutgoing, note("outgoing"));
        assert_eq!(event(&mut listeners, "a", &calls), ["any before", "any", "first", "second"]);
        assert_eq!(event(&mut listeners, "c", &calls), ["any before", "any", "unhandled"]);
        drop(listeners.remove(&On::Any));
        drop(listeners.remove(&on("a")));
        assert_eq!(event(&mut listeners, "a", &calls), ["unhandled"]);
        assert_eq!(event(&mut listeners, "b", &calls), ["other"]);
        assert!(listeners.has(&On::AnyOutgoing) && !listeners.has(&On::Any));
    }

    #[test]
    fn a_listener_for_one_event_is_removed_by_it_and_no_other_is() {
        let calls = Calls::default();
        let note = |name| Kept::Capturing(Arc::new(Note(name, calls.clone())));
        let mut listeners = Listeners::default();
        listeners.add_once(on("a"), note("once"));
        listeners.add(on("a"), note("always"));
        listeners.add_once(on("b"), note("other"));
        assert_eq!(event(&mut listeners, "a", &calls), ["once", "always"]);
        assert_eq!(event(&mut listeners, "a", &calls), ["always"]);
        assert_eq!(event(&mut listeners, "b", &calls), ["other"]);
        assert_eq!(event(&mut listeners, "b", &calls), [""; 0]);
    }

    #[test]
    fn one_listener_takes_one_entry_and_capturing_nothing_no_box() {
        let mut listeners = Listeners::default();
        listeners.add(on("a"), Kept::Plain(&Silent));
        assert_eq!(listeners.0.len(), 1);
        assert!(matches!(listeners.0.first(), Some(Entry::Plain("a", _))));
        assert!(size_of::<Entry<()>>() <= 32);
    }
}
