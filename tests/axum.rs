//! A server in front of a whole axum application, and connections that hyper hands over to it.
#![cfg(all(feature = "axum", feature = "tokio"))]
#![allow(missing_docs, clippy::unwrap_used)]

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use sockeye::mount::Front;
use sockeye::{Server, Socket, engine};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_layer::layer_fn;

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked text frame of `40`, which connects to the main namespace.
const CONNECT: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'4', b'0'];

/// Runs a test over a connection to an application whose layer marks its responses.
fn run(io: &Server, test: impl AsyncFnOnce(TcpStream)) {
    let app = Router::new()
        .route("/who", get(async |ConnectInfo(address): ConnectInfo<SocketAddr>| address.to_string()))
        .layer(map_response(async |mut response: Response| {
            response.headers_mut().insert("x-layer", "passed".parse().unwrap());
            response
        }));
    serve(sockeye::runtime::tokio::layer(io.clone()).in_front_of(app), test);
}

fn serve(app: Front<Server>, test: impl AsyncFnOnce(TcpStream)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        timeout(Duration::from_secs(10), test(stream)).await.unwrap();
    });
}

/// A handler that ignores everything.
struct Nothing;

impl engine::Application for Nothing {
    type State = ();
    fn on_open(&self, _: &engine::Session<Self>) {}
    fn on_message(&self, _: &engine::Session<Self>, _: engine::Message<'_>) {}
    fn on_close(&self, _: &engine::Session<Self>, _: &engine::CloseReason) {}
}

/// Sends `sent`, and reads until the answer contains `end`.
async fn ask(stream: &mut TcpStream, sent: impl AsRef<[u8]>, end: &str) -> String {
    stream.write_all(sent.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
        let text = String::from_utf8_lossy(&answer);
        if text.contains(end) {
            return text.into_owned();
        }
    }
}

#[test]
fn both_sides_know_the_clients_address() {
    let io = Server::new();
    let seen = Arc::new(Mutex::new(None));
    let kept = seen.clone();
    io.on_connect(move |socket: Socket| {
        *kept.lock().unwrap() = socket.handshake().address();
        async {}
    });
    run(&io, async |mut stream| {
        let address = stream.local_addr().unwrap();
        ask(&mut stream, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n", &address.to_string()).await;
        ask(&mut stream, HANDSHAKE, "maxPayload").await;
        ask(&mut stream, CONNECT, "sid").await;
        assert_eq!(*seen.lock().unwrap(), Some(address));
    });
}

#[test]
fn requests_to_the_server_do_not_pass_through_the_application() {
    run(&Server::new(), async |mut stream| {
        let passed = ask(&mut stream, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n", "127.0.0.1:").await;
        assert!(passed.contains("x-layer: passed"), "{passed}");
        let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        let answered = ask(&mut stream, request, "maxPayload").await;
        assert!(answered.starts_with("HTTP/1.1 200") && !answered.contains("x-layer"), "{answered}");
    });
}

#[test]
fn the_applications_layers_are_applied_once_for_all_requests() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let layer = layer_fn(move |service| {
        count.fetch_add(1, Ordering::SeqCst);
        service
    });
    let app = Router::new().route("/", get(async || "hello")).layer(layer);
    serve(sockeye::runtime::tokio::layer(Server::new()).in_front_of(app), async |mut stream| {
        ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello").await;
        let first = made.load(Ordering::SeqCst);
        ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello").await;
        assert_eq!(made.load(Ordering::SeqCst), first);
    });
}

#[test]
fn a_connection_that_is_not_handed_over_ends_its_session() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = engine::Server::new(Nothing);
        let service = sockeye::runtime::tokio::service(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = TokioIo::new(listener.accept().await.unwrap().0);
        // Without `with_upgrades`, hyper does not hand the connection over.
        let connection = http1::Builder::new().serve_connection(stream, service);
        let served = async {
            let _ = connection.await;
        };
        let asked = async {
            let handshake = HANDSHAKE.replace("socket.io", "engine.io");
            let answer = ask(&mut client, handshake, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "closed");
        };
        timeout(Duration::from_secs(10), async { tokio::join!(served, asked) }).await.unwrap();
        assert_eq!(server.sessions_count(), 0);
    });
}

#[test]
fn a_connection_runs_on_the_chosen_runtime() {
    let mut other = tokio::runtime::Builder::new_multi_thread();
    let other = other.worker_threads(1).thread_name("other").enable_all().build().unwrap();
    let chosen = other.block_on(async { sockeye::runtime::tokio::Tokio::new() });
    let (tell, told) = std::sync::mpsc::channel();
    let io = Server::new();
    io.on_connect(move |_: Socket| {
        let _ = tell.send(std::thread::current().name().map(str::to_owned));
        async {}
    });
    let app = sockeye::runtime::tokio::layer(io).on(chosen).in_front_of(Router::new());
    serve(app, async |mut stream| {
        ask(&mut stream, HANDSHAKE, "maxPayload").await;
        ask(&mut stream, CONNECT, "sid").await;
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap().as_deref(), Some("other"));
}

#[test]
fn a_polling_client_s_handlers_begin_on_the_runtime_that_was_asked_for() {
    let mut other = tokio::runtime::Builder::new_multi_thread();
    let other = other.worker_threads(1).enable_all().build().unwrap();
    let asked_for = other
        .block_on(async { (sockeye::runtime::tokio::Tokio::new(), tokio::runtime::Handle::current().id()) });
    let (tell, told) = std::sync::mpsc::channel();
    let runtime = move || _ = tell.send(tokio::runtime::Handle::current().id());
    let (allowing, connecting) = (runtime.clone(), runtime.clone());
    let io = Server::builder()
        .allow_request(move |_| {
            allowing();
            std::future::ready(Ok(()))
        })
        .build();
    io.on_connect(move |socket: Socket| {
        connecting();
        let runtime = runtime.clone();
        socket.on("event", move || {
            runtime();
            async {}
        });
        async {}
    });
    let app = sockeye::runtime::tokio::layer(io).on(asked_for.0).in_front_of(Router::new());
    serve(app, async |mut stream| {
        let target = "/socket.io/?EIO=4&transport=polling";
        let open = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let opened = ask(&mut stream, &open, "maxPayload").await;
        let sid = &opened.split_once(r#""sid":""#).unwrap().1[..20];
        let body = "40\u{1e}42[\"event\"]";
        let length = body.len();
        let post =
            format!("POST {target}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        ask(&mut stream, &post, "ok").await;
    });
    for _ in 0..3 {
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(asked_for.1));
    }
}
