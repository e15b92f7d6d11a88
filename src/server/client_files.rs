//! The script of the JavaScript client, which a server can serve from the client's npm package.

use std::io;
use std::path::Path;

/// The files for browsers in the client's package.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// A file of the client.
pub(super) struct ClientFile {
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// Reads the client's files that are in `folder`; the folder's other files are not served.
///
/// # Errors
/// If none of the files exists, or one cannot be read.
pub(super) fn read(folder: &Path) -> io::Result<Vec<ClientFile>> {
    let mut files = Vec::new();
    for name in NAMES {
        let body = match std::fs::read(folder.join(name)) {
            Ok(body) => body,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let content_type = match name.ends_with(".map") {
            true => "application/json; charset=utf-8",
            false => "application/javascript; charset=utf-8",
        };
        files.push(ClientFile { name, content_type, body });
    }
    match !files.is_empty() {
        true => Ok(files),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no socket.io client script in {}", folder.display()),
        )),
    }
}
