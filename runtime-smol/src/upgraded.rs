//! Streams that hyper hands over after an upgrade.

use crate::stream::Tcp;
use async_io::Async;
use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::Upgraded,
};
use smol_hyper::rt::FuturesIo;
use sockeye_core::drive::{Drive, Protocol, Stream, Unattended};
use sockeye_core::host::Runtime;
use std::borrow::Borrow;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Spawns a task that drives `protocol` over the stream that hyper hands over after an upgrade. If that is a socket of
/// smol's in the `FuturesIo` of `smol_hyper`, hyper takes no part any more.
pub fn start_upgraded<P: Protocol + Send + Unpin + 'static>(
    upgraded: Upgraded,
    protocol: P,
    runtime: Arc<dyn Runtime>,
) {
    let upgraded = match upgraded.downcast::<FuturesIo<Async<TcpStream>>>() {
        Ok(parts) => return start_tcp(parts.io.into_inner(), &parts.read_buf, protocol, runtime),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<FuturesIo<smol::net::TcpStream>>() {
        Ok(parts) => {
            let stream: Arc<Async<TcpStream>> = parts.io.into_inner().into();
            start_tcp(stream, &parts.read_buf, protocol, runtime);
        }
        Err(upgraded) => {
            let drive = Drive::new(HandedOver(upgraded), protocol, runtime.clone());
            runtime.spawn(Box::pin(Unattended(drive)));
        }
    }
}

fn start_tcp<S, P>(stream: S, input: &[u8], protocol: P, runtime: Arc<dyn Runtime>)
where
    S: Borrow<Async<TcpStream>> + Send + Unpin + 'static,
    P: Protocol + Send + Unpin + 'static,
{
    let _ = stream.borrow().get_ref().set_nodelay(true);
    let drive = Drive::new(Tcp::new(stream), protocol, runtime.clone()).with_input(input);
    runtime.spawn(Box::pin(Unattended(drive)));
}

/// Any other stream that hyper hands over: an encrypted one, or one of HTTP/2.
#[derive(Debug)]
struct HandedOver(Upgraded);

impl Stream for HandedOver {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
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
