//! Waking the recipients of a large broadcast.

use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec;

/// The number of recipients that a task wakes before others have their turn. Writing to so many takes about 0.1 ms. On
/// tokio it has to be well below 61, the number of tasks that a worker polls before it looks at its sockets: otherwise
/// tasks would pile up.
const BATCH: usize = 16;

/// Wakes the recipients of a large broadcast in their order, in batches and by a task, so that the other work of the runtime
/// gets its turn in between: it would otherwise wait until the last recipient was written to.
pub(super) fn wake(recipients: Vec<Waker>, runtime: Option<Arc<dyn Runtime>>) {
    let wakes = Wakes(recipients.into_iter());
    if let Some(runtime) = runtime {
        runtime.clone().spawn(Box::pin(Waking { wakes, runtime }));
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
    runtime: Arc<dyn Runtime>,
}

impl Future for Waking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.wake(BATCH);
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
    #[derive(Default)]
    struct Tasks(Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>);

    impl Runtime for Tasks {
        fn now(&self) -> Time {
            Time::ZERO
        }

        fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
            self.0.lock().push(future);
        }
    }

    fn recipients(count: usize) -> (Vec<Waker>, Arc<Mutex<Vec<usize>>>) {
        let woken = Arc::<Mutex<Vec<usize>>>::default();
        let recipient = |number| Arc::new(Recipient(number, woken.clone())).into();
        ((0..count).map(recipient).collect(), woken)
    }

    #[test]
    fn recipients_are_woken_in_order_a_batch_in_each_turn() {
        let (recipients, woken) = recipients(3 * BATCH);
        let tasks = Arc::new(Tasks::default());
        wake(recipients, Some(tasks.clone()));
        let mut context = Context::from_waker(Waker::noop());
        let mut task = tasks.0.lock().pop().expect("there is a task");
        for batch in 0..3 {
            assert_eq!(woken.lock().len(), batch * BATCH);
            assert_eq!(task.as_mut().poll(&mut context).is_ready(), batch == 2);
        }
        assert!(woken.lock().iter().copied().eq(0..3 * BATCH));
    }

    #[test]
    fn recipients_are_woken_even_if_there_is_no_task_or_it_is_dropped() {
        let (all, woken) = recipients(3 * BATCH);
        wake(all, None);
        assert_eq!(woken.lock().len(), 3 * BATCH);
        let (all, woken) = recipients(3 * BATCH);
        let tasks = Arc::new(Tasks::default());
        wake(all, Some(tasks.clone()));
        tasks.0.lock().clear();
        assert_eq!(woken.lock().len(), 3 * BATCH);
    }
}
