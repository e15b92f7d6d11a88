//! Everything that the clients of a test share, and the two ways to wait in it.

use super::ground::{Ground, Task};
use crate::server::Server;
use crate::staged::{self, Staged};
use parking_lot::Mutex;
use sockeye_core::drive::keep_time;
use sockeye_core::host::{Host, Runtime};
use sockeye_core::{Random, Time};
use std::fmt::{self, Write};
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The time by which every expectation is met or has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs the test's future, and all tasks, until the future has completed.
pub(super) type BlockOn = Arc<dyn Fn(Pin<&mut (dyn Future<Output = ()> + '_)>) + Send + Sync>;

/// The server under test, its clock, and what its clients need of both.
pub struct Stage {
    /// The first to be dropped.
    ending: Arc<Ending>,
    pub(super) server: Server,
    pub(super) ground: Ground,
    /// The runtime that drives the server.
    pub(super) runtime: Arc<dyn Runtime>,
    /// `None` if the test itself is asynchronous.
    block_on: Option<BlockOn>,
    running: Arc<AtomicBool>,
    staged: Mutex<Option<Staged>>,
    random: Mutex<Random>,
    handlers: Arc<AtomicUsize>,
    clients: AtomicUsize,
    limit: Mutex<Duration>,
    began: Time,
}

/// Ends the tasks once it is dropped, with the last server of the test.
struct Ending(Ground);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Ground::Own(machine) = &self.0 {
            machine.end();
        }
    }
}

/// The reason why an expectation is not met.
#[derive(Debug)]
pub struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The server's runtime: the test's, which counts the handlers that wait.
struct Backstage {
    ground: Ground,
    handlers: Arc<AtomicUsize>,
}

impl Runtime for Backstage {
    fn now(&self) -> Time {
        self.ground.now()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        self.ground.enter(f);
    }

    fn spawn(&self, future: Task) {
        let waiting = Waiting::new(&self.handlers);
        self.ground.spawn(Box::pin(async move {
            let _waiting = waiting;
            future.await;
        }));
    }
}

/// Counts a handler until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(handlers: &Arc<AtomicUsize>) -> Waiting {
        handlers.fetch_add(1, Ordering::Relaxed);
        Waiting(handlers.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stage {
    #[track_caller]
    pub(super) fn new(server: Server, ground: Ground, block_on: Option<BlockOn>) -> Arc<Stage> {
        let ending = Arc::new(Ending(ground.clone()));
        Stage::with(server, ground, block_on, Random::from_seed([0; 20]), Arc::default(), ending)
    }

    /// Puts another server on the same stage.
    #[track_caller]
    pub(super) fn beside(&self, server: Server) -> Arc<Stage> {
        let (ground, block_on) = (self.ground.clone(), self.block_on.clone());
        let random = self.random.lock().fork();
        let stage = Stage::with(server, ground, block_on, random, self.running.clone(), self.ending.clone());
        stage.set_limit(self.limit());
        stage
    }

    #[track_caller]
    fn with(
        server: Server,
        ground: Ground,
        block_on: Option<BlockOn>,
        mut random: Random,
        running: Arc<AtomicBool>,
        ending: Arc<Ending>,
    ) -> Arc<Stage> {
        let handlers = Arc::new(AtomicUsize::new(0));
        let own: Arc<dyn Runtime> =
            Arc::new(Backstage { ground: ground.clone(), handlers: handlers.clone() });
        let runtime = server.attach(own.clone());
        assert!(
            block_on.is_none() || Arc::ptr_eq(&own, &runtime),
            "this server runs on another runtime already: pass one that was neither served nor mounted nor tested before"
        );
        if let Some(host) = server.claim_time() {
            let (ground, clock, runtime) = (ground.clone(), ground.clone(), runtime.clone());
            ground.spawn(Box::pin(async move {
                let sleep = |until: Time| clock.sleep(until.saturating_since(runtime.now()));
                keep_time(host, &*runtime, sleep).await;
            }));
        }
        let staged = block_on.is_some().then(|| Staged::new(random.fork()));
        Arc::new(Stage {
            server,
            began: ground.now(),
            ending,
            ground,
            runtime,
            block_on,
            running,
            staged: Mutex::new(staged),
            random: Mutex::new(random),
            handlers,
            clients: AtomicUsize::new(0),
            limit: Mutex::new(LIMIT),
        })
    }

    pub(super) fn limit(&self) -> Duration {
        *self.limit.lock()
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        *self.limit.lock() = limit;
    }

    /// Returns the time since the test began.
    pub(super) fn elapsed(&self) -> Duration {
        self.ground.now().saturating_since(self.began)
    }

    /// Returns the number of the next client, and its randomness.
    pub(super) fn draw(&self) -> (usize, Random) {
        (self.clients.fetch_add(1, Ordering::Relaxed) + 1, self.random.lock().fork())
    }

    /// Checks that no method of the test runs, which drives everything else.
    #[track_caller]
    pub(super) fn check_idle(&self) {
        assert!(
            !self.running.load(Ordering::Acquire),
            "the test runs already: its methods cannot be called in a handler, nor on another thread at the same time"
        );
    }

    /// Runs everything until `future` has completed.
    #[track_caller]
    fn block_on(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        let Some(block_on) = &self.block_on else { return };
        self.check_idle();
        self.running.store(true, Ordering::Release);
        let _running = Running::begin(self);
        block_on(future);
    }

    /// Describes the state of the server, for the message of a failure.
    pub(super) fn describe(&self, out: &mut String) {
        let handlers = self.handlers.load(Ordering::Relaxed);
        if handlers > 0 {
            let _ = write!(out, "\n  handlers of the server that still wait: {handlers}");
            if matches!(self.ground, Ground::Own(_)) {
                let hint =
                    "a handler that uses the timers, tasks or sockets of tokio needs `TestServer::on_tokio`";
                let _ = write!(out, " ({hint})");
            }
        }
        // In place on this thread while the test runs.
        let staged = staged::replace(None);
        if let Some(staged) = &staged
            && !staged.notes.is_empty()
        {
            let _ = write!(out, "\n  the server reported:");
            staged.notes.iter().for_each(|note| _ = write!(out, "\n    {note}"));
        }
        staged::replace(staged);
        let _ = write!(out, "\n  time since the test began: {:?}", self.elapsed());
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Marks that a test runs, until it is dropped.
struct Running<'a> {
    stage: &'a Stage,
    outer: Option<Staged>,
}

impl<'a> Running<'a> {
    fn begin(stage: &'a Stage) -> Running<'a> {
        let outer = staged::replace(stage.staged.lock().take());
        Running { stage, outer }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.stage.staged.lock() = staged::replace(self.outer.take());
        self.stage.running.store(false, Ordering::Release);
    }
}

/// The way in which the methods of a test wait: [`Blocking`] or [`Async`].
pub trait Mode: sealed::Sealed + Send + Sync + 'static {
    /// The result of a method that waits: a `T` in a [`Blocking`] test, a future of a `T` in an [`Async`] one.
    type Output<'a, T: 'a>;

    #[doc(hidden)]
    #[track_caller]
    fn run<'a, T: 'a>(
        stage: &'a Stage,
        steps: impl Future<Output = Result<T, Failure>> + Send + 'a,
    ) -> Self::Output<'a, T>;
}

/// A test that is an ordinary function: its methods return once their work is done.
#[derive(Debug)]
pub enum Blocking {}

/// A test that is an asynchronous function: its methods return futures, to be awaited.
#[derive(Debug)]
pub enum Async {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Blocking {}
    impl Sealed for super::Async {}
}

impl Mode for Blocking {
    type Output<'a, T: 'a> = T;

    #[track_caller]
    fn run<'a, T: 'a>(stage: &'a Stage, steps: impl Future<Output = Result<T, Failure>> + Send + 'a) -> T {
        let mut result = None;
        stage.block_on(pin!(async { result = Some(steps.await) }));
        match result {
            Some(Ok(value)) => value,
            Some(Err(failure)) => panic!("{failure}"),
            None => unreachable!("a blocking test runs its steps to their end"),
        }
    }
}

impl Mode for Async {
    type Output<'a, T: 'a> = Steps<'a, T>;

    #[track_caller]
    fn run<'a, T: 'a>(
        _: &'a Stage,
        steps: impl Future<Output = Result<T, Failure>> + Send + 'a,
    ) -> Steps<'a, T> {
        // A future is polled elsewhere, so the panic itself would name this file.
        let caller = Location::caller();
        Box::pin(async move { steps.await.unwrap_or_else(|failure| panic!("at {caller}: {failure}")) })
    }
}

/// A future of an [`Async`] test.
pub type Steps<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
