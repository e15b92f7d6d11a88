//! The log, through `tracing` if the feature is on, otherwise nothing. Call sites look the same.
//!
//! The spans, from the outside in:
//!
//! | name | fields | entered while |
//! |---|---|---|
//! | `connection` | `peer` | a connection, or a request of another HTTP server, is handled, until it carries a session |
//! | `session` | `sid` | packets of a session, its end, or the connection that carries it, are handled |
//! | `admission` | `namespace`, `socket` | a client waits for a namespace's middleware |
//! | `handler` | `event`, `namespace`, `socket` | a handler or a packet middleware is polled, at any time |
//!
//! The span of a session is inside of that of the connection that opened it, even after an upgrade; those of admissions
//! and handlers are inside of that of their session, whichever thread calls the handler. Handlers of a client, and of events
//! from other servers, have only `handler`, without `socket`. All are at level `INFO`, so that a program that logs at that
//! level sees its own lines in them.
//!
//! A span in which no subscriber is interested is not created: to create or to enter it is a branch. With the feature, a
//! session is 8 bytes larger, which take the place of what an allocator would add.

use parking_lot::Mutex;
use sockeye_core::engineio::Id;
use std::fmt;
use std::net::SocketAddr;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::*;
#[cfg(feature = "tracing")]
pub(crate) use on::*;

/// Returns the text that identifies a session in the log: the first characters of its id. The id is a secret, of which
/// 84 random bits remain.
pub(crate) fn sid(id: Id) -> impl fmt::Display {
    ShortId(id)
}

struct ShortId(Id);

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().get(..6).unwrap_or_default())
    }
}

/// Returns the text that identifies a socket in the log: its id, of which only the first characters are shown if it is that
/// of its session, as it is for clients of Socket.IO 2.
pub(crate) fn socket(id: Id, session: Id) -> impl fmt::Display {
    SocketId { id, session }
}

struct SocketId {
    id: Id,
    session: Id,
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id == self.session {
            true => sid(self.session).fmt(f),
            false => self.id.fmt(f),
        }
    }
}

/// Prints a fault of this program to standard error, once for each `key`, unless a log shows it: the fault would otherwise
/// show nowhere.
pub(crate) fn print_once(key: &'static str, fault: fmt::Arguments<'_>) {
    /// The keys of what was printed. There are not more than types in the program.
    static PRINTED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    #[cfg(feature = "tracing")]
    if tracing::dispatcher::has_been_set() {
        return;
    }
    {
        let mut printed = PRINTED.lock();
        if printed.contains(&key) {
            return;
        }
        printed.push(key);
    }
    eprintln!("sockeye: {fault}. Further cases are only logged, by the feature `tracing`.");
}

/// Returns the text of a peer's address.
pub(crate) fn peer(address: Option<SocketAddr>) -> impl fmt::Display {
    PeerText(address)
}

struct PeerText(Option<SocketAddr>);

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

#[cfg(feature = "tracing")]
mod on {
    use sockeye_core::engineio::Id;
    use std::fmt;
    use std::marker::PhantomData;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tracing::level_filters::LevelFilter;
    use tracing::{Level, info_span};
    pub(crate) use tracing::{debug, error, warn};

    /// A span, or none if no subscriber is interested. It is small, because connections and sessions keep theirs.
    #[derive(Debug)]
    pub struct Span(Option<Arc<tracing::Span>>);

    /// Leaves the span when it is dropped. It borrows nothing, so that the connection that the span belongs to can be
    /// changed meanwhile. It is not `Send`, so that no handler waits while it exists.
    #[must_use = "the span is left when this is dropped"]
    pub(crate) struct Entered(Option<Arc<tracing::Span>>, PhantomData<*const ()>);

    impl Span {
        pub(crate) fn none() -> Span {
            Span(None)
        }

        #[inline]
        fn new(make: impl FnOnce() -> tracing::Span) -> Span {
            match Level::INFO <= LevelFilter::current() {
                true => Span::make(make),
                false => Span(None),
            }
        }

        #[cold]
        fn make(make: impl FnOnce() -> tracing::Span) -> Span {
            let span = make();
            Span((!span.is_disabled()).then(|| Arc::new(span)))
        }

        #[inline]
        pub(crate) fn enter(&self) -> Entered {
            Entered(self.0.as_ref().map(entered), PhantomData)
        }

        fn id(&self) -> Option<tracing::Id> {
            self.0.as_ref()?.id()
        }
    }

    #[cold]
    fn entered(span: &Arc<tracing::Span>) -> Arc<tracing::Span> {
        span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        span.clone()
    }

    impl Drop for Entered {
        #[inline]
        fn drop(&mut self) {
            #[cold]
            fn leave(span: &tracing::Span) {
                span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
            }
            if let Some(span) = &self.0 {
                leave(span);
            }
        }
    }

    /// Returns whether lines of the level `DEBUG` may be of interest, for those that take work.
    #[inline]
    pub(crate) fn wants_debug() -> bool {
        Level::DEBUG <= LevelFilter::current()
    }

    /// Returns the span of a connection. It has no parent, because the session would keep that open: around a mounted
    /// server it may be the span of a request.
    pub(crate) fn connection(peer: Option<SocketAddr>) -> Span {
        Span::new(|| info_span!(parent: None, "connection", peer = %crate::log::peer(peer)))
    }

    /// Returns the span of a session, inside of the span that is entered.
    pub(crate) fn session(id: Id) -> Span {
        Span::new(|| info_span!("session", sid = %crate::log::sid(id)))
    }

    /// Returns the span of the admission of a client.
    pub(crate) fn admission(session: &Span, namespace: &str, socket: impl fmt::Display) -> Span {
        Span::new(|| info_span!(parent: session.id(), "admission", namespace, %socket))
    }

    /// Returns the span of the call of a handler.
    #[inline]
    pub(crate) fn handler(session: &Span, event: &str, namespace: &str, socket: impl fmt::Display) -> Span {
        Span::new(|| info_span!(parent: session.id(), "handler", event, namespace, %socket))
    }

    /// Returns the span of the call of a handler that belongs to no session of a server, inside of the span that is entered: of
    /// a client, or for an event of another server.
    #[inline]
    pub(crate) fn detached_handler(event: &str, namespace: &str) -> Span {
        Span::new(|| info_span!("handler", event, namespace))
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use sockeye_core::engineio::Id;
    use std::fmt;
    use std::net::SocketAddr;

    macro_rules! nothing {
        ($($any:tt)*) => {
            // Uses the arguments, so that there are no warnings about unused variables.
            if false { $crate::log::use_fields!($($any)*); }
        };
    }

    macro_rules! use_fields {
        (% $value:ident, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
        ($name:ident = ? $value:expr, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
        ($name:ident = % $value:expr, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
        ($name:ident, $($rest:tt)*) => { let _ = &$name; $crate::log::use_fields!($($rest)*); };
        ($message:literal) => { let _ = ::std::format_args!($message); };
    }

    pub(crate) use {nothing as debug, nothing as error, nothing as warn, use_fields};

    #[derive(Debug)]
    pub struct Span;

    pub(crate) struct Entered;

    impl Span {
        pub(crate) fn none() -> Span {
            Span
        }

        pub(crate) fn enter(&self) -> Entered {
            Entered
        }
    }

    pub(crate) const fn wants_debug() -> bool {
        false
    }

    pub(crate) fn connection(_: Option<SocketAddr>) -> Span {
        Span
    }

    pub(crate) fn session(_: Id) -> Span {
        Span
    }

    pub(crate) fn admission(_: &Span, _: &str, _: impl fmt::Display) -> Span {
        Span
    }

    pub(crate) fn handler(_: &Span, _: &str, _: &str, _: impl fmt::Display) -> Span {
        Span
    }

    pub(crate) fn detached_handler(_: &str, _: &str) -> Span {
        Span
    }
}
