//! Tasks that wait for the same change.

use std::task::{Context, Waker};

/// Tasks that wait for the same change. Without any, this owns no memory.
///
/// The owner locks it. Wakers are returned, to be called or dropped without that lock: a waker may run its task, and the
/// last waker of a task may drop it.
#[derive(Default)]
pub(crate) struct Waiters(Option<Box<Tasks>>);

#[derive(Default)]
struct Tasks {
    /// The tasks in the order in which they began to wait, each with its key. A task that was woken keeps its place until
    /// it [leaves](Waiters::leave), so that no other task gets its key.
    tasks: Vec<(u64, Option<Waker>)>,
    last: u64,
}

impl Waiters {
    /// Returns whether no task waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Keeps the waker of a task, and returns the one that it replaces. `key` is the task's, `None` before it first waits.
    #[must_use = "to be dropped without a lock"]
    pub(crate) fn wait(&mut self, cx: &Context<'_>, key: &mut Option<u64>) -> Option<Waker> {
        let Tasks { tasks, last } = &mut **self.0.get_or_insert_default();
        let known = key.and_then(|key| tasks.iter_mut().find(|(known, _)| *known == key));
        match known {
            Some((_, Some(waker))) if waker.will_wake(cx.waker()) => None,
            Some((_, waker)) => waker.replace(cx.waker().clone()),
            None => {
                *last += 1;
                *key = Some(*last);
                tasks.push((*last, Some(cx.waker().clone())));
                None
            }
        }
    }

    /// Forgets a task, which waits no longer, and returns its waker.
    #[must_use = "to be dropped without a lock"]
    pub(crate) fn leave(&mut self, key: &mut Option<u64>) -> Option<Waker> {
        let tasks = &mut self.0.as_mut()?.tasks;
        let left = key.take()?;
        let at = tasks.iter().position(|(known, _)| *known == left)?;
        let (_, waker) = tasks.remove(at);
        if tasks.is_empty() {
            self.0 = None;
        }
        waker
    }

    /// Takes the wakers of all tasks, to be called.
    pub(crate) fn take(&mut self) -> Vec<Waker> {
        let tasks = self.0.iter_mut().flat_map(|tasks| &mut tasks.tasks);
        tasks.filter_map(|(_, waker)| waker.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_until_it_waits_again() {
        let (mut waiters, calls) = (Waiters::default(), Arc::new(Calls::default()));
        let waker = Waker::from(calls.clone());
        let (cx, mut key) = (Context::from_waker(&waker), None);
        for expected in [1, 2] {
            for _ in 0..3 {
                drop(waiters.wait(&cx, &mut key));
            }
            waiters.take().into_iter().for_each(Waker::wake);
            waiters.take().into_iter().for_each(Waker::wake);
            assert_eq!(calls.0.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn the_memory_is_freed_when_the_last_task_leaves() {
        let mut waiters = Waiters::default();
        let cx = Context::from_waker(Waker::noop());
        let mut keys = [None; 3];
        keys.iter_mut().for_each(|key| drop(waiters.wait(&cx, key)));
        drop(waiters.take());
        for key in &mut keys {
            assert!(!waiters.is_empty());
            drop(waiters.leave(key));
            assert_eq!(*key, None);
        }
        assert!(waiters.is_empty());
        assert!(waiters.leave(&mut None).is_none());
    }

    #[test]
    fn a_task_that_was_woken_does_not_share_its_key_with_another() {
        let mut waiters = Waiters::default();
        let cx = Context::from_waker(Waker::noop());
        let (mut woken, mut other) = (None, None);
        drop(waiters.wait(&cx, &mut woken));
        drop(waiters.take());
        drop(waiters.wait(&cx, &mut other));
        drop(waiters.leave(&mut woken));
        assert_eq!(waiters.take().len(), 1);
    }
}
