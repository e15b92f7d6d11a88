//! The tests that the page on testing shows, each module as it stands there.

mod lobby;
mod loopback;

#[test]
fn the_page_shows_these_tests() {
    let page = include_str!("../../../docs/guide/testing.md");
    for shown in [include_str!("lobby.rs"), include_str!("loopback.rs")] {
        assert!(page.contains(&format!("```rust\n{shown}```")), "the page differs from this:\n{shown}");
    }
}
