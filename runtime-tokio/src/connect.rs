//! Outgoing connections.

use crate::{Io, Tokio};
use sockeye_core::Time;
use sockeye_core::drive::{self, Attempts, Drive};
use sockeye_core::host::{Connector, Destination, Outgoing, Runtime};
#[cfg(feature = "tls")]
use sockeye_core::tls::rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::{sleep, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::{TlsConnector, client::TlsStream};

impl Connector for Tokio {
    fn connect(self: Arc<Self>, to: Destination, mut protocol: Box<dyn Outgoing>) {
        let handle = self.handle.clone();
        handle.spawn(async move {
            let mut attempts = Attempts::default();
            let stream = timeout(to.timeout, open(&to, &mut attempts)).await;
            // The stream gets a task of its own, because this one is large, and only needed to connect. The result of the
            // stream is ignored: the protocol reports its end.
            match stream.unwrap_or_else(|_| Err(attempts.timed_out(&to))) {
                Ok(Opened::Plain(stream)) => drop(tokio::spawn(Drive::new(Io(stream), protocol, self))),
                #[cfg(feature = "tls")]
                Ok(Opened::Encrypted(stream)) => drop(tokio::spawn(Drive::new(Io(stream), protocol, self))),
                Err(error) => protocol.handle_failed(self.now(), &error),
            }
        });
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _guard = self.handle.enter();
        Box::pin(sleep(deadline.saturating_since(self.now())))
    }
}

/// A stream that was opened.
enum Opened {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Encrypted(Box<TlsStream<TcpStream>>),
}

async fn open(to: &Destination, attempts: &mut Attempts) -> io::Result<Opened> {
    let stream = open_tcp(to.first_hop(), attempts).await.map_err(|error| to.explain(error))?;
    // Messages are written whole, so waiting for more to come only delays them. A failure costs no more than that delay.
    let _ = stream.set_nodelay(true);
    let mut stream = Io(stream);
    drive::open_tunnel(&mut stream, to).await?;
    let stream = stream.0;
    #[cfg(feature = "tls")]
    if let Some(tls) = &to.tls {
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
        return Ok(Opened::Encrypted(Box::new(stream)));
    }
    Ok(Opened::Plain(stream))
}

async fn open_tcp(hop: impl ToSocketAddrs, attempts: &mut Attempts) -> io::Result<TcpStream> {
    drive::race(lookup_host(hop).await?, attempts, TcpStream::connect::<SocketAddr>, sleep).await
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket};

    /// Returns an address that never answers, because the queue of its listener is full.
    fn dead() -> (TcpListener, TcpStream, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        (listener, TcpStream::from_std(stream).unwrap(), address)
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_a_client_from_a_good_one() {
        let (_full, _waiting, dead) = dead();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [dead, good.local_addr().unwrap()];
        let open = timeout(Duration::from_secs(20), async {
            open_tcp(&addresses[..], &mut Attempts::default()).await.unwrap()
        });
        assert_eq!(open.await.unwrap().peer_addr().unwrap(), addresses[1]);
    }

    #[tokio::test]
    async fn a_connect_without_an_answer_is_given_up_in_time() {
        let (_full, _waiting, dead) = dead();
        let mut attempts = Attempts::default();
        let time = Duration::from_millis(50);
        assert!(timeout(time, open_tcp(&[dead, dead][..], &mut attempts)).await.is_err());
        let error = attempts.timed_out(&Destination::new("name", 80, time));
        assert_eq!(error.to_string(), format!("{dead}: timed out"));
    }
}
