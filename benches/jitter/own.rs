//! The same with our own client, in one process. Its connections are cut by a proxy in between, which knows each client by
//! the loopback address that it connects to.

use crate::flock::Counts;
use crate::{Failure, Options};
use sockeye::extract::Data;
use sockeye::{Client, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// As for the other clients: how long one stays away (with stateful reconnect, any time up to that), the most time until its next cut, the deadline for all to be there,
/// and the time without an event after which nothing is on its way.
const AWAY: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(3);

pub(crate) fn run(server: SocketAddr, options: &Options) -> Result<Counts, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(play(server, options))
}

/// A client, and what it received.
struct Member {
    client: Client,
    tally: Arc<Tally>,
    next: Instant,
}

#[derive(Default)]
struct Tally {
    last: AtomicU64,
    received: AtomicU64,
    unexpected: AtomicU64,
    connected: AtomicU64,
    recovered: AtomicU64,
}

async fn play(server: SocketAddr, options: &Options) -> Result<Counts, Failure> {
    let proxy = Proxy::open(server, options.clients.max(2)).await?;
    let mut dice = options.seed | 1 << 63;
    let start = Instant::now();
    let mut members = Vec::new();
    for at in 0..options.clients.max(2) {
        let client = open(SocketAddr::new(address_of(at), proxy.port))?;
        members.push(Member { tally: watch(&client), client, next: start });
    }
    for some in members.chunks(50) {
        let waiting = some.iter().map(|member| sockeye::runtime::tokio::connect(&member.client));
        for connected in waiting.collect::<Vec<_>>() {
            connected.await?;
        }
    }
    let start = Instant::now();
    members.iter_mut().for_each(|member| member.next = start + random(&mut dice, CALM));
    let (mut number, mut cuts) = (0, 0);
    while start.elapsed() < options.time {
        number += 1;
        members[0].client.emit("broadcast", number)?;
        let due = start + Duration::from_secs(1) / options.rate * u32::try_from(number)?;
        while Instant::now() < due {
            // The first one sends, and is never cut.
            for (at, member) in members.iter_mut().enumerate().skip(1) {
                if member.next <= Instant::now() {
                    cuts += u64::from(member.client.is_connected() && proxy.cut(at));
                    member.next = Instant::now() + AWAY + random(&mut dice, CALM);
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    // Those that were cut last have yet to notice.
    sleep(AWAY / 2).await;
    while !members.iter().all(|member| member.client.is_connected()) && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    let sum = |of: fn(&Tally) -> &AtomicU64| -> u64 {
        members.iter().map(|member| of(&member.tally).load(Relaxed)).sum()
    };
    let mut delivered = sum(|tally| &tally.received);
    loop {
        sleep(QUIET).await;
        if sum(|tally| &tally.received) == std::mem::replace(&mut delivered, sum(|tally| &tally.received)) {
            break;
        }
    }
    let again = sum(|tally| &tally.connected) - members.len() as u64;
    Ok(Counts {
        expected: number * members.len() as u64,
        delivered,
        unexpected: sum(|tally| &tally.unexpected),
        cuts,
        anew: again - sum(|tally| &tally.recovered),
    })
}

fn open(to: SocketAddr) -> Result<Client, Failure> {
    let settings = Client::builder(format!("http://{to}")).transports([Transport::WebSocket]);
    let settings = settings.stateful_reconnect(true);
    Ok(settings.reconnection_delay(AWAY).reconnection_delay_max(AWAY).randomization_factor(0.0).build()?)
}

/// Counts what a client receives.
fn watch(client: &Client) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let counting = tally.clone();
    client.on("broadcast", move |Data(number): Data<u64>| {
        if number > counting.last.fetch_max(number, Relaxed) {
            counting.received.fetch_add(1, Relaxed);
        } else {
            counting.unexpected.fetch_add(1, Relaxed);
        }
        async {}
    });
    let counting = tally.clone();
    client.on_connect(move |socket: sockeye::client::ClientSocket| {
        counting.connected.fetch_add(1, Relaxed);
        counting.recovered.fetch_add(socket.recovered().into(), Relaxed);
        async {}
    });
    tally
}

/// Returns a random time, by xorshift.
fn random(dice: &mut u64, below: Duration) -> Duration {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    below.mul_f64((*dice >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Returns the loopback address of a client.
fn address_of(at: usize) -> IpAddr {
    Ipv4Addr::new(127, 1 + (at >> 14) as u8, (at >> 7 & 127) as u8, 1 + (at & 127) as u8).into()
}

/// Passes bytes between clients and the server.
struct Proxy {
    port: u16,
    /// The connection of each client.
    tasks: Arc<Mutex<Vec<Option<AbortHandle>>>>,
}

impl Proxy {
    async fn open(server: SocketAddr, clients: usize) -> Result<Proxy, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        let tasks = Arc::new(Mutex::new(vec![None; clients]));
        let kept = tasks.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(address) = client.local_addr() else { continue };
                let task = tokio::spawn(pass(client, server)).abort_handle();
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(at) = (0..kept.len()).find(|at| address_of(*at) == address.ip()) {
                    kept[at] = Some(task);
                }
            }
        });
        Ok(Proxy { port, tasks })
    }

    /// Cuts the connection of a client, if it has one.
    fn cut(&self, at: usize) -> bool {
        let task = self.tasks.lock().unwrap_or_else(PoisonError::into_inner)[at].take();
        task.is_some_and(|task| {
            task.abort();
            true
        })
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
