//! The measured servers, and how they are started.

use crate::Failure;
use crate::machine::output;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A server that can be started.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// True if the number of its worker threads can be set.
    pub(crate) has_workers: bool,
    command: PathBuf,
    arguments: Vec<String>,
}

/// A running server, which is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    command: Command,
    child: Child,
}

/// The settings of a server.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    /// The number of worker threads. Default: the environment variable WORKERS, or 1.
    pub(crate) workers: Option<u16>,
    /// The time between two pings. Default: 25 s.
    pub(crate) ping_interval: Option<Duration>,
}

/// Returns our server, and the servers with these names.
pub(crate) fn candidates(
    root: &Path,
    names: &[String],
    arguments: &[String],
) -> Result<Vec<Candidate>, Failure> {
    let here = std::env::current_exe()?;
    let folder = here.parent().ok_or("the program's folder is unknown")?;
    let node = root.join("benches/compare/node");
    let us = |name: &str, more: &[&str]| Candidate {
        name: name.to_owned(),
        version: output("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        has_workers: !more.contains(&"mio") && !arguments.iter().any(|argument| argument == "mio"),
        command: folder.join("examples/load_server"),
        arguments: arguments.iter().cloned().chain(more.iter().map(|text| (*text).to_owned())).collect(),
    };
    let peer = |name: &str| {
        Ok::<_, Failure>(match name {
            "floor" => Candidate {
                name: "floor".into(),
                version: "no server".into(),
                has_workers: false,
                command: folder.join("floor"),
                arguments: Vec::new(),
            },
            "socketioxide" | "socketioxide-axum" => Candidate {
                name: name.into(),
                version: locked(root, "socketioxide"),
                has_workers: true,
                command: folder.join("peer_socketioxide"),
                arguments: match name {
                    "socketioxide" => Vec::new(),
                    _ => vec!["--mounted".into(), "axum".into()],
                },
            },
            "node" | "node-recovery" => Candidate {
                name: name.into(),
                version: format!(
                    "socket.io {}, node {}",
                    installed(&node, "socket.io"),
                    output("node", &["--version"])
                ),
                has_workers: false,
                command: "node".into(),
                arguments: match name {
                    "node" => vec![node.join("node.mjs").display().to_string()],
                    _ => vec![node.join("node.mjs").display().to_string(), "--recovery".into()],
                },
            },
            "bun" => Candidate {
                name: "bun".into(),
                version: format!(
                    "socket.io {}, bun-engine {}, bun {}",
                    installed(&node, "socket.io"),
                    installed(&node, "@socket.io/bun-engine"),
                    installed(&node, "bun"),
                ),
                has_workers: false,
                command: node.join("node_modules/.bin/bun"),
                arguments: vec![node.join("bun.mjs").display().to_string()],
            },
            "ours-recovery" => us(name, &["--recovery"]),
            "ours-stateful" => us(name, &["--stateful-reconnect"]),
            "ours-smol" => us(name, &["--runtime", "smol"]),
            "ours-axum" => us(name, &["--mounted", "axum"]),
            "ours-mio" => us(name, &["--runtime", "mio"]),
            _ => return Err(format!("unknown server {name}: see --help").into()),
        })
    };
    std::iter::once(Ok(us("ours", &[]))).chain(names.iter().map(|name| peer(name))).collect()
}

/// Returns the version of a crate in the lock file.
fn locked(root: &Path, name: &str) -> String {
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let start = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split(&start).nth(1).and_then(|rest| rest.split('"').next());
    version.unwrap_or("unknown").to_owned()
}

/// Returns the version of an installed npm package.
fn installed(folder: &Path, name: &str) -> String {
    let file = folder.join("node_modules").join(name).join("package.json");
    let package =
        fs::read(file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    package.and_then(|package| Some(package["version"].as_str()?.to_owned())).unwrap_or("unknown".into())
}

/// Returns a port that is free on all addresses, and that the kernel assigns to no client.
fn free_port() -> Result<u16, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    for _ in 0..1_000 {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port from 20000 on is free".into())
}

impl Running {
    /// Starts a server on a port of its own, and waits until it listens.
    pub(crate) fn start(candidate: &Candidate, settings: Settings) -> Result<Running, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let workers = settings.workers.map(|workers| workers.to_string());
        let workers = workers.or(std::env::var("WORKERS").ok()).unwrap_or("1".into());
        let mut command = Command::new(&candidate.command);
        command
            .args(&candidate.arguments)
            .env("PORT", address.port().to_string())
            .env("WORKERS", workers)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(interval) = settings.ping_interval {
            command.env("PING_INTERVAL", interval.as_millis().to_string());
        }
        let child = command.spawn().map_err(|error| format!("the server cannot be started: {error}"))?;
        let mut running = Running { address, command, child };
        running.wait_until_it_listens()?;
        // By then the server has closed the connection that was only a try.
        std::thread::sleep(Duration::from_millis(200));
        Ok(running)
    }

    /// Kills the server and starts it again on the same port. Returns as soon as it listens.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = self.command.spawn()?;
        self.wait_until_it_listens()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended at once: {status}").into());
            }
            if start.elapsed() > Duration::from_secs(10) {
                return Err("the server does not listen after 10 s".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The server may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
