//! Tokio's byte streams.

use socket2::SockRef;
use sockeye_core::drive::Stream;
use std::any::Any;
use std::io::{self, IoSlice, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Any of tokio's byte streams as a [`Stream`].
#[derive(Debug)]
pub struct Io<T>(pub T);

impl<T: 'static> Io<T> {
    /// Returns the stream if it is that of a socket, which can be tried without registering the task.
    fn tcp(&self) -> Option<&TcpStream> {
        (&self.0 as &dyn Any).downcast_ref()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Stream for Io<T> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.tcp() {
            // Asked first, because that costs less if there is something to read.
            Some(tcp) if tcp.try_io(Interest::READABLE, || Ok(())).is_err() => {
                tcp.poll_read_ready(cx).map(drop)
            }
            _ => Poll::Ready(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if cfg!(target_os = "linux")
            && let Some(tcp) = self.tcp()
        {
            loop {
                match try_read(tcp, buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
                ready!(tcp.poll_read_ready(cx))?;
            }
        }
        let mut buf = ReadBuf::new(buf);
        Pin::new(&mut self.0).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.tcp().map(|tcp| tcp.try_write(buf)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(written) => return Poll::Ready(written),
            None => {}
        }
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Reads without registering the task. If that empties the socket's buffer, the next call knows it without a system call.
fn try_read(tcp: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    let mut last = None;
    let read = tcp.try_io(Interest::READABLE, || {
        let n = (&*SockRef::from(tcp)).read(buf)?;
        match 0 < n && n < buf.len() {
            true => {
                last = Some(n);
                // Tokio then waits for the system to report more, from the moment before this read on.
                Err(io::ErrorKind::WouldBlock.into())
            }
            false => Ok(n),
        }
    });
    last.map_or(read, Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::{coop, yield_now};
    use tokio::time::timeout;

    /// Notes that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Woken {
        async fn wait(&self) {
            let woken = async {
                while !self.0.swap(false, Ordering::Relaxed) {
                    yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), woken).await.expect("it is woken");
        }
    }

    async fn connect() -> (Io<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Io(listener.accept().await.unwrap().0), peer)
    }

    #[tokio::test]
    async fn a_stream_that_was_drained_is_readable_once_it_has_woken_its_task() {
        let (mut stream, mut peer) = connect().await;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let is_readable =
            |stream: &mut Io<_>| stream.poll_readable(&mut Context::from_waker(&waker)).is_ready();
        let mut buf = [0; 10];
        let mut read = |stream: &mut Io<_>| stream.poll_read(&mut Context::from_waker(&waker), &mut buf);
        assert!(read(&mut stream).is_pending() && !is_readable(&mut stream));
        peer.write_all(b"abc").await.unwrap();
        woken.wait().await;
        assert!(is_readable(&mut stream));
        assert!(matches!(read(&mut stream), Poll::Ready(Ok(3))));
        // Less than there was room for: no system call is needed to see that nothing is left.
        assert!(cfg!(not(target_os = "linux")) || !is_readable(&mut stream));
        assert!(read(&mut stream).is_pending() && !is_readable(&mut stream));
        drop(peer);
        woken.wait().await;
        // The end can be read again and again.
        for _ in 0..2 {
            assert!(is_readable(&mut stream));
            assert!(matches!(read(&mut stream), Poll::Ready(Ok(0))));
        }
    }

    #[tokio::test]
    async fn a_stream_that_has_woken_its_task_in_vain_wakes_it_again() {
        let (mut stream, mut peer) = connect().await;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(stream.poll_read(&mut Context::from_waker(&waker), &mut [0]).is_pending());
        for _ in 0..3 {
            assert!(stream.poll_readable(&mut Context::from_waker(&waker)).is_pending());
            peer.write_all(b"abc").await.unwrap();
            woken.wait().await;
            // What has arrived is gone before the task is polled.
            assert_eq!(stream.0.try_read(&mut [0; 3]).unwrap(), 3);
            assert!(stream.0.try_read(&mut [0; 3]).is_err());
        }
    }

    #[tokio::test]
    async fn a_read_that_waits_for_the_budget_of_its_task_wakes_it() {
        let (mut stream, mut peer) = connect().await;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let read = poll_fn(|cx| {
            while coop::has_budget_remaining() {
                assert!(coop::poll_proceed(cx).map(|budget| budget.made_progress()).is_ready());
            }
            Poll::Ready(stream.poll_read(&mut Context::from_waker(&waker), &mut [0]))
        });
        assert!(read.await.is_pending());
        woken.wait().await;
        assert!(stream.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        peer.write_all(b"a").await.unwrap();
        woken.wait().await;
    }

    #[tokio::test]
    async fn a_write_that_blocks_is_continued_once_the_peer_has_read() {
        let (mut stream, mut peer) = connect().await;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let mut written = 0;
        while let Poll::Ready(n) = stream.poll_write(&mut Context::from_waker(&waker), &[1; 1 << 16]) {
            written += n.unwrap();
        }
        let mut rest = vec![0; written];
        peer.read_exact(&mut rest).await.unwrap();
        woken.wait().await;
        assert!(stream.poll_write(&mut Context::from_waker(&waker), b"a").is_ready());
    }
}
