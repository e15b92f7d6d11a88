//! Ten thousand clients whose server is restarted reconnect at once, over real sockets.
//!
//! The clients are another process, because one process may not open as many files as both ends need.
#![cfg(feature = "tokio")]
#![allow(missing_docs, clippy::unwrap_used)]

use sockeye::{Args, Server, Socket};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_frame};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

const COUNT: usize = 10_000;
/// Open files besides the streams.
const OTHER_FILES: usize = 200;
/// Timeout of each step; on an idle machine all of them take a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The environment variable with the server's address for the clients.
const ADDRESS: &str = "RECONNECT_ADDRESS";

/// Returns whether the process can open enough streams; otherwise prints why the test is skipped.
fn has_room() -> bool {
    let files = rlimit::increase_nofile_limit((COUNT + OTHER_FILES) as u64).unwrap_or(0);
    let has_room = files >= (COUNT + OTHER_FILES) as u64;
    if !has_room {
        eprintln!("skipped: {COUNT} streams are more than the {files} files that may be open here");
    }
    has_room
}

#[test]
fn ten_thousand_clients_that_reconnect_at_once_are_all_served() {
    if !has_room() {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = Served::start(&runtime, SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut clients = Clients::start(first.address);
    clients.wait_for("connected");
    assert_eq!(first.server.sockets().len(), COUNT);

    // When serving ends, everything is written and the port is free.
    let begin = Instant::now();
    let address = first.address;
    first.server.begin_close();
    runtime.block_on(async { timeout(PATIENCE, first.serving).await.unwrap().unwrap().unwrap() });
    let second = Served::start(&runtime, address);
    clients.wait_for("connected");
    eprintln!("{COUNT} clients came back after {:?}", begin.elapsed());
    assert_eq!(second.server.sockets().len(), COUNT);
    clients.wait_for("answered");
    assert_eq!(second.server.emit("news", 1).sent, COUNT);
    clients.wait_for("told");
    clients.end();
    let begin = Instant::now();
    while second.server.clients_count() > 0 {
        assert!(begin.elapsed() < PATIENCE, "{} clients are left", second.server.clients_count());
        std::thread::sleep(Duration::from_millis(1));
    }
    second.server.begin_close();
    runtime.block_on(async { timeout(PATIENCE, second.serving).await.unwrap().unwrap().unwrap() });
}

/// A running server.
struct Served {
    server: Server,
    address: SocketAddr,
    serving: tokio::task::JoinHandle<io::Result<()>>,
}

impl Served {
    fn start(runtime: &Runtime, address: SocketAddr) -> Served {
        // A client that waits for the others does not answer pings.
        let server = Server::builder().ping_interval(2 * PATIENCE).build();
        server.on_connect(async |socket: Socket| socket.on("echo", async |args: Args| args));
        let _entered = runtime.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = runtime.spawn(sockeye::runtime::tokio::serve(server.clone(), listener));
        Served { server, address, serving }
    }
}

/// The process of the clients, which prints its progress.
struct Clients {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Clients {
    fn start(address: SocketAddr) -> Clients {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "clients", "--ignored", "--nocapture"])
            .env(ADDRESS, address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Clients { process, lines }
    }

    /// Waits until the clients report that they are all `what`. They give up by themselves after a timeout.
    #[track_caller]
    fn wait_for(&mut self, what: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(what) {
                return;
            }
            line.clear();
        }
        panic!("the clients were not all {what}");
    }

    fn end(mut self) {
        // Reads what the test harness still prints.
        io::copy(&mut self.lines, &mut io::sink()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "the process that the other test starts"]
fn clients() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let address = address.parse().unwrap();
    assert!(has_room());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clients = all(std::iter::repeat_n((), COUNT), move |()| connect(address)).await;
        println!("connected");
        let clients = all(clients, move |mut client: Client| async move {
            while client.next().await.is_some() {}
            drop(client);
            connect(address).await
        });
        let clients = clients.await;
        println!("connected");
        let clients = all(clients, async |mut client: Client| {
            client.send(r#"427["echo","again"]"#).await;
            assert_eq!(client.next().await.as_deref(), Some(r#"437["again"]"#));
            client
        });
        let clients = clients.await;
        println!("answered");
        let told = all(clients, async |mut client: Client| {
            assert_eq!(client.next().await.as_deref(), Some(r#"42["news",1]"#));
        });
        told.await;
        println!("told");
    });
}

/// Runs `f` for all at once, and returns the results.
async fn all<T, R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    each: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> F,
) -> Vec<R> {
    let tasks: Vec<_> = each.into_iter().map(|one| tokio::spawn(timeout(PATIENCE, f(one)))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap().expect("in time"));
    }
    results
}

/// Connects a WebSocket client to the main namespace, and retries until it succeeds.
async fn connect(address: SocketAddr) -> Client {
    loop {
        if let Some(client) = Client::try_connect(address).await {
            return client;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

struct Client {
    stream: TcpStream,
    arrived: Vec<u8>,
    decoder: Decoder,
}

impl Client {
    async fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut client = Client { stream, arrived: Vec::new(), decoder: Decoder::new(Role::Client, 1000) };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write(request.as_bytes()).await;
        let end = loop {
            if let Some(end) = client.arrived.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            client.read().await.then_some(())?;
        };
        // A server that is closing answers with 503.
        client.arrived.starts_with(b"HTTP/1.1 101 ").then_some(())?;
        client.arrived.drain(..end);
        client.next().await.filter(|open| open.starts_with("0{"))?;
        client.send("40").await;
        client.next().await.filter(|reply| reply.starts_with("40{"))?;
        Some(client)
    }

    async fn send(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.write(&frame).await;
    }

    /// Writes all bytes. Errors are ignored, because reading fails, too.
    async fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.stream.writable().await.is_ok() {
            match self.stream.try_write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Reads more bytes. Returns `false` at the end of the stream.
    async fn read(&mut self) -> bool {
        let mut chunk = [0; 1024];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut chunk) {
                Ok(n) => {
                    self.arrived.extend_from_slice(&chunk[..n]);
                    return n > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Returns the next packet, and answers pings; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let mut input = self.arrived.as_mut_slice();
            let message = match self.decoder.decode(&mut input).unwrap() {
                Some(Message::Text(text)) => Some(text.into_owned()),
                Some(Message::Close(_)) => return None,
                Some(other) => panic!("{other:?}"),
                None => None,
            };
            let left = input.len();
            self.arrived.drain(..self.arrived.len() - left);
            match message {
                Some(ping) if ping == "2" => self.send("3").await,
                Some(packet) => return Some(packet),
                None if self.read().await => {}
                None => return None,
            }
        }
    }
}
