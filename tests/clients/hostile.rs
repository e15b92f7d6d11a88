//! Servers that break the rules: each gets a clear error, and the client neither panics nor spins nor grows.

use crate::start::{Connect, PATIENCE, Way};
use sockeye::client::{ClientBuilder, ClientConnectError, ClientTransportError};
use sockeye::{Client, Transport};
use sockeye_core::websocket::accept_key;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A server that says the same to everybody, once it was asked.
struct Hostile {
    address: SocketAddr,
    /// Of its own: who asks for another one is a stranger, for the port may have been another server's before.
    path: String,
    /// The bytes that arrived on each connection.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Hostile {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let path = format!("/hostile-{}/", COUNT.fetch_add(1, Ordering::SeqCst));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (all, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, answer) = (all.clone(), answer.clone());
                let at = {
                    let mut all = all.lock().unwrap();
                    all.push(String::new());
                    all.len() - 1
                };
                let record = move |text: &str| all.lock().unwrap()[at].push_str(text);
                std::thread::spawn(move || speak(stream.unwrap(), &record, &*answer));
            }
        });
        Hostile { address, path, asked }
    }

    fn client(&self, transport: Transport) -> ClientBuilder {
        Client::builder(format!("http://{}", self.address)).path(self.path.as_str()).transports([transport])
    }

    async fn error_for(&self, start: Connect, transport: Transport) -> String {
        let builder = self.client(transport).reconnection(false).max_message(100_000).timeout(PATIENCE);
        start(&builder.build().unwrap()).await.unwrap_err().to_string()
    }
}

fn speak(mut stream: TcpStream, record: &dyn Fn(&str), answer: &dyn Fn(&str) -> Vec<u8>) {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        asked.extend_from_slice(&buffer[..n]);
        record(&String::from_utf8_lossy(&buffer[..n]));
        let text = String::from_utf8_lossy(&asked).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            if stream.write_all(&answer(head)).is_err() {
                return;
            }
            asked.clear();
        }
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn upgraded(head: &str, frames: &[u8]) -> Vec<u8> {
    let key =
        head.split("Sec-WebSocket-Key: ").nth(1).and_then(|it| it.split("\r\n").next()).unwrap_or_default();
    let accept = String::from_utf8(accept_key(key).to_vec()).unwrap();
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(frames);
    answer
}

pub(crate) fn a_wrong_handshake_is_an_error_that_says_so(_: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let open = |sid: &str, interval: &str| {
            ok(&format!(r#"0{{"sid":{sid},"upgrades":[],"pingInterval":{interval},"pingTimeout":1}}"#))
        };
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(100_000)).into_bytes();
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n".to_vec();
        for (answer, error) in [
            (b"SSH-2.0-OpenSSH_9.0\r\n".to_vec(), "not an http response"),
            (
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy".to_vec(),
                "status 503: busy",
            ),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), "101"),
            (
                b"HTTP/1.1 302 Found\r\nLocation: https://other.example/\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
                "the server redirects to https://other.example/ with status 302",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b".to_vec(),
                "is encoded as gzip",
            ),
            (b"\x15\x03\x01\x00\x02\x02\x46".to_vec(), "the server uses tls"),
            (ok(r#"96:0{"sid":"a","upgrades":[]}2:40"#), "version 3 of Engine.IO"),
            (long, "too large"),
            (endless, "too large"),
            (chunks, "too large"),
            (ok(""), "the first packet does not open the session"),
            (ok("4hello"), "the first packet does not open the session"),
            (ok("0{}"), "not a valid object"),
            (open(&format!(r#""{}""#, "x".repeat(3000)), "1"), "not a valid session id"),
            (open(r#""a""#, "-1"), "not a valid ping interval"),
            (ok("\u{1e}"), "an empty packet"),
        ] {
            let server = Hostile::serve(move |_| answer.clone());
            let told = server.error_for(start, Transport::Polling).await;
            assert!(told.contains(error), "{told:?}, not {error:?}");
            let asked = server.asked.lock().unwrap();
            let own = asked.iter().filter(|text| text.contains(&server.path)).count();
            assert_eq!(own, 1, "{told:?} after {asked:?}");
        }
    }
}

pub(crate) fn frames_that_break_the_rules_are_an_error_that_says_so(_: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let huge = b"\x82\x7f\x00\x00\x00\xff\xff\xff\xff\xff".to_vec();
        for (frames, error) in [
            (huge, "message of more than 100000 bytes"),
            (b"\x81\x80\x00\x00\x00\x00".to_vec(), "masked frame from a server"),
            (b"\xf1\x00".to_vec(), "reserved bits"),
            (b"\x81\x01\xff".to_vec(), "invalid utf-8"),
            (b"\x81\x00".to_vec(), "an empty packet"),
            (b"\x82\x01x".to_vec(), "the first packet does not open the session"),
            (b"\x88\x02\x03\xf0".to_vec(), "the server closed the connection with code 1008"),
        ] {
            let server = Hostile::serve(move |head| upgraded(head, &frames));
            let told = server.error_for(start, Transport::WebSocket).await;
            assert!(told.contains(error), "{told:?}, not {error:?}");
        }
        let server = Hostile::serve(|head| upgraded(&head.replace("Key: ", "Key: x"), b""));
        let told = server.error_for(start, Transport::WebSocket).await;
        assert!(told.contains("Sec-WebSocket-Accept"), "{told:?}");
    }
}

pub(crate) fn a_server_that_answers_at_once_and_with_nothing_is_not_asked_at_full_speed(
    _: Way,
) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let polls = Arc::new(AtomicUsize::new(0));
        let counter = polls.clone();
        let server = Hostile::serve(move |head| match (head.starts_with("POST"), head.contains("sid=")) {
            (true, _) => ok("ok"),
            (false, false) => {
                ok(r#"0{"sid":"a","upgrades":[],"pingInterval":1e9,"pingTimeout":1e9,"maxPayload":-1}"#)
            }
            (false, true) => {
                let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
                ok(if first { r#"40{"sid":"x"}"# } else { "6" })
            }
        });
        let client = server.client(Transport::Polling).build().unwrap();
        let begin = Instant::now();
        start(&client).await.unwrap();
        let mut events = client.events();
        assert!(events.recv_timeout(Duration::from_millis(500)).await.is_none());
        while polls.load(Ordering::SeqCst) < 2 {
            assert!(begin.elapsed() < PATIENCE, "it does not poll");
            assert!(events.recv_timeout(Duration::from_millis(1)).await.is_none());
        }
        let (polls, elapsed) = (polls.load(Ordering::SeqCst), begin.elapsed());
        assert!(polls as u128 <= 5 + elapsed.as_millis() / 20, "{polls} polls in {elapsed:?}");
        client.close();
    }
}

pub(crate) fn a_server_that_never_answers_what_is_sent_is_given_up_in_time(
    _: Way,
) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let server = Hostile::serve(|head| match head.contains("sid=") {
            true => Vec::new(),
            false => {
                ok(r#"0{"sid":"a","upgrades":[],"pingInterval":1e9,"pingTimeout":1e9,"maxPayload":1e6}"#)
            }
        });
        let request_timeout = Duration::from_millis(50);
        let builder = server.client(Transport::Polling).reconnection(false).timeout(3 * PATIENCE);
        let client = builder.request_timeout(request_timeout).build().unwrap();
        let begin = Instant::now();
        let error = start(&client).await.unwrap_err();
        assert!((request_timeout..PATIENCE).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        assert_eq!(error, ClientConnectError::Closed(ClientTransportError::RequestTimeout.into()));
        assert_eq!(error.to_string(), "a request was not answered in time");
        let asked = server.asked.lock().unwrap();
        assert!(asked.iter().any(|text| text.starts_with("POST ") && text.ends_with("40")), "{asked:?}");
        assert!(!client.is_active());
    }
}
