//! Options from the environment and the command line.

use std::io;
use std::net::SocketAddr;

/// Returns 127.0.0.1:PORT (default: 3000; 0 for any free port).
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number("PORT").unwrap_or(3000)))
}

pub(crate) fn number(variable: &str) -> Option<u16> {
    std::env::var(variable).ok()?.parse().ok()
}

pub(crate) fn option(name: &str) -> io::Result<Option<String>> {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == name {
            let value = args.next();
            return value.map(Some).ok_or_else(|| io::Error::other(format!("{name} needs a value")));
        }
    }
    Ok(None)
}
