//! Stateful reconnect, with both sides: connections are cut anywhere, and nothing is lost, doubled or reordered; or both
//! sides know of it.
//!
//! `SEED=17 cargo test --test stateful_reconnect_random -- --nocapture` plays one seed of the random scenarios and tells what
//! happens; `SEEDS=1000000 cargo test --release --test stateful_reconnect_random -- --nocapture` plays so many. `EVERY=1` cuts
//! after every byte, instead of some of them.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "stateful_reconnect_random/ledger.rs"]
mod ledger;
mod seeds;
mod simulation;
#[path = "stateful_reconnect_random/world.rs"]
mod world;

use seeds::{is_replay, play_all, variable};
use simulation::Dice;
use sockeye::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use world::{Outcome, Setup, TRANSPORTS, World};

/// The number of seeds that are played by default, of each scenario.
const SEEDS: u64 = 1000;
/// The distance of the bytes after which a connection is cut by default.
const EVERY: u64 = 53;

type Play = fn(u64, bool) -> Outcome;

/// Losses that are over soon: no session ends.
fn mild(seed: u64, trace: bool) -> Outcome {
    play(seed, trace, false)
}

/// Losses of any length, small limits, and servers that disconnect.
fn harsh(seed: u64, trace: bool) -> Outcome {
    play(seed, trace, true)
}

fn play(seed: u64, trace: bool, is_harsh: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let transports = dice.pick(&TRANSPORTS).expect("there are some");
    let parser = dice.pick(&[Parser::Text, Parser::Text, Parser::MessagePack]).unwrap_or_default();
    let max_bytes = if is_harsh { dice.pick(&[1 << 20, 60_000]).unwrap_or_default() } else { 1 << 20 };
    let window = Duration::from_secs(if is_harsh { 30 } else { 80 });
    let mut world = World::new(dice.fork(), Setup { transports, parser, window, max_bytes }, trace);
    for _ in 0..10 + dice.below(50) {
        match dice.below(10) {
            0..4 => world.talk(),
            4..6 => world.disturb(is_harsh),
            6 => world.pass(30_000),
            _ => world.pass(300),
        }
        world.sim.run();
        world.ledger.lock().check(!is_harsh);
    }
    world.settle(!is_harsh);
    world.end()
}

#[test]
fn nothing_is_lost_doubled_or_reordered_if_the_connection_comes_back_in_time() {
    let total = play_all("stateful_reconnect_random", mild, SEEDS);
    assert!(total.resumptions > 0 && total.resumptions == total.interruptions);
}

#[test]
fn what_may_be_lost_with_a_session_is_known() {
    let total = play_all("stateful_reconnect_random", harsh, SEEDS);
    assert!(total.resumptions > 0 || is_replay());
}

#[test]
fn a_seed_always_plays_the_same() {
    for play in [mild as Play, harsh] {
        (0..10).for_each(|seed| assert_eq!(play(seed, false), play(seed, false), "{seed}"));
    }
}

/// A short talk whose first connections end after some number of bytes, in whatever is under way then.
#[test]
fn a_connection_can_be_cut_after_any_byte() {
    let every = variable("EVERY").unwrap_or(EVERY);
    for (at, transports) in TRANSPORTS.iter().enumerate() {
        let trace = variable("FUSE").is_some();
        let play = |fuse: usize| {
            let setup = Setup {
                transports,
                parser: Parser::Text,
                window: Duration::from_secs(80),
                max_bytes: 1 << 20,
            };
            let mut world = World::new(Dice::new(at as u64), setup, trace);
            world.net.set_fuse(Some(fuse));
            for _ in 0..4 {
                world.client_sends();
                world.server_sends();
                world.pass(200);
            }
            world.sim.advance(Duration::from_secs(60));
            let burnt = world.net.set_fuse(None);
            world.settle(true);
            (burnt, world.end())
        };
        let (mut fuse, mut cuts) = (variable("FUSE").unwrap_or_default(), 0);
        loop {
            let played = catch_unwind(AssertUnwindSafe(|| play(fuse as usize)));
            let Ok((burnt, outcome)) = played else { panic!("{transports:?}: cut after {fuse} bytes") };
            if !burnt {
                break;
            }
            assert!(outcome.disconnects == 0);
            (fuse, cuts) = (fuse + every, cuts + 1);
        }
        println!("{transports:?}: {cuts} cuts, up to {fuse} bytes");
        assert!(cuts > 5, "{cuts}");
    }
}
