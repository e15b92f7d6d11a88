//! Files that the server serves besides its sessions: pages and scripts.

use crate::pool;
use bytes::Bytes;
use sockeye_core::Outbound;
use sockeye_core::http::{Coding, HttpCompression};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Files by the path under which they are requested.
#[derive(Debug, Default)]
pub(super) struct Assets(HashMap<String, Source>);

#[derive(Debug)]
enum Source {
    Memory(Arc<Asset>),
    /// A file that is read for each request.
    Disk {
        content_type: Cow<'static, str>,
        file: PathBuf,
    },
}

#[derive(Debug)]
pub(super) struct Asset {
    pub(super) content_type: Cow<'static, str>,
    pub(super) etag: String,
    pub(super) body: Bytes,
    /// The body as gzip, once a client has asked for it: `None` if that is not shorter.
    gzip: OnceLock<Option<Bytes>>,
}

impl Assets {
    pub(super) fn insert(
        &mut self,
        path: String,
        content_type: impl Into<Cow<'static, str>>,
        body: Cow<'static, [u8]>,
    ) {
        let asset = Asset::new(content_type.into(), body);
        self.0.insert(path, Source::Memory(Arc::new(asset)));
    }

    pub(super) fn insert_file(&mut self, path: String, content_type: Cow<'static, str>, file: PathBuf) {
        self.0.insert(path, Source::Disk { content_type, file });
    }

    /// Adds files below a path.
    pub(super) fn mount(&mut self, path: &str, files: Assets) {
        self.0.extend(files.0.into_iter().map(|(name, source)| (format!("{path}/{name}"), source)));
    }

    #[cfg(feature = "http")]
    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Returns the file that is served at a path; `None` if there is none, or it cannot be read.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Asset>> {
        match self.0.get(path)? {
            Source::Memory(asset) => Some(asset.clone()),
            Source::Disk { content_type, file } => {
                let body = fs::read(file).ok()?;
                Some(Arc::new(Asset::new(content_type.clone(), body.into())))
            }
        }
    }
}

impl Asset {
    fn new(content_type: Cow<'static, str>, body: Cow<'static, [u8]>) -> Asset {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let etag = format!("\"{:x}-{:x}\"", body.len(), hasher.finish());
        let body = match body {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => Bytes::from(body),
        };
        Asset { content_type, etag, body, gzip: OnceLock::new() }
    }

    /// Returns the file as gzip, for clients that prefer this coding. It is compressed once.
    pub(super) fn compressed(&self, compression: &HttpCompression, coding: Coding) -> Option<&Bytes> {
        if coding.name() != "gzip" {
            return None;
        }
        let compress = || {
            let mut body = Outbound::new();
            body.push(self.body.clone());
            compression.compress(coding, &body, &pool::DEFLATE).map(Bytes::from)
        };
        self.gzip.get_or_init(compress).as_ref()
    }

    /// Returns whether the client has this version of the file, by its `If-None-Match` header.
    pub(super) fn is_known(&self, if_none_match: Option<&str>) -> bool {
        let is_this = |known: &str| known == "*" || known.trim_start_matches("W/") == self.etag;
        if_none_match.is_some_and(|header| header.split(',').map(str::trim).any(is_this))
    }
}
