//! The load over polling.

use crate::Failure;
use crate::client::Client;
use crate::http::answer;
use crate::machine::Cpu;
use crate::report::Sample;
use crate::server::Running;
use mio::{Events, Poll};
use std::io;
use std::time::{Duration, Instant};

/// Measures acknowledgements over polling: each client posts an event, polls for the acknowledgement over the same
/// connection, and starts again.
pub(crate) fn run(server: &Running, clients: usize, time: Duration) -> Result<Sample, Failure> {
    let mut poll = Poll::new()?;
    let mut members = Vec::new();
    for number in 0..clients {
        let client = Client::connect(server.address, poll.registry(), number)?;
        let mut member = Member {
            client,
            session: String::new(),
            body: format!("{number:x<32}"),
            waits_for: Step::Handshake,
            owes_pong: false,
            sent: Instant::now(),
        };
        member.get();
        member.client.flush()?;
        members.push(member);
    }
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 << 10];
    let mut latencies = Vec::new();
    let (mut received, mut stopping) = (0u64, false);
    let mut turn = |until: Instant, stopping: bool, latencies: &mut Vec<u32>| -> Result<bool, Failure> {
        loop {
            let busy = members.iter().any(|member| member.waits_for != Step::Nothing);
            if Instant::now() >= until || !busy {
                return Ok(busy);
            }
            match poll.poll(&mut events, Some(Duration::from_millis(20))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                let member = &mut members[event.token().0];
                if event.is_readable() {
                    member.client.fill(&mut scratch)?;
                    while let Some(answer) = answer(member.client.input())? {
                        member.client.take(answer.len);
                        if member.handle(&answer.body, stopping)? {
                            received += 1;
                            latencies.push(now.duration_since(member.sent).as_micros() as u32);
                            member.sent = now;
                        }
                    }
                }
                member.client.flush()?;
            }
        }
    };
    // The warm-up, which includes connecting.
    turn(Instant::now() + Duration::from_millis(700), stopping, &mut latencies)?;
    latencies.clear();
    let (cpu, start) = (Cpu::of(server.process()), Instant::now());
    turn(start + time, stopping, &mut latencies)?;
    let count = latencies.len() as u64;
    let mut sample = Sample::default();
    sample.take_cpu(cpu, server, count);
    sample.take_latencies("", start.elapsed(), &mut latencies);
    stopping = true;
    if turn(Instant::now() + Duration::from_secs(10), stopping, &mut Vec::new())? {
        return Err("an acknowledgement did not come back".into());
    }
    if count == 0 || received < count {
        return Err("nothing came back".into());
    }
    Ok(sample)
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
        let pong = if std::mem::take(&mut self.owes_pong) { "3\x1e" } else { "" };
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
            Step::Connected if body.starts_with("40{") => self.post_event(),
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
