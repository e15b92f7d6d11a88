//! Tells every page the date, each second.
//!
//! Run it with `cargo run --example date_notifier`, and open the address that it prints.
use sockeye::Server;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The client's script, if npm's `socket.io-client` is installed beside the examples; else the page asks the CDN.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/node_modules/socket.io-client/dist");

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut builder = Server::builder().asset("/", "text/html; charset=utf-8", include_bytes!("index.html"));
    if Path::new(CLIENT).exists() {
        builder = builder.serve_client(CLIENT)?;
    }
    let io = builder.build();

    // Any thread may emit; this one does nothing else.
    let clock = io.clone();
    std::thread::spawn(move || {
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            clock.emit("date", now.as_millis() as u64);
            std::thread::sleep(Duration::from_secs(1));
        }
    });

    println!("open http://127.0.0.1:3000");
    sockeye::tokio::listen(io, "127.0.0.1:3000").await
}
