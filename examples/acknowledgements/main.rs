//! Questions and answers: the page asks the server, and the server asks the page.
//!
//! Run it with `cargo run --example acknowledgements`, and open the address that it prints.
#[path = "../common/mod.rs"]
mod common;
#[path = "../page/mod.rs"]
mod page;

use sockeye::extract::Data;
use sockeye::{Server, Socket};
use std::time::Duration;

/// The time in which the user of the page has to answer.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> std::io::Result<()> {
    // In a program of your own: `sockeye::runtime::tokio::listen(app(), "127.0.0.1:3000").await`, or the same of smol.
    common::serve(app())
}

/// Returns the server, which `tests/in_memory.rs` tests.
pub(crate) fn app() -> Server {
    let io = page::builder(include_bytes!("index.html")).build();
    // The return value of a handler is the acknowledgement.
    io.on("add", async |Data((a, b)): Data<(f64, f64)>| a + b);
    // A handler may wait, even for an answer from the page; the page's other events are handled meanwhile.
    io.on("ask me", async |socket: Socket| {
        let asked = socket.timeout(PATIENCE).emit_with_ack::<String>("question", "Which fish is the best?");
        let heard = match asked.await {
            Ok(answer) => format!("You said “{answer}”"),
            Err(error) => format!("No answer: {error}"),
        };
        // `{:?}` escapes control characters, which a page could send to the terminal.
        println!("{}: {heard:?}", socket.id());
        heard
    });
    io
}
