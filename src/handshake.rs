//! A request to the server: the one that opened a session, or one that the application decides about.

use sockeye_core::host::Peer;
use sockeye_core::http;
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The request that opened a session, and the address that it came from. Hooks such as
/// [`use_request`](crate::ServerBuilder::use_request) get every other request in this form, too.
#[derive(Clone)]
pub struct Handshake {
    /// The method and a space unless it is GET, the target, then `name: value` for each header, one per line, in a
    /// single allocation.
    head: Box<[u8]>,
    peer: Peer,
    time: SystemTime,
    /// `None` if there are none, as in a server that is not mounted in another one.
    #[cfg(feature = "http")]
    extensions: Option<std::sync::Arc<::http::Extensions>>,
}

impl Handshake {
    pub(crate) fn new(request: &http::Request<'_>, peer: Peer) -> Handshake {
        let headers = request.headers().iter();
        let len =
            request.target().len() + headers.clone().map(|h| h.name.len() + h.value.len() + 3).sum::<usize>();
        let method = Some(request.method()).filter(|method| *method != "GET");
        let mut head = Vec::with_capacity(len + method.map_or(0, |method| method.len() + 1));
        if let Some(method) = method {
            head.extend_from_slice(method.as_bytes());
            head.push(b' ');
        }
        head.extend_from_slice(request.target().as_bytes());
        for header in headers {
            head.push(b'\n');
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(header.value);
        }
        Handshake {
            head: head.into_boxed_slice(),
            peer,
            time: SystemTime::now(),
            #[cfg(feature = "http")]
            extensions: None,
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_extensions(mut self, extensions: ::http::Extensions) -> Handshake {
        self.extensions = (!extensions.is_empty()).then(|| extensions.into());
        self
    }

    /// Returns the method: `GET` of the request that opened a session.
    pub fn method(&self) -> &str {
        self.first_line().0
    }

    /// Returns the path and query of the request.
    pub fn url(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.first_line().1)
    }

    fn first_line(&self) -> (&str, &[u8]) {
        let line = self.head.split(|&b| b == b'\n').next().unwrap_or_default();
        match line.iter().position(|&b| b == b' ') {
            None => ("GET", line),
            Some(space) => {
                let (method, target) = line.split_at(space);
                (std::str::from_utf8(method).unwrap_or_default(), target.get(1..).unwrap_or_default())
            }
        }
    }

    /// Calls `f` with the request in the form that the protocol reads.
    pub(crate) fn with_request<R>(&self, f: impl FnOnce(&http::Request<'_>) -> R) -> R {
        let (method, target) = self.first_line();
        let headers: smallvec::SmallVec<[http::Header<'_>; 24]> =
            self.headers().map(|(name, value)| http::Header { name, value }).collect();
        f(&http::Request::new(method, std::str::from_utf8(target).unwrap_or_default(), &headers))
    }

    /// Returns the headers in the order in which they were sent, with their names as they were written.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.split(|&b| b == b'\n').skip(1).filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            let (name, value) = line.split_at(colon);
            Some((std::str::from_utf8(name).ok()?, value.get(2..)?))
        })
    }

    /// Returns the first header of this name, ignoring case, if its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Returns an extension that an outer layer added to the request, if the server is
    /// [mounted](crate::mount) and the type is [kept](crate::mount::Layer::keep): a login, a session, an id
    /// for tracing.
    ///
    /// ```
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: sockeye::Socket| {
    ///     let user = socket.handshake().extension::<User>();
    ///     println!("{} is here", user.map_or("somebody", |user| &user.0));
    /// });
    /// ```
    #[cfg(feature = "http")]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.as_ref()?.get()
    }

    /// Returns the decoded parameters of the query, including `EIO`, `transport` and `t`.
    pub fn query(&self) -> Vec<(String, String)> {
        let url = self.url();
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let decode = |part| http::decode(part).map_or_else(|_| String::new(), Cow::into_owned);
        match http::Query::parse(query) {
            Ok(query) => query.pairs().map(|(key, value)| (decode(key), decode(value))).collect(),
            // Not reached: a session is not opened with a query that cannot be read.
            Err(_) => Vec::new(),
        }
    }

    /// Returns the first parameter of this name.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the address of the peer, which is a proxy's if there is one before the server. `None` if the
    /// server is mounted in another one that does not provide it.
    pub fn address(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    /// Returns whether the connection was encrypted. `false` if the server is mounted in another one that
    /// does not provide it.
    pub fn secure(&self) -> bool {
        self.peer.secure
    }

    /// Returns when the session was opened.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns when the session was opened, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns whether the request has an `Origin` header, as in the reference. A browser sends it from pages of
    /// another origin, and for POST and WebSocket also from pages of the same origin.
    pub fn xdomain(&self) -> bool {
        self.header("origin").is_some()
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold secrets.
        f.debug_struct("Handshake").field("address", &self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_reads_back() {
        let headers = [
            http::Header { name: "Host", value: b"x" },
            http::Header { name: "X-Empty", value: b"" },
            http::Header { name: "Cookie", value: b"a: b" },
        ];
        let request = http::Request::new("GET", "/socket.io/?EIO=4&name=a%20b&name=c", &headers);
        let handshake = Handshake::new(&request, Peer::default());
        assert_eq!(handshake.url(), "/socket.io/?EIO=4&name=a%20b&name=c");
        assert_eq!(handshake.header("cookie"), Some("a: b"));
        assert_eq!(handshake.header("x-empty"), Some(""));
        assert_eq!(handshake.headers().count(), 3);
        assert_eq!(handshake.query_param("name").as_deref(), Some("a b"));
        assert_eq!(handshake.method(), "GET");
        let issued = UNIX_EPOCH + std::time::Duration::from_millis(handshake.issued());
        let rounded = handshake.time().duration_since(issued).expect("it is rounded down");
        assert!(rounded.as_millis() == 0);
        handshake.with_request(|again| assert_eq!(*again, request));
        let request = http::Request::new("POST", "*", &headers);
        let handshake = Handshake::new(&request, Peer::default());
        assert_eq!((handshake.method(), &*handshake.url()), ("POST", "*"));
        handshake.with_request(|again| assert_eq!(*again, request));
    }
}
