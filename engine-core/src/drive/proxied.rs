//! Reading the header of the PROXY protocol, before the stream is driven.

use crate::host::Peer;
use crate::proxy_protocol::{Progress, parse};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::vec::Vec;

/// Reads the header that a proxy sends first, and returns the client that it tells; `peer` is that of the connection.
/// Afterwards no byte behind the header has been read: HTTP follows, or TLS.
///
/// `poll_read` reads from the stream. The caller must apply [`TIMEOUT`](crate::proxy_protocol::TIMEOUT).
///
/// # Errors
/// The stream's own; [`InvalidData`](io::ErrorKind::InvalidData) if there is no valid header. Close the stream then.
pub async fn read_proxy_header(
    peer: Peer,
    mut poll_read: impl FnMut(&mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
) -> io::Result<Peer> {
    let mut bytes = Vec::new();
    loop {
        let more = match parse(&bytes) {
            Ok(Progress::Done { source, .. }) => {
                let address = source.address.or(peer.address);
                return Ok(Peer { address, secure: source.secure || peer.secure });
            }
            Ok(Progress::More(more)) => more,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let filled = bytes.len();
        bytes.resize(filled + more, 0);
        let read = poll_fn(|cx| poll_read(cx, bytes.get_mut(filled..).unwrap_or_default())).await;
        let read = match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        bytes.truncate(filled + read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::pin::pin;
    use std::string::ToString;
    use std::task::Waker;

    /// Reads a header from a stream of `input` that delivers `size` bytes at a time and is not ready in between. Returns the
    /// bytes that are left, too.
    fn read(mut input: &[u8], size: usize) -> (io::Result<Peer>, &[u8]) {
        let peer = Peer::from("10.0.0.1:1".parse::<std::net::SocketAddr>().unwrap());
        let mut is_ready = false;
        let result = {
            let mut reading = pin!(read_proxy_header(peer, |_, buf| {
                is_ready = !is_ready;
                if is_ready {
                    return Poll::Pending;
                }
                let size = size.min(buf.len());
                Poll::Ready(input.read(&mut buf[..size]))
            }));
            loop {
                if let Poll::Ready(result) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    break result;
                }
            }
        };
        (result, input)
    }

    #[test]
    fn nothing_behind_the_header_is_read() {
        for size in [1, 2, 7, 600] {
            let (peer, rest) = read(b"PROXY TCP4 192.0.2.1 10.0.0.1 51000 443\r\n\x16\x03", size);
            assert_eq!(peer.unwrap().address, Some("192.0.2.1:51000".parse().unwrap()));
            assert_eq!(rest, b"\x16\x03");
            let (peer, rest) = read(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET", size);
            assert_eq!(peer.unwrap().address, Some("10.0.0.1:1".parse().unwrap()), "of the connection");
            assert_eq!(rest, b"GET");
        }
    }

    #[test]
    fn a_connection_without_a_header_is_refused() {
        let error = read(b"GET / HTTP/1.1\r\n\r\n", 600).0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().ends_with("is the proxy told to send one?"), "{error}");
        assert_eq!(read(b"PROXY TCP4", 1).0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
