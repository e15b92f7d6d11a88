//! The same application on smol: `--features axum,smol` and `--runtime smol`. `axum::serve` works on tokio only; hyper,
//! which axum is based on, works on any runtime.

use super::options;
use async_signal::{Signal, Signals};
use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use smol::stream::StreamExt;
use smol_hyper::rt::FuturesIo;
use sockeye::Server;
use std::io;
use std::time::Duration;

pub(crate) fn serve(io: Server, app: Router) -> io::Result<()> {
    let mut interrupts = Signals::new([Signal::Int])?;
    smol::block_on(async {
        let listener = smol::net::TcpListener::bind(options::address()).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let connections = GracefulShutdown::new();
        let http = Builder::new(Tasks);
        let accepting = async {
            loop {
                let (stream, address) = listener.accept().await?;
                let app = app.clone().layer(Extension(ConnectInfo(address)));
                // WebSocket needs upgrades.
                let connection = http
                    .serve_connection_with_upgrades(FuturesIo::new(stream), TowerToHyperService::new(app))
                    .into_owned();
                smol::spawn(connections.watch(connection)).detach();
            }
        };
        let closing = async {
            interrupts.next().await.transpose()?;
            io.close_within(Duration::from_secs(1)).await;
            io::Result::Ok(())
        };
        smol::future::or(accepting, closing).await?;
        connections.shutdown().await;
        Ok(())
    })
}

/// Runs hyper's tasks on smol.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        smol::spawn(task).detach();
    }
}
