//! Opening a tunnel through a proxy, before the stream is driven.

use super::stream::Stream;
use crate::host::Destination;
use crate::http::Tunnel;
use std::future::poll_fn;
use std::io;
use std::vec::Vec;

/// Asks the proxy of `to`, which `stream` is connected to, to open a tunnel to the server; does nothing if `to` has no
/// proxy. Afterwards `stream` leads to the server, and no byte of the server has been read.
///
/// The caller must apply [`Destination::timeout`].
///
/// # Errors
/// The stream's own, or that the proxy refused: the text then contains the status of its response.
pub async fn open_tunnel<S: Stream>(stream: &mut S, to: &Destination) -> io::Result<()> {
    let Some(proxy) = &to.proxy else { return Ok(()) };
    let mut request = Vec::new();
    Tunnel::write_request(&mut request, &to.authority(), proxy.authorization()).map_err(io::Error::other)?;
    write_all(stream, &request).await.map_err(|error| to.explain(error))?;
    let mut tunnel = Tunnel::new();
    let mut buf = [0];
    loop {
        // Byte by byte, because the bytes after the response belong to the driver of the stream.
        let read = poll_fn(|cx| stream.poll_read(cx, &mut buf)).await;
        let [byte] = buf;
        match read {
            Ok(0) => {
                let text = "the proxy ended the connection without an answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Ok(_) if tunnel.handle_byte(byte).map_err(io::Error::other)? => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(to.explain(error)),
        }
    }
}

async fn write_all<S: Stream>(stream: &mut S, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|cx| stream.poll_write(cx, bytes)).await {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Proxy;
    use std::io::IoSlice;
    use std::string::{String, ToString};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    /// A stream that accepts `takes` bytes per write, and is pending at every other call.
    struct Fake {
        answer: &'static [u8],
        written: Vec<u8>,
        takes: usize,
        is_late: bool,
    }

    impl Fake {
        fn new(answer: &'static [u8]) -> Fake {
            Fake { answer, written: Vec::new(), takes: 7, is_late: false }
        }

        fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            self.is_late = !self.is_late;
            match self.is_late {
                true => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                false => Poll::Ready(()),
            }
        }
    }

    impl Stream for Fake {
        fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            self.wait(cx).map(|()| io::Read::read(&mut self.answer, buf))
        }

        fn poll_write_vectored(
            &mut self,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.wait(cx).map(|()| {
                let taken = bufs.iter().flat_map(|buf| buf.iter()).take(self.takes);
                let before = self.written.len();
                self.written.extend(taken);
                Ok(self.written.len() - before)
            })
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn open(stream: &mut Fake, host: &str) -> Result<(), String> {
        let proxy = Some(Proxy::new("proxy", 80, Some("Basic x".into())));
        let to = Destination { proxy, ..Destination::new(host, 443, Duration::ZERO) };
        let mut opening = std::pin::pin!(open_tunnel(stream, &to));
        loop {
            if let Poll::Ready(opened) = opening.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return opened.map_err(|error| error.to_string());
            }
        }
    }

    #[test]
    fn bytes_after_the_response_stay_in_the_stream() {
        let mut stream = Fake::new(b"HTTP/1.1 200 OK\r\n\r\nbehind");
        assert_eq!(open(&mut stream, "::1"), Ok(()));
        assert_eq!(stream.answer, b"behind");
        let expected =
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic x\r\n\r\n";
        assert_eq!(String::from_utf8(stream.written).unwrap(), expected);
    }

    #[test]
    fn the_error_says_why_no_tunnel_was_opened() {
        let told = |answer| open(&mut Fake::new(answer), "chat.example").unwrap_err();
        assert_eq!(told(b"HTTP/1.1 407 X\r\n\r\n"), "the proxy answered with status 407");
        assert_eq!(told(b"SSH-2.0\r\n"), "the proxy's answer is not an http response: malformed head");
        assert_eq!(told(b"HTTP/1.1 200 OK\r\n"), "the proxy ended the connection without an answer");
        let mut deaf = Fake { takes: 0, ..Fake::new(b"") };
        assert!(open(&mut deaf, "chat.example").unwrap_err().starts_with("the proxy cannot be used: "));
    }

    #[test]
    fn nothing_is_written_without_a_proxy() {
        let mut stream = Fake::new(b"");
        let to = Destination::new("chat.example", 443, Duration::ZERO);
        let opened =
            std::pin::pin!(open_tunnel(&mut stream, &to)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(opened, Poll::Ready(Ok(()))) && stream.written.is_empty());
    }
}
