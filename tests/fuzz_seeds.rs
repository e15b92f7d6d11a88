//! Replays the inputs that fuzzing has found, on stable Rust: see `fuzz/`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_passes_its_target() {
    for &(name, target) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let input = fs::read(&seed).unwrap();
            let passed = std::panic::catch_unwind(|| target(&input)).is_ok();
            assert!(passed, "{name} fails: {}", seed.display());
        }
    }
}
