//! What the examples with a page share: its style, the line that says how it is connected, and the client's script.

use sockeye::{Builder, Server};
use std::io;
use std::path::Path;

/// The client's script, once `npm install` was run in `examples`; without it the pages ask the CDN.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/node_modules/socket.io-client/dist");

/// A server that gives out the page `index`, and what it needs.
pub(crate) fn builder(index: &'static [u8]) -> io::Result<Builder> {
    let builder = Server::builder()
        .asset("/", "text/html; charset=utf-8", index)
        .asset("/page/style.css", "text/css; charset=utf-8", include_bytes!("style.css").as_slice())
        .asset("/page/status.js", "text/javascript; charset=utf-8", include_bytes!("status.js").as_slice());
    match Path::new(CLIENT).exists() {
        true => builder.serve_client(CLIENT),
        false => Ok(builder),
    }
}
