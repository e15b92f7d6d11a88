//! Waking the recipients of a large broadcast.

use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec;

/// The number of recipients that a task wakes before others have their turn, for each worker of the runtime. Writing to so
/// many takes about 0.1 ms. Workers that wait for more go to sleep: with 16 for two workers, each of them was woken about
/// forty times for a thousand recipients, with 32 half as often.
const BATCH: usize = 16;
/// The maximum for all workers together. On tokio it has to be well below 61, the number of tasks that a worker polls before
/// it looks at its sockets: otherwise tasks would pile up.
const MAX_BATCH: usize = 48;

/// Wakes the recipients of a large broadcast in their order, in batches and by a task, so that the other work of the runtime
/// gets its turn in between: it would otherwise wait until the last recipient was written to.
pub(super) fn wake(recipients: Vec<Waker>, runtime: Option<Arc<dyn Runtime>>) {
    let wakes = Wakes(recipients.into_iter());
    if let Some(runtime) = runtime {
        let batch = BATCH.saturating_mul(runtime.workers()).min(MAX_BATCH);
        runtime.clone().spawn(Box::pin(Waking { wakes, batch, runtime }));
    }
}

/// The recipients that are still to be woken. If this is dropped, they are woken at once.
struct Wakes(vec::IntoIter<Waker>);

impl Wakes {
    fn wake(&mut self, count: usize) {
        self.0.by_ref().take(count).for_each(Waker::wake);
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.by_ref().for_each(Waker::wake);
    }
}

/// The task that wakes recipients.
struct Waking {
    wakes: Wakes,
    batch: usize,
    runtime: Arc<dyn Runtime>,
}

impl Future for Waking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let batch = self.batch;
        self.wakes.wake(batch);
        if self.wakes.0.len() == 0 {
            return Poll::Ready(());
        }
        self.runtime.wake_later(cx.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
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

    #[test]
    fn recipients_are_woken_in_order_a_batch_in_each_turn() {
        // A batch grows with the number of workers, to a maximum.
        for (workers, size) in [(1, 16), (2, 32), (64, 48)] {
            let (recipients, woken) = recipients(3 * size);
            let tasks = Tasks::of(workers);
            wake(recipients, Some(tasks.clone()));
            let mut context = Context::from_waker(Waker::noop());
            let mut task = tasks.spawned.lock().pop().expect("there is a task");
            for batch in 0..3 {
                assert_eq!(woken.lock().len(), batch * size);
                assert_eq!(task.as_mut().poll(&mut context).is_ready(), batch == 2);
            }
            assert!(woken.lock().iter().copied().eq(0..3 * size));
        }
    }

    #[test]
    fn recipients_are_woken_even_if_there_is_no_task_or_it_is_dropped() {
        let (all, woken) = recipients(3 * BATCH);
        wake(all, None);
        assert_eq!(woken.lock().len(), 3 * BATCH);
        let (all, woken) = recipients(3 * BATCH);
        let tasks = Tasks::of(1);
        wake(all, Some(tasks.clone()));
        tasks.spawned.lock().clear();
        assert_eq!(woken.lock().len(), 3 * BATCH);
    }
}
