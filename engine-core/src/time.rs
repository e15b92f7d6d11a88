//! Time as an argument: the core reads no clock.

use core::ops::Add;
use core::time::Duration;

/// An instant of the driver's monotonic clock, in nanoseconds since an origin that the driver chose.
///
/// All instants given to one server have to share that origin. An instant that lies before an earlier one
/// is treated as if no time had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin itself.
    pub const ZERO: Time = Time(0);

    /// The instant `elapsed` after the origin; saturates after 584 years.
    pub const fn from_origin(elapsed: Duration) -> Time {
        let nanos = elapsed.as_nanos();
        if nanos > u64::MAX as u128 { Time(u64::MAX) } else { Time(nanos as u64) }
    }

    /// How long after the origin this is.
    pub const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at the end of time.
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(Time::from_origin(duration).0))
    }
}

/// The earlier of two optional deadlines.
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
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Time::from_origin(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Time::ZERO.saturating_since(end), Duration::ZERO);
        assert_eq!((Time::ZERO + Duration::from_millis(5)).since_origin(), Duration::from_millis(5));
    }
}
