//! The error of a URL.

/// A URL that does not name a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the URL of Redis cannot be used: {reason}")]
pub struct UrlError {
    pub(crate) reason: String,
}
