//! Connects to a server, sends an event and one with an acknowledgement, and prints what it receives.
//!
//! Run it with `cargo run --example client http://localhost:3000` beside the server of the README.

use sockeye::Client;
use sockeye::client::ClientDisconnectReason;
use sockeye::extract::{Data, Event};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:3000".into());
    let client = Client::new(url)?;
    client.on("chat message", async |Data(text): Data<String>| println!("{text}"));
    client.on_any(async |Event(name): Event| println!("event {name:?}"));
    client.on_disconnect(async |reason: ClientDisconnectReason| println!("disconnected: {reason}"));
    sockeye::runtime::tokio::connect(&client).await?;
    println!("connected as {}", client.id().unwrap_or_default());

    client.emit("chat message", "hello from Rust")?;
    match client.emit_with_ack::<i64>("add", (2, 3)).await {
        Ok(sum) => println!("2 + 3 = {sum}"),
        Err(error) => println!("no answer: {error}"),
    }
    client.close();
    client.closed().await;
    Ok(())
}
