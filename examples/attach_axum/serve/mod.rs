//! Listens, and serves an axum application together with its Socket.IO server, on the runtime that `--runtime` names.

#[cfg(feature = "smol")]
mod on_smol;
#[path = "../../common/options.rs"]
mod options;

use axum::Router;
use sockeye::Server;
use sockeye::mount::Layer;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Serves what `app` makes of the layer, until the program is interrupted.
pub(crate) fn serve(io: Server, app: impl FnOnce(Layer<Server>) -> Router) -> io::Result<()> {
    match options::option("--runtime")?.as_deref() {
        None | Some("tokio") => on_tokio(io.clone(), app(sockeye::runtime::tokio::layer(io))),
        #[cfg(feature = "smol")]
        Some("smol") => on_smol::serve(io.clone(), app(sockeye::runtime::smol::layer(io))),
        Some(other) => {
            Err(io::Error::other(format!("unknown runtime {other}: use tokio, or smol with its feature")))
        }
    }
}

#[tokio::main]
async fn on_tokio(io: Server, app: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(options::address()).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            // An error means that the platform has no such signal: then the server never shuts down.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            io.close_within(Duration::from_secs(1)).await;
        })
        .await
}
