//! Serves what the pages of the examples share: the style, the status line, and the client's script.

use sockeye::{Server, ServerBuilder};
use std::io;
use std::path::Path;

/// The folder of the client's script, once `npm install` was run in `examples`; without it the pages use the CDN.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/node_modules/socket.io-client/dist");

// Types of content.
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns a builder of a server that serves the page `index` and the files that it needs.
pub(crate) fn builder(index: &'static [u8]) -> io::Result<ServerBuilder> {
    let builder = Server::builder()
        .asset("/", "text/html; charset=utf-8", index)
        .asset("/page/style.css", CSS, include_bytes!("style.css").as_slice())
        .asset("/page/talk.css", CSS, include_bytes!("talk.css").as_slice())
        .asset("/page/status.js", SCRIPT, include_bytes!("status.js").as_slice())
        .asset("/page/talk.js", SCRIPT, include_bytes!("talk.js").as_slice());
    match Path::new(CLIENT).exists() {
        true => builder.serve_client(CLIENT),
        false => Ok(builder),
    }
}
