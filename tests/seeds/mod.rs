//! Playing a scenario from each of many seeds.

use std::fmt::Debug;
use std::ops::AddAssign;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Returns the number in an environment variable.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Returns whether only the seed of the environment variable `SEED` is played.
pub fn is_replay() -> bool {
    variable("SEED").is_some()
}

/// Plays a scenario from the seed `SEED`, telling what happens; or else from so many seeds as `SEEDS` says, by default
/// `seeds`. `test` is the name of the test file. Returns the sum of the outcomes.
pub fn play_all<T>(test: &str, play: fn(u64, bool) -> T, seeds: u64) -> T
where
    T: AddAssign + Debug + Default + Send,
{
    if let Some(seed) = variable("SEED") {
        let outcome = play(seed, true);
        println!("{outcome:?}");
        return outcome;
    }
    let seeds = variable("SEEDS").unwrap_or(seeds);
    let (next, begin) = (AtomicU64::new(0), Instant::now());
    let work = || {
        let mut total = T::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return total;
            }
            let Ok(outcome) = catch_unwind(|| play(seed, false)) else {
                next.store(seeds, Ordering::Relaxed);
                panic!("replay it with: SEED={seed} cargo test --test {test} -- --nocapture");
            };
            total += outcome;
            if seed % 10_000 == 9999 {
                println!("{} of {seeds} seeds after {:?}", seed + 1, begin.elapsed());
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut total = T::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => total += outcome,
                Err(panic) => resume_unwind(panic),
            }
        }
    });
    println!("{total:?} in {:?}", begin.elapsed());
    total
}
