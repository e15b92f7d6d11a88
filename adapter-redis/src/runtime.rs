//! The sockets and timers of tokio and of smol.

use crate::endpoint::{Endpoint, Place};
use crate::failure::Failure;
use sockeye_core::drive::{self, Attempts};
#[cfg(feature = "tls")]
use sockeye_core::tls::rustls::{ClientConfig, pki_types::ServerName};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream in the form that the crate `redis` takes.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

pub(crate) type Stream = Box<dyn ByteStream>;

pub(crate) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The runtime on which the current task was spawned. The crate `redis` decides by the same rule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "smol")]
    Smol,
}

impl Runtime {
    pub(crate) fn current() -> Runtime {
        #[cfg(all(feature = "tokio", feature = "smol"))]
        return match tokio::runtime::Handle::try_current() {
            Ok(_) => Runtime::Tokio,
            Err(_) => Runtime::Smol,
        };
        #[cfg(all(feature = "tokio", not(feature = "smol")))]
        return Runtime::Tokio;
        #[cfg(all(feature = "smol", not(feature = "tokio")))]
        return Runtime::Smol;
    }

    pub(crate) fn sleep(self, time: Duration) -> Sleep {
        match self {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => Box::pin(tokio::time::sleep(time)),
            #[cfg(feature = "smol")]
            Runtime::Smol => Box::pin(async move {
                async_io::Timer::after(time).await;
            }),
        }
    }

    /// Runs a future for at most `time`. Returns `None` if it has not completed by then.
    pub(crate) async fn within<T>(self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = self.sleep(time);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Opens a stream to a server within `timeout`.
    pub(crate) async fn connect(self, to: &Endpoint, timeout: Duration) -> Result<Stream, Failure> {
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
        let stream = self.within(timeout, self.open(to)).await.unwrap_or_else(late);
        stream.map_err(|error| Failure::cannot_connect(to, &error))
    }

    async fn open(self, to: &Endpoint) -> io::Result<Stream> {
        match (self, &to.place) {
            #[cfg(feature = "tokio")]
            (Runtime::Tokio, Place::Tcp(host, port)) => {
                let addresses = tokio::net::lookup_host((host.as_str(), *port)).await?;
                let connect = tokio::net::TcpStream::connect;
                let stream =
                    drive::race(addresses, &mut Attempts::default(), connect, tokio::time::sleep).await?;
                // Commands are written whole, so waiting for more to come only delays them.
                let _ = stream.set_nodelay(true);
                #[cfg(feature = "tls")]
                if let Some((connector, name)) = tls(to, host)? {
                    let connector = tokio_rustls::TlsConnector::from(connector);
                    return Ok(Box::new(connector.connect(name, stream).await.map_err(untrusted)?));
                }
                Ok(Box::new(stream))
            }
            #[cfg(feature = "smol")]
            (Runtime::Smol, Place::Tcp(host, port)) => {
                let addresses = smol::net::resolve((host.as_str(), *port)).await?;
                let connect = async_io::Async::<std::net::TcpStream>::connect::<std::net::SocketAddr>;
                let mut attempts = Attempts::default();
                let stream = drive::race(addresses, &mut attempts, connect, async_io::Timer::after).await?;
                let _ = stream.get_ref().set_nodelay(true);
                #[cfg(feature = "tls")]
                if let Some((connector, name)) = tls(to, host)? {
                    let connector = futures_rustls::TlsConnector::from(connector);
                    let stream = connector.connect(name, stream).await.map_err(untrusted)?;
                    return Ok(Box::new(crate::compat::Compat(stream)));
                }
                Ok(Box::new(crate::compat::Compat(stream)))
            }
            #[cfg(all(feature = "tokio", unix))]
            (Runtime::Tokio, Place::Unix(path)) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(all(feature = "smol", unix))]
            (Runtime::Smol, Place::Unix(path)) => {
                let stream = async_io::Async::<std::os::unix::net::UnixStream>::connect(path).await?;
                Ok(Box::new(crate::compat::Compat(stream)))
            }
        }
    }
}

#[cfg(feature = "tls")]
type Tls = (Arc<ClientConfig>, ServerName<'static>);

#[cfg(feature = "tls")]
fn tls(to: &Endpoint, host: &str) -> io::Result<Option<Tls>> {
    let Some(config) = &to.tls else { return Ok(None) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Some((config.clone(), name)))
}

#[cfg(feature = "tls")]
fn untrusted(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the TLS handshake failed: {error}"))
}
