//! A request to the server: the one that opened a session, or one that the application decides about.

mod common;
mod own;
mod reference;

pub(crate) use common::Common;

use common::Beside;
use own::{Own, Scratch};
use sockeye_core::host::Peer;
use sockeye_core::http;
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The request that opened a session, and the address that it came from. Hooks such as
/// [`use_request`](crate::ServerBuilder::use_request) get every other request in this form, too.
#[derive(Clone)]
pub struct Handshake {
    /// The lines of the request, in which [`HOLE`] stands for those parts that are only in `own`, if it shares them with
    /// others; and the extensions, if there are any, as in a server that is mounted in another one.
    beside: Option<Arc<Beside>>,
    /// The time, the address of the peer, and the lines of the request; or, if there are shared lines, what fills each hole,
    /// one per line.
    ///
    /// The lines are the method and a space unless it is GET, the target, then `name: value` for each header.
    own: Own,
}

/// Stands for a part of the request that is not shared. No request contains this byte.
const HOLE: &[u8] = b"\0";

impl Handshake {
    /// Creates it with the whole request; or, with the parts that sessions share, as a session [keeps](Handshake::kept) it,
    /// which then needs no memory for the whole request.
    pub(crate) fn new(request: &http::Request<'_>, peer: Peer, common: Option<&Arc<Common>>) -> Handshake {
        Handshake::at(SystemTime::now(), request, peer, common)
    }

    fn at(
        time: SystemTime,
        request: &http::Request<'_>,
        peer: Peer,
        common: Option<&Arc<Common>>,
    ) -> Handshake {
        let mut bytes = own::begin(peer);
        let headers = request.headers().iter().map(|header| (header.name, header.value));
        let is_get = request.method() == "GET";
        // Only GET opens a session, and it is not written down.
        let kept = common.filter(|_| is_get);
        let kept =
            kept.and_then(|common| compact(&bytes, request.target().as_bytes(), headers.clone(), common));
        match kept {
            Some((lines, own)) => Handshake { beside: Some(lines), own: Own::new(time, &own) },
            None => {
                if !is_get {
                    bytes.extend_from_slice(request.method().as_bytes());
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(request.target().as_bytes());
                headers.for_each(|(name, value)| write_header(&mut bytes, name, value));
                Handshake { beside: None, own: Own::new(time, &bytes) }
            }
        }
    }

    /// Returns the request in the form in which a session keeps it: without the headers that sessions do not keep, and with
    /// those parts that many clients have in common shared with them.
    pub(crate) fn kept(self, common: &Arc<Common>) -> Handshake {
        if self.shared_lines().is_some() {
            return self;
        }
        match compact(self.own.peer_and_lines().0, self.first_line(), self.headers(), common) {
            Some((lines, own)) => Handshake { own: Own::new(self.time(), &own), ..self }.with_lines(lines),
            None if self.headers().all(|(name, _)| common.keeps(name)) => self,
            None => Handshake { own: self.without(common), ..self },
        }
    }

    /// Returns the whole request without the headers that sessions do not keep.
    fn without(&self, common: &Common) -> Own {
        let mut own = Scratch::from_slice(self.own.peer_and_lines().0);
        own.extend_from_slice(self.first_line());
        let kept = self.headers().filter(|(name, _)| common.keeps(name));
        kept.for_each(|(name, value)| write_header(&mut own, name, value));
        Own::new(self.time(), &own)
    }

    fn with_lines(mut self, lines: Arc<Beside>) -> Handshake {
        self.beside = Some(match self.beside.as_deref() {
            #[cfg(feature = "http")]
            Some(Beside::Mounted { extensions, .. }) => {
                Arc::new(Beside::Mounted { lines: Some(lines), extensions: extensions.clone() })
            }
            _ => lines,
        });
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_extensions(mut self, extensions: ::http::Extensions) -> Handshake {
        if !extensions.is_empty() {
            let (lines, extensions) = (self.beside.take(), extensions.into());
            self.beside = Some(Arc::new(Beside::Mounted { lines, extensions }));
        }
        self
    }

    /// Returns the lines that the request shares with others.
    fn shared_lines(&self) -> Option<&[u8]> {
        self.beside.as_ref()?.text()
    }

    /// Returns the method: `GET` of the request that opened a session.
    pub fn method(&self) -> &str {
        self.method_and_target().0
    }

    /// Returns the path and query of the request.
    pub fn url(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.method_and_target().1)
    }

    /// Returns the lines of the request, each with a header's name, if it has one, and its value.
    fn lines(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        let (_, own) = self.own.peer_and_lines();
        let (lines, own) = match self.shared_lines() {
            Some(shared) => (shared, own),
            None => (own, &[][..]),
        };
        let mut holes = own.split(|&b| b == b'\n');
        lines.split(|&b| b == b'\n').enumerate().map(move |(at, line)| {
            let colon = line.iter().position(|&b| b == b':').filter(|_| at > 0);
            let (name, value) = match colon {
                Some(colon) => (line.get(..colon), line.get(colon + 2..).unwrap_or_default()),
                None => (None, line),
            };
            (name, if value == HOLE { holes.next().unwrap_or_default() } else { value })
        })
    }

    fn first_line(&self) -> &[u8] {
        self.lines().next().map_or(&[], |(_, line)| line)
    }

    fn method_and_target(&self) -> (&str, &[u8]) {
        let line = self.first_line();
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
        let (method, target) = self.method_and_target();
        let headers: smallvec::SmallVec<[http::Header<'_>; 24]> =
            self.headers().map(|(name, value)| http::Header { name, value }).collect();
        f(&http::Request::new(method, std::str::from_utf8(target).unwrap_or_default(), &headers))
    }

    /// Returns the headers in the order in which they were sent, with their names as they were written. Those of a session
    /// are the ones that it [keeps](crate::ServerBuilder::keep_headers).
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines().filter_map(|(name, value)| Some((std::str::from_utf8(name?).ok()?, value)))
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
        match self.beside.as_deref()? {
            Beside::Mounted { extensions, .. } => extensions.get(),
            Beside::Lines(_) => None,
        }
    }

    /// Returns the decoded parameters of the query, including `EIO`, `transport` and `t`.
    pub fn query(&self) -> Vec<(String, String)> {
        let url = self.url();
        let query = url.split_once('?').map_or("", |(_, query)| query);
        match http::Query::parse(query) {
            Ok(query) => {
                query.decoded_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
            }
            // Not reached: a session is not opened with a query that cannot be read.
            Err(_) => Vec::new(),
        }
    }

    /// Returns the first parameter of this name.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the address of the client; that of the proxy if there is one before the server that it does not
    /// [trust](crate::ServerBuilder::trust_proxy). `None` if the address is not known: the server is mounted in another one
    /// that does not provide it, or is served on a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.peer().address
    }

    /// Returns whether the connection was encrypted; that of the client to its proxy, if the server
    /// [trusts](crate::ServerBuilder::trust_proxy) it to tell. `false` if the server is mounted in another one that does not
    /// provide it.
    pub fn secure(&self) -> bool {
        self.peer().secure
    }

    /// Returns when the session was opened.
    pub fn time(&self) -> SystemTime {
        self.own.time()
    }

    /// Returns when the session was opened, in milliseconds since the Unix epoch.
    pub fn issued(&self) -> u64 {
        self.time()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn peer(&self) -> Peer {
        self.own.peer()
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

/// Divides a request into the lines that it shares with others and the parts of its own, which begin with the `peer`.
/// Returns `None` if its lines cannot be shared.
fn compact<'a>(
    peer: &[u8],
    first_line: &[u8],
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    common: &Arc<Common>,
) -> Option<(Arc<Beside>, Scratch)> {
    let (mut shared, mut own) = (Scratch::new(), Scratch::from_slice(peer));
    let mut has_hole = false;
    let mut fill = |part: &[u8]| {
        if std::mem::replace(&mut has_hole, true) {
            own.push(b'\n');
        }
        own.extend_from_slice(part);
    };
    if common::is_common_target(first_line) {
        shared.extend_from_slice(first_line);
    } else {
        shared.extend_from_slice(HOLE);
        fill(first_line);
    }
    for (name, value) in headers.filter(|(name, _)| common.keeps(name)) {
        if common::is_common(name) {
            write_header(&mut shared, name, value);
        } else {
            write_header(&mut shared, name, HOLE);
            fill(value);
        }
    }
    Some((common.share(&shared)?, own))
}

fn write_header(out: &mut Scratch, name: &str, value: &[u8]) {
    out.push(b'\n');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
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
        let handshake = Handshake::new(&request, Peer::default(), None);
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
        let handshake = Handshake::new(&request, Peer::default(), None);
        assert_eq!((handshake.method(), &*handshake.url()), ("POST", "*"));
        handshake.with_request(|again| assert_eq!(*again, request));
    }

    /// Asserts that two requests read the same in every respect.
    fn assert_same(a: &Handshake, b: &Handshake) {
        assert!(a.headers().eq(b.headers()));
        assert_eq!((a.method(), a.url(), a.address()), (b.method(), b.url(), b.address()));
        assert_eq!((a.secure(), a.time(), a.query()), (b.secure(), b.time(), b.query()));
        a.with_request(|a| b.with_request(|b| assert_eq!(a, b)));
    }

    #[test]
    fn a_kept_request_reads_as_the_whole_one_and_shares_what_is_common() {
        let headers = [
            http::Header { name: "HOST", value: b"chat.example.com:3000" },
            http::Header { name: "Cookie", value: b"a: b" },
            http::Header { name: "user-agent", value: b"Mozilla/5.0" },
            http::Header { name: "X-Empty", value: b"" },
            http::Header { name: "User-Agent", value: b"again: \xff" },
        ];
        let common = Arc::new(Common::default());
        for target in ["/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=4&transport=polling&t=1"] {
            for method in ["GET", "POST"] {
                let request = http::Request::new(method, target, &headers);
                let whole = Handshake::new(&request, Peer::default(), None);
                let one = Handshake::at(whole.time(), &request, Peer::default(), Some(&common));
                let (one, two) = (one.kept(&common), whole.clone().kept(&common));
                assert_same(&whole, &one);
                assert_same(&whole, &one.clone().kept(&common));
                let (Some(a), Some(b)) = (&one.beside, &two.beside) else { panic!("they are shared") };
                assert!(Arc::ptr_eq(a, b));
                assert!(one.own.bytes().len() < 60);
                assert_eq!(one.header("cookie"), Some("a: b"));
                assert_eq!(one.header("x-empty"), Some(""));
            }
        }
    }

    #[test]
    fn a_session_keeps_only_the_headers_that_it_has_to() {
        let long = vec![b'x'; 4000];
        for agent in [&b"short"[..], &long] {
            let headers = [
                http::Header { name: "Host", value: b"x" },
                http::Header { name: "Cookie", value: b"secret" },
                http::Header { name: "User-Agent", value: agent },
            ];
            let request = http::Request::new("GET", "/socket.io/?EIO=4", &headers);
            let whole = Handshake::new(&request, Peer::default(), None);
            let kept = |names: &[&str]| {
                let names = names.iter().map(|name| (*name).into()).collect();
                whole.clone().kept(&Arc::new(Common::new(Some(names))))
            };
            assert_eq!(kept(&[]).headers().count(), 0);
            assert_eq!(kept(&[]).url(), "/socket.io/?EIO=4");
            let some = kept(&["user-AGENT", "host", "other"]);
            assert!(some.headers().eq([("Host", &b"x"[..]), ("User-Agent", agent)]));
        }
    }

    #[test]
    fn the_random_number_of_a_websocket_handshake_is_kept_only_if_it_is_chosen() {
        let headers = [
            http::Header { name: "Host", value: b"x" },
            http::Header { name: "Sec-WebSocket-Key", value: b"dGhlIHNhbXBsZSBub25jZQ==" },
        ];
        let request = http::Request::new("GET", "/socket.io/?EIO=4&transport=websocket", &headers);
        let peer = Peer { address: "1.2.3.4:5".parse().ok(), secure: false };
        let whole = Handshake::new(&request, peer, None);
        assert_eq!(whole.headers().count(), 2);
        let kept = whole.clone().kept(&Arc::default());
        assert!(kept.headers().eq([("Host", &b"x"[..])]));
        assert!(kept.own.is_inline(), "the address needs no memory of its own");
        let chosen = Common::new(Some(vec!["sec-websocket-key".into()]));
        assert_eq!(whole.kept(&Arc::new(chosen)).headers().count(), 1);
    }

    #[test]
    fn a_peer_of_each_kind_reads_back() {
        let addresses = ["1.2.3.4:5", "[2001:db8::1]:65535", "[fe80::1%7]:80"];
        let addresses = addresses.iter().map(|text| text.parse().ok());
        for (address, secure) in addresses.chain([None]).zip([true, false, true, false]) {
            let request = http::Request::new("GET", "/", &[]);
            let handshake = Handshake::new(&request, Peer { address, secure }, None);
            assert_eq!((handshake.address(), handshake.secure()), (address, secure));
            let handshake = handshake.kept(&Arc::default());
            assert_eq!((handshake.address(), handshake.secure()), (address, secure));
        }
        assert_eq!(size_of::<Handshake>(), 32);
    }
}
