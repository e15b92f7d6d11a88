use sockeye::extract::Data;
use sockeye::{Client, Server};

#[tokio::test]
async fn over_loopback() -> Result<(), Box<dyn std::error::Error>> {
    let io = Server::new();
    io.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::new(format!("http://{}", listener.local_addr()?))?;
    tokio::spawn(sockeye::runtime::tokio::serve(io, listener));
    sockeye::runtime::tokio::connect(&client).await?;
    assert_eq!(client.emit_with_ack::<i64>("add", (2, 3)).await?, 5);
    Ok(())
}
