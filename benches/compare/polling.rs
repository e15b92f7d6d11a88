//! The load over polling.

use crate::Failure;
use crate::client::Client;
use crate::http::answer;
use crate::server::Running;
use crate::slices::{self, Steady};
use mio::{Events, Poll};
use std::io;
use std::mem;
use std::time::{Duration, Instant};

/// A server, and clients that ask it for acknowledgements over polling: each posts an event, polls for the acknowledgement
/// over the same connection, and starts again.
struct Connected {
    server: Running,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    members: Vec<Member>,
    /// True if the clients begin nothing new.
    stopping: bool,
    received: u64,
    /// In microseconds.
    latencies: Vec<u32>,
}

/// Connects clients.
pub(crate) fn connect(server: Running, clients: usize) -> Result<Box<dyn Steady>, Failure> {
    let mut connected = Connected {
        server,
        poll: Poll::new()?,
        events: Events::with_capacity(1024),
        scratch: vec![0; 64 << 10],
        members: Vec::new(),
        stopping: true,
        received: 0,
        latencies: Vec::new(),
    };
    for number in 0..clients {
        let mut member = Member {
            client: Client::connect(connected.server.address, connected.poll.registry(), number)?,
            session: String::new(),
            body: format!("{number:x<32}"),
            waits_for: Step::Handshake,
            owes_pong: false,
            sent: Instant::now(),
        };
        member.get();
        member.client.flush()?;
        connected.members.push(member);
    }
    // A client that has not connected counts as one that waits for an answer.
    slices::pause(&mut connected)?;
    Ok(Box::new(connected))
}

impl Connected {
    fn turn(&mut self) -> Result<(), Failure> {
        // Without waiting, as over WebSocket.
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = Instant::now();
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            if event.is_readable() {
                member.client.fill(&mut self.scratch)?;
                while let Some(answer) = answer(member.client.input())? {
                    member.client.take(answer.len);
                    if member.handle(&answer.body, self.stopping)? {
                        self.received += 1;
                        self.latencies.push(now.duration_since(member.sent).as_micros() as u32);
                        member.sent = now;
                    }
                }
            }
            member.client.flush()?;
        }
        Ok(())
    }
}

impl Steady for Connected {
    fn resume(&mut self) -> Result<(), Failure> {
        self.stopping = false;
        for member in &mut self.members {
            member.sent = Instant::now();
            member.post_event();
            member.client.flush()?;
        }
        Ok(())
    }

    fn serve_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn missing(&self) -> usize {
        self.members.iter().filter(|member| member.waits_for != Step::Nothing).count()
    }

    fn take_received(&mut self) -> (u64, Vec<u32>) {
        (mem::take(&mut self.received), mem::take(&mut self.latencies))
    }

    fn process(&self) -> u32 {
        self.server.process()
    }
}

struct Member {
    client: Client,
    session: String,
    body: String,
    waits_for: Step,
    /// True if a ping has arrived that the next POST has to answer.
    owes_pong: bool,
    sent: Instant,
}

/// The response that comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Handshake,
    ConnectPosted,
    Connected,
    EventPosted,
    Acknowledged,
    Nothing,
}

impl Member {
    fn get(&mut self) {
        let session = match self.session.as_str() {
            "" => String::new(),
            session => format!("&sid={session}"),
        };
        let request =
            format!("GET /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.client.output().extend_from_slice(request.as_bytes());
    }

    fn post(&mut self, body: &str) {
        let request = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            self.session,
            body.len()
        );
        self.client.output().extend_from_slice(request.as_bytes());
    }

    fn post_event(&mut self) {
        let pong = if mem::take(&mut self.owes_pong) { "3\x1e" } else { "" };
        self.post(&format!("{pong}427[\"ack\",\"{}\"]", self.body));
        self.waits_for = Step::EventPosted;
    }

    /// Handles a response. Returns true if it was an acknowledgement.
    fn handle(&mut self, body: &str, stopping: bool) -> Result<bool, Failure> {
        let polled = matches!(self.waits_for, Step::Connected | Step::Acknowledged);
        let body = match body.strip_prefix('2').filter(|_| polled) {
            None => body,
            Some(rest) => {
                self.owes_pong = true;
                rest.strip_prefix('\x1e').unwrap_or(rest)
            }
        };
        match self.waits_for {
            // The payload was only a ping.
            _ if polled && body.is_empty() => self.get(),
            Step::Handshake => {
                let session = body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
                self.session = session.ok_or("a handshake without an id")?.to_owned();
                self.post("40");
                self.waits_for = Step::ConnectPosted;
            }
            Step::ConnectPosted => {
                self.get();
                self.waits_for = Step::Connected;
            }
            Step::Connected if body.starts_with("40{") => self.waits_for = Step::Nothing,
            Step::EventPosted => {
                self.get();
                self.waits_for = Step::Acknowledged;
            }
            Step::Acknowledged if body == format!("437[\"{}\"]", self.body) => {
                match stopping {
                    true => self.waits_for = Step::Nothing,
                    false => self.post_event(),
                }
                return Ok(true);
            }
            _ => return Err(format!("unexpected: {body}").into()),
        }
        Ok(false)
    }
}
