//! Starts Redis servers for tests: the program `redis-server` of PATH, or what the environment variable `REDIS_SERVER`
//! names.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time after which a test fails instead of waiting on.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs, with its data in a folder of its own. It is killed when it is dropped.
pub struct RedisServer {
    pub port: u16,
    folder: PathBuf,
    args: Vec<String>,
    process: Option<Child>,
}

/// Returns the program of Redis. If there is none, prints that the test is skipped.
pub fn program() -> Option<PathBuf> {
    let found = match std::env::var_os("REDIS_SERVER") {
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|folder| folder.join("redis-server"))
            .find(|path| path.is_file()),
    };
    if found.is_none() {
        println!("skipped: it needs redis-server in PATH or REDIS_SERVER=/path/of/redis-server");
    }
    found
}

/// Returns a port that is free now, also 10,000 above it, where a node of a Redis Cluster listens.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl RedisServer {
    /// Starts a server on a free port. Returns `None` if there is no program.
    pub fn start(args: &[&str]) -> Option<RedisServer> {
        program()?;
        let mut server = RedisServer::stopped(0, args);
        // Another program may have taken the port by now.
        let has_started = (0..10).any(|_| {
            server.port = free_port();
            server.launch()
        });
        assert!(has_started, "redis-server ends at once");
        Some(server)
    }

    /// Starts a server on a port.
    pub fn start_on(port: u16, args: &[&str]) -> Option<RedisServer> {
        program()?;
        let mut server = RedisServer::stopped(port, args);
        server.restart();
        Some(server)
    }

    /// Returns a server that does not run yet.
    pub fn stopped(port: u16, args: &[&str]) -> RedisServer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sockeye-redis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        RedisServer { port, folder, args, process: None }
    }

    /// Returns the folder of the server, for files that its arguments name.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it, again after it was killed. Its data is gone unless it was saved.
    pub fn restart(&mut self) {
        assert!(self.launch(), "redis-server has ended");
    }

    /// Starts it, and returns whether it answers, or has ended.
    fn launch(&mut self) -> bool {
        self.kill();
        let mut command = Command::new(program().unwrap());
        command.current_dir(&self.folder).args(["--port", &self.port.to_string()]);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).args(&self.args);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let process = self.process.insert(process);
        let started = Instant::now();
        // A server with a password answers as well, if only that it wants one.
        let is_up = |answer: String| !answer.is_empty() && !answer.contains("LOADING");
        while process.try_wait().unwrap().is_none() {
            if try_command(self.port, &["PING"]).is_some_and(is_up) {
                return true;
            }
            assert!(started.elapsed() < PATIENCE, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Starts it as a sentinel, with a file of its folder.
    pub fn run_sentinel(&mut self, config: &str) {
        let mut command = Command::new(program().unwrap());
        command.current_dir(&self.folder).args([config, "--sentinel", "--port", &self.port.to_string()]);
        command.args(["--bind", "127.0.0.1"]);
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        self.await_port();
    }

    /// Waits until it can be connected to.
    pub fn await_port(&self) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "redis-server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal to it, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command, and returns the answer as it comes over the connection.
    pub fn command(&self, words: &[&str]) -> String {
        try_command(self.port, words).unwrap()
    }

    /// Returns once the answer to a command contains a text.
    pub fn wait_for(&self, words: &[&str], text: &str) {
        let started = Instant::now();
        loop {
            let answer = try_command(self.port, words).unwrap_or_default();
            if answer.contains(text) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{words:?} has no {text:?}: {answer}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends a command to the server at a port. Returns its answer, if there is one.
fn try_command(port: u16, words: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.push_str("*1\r\n$4\r\nQUIT\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    // A sentinel knows no `QUIT`.
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some(answer.strip_suffix("+OK\r\n").map(str::to_owned).unwrap_or(answer))
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
