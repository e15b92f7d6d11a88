//! Serves what the pages of the examples share: the style, the status line, and the JavaScript client.

use sockeye::{Server, ServerBuilder};

/// The JavaScript client, once `npm install` was run in `examples`; without it the pages use the CDN.
const CLIENT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/node_modules/socket.io-client/dist/socket.io.min.js");

// Types of content.
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns a builder of a server that serves the page `index` and the files that it needs.
pub(crate) fn builder(index: &'static [u8]) -> ServerBuilder {
    Server::builder()
        .asset("/", "text/html; charset=utf-8", index)
        .asset("/page/style.css", CSS, include_bytes!("style.css").as_slice())
        .asset("/page/talk.css", CSS, include_bytes!("talk.css").as_slice())
        .asset("/page/status.js", SCRIPT, include_bytes!("status.js").as_slice())
        .asset("/page/talk.js", SCRIPT, include_bytes!("talk.js").as_slice())
        // It may be installed while the server runs. `ServerBuilder::serve_client` reads the whole package once.
        .asset_file("/socket.io/socket.io.min.js", SCRIPT, CLIENT)
}
