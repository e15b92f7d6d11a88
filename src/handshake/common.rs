//! The lines of requests that many clients have in common, kept once.

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

/// The part of requests that many sessions of a server share, and the choice of headers that sessions keep.
///
/// An entry lives as long as the sessions that use it, so clients cannot let the table grow beyond one entry for each of
/// their sessions; and it is bounded.
#[derive(Default)]
pub(crate) struct Common {
    /// By the hash of the lines. Its key is random, and an entry with other lines is not used.
    table: Mutex<HashMap<u64, Weak<Beside>, RandomState>>,
    hasher: RandomState,
    /// The names of the headers that sessions keep. `None` stands for all but [`NONCE`].
    keep: Option<Box<[Box<str>]>>,
}

/// The header that only the WebSocket handshake needs: a random number, which would take memory in every session.
const NONCE: &str = "sec-websocket-key";

/// The maximum number of entries. A session that finds no place keeps its whole request for itself.
const MAX_ENTRIES: usize = 4096;
/// The maximum length of an entry in bytes.
const MAX_LEN: usize = 2048;

/// Lines that sessions share. The last session that drops them removes them from the table.
pub(super) struct Lines {
    text: Box<[u8]>,
    key: u64,
    table: Weak<Common>,
}

/// The parts of a request besides its own bytes. One value for all of them, so that a session keeps a single pointer.
pub(super) enum Beside {
    Lines(Lines),
    /// The request was passed on by another server.
    #[cfg(feature = "http")]
    Mounted {
        lines: Option<Arc<Beside>>,
        extensions: Arc<http::Extensions>,
    },
}

impl Beside {
    /// Returns the shared lines, if there are any.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Beside::Lines(lines) => Some(&lines.text),
            #[cfg(feature = "http")]
            Beside::Mounted { lines, .. } => lines.as_ref()?.text(),
        }
    }
}

impl Common {
    /// Creates the table of a server whose sessions keep the headers with these names; `None` stands for all but `Sec-WebSocket-Key`.
    pub(crate) fn new(keep: Option<Vec<Box<str>>>) -> Common {
        Common { keep: keep.map(Vec::into_boxed_slice), ..Common::default() }
    }

    /// Returns whether sessions keep the header.
    pub(super) fn keeps(&self, name: &str) -> bool {
        match &self.keep {
            Some(names) => names.iter().any(|known| known.eq_ignore_ascii_case(name)),
            None => !name.eq_ignore_ascii_case(NONCE),
        }
    }

    /// Returns the entry with these lines, which it adds if there is none. `None` if they are too long or the table is
    /// full.
    pub(super) fn share(self: &Arc<Self>, text: &[u8]) -> Option<Arc<Beside>> {
        if text.len() > MAX_LEN {
            return None;
        }
        let key = self.hasher.hash_one(text);
        // An entry is dropped without the lock, because it takes the lock itself.
        let known = self.table.lock().get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            return (known.text() == Some(text)).then_some(known);
        }
        let lines = Lines { text: text.into(), key, table: Arc::downgrade(self) };
        let lines = Arc::new(Beside::Lines(lines));
        let mut table = self.table.lock();
        let has_place = table.len() < MAX_ENTRIES;
        if has_place {
            // Another thread may have added the same lines meanwhile. Its sessions keep theirs.
            table.insert(key, Arc::downgrade(&lines));
        }
        drop(table);
        has_place.then_some(lines)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let Some(common) = self.table.upgrade() else { return };
        let mut table = common.table.lock();
        // A new entry may have taken its place meanwhile.
        if table.get(&self.key).is_some_and(|entry| entry.strong_count() == 0) {
            table.remove(&self.key);
        }
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("entries", &self.table.lock().len()).finish_non_exhaustive()
    }
}

/// The headers whose values depend on the kind of client, the page or the proxy, and not on the user.
const COMMON: [&str; 30] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-type",
    "dnt",
    "host",
    "origin",
    "pragma",
    "priority",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-gpc",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-requested-with",
    "x-scheme",
];

/// Returns whether many clients send the same value of this header.
pub(super) fn is_common(name: &str) -> bool {
    COMMON.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns whether many clients send this target: its query has only the parameters of the protocol, without the one that
/// makes each request different.
pub(super) fn is_common_target(target: &[u8]) -> bool {
    let at = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let query = target.get(at + 1..).unwrap_or_default();
    let mut parameters = query.split(|&byte| byte == b'&');
    query.is_empty()
        || parameters.all(|it| it.starts_with(b"EIO=") || it.starts_with(b"transport=") || it == b"resume=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shared_and_goes_with_its_last_user() {
        let common = Arc::new(Common::default());
        let len = || common.table.lock().len();
        let (a, b) = (common.share(b"a"), common.share(b"b"));
        let again = common.share(b"a");
        assert_eq!(len(), 2);
        assert!(matches!((&a, &again), (Some(a), Some(again)) if Arc::ptr_eq(a, again)));
        drop((a, b));
        assert_eq!(len(), 1);
        drop(again);
        assert_eq!(len(), 0);
    }

    #[test]
    fn a_new_entry_stays_when_one_with_the_same_lines_goes_late() {
        let common = Arc::new(Common::default());
        let old = common.share(b"a");
        common.table.lock().clear();
        let new = common.share(b"a");
        drop(old);
        assert_eq!(common.table.lock().len(), 1);
        drop(new);
        assert_eq!(common.table.lock().len(), 0);
    }

    #[test]
    fn the_table_has_a_bound_and_its_end_is_noticed() {
        let common = Arc::new(Common::default());
        assert!(common.share(&[b'a'; MAX_LEN + 1]).is_none());
        let entries: Vec<_> = (0..MAX_ENTRIES).map(|n| common.share(n.to_string().as_bytes())).collect();
        assert!(entries.iter().all(Option::is_some));
        assert!(common.share(b"another").is_none());
        assert!(common.share(b"1").is_some(), "a known one is still shared");
        drop(entries);
        assert_eq!(common.table.lock().len(), 0);
        let last = common.share(b"last");
        drop(common);
        drop(last);
    }

    #[test]
    fn a_target_with_a_parameter_of_the_application_is_not_shared() {
        for (target, expected) in [
            ("/socket.io/?EIO=4&transport=websocket", true),
            ("/socket.io/", true),
            ("/socket.io/?EIO=4&transport=websocket&resume=0", true),
            ("/socket.io/?EIO=4&transport=websocket&resume=12345", false),
            ("/socket.io/?EIO=4&transport=polling&t=abc", false),
            ("/socket.io/?token=secret&EIO=4&transport=polling", false),
        ] {
            assert_eq!(is_common_target(target.as_bytes()), expected, "{target}");
        }
    }
}
