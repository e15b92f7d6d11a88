//! An echo server over `wss` and `https`: `cargo run --example tls --features tls -- cert.pem key.pem`.
//!
//! Without files it creates a self-signed certificate for localhost, which no client trusts by default.
use sockeye::{Args, Server, Socket, Tls};
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let (certificates, key) = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [certificates, key] => (std::fs::read(certificates)?, std::fs::read(key)?),
        [] => self_signed()?,
        _ => return Err(io::Error::other("usage: tls [cert.pem key.pem]")),
    };
    let tls = Tls::from_pem(&certificates, &key)?;

    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        println!("{} connected, encrypted: {}", socket.id(), socket.handshake().secure());
    });
    io.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));

    let closing = io.clone();
    tokio::spawn(async move {
        // An error means that the platform has no such signal.
        if tokio::signal::ctrl_c().await.is_ok() {
            closing.close_within(Duration::from_secs(1)).await;
        }
    });
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on https://localhost:{}", listener.local_addr()?.port());
    sockeye::runtime::tokio::serve_tls(io, listener, tls).await
}

fn self_signed() -> io::Result<(Vec<u8>, Vec<u8>)> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    println!("no certificate was given: using this self-signed one, for tests only");
    println!("{}", pair.cert.pem());
    Ok((pair.cert.pem().into_bytes(), pair.signing_key.serialize_pem().into_bytes()))
}
