//! What the examples that are measured and tested share: `PORT`, `WORKERS` and `--runtime`.

use sockeye::host::Host;
use std::io;

/// Serves on 127.0.0.1:PORT (3000) with WORKERS threads (1), on the runtime that `--runtime` names.
pub(crate) fn serve<H: Host>(server: H) -> io::Result<()> {
    let port = number("PORT").unwrap_or(3000);
    match runtime()?.as_str() {
        "tokio" => tokio_runtime()?.block_on(sockeye::tokio::listen(server, ("127.0.0.1", port))),
        other => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("unknown runtime {other}: use tokio")))
        }
    }
}

fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    match number("WORKERS").unwrap_or(1) {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        workers => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers.into()).enable_all().build()
        }
    }
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
