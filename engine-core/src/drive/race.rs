//! Connecting to a server whose name has several addresses.

use crate::host::Destination;
use std::boxed::Box;
use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::string::{String, ToString};
use std::task::Poll;
use std::time::Duration;
use std::vec::Vec;

/// Time after which the next attempt is begun beside a pending one: the "connection attempt delay" of RFC 8305.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// The attempts to connect to the addresses of a name, for [`race`]; empty by default.
///
/// They outlive the race, so that [`timed_out`](Attempts::timed_out) can describe a race that was dropped.
#[derive(Debug, Default)]
pub struct Attempts(Vec<(SocketAddr, Option<io::Error>)>);

impl Attempts {
    fn failed(&mut self, address: SocketAddr, error: io::Error) {
        if let Some((_, outcome)) = self.0.iter_mut().find(|(tried, _)| *tried == address) {
            *outcome = Some(error);
        }
    }

    /// Returns the error for a connection to `to` that timed out. If that was during the race, the error names the
    /// addresses that were tried.
    pub fn timed_out(&self, to: &Destination) -> io::Error {
        match self.0.is_empty() {
            true => io::ErrorKind::TimedOut.into(),
            false => to.explain(io::Error::new(io::ErrorKind::TimedOut, self.describe())),
        }
    }

    /// Returns the error of a race in which every attempt failed.
    fn into_error(self) -> io::Error {
        let mut kinds = self.0.iter().filter_map(|(_, outcome)| outcome.as_ref().map(io::Error::kind));
        let Some(kind) = kinds.next() else {
            return io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        };
        let kind = if kinds.all(|other| other == kind) { kind } else { io::ErrorKind::Other };
        io::Error::new(kind, self.describe())
    }

    /// Returns each address with its outcome.
    fn describe(&self) -> String {
        let mut text = String::new();
        for (address, outcome) in &self.0 {
            let separator = if text.is_empty() { "" } else { "; " };
            let outcome = match outcome {
                Some(error) => error.to_string(),
                None => io::Error::from(io::ErrorKind::TimedOut).to_string(),
            };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{address}: {outcome}");
        }
        text
    }
}

/// Connects to one of the addresses of a name, by "Happy Eyeballs" (RFC 8305).
///
/// The addresses are tried in their order, but IPv6 and IPv4 alternate. An attempt is begun when the one before has failed
/// or 250 ms have passed. The first connection wins, and the other attempts are dropped. At most 16 addresses are tried.
///
/// `connect` and `sleep` are the runtime's. The race has no deadline of its own: after a timeout drop it, and get the error
/// from [`Attempts::timed_out`].
///
/// # Errors
/// If every attempt failed. The text contains the outcome of each; the kind is theirs if all have the same, otherwise
/// [`Other`](io::ErrorKind::Other). If there is no address, the kind is [`NotFound`](io::ErrorKind::NotFound).
pub async fn race<C, T, S>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    attempts: &mut Attempts,
    mut connect: impl FnMut(SocketAddr) -> C,
    sleep: impl Fn(Duration) -> S,
) -> io::Result<T>
where
    C: Future<Output = io::Result<T>>,
    S: Future,
{
    let mut rest = interleave(addresses).into_iter();
    let mut running: Vec<(SocketAddr, Pin<Box<C>>)> = Vec::new();
    let mut delay = pin!(None::<S>);
    let won = poll_fn(|cx| {
        loop {
            let before = running.len();
            let mut won = None;
            running.retain_mut(|(address, attempt)| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(stream)) => {
                    won.get_or_insert(stream);
                    false
                }
                Poll::Ready(Err(error)) => {
                    attempts.failed(*address, error);
                    false
                }
            });
            if won.is_some() {
                return Poll::Ready(won);
            }
            let is_due = running.is_empty()
                || running.len() < before
                || delay.as_mut().as_pin_mut().is_some_and(|delay| delay.poll(cx).is_ready());
            if !is_due {
                return Poll::Pending;
            }
            match rest.next() {
                Some(address) => {
                    attempts.0.push((address, None));
                    running.push((address, Box::pin(connect(address))));
                    // No delay after the last address.
                    delay.set((rest.len() > 0).then(|| sleep(ATTEMPT_DELAY)));
                }
                None if running.is_empty() => return Poll::Ready(None),
                None => {
                    delay.set(None);
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
    let attempts = std::mem::take(attempts);
    won.ok_or_else(|| attempts.into_error())
}

/// Returns the addresses in the order in which they are tried: without duplicates, and with alternating families,
/// beginning with the family of the first one.
fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut families: [Vec<SocketAddr>; 2] = Default::default();
    let mut first = None;
    for address in addresses {
        let [same, other] = &mut families;
        let family = if *first.get_or_insert(address.is_ipv6()) == address.is_ipv6() { same } else { other };
        if family.len() < ADDRESSES && !family.contains(&address) {
            family.push(address);
        }
    }
    let [mut same, mut other] = families.map(Vec::into_iter);
    let turns = (0..2 * ADDRESSES).map(|turn| match turn % 2 {
        0 => same.next(),
        _ => other.next(),
    });
    let mut order: Vec<_> = turns.flatten().collect();
    order.truncate(ADDRESSES);
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::cell::{Cell, RefCell};
    use std::task::{Context, Waker};

    /// The outcome of an attempt, and the time until then in milliseconds.
    #[derive(Clone, Copy)]
    enum Fate {
        Connects(u64),
        Fails(u64, io::ErrorKind),
        NeverAnswers,
    }
    use Fate::*;
    use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, NotFound, TimedOut};

    fn address(text: &str) -> SocketAddr {
        std::format!("{text}:80").parse().unwrap()
    }

    /// The state of a race after some time.
    struct Played {
        /// The winner or the error; `None` if the race is not over.
        result: Option<io::Result<SocketAddr>>,
        /// The time of the result, in milliseconds.
        at: u64,
        /// The attempts with the times when they were begun.
        begun: Vec<(SocketAddr, u64)>,
        attempts: Attempts,
    }

    /// Runs a race by a clock of its own, for at most `limit` milliseconds.
    fn play(fates: &[(&str, Fate)], limit: u64) -> Played {
        let now = Cell::new(0);
        let after = |ms: u64| {
            let (now, at) = (&now, now.get() + ms);
            poll_fn(move |_| if now.get() >= at { Poll::Ready(()) } else { Poll::Pending })
        };
        let begun = RefCell::new(Vec::new());
        let connect = |to: SocketAddr| {
            begun.borrow_mut().push((to, now.get()));
            let (_, fate) = fates.iter().find(|(text, _)| address(text) == to).unwrap();
            let wait = match *fate {
                Connects(ms) | Fails(ms, _) => after(ms),
                NeverAnswers => after(u64::MAX >> 1),
            };
            async move {
                wait.await;
                if let Fails(_, kind) = *fate { Err(kind.into()) } else { Ok(to) }
            }
        };
        let mut attempts = Attempts::default();
        let result = {
            let addresses = fates.iter().map(|(text, _)| address(text));
            let sleep = |time: Duration| after(time.as_millis() as u64);
            let mut race = pin!(race(addresses, &mut attempts, connect, sleep));
            loop {
                match race.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => break Some(result),
                    Poll::Pending if now.get() == limit => break None,
                    Poll::Pending => now.set(now.get() + 1),
                }
            }
        };
        Played { result, at: now.get(), begun: begun.take(), attempts }
    }

    fn order(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| address(text)).collect()
    }

    #[test]
    fn a_dead_address_costs_a_quarter_of_a_second() {
        let played = play(&[("10.0.0.1", NeverAnswers), ("10.0.0.2", Connects(20))], 1000);
        assert_eq!(played.result.unwrap().unwrap(), address("10.0.0.2"));
        assert_eq!(played.at, 270);
    }

    #[test]
    fn a_slow_address_wins_if_the_others_are_slower() {
        let fates = [("10.0.0.1", Connects(300)), ("10.0.0.2", Connects(100)), ("10.0.0.3", Connects(1))];
        let played = play(&fates, 1000);
        assert_eq!((played.result.unwrap().unwrap(), played.at), (address("10.0.0.1"), 300));
        assert_eq!(played.begun.len(), 2, "{:?}", played.begun);
        assert!(played.attempts.0.is_empty(), "there is nothing to explain any more");
    }

    #[test]
    fn a_failure_begins_the_next_attempt_at_once() {
        let fates = [
            ("10.0.0.1", NeverAnswers),
            ("10.0.0.2", Fails(10, ConnectionRefused)),
            ("10.0.0.3", Fails(0, ConnectionRefused)),
            ("10.0.0.4", NeverAnswers),
            ("10.0.0.5", Connects(5)),
        ];
        let played = play(&fates, 1000);
        assert_eq!(played.result.unwrap().unwrap(), address("10.0.0.5"));
        let times: Vec<_> = played.begun.iter().map(|(_, at)| *at).collect();
        assert_eq!(times, [0, 250, 260, 260, 510]);
    }

    #[test]
    fn the_families_take_turns_beginning_with_the_first() {
        let resolved = ["[::1]", "[::2]", "[::3]", "10.0.0.1", "10.0.0.2"];
        let fates = resolved.map(|text| (text, Fails(0, ConnectionRefused)));
        let begun: Vec<_> = play(&fates, 1000).begun.into_iter().map(|(address, _)| address).collect();
        assert_eq!(begun, order(&["[::1]", "10.0.0.1", "[::2]", "10.0.0.2", "[::3]"]));
        let resolved = ["10.0.0.1", "10.0.0.2", "[::1]", "10.0.0.1"];
        assert_eq!(interleave(order(&resolved)), order(&["10.0.0.1", "[::1]", "10.0.0.2"]));
        let many = (0..1000).map(|n| SocketAddr::from(([10, 0, 0, 1], n)));
        assert_eq!(interleave(many.chain(order(&["[::1]"]))).len(), ADDRESSES);
    }

    #[test]
    fn an_error_names_every_address() {
        let fates = [("[::1]", Fails(0, ConnectionRefused)), ("10.0.0.1", Fails(9, ConnectionRefused))];
        let error = play(&fates, 1000).result.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "[::1]:80: connection refused; 10.0.0.1:80: connection refused");
        assert_eq!(error.kind(), ConnectionRefused);
        let fates = [("[::1]", Fails(0, NetworkUnreachable)), ("10.0.0.1", Fails(0, ConnectionRefused))];
        assert_eq!(play(&fates, 1000).result.unwrap().unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(play(&[], 1000).result.unwrap().unwrap_err().kind(), NotFound);
    }

    #[test]
    fn the_error_of_a_race_that_timed_out_names_what_was_tried() {
        let fates =
            [("[::1]", Fails(1, ConnectionRefused)), ("10.0.0.1", NeverAnswers), ("10.0.0.2", NeverAnswers)];
        let played = play(&fates, 100);
        assert!(played.result.is_none());
        let error = played.attempts.timed_out(&Destination::new("name", 80, Duration::ZERO));
        assert_eq!(error.to_string(), "[::1]:80: connection refused; 10.0.0.1:80: timed out");
        assert_eq!(error.kind(), TimedOut);
    }
}
