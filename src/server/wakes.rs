//! Waking the recipients of a large broadcast.

use crate::guard::guard;
use parking_lot::Mutex;
use smallvec::SmallVec;
use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::vec;

/// The number of recipients that a task wakes before others have their turn. Writing to so many takes about 0.1 ms.
pub(super) const BATCH: usize = 24;
/// The number of tasks that may be at work on the same thread. On tokio, what they wake in a turn has to be well below 61,
/// the number of tasks that a worker polls before it looks at its sockets: otherwise tasks would pile up.
const TOGETHER: usize = 2;

/// Wakes the recipients of a large broadcast in their order, in batches and by tasks, so that the other work of the runtime
/// gets its turn in between: it would otherwise wait until the last recipient was written to.
///
/// There is at most one task for each worker of the runtime. A worker that has taken one writes to the recipients that it
/// wakes itself, and does not go to sleep between two batches, from which another worker would have to wake it.
pub(super) fn wake(recipients: Vec<Waker>, runtime: Option<Arc<dyn Runtime>>) {
    let wakes = Wakes { recipients: recipients.into_iter(), tasks: 1 };
    if let Some(runtime) = runtime
        && wakes.recipients.len() > 0
    {
        Waking::spawn(Arc::new(Mutex::new(wakes)), runtime);
    }
}

/// The recipients that are still to be woken. If this is dropped, they are woken at once.
struct Wakes {
    recipients: vec::IntoIter<Waker>,
    /// The number of tasks that were spawned.
    tasks: usize,
}

impl Drop for Wakes {
    fn drop(&mut self) {
        wake_each(self.recipients.by_ref());
    }
}

/// Wakes recipients at once. If the waker of one panics, the others are woken nevertheless.
pub(super) fn wake_each(mut recipients: impl Iterator<Item = Waker>) {
    while guard("a waker", || recipients.by_ref().for_each(Waker::wake)).is_none() {}
}

/// A task that wakes recipients.
struct Waking {
    wakes: Arc<Mutex<Wakes>>,
    runtime: Arc<dyn Runtime>,
    /// The thread that polled it last, or spawned it.
    thread: ThreadId,
}

impl Waking {
    fn spawn(wakes: Arc<Mutex<Wakes>>, runtime: Arc<dyn Runtime>) {
        let thread = thread::current().id();
        runtime.clone().spawn(Box::pin(Waking { wakes, runtime, thread }));
    }

    /// Returns the next recipients, and whether there are more, and whether they are worth another task.
    fn take(&mut self) -> (SmallVec<[Waker; BATCH]>, bool, bool) {
        let before = std::mem::replace(&mut self.thread, thread::current().id());
        let mut wakes = self.wakes.lock();
        let batch = wakes.recipients.by_ref().take(BATCH).collect();
        let rest = wakes.recipients.len();
        // If another thread has taken this task, it had nothing else to do, and more may be like it.
        let may_spawn = wakes.tasks < TOGETHER || before != self.thread;
        let spawns = may_spawn && rest > BATCH && wakes.tasks < self.runtime.workers();
        wakes.tasks += usize::from(spawns);
        (batch, rest > 0, spawns)
    }
}

impl Future for Waking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (batch, has_more, spawns) = self.take();
        if spawns {
            // Before this thread has much to do, so that another that is idle takes it.
            Waking::spawn(self.wakes.clone(), self.runtime.clone());
        }
        wake_each(batch.into_iter());
        if !has_more {
            return Poll::Ready(());
        }
        self.runtime.wake_later(cx.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockeye_core::Time;
    use std::task::Wake;

    /// Notes its number in a list when it is woken.
    struct Recipient(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Recipient {
        fn wake(self: Arc<Self>) {
            self.1.lock().push(self.0);
        }
    }

    /// Keeps the tasks that are spawned.
    struct Tasks {
        workers: usize,
        spawned: Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    }

    impl Tasks {
        fn of(workers: usize) -> Arc<Tasks> {
            Arc::new(Tasks { workers, spawned: Mutex::default() })
        }
    }

    impl Runtime for Tasks {
        fn now(&self) -> Time {
            Time::ZERO
        }

        fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
            self.spawned.lock().push(future);
        }

        fn workers(&self) -> usize {
            self.workers
        }
    }

    fn recipients(count: usize) -> (Vec<Waker>, Arc<Mutex<Vec<usize>>>) {
        let woken = Arc::<Mutex<Vec<usize>>>::default();
        let recipient = |number| Arc::new(Recipient(number, woken.clone())).into();
        ((0..count).map(recipient).collect(), woken)
    }

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Polls tasks in turn, and those that they spawn, and returns the number of recipients that were woken after each.
    fn turns(tasks: &Tasks, woken: &Mutex<Vec<usize>>) -> Vec<(usize, usize)> {
        let mut context = Context::from_waker(Waker::noop());
        let mut turns = Vec::new();
        let mut waiting: Vec<(usize, Task)> = Vec::new();
        while turns.len() < 1000 {
            let spawned = std::mem::take(&mut *tasks.spawned.lock());
            let first = turns.iter().map(|(task, _)| task + 1).max().unwrap_or(0).max(waiting.len());
            waiting.extend(spawned.into_iter().enumerate().map(|(at, task)| (first + at, task)));
            if waiting.is_empty() {
                return turns;
            }
            let (number, mut task) = waiting.remove(0);
            let is_over = task.as_mut().poll(&mut context).is_ready();
            turns.push((number, woken.lock().len()));
            if !is_over {
                waiting.push((number, task));
            }
        }
        panic!("the tasks do not end");
    }

    #[test]
    fn recipients_are_woken_in_order_a_batch_in_each_turn_of_a_task() {
        // One task for each worker, but only a few as long as no other thread takes one of them.
        for (workers, count) in [(1, 1), (2, 2), (64, 2)] {
            let (recipients, woken) = recipients(9 * BATCH);
            let tasks = Tasks::of(workers);
            wake(recipients, Some(tasks.clone()));
            assert!(woken.lock().is_empty());
            let turns = turns(&tasks, &woken);
            let batches = turns.iter().map(|(_, woken)| *woken).take(9);
            assert!(batches.eq((1..=9).map(|batch| batch * BATCH)), "{turns:?}");
            assert_eq!(turns.iter().map(|(task, _)| task + 1).max(), Some(count), "{turns:?}");
            assert!(woken.lock().iter().copied().eq(0..9 * BATCH));
        }
    }

    #[test]
    fn a_worker_that_takes_a_task_makes_another_for_the_next_worker() {
        let (recipients, woken) = recipients(100 * BATCH);
        let tasks = Tasks::of(5);
        wake(recipients, Some(tasks.clone()));
        let mut running: Vec<Task> = Vec::new();
        let mut counts = Vec::new();
        for _ in 0..8 {
            // Each task is polled by a new thread.
            running.append(&mut tasks.spawned.lock());
            let poll = |mut task: Task| {
                let poll = move || {
                    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                    task
                };
                thread::spawn(poll).join().expect("it does not panic")
            };
            running = running.into_iter().map(poll).collect();
            counts.push(running.len());
        }
        assert_eq!(counts, [1, 2, 4, 5, 5, 5, 5, 5]);
        drop((running, tasks));
        assert_eq!(woken.lock().len(), 100 * BATCH);
    }

    #[test]
    fn a_waker_that_panics_does_not_keep_the_other_recipients_from_being_woken() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("a bug of a runtime");
            }
        }
        let (mut all, woken) = recipients(3 * BATCH);
        // In the first batch, and among those that are woken because the task was dropped.
        for at in [2, 4, BATCH + 4, 3 * BATCH] {
            all.insert(at, Arc::new(Panics).into());
        }
        let tasks = Tasks::of(1);
        wake(all, Some(tasks.clone()));
        let mut task = tasks.spawned.lock().pop().expect("it is spawned");
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(task);
        assert!(woken.lock().iter().copied().eq(0..3 * BATCH));
    }

    #[test]
    fn recipients_are_woken_even_if_there_is_no_task_or_all_are_dropped() {
        let (all, woken) = recipients(3 * BATCH);
        wake(all, None);
        assert_eq!(woken.lock().len(), 3 * BATCH);
        let (all, woken) = recipients(3 * BATCH);
        let tasks = Tasks::of(1);
        wake(all, Some(tasks.clone()));
        tasks.spawned.lock().clear();
        assert_eq!(woken.lock().len(), 3 * BATCH);
        let tasks = Tasks::of(1);
        wake(Vec::new(), Some(tasks.clone()));
        assert!(tasks.spawned.lock().is_empty(), "there is nothing to do");
    }
}
