//! Whole lives of a server and its clients, over links that delay, cut and break, each from one seed.
//!
//! `SEED=17 cargo test --test random -- --nocapture` plays one and tells what happens;
//! `SEEDS=1000000 cargo test --release --test random -- --nocapture` plays so many, and says how far it is.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "random/books.rs"]
mod books;
#[path = "random/client.rs"]
mod client;
#[path = "random/engine.rs"]
mod engine;
#[path = "random/ledger.rs"]
mod ledger;
#[path = "random/lives.rs"]
mod lives;
#[path = "random/overlap.rs"]
mod overlap;
#[path = "random/peer.rs"]
mod peer;
mod seeds;
mod simulation;
#[path = "random/world.rs"]
mod world;

use std::time::Duration;
use world::Outcome;

/// How many seeds are played by default: with hand-written clients, with real ones, with connections that overlap, and
/// with clients that are recovered.
const SEEDS: (u64, u64, u64, u64) = (2000, 1000, 2000, 2000);

/// Plays a scenario: from its seed, and perhaps telling what happens.
type Play = fn(u64, bool) -> Outcome;

/// Hand-written clients, which do what no client should, too.
#[test]
fn nothing_is_lost_doubled_reordered_or_left_whatever_happens_on_the_way() {
    play_all(world::play, SEEDS.0);
}

/// Our own client: the same over connections that come and go.
#[test]
fn real_clients_lose_double_reorder_and_leave_nothing_whatever_happens_on_the_way() {
    play_all(client::play, SEEDS.1);
}

/// Clients that use several connections of a session at once, and a server that is closed at any step.
#[test]
fn nothing_is_left_of_sessions_whose_connections_overlap() {
    play_all(overlap::play, SEEDS.2);
}

/// Clients that lose their connections and come back, servers that are restarted, and logs that overflow.
#[test]
fn each_event_arrives_once_and_in_order_over_many_connections_or_its_loss_is_told() {
    play_all(lives::play, SEEDS.3);
}

fn play_all(play: Play, seeds: u64) {
    let total = seeds::play_all("random", play, seeds);
    let is_some = total.upgrades > 0 && total.messages > 0 && total.virtual_time > Duration::from_secs(3600);
    assert!(is_some || seeds::is_replay());
}

#[test]
fn a_seed_always_plays_the_same() {
    for play in [world::play as Play, client::play, overlap::play] {
        for seed in 0..20 {
            assert_eq!(play(seed, false), play(seed, false), "{seed}");
        }
    }
}
