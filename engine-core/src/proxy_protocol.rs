//! The PROXY protocol, versions 1 and 2: a header by which a proxy that passes on bytes tells the address of the client.
//!
//! The header is the first thing on a connection, before HTTP and before TLS, and it is not part of either. [`parse`] reads
//! it; [`drive::read_proxy_header`](crate::drive) does so on an asynchronous stream.
//!
//! Expect it only on a listener that none but the proxy can reach: everyone else could tell any address.
//!
//! The text of the protocol is `doc/proxy-protocol.txt` of HAProxy.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::{self, FromStr};
use core::time::Duration;

/// The maximum length of a header in bytes. The protocol demands that it fits into the first packet, whose smallest size
/// leaves this.
pub const MAX_HEADER: usize = 536;
/// The timeout for a header to arrive, which the driver has to apply: 10 s, as for the head of a request.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum length of a header of version 1, its CRLF included.
const MAX_LINE: usize = 107;
/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";
/// The length of the shortest header: `PROXY UNKNOWN` and CRLF.
const SHORTEST: usize = 15;
/// The first bytes of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the part of version 2 that all of its headers have.
const FIXED: usize = 16;

/// The result of [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The header is not complete: at least this many bytes are missing. All of these belong to the header, so that they can
    /// be read without a byte of what follows.
    More(usize),
    /// The header is complete.
    Done {
        /// The length of the header in bytes. What follows is HTTP, or TLS.
        len: usize,
        /// The client.
        source: Source,
    },
}

/// The client, as a header tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The address. `None` if that of the connection counts: the proxy speaks for itself, as for a health check (`LOCAL`), or
    /// the client has none (`UNKNOWN`, a Unix socket).
    pub address: Option<SocketAddr>,
    /// True if the client is connected to the proxy by TLS. Only version 2 tells it (HAProxy: `send-proxy-v2-ssl`).
    pub secure: bool,
}

/// The reason why a connection has no valid header. Close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY protocol header: is the proxy told to send one?")]
    Missing,
    /// The header breaks the grammar, or is of a version other than 1 and 2.
    #[error("malformed PROXY protocol header")]
    Malformed,
    /// The header is longer than 107 bytes (version 1) or [`MAX_HEADER`] bytes (version 2).
    #[error("the PROXY protocol header is too long")]
    TooLong,
}

/// Parses the header at the front of `input`, which may continue after it.
///
/// ```
/// use sockeye_core::proxy_protocol::{Progress, parse};
///
/// let input = b"PROXY TCP4 192.0.2.1 10.0.0.1 51000 443\r\nGET / HTTP/1.1\r\n";
/// let Progress::Done { len, source } = parse(input)? else { panic!("the header is complete") };
/// assert_eq!(source.address, Some("192.0.2.1:51000".parse()?));
/// assert!(input[len..].starts_with(b"GET"));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// If the input is not the beginning of a header, at its first wrong byte.
pub fn parse(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    if input.starts_with(SIGNATURE) {
        return parse_binary(input);
    }
    if input.starts_with(WORD) {
        return parse_line(input);
    }
    match input {
        [] => Ok(Progress::More(SHORTEST)),
        _ if WORD.starts_with(input) => Ok(Progress::More(SHORTEST - input.len())),
        _ if SIGNATURE.starts_with(input) => Ok(Progress::More(FIXED - input.len())),
        _ => Err(ProxyHeaderError::Missing),
    }
}

/// Parses a header of version 1, which begins with its word.
fn parse_line(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let window = input.get(..MAX_LINE).unwrap_or(input);
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return match MAX_LINE.saturating_sub(input.len()) {
            0 => Err(ProxyHeaderError::TooLong),
            left => Ok(Progress::More(left.min(missing(input)))),
        };
    };
    let line = window.get(WORD.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| str::from_utf8(line).ok()).ok_or(ProxyHeaderError::Malformed)?;
    let address = match line.split_once(' ').map_or((line, ""), |split| split) {
        // Whatever follows is to be ignored.
        ("UNKNOWN", _) => None,
        ("TCP4", rest) => Some(addresses::<Ipv4Addr>(rest)?),
        ("TCP6", rest) => Some(addresses::<Ipv6Addr>(rest)?),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Progress::Done { len: end + 1, source: Source { address, secure: false } })
}

/// Returns the number of bytes that are missing at least, of a line whose end has not arrived.
fn missing(line: &[u8]) -> usize {
    let shortest = match line {
        _ if line.starts_with(b"PROXY TCP4 ") => b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len(),
        _ if line.starts_with(b"PROXY TCP6 ") => b"PROXY TCP6 :: :: 1 1\r\n".len(),
        _ => SHORTEST,
    };
    let end = if line.ends_with(b"\r") { 1 } else { 2 };
    shortest.saturating_sub(line.len()).max(end)
}

/// Parses source and destination, of which the source is returned.
fn addresses<T: FromStr + Into<IpAddr>>(text: &str) -> Result<SocketAddr, ProxyHeaderError> {
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or(ProxyHeaderError::Malformed);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    let ip = |text: &str| text.parse::<T>().map_err(|_| ProxyHeaderError::Malformed);
    let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| ProxyHeaderError::Malformed),
        false => Err(ProxyHeaderError::Malformed),
    };
    ip(destination)?;
    port(destination_port)?;
    match words.next() {
        None => Ok(SocketAddr::new(ip(source)?.into(), port(source_port)?)),
        Some(_) => Err(ProxyHeaderError::Malformed),
    }
}

/// Parses a header of version 2, which begins with its signature.
fn parse_binary(input: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let Some((fixed, rest)) = input.split_first_chunk::<FIXED>() else {
        return Ok(Progress::More(FIXED - input.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    if length > MAX_HEADER - FIXED {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Progress::More(length - rest.len()));
    };
    let source = match is_local {
        true => Source::default(),
        false => parse_block(family, block).ok_or(ProxyHeaderError::Malformed)?,
    };
    Ok(Progress::Done { len: FIXED + length, source })
}

/// Parses the addresses and what follows them.
fn parse_block(family: u8, block: &[u8]) -> Option<Source> {
    let (address, more) = match family {
        0x11 => {
            let (addresses, more) = block.split_first_chunk::<12>()?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            (Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))), more)
        }
        0x21 => {
            let (addresses, more) = block.split_first_chunk::<36>()?;
            let (ip, ports) = addresses.split_first_chunk::<16>()?;
            let [.., high, low, _, _] = *ports else { return None };
            (Some(SocketAddr::from((*ip, u16::from_be_bytes([high, low])))), more)
        }
        // Unknown; and UDP, which does not get here.
        0x00 => (None, block),
        0x12 => (None, block.get(12..)?),
        0x22 => (None, block.get(36..)?),
        // Unix sockets.
        0x31 | 0x32 => (None, block.get(216..)?),
        _ => return None,
    };
    Some(Source { address, secure: is_secure(more) })
}

/// Looks for the entry that tells of TLS (`PP2_TYPE_SSL`), among entries of a type, a length and a value.
fn is_secure(mut entries: &[u8]) -> bool {
    while let [kind, high, low, rest @ ..] = entries {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return false };
        if *kind == 0x20 {
            return value.first().is_some_and(|client| client & 1 != 0);
        }
        entries = rest;
    }
    false
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
