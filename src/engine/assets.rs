//! Files that the server serves: the client's script, or a page.

use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

/// Files by the path under which they are asked for.
#[derive(Debug, Default)]
pub(super) struct Assets(HashMap<String, Asset>);

#[derive(Debug)]
pub(super) struct Asset {
    pub(super) content_type: Cow<'static, str>,
    pub(super) etag: String,
    pub(super) body: Bytes,
}

/// What the client's package has for browsers.
const CLIENT_FILES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

impl Assets {
    pub(super) fn insert(
        &mut self,
        path: String,
        content_type: impl Into<Cow<'static, str>>,
        body: Cow<'static, [u8]>,
    ) {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let etag = format!("\"{:x}-{:x}\"", body.len(), hasher.finish());
        let body = match body {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => Bytes::from(body),
        };
        self.0.insert(path, Asset { content_type: content_type.into(), etag, body });
    }

    /// Reads the client's files that are in `folder`; others are not served.
    pub(super) fn read_client(folder: &Path) -> io::Result<Assets> {
        let mut assets = Assets::default();
        for name in CLIENT_FILES {
            let body = match std::fs::read(folder.join(name)) {
                Ok(body) => body,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let content_type = match name.ends_with(".map") {
                true => "application/json; charset=utf-8",
                false => "application/javascript; charset=utf-8",
            };
            assets.insert(format!("/{name}"), content_type, body.into());
        }
        match !assets.0.is_empty() {
            true => Ok(assets),
            false => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no socket.io client script in {}", folder.display()),
            )),
        }
    }

    /// Adds files below a path.
    pub(super) fn mount(&mut self, path: &str, files: Assets) {
        self.0.extend(files.0.into_iter().map(|(name, asset)| (format!("{path}{name}"), asset)));
    }

    pub(super) fn get(&self, path: &str) -> Option<&Asset> {
        self.0.get(path)
    }
}
