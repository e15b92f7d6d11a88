//! Outgoing connections.

#[cfg(feature = "tls")]
use crate::stream::Encrypted;
use crate::stream::Tcp;
use crate::{Smol, within};
use async_io::{Async, Timer};
#[cfg(feature = "tls")]
use futures_rustls::{TlsConnector, client::TlsStream};
use sockeye_core::Time;
use sockeye_core::drive::{self, Attempts, Drive};
use sockeye_core::host::{Connector, Destination, Outgoing, Runtime};
#[cfg(feature = "tls")]
use sockeye_core::tls::rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;

impl Connector for Smol {
    fn connect(self: Arc<Self>, to: Destination, mut protocol: Box<dyn Outgoing>) {
        let runtime = self.clone();
        self.start(async move {
            let mut attempts = Attempts::default();
            let stream = within(to.timeout, open(&to, &mut attempts)).await;
            // The stream gets a task of its own, because this one is large, and only needed to connect. The result of the
            // stream is ignored: the protocol reports its end.
            match stream.unwrap_or_else(|| Err(attempts.timed_out(&to))) {
                Ok(Opened::Plain(stream)) => {
                    runtime.start(Drive::new(Tcp::new(stream), protocol, runtime.clone()));
                }
                #[cfg(feature = "tls")]
                Ok(Opened::Encrypted(stream)) => {
                    runtime.start(Drive::new(stream, protocol, runtime.clone()));
                }
                Err(error) => protocol.handle_failed(runtime.now(), &error),
            }
        });
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let timer = Timer::after(deadline.saturating_since(self.now()));
        Box::pin(async move {
            timer.await;
        })
    }
}

/// A stream that was opened.
enum Opened {
    Plain(Async<TcpStream>),
    #[cfg(feature = "tls")]
    Encrypted(Encrypted<Box<TlsStream<Async<TcpStream>>>>),
}

async fn open(to: &Destination, attempts: &mut Attempts) -> io::Result<Opened> {
    let addresses = smol::net::resolve(to.first_hop()).await.map_err(|error| to.explain(error))?;
    let stream = open_tcp(addresses, attempts).await.map_err(|error| to.explain(error))?;
    // Messages are written whole, so waiting for more to come only delays them. A failure costs no more than that delay.
    let _ = stream.get_ref().set_nodelay(true);
    drive::open_tunnel(&mut Tcp::new(&stream), to).await?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &to.tls {
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
        return Ok(Opened::Encrypted(Encrypted(Box::new(stream))));
    }
    Ok(Opened::Plain(stream))
}

async fn open_tcp(addresses: Vec<SocketAddr>, attempts: &mut Attempts) -> io::Result<Async<TcpStream>> {
    drive::race(addresses, attempts, Async::<TcpStream>::connect::<SocketAddr>, Timer::after).await
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    use std::net::TcpListener;
    use std::time::Duration;

    /// Returns an address that never answers, because the queue of its listener is full.
    fn dead() -> (TcpListener, TcpStream, SocketAddr) {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        (listener, stream, address)
    }

    #[test]
    fn a_dead_address_does_not_keep_a_client_from_a_good_one() {
        let (_full, _waiting, dead) = dead();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let mut attempts = Attempts::default();
        let open = within(Duration::from_secs(20), open_tcp(vec![dead, good], &mut attempts));
        let stream = smol::block_on(open).unwrap().unwrap();
        assert_eq!(stream.get_ref().peer_addr().unwrap(), good);
    }

    #[test]
    fn a_connect_without_an_answer_is_given_up_in_time() {
        let (_full, _waiting, dead) = dead();
        let mut attempts = Attempts::default();
        let time = Duration::from_millis(50);
        assert!(smol::block_on(within(time, open_tcp(vec![dead, dead], &mut attempts))).is_none());
        let error = attempts.timed_out(&Destination::new("name", 80, time));
        assert_eq!(error.to_string(), format!("{dead}: timed out"));
    }
}
