//! Stateful reconnect: connections that are cut by what is between client and server.

use crate::start::{Connect, PATIENCE, Way, builder, serve, settle};
use sockeye::client::ManagerEvent;
use sockeye::extract::Data;
use sockeye::{Server, Socket, StatefulReconnect};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The number of events in either direction.
const EVENTS: u32 = 200;

/// A relay on a port of its own, whose first connections each end after some number of bytes.
fn relay(server: SocketAddr) -> SocketAddr {
    /// The bytes after which connections end. The handshake takes about 700.
    const FUSES: [usize; 8] = [900, 2500, 1100, 4000, 300, 1700, 3000, 1300];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let fuses = FUSES.into_iter().chain(std::iter::repeat(usize::MAX));
        for (client, fuse) in listener.incoming().zip(fuses) {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let left = Arc::new(AtomicUsize::new(fuse));
            for (mut from, mut to) in [(&client, &server), (&server, &client)]
                .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
            {
                let left = left.clone();
                thread::spawn(move || {
                    let _ = pass(&mut from, &mut to, &left);
                    [from, to].iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
                });
            }
        }
    });
    address
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, left: &AtomicUsize) -> std::io::Result<()> {
    to.set_nodelay(true)?;
    let mut buffer = [0; 8192];
    loop {
        let read = from.read(&mut buffer)?;
        let before = left.load(Ordering::Relaxed);
        let passed = read.min(before);
        left.store(before - passed, Ordering::Relaxed);
        to.write_all(&buffer[..passed])?;
        if read == 0 || passed < read {
            return Ok(());
        }
    }
}

pub(crate) fn connections_that_are_cut_lose_nothing(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |connect| {
        let at_server = Arc::new(Mutex::new(Vec::new()));
        let io = Server::builder().stateful_reconnect(StatefulReconnect::new()).build();
        let numbers = at_server.clone();
        io.on_connect(move |socket: Socket| {
            socket.on("nothing", async || ());
            let numbers = numbers.clone();
            socket.on("there", move |socket: Socket, Data(number): Data<u32>| {
                numbers.lock().unwrap().push(number);
                let answer = socket.emit_with_ack::<u32>("back", number);
                async move { answer.await.unwrap() }
            });
            async {}
        });
        let running = serve(io, None);
        let builder = builder(relay(running.address), way).stateful_reconnect(true);
        let client = builder.ack_timeout(PATIENCE).build().unwrap();
        let (at_client, resumed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let numbers = at_client.clone();
        client.on("back", move |Data(number): Data<u32>| {
            numbers.lock().unwrap().push(number);
            async move { number }
        });
        let ended = Arc::new(AtomicUsize::new(0));
        let count = ended.clone();
        client.on_disconnect(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        let count = resumed.clone();
        client.on_manager_event(move |event| {
            count.fetch_add(usize::from(matches!(event, ManagerEvent::Resumed)), Ordering::Relaxed);
        });
        let connected = connect(&client).await;
        // The opening itself has no session yet that could be resumed.
        assert!(connected.is_ok(), "{connected:?}");
        settle(&client, way).await;
        let all: Vec<u32> = (0..EVENTS).collect();
        // All are sent at once.
        let asked: Vec<_> = all.iter().map(|number| client.emit_with_ack::<u32>("there", number)).collect();
        for (number, answer) in all.iter().zip(asked) {
            assert_eq!(answer.await.unwrap(), *number);
        }
        assert_eq!(*at_server.lock().unwrap(), all, "once and in order");
        assert_eq!(*at_client.lock().unwrap(), all, "once and in order");
        assert!(
            resumed.load(Ordering::Relaxed) > 0 && ended.load(Ordering::Relaxed) == 0,
            "{resumed:?}, {ended:?}"
        );
    }
}
