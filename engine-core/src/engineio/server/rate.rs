//! Limits of rates, as token buckets.

use super::config::Config;
use crate::engineio::reason::TransportError;
use crate::time::Time;
use alloc::boxed::Box;

/// A limit of what a client may send: an amount per second on average, and an amount at once.
///
/// What the client does not use is saved up, until it may send the whole burst at once. The burst has to cover what the
/// network or slow handlers hold up, because that arrives at once afterwards.
///
/// ```
/// use sockeye_core::engineio::server::RateLimit;
///
/// // 20 per second, but 500 in an instant.
/// let limit = RateLimit::per_second(20).burst(500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub(crate) per_second: u64,
    burst: u64,
}

impl RateLimit {
    /// Returns a limit of an average rate. If it is zero, nothing may be sent unless a burst is set, and that only once.
    pub const fn per_second(amount: u64) -> RateLimit {
        RateLimit { per_second: amount, burst: amount.saturating_mul(10) }
    }

    /// Sets the amount that may be sent at once, at most 18 billion. Default: the amount of ten seconds.
    pub const fn burst(self, amount: u64) -> RateLimit {
        RateLimit { burst: amount, ..self }
    }
}

/// The limits of what one session may send, and what it may send at present.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Rates {
    /// Returns the limits of a session that is opened now; `None` if there are none.
    pub(super) fn of(config: &Config, now: Time) -> Option<Box<Rates>> {
        let bucket = |limit: Option<RateLimit>| limit.map(|limit| Bucket::full(limit, now));
        let (messages, bytes) = (bucket(config.max_message_rate), bucket(config.max_byte_rate));
        (messages.is_some() || bytes.is_some()).then(|| Box::new(Rates { messages, bytes }))
    }

    /// Counts a message of `len` bytes.
    ///
    /// # Errors
    /// If it exceeds a limit.
    pub(super) fn count(&mut self, now: Time, len: usize) -> Result<(), TransportError> {
        if let Some(messages) = &mut self.messages
            && !messages.take(now, 1)
        {
            return Err(TransportError::TooManyMessages { per_second: messages.limit.per_second });
        }
        if let Some(bytes) = &mut self.bytes
            && !bytes.take(now, len as u64)
        {
            return Err(TransportError::TooManyBytes { per_second: bytes.limit.per_second });
        }
        Ok(())
    }
}

/// What may be sent at present, as a token bucket.
#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    /// In billionths, so that what a nanosecond adds is a whole number.
    free: u64,
    /// The time of which `free` is.
    at: Time,
}

const BILLION: u64 = 1_000_000_000;

impl Bucket {
    fn full(limit: RateLimit, at: Time) -> Bucket {
        Bucket { limit, free: limit.burst.saturating_mul(BILLION), at }
    }

    /// Takes an amount, or returns `false` if there is less.
    fn take(&mut self, now: Time, amount: u64) -> bool {
        let nanos = u64::try_from(now.saturating_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        let added = nanos.saturating_mul(self.limit.per_second);
        let most = self.limit.burst.saturating_mul(BILLION);
        self.at = self.at.max(now);
        self.free = self.free.saturating_add(added).min(most);
        match self.free.checked_sub(amount.saturating_mul(BILLION)) {
            Some(rest) => {
                self.free = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn at(nanos: u64) -> Time {
        Time::ZERO + Duration::from_nanos(nanos)
    }

    /// Takes one by one until there is none, at most `most`.
    fn drain(bucket: &mut Bucket, now: Time, most: u64) -> u64 {
        (0..most).take_while(|_| bucket.take(now, 1)).count() as u64
    }

    #[test]
    fn a_burst_is_free_at_once_and_again_once_it_was_saved_up() {
        let mut bucket = Bucket::full(RateLimit::per_second(10).burst(25), at(0));
        assert_eq!(drain(&mut bucket, at(0), 100), 25);
        assert_eq!(drain(&mut bucket, at(BILLION), 100), 10);
        assert_eq!(drain(&mut bucket, at(1_000 * BILLION), 100), 25);
    }

    #[test]
    fn the_average_is_exact_for_any_rate_and_any_steps() {
        for rate in [1, 3, 7, 999, 1_000_003] {
            for step in [1_u64, 17, 999_999, 333_333_333] {
                let mut bucket = Bucket::full(RateLimit::per_second(rate).burst(rate), at(0));
                drain(&mut bucket, at(0), u64::MAX);
                let end = step * 100_000_000_u64.div_ceil(step).min(2_000);
                let taken: u64 = (1..=end / step).map(|n| drain(&mut bucket, at(n * step), u64::MAX)).sum();
                assert_eq!(taken, end * rate / BILLION, "{rate} per second in steps of {step} ns");
            }
        }
    }

    #[test]
    fn the_default_burst_is_ten_seconds() {
        assert_eq!(RateLimit::per_second(7), RateLimit::per_second(7).burst(70));
    }

    #[test]
    fn nothing_overflows_and_a_clock_that_runs_backwards_adds_nothing() {
        let end = Time::from_origin(Duration::MAX);
        let mut bucket = Bucket::full(RateLimit::per_second(u64::MAX), at(0));
        assert!(bucket.take(end, u64::MAX));
        assert!(!bucket.take(end, 1));
        let mut bucket = Bucket::full(RateLimit::per_second(1).burst(1), at(BILLION));
        assert!(bucket.take(at(BILLION), 1));
        assert!(!bucket.take(at(0), 1));
        assert!(!bucket.take(at(BILLION), 1), "the second has passed once");
        assert!(bucket.take(at(2 * BILLION), 1));
        let mut nothing = Bucket::full(RateLimit::per_second(0), at(0));
        assert!(!nothing.take(end, 1) && nothing.take(end, 0));
    }
}
