//! Whole clusters of 2 to 7 nodes over a bus in memory, under a clock that jumps, from a seed.
//!
//! The bus delays, reorders messages of different senders, loses some, reads entries of a stream again, loses the
//! connection to a node, and nodes are killed, closed and started again. Some nodes send no heartbeats, like those of Node.
//!
//! `SEEDS=10000 cargo test --release -p sockeye-core --all-features --test cluster_sim` plays more of them, and
//! `SEED=17` one.
#![cfg(feature = "cluster")]
#![allow(missing_docs, clippy::unwrap_used)]

mod bus;
mod node;
mod world;

use sockeye_core::cluster::{Classic, Dialect, Sharded, Streams, SubscriptionMode};
use world::{Faults, World};

fn dialects() -> [Dialect; 6] {
    let sharded = |subscription_mode| Dialect::Sharded(Sharded { subscription_mode, ..Sharded::default() });
    [
        Dialect::Classic(Classic::default()),
        Dialect::Classic(Classic { specific_responses: true, ..Classic::default() }),
        sharded(SubscriptionMode::Static),
        sharded(SubscriptionMode::Dynamic),
        sharded(SubscriptionMode::DynamicPrivate),
        Dialect::Streams(Streams::default()),
    ]
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Runs worlds of each dialect, and returns the number of steps.
fn run(seeds: u64, faults: Faults, check: impl Fn(&mut World) + std::panic::RefUnwindSafe) -> usize {
    let mut steps = 0;
    let seeds = match variable("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SEEDS").unwrap_or(seeds),
    };
    for seed in seeds {
        for dialect in dialects() {
            let play = || {
                let mut world = World::new(dialect.clone(), seed, faults);
                for _ in 0..40 {
                    world.act();
                }
                check(&mut world);
                world.steps()
            };
            match std::panic::catch_unwind(play) {
                Ok(more) => steps += more,
                Err(panic) => {
                    println!("SEED={seed} with {dialect:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    steps
}

#[test]
fn a_broadcast_reaches_each_client_once_and_in_order_and_every_request_is_answered() {
    let steps = run(4, Faults::None, |world| {
        world.settle();
        world.check_that_everything_arrived();
    });
    assert!(variable("SEED").is_some() || steps > 3_000, "only {steps} steps");
}

#[test]
fn faults_lose_messages_but_repeat_and_reorder_none_and_every_request_ends_by_its_deadline() {
    let steps = run(4, Faults::All, |world| {
        world.settle();
        world.check_that_requests_are_over();
    });
    assert!(variable("SEED").is_some() || steps > 3_000, "only {steps} steps");
}

#[test]
fn dead_nodes_are_forgotten_and_hold_nobody_up() {
    run(2, Faults::All, |world| {
        world.settle();
        world.heal();
        world.check_that_the_dead_are_forgotten();
        world.check_that_a_fetch_is_complete();
    });
}

#[test]
fn silence_empties_every_table() {
    run(2, Faults::All, World::check_silence);
}
