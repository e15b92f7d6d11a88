//! Questions and answers: the page asks the server, and the server asks the page.
//!
//! Run it with `cargo run --example acknowledgements`, and open the address that it prints.
#[path = "../common/mod.rs"]
mod common;
#[path = "../page/mod.rs"]
mod page;

use sockeye::Socket;
use sockeye::extract::Data;
use std::time::Duration;

/// How long whoever sits before the page may think.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> std::io::Result<()> {
    let io = page::builder(include_bytes!("index.html"))?.build();
    io.on_connect(async |socket: Socket| {
        // What a handler returns is the acknowledgement.
        socket.on("add", async |Data((a, b)): Data<(f64, f64)>| a + b);
        // A handler may wait, for an answer of the page as well; its other events are handled meanwhile.
        socket.on("ask me", async |socket: Socket| {
            let asked =
                socket.timeout(PATIENCE).emit_with_ack::<String>("question", "Which fish is the best?");
            let heard = match asked.await {
                Ok(answer) => format!("you said “{answer}”"),
                Err(error) => format!("no answer: {error}"),
            };
            // Quoted, as a page could send what a terminal obeys.
            println!("{}: {heard:?}", socket.id());
            heard
        });
    });
    // `sockeye::tokio::listen(io, "127.0.0.1:3000").await`, or smol's.
    common::serve(io)
}
