//! The runtimes: each serves in a thread of its own.

use crate::client::PATIENCE;
use sockeye::Server;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Serves a server on one of the runtimes.
pub(crate) type Start = fn(Server) -> Running;

/// A server at work, until this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    ended: mpsc::Receiver<io::Result<()>>,
}

impl Running {
    /// Waits until the function that serves returns.
    pub(crate) fn wait(&self) {
        self.ended.recv_timeout(PATIENCE).expect("the serving ends").expect("without an error");
    }

    /// Waits until no client is left: they are forgotten just after it was told that they went.
    pub(crate) fn wait_until_empty(&self) {
        let begin = Instant::now();
        while self.server.clients_count() > 0 {
            assert!(begin.elapsed() < PATIENCE, "a client is left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Polling clients that were left would have to be waited for.
        self.server.begin_close();
    }
}

fn serve_with(
    server: Server,
    serve: impl FnOnce(Server, TcpListener) -> io::Result<()> + Send + 'static,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = mpsc::channel();
    let served = server.clone();
    std::thread::spawn(move || end.send(serve(served, listener)));
    Running { address, server, ended }
}

#[cfg(feature = "tokio")]
pub(crate) fn tokio_current_thread(server: Server) -> Running {
    serve_with(server, |server, listener| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve_on_tokio(server, listener))
    })
}

#[cfg(feature = "tokio")]
pub(crate) fn tokio_multi_thread(server: Server) -> Running {
    serve_with(server, |server, listener| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(serve_on_tokio(server, listener))
    })
}

#[cfg(feature = "tokio")]
pub(crate) async fn serve_on_tokio(server: Server, listener: TcpListener) -> io::Result<()> {
    sockeye::runtime::tokio::serve(server, from_std(listener)?).await
}

#[cfg(feature = "tokio")]
fn from_std(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

#[cfg(feature = "smol")]
pub(crate) fn smol(server: Server) -> Running {
    serve_with(server, |server, listener| {
        let executor = std::sync::Arc::new(smol::Executor::new());
        let runtime = sockeye::runtime::smol::Smol::on(&executor);
        smol::block_on(executor.run(runtime.serve(server, listener)))
    })
}

pub(crate) fn mio(server: Server) -> Running {
    serve_with(server, crate::custom_loop::run)
}

/// Ends with the server, whatever the HTTP server around it does.
#[cfg(feature = "axum")]
async fn until_closed(server: Server, serve: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    use sockeye::host::Host;
    let mut serve = std::pin::pin!(serve);
    std::future::poll_fn(|cx| {
        server.set_timer_waker(cx.waker());
        match server.is_closed() {
            true => std::task::Poll::Ready(Ok(())),
            false => serve.as_mut().poll(cx),
        }
    })
    .await
}

#[cfg(all(feature = "axum", feature = "tokio"))]
pub(crate) fn axum_on_tokio(server: Server) -> Running {
    serve_with(server, |server, listener| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = from_std(listener)?;
            until_closed(server.clone(), crate::mounted::axum_on_tokio(server, listener)).await
        })
    })
}

#[cfg(all(feature = "axum", feature = "tokio"))]
pub(crate) fn hyper_on_tokio(server: Server) -> Running {
    serve_with(server, |server, listener| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = from_std(listener)?;
            until_closed(server.clone(), crate::mounted::hyper_on_tokio(server, listener)).await
        })
    })
}

#[cfg(all(feature = "axum", feature = "smol"))]
fn mounted_on_smol<F: Future<Output = io::Result<()>>>(
    server: Server,
    serve: impl FnOnce(Server, TcpListener, sockeye::runtime::smol::Smol) -> F + Send + 'static,
) -> Running {
    serve_with(server, |server, listener| {
        let executor = std::sync::Arc::new(smol::Executor::new());
        let runtime = sockeye::runtime::smol::Smol::on(&executor);
        smol::block_on(executor.run(until_closed(server.clone(), serve(server, listener, runtime))))
    })
}

#[cfg(all(feature = "axum", feature = "smol"))]
pub(crate) fn axum_on_smol(server: Server) -> Running {
    mounted_on_smol(server, crate::mounted::axum_on_smol)
}

#[cfg(all(feature = "axum", feature = "smol"))]
pub(crate) fn hyper_on_smol(server: Server) -> Running {
    mounted_on_smol(server, crate::mounted::hyper_on_smol)
}
