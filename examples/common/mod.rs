//! Serves the examples that are measured and tested, as `PORT`, `WORKERS`, `--runtime` and `--mounted` say.

#[path = "../custom_loop.rs"]
mod custom_loop;
mod interrupt;
#[cfg(all(feature = "axum", any(feature = "tokio", feature = "smol")))]
mod mounted;
mod options;

use interrupt::Close;
use options::{address, option};
#[cfg(not(feature = "http"))]
use sockeye::host::Host as Serve;
#[cfg(feature = "http")]
use sockeye::mount::Mount as Serve;
use std::io;
use std::net::SocketAddr;

/// Serves on 127.0.0.1:PORT (default: 3000; 0 for any free port) and prints the address. `--runtime` names the runtime:
/// tokio (the default) or smol with WORKERS threads (default: 1), or mio with one. With `--mounted axum` or
/// `--mounted hyper` the server is mounted in that framework, on tokio or smol. Ctrl-C closes the server.
pub(crate) fn serve<S: Serve + Close>(server: S) -> io::Result<()> {
    let runtime = option("--runtime")?;
    let closing = server.clone();
    match (runtime.as_deref().unwrap_or("tokio"), option("--mounted")?.as_deref()) {
        #[cfg(feature = "tokio")]
        ("tokio", None) => {
            on_tokio(closing, async |listener| sockeye::runtime::tokio::serve(server, listener).await)
        }
        #[cfg(all(feature = "axum", feature = "tokio"))]
        ("tokio", Some("axum")) => {
            on_tokio(closing, async |listener| mounted::axum_on_tokio(server, listener).await)
        }
        #[cfg(all(feature = "axum", feature = "tokio"))]
        ("tokio", Some("hyper")) => {
            on_tokio(closing, async |listener| mounted::hyper_on_tokio(server, listener).await)
        }
        #[cfg(feature = "smol")]
        ("smol", None) => on_smol(closing, async |smol, listener| smol.serve(server, listener).await),
        #[cfg(all(feature = "axum", feature = "smol"))]
        ("smol", Some("axum")) => {
            on_smol(closing, async |smol, listener| mounted::axum_on_smol(server, listener, smol).await)
        }
        #[cfg(all(feature = "axum", feature = "smol"))]
        ("smol", Some("hyper")) => {
            on_smol(closing, async |smol, listener| mounted::hyper_on_smol(server, listener, smol).await)
        }
        ("mio", None) => {
            interrupt::close_by_thread(closing)?;
            custom_loop::run(server, bind()?)
        }
        (runtime, mounted) => {
            let mounted = mounted.map_or(String::new(), |mounted| format!(" mounted in {mounted}"));
            let hint = "tokio, smol and axum need their features, and mio mounts nothing";
            let message = format!("cannot serve on {runtime}{mounted}: {hint}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

#[cfg(feature = "tokio")]
fn on_tokio(
    server: impl Close,
    serve: impl AsyncFnOnce(tokio::net::TcpListener) -> io::Result<()>,
) -> io::Result<()> {
    let runtime = match workers() {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        workers => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers.into()).enable_all().build()?
        }
    };
    runtime.block_on(async {
        let listener = bind()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            served = serve(listener) => served,
            () = interrupt::close_on_tokio(server) => Ok(()),
        }
    })
}

#[cfg(feature = "smol")]
fn on_smol(
    server: impl Close + Send + 'static,
    serve: impl AsyncFnOnce(sockeye::runtime::smol::Smol, std::net::TcpListener) -> io::Result<()>,
) -> io::Result<()> {
    let listener = bind()?;
    let executor = std::sync::Arc::new(smol::Executor::new());
    for _ in 1..workers() {
        let executor = executor.clone();
        std::thread::spawn(move || smol::block_on(executor.run(std::future::pending::<()>())));
    }
    let serving = serve(sockeye::runtime::smol::Smol::on(&executor), listener);
    // A task, because each poll of it reads from a pipe.
    let interrupted = executor.spawn(interrupt::close_on_smol(server));
    smol::block_on(executor.run(smol::future::or(serving, interrupted)))
}

fn bind() -> io::Result<std::net::TcpListener> {
    let listener = custom_loop::listen(address())?;
    announce(listener.local_addr()?);
    Ok(listener)
}

fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
}

#[cfg(any(feature = "tokio", feature = "smol"))]
fn workers() -> u16 {
    options::number("WORKERS").unwrap_or(1).max(1)
}
