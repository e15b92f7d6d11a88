//! Two servers that are one cluster over Redis, and a page: what is said at one is heard at both.
//!
//! Run it with `cargo run --example cluster --features redis` while Redis runs (`REDIS=redis://127.0.0.1:6379`), and open
//! both addresses that it prints. `PORT` is the first port (default: 3000; 0 for any two that are free). In earnest, each
//! server is a process on a machine of its own: see the guide.
#[path = "../page/mod.rs"]
mod page;

use sockeye::cluster::Adapter;
use sockeye::extract::{Data, State};
use sockeye::redis::RedisBus;
use sockeye::{Server, Socket};
use std::error::Error;
use tokio::net::TcpListener;

/// The maximum length of what is said, in characters. The page limits it as well, but not every client is the page.
const LONGEST_TEXT: usize = 500;

/// The port of the server.
#[derive(Clone, Copy)]
struct Port(u16);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let next = if port == 0 { 0 } else { port + 1 };
    tokio::try_join!(serve(&url, port), serve(&url, next))?;
    Ok(())
}

async fn serve(url: &str, port: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let port = listener.local_addr()?.port();
    // Each server has a bus of its own. It connects by itself, and again if Redis was away.
    let adapter = Adapter::sharded(RedisBus::new(url)?);
    let io = page::builder(include_bytes!("index.html"))
        .adapter(adapter)
        .on_cluster_event(move |event| println!("server {port}: {event}"))
        .state(Port(port))
        .build();
    io.on_connect(async |socket: Socket, State(port): State<Port>| socket.emit("server", port.0));
    io.on("say", async |io: Server, State(port): State<Port>, Data(text): Data<String>| {
        if text.chars().count() <= LONGEST_TEXT {
            // Reaches the clients of both servers.
            io.emit("said", (port.0, &text));
        }
    });
    println!("server {port}: http://127.0.0.1:{port}");
    sockeye::runtime::tokio::serve(io, listener).await?;
    Ok(())
}
