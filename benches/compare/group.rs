//! Clients over WebSocket that are waited for together.

use crate::Failure;
use crate::client::{Client, Opcode, write_frame};
use crate::server::Running;
use mio::{Events, Poll};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The path of the requests for WebSocket.
pub(crate) const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// The number of clients that connect at the same time, unless they are told to come all at once.
const CONNECTING: usize = 200;
const EARLY: &str = "a message before there was one";

pub(crate) struct Group {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    pub(crate) members: Vec<Member>,
    /// The time that each client took to connect, in microseconds.
    pub(crate) took: Vec<u32>,
    /// The number of connections that failed and were opened again.
    pub(crate) retried: usize,
    /// The clients from this index on are not read.
    pub(crate) listening: usize,
    /// The number of pings that were answered.
    pub(crate) pings: u64,
}

/// A client and the state of its connection.
pub(crate) struct Member {
    client: Client,
    state: State,
    began: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Upgrading,
    Opening,
    Connecting,
    Ready,
}

/// The pace at which clients connect.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// A limited number of them at the same time.
    Steady,
    /// Evenly over this time, whether earlier ones are connected or not.
    Over(Duration),
}

impl Pace {
    /// Returns the time in which all clients have to be connected.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Pace::Steady => Duration::from_secs(120),
            Pace::Over(time) => time + Duration::from_secs(20),
        }
    }

    /// Returns how many of `clients` may have begun to connect, if `ready` are connected.
    pub(crate) fn begun(self, clients: usize, ready: usize, elapsed: Duration) -> usize {
        let begun = match self {
            Pace::Steady => ready + CONNECTING,
            Pace::Over(time) if elapsed >= time => clients,
            Pace::Over(time) => 1 + (clients as f64 * elapsed.as_secs_f64() / time.as_secs_f64()) as usize,
        };
        begun.min(clients)
    }
}

impl Group {
    /// Connects clients like the tool itself, with only the headers that are required.
    pub(crate) fn connect(server: &Running, clients: usize) -> Result<Group, Failure> {
        Group::connect_with(server, clients, Pace::Steady, upgrade)
    }

    /// Connects clients that send the `request` made from the server's address and their number.
    pub(crate) fn connect_with(
        server: &Running,
        clients: usize,
        pace: Pace,
        request: impl Fn(&Running, usize) -> String,
    ) -> Result<Group, Failure> {
        let mut group = Group {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; 256 << 10],
            members: Vec::with_capacity(clients),
            took: Vec::with_capacity(clients),
            retried: 0,
            listening: clients,
            pings: 0,
        };
        // A server that is overrun by all clients at once may drop some, which then come again, as users' clients do.
        let may_retry = matches!(pace, Pace::Over(_));
        let start = Instant::now();
        while group.took.len() < clients {
            while group.members.len() < pace.begun(clients, group.took.len(), start.elapsed()) {
                let (number, began) = (group.members.len(), Instant::now());
                let client = group.open(server, number, &request)?;
                group.members.push(Member { client, state: State::Upgrading, began });
            }
            for (number, error) in group.serve(Duration::from_millis(1), |_, _, _, _| Err(EARLY.into()))? {
                if !may_retry || group.members[number].state == State::Ready {
                    return Err(error);
                }
                group.members[number].client = group.open(server, number, &request)?;
                group.members[number].state = State::Upgrading;
                group.retried += 1;
            }
            if start.elapsed() > pace.patience() {
                return Err(format!("only {} of {clients} clients connected", group.took.len()).into());
            }
        }
        Ok(group)
    }

    /// Opens a connection, which sends its request for WebSocket.
    fn open(
        &self,
        server: &Running,
        number: usize,
        request: impl Fn(&Running, usize) -> String,
    ) -> Result<Client, Failure> {
        let mut client = Client::connect(server.address, self.poll.registry(), number)?;
        client.output().extend_from_slice(request(server, number).as_bytes());
        client.flush()?;
        Ok(client)
    }

    /// Sets the maximum number of clients that one [`turn`](Group::turn) reads.
    pub(crate) fn limit_turn(&mut self, clients: usize) {
        self.events = Events::with_capacity(clients);
    }

    /// Lets a client write frames, and sends them.
    pub(crate) fn send(&mut self, number: usize, frames: &[u8]) -> io::Result<()> {
        let client = &mut self.members[number].client;
        client.output().extend_from_slice(frames);
        client.flush()
    }

    /// Calls `handle` with the client, its number and each message that has arrived for it, after a wait of at most
    /// `wait`. Answers pings.
    pub(crate) fn turn(
        &mut self,
        wait: Duration,
        handle: impl FnMut(usize, &mut Client, Opcode, Range<usize>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.serve(wait, handle)?.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Does the same, and returns the clients that failed.
    fn serve(
        &mut self,
        wait: Duration,
        mut handle: impl FnMut(usize, &mut Client, Opcode, Range<usize>) -> Result<(), Failure>,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut failed = Vec::new();
        for event in self.events.iter().filter(|event| event.token().0 < self.listening) {
            let number = event.token().0;
            let member = &mut self.members[number];
            let was_ready = member.state == State::Ready;
            let served = member.serve(
                event.is_readable(),
                &mut self.scratch,
                &mut self.pings,
                |client, opcode, range| handle(number, client, opcode, range),
            );
            if !was_ready && member.state == State::Ready {
                self.took.push(member.began.elapsed().as_micros() as u32);
            }
            failed.extend(served.err().map(|error| (number, error)));
        }
        Ok(failed)
    }

    /// Answers pings for `time`, in which no message may arrive.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while let left = end.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.turn(left, |_, _, _, _| Err("a message to a silent client".into()))?;
        }
        Ok(())
    }
}

impl Member {
    /// Reads and handles the messages that have arrived, and writes the answers.
    fn serve(
        &mut self,
        is_readable: bool,
        scratch: &mut [u8],
        pings: &mut u64,
        mut handle: impl FnMut(&mut Client, Opcode, Range<usize>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Member { client, state, .. } = self;
        if is_readable {
            client.fill(scratch)?;
            if *state == State::Upgrading && is_upgraded(client)? {
                *state = State::Opening;
            }
        }
        while *state != State::Upgrading
            && let Some((opcode, range)) = client.frame()
        {
            match (opcode, *state, client.bytes(range.clone())) {
                (Opcode::Text, _, b"2") => {
                    write_frame(client.output(), Opcode::Text, b"3");
                    *pings += 1;
                }
                (Opcode::Text, State::Opening, [b'0', ..]) => {
                    write_frame(client.output(), Opcode::Text, b"40");
                    *state = State::Connecting;
                }
                (Opcode::Text, State::Connecting, [b'4', b'0', ..]) => *state = State::Ready,
                (Opcode::Text | Opcode::Binary, State::Ready, _) => handle(client, opcode, range)?,
                (_, _, payload) => {
                    return Err(format!("unexpected: {}", String::from_utf8_lossy(payload)).into());
                }
            }
        }
        Ok(client.flush()?)
    }
}

/// Takes the response to the request for WebSocket, if it has arrived.
pub(crate) fn is_upgraded(client: &mut Client) -> Result<bool, Failure> {
    let input = client.input();
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    if !input.starts_with(b"HTTP/1.1 101") {
        return Err(format!("refused: {}", String::from_utf8_lossy(input)).into());
    }
    client.take(end + 4);
    Ok(true)
}

/// Returns the request for WebSocket with only the headers that are required.
pub(crate) fn upgrade(server: &Running, _number: usize) -> String {
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
        server.address
    )
}

/// Returns the request of a browser whose page belongs to a user, behind a reverse proxy: 18 headers, 1.2 KB.
pub(crate) fn upgrade_of_browser(server: &Running, number: usize) -> String {
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Pragma: no-cache\r\nCache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example.com\r\n\
         Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,en-US;q=0.6\r\n\
         Cookie: session={number:0>8x}{seed:x<56}; csrftoken={number:0>8x}{seed:y<56}; \
         preferences={seed:z<120}; consent=analytics:0,ads:0,functional:1; \
         _visits=GS2.1.s{number:0>10}$o12$g1$t1764000000$j60$l0$h0\r\n\
         Sec-WebSocket-Key: {number:A>20}wQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nDNT: 1\r\n\
         X-Forwarded-For: 203.0.{third}.{fourth}\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: chat.example.com\r\n\
         X-Request-Id: {number:0>8x}-6f0c-4ab1-9d0e-{number:0>12x}\r\n\r\n",
        address = server.address,
        seed = number % 10,
        third = number / 250,
        fourth = number % 250,
    )
}
