//! Clients that connect over polling and then upgrade to WebSocket, as the reference's client does by default.

use crate::Failure;
use crate::client::{Client, Opcode, write_frame};
use crate::group::{PATH, Pace, is_upgraded, upgrade};
use crate::http::answer;
use crate::server::Running;
use mio::{Events, Poll, Registry};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

pub(crate) struct Upgrading {
    poll: Poll,
    scratch: Vec<u8>,
    members: Vec<Member>,
    /// The time that each client took until it had upgraded, in microseconds.
    pub(crate) took: Vec<u32>,
    /// The number of clients that failed and started again.
    pub(crate) retried: usize,
}

/// A client. Its connection for polling has the token `2 * number`, the one for WebSocket the token after it.
struct Member {
    /// Closed after the upgrade.
    polling: Option<Client>,
    websocket: Option<Client>,
    session: String,
    state: State,
    /// True if a ping has arrived over polling.
    owes_pong: bool,
    began: Instant,
}

/// The answer that comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    ConnectPosted,
    Connected,
    /// The answer to the probe, and the end of the poll that the server answers for it.
    Probe {
        is_open: bool,
        answered: bool,
        polled: bool,
    },
    Upgraded,
}

impl Upgrading {
    /// Connects clients, and waits until all have upgraded.
    pub(crate) fn connect(server: &Running, clients: usize, pace: Pace) -> Result<Upgrading, Failure> {
        let mut all = Upgrading {
            poll: Poll::new()?,
            scratch: vec![0; 64 << 10],
            members: Vec::with_capacity(clients),
            took: Vec::with_capacity(clients),
            retried: 0,
        };
        let mut events = Events::with_capacity(1024);
        // See `Group::connect_with`.
        let may_retry = matches!(pace, Pace::Over(_));
        let start = Instant::now();
        while all.took.len() < clients {
            while all.members.len() < pace.begun(clients, all.took.len(), start.elapsed()) {
                let began = Instant::now();
                let member = Member::open(server, all.poll.registry(), all.members.len(), began)?;
                all.members.push(member);
            }
            match all.poll.poll(&mut events, Some(Duration::from_millis(1))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                let number = event.token().0 / 2;
                let read = match event.token().0 % 2 {
                    0 => all.read_polling(number, server, event.is_readable()),
                    _ => all.read_websocket(number, event.is_readable()),
                };
                match read.and_then(|()| all.members[number].finish()) {
                    Ok(Some(took)) => all.took.push(took.as_micros() as u32),
                    Ok(None) => {}
                    Err(error) if !may_retry || all.members[number].state == State::Upgraded => {
                        return Err(error);
                    }
                    Err(_) => {
                        let began = all.members[number].began;
                        all.members[number] = Member::open(server, all.poll.registry(), number, began)?;
                        all.retried += 1;
                    }
                }
            }
            if start.elapsed() > pace.patience() {
                return Err(format!("only {} of {clients} clients upgraded", all.took.len()).into());
            }
        }
        Ok(all)
    }

    fn read_polling(&mut self, number: usize, server: &Running, is_readable: bool) -> Result<(), Failure> {
        let member = &mut self.members[number];
        let Some(polling) = &mut member.polling else { return Ok(()) };
        if is_readable {
            polling.fill(&mut self.scratch)?;
        }
        while let Some(answer) = answer(polling.input())? {
            polling.take(answer.len);
            let unexpected = || format!("unexpected: {}", answer.body);
            match &mut member.state {
                State::Handshake => {
                    let id = answer.body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
                    member.session = id.ok_or_else(unexpected)?.to_owned();
                    let post = format!(
                        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: localhost\r\n\
                         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 2\r\n\r\n40",
                        member.session
                    );
                    polling.output().extend_from_slice(post.as_bytes());
                    member.state = State::ConnectPosted;
                }
                State::ConnectPosted => {
                    poll(polling, &member.session);
                    member.state = State::Connected;
                }
                state => {
                    let mut polls_again = true;
                    for packet in answer.body.split('\x1e') {
                        match (packet, &mut *state) {
                            ("2", _) => member.owes_pong = true,
                            ("6", State::Probe { polled, .. }) => {
                                *polled = true;
                                polls_again = false;
                            }
                            (packet, State::Connected) if packet.starts_with("40{") => {
                                let token = 2 * number + 1;
                                let registry = self.poll.registry();
                                member.websocket = Some(probe(server, registry, token, &member.session)?);
                                *state = State::Probe { is_open: false, answered: false, polled: false };
                            }
                            _ => return Err(unexpected().into()),
                        }
                    }
                    if polls_again {
                        poll(polling, &member.session);
                    }
                }
            }
        }
        Ok(polling.flush()?)
    }

    fn read_websocket(&mut self, number: usize, is_readable: bool) -> Result<(), Failure> {
        let Member { websocket, state, .. } = &mut self.members[number];
        let Some(websocket) = websocket else { return Ok(()) };
        if is_readable {
            websocket.fill(&mut self.scratch)?;
            if let State::Probe { is_open, .. } = state
                && !*is_open
                && is_upgraded(websocket)?
            {
                *is_open = true;
                write_frame(websocket.output(), Opcode::Text, b"2probe");
            }
            while !matches!(state, State::Probe { is_open: false, .. })
                && let Some((_, range)) = websocket.frame()
            {
                match (websocket.bytes(range), &mut *state) {
                    (b"3probe", State::Probe { answered, .. }) => *answered = true,
                    (b"2", _) => write_frame(websocket.output(), Opcode::Text, b"3"),
                    (payload, _) => {
                        return Err(format!("unexpected: {}", String::from_utf8_lossy(payload)).into());
                    }
                }
            }
        }
        Ok(websocket.flush()?)
    }
}

impl Member {
    /// Opens the connection for polling, which asks for a session.
    fn open(server: &Running, registry: &Registry, number: usize, began: Instant) -> Result<Member, Failure> {
        let mut polling = Client::connect(server.address, registry, 2 * number)?;
        poll(&mut polling, "");
        polling.flush()?;
        Ok(Member {
            polling: Some(polling),
            websocket: None,
            session: String::new(),
            state: State::Handshake,
            owes_pong: false,
            began,
        })
    }

    /// Upgrades once the probe is answered and the poll has ended. Returns the time that it took if it did so now.
    fn finish(&mut self) -> Result<Option<Duration>, Failure> {
        let (State::Probe { answered: true, polled: true, .. }, Some(websocket)) =
            (self.state, &mut self.websocket)
        else {
            return Ok(None);
        };
        write_frame(websocket.output(), Opcode::Text, b"5");
        if self.owes_pong {
            write_frame(websocket.output(), Opcode::Text, b"3");
        }
        websocket.flush()?;
        self.polling = None;
        self.state = State::Upgraded;
        Ok(Some(self.began.elapsed()))
    }
}

/// Appends a poll; without a session, the request that opens one.
fn poll(client: &mut Client, session: &str) {
    let session = if session.is_empty() { String::new() } else { format!("&sid={session}") };
    let request =
        format!("GET /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.output().extend_from_slice(request.as_bytes());
}

/// Opens the connection that a session upgrades to.
fn probe(server: &Running, registry: &Registry, token: usize, session: &str) -> Result<Client, Failure> {
    let mut client = Client::connect(server.address, registry, token)?;
    let request = upgrade(server, token).replace(PATH, &format!("{PATH}&sid={session}"));
    client.output().extend_from_slice(request.as_bytes());
    client.flush()?;
    Ok(client)
}
