//! A server mounted in axum, over HTTP/2: polling, and WebSocket by extended CONNECT (RFC 8441).
#![cfg(all(feature = "axum", feature = "tokio"))]
#![allow(missing_docs, clippy::unwrap_used)]

use axum::routing::get;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sockeye::{Args, Server, Socket};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_frame};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

type Client = SendRequest<Full<Bytes>>;

/// Runs a test against a server that echoes, with a timeout.
fn run(test: impl AsyncFnOnce(Client, Server)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    });
    let app = axum::Router::new()
        .route("/hello", get(async |version: Version| format!("hello over {version:?}")))
        .layer(sockeye::runtime::tokio::layer(io.clone()));
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        timeout(Duration::from_secs(10), test(client, io)).await.unwrap();
    });
}

fn uri(path: &str) -> String {
    format!("http://localhost{path}")
}

async fn send(client: &mut Client, method: Method, path: &str, body: &str) -> Response<Incoming> {
    let request = Request::builder().method(method).uri(uri(path)).version(Version::HTTP_2);
    let request = request.body(Full::from(body.to_owned())).unwrap();
    client.send_request(request).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn polling_works_beside_other_routes_on_one_connection() {
    run(async |mut client, _| {
        let hello = send(&mut client, Method::GET, "/hello", "").await;
        assert_eq!(text(hello).await, "hello over HTTP/2.0");
        let path = "/socket.io/?EIO=4&transport=polling";
        let open = text(send(&mut client, Method::GET, path, "").await).await;
        let sid = &open.split_once(r#""sid":""#).unwrap().1[..20];
        let path = format!("{path}&sid={sid}");
        assert_eq!(text(send(&mut client, Method::POST, &path, "40").await).await, "ok");
        assert!(text(send(&mut client, Method::GET, &path, "").await).await.starts_with(r#"40{"sid":""#));
        // A request beside a poll that waits.
        let mut other = client.clone();
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { text(send(&mut other, Method::GET, &path, "").await).await }
        });
        assert_eq!(text(send(&mut client, Method::POST, &path, r#"42["echo",1]"#).await).await, "ok");
        assert_eq!(waiting.await.unwrap(), r#"42["echo",1]"#);
    });
}

#[test]
fn a_websocket_connection_is_a_stream_beside_others() {
    run(async |mut client, io| {
        // After a response the client has the server's settings, which allow extended CONNECT.
        send(&mut client, Method::GET, "/hello", "").await;
        let request = Request::connect(uri("/socket.io/?EIO=4&transport=websocket"))
            .version(Version::HTTP_2)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "a, b")
            .body(Full::default())
            .unwrap();
        let mut response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["sec-websocket-protocol"], "a");
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let mut websocket = WebSocket::new(TokioIo::new(upgraded));
        assert!(websocket.next().await.unwrap().starts_with(r#"0{"sid":""#));
        websocket.send("40").await;
        assert!(websocket.next().await.unwrap().starts_with(r#"40{"sid":""#));
        let large = "x".repeat(300_000);
        for text in ["short", &large] {
            let event = format!(r#"42["echo","{text}"]"#);
            websocket.send(&event).await;
            assert!(websocket.next().await.unwrap() == event);
        }
        let hello = send(&mut client, Method::GET, "/hello", "").await;
        assert_eq!(text(hello).await, "hello over HTTP/2.0");
        // The end of the session ends only its stream.
        io.begin_close();
        assert_eq!(websocket.next().await, None);
        assert_eq!(send(&mut client, Method::GET, "/hello", "").await.status(), StatusCode::OK);
    });
}

/// The client's side of a stream.
struct WebSocket<S> {
    stream: S,
    arrived: Vec<u8>,
    decoder: Decoder,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> WebSocket<S> {
    fn new(stream: S) -> Self {
        WebSocket { stream, arrived: Vec::new(), decoder: Decoder::new(Role::Client, 1 << 20) }
    }

    async fn send(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Returns the next text; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let mut input = &mut self.arrived[..];
            let (message, left) = match self.decoder.decode(&mut input).unwrap() {
                Some(Message::Text(text)) => (Some(text.to_string()), input.len()),
                Some(Message::Close(_)) => return None,
                _ => (None, input.len()),
            };
            self.arrived.drain(..self.arrived.len() - left);
            if message.is_some() {
                return message;
            }
            if self.stream.read_buf(&mut self.arrived).await.unwrap() == 0 {
                return None;
            }
        }
    }
}
