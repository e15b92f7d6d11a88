//! The same over real sockets, for real minutes.

use super::{ALONE, LIVE, Network, RATE, give_up, server};
use sockeye::Server;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After how long a client that is silent closes its end at last: longer than the server waits for anything.
const SILENCE: Duration = Duration::from_secs(70);

struct Sockets {
    address: SocketAddr,
    /// Who is silent, and since when.
    left: RefCell<VecDeque<(Instant, TcpStream)>>,
}

impl Network for Sockets {
    type Stream = TcpStream;

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    fn send(&self, mut stream: &TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).unwrap();
    }

    /// The server's thread reads by itself.
    fn rest(&self) {}

    fn answer(&self, mut stream: &TcpStream) -> String {
        let mut answer = Vec::new();
        let mut chunk = [0; 1024];
        // A handshake.
        while !answer.ends_with(b"}") {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the server closed in place of an answer");
            answer.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8(answer).unwrap()
    }

    fn finish(&self, stream: &TcpStream) {
        let _ = stream.shutdown(Shutdown::Write);
    }

    fn leave(&self, stream: TcpStream) {
        let mut left = self.left.borrow_mut();
        left.push_back((Instant::now(), stream));
        while left.front().is_some_and(|(since, _)| since.elapsed() > SILENCE) {
            left.pop_front();
        }
    }
}

/// How much there is: sessions, allocated bytes, and KiB that the process has of the machine where that can be told.
fn table(server: &Server) -> (usize, usize, Option<usize>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    (server.clients_count(), LIVE.load(Ordering::Relaxed), resident)
}

#[test]
#[ignore = "minutes: see CONTRIBUTING.md"]
fn minutes_of_clients_on_sockets_that_give_up_half_way_leave_nothing_behind() {
    let _alone = ALONE.lock();
    let minutes: u64 = std::env::var("MINUTES").map_or(5, |minutes| minutes.parse().unwrap());
    // Both ends of all that are silent.
    let files = rlimit::increase_nofile_limit(20_000).unwrap_or(0);
    let wanted = 3 * RATE as u64 * SILENCE.as_secs();
    assert!(files >= wanted, "{files} open files are too few: {wanted}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Sockets { address: listener.local_addr().unwrap(), left: RefCell::default() };
    let server = server();
    let served = server.clone();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            listener.set_nonblocking(true)?;
            sockeye::runtime::tokio::serve(served, tokio::net::TcpListener::from_std(listener)?).await
        })
    });
    let mut turn = 0;
    let begin = Instant::now();
    let mut live = |seconds: u64| {
        let until = begin + Duration::from_secs(seconds);
        while Instant::now() < until {
            give_up(&sockets, turn);
            turn += 1;
            if turn % RATE == 0 {
                server.to("room").volatile().emit("news", turn);
            }
            let next = begin + Duration::from_secs(1) * u32::try_from(turn).unwrap() / RATE as u32;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if turn % (60 * RATE) == 0 {
                println!("{:?}: {turn} clients, {:?}", begin.elapsed(), table(&server));
            }
        }
        table(&server)
    };
    // As long as anything is waited for.
    let steady = live(90);
    let end = live(90 + 60 * minutes);
    println!("sessions, bytes, resident KiB: {steady:?}, then {end:?}, after {turn} clients");
    assert!(end.0.abs_diff(steady.0) <= steady.0 / 10, "sessions pile up");
    assert!(end.1 <= steady.1 + steady.1 / 10, "memory piles up");
    if let (Some(steady), Some(end)) = (steady.2, end.2) {
        assert!(end <= steady + steady / 10, "the process grows");
    }

    sockets.left.take();
    let begin = Instant::now();
    while server.clients_count() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(120), "{} sessions are left", server.clients_count());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    let silent = table(&server);
    println!("in silence: {silent:?} after {:?}", begin.elapsed());
    // What is left are the server, its threads' scratch, and the capacity of its tables: nothing for each client.
    assert!(silent.1 < end.1 / 5 && silent.1 < 1 << 20, "{} bytes are left of {}", silent.1, end.1);
    server.begin_close();
    serving.join().unwrap().unwrap();
}
