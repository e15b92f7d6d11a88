//! A raw Engine.IO server that sends every message back: what the official Engine.IO test suite expects.
use sockeye::engine::{Handler, Message, Server, Session};
use sockeye::http::Cors;
use std::time::Duration;

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        let _ = session.send(message);
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let server = Server::builder(Echo)
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .max_payload(1_000_000)
        .cors(Cors::any())
        .build();
    sockeye::tokio::listen(server, ("127.0.0.1", port)).await
}
