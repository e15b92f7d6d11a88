//! The names of events that arrived before they had a handler.

use crate::listeners::On;
use smol_str::SmolStr;

/// The maximum number of names that are noted. Then a new one replaces the oldest.
const MAX_NAMES: usize = 8;

/// The maximum length of a name that is noted, in bytes: peers choose the names.
const MAX_LEN: usize = 256;

/// The names of the last events that had no handler, each once.
#[derive(Default)]
pub(super) struct Missed(Vec<SmolStr>);

impl Missed {
    /// Notes an event that has no handler.
    pub(super) fn note(&mut self, event: &str) {
        if event.len() > MAX_LEN || self.0.iter().any(|known| known == event) {
            return;
        }
        if self.0.len() == MAX_NAMES {
            self.0.remove(0);
        }
        self.0.push(event.into());
    }

    /// Returns the name of the event, and forgets it, if it has arrived before this handler for it was registered.
    pub(super) fn take(&mut self, on: &On) -> Option<SmolStr> {
        let On::Event(event) = on else { return None };
        let at = self.0.iter().position(|known| **known == **event)?;
        Some(self.0.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_names_are_noted_once_each() {
        let mut missed = Missed::default();
        let events: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        events.iter().chain(&events[18..]).for_each(|event| missed.note(event));
        missed.note(&"x".repeat(MAX_LEN + 1));
        assert_eq!(missed.0, events[12..]);
        assert_eq!(missed.take(&On::event("11")), None);
        assert_eq!(missed.take(&On::Any), None);
        assert_eq!(missed.take(&On::event("15")).as_deref(), Some("15"));
        assert_eq!(missed.take(&On::event("15")), None);
    }
}
