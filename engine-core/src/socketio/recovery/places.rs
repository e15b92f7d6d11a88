//! The positions and the times of events in the log.

use crate::time::Time;
use alloc::collections::VecDeque;
use core::time::Duration;

/// A time in tenths of a second, rounded up. Later than 13 years after the origin it does not advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u32);

impl Tick {
    fn new(time: Time) -> Tick {
        let tenths = time.since_origin().as_millis().div_ceil(100);
        Tick(u32::try_from(tenths).unwrap_or(u32::MAX))
    }

    /// Rounds up to a whole second.
    fn whole(self) -> Tick {
        Tick(self.0.checked_next_multiple_of(10).unwrap_or(u32::MAX))
    }

    fn time(self) -> Time {
        Time::from_origin(Duration::from_millis(u64::from(self.0) * 100))
    }
}

/// What the stamps of the entries mean.
#[derive(Debug, Default)]
pub(super) enum Places {
    /// The positions are numbered without gaps. A stamp is the time.
    #[default]
    Own,
    /// The positions are those of a stream. A stamp is the distance to that of the first entry of the run.
    Stream(VecDeque<Run>),
}

/// Entries of a stream that came within a second.
#[derive(Debug)]
pub(super) struct Run {
    /// The number of the first entry.
    first: u64,
    /// The halves of its position.
    ms: u64,
    count: u64,
    /// The end of the second.
    at: Tick,
}

/// Number of bits of a stamp that are for the second half of a position.
const COUNT_BITS: u32 = 12;

impl Run {
    /// Returns the stamp of a position in this run, if it has one.
    fn stamp(&self, position: u128) -> Option<u32> {
        let (ms, count) = halves(position);
        let ms = ms.checked_sub(self.ms)?;
        let count = if ms == 0 { count.checked_sub(self.count)? } else { count };
        let fits = ms < 1 << (32 - COUNT_BITS) && count < 1 << COUNT_BITS;
        fits.then_some((ms as u32) << COUNT_BITS | count as u32)
    }

    fn position(&self, stamp: u32) -> u128 {
        let (ms, count) = (u64::from(stamp >> COUNT_BITS), u64::from(stamp & ((1 << COUNT_BITS) - 1)));
        let count = if ms == 0 { self.count.saturating_add(count) } else { count };
        u128::from(self.ms.saturating_add(ms)) << 64 | u128::from(count)
    }
}

fn halves(position: u128) -> (u64, u64) {
    ((position >> 64) as u64, position as u64)
}

impl Places {
    /// Returns the stamp of the next entry, whose number and position these are.
    pub(super) fn insert(&mut self, number: u64, position: u128, now: Time) -> u32 {
        let Places::Stream(runs) = self else { return Tick::new(now).0 };
        let at = Tick::new(now).whole();
        let last = runs.back().filter(|run| at <= run.at).and_then(|run| run.stamp(position));
        last.unwrap_or_else(|| {
            let (ms, count) = halves(position);
            runs.push_back(Run { first: number, ms, count, at });
            0
        })
    }

    /// Forgets the entries before this number.
    pub(super) fn forget(&mut self, number: u64) {
        let Places::Stream(runs) = self else { return };
        while runs.get(1).is_some_and(|next| next.first <= number) {
            runs.pop_front();
        }
        if runs.len() < runs.capacity() / 4 {
            runs.shrink_to(runs.len() * 2);
        }
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        if let Places::Stream(runs) = self {
            *runs = VecDeque::new();
        }
    }

    /// Returns the position of an entry in the stream.
    pub(super) fn position(&self, number: u64, stamp: u32) -> Option<u128> {
        self.run(number).map(|run| run.position(stamp))
    }

    /// Returns the time at which an event was sent, or came, rounded up to a tenth of a second, or to a second.
    pub(super) fn time(&self, number: u64, stamp: u32) -> Time {
        self.run(number).map_or(Tick(stamp), |run| run.at).time()
    }

    fn run(&self, number: u64) -> Option<&Run> {
        let Places::Stream(runs) = self else { return None };
        let behind = runs.partition_point(|run| run.first <= number);
        runs.get(behind.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_of_a_stream_are_the_same_again_and_times_are_late_by_less_than_a_second(
            steps in prop::collection::vec((0..3u64, 0..4u64, any::<u64>(), 0..2000u64), 1..60), gone: prop::sample::Index
        ) {
            let mut places = Places::Stream(VecDeque::new());
            let (mut ms, mut count, mut now) = (1_700_000_000_000, 0, 0);
            let mut entries = Vec::new();
            for (number, (step, by, wide, later)) in steps.into_iter().enumerate() {
                match step {
                    0 => count += by,
                    1 => (ms, count) = (ms + by + 1, wide >> (wide % 64)),
                    _ => (ms, count) = (ms + (wide >> 1 >> (wide % 63)) / 1000, 0),
                }
                count += 1;
                now += later;
                let position = u128::from(ms) << 64 | u128::from(count);
                let time = Time::from_origin(Duration::from_millis(now));
                entries.push((number as u64, places.insert(number as u64, position, time), position, time));
            }
            let first = gone.index(entries.len());
            places.forget(first as u64);
            for (number, stamp, position, time) in entries.split_off(first) {
                prop_assert_eq!(places.position(number, stamp), Some(position));
                let told = places.time(number, stamp);
                prop_assert!(time <= told && told < time + Duration::from_secs(1), "{:?} {:?}", time, told);
            }
        }
    }

    #[test]
    fn a_run_takes_32_bytes_and_there_is_one_in_a_second() {
        assert_eq!(size_of::<Run>(), 32);
        let mut places = Places::Stream(VecDeque::new());
        for number in 0..100_000u64 {
            let ms = 1_700_000_000_000 + number / 100;
            let now = Time::from_origin(Duration::from_millis(number / 100));
            places.insert(number, u128::from(ms) << 64 | u128::from(number % 100), now);
        }
        let Places::Stream(runs) = places else { panic!("it is one of a stream") };
        assert_eq!(runs.len(), 2);
    }
}
