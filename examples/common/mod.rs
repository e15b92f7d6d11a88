//! What the examples that are measured and tested share: `PORT`, `WORKERS`, `--runtime` and `--mounted`.

#[path = "../custom_loop.rs"]
mod custom_loop;
#[cfg(all(feature = "axum", any(feature = "tokio", feature = "smol")))]
pub(crate) mod mounted;

#[cfg(not(feature = "http"))]
use sockeye::host::Host as Serve;
#[cfg(feature = "http")]
use sockeye::mount::Mount as Serve;
use std::io;
use std::net::SocketAddr;

/// Serves on 127.0.0.1:PORT (3000), on the runtime that `--runtime` names: tokio or smol with WORKERS threads (1), or
/// mio with one. With `--mounted axum` or `--mounted hyper` it is mounted there, on tokio or smol.
pub(crate) fn serve<S: Serve>(server: S) -> io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], number("PORT").unwrap_or(3000)));
    let listener = || std::net::TcpListener::bind(address);
    let runtime = option("--runtime")?;
    let runtime = runtime.as_deref().unwrap_or("tokio");
    match (runtime, option("--mounted")?.as_deref()) {
        #[cfg(feature = "tokio")]
        ("tokio", None) => tokio_runtime()?.block_on(sockeye::tokio::listen(server, address)),
        #[cfg(feature = "smol")]
        ("smol", None) => {
            on_smol(|smol| async move { smol.serve(server, std::net::TcpListener::bind(address)?).await })
        }
        ("mio", None) => custom_loop::run(server, listener()?),
        #[cfg(all(feature = "axum", feature = "tokio"))]
        ("tokio", Some("axum")) => tokio_runtime()?.block_on(mounted::axum_on_tokio(server, listener()?)),
        #[cfg(all(feature = "axum", feature = "tokio"))]
        ("tokio", Some("hyper")) => tokio_runtime()?.block_on(mounted::hyper_on_tokio(server, listener()?)),
        #[cfg(all(feature = "axum", feature = "smol"))]
        ("smol", Some("axum")) => {
            on_smol(|smol| async move { mounted::axum_on_smol(server, listener()?, smol).await })
        }
        #[cfg(all(feature = "axum", feature = "smol"))]
        ("smol", Some("hyper")) => {
            on_smol(|smol| async move { mounted::hyper_on_smol(server, listener()?, smol).await })
        }
        (runtime, mounted) => {
            let mounted = mounted.map_or(String::new(), |mounted| format!(" mounted in {mounted}"));
            let message = format!(
                "no {runtime}{mounted} here: tokio, smol and axum are features, mio is always there and mounts nothing"
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

#[cfg(feature = "tokio")]
fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    match workers() {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        workers => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers.into()).enable_all().build()
        }
    }
}

#[cfg(feature = "smol")]
fn on_smol<F: Future<Output = io::Result<()>>>(
    serve: impl FnOnce(sockeye::smol::Smol) -> F,
) -> io::Result<()> {
    let executor = std::sync::Arc::new(smol::Executor::new());
    for _ in 1..workers() {
        let executor = executor.clone();
        std::thread::spawn(move || smol::block_on(executor.run(std::future::pending::<()>())));
    }
    smol::block_on(executor.run(serve(sockeye::smol::Smol::on(&executor))))
}

#[cfg(any(feature = "tokio", feature = "smol"))]
fn workers() -> u16 {
    number("WORKERS").unwrap_or(1).max(1)
}

fn number(variable: &str) -> Option<u16> {
    std::env::var(variable).ok()?.parse().ok()
}

fn option(name: &str) -> io::Result<Option<String>> {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == name {
            let value = args.next();
            return value.map(Some).ok_or_else(|| io::Error::other(format!("{name} wants a value")));
        }
    }
    Ok(None)
}
