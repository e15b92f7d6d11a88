//! Socket.IO in front of a hyper service, without a framework.
//!
//! Run it with `cargo run --example attach_hyper --features hyper`, and connect to http://127.0.0.1:3000.
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use sockeye::{Args, Server, Socket};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        println!("{} connected from {:?}", socket.id(), socket.handshake().address());
    });
    io.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    let service = sockeye::runtime::tokio::layer(io.clone()).layer(service_fn(hello));

    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serving = async {
        loop {
            let (stream, address) = listener.accept().await?;
            let service = service.clone().peer(address);
            tokio::spawn(async move {
                // hyper needs the timer for its deadline of request heads.
                let mut http = http1::Builder::new();
                let connection =
                    http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                // WebSocket needs upgrades.
                if let Err(error) = connection.with_upgrades().await {
                    eprintln!("{address}: {error}");
                }
            });
        }
    };
    let closing = async {
        tokio::signal::ctrl_c().await?;
        io.close_within(Duration::from_secs(1)).await;
        Ok(())
    };
    // Clients are still served while the server closes.
    tokio::select! {
        served = serving => served,
        closed = closing => closed,
    }
}

/// Answers every request that is not for Socket.IO.
async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!("hello from {}\n", request.uri().path()))))
}
