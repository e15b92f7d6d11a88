//! Serves what the pages of the examples share: the style, the status line, and the JavaScript client.

use sockeye::{Server, ServerBuilder};

// Types of content.
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns a builder of a server that serves the page `index` and the files that it needs.
///
/// The client is a copy from npm's `socket.io-client`, so that the examples run without npm and without the internet. In a
/// program of your own, install the package and use [`ServerBuilder::serve_client`].
pub(crate) fn builder(index: &'static [u8]) -> ServerBuilder {
    let client = include_bytes!("socket.io.esm.min.js").as_slice();
    Server::builder()
        .asset("/", "text/html; charset=utf-8", index)
        .asset("/page/style.css", CSS, include_bytes!("style.css").as_slice())
        .asset("/page/talk.css", CSS, include_bytes!("talk.css").as_slice())
        .asset("/page/status.js", SCRIPT, include_bytes!("status.js").as_slice())
        .asset("/page/talk.js", SCRIPT, include_bytes!("talk.js").as_slice())
        .asset("/socket.io/socket.io.esm.min.js", SCRIPT, client)
}
