//! A server in a thread of its own, and clients that run on a runtime.

use sockeye::client::{ClientBuilder, ConnectError};
use sockeye::{Client, Server, Transport};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::{Duration, Instant};

/// How long anything may take that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Polling,
    WebSocket,
    /// Polling, then WebSocket.
    Upgrade,
}

/// A server at work, until this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Serves on any port, or on that of a server before.
pub(crate) fn serve(server: Server, address: Option<SocketAddr>) -> Running {
    let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
    let begin = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
        }
    };
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    let thread = std::thread::spawn(move || {
        #[cfg(feature = "tokio")]
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            sockeye::tokio::serve(serving, listener).await.unwrap();
        });
        #[cfg(all(feature = "smol", not(feature = "tokio")))]
        smol::block_on(sockeye::smol::serve(serving, listener)).unwrap();
    });
    Running { address, server, thread: Some(thread) }
}

impl Running {
    /// Ends the server, and waits for that.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.server.begin_close();
        self.thread.take().unwrap().join().unwrap();
        self.address
    }

    pub(crate) fn client(&self, way: Way) -> ClientBuilder {
        builder(self.address, way)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.begin_close();
    }
}

pub(crate) fn builder(address: SocketAddr, way: Way) -> ClientBuilder {
    builder_of(&format!("http://{address}"), way)
}

pub(crate) fn builder_of(url: &str, way: Way) -> ClientBuilder {
    let quick = Duration::from_millis(20);
    let builder =
        Client::builder(url).reconnection_delay(quick).reconnection_delay_max(quick).timeout(PATIENCE);
    match way {
        Way::Polling => builder.transports([Transport::Polling]),
        Way::WebSocket => builder.transports([Transport::WebSocket]),
        Way::Upgrade => builder,
    }
}

/// What a scenario needs of the runtime that it is on.
pub(crate) type Connect =
    for<'a> fn(&'a Client) -> Pin<Box<dyn Future<Output = Result<(), ConnectError>> + 'a>>;

#[cfg(feature = "tokio")]
pub(crate) fn tokio(scenario: impl AsyncFnOnce(Connect)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scenario = scenario(|client| Box::pin(sockeye::tokio::connect(client)));
        tokio::time::timeout(3 * PATIENCE, scenario).await.expect("it ends in time");
    });
}

#[cfg(feature = "smol")]
pub(crate) fn smol(scenario: impl AsyncFnOnce(Connect)) {
    let late = async {
        smol::Timer::after(3 * PATIENCE).await;
        panic!("it ends in time");
    };
    smol::block_on(smol::future::or(scenario(|client| Box::pin(sockeye::smol::connect(client))), late));
}

/// Waits until a client has moved to WebSocket, if it is to.
pub(crate) async fn settle(client: &Client, way: Way) {
    let begin = Instant::now();
    while way == Way::Upgrade && client.transport() != Some(Transport::WebSocket) {
        assert!(begin.elapsed() < PATIENCE, "no upgrade");
        client.emit_with_ack::<()>("nothing", ()).await.unwrap();
    }
}
