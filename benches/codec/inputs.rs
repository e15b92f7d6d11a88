//! The inputs of the codec benches.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// An event and its data.
pub(crate) trait Input: Serialize + DeserializeOwned + PartialEq + Debug {
    const NAME: &'static str;
    const EVENT: &'static str;

    fn sample() -> Self;

    /// Returns the Engine.IO message of the event, as a JavaScript client writes it.
    fn message(&self) -> String {
        let data = serde_json::to_string(self).expect("it serializes");
        format!("42[\"{}\",{data}]", Self::EVENT)
    }
}

/// A chat message.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Chat(String);

/// A long text without escapes.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Text1k(String);

/// A game's state with numbers, lists and structs, about 1 KiB.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Json1k {
    id: u64,
    name: String,
    players: Vec<Player>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Player {
    id: u32,
    name: String,
    position: (f64, f64, f64),
    tags: Vec<String>,
    alive: bool,
}

impl Input for Chat {
    const NAME: &'static str = "chat_32B";
    const EVENT: &'static str = "chat message";

    fn sample() -> Self {
        Chat("the quick brown fox jumps again!".into())
    }
}

impl Input for Text1k {
    const NAME: &'static str = "text_1KiB";
    const EVENT: &'static str = "text";

    fn sample() -> Self {
        Text1k("the quick brown fox jumps again!".repeat(32))
    }
}

impl Input for Json1k {
    const NAME: &'static str = "json_1KiB";
    const EVENT: &'static str = "update";

    fn sample() -> Self {
        let player = |id: u32| Player {
            id,
            name: format!("player \"{id}\""),
            position: (f64::from(id) * 1.5, -27.25, 1e3),
            tags: vec!["red".into(), "captain".into()],
            alive: !id.is_multiple_of(3),
        };
        Json1k { id: 1_750_000_000_000, name: "the arena".into(), players: (0..10).map(player).collect() }
    }
}
