//! Ctrl-C ends every example that is a server, whatever its clients do.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time for an example to end: a second for its clients, and more for a busy machine. A server that waited for its
/// clients would take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that is killed at the end of its test.
struct Program {
    child: Child,
    port: u16,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts an example, which `cargo test` has built, on any free port.
    fn start(example: &str, args: &[&str]) -> Program {
        let test = env::current_exe().unwrap();
        let path = test.ancestors().nth(2).unwrap().join("examples").join(example);
        let mut child = Command::new(&path)
            .args(args)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `cargo build --examples`", path.display()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut program = Program { child, port: 0 };
        let mut lines = output.lines().map(Result::unwrap);
        let listening = lines.find(|line| line.starts_with("listening on ")).unwrap();
        program.port = listening.rsplit(':').next().unwrap().parse().unwrap();
        // The program must not fail because nobody reads what it prints.
        std::thread::spawn(move || lines.for_each(drop));
        program
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Opens a session over polling, and a namespace of Socket.IO in it. Returns the connection, which is not used again.
    fn abandoned(&self) -> TcpStream {
        let mut stream = self.connect();
        request(&mut stream, "GET", "/socket.io/?EIO=4&transport=polling", "");
        let opened = read_until(&mut stream, "}");
        let sid = opened.split_once(r#""sid":""#).unwrap().1.split('"').next().unwrap();
        request(&mut stream, "POST", &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"), "40");
        read_until(&mut stream, "ok");
        stream
    }

    /// Opens a WebSocket, which reads nothing after the handshake.
    fn websocket(&self) -> TcpStream {
        let mut stream = self.connect();
        let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        read_until(&mut stream, "}");
        stream
    }

    /// Returns whether the program handles Ctrl-C by now, which it does a moment after it listens.
    fn is_ready(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        // The signal of number 2 is the second bit.
        u64::from_str_radix(caught.trim(), 16).unwrap() & 0b10 != 0
    }

    /// Presses Ctrl-C, after which the program has to end well and in time.
    #[track_caller]
    fn interrupt(mut self) {
        while !self.is_ready() {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
}

fn request(stream: &mut TcpStream, method: &str, path: &str, body: &str) {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
}

/// Reads up to a text at the end of an answer.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Starts an example, connects clients of every kind, and ends it.
#[track_caller]
fn ends(example: &str, args: &[&str]) {
    let program = Program::start(example, args);
    let clients = [program.abandoned(), program.websocket(), program.connect()];
    program.interrupt();
    drop(clients);
}

#[test]
fn the_examples_with_pages_end() {
    for example in ["acknowledgements", "chat", "date_notifier"] {
        ends(example, &[]);
    }
}

#[test]
fn a_server_for_tests_ends() {
    ends("load_server", &[]);
    ends("test_suite", &[]);
}

#[cfg(feature = "smol")]
#[test]
fn a_server_on_smol_ends() {
    ends("chat", &["--runtime", "smol"]);
}

#[test]
fn a_server_on_mio_ends() {
    ends("chat", &["--runtime", "mio"]);
}

#[cfg(feature = "axum")]
#[test]
fn a_server_that_is_mounted_ends() {
    for framework in ["axum", "hyper"] {
        ends("chat", &["--mounted", framework]);
        #[cfg(feature = "smol")]
        ends("chat", &["--mounted", framework, "--runtime", "smol"]);
    }
}

#[cfg(feature = "axum")]
#[test]
fn the_examples_in_axum_end() {
    for example in ["attach_axum", "private_messaging"] {
        ends(example, &[]);
        #[cfg(feature = "smol")]
        ends(example, &["--runtime", "smol"]);
    }
}

#[cfg(feature = "hyper")]
#[test]
fn the_example_in_hyper_ends() {
    ends("attach_hyper", &[]);
}

#[cfg(feature = "tls")]
#[test]
fn the_example_with_tls_ends() {
    let program = Program::start("tls", &[]);
    // It never begins the handshake of TLS.
    let silent = program.connect();
    program.interrupt();
    drop(silent);
}
