//! The client behind proxies: `Forwarded` (RFC 7239), `X-Forwarded-For` and `X-Forwarded-Proto`.

use super::{Request, is_token};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::str;

/// The proxies whose headers are believed, so that the address and the scheme of a request are those of the client.
///
/// Each proxy appends the address that it was reached from. The list is read from its end, which the nearest proxy wrote,
/// and no further than to the first address that is not a trusted proxy's: that is the client. Everything before it may be
/// invented by the client. If an address is missing or malformed, the nearest one that is known stands for the client.
///
/// Trust only proxies that set the headers themselves, because all others pass on those that the client sent.
///
/// ```
/// # use sockeye_core::http::{InvalidNetwork, TrustProxy};
/// // One proxy, which is the only way to this server.
/// let one = TrustProxy::hops(1);
/// // Any number of proxies in these networks.
/// let several = TrustProxy::networks(["10.0.0.0/8", "2001:db8::7"])?;
/// // Proxies on this machine and in its private network, which write `Forwarded`.
/// let private = TrustProxy::private_networks().forwarded();
/// # Ok::<(), InvalidNetwork>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustProxy {
    trusted: Trusted,
    /// `Forwarded` is read instead of `X-Forwarded-For` and `X-Forwarded-Proto`.
    reads_forwarded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Trusted {
    Hops(usize),
    Networks(Vec<Network>),
}

/// The addresses that have the first bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network: see [`TrustProxy::networks`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network: write an address such as 10.0.0.1, or one with the length of its prefix, such as 10.0.0.0/8"
)]
pub struct InvalidNetwork(String);

crate::debug_as_text!(InvalidNetwork);

/// The maximum number of proxies between the client and the server: the work for one request is limited.
const MAX_HOPS: usize = 32;

/// The networks that are not routed on the Internet: this machine, this link, and private networks.
const PRIVATE: [&str; 8] = [
    "127.0.0.0/8",
    "169.254.0.0/16",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1",
    "fe80::/10",
    "fc00::/7",
];

impl TrustProxy {
    /// Trusts this number of proxies, whatever their addresses are, also those of a Unix socket. At most 32 are followed.
    ///
    /// There must be no way to the server with fewer proxies: on it, a client could choose the address that it is known by.
    pub fn hops(count: usize) -> TrustProxy {
        TrustProxy { trusted: Trusted::Hops(count), reads_forwarded: false }
    }

    /// Trusts the proxies with these addresses, or in these networks: `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`. At most 32
    /// proxies of one request are followed. A peer without an address, such as that of a Unix socket, is not trusted.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] if a text is none.
    pub fn networks<T: AsRef<str>>(
        networks: impl IntoIterator<Item = T>,
    ) -> Result<TrustProxy, InvalidNetwork> {
        let parse =
            |text: T| Network::parse(text.as_ref()).ok_or_else(|| InvalidNetwork(text.as_ref().into()));
        let networks = networks.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(TrustProxy { trusted: Trusted::Networks(networks), reads_forwarded: false })
    }

    /// Trusts the proxies on this machine, on its link (`169.254.0.0/16`, `fe80::/10`), and in private networks
    /// (`10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7`).
    pub fn private_networks() -> TrustProxy {
        let networks = PRIVATE.iter().filter_map(|text| Network::parse(text)).collect();
        TrustProxy { trusted: Trusted::Networks(networks), reads_forwarded: false }
    }

    /// Reads the header `Forwarded` instead of `X-Forwarded-For` and `X-Forwarded-Proto`. The proxies must set it: nginx,
    /// HAProxy and Apache do not by default, and would pass on that of the client.
    pub fn forwarded(mut self) -> TrustProxy {
        self.reads_forwarded = true;
        self
    }

    /// Returns the address of the client and whether its connection is encrypted. `address` and `secure` are those of the
    /// connection that the request arrived on, and the result if its peer is not trusted.
    ///
    /// The port is 0 if the proxy does not tell it.
    pub fn client(
        &self,
        address: Option<SocketAddr>,
        secure: bool,
        request: &Request<'_>,
    ) -> (Option<SocketAddr>, bool) {
        if !self.trusts(address, 0) {
            return (address, secure);
        }
        if self.reads_forwarded {
            let elements = || values(request, "forwarded").flat_map(Elements).map(element);
            let (client, hops) = self.walk(address, elements().map(|(node, _)| node));
            let scheme = elements().nth(hops.saturating_sub(1)).and_then(|(_, is_secure)| is_secure);
            return (client, scheme.unwrap_or(secure));
        }
        let nodes = values(request, "x-forwarded-for").flat_map(elements);
        let (client, hops) = self.walk(address, nodes.map(node));
        // A proxy that sets no scheme passes on that of the proxy before it.
        let schemes = values(request, "x-forwarded-proto").flat_map(elements);
        let scheme = schemes.take(hops.max(1)).last().and_then(is_secure);
        (client, scheme.unwrap_or(secure))
    }

    /// Follows the addresses that proxies tell, the nearest first, as long as they are trusted. Returns the last one, and
    /// the number of those that were followed.
    fn walk(
        &self,
        peer: Option<SocketAddr>,
        mut nodes: impl Iterator<Item = Option<SocketAddr>>,
    ) -> (Option<SocketAddr>, usize) {
        let (mut client, mut hops) = (peer, 0);
        while hops < MAX_HOPS && self.trusts(client, hops) {
            let Some(Some(node)) = nodes.next() else { break };
            client = Some(node);
            hops += 1;
        }
        (client, hops)
    }

    /// Returns whether the host that is this number of hops away is a trusted proxy.
    fn trusts(&self, address: Option<SocketAddr>, hops: usize) -> bool {
        match &self.trusted {
            Trusted::Hops(count) => hops < *count,
            Trusted::Networks(networks) => address.is_some_and(|address| {
                let address = address.ip().to_canonical();
                networks.iter().any(|network| network.contains(address))
            }),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // `parse` would also take a sign.
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
            None => bits,
        };
        (prefix <= bits).then_some(Network { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = u32::from(own) ^ u32::from(other);
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = u128::from(own) ^ u128::from(other);
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// Returns the values of the headers with this name, the last one first.
fn values<'a>(request: &Request<'a>, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let named = request.headers().iter().rev().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

/// Returns the elements of a list, the last one first. An empty one is not skipped: it stands for an unknown host.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The elements of `Forwarded`, the last one first.
///
/// They are found from the end, where a trusted proxy wrote them, so that a quote which the client has not closed does not
/// reach into them.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut is_quoted = false;
        let mut rest = self.0;
        while let Some((&byte, before)) = rest.split_last() {
            match byte {
                b',' if !is_quoted => break,
                b'"' if !is_quoted => is_quoted = true,
                // A quote with an odd number of backslashes before it is part of the text.
                b'"' => {
                    is_quoted = before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
                }
                _ => {}
            }
            rest = before;
        }
        let (_, element) = self.0.split_at_checked(rest.len())?;
        self.0 = rest.split_last().map_or(&[], |(_, before)| before);
        Some(element.trim_ascii())
    }
}

/// Returns the address in `for` and the scheme in `proto` of one element of `Forwarded` (RFC 7239, section 4). Both are
/// `None` if the element is malformed.
fn element(element: &[u8]) -> (Option<SocketAddr>, Option<bool>) {
    pairs(element).unwrap_or_default()
}

fn pairs(mut rest: &[u8]) -> Option<(Option<SocketAddr>, Option<bool>)> {
    let (mut host, mut scheme) = (None, None);
    loop {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (rest.get(..equals)?.trim_ascii(), rest.get(equals + 1..)?);
        let (value, after) = quoted(value).or_else(|| {
            let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
            let (value, after) = value.split_at_checked(end)?;
            let value = value.trim_ascii();
            // Ports and IPv6 addresses have to be quoted, but unquoted ones are in use.
            let is_value = |byte: &u8| is_token(&[*byte]) || matches!(byte, b':' | b'[' | b']');
            value.iter().all(is_value).then_some((value, after))
        })?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") {
            if host.replace(value).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"proto") && scheme.replace(value).is_some() {
            return None;
        }
        rest = match after.trim_ascii() {
            [] => return Some((host.and_then(node), scheme.and_then(is_secure))),
            [b';', rest @ ..] => rest,
            _ => return None,
        };
    }
}

/// Splits a quoted text off the front, with its escapes: neither an address nor a scheme contains one.
fn quoted(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = value.trim_ascii_start().strip_prefix(b"\"")?;
    let mut is_escaped = false;
    let end = value.iter().position(|&byte| match byte {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        b'\\' => {
            is_escaped = true;
            false
        }
        byte => byte == b'"',
    })?;
    Some((value.get(..end)?, value.get(end + 1..)?))
}

/// Parses an address with or without a port. `None` if the proxy hides it, as `unknown` or by a name of its own.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    // The port may be hidden, too.
    let text = text.rsplit_once(":_").map_or(text, |(address, _)| address);
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let ip = text.parse().ok().or_else(|| in_brackets().map(IpAddr::V6))?;
    Some(SocketAddr::new(ip, 0))
}

/// Returns whether a scheme is encrypted, if it is one that can be used here.
fn is_secure(scheme: &[u8]) -> Option<bool> {
    let is = |names: [&[u8]; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    match () {
        () if is([b"https", b"wss"]) => Some(true),
        () if is([b"http", b"ws"]) => Some(false),
        () => None,
    }
}

#[cfg(test)]
#[path = "trust_proxy_tests.rs"]
mod tests;
