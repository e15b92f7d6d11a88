//! The first packet of a session of version 3 over WebSocket.

use crate::engine::Application;
use crate::engine::server::ServerInner;
use crate::engine::session::Session;
use crate::engine::timers::Notify;
use sockeye_core::Time;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// Time between the response to the handshake and the first packet. A client that begins to listen once it is told that
/// the connection is open misses what it has read together with the response.
const PAUSE: Duration = Duration::from_millis(10);

/// Holds back what a new session sends until the client has had the time to read the response by itself. The end of the
/// session is not held back.
pub(super) fn hold_back<A: Application>(now: Time, server: &ServerInner<A>, session: &Session<A>) {
    session.cork();
    let uncork = Waker::from(Arc::new(Uncork(session.clone())));
    let (_, driver) = server.timers.insert(now + PAUSE, Notify::Waker(uncork));
    if let Some(driver) = driver {
        driver.wake();
    }
}

struct Uncork<A: Application>(Session<A>);

impl<A: Application> Wake for Uncork<A> {
    fn wake(self: Arc<Self>) {
        self.0.uncork();
    }
}
