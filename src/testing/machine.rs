//! A clock that jumps, and the tasks that run by it, all on the thread of the test.

use super::ground::Task;
use crate::ready::ReadyList;
use parking_lot::Mutex;
use sockeye_core::Time;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Maximum number of polls without a pause; beyond it a task is taken to wake itself for ever.
const MAX_POLLS: u32 = 1_000_000;
/// Maximum time to wait for another thread if nothing else can happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// The token of the future that the test waits for.
const MAIN: usize = 0;

/// The executor and the clock of a test without a runtime.
///
/// Tasks run in the order in which they were woken. If none is ready, the clock jumps to the next deadline.
pub(super) struct Machine {
    state: Mutex<State>,
    ready: ReadyList,
    /// The thread that runs the tasks, to be woken if another thread wakes one.
    thread: Arc<Mutex<Option<Thread>>>,
}

struct State {
    now: Time,
    tasks: BTreeMap<usize, (Task, Waker)>,
    last_task: usize,
    /// The wakers of sleeping tasks, by their deadlines; the number keeps those of one deadline in order.
    sleepers: BTreeMap<(Time, u64), Waker>,
    last_sleeper: u64,
    /// The wakers of tasks that wait until no other task is ready.
    idle: Vec<Waker>,
    ended: bool,
}

impl Machine {
    pub(super) fn new() -> Arc<Machine> {
        let thread = Arc::new(Mutex::new(None::<Thread>));
        let sleeping = thread.clone();
        Arc::new(Machine {
            state: Mutex::new(State {
                now: Time::ZERO,
                tasks: BTreeMap::new(),
                last_task: MAIN,
                sleepers: BTreeMap::new(),
                last_sleeper: 0,
                idle: Vec::new(),
                ended: false,
            }),
            ready: ReadyList::new(move || sleeping.lock().iter().for_each(Thread::unpark)),
            thread,
        })
    }

    pub(super) fn now(&self) -> Time {
        self.state.lock().now
    }

    pub(super) fn spawn(&self, task: Task) {
        let mut state = self.state.lock();
        if state.ended {
            drop(state);
            return drop(task);
        }
        state.last_task += 1;
        let id = state.last_task;
        let waker = self.ready.waker(id);
        state.tasks.insert(id, (task, waker.clone()));
        drop(state);
        waker.wake();
    }

    pub(super) fn sleep_until(self: &Arc<Self>, deadline: Time) -> Task {
        Box::pin(Sleep { machine: Arc::downgrade(self), deadline, id: None })
    }

    /// Returns a future that completes once no other task is ready.
    pub(super) fn settle(self: &Arc<Self>) -> Task {
        Box::pin(Idle { machine: Arc::downgrade(self), waits: false })
    }

    /// Runs the tasks until `main` has completed.
    ///
    /// # Panics
    /// If nothing can wake it any more, or the tasks never come to rest.
    pub(super) fn block_on(&self, mut main: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        *self.thread.lock() = Some(thread::current());
        let waker = self.ready.waker(MAIN);
        waker.wake_by_ref();
        let (mut polls, mut may_wait) = (0, true);
        loop {
            let Some(id) = self.ready.pop() else {
                assert!(may_wait, "the test waits for something that never happens");
                (polls, may_wait) = (0, self.rest());
                continue;
            };
            (polls, may_wait) = (polls + 1, true);
            assert!(polls < MAX_POLLS, "the test never comes to rest: a task wakes itself again and again");
            if id != MAIN {
                self.poll(id);
            } else if main.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
        }
    }

    /// Polls a task, if it exists. It is taken out meanwhile, because it may spawn others.
    fn poll(&self, id: usize) {
        let Some((mut task, waker)) = self.state.lock().tasks.remove(&id) else { return };
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.state.lock().tasks.insert(id, (task, waker));
        }
    }

    /// Wakes those that wait until no task is ready, or the next sleepers. If there are none, waits for another thread to wake
    /// a task, and returns false.
    fn rest(&self) -> bool {
        let woken: Vec<_> = {
            let state = &mut *self.state.lock();
            match state.sleepers.first_key_value() {
                _ if !state.idle.is_empty() => std::mem::take(&mut state.idle),
                Some(((deadline, _), _)) => {
                    state.now = state.now.max(*deadline);
                    let later = state.sleepers.split_off(&(state.now, u64::MAX));
                    std::mem::replace(&mut state.sleepers, later).into_values().collect()
                }
                None => Vec::new(),
            }
        };
        if woken.is_empty() {
            thread::park_timeout(PATIENCE);
            return false;
        }
        woken.into_iter().for_each(Waker::wake);
        true
    }

    /// Drops all tasks.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        loop {
            let tasks = std::mem::take(&mut self.state.lock().tasks);
            if tasks.is_empty() {
                return;
            }
            drop(tasks);
        }
    }
}

/// Completes at a deadline.
struct Sleep {
    machine: Weak<Machine>,
    deadline: Time,
    /// The number among the sleepers, once it waits.
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(machine) = self.machine.upgrade() else { return Poll::Pending };
        let state = &mut *machine.state.lock();
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            state.last_sleeper += 1;
            state.last_sleeper
        });
        state.sleepers.insert((self.deadline, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(machine), Some(id)) = (self.machine.upgrade(), self.id) {
            let removed = machine.state.lock().sleepers.remove(&(self.deadline, id));
            drop(removed);
        }
    }
}

/// Completes once no other task is ready.
struct Idle {
    machine: Weak<Machine>,
    waits: bool,
}

impl Future for Idle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(machine) = self.machine.upgrade() else { return Poll::Ready(()) };
        // It is only polled again once it was woken, because the test waits for nothing else.
        if std::mem::replace(&mut self.waits, true) {
            return Poll::Ready(());
        }
        machine.state.lock().idle.push(cx.waker().clone());
        Poll::Pending
    }
}
