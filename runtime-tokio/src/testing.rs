//! A runtime whose clock is paused, for tests.

use crate::Tokio;
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Returns whether the caller is inside of a runtime, in which no other can be started.
pub fn is_inside() -> bool {
    Handle::try_current().is_ok()
}

/// Starts a runtime on the threads that block on it, with a clock that jumps to the next timer if no task is ready.
///
/// # Errors
/// If the system has no resources for it.
pub fn paused() -> io::Result<(Runtime, Tokio)> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let tokio = {
        let _inside = runtime.enter();
        Tokio::new()
    };
    Ok((runtime, tokio))
}
