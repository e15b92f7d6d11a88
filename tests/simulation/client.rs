//! A raw WebSocket client.

use super::{Pipe, Receiver, Sim};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_close, write_frame};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// A WebSocket client that says and hears packets as text; it answers pings by itself.
pub struct Client {
    pub sim: Sim,
    /// The secret id of the session.
    pub session: String,
    /// The id of the socket in the main namespace, if it is there.
    pub id: String,
    wire: Rc<RefCell<Wire>>,
}

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary(Vec<u8>),
    /// The answer to a ping of WebSocket.
    Pong,
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

/// The client's end of the stream.
pub struct Wire {
    pipe: Pipe,
    input: Vec<u8>,
    /// `None` until the response to the upgrade was read.
    decoder: Option<Decoder>,
    status: String,
    inbox: VecDeque<Incoming>,
    reads: bool,
    answers_pings: bool,
    /// The number of bytes of messages that have arrived.
    bytes: usize,
    /// The server's answer to the handshake.
    head: String,
}

impl Client {
    /// Opens a session.
    pub fn open(sim: &Sim, query: &str) -> Client {
        Client::open_with(sim, query, "")
    }

    /// Opens a session by a handshake with further headers, each with its line's end.
    pub fn open_with(sim: &Sim, query: &str, headers: &str) -> Client {
        let mut client = Client::dial_with(sim, query, headers);
        assert!(client.status().contains("101"), "{}", client.status());
        if !query.contains("EIO=4") {
            // Version 3: the first packet comes later than the response.
            client.expect_nothing();
            sim.advance(Duration::from_millis(10));
        }
        let open = client.next();
        client.session = open.split('"').nth(3).expect("an open packet has an id").to_owned();
        client
    }

    /// Only asks for a WebSocket connection.
    pub fn dial(sim: &Sim, query: &str) -> Client {
        Client::dial_with(sim, query, "")
    }

    pub fn dial_with(sim: &Sim, query: &str, headers: &str) -> Client {
        let pipe = sim.dial();
        let request = format!(
            "GET /socket.io/?{query} HTTP/1.1\r\nHost: here\r\nX-Test: yes\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        pipe.send(request.as_bytes());
        let wire = Wire {
            pipe,
            input: Vec::new(),
            decoder: None,
            status: String::new(),
            inbox: VecDeque::new(),
            reads: true,
            answers_pings: true,
            bytes: 0,
            head: String::new(),
        };
        let wire = Rc::new(RefCell::new(wire));
        sim.adopt(&wire);
        sim.run();
        Client { sim: sim.clone(), session: String::new(), id: String::new(), wire }
    }

    /// The server's response, without what follows its head.
    pub fn head(&self) -> String {
        self.wire.borrow().head.clone()
    }

    /// Returns the number of bytes of messages that have arrived.
    pub fn bytes(&self) -> usize {
        self.sim.run();
        self.wire.borrow().bytes
    }

    /// Reads compressed messages, too.
    #[cfg(feature = "deflate")]
    pub fn set_deflate(&self, deflate: sockeye_core::websocket::Deflate) {
        self.wire.borrow_mut().decoder.as_mut().expect("the handshake was answered").set_deflate(deflate);
    }

    /// The first line of the server's response.
    pub fn status(&self) -> String {
        self.wire.borrow().status.clone()
    }

    /// Connects to a namespace; gives back the socket's id.
    pub fn join(&mut self, namespace: &str) -> String {
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{prefix}"));
        let reply = self.next();
        let sid = reply.strip_prefix(&format!("40{prefix}{{\"sid\":\"")).and_then(|s| s.strip_suffix("\"}"));
        sid.unwrap_or_else(|| panic!("not connected: {reply}")).to_owned()
    }

    /// Sends a packet and lets the server work.
    pub fn send(&self, packet: &str) {
        self.send_all([packet]);
    }

    /// Sends packets in one segment.
    pub fn send_all<'a>(&self, packets: impl IntoIterator<Item = &'a str>) {
        let mut bytes = Vec::new();
        for packet in packets {
            write_frame(&mut bytes, Opcode::Text, packet.as_bytes(), Some([1, 2, 3, 4]));
        }
        self.send_bytes(&bytes);
    }

    pub fn send_binary(&self, data: &[u8]) {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Opcode::Binary, data, Some([5, 6, 7, 8]));
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&self, bytes: &[u8]) {
        self.put(bytes);
        self.sim.run();
    }

    /// Sends without letting the server work.
    pub fn put(&self, bytes: &[u8]) {
        self.wire.borrow().pipe.send(bytes);
    }

    /// Ends the session as a browser does that leaves the page.
    pub fn close(&self) {
        let mut bytes = Vec::new();
        write_close(&mut bytes, Some(1001), "", Some([0; 4]));
        self.send_bytes(&bytes);
    }

    /// Cuts the connection.
    pub fn cut(&self) {
        self.wire.borrow().pipe.finish();
        self.sim.run();
    }

    /// Breaks the connection, which the server notices if it uses it.
    pub fn break_off(&self) {
        self.wire.borrow().pipe.break_off();
        self.sim.run();
    }

    /// Returns the number of bytes that the server has not read.
    pub fn untaken(&self) -> usize {
        self.sim.run();
        self.wire.borrow().pipe.unread()
    }

    /// Stops reading: what the server sends piles up.
    pub fn stop_reading(&self) {
        self.wire.borrow_mut().reads = false;
    }

    /// Reads again.
    pub fn resume_reading(&self) {
        self.wire.borrow_mut().reads = true;
        self.sim.run();
    }

    /// Reads once what the network holds, and stops again.
    pub fn take_some(&self) {
        self.wire.borrow_mut().take();
        self.sim.run();
    }

    /// Leaves pings unanswered; they are seen then.
    pub fn ignore_pings(&self) {
        self.wire.borrow_mut().answers_pings = false;
    }

    /// The next thing that arrived, if there is one.
    pub fn poll(&self) -> Option<Incoming> {
        self.sim.run();
        self.wire.borrow_mut().inbox.pop_front()
    }

    /// The next text message.
    #[track_caller]
    pub fn next(&self) -> String {
        match self.poll() {
            Some(Incoming::Text(text)) => text,
            other => panic!("not a text message: {other:?}"),
        }
    }

    /// The next binary message.
    #[track_caller]
    pub fn next_binary(&self) -> Vec<u8> {
        match self.poll() {
            Some(Incoming::Binary(data)) => data,
            other => panic!("not a binary message: {other:?}"),
        }
    }

    /// All text messages that arrived.
    pub fn texts(&self) -> Vec<String> {
        std::iter::from_fn(|| self.poll())
            .filter_map(|incoming| match incoming {
                Incoming::Text(text) => Some(text),
                _ => None,
            })
            .collect()
    }

    /// Nothing arrived.
    #[track_caller]
    pub fn expect_nothing(&self) {
        assert_eq!(self.poll(), None);
    }

    /// The server closed the connection, and that is the next thing to see.
    #[track_caller]
    pub fn expect_close(&self) {
        match self.poll() {
            Some(Incoming::Close(_)) => {}
            other => panic!("not a close frame: {other:?}"),
        }
        assert!(self.is_closed());
    }

    /// Returns whether the server has shut down its side of the stream.
    pub fn is_closed(&self) -> bool {
        self.sim.run();
        let wire = self.wire.borrow();
        let pipe = wire.pipe.lock();
        pipe.server_done() || pipe.server_gone
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.wire.borrow().pipe.finish();
    }
}

impl Receiver for Wire {
    fn receive(&mut self) -> bool {
        self.reads && self.take()
    }
}

impl Wire {
    /// Takes in and answers what the network holds. Whether there was something.
    fn take(&mut self) -> bool {
        let taken = self.pipe.receive();
        let mut busy = !taken.is_empty();
        self.input.extend(taken);
        let Some(decoder) = &mut self.decoder else {
            let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") else {
                return busy;
            };
            let head: Vec<u8> = self.input.drain(..end + 4).collect();
            let head = String::from_utf8(head).expect("heads are ASCII");
            self.status = head.lines().next().unwrap_or_default().to_owned();
            self.head = head;
            self.decoder = Some(Decoder::new(Role::Client, usize::MAX));
            return true;
        };
        let mut rest = self.input.as_mut_slice();
        while self.status.contains("101")
            && let Some(message) = decoder.decode(&mut rest).expect("the server's frames are right")
        {
            match message {
                Message::Text(text) if text == "2" && self.answers_pings => {
                    let mut pong = Vec::new();
                    write_frame(&mut pong, Opcode::Text, b"3", Some([9; 4]));
                    self.pipe.send(&pong);
                    busy = true;
                }
                Message::Text(text) => self.inbox.push_back(Incoming::Text(text.into_owned())),
                Message::Binary(data) => self.inbox.push_back(Incoming::Binary(data.into_owned())),
                Message::Close(frame) => {
                    self.inbox.push_back(Incoming::Close(frame.map(|frame| frame.code)));
                    self.pipe.finish();
                    busy = true;
                }
                Message::Pong(_) => self.inbox.push_back(Incoming::Pong),
                Message::Ping(_) => {}
            }
        }
        let left = rest.len();
        let used = self.input.len() - left;
        self.bytes += used;
        self.input.drain(..used);
        busy
    }
}
