//! Races over real sockets, tried again and again. Ignored by default: see CONTRIBUTING.md.
#![cfg(all(feature = "axum", feature = "smol", feature = "tokio"))]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/common/mounted.rs"]
#[allow(dead_code)] // on smol, in axum
mod mounted;

use sockeye::{Client, Server, Socket, Transport};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_frame};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// The number of clients at a time.
const CLIENTS: usize = 4;

/// The number of sockets that joined and left `/b`.
#[derive(Default)]
struct Counts {
    joined: AtomicUsize,
    left: AtomicUsize,
}

fn attempts() -> usize {
    std::env::var("ATTEMPTS").map_or(10_000, |attempts| attempts.parse().unwrap())
}

/// Two connections of one session ask for a namespace at the same instant: whatever their timing is, nothing may be left of
/// them. Makes the attempts at a server that `serve` serves in a thread of its own.
fn stress(serve: impl FnOnce(Server, TcpListener) + Send + 'static) {
    let server = Server::builder()
        .ping_interval(Duration::from_millis(500))
        .ping_timeout(Duration::from_secs(5))
        .build();
    let counts = Arc::new(Counts::default());
    let counting = counts.clone();
    server.of("/b").on_connect(move |socket: Socket| {
        counting.joined.fetch_add(1, Ordering::SeqCst);
        let counting = counting.clone();
        socket.on_disconnect(move || {
            counting.left.fetch_add(1, Ordering::SeqCst);
            async {}
        });
        async {}
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = server.clone();
    std::thread::spawn(move || serve(served, listener));
    let each = attempts().div_ceil(CLIENTS);
    let clients = (0..CLIENTS).map(|_| std::thread::spawn(move || client(address, each)));
    let answered: usize = clients.collect::<Vec<_>>().into_iter().map(|it| it.join().unwrap()).sum();

    let begin = Instant::now();
    while server.clients_count() > 0 {
        assert!(begin.elapsed() < PATIENCE, "{} clients are left", server.clients_count());
        std::thread::sleep(Duration::from_millis(1));
    }
    let (joined, left) = (counts.joined.load(Ordering::SeqCst), counts.left.load(Ordering::SeqCst));
    println!(
        "{} attempts, {answered} answered on the new connection, {joined} joined, {left} left",
        each * CLIENTS
    );
    assert_eq!(server.of("/b").sockets_count(), 0, "sockets are left in the namespace");
    assert_eq!(joined, left, "every socket is told of its end");
    assert!(joined > 0);
    server.begin_close();
}

/// Makes the attempts, and returns the number of those that were answered over WebSocket.
fn client(address: SocketAddr, attempts: usize) -> usize {
    let mut http = connect(address);
    let mut answered = 0;
    for attempt in 0..attempts {
        let opened = request(&mut http, "GET", "", "");
        let sid = opened.split_once(r#""sid":""#).expect(&opened).1[..20].to_owned();
        let mut websocket = upgrade(address, &sid);
        let mut frames = Vec::new();
        for text in ["5", "40/b,"] {
            write_frame(&mut frames, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        }
        let post = head("POST", &sid, 5) + "40/b,";
        // The order, and the time between the two, vary from attempt to attempt.
        for turn in [attempt % 2, 1 - attempt % 2] {
            match turn {
                0 => http.write_all(post.as_bytes()).unwrap(),
                _ => websocket.write_all(&frames).unwrap(),
            }
            (0..attempt % 97 * 20).for_each(|_| std::hint::spin_loop());
        }
        let status = read_answer(&mut http).0;
        assert!(matches!(status, 200 | 400), "{status}");
        if status == 400 {
            // The session had moved on. The body of a request that is refused ends its connection.
            http = connect(address);
        }
        answered += usize::from(texts(&mut websocket, "40/b,"));
    }
    answered
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn head(method: &str, sid: &str, length: usize) -> String {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!(
        "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn request(stream: &mut TcpStream, method: &str, sid: &str, body: &str) -> String {
    stream.write_all((head(method, sid, body.len()) + body).as_bytes()).unwrap();
    read_answer(stream).1
}

/// Status and body of an answer.
fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length =
                head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if body.len() >= length.parse::<usize>().unwrap() {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the stream ends in an answer: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..n]);
    }
}

/// A connection that may take a session over: its probe was answered.
fn upgrade(address: SocketAddr, sid: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).0, 101);
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, b"2probe", Some([1, 2, 3, 4]));
    stream.write_all(&frame).unwrap();
    assert!(texts(&mut stream, "3probe"), "the probe is not answered");
    stream
}

/// Reads frames until a text begins like this. Returns `false` if the server closes before.
fn texts(stream: &mut TcpStream, prefix: &str) -> bool {
    let (mut decoder, mut bytes) = (Decoder::new(Role::Client, 1 << 20), Vec::new());
    loop {
        let mut rest = bytes.as_mut_slice();
        while let Some(message) = decoder.decode(&mut rest).unwrap() {
            match message {
                Message::Text(text) if text.starts_with(prefix) => return true,
                Message::Close(_) => return false,
                _ => {}
            }
        }
        let left = rest.len();
        bytes.drain(..bytes.len() - left);
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
            read => bytes.extend_from_slice(&chunk[..read.unwrap()]),
        }
    }
}

fn on_tokio<F: Future<Output = std::io::Result<()>>>(
    listener: TcpListener,
    serve: impl FnOnce(tokio::net::TcpListener) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.block_on(async { serve(tokio::net::TcpListener::from_std(listener).unwrap()).await.unwrap() });
}

fn on_smol(server: Server, listener: TcpListener) {
    let executor = Arc::new(smol::Executor::new());
    let helper = executor.clone();
    std::thread::spawn(move || smol::block_on(helper.run(std::future::pending::<()>())));
    let runtime = sockeye::runtime::smol::Smol::on(&executor);
    smol::block_on(executor.run(runtime.serve(server, listener))).unwrap();
}

#[test]
#[ignore = "takes long: see CONTRIBUTING.md"]
fn two_connections_of_a_session_leave_nothing_on_tokio() {
    stress(|server, listener| {
        on_tokio(listener, |listener| sockeye::runtime::tokio::serve(server, listener))
    });
}

#[test]
#[ignore = "takes long: see CONTRIBUTING.md"]
fn two_connections_of_a_session_leave_nothing_on_smol() {
    stress(on_smol);
}

#[test]
#[ignore = "takes long: see CONTRIBUTING.md"]
fn two_connections_of_a_session_leave_nothing_mounted_in_hyper() {
    stress(|server, listener| on_tokio(listener, |listener| mounted::hyper_on_tokio(server, listener)));
}

/// Broadcasts wake a stream to write, at any time, while its peer's answers make it readable: it misses neither. The clients
/// have more threads than the machine, so that these are interrupted anywhere.
fn ask_beside_broadcasts(serve: impl FnOnce(Server, TcpListener) + Send + 'static) {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.on("ask", async || {}));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = server.clone();
    std::thread::spawn(move || serve(served, listener));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let clients = (0..2 * CLIENTS).map(|_| {
        let builder = Client::builder(&url).transports([Transport::WebSocket]).ack_timeout(PATIENCE);
        let client = builder.build().unwrap();
        runtime.spawn(async move {
            sockeye::runtime::tokio::connect(&client).await.unwrap();
            for _ in 0..attempts() {
                client.emit_with_ack::<()>("ask", ()).await.unwrap();
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    while !clients.iter().all(|client| client.is_finished()) {
        server.emit("news", 1);
        std::thread::sleep(Duration::from_micros(20));
    }
    clients.into_iter().for_each(|client| runtime.block_on(client).unwrap());
}

#[test]
#[ignore = "takes long: see CONTRIBUTING.md"]
fn no_answer_is_late_beside_broadcasts_on_tokio() {
    ask_beside_broadcasts(|server, listener| {
        on_tokio(listener, |listener| sockeye::runtime::tokio::serve(server, listener))
    });
}

#[test]
#[ignore = "takes long: see CONTRIBUTING.md"]
fn no_answer_is_late_beside_broadcasts_on_smol() {
    ask_beside_broadcasts(on_smol);
}
