//! The counterpart of `examples/load_server.rs` with socketioxide; with `--mounted axum` it is a layer in axum.
#![allow(clippy::expect_used)]

use axum::Router;
use axum::serve::ListenerExt;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

fn main() -> std::io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number("PORT").unwrap_or(3000)));
    let runtime = match number("WORKERS").unwrap_or(1) {
        0 | 1 => Builder::new_current_thread().enable_all().build()?,
        workers => Builder::new_multi_thread().worker_threads(workers.into()).enable_all().build()?,
    };
    runtime.block_on(serve(address))
}

fn number(name: &str) -> Option<u16> {
    std::env::var(name).ok()?.parse().ok()
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    // The others accept as much by default.
    let mut builder = SocketIo::builder().max_payload(1_000_000);
    if let Some(interval) = number("PING_INTERVAL") {
        builder = builder.ping_interval(Duration::from_millis(interval.into()));
    }
    if std::env::args().skip(1).eq(["--mounted", "axum"]) {
        let (layer, io) = builder.build_layer();
        handle(&io);
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        return axum::serve(listener, Router::new().layer(layer)).await;
    }
    let (service, io) = builder.build_svc();
    handle(&io);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let http = hyper::server::conn::http1::Builder::new();
        let connection = http.serve_connection(TokioIo::new(stream), service.clone()).with_upgrades();
        tokio::spawn(async move { _ = connection.await });
    }
}

fn handle(io: &SocketIo) {
    io.ns("/", async |socket: SocketRef| {
        socket.on("echo", async |socket: SocketRef, Data::<Value>(data)| _ = socket.emit("echo", &data));
        socket.on("bin", async |socket: SocketRef, Data::<Bytes>(data)| _ = socket.emit("bin", &data));
        socket.on("ack", async |Data::<Value>(data), ack: AckSender| _ = ack.send(&data));
        socket.on("broadcast", async |io: SocketIo, Data::<Value>(data)| {
            _ = io.emit("broadcast", &data).await;
        });
        socket.on("join", async |socket: SocketRef, Data::<Vec<String>>(rooms), ack: AckSender| {
            socket.join(rooms);
            _ = ack.send(&());
        });
        socket.on("leave", async |socket: SocketRef, Data::<Vec<String>>(rooms), ack: AckSender| {
            socket.leave(rooms);
            _ = ack.send(&());
        });
        socket.on("room", async |io: SocketIo, Data::<(String, Value)>((room, data))| {
            _ = io.to(room).emit("room", &data).await;
        });
    });
}
