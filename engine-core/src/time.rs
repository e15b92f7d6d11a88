//! Time as an argument: the core reads no clock.

use core::num::NonZeroU64;
use core::ops::Add;
use core::time::Duration;

/// An instant of the driver's monotonic clock, in nanoseconds since an origin that the driver chose.
///
/// All instants passed to one server must share that origin. An instant before a previous one is treated as if no
/// time had passed.
///
/// ```
/// use sockeye_core::Time;
/// use std::time::{Duration, Instant};
///
/// let origin = Instant::now();
/// let now = || Time::from_origin(origin.elapsed());
///
/// let deadline = now() + Duration::from_secs(25);
/// let wait = deadline.saturating_since(now()); // zero once the deadline has passed
/// assert!(wait <= Duration::from_secs(25));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(
    // The nanoseconds plus one, so that an optional deadline, of which every connection has several, is no larger.
    NonZeroU64,
);

impl Time {
    /// The origin itself.
    pub const ZERO: Time = Time(NonZeroU64::MIN);

    /// Returns the instant `elapsed` after the origin. Saturates after 584 years.
    pub const fn from_origin(elapsed: Duration) -> Time {
        Time(NonZeroU64::MIN.saturating_add(nanos(elapsed)))
    }

    /// Returns the time from the origin to this instant.
    pub const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// Returns the latest instant that is not later, and a multiple of `step` from the origin.
    pub(crate) fn round_down(self, step: Duration) -> Time {
        let since_origin = self.0.get() - 1;
        let beyond = since_origin.checked_rem(nanos(step)).unwrap_or_default();
        Time(NonZeroU64::MIN.saturating_add(since_origin - beyond))
    }

    /// Returns the time from `earlier` to this instant; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Adds a duration. Saturates at the latest instant that can be represented.
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

impl Default for Time {
    /// Returns the origin.
    fn default() -> Time {
        Time::ZERO
    }
}

/// Returns the duration in nanoseconds, saturating.
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

/// Returns the earlier of two optional deadlines.
pub(crate) fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_rounded_down_to_a_multiple_of_the_step() {
        let rounded = |ms, step| at(ms).round_down(Duration::from_millis(step));
        assert_eq!([0, 6, 7, 13, 14].map(|ms| rounded(ms, 7)), [0, 0, 7, 7, 14].map(at));
        assert_eq!(rounded(5, 0), at(5));
    }

    fn at(ms: u64) -> Time {
        Time::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Time::from_origin(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Time::ZERO.saturating_since(end), Duration::ZERO);
        assert_eq!((Time::ZERO + Duration::from_millis(5)).since_origin(), Duration::from_millis(5));
        assert_eq!(Time::from_origin(Duration::ZERO), Time::ZERO);
        assert_eq!(size_of::<Option<Time>>(), 8);
    }
}
