//! The listeners that the sockets of a namespace share.

use super::{Entry, On};
use crate::append::AppendList;
use crate::handler::Kept;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of lists that the names of events are spread over.
const LISTS: usize = 16;

/// Listeners that stay, those for the same events in the order in which they were added. Those for one event are found
/// without a look at most of the others, because a namespace may have many: `benches/count json16`.
pub(crate) struct SharedListeners<S: 'static> {
    /// Those for the events of one name, in the list for that name.
    named: [AppendList<Entry<S>>; LISTS],
    others: AppendList<Entry<S>>,
    /// True if there is one, which each event asks.
    is_used: AtomicBool,
}

impl<S: Clone> SharedListeners<S> {
    /// Adds a listener behind the others.
    pub(crate) fn push(&self, on: On, handler: Kept<S>) {
        let list = match &on {
            On::Event(name) => self.candidates(name),
            _ => &self.others,
        };
        list.push(Entry::new(on, handler, false));
        self.is_used.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_used.load(Ordering::Acquire)
    }

    /// Returns the listeners for the events of a name, and maybe some for other names.
    #[inline]
    pub(crate) fn candidates(&self, event: &str) -> &AppendList<Entry<S>> {
        &self.named[list_of(event)]
    }

    /// Returns the listeners that are not for the events of one name.
    #[inline]
    pub(crate) fn others(&self) -> &AppendList<Entry<S>> {
        &self.others
    }
}

impl<S> Default for SharedListeners<S> {
    fn default() -> Self {
        SharedListeners {
            named: Default::default(),
            others: AppendList::default(),
            is_used: AtomicBool::new(false),
        }
    }
}

/// Returns the index of the list for a name: by its length and two of its letters, which differ for most events of an
/// application.
#[inline]
fn list_of(event: &str) -> usize {
    let letter = |letter: Option<&u8>| letter.map_or(0, |letter| usize::from(*letter));
    let bytes = event.as_bytes();
    (letter(bytes.first()) * 5 + letter(bytes.last()) * 3 + bytes.len()) % LISTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::tests::Silent;
    use std::borrow::Cow;
    use std::sync::Arc;

    #[test]
    fn the_listeners_of_each_name_are_found_among_many() {
        let listeners = SharedListeners::default();
        assert!(listeners.is_empty());
        let name = |number: usize| format!("event {number}");
        for number in (0..200).chain(0..200) {
            let on = On::Event(Cow::Owned(name(number)));
            listeners.push(on, Kept::Capturing(Arc::new(Silent)));
        }
        listeners.push(On::Any, Kept::Plain(&Silent));
        for number in 0..200 {
            let found =
                listeners.candidates(&name(number)).iter().filter(|entry| entry.is_event(&name(number)));
            assert_eq!(found.count(), 2);
        }
        assert_eq!(listeners.candidates("").iter().filter(|entry| entry.is_event("")).count(), 0);
        let others: Vec<_> = listeners.others().iter().map(|entry| entry.is_on(&On::Any)).collect();
        assert_eq!(others, [true]);
        assert!(!listeners.is_empty());
    }

    #[test]
    fn the_events_of_a_program_are_spread_over_most_lists() {
        let events = [
            "message",
            "typing",
            "stop typing",
            "user joined",
            "user left",
            "login",
            "add user",
            "new message",
            "join",
            "leave",
            "subscribe",
            "unsubscribe",
            "create",
            "update",
            "delete",
            "list",
            "read",
            "move",
            "score",
            "state",
        ];
        let lists: std::collections::HashSet<_> = events.iter().map(|event| list_of(event)).collect();
        assert!(lists.len() >= 9, "{} lists", lists.len());
    }
}
