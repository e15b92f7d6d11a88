//! What the examples that are measured and tested share: `PORT`, `WORKERS` and `--runtime`.

#[path = "../custom_loop.rs"]
mod custom_loop;

use sockeye::host::Host;
use std::io;
use std::net::SocketAddr;

/// Serves on 127.0.0.1:PORT (3000; 0 is any that is free) and prints the address. The runtime is the one that
/// `--runtime` names: tokio or smol with WORKERS threads (1), or mio with one.
pub(crate) fn serve<H: Host>(server: H) -> io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], number("PORT").unwrap_or(3000)));
    match runtime()?.as_str() {
        #[cfg(feature = "tokio")]
        "tokio" => tokio_runtime()?.block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await?;
            announce(listener.local_addr()?);
            sockeye::tokio::serve(server, listener).await
        }),
        #[cfg(feature = "smol")]
        "smol" => serve_on_smol(server, address),
        "mio" => custom_loop::run(server, bind(address)?),
        other => {
            let message =
                format!("no runtime {other} here: tokio and smol are features, mio is always there");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    announce(listener.local_addr()?);
    Ok(listener)
}

fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
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
fn serve_on_smol<H: Host>(server: H, address: SocketAddr) -> io::Result<()> {
    let listener = bind(address)?;
    let executor = std::sync::Arc::new(smol::Executor::new());
    for _ in 1..workers() {
        let executor = executor.clone();
        std::thread::spawn(move || smol::block_on(executor.run(std::future::pending::<()>())));
    }
    let runtime = sockeye::smol::Smol::on(&executor);
    smol::block_on(executor.run(async move { runtime.serve(server, listener).await }))
}

#[cfg(any(feature = "tokio", feature = "smol"))]
fn workers() -> u16 {
    number("WORKERS").unwrap_or(1).max(1)
}

fn number(variable: &str) -> Option<u16> {
    std::env::var(variable).ok()?.parse().ok()
}

fn runtime() -> io::Result<String> {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--runtime" {
            return args.next().ok_or_else(|| io::Error::other("--runtime wants a name"));
        }
    }
    Ok("tokio".to_owned())
}
