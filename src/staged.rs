//! The influence of a test on the server that it drives: its ids come from a seed, its failures are noted, and requests
//! have extensions.
//!
//! It lasts while the test's thread runs the server, or one connection, and concerns that thread only.

use crate::observe::{Cause, HandlerFailure, ServerEvent};
use sockeye_core::Random;
use sockeye_core::engineio::CloseReason;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Maximum number of notes that are kept.
const MAX_NOTES: usize = 20;

thread_local! {
    static STAGED: RefCell<Option<Staged>> = const { RefCell::new(None) };
}

/// The state of one test.
pub(crate) struct Staged {
    pub(crate) random: Random,
    /// The last failures that the server reported.
    pub(crate) notes: VecDeque<String>,
}

impl Staged {
    pub(crate) fn new(random: Random) -> Staged {
        Staged { random, notes: VecDeque::new() }
    }
}

/// Puts a test's state in place on this thread, and returns the one that was there.
pub(crate) fn replace(staged: Option<Staged>) -> Option<Staged> {
    STAGED
        .try_with(|known| {
            known.try_borrow_mut().ok().and_then(|mut known| std::mem::replace(&mut *known, staged))
        })
        .ok()
        .flatten()
}

/// Returns the random bytes of an id, if a test drives the server.
pub(crate) fn random() -> Option<[u8; 15]> {
    with(|staged| staged.random.bytes())
}

/// Notes an event of the server, if a test drives it and the event may be why the test fails.
pub(crate) fn note(event: &ServerEvent<'_>) {
    with(|staged| {
        let Some(note) = describe(event) else { return };
        if staged.notes.len() == MAX_NOTES {
            staged.notes.pop_front();
        }
        staged.notes.push_back(note);
    });
}

#[cfg(feature = "http")]
thread_local! {
    static EXTENSIONS: RefCell<http::Extensions> = RefCell::default();
}

/// Calls `f`. Requests that it handles have these extensions, as if the server were mounted behind a layer that adds them.
#[cfg(feature = "http")]
pub(crate) fn with_extensions<R>(extensions: &http::Extensions, f: impl FnOnce() -> R) -> R {
    let outer = EXTENSIONS.replace(extensions.clone());
    let result = f();
    EXTENSIONS.set(outer);
    result
}

/// Returns the extensions of the request that is being handled.
#[cfg(feature = "http")]
pub(crate) fn extensions() -> http::Extensions {
    EXTENSIONS.with_borrow(Clone::clone)
}

fn with<R>(f: impl FnOnce(&mut Staged) -> R) -> Option<R> {
    STAGED.try_with(|staged| staged.try_borrow_mut().ok()?.as_mut().map(f)).ok().flatten()
}

fn describe(event: &ServerEvent<'_>) -> Option<String> {
    Some(match event {
        ServerEvent::HandlerFailed { namespace, event, failure, .. } => match failure {
            HandlerFailure::NotCalled(error) => {
                format!("the handler of {event:?} in {namespace:?} was not called: {error}")
            }
            HandlerFailure::Panicked(message) => {
                format!("the handler of {event:?} in {namespace:?} panicked: {message}")
            }
            HandlerFailure::Unhandled => format!("there is no handler of {event:?} in {namespace:?}"),
            failure => format!("the handler of {event:?} in {namespace:?} failed: {failure}"),
        },
        ServerEvent::EventRefused { namespace, event, message, .. } => {
            format!("the event {event:?} in {namespace:?} was refused: {message}")
        }
        ServerEvent::ConnectRefused { namespace, message, .. } => {
            format!("a client was refused by {namespace:?}: {message}")
        }
        ServerEvent::RequestRefused { status, cause, .. } => {
            format!("a request was refused with status {status}: {cause}")
        }
        ServerEvent::SessionClosed { reason: CloseReason::TransportClose, .. } => return None,
        ServerEvent::SessionClosed { reason, .. } => format!("a session was closed: {}", Cause(reason)),
        _ => return None,
    })
}
