//! An Engine.IO server that sends every message back, as the official Engine.IO test suite expects.
//!
//! Run it with `PORT=3000 cargo run --example engine_echo`. With `--eio3` it serves clients of Engine.IO 3, too.
mod common;

use sockeye::Cors;
use sockeye::engine::{Application, Message, Server, Session};
use std::env;
use std::time::Duration;

struct Echo;

impl Application for Echo {
    type State = ();

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        // An error means that the client reads too slowly; it is closed for that.
        let _ = session.send(message);
    }
}

fn main() -> std::io::Result<()> {
    let server = Server::builder(Echo)
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .max_payload(1_000_000)
        .allow_eio3(env::args().any(|arg| arg == "--eio3"))
        .cors(Cors::any())
        .build();
    common::serve(server)
}
