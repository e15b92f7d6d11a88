//! The results of one message that a task waits for, on either side, and the types that answers are read as.

use crate::payload::Args;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use sockeye_core::socketio::{ArgsError, OwnedArgs};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The results of one message, each from a peer that was asked. One task waits for them: for all, or for each as it
/// arrives.
///
/// The owner locks it. Wakers are returned, to be called or dropped without that lock: a waker may run its task, and the
/// last waker of a task may drop it.
pub(crate) struct Pending<P, T, E> {
    /// In the order in which the peers were asked.
    asked: Asks<P, T, E>,
    /// The number of peers that have no result yet.
    open: usize,
    /// The first and the last answer that arrived and was not taken: a list through the entries, in the order of arrival.
    arrived: Option<(u32, u32)>,
    /// The task takes each answer as it arrives, and does not wait for all.
    takes_each: bool,
    waker: Option<Waker>,
}

/// Most messages have one recipient.
pub(crate) type Asks<P, T, E> = SmallVec<[Asked<P, T, E>; 1]>;

/// A peer that was asked.
pub(crate) struct Asked<P, T, E> {
    peer: P,
    outcome: Outcome<T, E>,
}

enum Outcome<T, E> {
    Open,
    Answered {
        answer: T,
        /// The answer that arrived next.
        next: Option<u32>,
    },
    /// The answer was taken alone.
    Taken,
    Failed(E),
}

impl<P, T, E> Default for Pending<P, T, E> {
    fn default() -> Self {
        Pending { asked: SmallVec::new(), open: 0, arrived: None, takes_each: false, waker: None }
    }
}

impl<P, T, E> Pending<P, T, E> {
    /// Adds a peer, and returns the index of its entry.
    pub(crate) fn ask(&mut self, peer: P) -> u32 {
        self.asked.push(Asked { peer, outcome: Outcome::Open });
        self.open += 1;
        (self.asked.len() - 1) as u32
    }

    /// Returns whether every peer has a result.
    pub(crate) fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Notes the result of a peer, unless it has one. Returns the waker of a task that waits for it.
    pub(crate) fn settle(&mut self, at: u32, result: Result<T, E>) -> Option<Waker> {
        let asked = self.asked.get_mut(at as usize)?;
        if !matches!(asked.outcome, Outcome::Open) {
            return None;
        }
        let is_answer = result.is_ok();
        asked.outcome = match result {
            Ok(answer) => Outcome::Answered { answer, next: None },
            Err(error) => Outcome::Failed(error),
        };
        if is_answer {
            self.append(at);
        }
        self.open -= 1;
        if self.is_over() || (is_answer && self.takes_each) { self.waker.take() } else { None }
    }

    /// Appends the answer of an entry to those that arrived.
    fn append(&mut self, at: u32) {
        let Some((first, last)) = self.arrived else {
            self.arrived = Some((at, at));
            return;
        };
        if let Some(Asked { outcome: Outcome::Answered { next, .. }, .. }) = self.asked.get_mut(last as usize)
        {
            *next = Some(at);
        }
        self.arrived = Some((first, at));
    }

    /// Takes the results that were not taken alone, once every peer has one.
    pub(crate) fn take_all(&mut self) -> Option<Asks<P, T, E>> {
        if !self.is_over() {
            return None;
        }
        self.arrived = None;
        Some(std::mem::take(&mut self.asked))
    }

    /// Takes the result of the only peer, once it has one.
    pub(crate) fn take_only(&mut self) -> Option<Result<T, E>> {
        if self.is_over() { self.asked.pop()?.into_result() } else { None }
    }

    /// Takes the first answer that arrived.
    pub(crate) fn take_first(&mut self) -> Option<(&P, T)> {
        let (first, last) = self.arrived?;
        let asked = self.asked.get_mut(first as usize)?;
        let Outcome::Answered { answer, next } = std::mem::replace(&mut asked.outcome, Outcome::Taken) else {
            return None;
        };
        self.arrived = next.map(|next| (next, last));
        Some((&asked.peer, answer))
    }

    /// Keeps the waker of the task, which waits for each answer or for all results. Returns the waker that it replaces.
    #[must_use = "to be dropped without a lock"]
    pub(crate) fn wait(&mut self, cx: &Context<'_>, takes_each: bool) -> Option<Waker> {
        self.takes_each = takes_each;
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => self.waker.replace(cx.waker().clone()),
        }
    }

    /// Takes the waker of the task.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Returns the number of peers that have not failed.
    pub(crate) fn hopeful(&self) -> usize {
        self.asked.iter().filter(|asked| !matches!(asked.outcome, Outcome::Failed(_))).count()
    }

    /// Fails the peers that have no result with an error, and returns them.
    pub(crate) fn fail_open(&mut self, error: impl Fn() -> E) -> Vec<P>
    where
        P: Clone,
    {
        self.fail_open_except(None, error)
    }

    /// Does the same, but does not touch the entry at an index.
    pub(crate) fn fail_open_except(&mut self, except: Option<u32>, error: impl Fn() -> E) -> Vec<P>
    where
        P: Clone,
    {
        let mut failed = Vec::new();
        for (at, asked) in self.asked.iter_mut().enumerate() {
            if matches!(asked.outcome, Outcome::Open) && Some(at as u32) != except {
                asked.outcome = Outcome::Failed(error());
                failed.push(asked.peer.clone());
            }
        }
        self.open -= failed.len();
        failed
    }
}

impl<P, T, E> Asked<P, T, E> {
    pub(crate) fn peer(&self) -> &P {
        &self.peer
    }

    /// Returns the result; `None` if there is none, or its answer was taken alone.
    pub(crate) fn into_result(self) -> Option<Result<T, E>> {
        match self.outcome {
            Outcome::Answered { answer, .. } => Some(Ok(answer)),
            Outcome::Failed(error) => Some(Err(error)),
            Outcome::Open | Outcome::Taken => None,
        }
    }
}

/// A type that an acknowledgement can be read as: any type that deserializes. A tuple takes the arguments in
/// order, any other type the first; [`Args`] takes them unread.
pub trait Answer: sealed::Read {}

impl<T: sealed::Read> Answer for T {}

/// Reads arguments as a `T`.
#[cfg(feature = "testing")]
pub(crate) fn read<T: Answer>(args: Args) -> Result<T, ArgsError> {
    T::read(args.0)
}

mod sealed {
    use super::*;

    pub trait Read: Sized {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError>;
    }

    impl<T: DeserializeOwned> Read for T {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError> {
            args.as_args().deserialize()
        }
    }

    impl Read for Args {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError> {
            Ok(Args(args))
        }
    }
}

/// Reads the acknowledgement that a future waits for as a `T`.
pub(crate) struct Reading<F, T> {
    pub(crate) future: F,
    answer: PhantomData<fn() -> T>,
}

impl<F, T> Reading<F, T> {
    pub(crate) fn new(future: F) -> Self {
        Reading { future, answer: PhantomData }
    }
}

impl<F, T, E> Future for Reading<F, T>
where
    F: Future<Output = Result<OwnedArgs, E>> + Unpin,
    T: Answer,
    E: From<ArgsError>,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(cx).map(|answer| Ok(T::read(answer?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// The peers have numbers, and answer with letters.
    type Numbered = Pending<u32, char, &'static str>;

    fn asked(peers: u32) -> Numbered {
        let mut pending = Numbered::default();
        for peer in 0..peers {
            assert_eq!(pending.ask(peer), peer);
        }
        pending
    }

    type Outcome = Option<Result<char, &'static str>>;

    fn results(pending: &mut Numbered) -> Option<Vec<(u32, Outcome)>> {
        let asked = pending.take_all()?;
        Some(asked.into_iter().map(|asked| (*asked.peer(), asked.into_result())).collect())
    }

    #[test]
    fn results_are_taken_together_once_the_last_peer_has_one() {
        let mut pending = asked(3);
        assert!(pending.settle(2, Ok('c')).is_none() && pending.settle(0, Err("gone")).is_none());
        assert!(!pending.is_over() && results(&mut pending).is_none());
        assert!(pending.settle(1, Ok('b')).is_none());
        let all = [(0, Some(Err("gone"))), (1, Some(Ok('b'))), (2, Some(Ok('c')))];
        assert_eq!(results(&mut pending).as_deref(), Some(&all[..]));
        assert_eq!(results(&mut pending).as_deref(), Some(&[][..]));
    }

    #[test]
    fn the_result_of_the_only_peer_is_there_once_it_has_answered() {
        let mut pending = asked(1);
        assert_eq!(pending.take_only(), None);
        pending.settle(0, Ok('a'));
        assert_eq!(pending.take_only(), Some(Ok('a')));
        assert_eq!(pending.take_only(), None);
    }

    #[test]
    fn answers_are_taken_in_the_order_of_arrival_and_not_again_with_all() {
        let mut pending = asked(4);
        for (at, answer) in [(3, 'd'), (0, 'a'), (1, 'b')] {
            pending.settle(at, Ok(answer));
        }
        assert_eq!(pending.take_first(), Some((&3, 'd')));
        assert_eq!(pending.take_first(), Some((&0, 'a')));
        pending.settle(2, Err("gone"));
        let rest = [(0, None), (1, Some(Ok('b'))), (2, Some(Err("gone"))), (3, None)];
        assert_eq!(results(&mut pending).as_deref(), Some(&rest[..]));
        assert_eq!(pending.take_first(), None);
    }

    #[test]
    fn a_second_result_of_a_peer_changes_nothing() {
        let mut pending = asked(1);
        pending.settle(0, Ok('a'));
        pending.settle(0, Ok('z'));
        pending.settle(0, Err("gone"));
        pending.settle(7, Ok('x'));
        assert_eq!(pending.take_first(), Some((&0, 'a')));
        assert_eq!(pending.take_first(), None);
    }

    #[test]
    fn peers_without_a_result_fail_with_the_end_and_late_answers_are_ignored() {
        let mut pending = asked(3);
        pending.settle(1, Ok('b'));
        assert_eq!(pending.fail_open(|| "timeout"), [0, 2]);
        assert!(pending.is_over());
        pending.settle(0, Ok('a'));
        let all = [(0, Some(Err("timeout"))), (1, Some(Ok('b'))), (2, Some(Err("timeout")))];
        assert_eq!(results(&mut pending).as_deref(), Some(&all[..]));
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_by_each_answer_only_if_it_takes_each() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let woken = |waker: Option<Waker>| waker.map(Waker::wake).is_some();
        let mut pending = asked(4);
        assert!(pending.wait(&cx, true).is_none());
        assert!(!woken(pending.settle(0, Err("gone"))), "a failure is no answer to take");
        assert!(woken(pending.settle(1, Ok('b'))));
        assert!(pending.wait(&cx, false).is_none());
        assert!(!woken(pending.settle(2, Ok('c'))));
        assert!(woken(pending.settle(3, Ok('d'))), "the last result ends the wait");
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_replaced_waker_is_returned_and_a_known_one_kept() {
        let [first, second] = [(), ()].map(|()| Waker::from(Arc::new(Count::default())));
        let mut pending = asked(1);
        assert!(pending.wait(&Context::from_waker(&first), false).is_none());
        assert!(pending.wait(&Context::from_waker(&first), false).is_none());
        let replaced = pending.wait(&Context::from_waker(&second), false);
        assert!(replaced.is_some_and(|replaced| replaced.will_wake(&first)));
    }
}
