//! The address of a Redis server, with what is needed to log in.

use crate::error::UrlError;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

/// A server, with the user's name, password and database.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) place: Place,
    /// The encryption, if the URL asked for it and it is set.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<sockeye_core::tls::rustls::ClientConfig>>,
    pub(crate) secure: bool,
    pub(crate) login: RedisConnectionInfo,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Tcp(String, u16),
    #[cfg_attr(not(unix), expect(dead_code, reason = "the URL is refused"))]
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads a URL as the crate `redis` does, which is also what `redis-cli -u` takes.
    pub(crate) fn parse(url: &str) -> Result<Endpoint, UrlError> {
        let invalid = |reason: String| UrlError { reason };
        // Encryption is ours, so that its settings do not depend on what else is in the process.
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("it has to begin with a scheme, such as redis://127.0.0.1:6379".into()))?;
        let secure = matches!(scheme, "rediss" | "valkeys");
        let known = ["redis", "valkey", "unix", "redis+unix", "valkey+unix"];
        if !secure && !known.contains(&scheme) {
            return Err(invalid(format!("{scheme} is not a scheme of Redis: write redis:// or rediss://")));
        }
        if secure && !cfg!(feature = "tls") {
            return Err(invalid(format!("{scheme} needs the feature `tls`")));
        }
        if rest.ends_with("#insecure") {
            return Err(invalid(
                "#insecure is not supported: add the certificate that is to be trusted by `tls`".into(),
            ));
        }
        let plain = if secure { format!("redis://{rest}") } else { url.to_owned() };
        let info = plain.as_str().into_connection_info().map_err(|error| invalid(error.to_string()))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp(host.clone(), *port),
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(invalid(format!("{scheme} is not supported"))),
        };
        let login = info.redis_settings().clone().set_lib_name("sockeye", env!("CARGO_PKG_VERSION"));
        Ok(Endpoint {
            place,
            #[cfg(feature = "tls")]
            tls: None,
            secure,
            login,
        })
    }

    /// Returns another server with the same login and encryption.
    pub(crate) fn at(&self, place: Place) -> Endpoint {
        Endpoint { place, ..self.clone() }
    }
}

impl fmt::Display for Endpoint {
    /// Shows the address only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    /// Omits the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
