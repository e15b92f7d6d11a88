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
use tokio::net::TcpListener;
use tokio::runtime::Builder;

fn main() -> std::io::Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u16>().ok());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number("PORT").unwrap_or(3000)));
    let runtime = match number("WORKERS").unwrap_or(1) {
        0 | 1 => Builder::new_current_thread().enable_all().build()?,
        workers => Builder::new_multi_thread().worker_threads(workers.into()).enable_all().build()?,
    };
    runtime.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    if std::env::args().skip(1).eq(["--mounted", "axum"]) {
        let (layer, io) = SocketIo::new_layer();
        handle(&io);
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        return axum::serve(listener, Router::new().layer(layer)).await;
    }
    let (service, io) = SocketIo::new_svc();
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
    });
}
