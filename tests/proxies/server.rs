//! The server behind the proxies: on one port for proxies that write headers, on one for the PROXY protocol, on one mounted
//! in axum. It believes proxies at 127.0.0.1 only, so that clients at other addresses of the machine are told apart.

use sockeye::extract::AckSender;
use sockeye::runtime::tokio::{layer, serve, serve_proxied};
use sockeye::{Args, Server, Socket, TrustProxy};
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let io = Server::builder().trust_proxy(TrustProxy::networks(["127.0.0.1"])?).build();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |args: Args, ack: AckSender| ack.send(args));
        socket.on("peer", async |socket: Socket| {
            let handshake = socket.handshake();
            let address = handshake.address().map_or("unknown".into(), |address| address.ip().to_string());
            format!("{} {address}", if handshake.secure() { "https" } else { "http" })
        });
    });
    let plain = listener("listening").await?;
    let proxied = listener("proxied").await?;
    let mounted = listener("mounted").await?;
    let app = axum::Router::new().layer(layer(io.clone()));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(serve_proxied(io.clone(), proxied));
    tokio::spawn(async { axum::serve(mounted, app).await });
    Ok(serve(io, plain).await?)
}

/// Listens on a free port, and prints it.
async fn listener(name: &str) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{name} on {}", listener.local_addr()?.port());
    Ok(listener)
}
