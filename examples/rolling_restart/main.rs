//! Counts for everybody, and replaces itself by a new process on SIGHUP, so that no client misses a number and no attempt to
//! connect is refused.
//!
//! Run it with `cargo run --example rolling_restart`, build another version, and call `kill -HUP <pid>`. The new program gets
//! two things from the old one: the listening socket as its standard input, as from inetd, and a file with the state. The
//! system keeps connections waiting at the socket until the new program accepts them.

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    restart::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("This example needs Unix, where a process can replace itself.");
}

#[cfg(unix)]
mod restart {
    use sockeye::{HandOver, Recovery, Server};
    use std::fs::{self, OpenOptions};
    use std::io::{self, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use tokio::net::TcpSocket;
    use tokio::signal::unix::{SignalKind, signal};

    /// The variables by which a process tells the next one where its state is, and the last number.
    const STATE: &str = "ROLLING_RESTART_STATE";
    const COUNTED: &str = "ROLLING_RESTART_COUNTED";

    /// The time for clients to be told that the server ends. It may be short, because the next process sends them what they do
    /// not fetch in this time, and a client that polls cannot fetch it anyway if it needs another connection.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// What the next process gets.
    struct Legacy {
        listener: TcpListener,
        state: PathBuf,
        counted: u64,
    }

    pub(super) fn main() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let Some(legacy) = runtime.block_on(run())? else { return Ok(()) };
        // The tasks that are left end here, and with them the connections.
        drop(runtime);
        // The path, not the file that runs, because a deployment has put another one there.
        let program = std::env::args_os().next().ok_or(io::ErrorKind::NotFound)?;
        // It keeps the process id, so that whoever supervises this process notices nothing. Returns only if it fails.
        let error = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(STATE, legacy.state)
            .env(COUNTED, legacy.counted.to_string())
            .stdin(Stdio::from(OwnedFd::from(legacy.listener)))
            .exec();
        Err(error)
    }

    /// Serves until SIGHUP or Ctrl-C. Returns what the next process gets, if there is to be one.
    async fn run() -> io::Result<Option<Legacy>> {
        let inherited = std::env::var_os(STATE).map(PathBuf::from);
        let (listener, io) = match &inherited {
            Some(state) => (TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?), take_over(state)),
            None => (listen()?, builder().build()),
        };
        listener.set_nonblocking(true)?;
        let serving = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let counted = Arc::new(AtomicU64::new(number(COUNTED).unwrap_or(0)));
        let counting = tokio::spawn(count(io.clone(), counted.clone()));
        let (mut hangup, mut interrupt) = (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?);
        println!("listening on {}", listener.local_addr()?.port());
        tokio::select! {
            // From here on, nobody accepts, and connections wait for the next process.
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {
                io.close_within(PATIENCE).await;
                return Ok(None);
            }
            ended = sockeye::runtime::tokio::serve(io.clone(), serving) => return ended.map(|()| None),
        }
        // What sends has to end first, so that it sends nothing that would not be part of the state.
        counting.abort();
        let _ = counting.await;
        let state = save(&io.hand_over(PATIENCE).await)?;
        Ok(Some(Legacy { listener, state, counted: counted.load(Ordering::Relaxed) }))
    }

    fn builder() -> sockeye::ServerBuilder {
        Server::builder().connection_state_recovery(Recovery::new())
    }

    /// Returns a server that continues, or one where everybody begins anew if the state is not there or damaged.
    fn take_over(path: &PathBuf) -> Server {
        let bytes = fs::read(path);
        // It is a secret, and out of date from now on.
        let _ = fs::remove_file(path);
        let state = bytes.map_err(|error| error.to_string());
        match state.and_then(|bytes| HandOver::from_bytes(bytes).map_err(|error| error.to_string())) {
            Ok(state) => builder().take_over(state).build(),
            Err(error) => {
                eprintln!("every client begins anew: {error}");
                builder().build()
            }
        }
    }

    /// Writes the state into a new file that nobody else can read.
    fn save(state: &[u8]) -> io::Result<PathBuf> {
        // systemd sets it for a service with `StateDirectory`.
        let folder = std::env::var_os("STATE_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = folder.join(format!("rolling_restart.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(state)?;
        Ok(path)
    }

    /// Opens a socket at which many connections may wait.
    fn listen() -> io::Result<TcpListener> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        let port = number("PORT").and_then(|port| u16::try_from(port).ok()).unwrap_or(3000);
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        socket.listen(4096)?.into_std()
    }

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok()?.parse().ok()
    }

    /// Sends the numbers, one after the other. It may be aborted only between a number and the next one.
    async fn count(io: Server, counted: Arc<AtomicU64>) {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        loop {
            clock.tick().await;
            io.emit("number", counted.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
}
