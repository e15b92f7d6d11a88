//! Waking the recipients of a broadcast.

use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec;

/// The number of recipients that are woken together. Writing to so many takes about half a millisecond.
const BATCH: usize = 128;

/// Wakes the recipients of a broadcast in their order, the first of them at once.
///
/// The recipients of a large broadcast are woken in batches by a task, so that the other work of the runtime gets its turn
/// in between: it would otherwise wait until the last recipient was written to.
///
/// `runtime` is called only for a large broadcast.
pub(super) fn wake(recipients: Vec<Waker>, runtime: impl FnOnce() -> Option<Arc<dyn Runtime>>) {
    let mut wakes = Wakes(recipients.into_iter());
    wakes.wake_batch();
    if wakes.0.len() > 0
        && let Some(runtime) = runtime()
    {
        runtime.spawn(Box::pin(wakes));
    }
}

/// The recipients that are still to be woken. If this is dropped, they are woken at once.
struct Wakes(vec::IntoIter<Waker>);

impl Wakes {
    fn wake_batch(&mut self) {
        self.0.by_ref().take(BATCH).for_each(Waker::wake);
    }
}

impl Future for Wakes {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wake_batch();
        if self.0.len() == 0 {
            return Poll::Ready(());
        }
        // Runtimes queue this task behind those that were woken.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.by_ref().for_each(Waker::wake);
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
    fn recipients_are_woken_in_order_the_first_batch_at_once_and_one_in_each_turn() {
        let (recipients, woken) = recipients(3 * BATCH);
        let tasks = Arc::new(Tasks::default());
        wake(recipients, || Some(tasks.clone()));
        let mut context = Context::from_waker(Waker::noop());
        let mut task = tasks.0.lock().pop().expect("the rest is a task");
        assert_eq!(woken.lock().len(), BATCH);
        assert!(task.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.lock().len(), 2 * BATCH);
        assert!(task.as_mut().poll(&mut context).is_ready());
        assert!(woken.lock().iter().copied().eq(0..3 * BATCH));
    }

    #[test]
    fn a_batch_needs_no_task() {
        let (recipients, woken) = recipients(BATCH);
        let tasks = Arc::new(Tasks::default());
        wake(recipients, || Some(tasks.clone()));
        assert!(woken.lock().len() == BATCH && tasks.0.lock().is_empty());
    }

    #[test]
    fn recipients_of_a_task_that_is_dropped_are_woken_nevertheless() {
        let (recipients, woken) = recipients(3 * BATCH);
        let tasks = Arc::new(Tasks::default());
        wake(recipients, || Some(tasks.clone()));
        tasks.0.lock().clear();
        assert_eq!(woken.lock().len(), 3 * BATCH);
    }
}
