//! A server in a thread of its own, and clients that run on a runtime.

use sockeye::client::{ClientBuilder, ClientConnectError};
use sockeye::{Client, Server, Transport};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// Timeout of steps that take no time on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The close timeout of a client. A test that ends earlier has not waited for it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The transports of a client.
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

/// A port that nobody else is given while this is there, though nobody listens.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    pub(crate) fn take() -> Port {
        let socket = TcpSocket::new_v4().unwrap();
        // On Linux a server that asks for this very port gets it.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Port { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

/// An address that never answers: so many wait for its listener that there is no room for more.
#[cfg(target_os = "linux")]
pub(crate) struct Dead {
    pub(crate) address: SocketAddr,
    _waiting: std::net::TcpStream,
    _listener: TcpListener,
}

#[cfg(target_os = "linux")]
impl Dead {
    pub(crate) fn take() -> Dead {
        // tokio's listener takes such a number, and wants a runtime.
        let listen = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _entered = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket.listen(0).unwrap().into_std().unwrap()
        };
        let listener = std::thread::spawn(listen).join().unwrap();
        let address = listener.local_addr().unwrap();
        Dead { address, _waiting: std::net::TcpStream::connect(address).unwrap(), _listener: listener }
    }
}

/// Serves on any port, or on this one, which may be that of a server before.
pub(crate) fn serve(server: Server, address: Option<SocketAddr>) -> Running {
    let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
    let begin = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    let thread = std::thread::spawn(move || {
        #[cfg(feature = "tokio")]
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            sockeye::runtime::tokio::serve(serving, listener).await.unwrap();
        });
        #[cfg(all(feature = "smol", not(feature = "tokio")))]
        smol::block_on(sockeye::runtime::smol::serve(serving, listener)).unwrap();
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

/// The parts of a runtime that a scenario needs.
pub(crate) type Connect = &'static dyn for<'a> Fn(&'a Client) -> Connecting<'a>;

pub(crate) type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(), ClientConnectError>> + 'a>>;

#[cfg(feature = "tokio")]
pub(crate) fn tokio(scenario: impl AsyncFnOnce(Connect)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scenario = scenario(&|client| Box::pin(sockeye::runtime::tokio::connect(client)));
        tokio::time::timeout(3 * PATIENCE, scenario).await.expect("it ends in time");
    });
}

/// On an executor that ends with the scenario: clients live on without handles, and on the global one they would go on
/// to look for their servers, whose ports may be another test's by then.
#[cfg(feature = "smol")]
pub(crate) fn smol(scenario: impl AsyncFnOnce(Connect)) {
    use std::sync::Arc;

    fn keep(connect: impl for<'a> Fn(&'a Client) -> Connecting<'a> + 'static) -> Connect {
        Box::leak(Box::new(connect))
    }

    let executor = Arc::new(smol::Executor::new());
    let runtime = Arc::new(sockeye::runtime::smol::Smol::on(&executor));
    let connect = keep(move |client| {
        client.attach(runtime.clone());
        Box::pin(sockeye::runtime::smol::connect(client))
    });
    let (scenario_runs, ended) = smol::channel::bounded::<()>(1);
    let running = executor.clone();
    let thread = std::thread::spawn(move || smol::block_on(running.run(ended.recv())));
    let late = async {
        smol::Timer::after(3 * PATIENCE).await;
        panic!("it ends in time");
    };
    smol::block_on(smol::future::or(scenario(connect), late));
    drop(scenario_runs);
    let _ = thread.join().unwrap();
}

/// Waits until a client has moved to WebSocket, if it is to.
pub(crate) async fn settle(client: &Client, way: Way) {
    let begin = Instant::now();
    while way == Way::Upgrade && client.transport() != Some(Transport::WebSocket) {
        assert!(begin.elapsed() < PATIENCE, "no upgrade");
        client.emit_with_ack::<()>("nothing", ()).await.unwrap();
    }
}
