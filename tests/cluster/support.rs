//! Servers of one cluster in one thread, by one clock that jumps.

use serde_json::json;
use sockeye::cluster::{Adapter, Classic, Dialect, MemoryBus, Sharded, Streams, SubscriptionMode};
use sockeye::testing::{TestClient, TestServer};
use sockeye::{Server, ServerBuilder, Socket};
use std::sync::Arc;
use std::sync::Mutex;

/// Every dialect, with the settings that change the way of messages.
pub(crate) fn dialects() -> [Dialect; 6] {
    [
        Classic::default().into(),
        Classic { specific_responses: true, ..Classic::default() }.into(),
        sharded(SubscriptionMode::Static),
        sharded(SubscriptionMode::Dynamic),
        sharded(SubscriptionMode::DynamicPrivate),
        Streams::default().into(),
    ]
}

pub(crate) fn sharded(subscription_mode: SubscriptionMode) -> Dialect {
    Sharded { subscription_mode, ..Sharded::default() }.into()
}

/// Starts servers with the default settings.
pub(crate) fn cluster<const N: usize>(dialect: &Dialect) -> [TestServer; N] {
    cluster_with(dialect, |_, builder| builder)
}

/// Starts servers, which clients ask for their rooms by their auth.
pub(crate) fn cluster_with<const N: usize>(
    dialect: &Dialect,
    setting: impl Fn(usize, ServerBuilder) -> ServerBuilder,
) -> [TestServer; N] {
    let bus = MemoryBus::new();
    let mut first: Option<TestServer> = None;
    let servers = std::array::from_fn(|at| {
        let adapter = Adapter::new(dialect.clone(), bus.clone());
        let test = start(first.as_ref(), setting(at, Server::builder().adapter(adapter)).build());
        first.get_or_insert_with(|| test.beside(Server::new()));
        test
    });
    servers.iter().for_each(TestServer::settle);
    servers
}

/// Puts a server under test beside another one.
pub(crate) fn start(beside: Option<&TestServer>, server: Server) -> TestServer {
    for namespace in ["/", "/chat"] {
        server.of(namespace).on_connect(async |socket: Socket| {
            if let Ok(rooms) = socket.auth::<Rooms>() {
                socket.join(rooms.rooms);
            }
        });
    }
    match beside {
        Some(first) => first.beside(server),
        None => TestServer::new(server),
    }
}

#[derive(serde::Deserialize)]
struct Rooms {
    rooms: Vec<String>,
}

/// Connects a client that is in these rooms.
pub(crate) fn client(server: &TestServer, rooms: &[&str]) -> TestClient {
    server.client().auth(json!({ "rooms": rooms })).connect("/")
}

/// Returns the names of the events that have arrived.
pub(crate) fn names(client: &TestClient) -> Vec<String> {
    client.received().iter().map(|event| event.event().to_owned()).collect()
}

/// A list that functions of servers add to.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;

/// Takes what was noted, in order.
pub(crate) fn take(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut *notes.lock().unwrap())
}
