//! Running a server: accepting connections and keeping its time.

use crate::host::{Host, Runtime, WeakHost};
use crate::time::Time;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Runs a server until it is closed: accepts connections and calls [`Host::handle_timeout`] at its deadlines.
/// See [`TimeGuard`] for what comes after.
///
/// `poll_accept` accepts and spawns one connection; `sleep_until` is the runtime's timer. Errors of single connections
/// are skipped, those of the machine (such as too many open files) pause accepting for 100 ms.
///
/// If [`Host::next_deadline`] has passed even after [`Host::handle_timeout`], this future has itself polled again at
/// once. Connections are still served, but the executor is never idle until the deadline moves.
///
/// # Errors
/// The listener's own, if it is [`InvalidInput`](io::ErrorKind::InvalidInput): the listener cannot accept any more.
pub async fn serve<H: Host, S: Future>(
    host: &H,
    runtime: &dyn Runtime,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    sleep_until: impl Fn(Time) -> S,
) -> io::Result<()> {
    let mut accepting = pin!(None::<S>);
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    let mut driver = Driver::new(|| Some(host.clone()));
    poll_fn(|cx| {
        driver.register(host, cx.waker());
        tick(cx, host, runtime, &mut armed, timer.as_mut(), &sleep_until);
        if host.is_closed() {
            return Poll::Ready(Ok(()));
        }
        if let Some(pause) = accepting.as_mut().as_pin_mut() {
            ready!(pause.poll(cx));
            accepting.set(None);
        }
        for _ in 0..ACCEPTS {
            match ready!(poll_accept(cx)) {
                Ok(()) => {}
                Err(e) if concerns_one_connection(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Poll::Ready(Err(e)),
                Err(_) => {
                    accepting.set(Some(sleep_until(runtime.now() + ACCEPT_PAUSE)));
                    break;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Calls [`Host::handle_timeout`] at the deadlines of a server whose connections come from elsewhere, until `host`
/// returns `None`.
///
/// `host` must not own the server. When the server is dropped it wakes this future, which then ends: see [`WeakHost`].
pub async fn keep_time<H: Host, S: Future>(
    host: impl Fn() -> Option<H>,
    runtime: &dyn Runtime,
    sleep_until: impl Fn(Time) -> S,
) {
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    let mut driver = Driver::new(&host);
    poll_fn(|cx| match host() {
        Some(host) => {
            driver.register(&host, cx.waker());
            tick(cx, &host, runtime, &mut armed, timer.as_mut(), &sleep_until);
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// A guard that keeps a server's time going after its listener has ended, or after the future of [`serve`] was dropped:
/// its connections and sessions live on, and so do their deadlines.
pub struct TimeGuard<'a, H: Host, F: FnMut(WeakHost<H>)> {
    host: &'a H,
    keep: F,
}

impl<'a, H: Host, F: FnMut(WeakHost<H>)> TimeGuard<'a, H, F> {
    /// Creates a guard that calls `keep` when it is dropped, unless nothing is left to do. `keep` must spawn
    /// [`keep_time`].
    pub fn new(host: &'a H, keep: F) -> Self {
        TimeGuard { host, keep }
    }
}

impl<H: Host, F: FnMut(WeakHost<H>)> Drop for TimeGuard<'_, H, F> {
    fn drop(&mut self) {
        let is_over = self.host.is_closed() && self.host.next_deadline().is_none();
        if !is_over && let Some(host) = self.host.claim_time() {
            (self.keep)(host);
        }
    }
}

impl<H: Host, F: FnMut(WeakHost<H>)> std::fmt::Debug for TimeGuard<'_, H, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeGuard").finish_non_exhaustive()
    }
}

/// The entry of a driver in its server's table, which is removed when the driver ends.
struct Driver<H: Host, F: Fn() -> Option<H>> {
    host: F,
    waker: Option<Waker>,
}

impl<H: Host, F: Fn() -> Option<H>> Driver<H, F> {
    fn new(host: F) -> Self {
        Driver { host, waker: None }
    }

    /// Registers the waker, in every turn, because another driver of the same task may have removed it.
    fn register(&mut self, host: &H, waker: &Waker) {
        host.set_timer_waker(waker);
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
            && let Some(known) = self.waker.replace(waker.clone())
        {
            host.remove_timer_waker(&known);
        }
    }
}

impl<H: Host, F: Fn() -> Option<H>> Drop for Driver<H, F> {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take()
            && let Some(host) = (self.host)()
        {
            host.remove_timer_waker(&waker);
        }
    }
}

/// Handles the server's deadlines that have passed, and arms the timer for the next one.
fn tick<H: Host, S: Future>(
    cx: &mut Context<'_>,
    host: &H,
    runtime: &dyn Runtime,
    armed: &mut Option<Time>,
    mut timer: Pin<&mut Option<S>>,
    sleep_until: impl Fn(Time) -> S,
) {
    loop {
        let now = runtime.now();
        host.handle_timeout(now);
        let next = host.next_deadline();
        if next.is_some_and(|next| next <= now) {
            // More is due than one turn handles, so connections get a turn in between.
            return cx.waker().wake_by_ref();
        }
        if next != *armed {
            *armed = next;
            timer.set(next.map(&sleep_until));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(_)) => {
                // Dropped even if there is no next deadline, because it must not be polled again.
                *armed = None;
                timer.set(None);
            }
            _ => return,
        }
    }
}

/// Maximum number of connections accepted per turn, so that a burst of them does not delay deadlines.
const ACCEPTS: usize = 64;

/// Pause after an error that concerns the whole machine, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
