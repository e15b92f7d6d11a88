//! A raw polling client.

use super::{Client, Pipe, Sim};

/// A polling client: one stream for polls, one for posts.
pub struct Polling {
    pub sim: Sim,
    /// The secret id of the session.
    pub session: String,
    /// The end of the query of each request, if the session was resumed.
    attempt: String,
    polls: Http,
    posts: Http,
}

/// An HTTP/1.1 client.
struct Http {
    pipe: Pipe,
    input: Vec<u8>,
}

impl Polling {
    /// Opens a session.
    pub fn open(sim: &Sim) -> Polling {
        Polling::open_with(sim, "").0
    }

    /// Opens or resumes a session by a query with this end. Returns the packets of the first response, too.
    pub fn open_with(sim: &Sim, query: &str) -> (Polling, Vec<String>) {
        let mut client = Polling {
            sim: sim.clone(),
            session: String::new(),
            attempt: query.find("&attempt=").map_or("", |at| &query[at..]).to_owned(),
            polls: Http::dial(sim),
            posts: Http::dial(sim),
        };
        let target = format!("/socket.io/?EIO=4&transport=polling{query}");
        client.polls.send(&format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n"));
        let (status, body) = client.answer().expect("a handshake is answered at once");
        assert_eq!(status, 200);
        client.session = body.split('"').nth(3).expect("an open packet has an id").to_owned();
        (client, body.split('\x1e').map(str::to_owned).collect())
    }

    /// Ends the query of each request that follows with this.
    pub fn set_query(&mut self, end: &str) {
        end.clone_into(&mut self.attempt);
    }

    /// Goes on with other streams.
    pub fn redial(&mut self) {
        (self.polls, self.posts) = (Http::dial(&self.sim), Http::dial(&self.sim));
    }

    /// Asks for packets, without waiting for them.
    pub fn begin_poll(&mut self) {
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}{}", self.session, self.attempt);
        self.polls.send(&format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n"));
        self.sim.run();
    }

    /// The answer to a poll, if it has come: status and body.
    pub fn answer(&mut self) -> Option<(u16, String)> {
        self.sim.run();
        self.polls.receive(&self.sim)
    }

    /// Asks for packets; they have to be there.
    #[track_caller]
    pub fn poll(&mut self) -> Vec<String> {
        self.begin_poll();
        self.packets()
    }

    /// The packets that the poll under way is answered with.
    #[track_caller]
    pub fn packets(&mut self) -> Vec<String> {
        let (status, body) = self.answer().expect("the poll is answered");
        assert_eq!(status, 200, "{body}");
        body.split('\x1e').map(str::to_owned).collect()
    }

    /// Sends packets, without waiting for the answer.
    pub fn begin_post(&mut self, body: &str) {
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}{}", self.session, self.attempt);
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n");
        self.posts.send(&(head + body));
        self.sim.run();
    }

    /// The answer to a post, if it has come: status and body.
    pub fn posted(&mut self) -> Option<(u16, String)> {
        self.sim.run();
        self.posts.receive(&self.sim)
    }

    /// Sends packets; gives back the status.
    #[track_caller]
    pub fn post(&mut self, body: &str) -> u16 {
        self.begin_post(body);
        self.posted().expect("the post is answered").0
    }

    /// Connects to the main namespace; gives back the socket's id.
    pub fn join(&mut self) -> String {
        assert_eq!(self.post("40"), 200);
        let reply = self.poll().remove(0);
        reply.strip_prefix("40{\"sid\":\"").and_then(|s| s.strip_suffix("\"}")).expect("connected").to_owned()
    }

    /// A WebSocket connection that may take the session over.
    pub fn begin_upgrade(&self) -> Client {
        Client::dial(&self.sim, &format!("EIO=4&transport=websocket&sid={}{}", self.session, self.attempt))
    }

    /// Cuts the stream of the polls.
    pub fn cut_polls(&self) {
        self.polls.pipe.finish();
        self.sim.run();
    }

    /// Sends the head of a request with data, and only a part of the body.
    pub fn begin_part_of_post(&mut self, body: &str, length: usize) {
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}{}", self.session, self.attempt);
        let head = format!("POST {target} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n");
        self.posts.send(&(head + body));
        self.sim.run();
    }

    /// Sends the rest of the body.
    pub fn send_rest_of_post(&mut self, body: &str) {
        self.posts.send(body);
        self.sim.run();
    }

    /// Cuts the streams.
    pub fn cut(&self) {
        self.polls.pipe.finish();
        self.posts.pipe.finish();
        self.sim.run();
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.polls.pipe.finish();
        self.posts.pipe.finish();
    }
}

impl Http {
    fn dial(sim: &Sim) -> Http {
        Http { pipe: sim.dial(), input: Vec::new() }
    }

    fn send(&self, request: &str) {
        self.pipe.send(request.as_bytes());
    }

    fn receive(&mut self, sim: &Sim) -> Option<(u16, String)> {
        loop {
            let taken = self.pipe.receive();
            if taken.is_empty() {
                break;
            }
            self.input.extend(taken);
            sim.run();
        }
        let end = self.input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.input.get(..end)?.to_vec()).expect("heads are ASCII");
        let length = head.to_ascii_lowercase();
        let length =
            length.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
        let length: usize = length;
        if self.input.len() < end + length {
            return None;
        }
        let body = self.input.drain(..end + length).skip(end).collect();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, String::from_utf8(body).expect("bodies are UTF-8")))
    }
}
