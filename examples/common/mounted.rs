//! A server mounted in axum and in plain hyper, on tokio and on smol.

use axum::Router;
#[cfg(feature = "tokio")]
use axum::serve::ListenerExt;
use hyper::server::conn::http1;
use sockeye::mount::Mount;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "smol")]
use std::net::TcpListener as StdListener;
#[cfg(feature = "tokio")]
use tokio::net::TcpListener;

#[cfg(feature = "tokio")]
pub(crate) async fn axum_on_tokio<M: Mount>(server: M, listener: TcpListener) -> io::Result<()> {
    let app = sockeye::runtime::tokio::layer(server).in_front_of(Router::new());
    // Answers are written whole, so Nagle's algorithm would only delay them; `listen` does the same.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}

#[cfg(feature = "tokio")]
pub(crate) async fn hyper_on_tokio<M: Mount>(server: M, listener: TcpListener) -> io::Result<()> {
    let service = sockeye::runtime::tokio::service(server);
    loop {
        let (stream, peer) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let stream = hyper_util::rt::TokioIo::new(stream);
        let connection = http1::Builder::new().serve_connection(stream, service.clone().peer(peer));
        tokio::spawn(connection.with_upgrades());
    }
}

#[cfg(feature = "smol")]
pub(crate) async fn axum_on_smol<M: Mount>(
    server: M,
    listener: StdListener,
    smol: sockeye::runtime::smol::Smol,
) -> io::Result<()> {
    let app = Router::new().layer(sockeye::runtime::smol::layer(server).on(smol.clone()));
    serve_on_smol(listener, smol, |peer| {
        let with_peer = axum::Extension(sockeye::host::Peer::from(peer));
        hyper_util::service::TowerToHyperService::new(app.clone().layer(with_peer))
    })
    .await
}

#[cfg(feature = "smol")]
pub(crate) async fn hyper_on_smol<M: Mount>(
    server: M,
    listener: StdListener,
    smol: sockeye::runtime::smol::Smol,
) -> io::Result<()> {
    let service = sockeye::runtime::smol::layer(server).on(smol.clone()).layer(sockeye::mount::NotFound);
    serve_on_smol(listener, smol, |peer| service.clone().peer(peer)).await
}

#[cfg(feature = "smol")]
async fn serve_on_smol<S, B>(
    listener: StdListener,
    smol: sockeye::runtime::smol::Smol,
    service: impl Fn(SocketAddr) -> S,
) -> io::Result<()>
where
    S: hyper::service::Service<hyper::Request<hyper::body::Incoming>, Response = hyper::Response<B>>
        + Send
        + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    use sockeye::host::Runtime;

    let listener = smol::Async::new(listener)?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let stream = smol_hyper::rt::FuturesIo::new(stream);
        let connection = http1::Builder::new().serve_connection(stream, service(peer)).with_upgrades();
        smol.spawn(Box::pin(async { drop(connection.await) }));
    }
}
