//! The server under test, and the settings of a client that is about to connect to it.

use super::client::{Tab, TestClient};
use super::ground::Ground;
use super::inbox::Inbox;
use super::link::Weather;
use super::machine::Machine;
use super::network::Network;
use super::stage::{Async, BlockOn, Blocking, Failure, Mode, Stage};
use crate::client::{Client, ClientBuilder, ClientConnectError};
use crate::engine::Transport;
use crate::server::Server;
use serde::Serialize;
use sockeye_core::host::{Connector, Peer};
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Maximum time for all clients to leave a server that is closed: one that polls has 30 s.
const CLOSING: Duration = Duration::from_secs(60);

/// A server under test, driven in memory by a clock that jumps: see the [module](crate::testing).
///
/// The server ends when this and all of its clients are dropped.
pub struct TestServer<M: Mode = Blocking> {
    pub(super) stage: Arc<Stage>,
    mode: PhantomData<fn() -> M>,
}

impl TestServer {
    /// Puts a server under test, on the clock and the tasks of this module. Handlers run on the thread of the test.
    ///
    /// Handlers may await anything that needs no particular runtime, such as acknowledgements, channels and the locks of
    /// `tokio::sync`. For handlers that use the timers, tasks or sockets of tokio, see
    /// [`on_tokio`](TestServer::on_tokio).
    ///
    /// # Panics
    /// If the server runs on a runtime already.
    #[track_caller]
    pub fn new(server: Server) -> TestServer {
        let machine = Machine::new();
        let block_on: BlockOn = Arc::new({
            let machine = machine.clone();
            move |future| machine.block_on(future)
        });
        TestServer::build(Stage::new(server, Ground::Own(machine), Some(block_on)))
    }

    /// Puts a server under test, on a runtime of tokio that this starts. Its clock is paused, as by `tokio::time::pause`:
    /// if no task is ready, it jumps to the next timer.
    ///
    /// Handlers may use `tokio::time::sleep`, `tokio::spawn` and `tokio::task::spawn_blocking`. The clock also jumps while
    /// a task waits for a socket or a file, so that timeouts around these may pass early.
    ///
    /// ```
    /// use sockeye::{Server, testing::TestServer};
    /// use std::time::Duration;
    ///
    /// let io = Server::new();
    /// io.on("brew", async || {
    ///     tokio::time::sleep(Duration::from_secs(180)).await;
    ///     "tea"
    /// });
    /// let test = TestServer::on_tokio(io).limit(Duration::from_secs(200));
    /// let guest = test.connect("/");
    /// assert_eq!(guest.ask::<String>("brew", ()), "tea");
    /// ```
    ///
    /// # Panics
    /// If called inside of a tokio runtime, such as in a function with `#[tokio::test]`: use `#[test]` instead, or
    /// [`in_tokio`](TestServer::in_tokio). If the runtime cannot be started, or the server runs on a runtime already.
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn on_tokio(server: Server) -> TestServer {
        assert!(
            !sockeye_tokio::testing::is_inside(),
            "`TestServer::on_tokio` starts a runtime, which cannot be done inside of one: write `#[test]` instead of \
             `#[tokio::test]`, or call `TestServer::in_tokio` and await its methods"
        );
        let (runtime, tokio) = match sockeye_tokio::testing::paused() {
            Ok(started) => started,
            Err(error) => panic!("a runtime of tokio cannot be started: {error}"),
        };
        let block_on: BlockOn = Arc::new(move |future| runtime.block_on(future));
        TestServer::build(Stage::new(server, Ground::Other(Arc::new(tokio)), Some(block_on)))
    }

    /// Runs the server and its clients until `future` has completed, and returns its output.
    ///
    /// ```
    /// # use sockeye::{Server, testing::TestServer};
    /// let io = Server::new();
    /// let test = TestServer::new(io.clone());
    /// let _ann = test.connect("/");
    /// let here = test.block_on(async { io.of("/").fetch_sockets().await.sockets.len() });
    /// assert_eq!(here, 1);
    /// ```
    ///
    /// # Panics
    /// If it has not completed within the [limit](TestServer::limit).
    #[track_caller]
    pub fn block_on<T>(&self, future: impl Future<Output = T> + Send) -> T
    where
        T: Send,
    {
        Blocking::run(&self.stage, async {
            let output = within(&self.stage, self.stage.limit(), future).await;
            output.ok_or_else(|| self.failure("the future has not completed", self.stage.limit()))
        })
    }
}

impl TestServer<Async> {
    /// Puts a server under test on the runtime of tokio that this is called in. The methods of the test and of its clients
    /// return futures, to be awaited.
    ///
    /// Use it in functions with `#[tokio::test(start_paused = true)]`. Without a paused clock, time that
    /// [passes](TestServer::advance) in the test passes for you as well.
    ///
    /// ```
    /// use sockeye::{Server, testing::TestServer};
    ///
    /// # /*
    /// #[tokio::test(start_paused = true)]
    /// # */
    /// async fn numbers_are_added() {
    ///     let io = Server::new();
    ///     io.on("add", async |sockeye::extract::Data((a, b)): sockeye::extract::Data<(i64, i64)>| a + b);
    ///     let test = TestServer::in_tokio(io);
    ///     let client = test.connect("/").await;
    ///     assert_eq!(client.ask::<i64>("add", (2, 3)).await, 5);
    /// }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(numbers_are_added());
    /// ```
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn in_tokio(server: Server) -> TestServer<Async> {
        TestServer::within(server, Arc::new(sockeye_tokio::Tokio::new()))
    }

    /// Puts a server under test on a runtime of your own, for example `Arc::new(sockeye::runtime::smol::Smol::new())`. Of its methods,
    /// [`connect`](Connector::connect) is not called, because streams are in memory.
    #[track_caller]
    pub fn within(server: Server, runtime: Arc<dyn Connector>) -> TestServer<Async> {
        TestServer::build(Stage::new(server, Ground::Other(runtime), None))
    }
}

impl<M: Mode> TestServer<M> {
    fn build(stage: Arc<Stage>) -> TestServer<M> {
        TestServer { stage, mode: PhantomData }
    }

    /// Puts another server under test, by the same clock: one more server of a [cluster](crate::cluster), for example. Either
    /// may be dropped first.
    ///
    /// ```
    /// use sockeye::Server;
    /// use sockeye::cluster::{Adapter, MemoryBus};
    /// use sockeye::testing::TestServer;
    ///
    /// let bus = MemoryBus::new();
    /// let server = || Server::builder().adapter(Adapter::sharded(bus.clone())).build();
    /// let first = TestServer::new(server());
    /// let second = first.beside(server());
    /// let ann = first.connect("/");
    /// second.server().emit("news", "from the other server");
    /// assert_eq!(ann.expect_event::<String>("news"), "from the other server");
    /// ```
    #[track_caller]
    pub fn beside(&self, server: Server) -> TestServer<M> {
        TestServer::build(self.stage.beside(server))
    }

    /// Sets the time of the clock within which each expectation is met, or else fails. Default: 10 s.
    pub fn limit(self, limit: Duration) -> Self {
        self.stage.set_limit(limit);
        self
    }

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.stage.server
    }

    /// Connects a client with the default settings to a namespace: see [`client`](TestServer::client).
    ///
    /// # Panics
    /// If it is refused, or not connected within the [limit](TestServer::limit).
    #[track_caller]
    pub fn connect(&self, namespace: &str) -> M::Output<'_, TestClient<M>> {
        self.client().connect(namespace)
    }

    /// Returns the settings of a client that is about to connect.
    pub fn client(&self) -> ClientSetup<'_, M> {
        let engine = &self.stage.server.engine.0;
        let site = &engine.site;
        let transports =
            [(Transport::Polling, site.config.polling), (Transport::WebSocket, site.config.websocket)];
        let transports =
            transports.into_iter().filter_map(|(transport, allowed)| allowed.then_some(transport));
        let builder = Client::builder("http://localhost").path(site.path.clone()).transports(transports);
        let builder = builder.parser(engine.application.parser);
        ClientSetup {
            stage: &self.stage,
            builder,
            peer: None,
            secure: false,
            #[cfg(feature = "http")]
            extensions: http::Extensions::new(),
            weather: Weather::default(),
            mode: PhantomData,
        }
    }

    /// Lets time pass. Whatever is due meanwhile happens at its time.
    #[track_caller]
    pub fn advance(&self, time: Duration) -> M::Output<'_, ()> {
        M::run(&self.stage, async move {
            self.stage.ground.sleep(time).await;
            self.stage.ground.settle().await;
            Ok(())
        })
    }

    /// Lets everything happen that can happen now. The methods of clients do so by themselves: call this after the test has
    /// used the [server](TestServer::server) itself.
    #[track_caller]
    pub fn settle(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            self.stage.ground.settle().await;
            Ok(())
        })
    }

    /// Returns the time that has passed by the clock since the test began.
    pub fn elapsed(&self) -> Duration {
        self.stage.elapsed()
    }

    /// Closes the server, and waits until all clients have gone: see [`Server::close`].
    ///
    /// # Panics
    /// If clients are left after a minute.
    #[track_caller]
    pub fn close(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            let closed = within(&self.stage, CLOSING, self.stage.server.close()).await;
            closed.ok_or_else(|| self.failure("the server is not closed", CLOSING))
        })
    }

    fn failure(&self, what: &str, limit: Duration) -> Failure {
        let mut text = format!("{what} within {limit:?}");
        self.stage.describe(&mut text);
        Failure(text)
    }
}

impl<M: Mode> fmt::Debug for TestServer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer")
            .field("server", self.server())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

/// Returns the output of `future`, if it completes within `limit`.
pub(super) async fn within<T>(stage: &Stage, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut late, mut future) = (stage.ground.sleep(limit), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// The settings of a client that is about to connect, made by [`TestServer::client`].
///
/// Its defaults are those of a [`Client`]: it begins with polling and moves to WebSocket if the server allows both, and it
/// connects again after its connection was lost. The server's path and [parser](crate::Parser) are known.
#[must_use = "nothing is connected until `connect`"]
pub struct ClientSetup<'a, M: Mode = Blocking> {
    stage: &'a Arc<Stage>,
    builder: ClientBuilder,
    peer: Option<SocketAddr>,
    secure: bool,
    #[cfg(feature = "http")]
    extensions: http::Extensions,
    weather: Weather,
    mode: PhantomData<fn() -> M>,
}

impl<'a, M: Mode> ClientSetup<'a, M> {
    /// Sets the auth data, which must serialize to an object. The client also answers
    /// [`auth:renew`](crate::AUTH_RENEW) with it.
    pub fn auth(self, auth: impl Serialize) -> Self {
        self.settings(|builder| builder.auth(auth))
    }

    /// Adds a header to every request of the client, such as `cookie`.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings(|builder| builder.extra_header(name, value))
    }

    /// Adds a parameter to the query of every request of the client.
    pub fn query(self, key: &str, value: &str) -> Self {
        self.settings(|builder| builder.query(key, value))
    }

    /// Sets the only transport that the client uses.
    pub fn transport(self, transport: Transport) -> Self {
        self.settings(|builder| builder.transports([transport]))
    }

    /// Sets the path of the client's requests. Default: the server's.
    pub fn path(self, path: &str) -> Self {
        self.settings(|builder| builder.path(path))
    }

    /// Sets the address that the client connects from. Default: 127.0.0.1, with a port of its own.
    pub fn address(mut self, address: impl Into<SocketAddr>) -> Self {
        self.peer = Some(address.into());
        self
    }

    /// Sets whether the server takes the client's streams to be encrypted. Default: `false`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Adds an extension to every request of the client, as if the server were [mounted](crate::mount) behind a layer that
    /// adds it: a login, a session. Handlers get it by [`Handshake::extension`](crate::Handshake::extension) or
    /// [`Extension`](crate::extract::Extension).
    #[cfg(feature = "http")]
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Sets the time that bytes need from the client to the server, and back. Default: none.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.weather.latency = latency;
        self
    }

    /// Changes any other setting of the [`ClientBuilder`].
    pub fn settings(mut self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Connects the client to a namespace.
    ///
    /// # Panics
    /// If it is refused, or not connected within the [limit](TestServer::limit); or if its settings are not valid.
    #[track_caller]
    pub fn connect(self, namespace: &str) -> M::Output<'a, TestClient<M>> {
        let stage = self.stage;
        let client = self.build(namespace);
        M::run(stage, async move {
            client.begin().await?;
            Ok(client)
        })
    }

    /// Lets the client try to connect to a namespace, which must fail. Returns the error: for a refusal by middleware, that
    /// is a [`Refused`](ClientConnectError::Refused) with its message and data.
    ///
    /// # Panics
    /// If it is connected, or has no result within the [limit](TestServer::limit); or if its settings are not valid.
    #[track_caller]
    pub fn connect_error(self, namespace: &str) -> M::Output<'a, ClientConnectError> {
        let stage = self.stage;
        let client = self.build(namespace);
        M::run(stage, async move { client.fail().await })
    }

    #[track_caller]
    fn build(self, namespace: &str) -> TestClient<M> {
        let (number, random) = self.stage.draw();
        let address = self.peer.unwrap_or_else(|| ([127, 0, 0, 1], 50_000 + (number % 10_000) as u16).into());
        let network =
            Network::new(self.stage, Peer { address: Some(address), secure: self.secure }, self.weather);
        #[cfg(feature = "http")]
        let network = network.with_extensions(self.extensions);
        let network = Arc::new(network);
        let client = match self.builder.build_from(random) {
            Ok(client) => client,
            Err(error) => panic!("the settings of the client are not valid: {error}"),
        };
        client.attach(network.clone());
        let socket = client.socket(namespace);
        let inbox = Inbox::new(&socket);
        TestClient::new(self.stage.clone(), Arc::new(Tab { number, client, network }), socket, inbox)
    }
}

impl<M: Mode> fmt::Debug for ClientSetup<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSetup").field("builder", &self.builder).finish_non_exhaustive()
    }
}
