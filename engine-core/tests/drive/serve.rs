//! The loop of a server: it accepts, and reports when time has passed.

use super::{App, Clock, app, at, poll, wakes};
use sockeye_core::Time;
use sockeye_core::drive::{TimeGuard, keep_time, serve};
use sockeye_core::host::{Host, Peer, Runtime, WeakHost};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    deadlines: VecDeque<Time>,
    timeouts: Vec<Time>,
    /// The number of deadlines that the next turn leaves unhandled.
    left: usize,
    closed: bool,
    drivers: Vec<Waker>,
}

impl Host for Server {
    type Connection = App;

    fn attach(&self, runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime> {
        runtime
    }

    fn accept(&self, _: Time, _: Peer) -> App {
        app()
    }

    fn next_deadline(&self) -> Option<Time> {
        self.0.lock().unwrap().deadlines.front().copied()
    }

    fn handle_timeout(&self, now: Time) {
        let mut state = self.0.lock().unwrap();
        while state.deadlines.len() > state.left && state.deadlines[0] <= now {
            state.deadlines.pop_front();
            state.timeouts.push(now);
        }
        state.left = state.left.saturating_sub(1);
    }

    fn set_timer_waker(&self, waker: &Waker) {
        let drivers = &mut self.0.lock().unwrap().drivers;
        if !drivers.iter().any(|known| known.will_wake(waker)) {
            drivers.push(waker.clone());
        }
    }

    fn remove_timer_waker(&self, waker: &Waker) {
        self.0.lock().unwrap().drivers.retain(|known| !known.will_wake(waker));
    }

    fn claim_time(&self) -> Option<WeakHost<Self>> {
        let weak = Arc::downgrade(&self.0);
        Some(Box::new(move || weak.upgrade().map(Server)))
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }
}

/// A timer that must not be polled after it fired.
struct Sleep {
    clock: Arc<Clock>,
    until: Time,
    fired: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        assert!(!self.fired, "a finished timer was polled");
        self.fired = self.clock.now() >= self.until;
        if self.fired { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn timeouts_are_handled_at_their_deadlines() {
    let clock = Arc::new(Clock::default());
    let server = Server::default();
    server.0.lock().unwrap().deadlines = [at(10), at(20)].into();
    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let mut serving = pin!(serve(&server, &*clock, |_| Poll::Pending, sleep));
    let (wakes, waker) = wakes();
    for ms in [0, 9, 10, 15, 20, 25] {
        clock.0.store(ms, Ordering::Relaxed);
        assert!(poll(&mut serving, &waker).is_pending());
    }
    assert_eq!(server.0.lock().unwrap().timeouts, [at(10), at(20)]);
    server.0.lock().unwrap().deadlines.push_back(at(40));
    for ms in [30, 41] {
        clock.0.store(ms, Ordering::Relaxed);
        assert!(poll(&mut serving, &waker).is_pending());
    }
    assert_eq!(server.0.lock().unwrap().timeouts, [at(10), at(20), at(41)]);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    server.0.lock().unwrap().closed = true;
    assert!(matches!(poll(&mut serving, &waker), Poll::Ready(Ok(()))));
}

#[test]
fn deadlines_that_one_turn_leaves_are_handled_by_the_next() {
    let clock = Arc::new(Clock::default());
    clock.0.store(10, Ordering::Relaxed);
    let server = Server::default();
    (server.0.lock().unwrap().deadlines, server.0.lock().unwrap().left) = ([at(10); 3].into(), 2);
    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let mut serving = pin!(serve(&server, &*clock, |_| Poll::Pending, sleep));
    let (wakes, waker) = wakes();
    for (handled, woken) in [(1, 1), (2, 2), (3, 2), (3, 2)] {
        assert!(poll(&mut serving, &waker).is_pending());
        assert_eq!(server.0.lock().unwrap().timeouts.len(), handled);
        assert_eq!(wakes.0.load(Ordering::Relaxed), woken);
    }
}

#[test]
fn accepting_skips_errors_of_a_connection_pauses_for_the_machines_and_ends_on_the_listeners() {
    let clock = Arc::new(Clock::default());
    let server = Server::default();
    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let script: Mutex<VecDeque<Poll<io::Result<()>>>> = Mutex::new(
        [
            Poll::Ready(Ok(())),
            Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
            Poll::Ready(Ok(())),
            Poll::Ready(Err(ErrorKind::Other.into())),
            Poll::Ready(Ok(())),
            Poll::Pending,
            Poll::Ready(Err(ErrorKind::InvalidInput.into())),
        ]
        .into(),
    );
    let mut serving = pin!(serve(&server, &*clock, |_| script.lock().unwrap().pop_front().unwrap(), sleep));
    let (wakes, waker) = wakes();
    let left = || script.lock().unwrap().len();
    assert!(poll(&mut serving, &waker).is_pending());
    assert_eq!((left(), wakes.0.load(Ordering::Relaxed)), (3, 1), "accepting pauses");
    assert!(poll(&mut serving, &waker).is_pending());
    assert_eq!((left(), wakes.0.load(Ordering::Relaxed)), (3, 1), "the pause lasts until its timer");
    clock.0.store(100, Ordering::Relaxed);
    assert!(poll(&mut serving, &waker).is_pending());
    assert_eq!(left(), 1);
    assert!(matches!(poll(&mut serving, &waker), Poll::Ready(Err(_))));
}

#[test]
fn a_burst_of_connections_does_not_delay_timeouts() {
    let clock = Arc::new(Clock::default());
    let server = Server::default();
    server.0.lock().unwrap().deadlines = [at(10)].into();
    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let mut serving = pin!(serve(
        &server,
        &*clock,
        |_| {
            clock.0.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Ok(()))
        },
        sleep
    ));
    let (wakes, waker) = wakes();
    assert!(poll(&mut serving, &waker).is_pending());
    assert!(poll(&mut serving, &waker).is_pending());
    assert_eq!(server.0.lock().unwrap().timeouts, [at(64)]);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_driver_leaves_the_server_s_table_when_it_ends_or_its_task_changes() {
    let clock = Arc::new(Clock::default());
    let server = Server::default();
    let drivers = || server.0.lock().unwrap().drivers.len();
    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let mut serving = Box::pin(serve(&server, &*clock, |_| Poll::Pending, sleep));
    for _ in 0..3 {
        // Another task each time.
        assert!(poll(&mut serving, &wakes().1).is_pending());
        assert_eq!(drivers(), 1);
    }
    drop(serving);
    assert_eq!(drivers(), 0);
    let mut serving = Box::pin(serve(&server, &*clock, |_| Poll::Pending, sleep));
    assert!(poll(&mut serving, &wakes().1).is_pending());
    server.0.lock().unwrap().closed = true;
    assert!(poll(&mut serving, &wakes().1).is_ready());
    assert_eq!(drivers(), 0);
}

#[test]
fn the_time_of_what_outlives_a_listener_is_kept() {
    let clock = Arc::new(Clock::default());
    let server = Server::default();
    let mut hosts = Vec::new();
    drop(TimeGuard::new(&server, |host| hosts.push(host)));
    assert_eq!(hosts.len(), 1, "it may be dropped before it is closed");
    server.0.lock().unwrap().closed = true;
    drop(TimeGuard::new(&server, |host| hosts.push(host)));
    assert_eq!(hosts.len(), 1, "nothing is left to do");
    server.0.lock().unwrap().deadlines = [at(10), at(20)].into();
    drop(TimeGuard::new(&server, |host| hosts.push(host)));
    assert_eq!(hosts.len(), 2, "connections linger");

    let sleep = |until| Sleep { clock: clock.clone(), until, fired: false };
    let mut keeping = Box::pin(keep_time(hosts.pop().unwrap(), &*clock, sleep));
    let (_, waker) = wakes();
    for ms in [0, 10, 20] {
        clock.0.store(ms, Ordering::Relaxed);
        assert!(poll(&mut keeping, &waker).is_pending());
    }
    assert_eq!(server.0.lock().unwrap().timeouts, [at(10), at(20)]);
    drop(server);
    assert!(poll(&mut keeping, &waker).is_ready());
}
