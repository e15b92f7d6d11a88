//! Tests of your own server: clients in memory, and a clock that jumps. No sockets, and no waiting.
//!
//! A [`TestServer`] drives a [`Server`](crate::Server) and its [`TestClient`]s in the thread of the test. The clients are the
//! real [`Client`](crate::Client), and speak the whole protocol with the server: polling, WebSocket, the upgrade, heartbeats,
//! reconnection. Only the streams between them are memory, and the clock is a number: if nothing is left to do, it jumps to
//! the next deadline. A minute passes in no time, and two runs of a test have the same course.
//!
//! Enable the feature for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! sockeye = { version = "0.1", features = ["testing"] }
//! ```
//!
//! Let a function of your program build the server, and call it in both `main` and the tests:
//!
//! ```
//! use serde_json::{Value, json};
//! use sockeye::extract::{Auth, Data};
//! use sockeye::testing::{TestClient, TestServer};
//! use sockeye::{ConnectError, Server, Socket};
//! use std::time::Duration;
//!
//! fn chat() -> Server {
//!     let io = Server::new();
//!     io.middleware(async |socket: Socket, Auth(auth): Auth<Value>| match auth["name"].as_str() {
//!         Some(name) => {
//!             socket.set_data(name.to_owned());
//!             Ok(())
//!         }
//!         None => Err(ConnectError::from("a name is needed")),
//!     });
//!     io.on_connect(async |socket: Socket| socket.join("lobby"));
//!     io.on("say", async |socket: Socket, Data(text): Data<String>| {
//!         let name = socket.data::<String>().map(|name| (*name).clone());
//!         socket.to("lobby").emit("line", (name, text));
//!     });
//!     io.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
//!     io
//! }
//!
//! fn guest(test: &TestServer, name: &str) -> TestClient {
//!     test.client().auth(json!({ "name": name })).connect("/")
//! }
//!
//! # /*
//! #[test]
//! # */
//! fn a_line_reaches_the_others_in_the_room() {
//!     let test = TestServer::new(chat());
//!     let (ann, bob) = (guest(&test, "Ann"), guest(&test, "Bob"));
//!     ann.emit("say", "hello");
//!     assert_eq!(bob.expect_event::<(String, String)>("line"), ("Ann".into(), "hello".into()));
//!     ann.expect_nothing();
//!     assert_eq!(ann.ask::<i64>("add", (2, 3)), 5);
//! }
//!
//! # /*
//! #[test]
//! # */
//! fn a_client_without_a_name_is_refused() {
//!     let test = TestServer::new(chat());
//!     assert_eq!(test.client().connect_error("/").to_string(), "a name is needed");
//! }
//!
//! # /*
//! #[test]
//! # */
//! fn a_dead_connection_is_noticed_by_its_heartbeat() {
//!     let test = TestServer::new(chat());
//!     let ann = guest(&test, "Ann");
//!     ann.stall();
//!     test.advance(Duration::from_secs(46));
//!     ann.expect_disconnect("ping timeout");
//!     assert_eq!(test.server().clients_count(), 0);
//!     ann.resume();
//!     ann.expect_connect();
//! }
//! # a_line_reaches_the_others_in_the_room();
//! # a_client_without_a_name_is_refused();
//! # a_dead_connection_is_noticed_by_its_heartbeat();
//! ```
//!
//! # Expectations
//!
//! An event that arrives waits in the client until the test [expects](TestClient::expect_event) it, by its name.
//! Expecting waits if need be, by the clock of the test: at most 10 s, or the [limit](TestServer::limit). Events
//! that were not expected stay, so that [`expect_nothing`](TestClient::expect_nothing) also finds those that came earlier. To
//! look at all of them in their order, call [`received`](TestClient::received).
//!
//! An expectation that is not met panics in the line of the test that has it. The message tells what has arrived instead,
//! and which failures the server has reported:
//!
//! ```text
//! client 2 in "/" received no event "line" within 10s
//!   nothing else has arrived
//!   the server reported:
//!     the handler of "say" in "/" was not called: invalid arguments: invalid type: integer `5`, expected a string
//!   time since the test began: 10s
//! ```
//!
//! # Time and the network
//!
//! Nothing takes time by itself: an event and its answer arrive at the same instant. [`advance`](TestServer::advance) lets
//! time pass, and so does a method that waits for something that is due later. To see how your server bears a bad network,
//! give a client a [latency](TestClient::set_latency), [stall](TestClient::stall) or [cut](TestClient::cut) its connection,
//! or take it [offline](TestClient::offline).
//!
//! # Runtimes
//!
//! | handlers | test | constructor |
//! |---|---|---|
//! | need no runtime: acknowledgements, channels, the locks of `tokio::sync` | `#[test]` | [`TestServer::new`] |
//! | need tokio: its timers, `tokio::spawn`, `spawn_blocking` | `#[test]` | `TestServer::on_tokio` |
//! | need tokio, and the test is itself asynchronous | `#[tokio::test(start_paused = true)]` | `TestServer::in_tokio` |
//! | need another runtime | asynchronous | [`TestServer::within`] |
//!
//! In the last two, the methods that wait return futures: `ann.expect_event::<String>("line").await`.
//!
//! The first two have the same course in each run: handlers run on the thread of the test, in a fixed order, and the ids of
//! sockets and sessions come from a seed. Only what comes from outside still differs: the system's clock, such as
//! [`Handshake::time`](crate::Handshake::time) or `SystemTime::now`, randomness of your own, and other threads.
//!
//! # Over real sockets
//!
//! A test can also listen on a free port of 127.0.0.1 and connect real clients. With the clock of tokio paused, it need not
//! wait either:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # {
//! use sockeye::extract::Data;
//! use sockeye::{Client, Server};
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn over_loopback() -> Result<(), Box<dyn std::error::Error>> {
//!     let io = Server::new();
//!     io.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//!     let client = Client::new(format!("http://{}", listener.local_addr()?))?;
//!     tokio::spawn(sockeye::runtime::tokio::serve(io, listener));
//!     sockeye::runtime::tokio::connect(&client).await?;
//!     assert_eq!(client.emit_with_ack::<i64>("add", (2, 3)).await?, 5);
//!     Ok(())
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
//! # runtime.block_on(over_loopback()).unwrap();
//! # }
//! ```
//!
//! Its limits: the paused clock jumps whenever every task waits, also if bytes are still under way in the system. On
//! loopback they usually arrive at once, but timers may pass early on a busy machine, so that such a test can fail for no
//! reason of its own if it expects something before a deadline. A connection cannot be cut, stalled or slowed. Prefer it for
//! what memory does not have: TLS, proxies, and the HTTP server that yours is mounted in, with the extensions that it adds to
//! requests.

pub mod bus;
mod client;
mod ground;
mod inbox;
mod link;
mod machine;
mod network;
mod server;
mod stage;

pub use client::{Question, TestClient};
pub use server::{ClientSetup, TestServer};
pub use stage::{Async, Blocking, Mode, Steps};
