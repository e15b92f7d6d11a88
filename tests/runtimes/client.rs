//! Clients that block: WebSocket by the core's codec, polling by plain requests.

use sockeye_core::websocket::{Decoder, Message, Opcode, Role, encode_key, is_valid_accept, write_frame};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A stream, and what arrived on it and is not used.
struct Connection {
    stream: TcpStream,
    arrived: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, arrived: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits for more bytes; whether there were any before the end.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(n) => {
                self.arrived.extend_from_slice(&chunk[..n]);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.arrived.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.arrived.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.read(), "the stream ends in a head");
        }
    }
}

/// A header's value.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let values = head.lines().filter_map(|line| line.split_once(": "));
    values.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The value of a string in a handshake or a CONNECT reply.
fn quoted<'a>(json: &'a str, key: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{key}\":\"")).expect(json);
    rest.split_once('"').expect(json).0
}

/// What a server sent over WebSocket.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Close(Option<u16>),
    /// The stream has ended.
    End,
}

/// A client over WebSocket.
pub(crate) struct WebSocket {
    connection: Connection,
    decoder: Decoder,
    /// What is to be sent in one piece.
    burst: Vec<u8>,
    id: String,
}

impl WebSocket {
    /// A session whose handshake was read, in the main namespace.
    pub(crate) fn connect(address: SocketAddr) -> WebSocket {
        let mut client = WebSocket::handshake(address, "");
        let Frame::Text(open) = client.next() else { panic!("no handshake") };
        assert!(open.starts_with("0{\"sid\":\"") && open.contains("\"upgrades\":[]"), "{open}");
        client.send("40");
        let reply = loop {
            match client.next() {
                Frame::Text(ping) if ping == "2" => client.send("3"),
                Frame::Text(reply) => break reply,
                other => panic!("{other:?} in place of a reply to CONNECT"),
            }
        };
        assert!(reply.starts_with("40{\"sid\":\""), "{reply}");
        client.id = quoted(&reply, "sid").to_owned();
        assert_ne!(client.id, quoted(&open, "sid"));
        client
    }

    /// The id of the socket in the main namespace.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A stream that may carry a session that there is.
    pub(crate) fn upgrade(address: SocketAddr, sid: &str) -> WebSocket {
        WebSocket::handshake(address, &format!("&sid={sid}"))
    }

    fn handshake(address: SocketAddr, query: &str) -> WebSocket {
        let mut connection = Connection::open(address);
        let key = encode_key(*b"a client's nonce");
        let key_text = std::str::from_utf8(&key).unwrap();
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: {address}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key_text}\r\n\r\n"
        );
        connection.write(request.as_bytes());
        let head = connection.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(is_valid_accept(key, header(&head, "sec-websocket-accept").unwrap()));
        WebSocket {
            connection,
            decoder: Decoder::new(Role::Client, 64 << 20),
            burst: Vec::new(),
            id: String::new(),
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.queue(text);
        self.flush();
    }

    pub(crate) fn send_binary(&mut self, data: &[u8]) {
        write_frame(&mut self.burst, Opcode::Binary, data, Some([1, 2, 3, 4]));
        self.flush();
    }

    /// Adds to what [`flush`](WebSocket::flush) sends in one piece.
    pub(crate) fn queue(&mut self, text: &str) {
        write_frame(&mut self.burst, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
    }

    pub(crate) fn flush(&mut self) {
        self.connection.write(&std::mem::take(&mut self.burst));
    }

    /// Sends what is queued in the background, while nothing is read.
    pub(crate) fn flush_beside(&mut self) -> std::thread::JoinHandle<()> {
        let mut stream = self.connection.stream.try_clone().unwrap();
        let burst = std::mem::take(&mut self.burst);
        std::thread::spawn(move || stream.write_all(&burst).unwrap())
    }

    pub(crate) fn shut_down_writing(&mut self) {
        self.connection.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the stream, whatever is still to be read.
    pub(crate) fn abandon(self) {
        let _ = self.connection.stream.shutdown(Shutdown::Both);
    }

    /// Waits for the next frame.
    pub(crate) fn next(&mut self) -> Frame {
        loop {
            let arrived = &mut self.connection.arrived;
            let mut input = arrived.as_mut_slice();
            let frame = match self.decoder.decode(&mut input).unwrap() {
                Some(Message::Text(text)) => Some(Frame::Text(text.into_owned())),
                Some(Message::Binary(data)) => Some(Frame::Binary(data.into_owned())),
                Some(Message::Close(frame)) => Some(Frame::Close(frame.map(|frame| frame.code))),
                Some(other) => panic!("{other:?} from a server"),
                None => None,
            };
            let rest = input.len();
            arrived.drain(..arrived.len() - rest);
            match frame {
                Some(frame) => return frame,
                None if self.connection.read() => {}
                None => return Frame::End,
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let next = self.next();
        let came = if let Frame::Text(came) = &next { came.clone() } else { format!("{next:?}") };
        assert!(came == text, "{} in place of {}", shorten(&came), shorten(text));
    }

    /// The closing handshake, and the end of the stream.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, code: Option<u16>) {
        assert_eq!(self.next(), Frame::Close(code));
        assert_eq!(self.next(), Frame::End);
    }
}

fn shorten(text: &str) -> &str {
    text.get(..200).unwrap_or(text)
}

/// An HTTP client with one connection.
pub(crate) struct Http {
    connection: Connection,
    address: SocketAddr,
}

impl Http {
    pub(crate) fn open(address: SocketAddr) -> Http {
        Http { connection: Connection::open(address), address }
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.connection.write(bytes);
    }

    pub(crate) fn get(&mut self, query: &str) {
        let address = self.address;
        let request =
            format!("GET /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        self.connection.write(request.as_bytes());
    }

    fn post(&mut self, query: &str, body: &str) {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "POST /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.connection.write(request.as_bytes());
    }

    /// The body of an answer that is a success.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> String {
        let head = self.connection.read_head();
        let length = header(&head, "content-length").unwrap().parse().unwrap();
        while self.connection.arrived.len() < length {
            assert!(self.connection.read(), "the stream ends in a body");
        }
        let body = String::from_utf8(self.connection.arrived.drain(..length).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{}", shorten(&body));
        body
    }

    pub(crate) fn shut_down_writing(&mut self) {
        self.connection.stream.shutdown(Shutdown::Write).unwrap();
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert!(!self.connection.read(), "{:?}", self.connection.arrived);
    }
}

/// A client that polls: one connection for the polls, one for what it sends.
pub(crate) struct Polling {
    polls: Http,
    posts: Http,
    pub(crate) sid: String,
}

impl Polling {
    /// A session in the main namespace.
    pub(crate) fn connect(address: SocketAddr) -> Polling {
        let mut polls = Http::open(address);
        polls.get("");
        let open = polls.answer();
        assert!(open.starts_with("0{\"sid\":\"") && open.contains("\"upgrades\":[\"websocket\"]"), "{open}");
        let sid = quoted(&open, "sid").to_owned();
        let mut client = Polling { polls, posts: Http::open(address), sid };
        client.send("40");
        let reply = client.poll();
        assert!(reply.starts_with("40{\"sid\":\""), "{reply}");
        client
    }

    /// Posts a payload.
    #[track_caller]
    pub(crate) fn send(&mut self, payload: &str) {
        self.posts.post(&format!("&sid={}", self.sid), payload);
        assert_eq!(self.posts.answer(), "ok");
    }

    pub(crate) fn begin_poll(&mut self) {
        self.polls.get(&format!("&sid={}", self.sid));
    }

    #[track_caller]
    pub(crate) fn end_poll(&mut self) -> String {
        self.polls.answer()
    }

    #[track_caller]
    pub(crate) fn poll(&mut self) -> String {
        self.begin_poll();
        self.end_poll()
    }
}
