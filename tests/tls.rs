//! `https` and `wss` on the runtimes that support TLS, with a blocking client.
#![cfg(all(feature = "tls", any(feature = "tokio", feature = "smol")))]
#![allow(clippy::unwrap_used)]

use sockeye::tls::rustls::pki_types::pem::PemObject;
use sockeye::tls::rustls::pki_types::{CertificateDer, ServerName};
use sockeye::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use sockeye::{Args, DisconnectReason, Server, Socket, Tls};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, encode_key, write_frame};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Timeout of each step.
const PATIENCE: Duration = Duration::from_secs(10);

type Serve = fn(Server, TcpListener, Tls) -> io::Result<()>;

#[cfg(feature = "tokio")]
fn on_tokio(server: Server, listener: TcpListener, tls: Tls) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        sockeye::runtime::tokio::serve_tls(server, tokio::net::TcpListener::from_std(listener)?, tls).await
    })
}

#[cfg(feature = "smol")]
fn on_smol(server: Server, listener: TcpListener, tls: Tls) -> io::Result<()> {
    let executor = Arc::new(smol::Executor::new());
    let runtime = sockeye::runtime::smol::Smol::on(&executor);
    smol::block_on(executor.run(runtime.serve_tls(server, listener, tls)))
}

macro_rules! tests {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            #[cfg(feature = "tokio")]
            #[test]
            fn on_tokio() {
                super::$scenario(super::on_tokio);
            }

            #[cfg(feature = "smol")]
            #[test]
            fn on_smol() {
                super::$scenario(super::on_smol);
            }
        }
    )*};
}

tests! {
    polling_and_websocket_share_a_port_and_are_secure
    a_thousand_echoes_come_back_in_order
    large_messages_go_both_ways
    a_client_that_reads_late_gets_everything
    encrypted_bytes_that_the_socket_did_not_accept_are_sent_later
    a_plain_request_is_refused_and_affects_no_other_client
    a_client_that_does_not_finish_the_handshake_is_dropped_at_the_deadline
    silent_clients_do_not_delay_the_others
    closing_sends_a_close_frame_and_a_close_notify
    the_end_of_a_stream_without_close_notify_is_a_transport_close
}

/// Returns a new certificate of a server, and the settings of a client that trusts it.
fn certified() -> (Tls, Arc<ClientConfig>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (tls, Arc::new(config))
}

/// A running server, which is closed when this is dropped.
struct Running {
    server: Server,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    ended: mpsc::Receiver<io::Result<()>>,
}

impl Running {
    fn start(server: Server, serve: Serve) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Running::start_with(server, serve, listener, |tls| tls)
    }

    fn start_with(server: Server, serve: Serve, listener: TcpListener, adjust: fn(Tls) -> Tls) -> Running {
        let (tls, config) = certified();
        let tls = adjust(tls);
        let address = listener.local_addr().unwrap();
        let (end, ended) = mpsc::channel();
        let served = server.clone();
        std::thread::spawn(move || end.send(serve(served, listener, tls)));
        Running { server, address, config, ended }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn client(&self) -> Client {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(self.config.clone(), name).unwrap();
        let stream = StreamOwned::new(connection, self.tcp());
        Client { stream, arrived: Vec::new(), decoder: Decoder::new(Role::Client, 64 << 20) }
    }

    /// Connects a client over WebSocket to the main namespace.
    fn websocket(&self) -> Client {
        let mut client = self.client();
        let key = encode_key(*b"a client's nonce");
        let key = std::str::from_utf8(&key).unwrap();
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        client.stream.write_all(request.as_bytes()).unwrap();
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(client.next().starts_with("0{\"sid\":\""));
        client.send("40");
        assert!(client.next().starts_with("40{\"sid\":\""));
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.begin_close();
    }
}

struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    arrived: Vec<u8>,
    decoder: Decoder,
}

impl Client {
    /// Waits for more bytes. Returns `false` at a proper end.
    #[track_caller]
    fn read(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk).unwrap();
        self.arrived.extend_from_slice(&chunk[..n]);
        n > 0
    }

    fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.arrived.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.arrived.drain(..end + 4).collect()).unwrap();
            }
            assert!(self.read(), "the stream ends inside a head");
        }
    }

    fn send(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.stream.write_all(&frame).unwrap();
    }

    /// Returns the next message, or `closed` and the code of a close frame, or `the end`.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let mut input = self.arrived.as_mut_slice();
            let message = match self.decoder.decode(&mut input).unwrap() {
                Some(Message::Text(text)) => Some(text.into_owned()),
                Some(Message::Close(frame)) => Some(format!("closed {}", frame.unwrap().code)),
                Some(other) => panic!("{other:?}"),
                None => None,
            };
            let rest = input.len();
            self.arrived.drain(..self.arrived.len() - rest);
            match message {
                Some(message) => return message,
                None if self.read() => {}
                None => return "the end".to_owned(),
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        let next = self.next();
        assert!(next == text, "{:.200} in place of {text:.200}", next);
    }
}

/// Reads until the stream ends or is reset.
fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}

fn echo() -> Server {
    let io = Server::builder().send_buffer(64 << 20).build();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
        socket.on("secure", async |socket: Socket| socket.handshake().secure());
    });
    io
}

fn polling_and_websocket_share_a_port_and_are_secure(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut polling = running.client();
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n";
    polling.stream.write_all(request.as_bytes()).unwrap();
    let head = polling.read_head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    while !polling.arrived.ends_with(b"}") {
        assert!(polling.read());
    }
    assert!(polling.arrived.starts_with(b"0{\"sid\":\""));
    assert_eq!(polling.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));

    let mut websocket = running.websocket();
    websocket.send(r#"421["secure"]"#);
    websocket.expect("431[true]");
}

fn a_thousand_echoes_come_back_in_order(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut client = running.websocket();
    let message = |i| format!(r#"42["echo",{i}]"#);
    for i in 0..500 {
        client.send(&message(i));
        client.expect(&message(i));
    }
    (500..1000).for_each(|i| client.send(&message(i)));
    (500..1000).for_each(|i| client.expect(&message(i)));
}

fn large_messages_go_both_ways(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut client = running.websocket();
    let message = format!(r#"42["echo","{}"]"#, "x".repeat(900_000));
    for _ in 0..3 {
        client.send(&message);
        client.expect(&message);
    }
}

fn a_client_that_reads_late_gets_everything(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut client = running.websocket();
    let text = "y".repeat(900_000);
    // More than the kernel buffers, so that encrypted bytes wait, too.
    for _ in 0..20 {
        assert_eq!(running.server.emit("late", &text).sent, 1);
    }
    client.send(r#"42["echo","meanwhile"]"#);
    for _ in 0..20 {
        client.expect(&format!(r#"42["late","{text}"]"#));
    }
    client.expect(r#"42["echo","meanwhile"]"#);
    client.send(r#"42["echo","then"]"#);
    client.expect(r#"42["echo","then"]"#);
}

fn encrypted_bytes_that_the_socket_did_not_accept_are_sent_later(serve: Serve) {
    let running = Running::start_with(echo(), serve, narrow_listener(), |tls| tls);
    let mut client = running.websocket();
    // rustls accepts 64 KB at once, the socket a tenth of it, and no later message makes the driver write the rest.
    for size in [20_000, 60_000, 100_000, 500_000].repeat(2) {
        let message = "z".repeat(size);
        assert_eq!(running.server.emit("late", &message).sent, 1);
        client.expect(&format!(r#"42["late","{message}"]"#));
    }
}

/// Returns a listener whose connections accept few bytes before they block.
fn narrow_listener() -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(16).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

fn a_plain_request_is_refused_and_affects_no_other_client(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut before = running.websocket();
    for _ in 0..3 {
        let mut plain = running.tcp();
        plain
            .write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        // The answer is at most a TLS alert, and no HTTP.
        assert!(!read_to_end(&plain).starts_with(b"HTTP"));
    }
    let mut after = running.websocket();
    for client in [&mut before, &mut after] {
        client.send(r#"42["echo",1]"#);
        client.expect(r#"42["echo",1]"#);
    }
    assert_eq!(running.server.clients_count(), 2);
}

fn a_client_that_does_not_finish_the_handshake_is_dropped_at_the_deadline(serve: Serve) {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = Running::start_with(echo(), serve, listener, |tls| tls.handshake_timeout(TIMEOUT));
    let begin = Instant::now();
    let silent = running.tcp();
    let mut halting = running.tcp();
    // The beginning of a ClientHello of 512 bytes.
    halting.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).unwrap();
    for stream in [silent, halting] {
        assert!(read_to_end(&stream).is_empty());
    }
    assert!(begin.elapsed() >= TIMEOUT && begin.elapsed() < PATIENCE / 2);
}

fn silent_clients_do_not_delay_the_others(serve: Serve) {
    let running = Running::start(echo(), serve);
    let _silent = [(); 50].map(|()| running.tcp());
    let begin = Instant::now();
    let mut client = running.websocket();
    client.send(r#"42["echo",1]"#);
    client.expect(r#"42["echo",1]"#);
    assert!(begin.elapsed() < PATIENCE / 2);
    // They do not delay closing either.
    running.server.begin_close();
    client.expect("closed 1001");
    running.ended.recv_timeout(PATIENCE / 2).unwrap().unwrap();
}

fn closing_sends_a_close_frame_and_a_close_notify(serve: Serve) {
    let running = Running::start(echo(), serve);
    let mut client = running.websocket();
    running.server.begin_close();
    client.expect("closed 1001");
    // rustls returns an error if the stream ends without close_notify.
    client.expect("the end");
    running.ended.recv_timeout(PATIENCE).unwrap().unwrap();
}

fn the_end_of_a_stream_without_close_notify_is_a_transport_close(serve: Serve) {
    let io = echo();
    let (tell, told) = mpsc::channel();
    io.on_connect(move |socket: Socket| {
        let tell = tell.clone();
        socket.on_disconnect(move |reason: DisconnectReason| {
            let _ = tell.send(reason.to_string());
            async {}
        });
        async {}
    });
    let running = Running::start(io, serve);
    // This closes the stream without close_notify.
    drop(running.websocket());
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "transport close");
}

#[cfg(unix)]
mod unix_sockets {
    use super::{PATIENCE, certified, echo};
    use sockeye::tls::rustls::pki_types::ServerName;
    use sockeye::tls::rustls::{ClientConnection, StreamOwned};
    use sockeye::{Server, Tls};
    use std::io::{self, Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[cfg(feature = "tokio")]
    #[test]
    fn a_unix_socket_is_served_by_tls_on_tokio() {
        serve_by_tls("tokio", |server, listener, tls| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                sockeye::runtime::tokio::serve_tls(server, listener, tls).await
            })
        });
    }

    #[cfg(feature = "smol")]
    #[test]
    fn a_unix_socket_is_served_by_tls_on_smol() {
        serve_by_tls("smol", |server, listener, tls| {
            smol::block_on(sockeye::runtime::smol::serve_unix_tls(server, listener, tls))
        });
    }

    fn serve_by_tls(name: &str, serve: fn(Server, UnixListener, Tls) -> io::Result<()>) {
        let path = std::env::temp_dir().join(format!("sockeye-tls-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (tls, config) = certified();
        let io = echo();
        let served = io.clone();
        let serving = std::thread::spawn(move || serve(served, listener, tls));
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream);
        let head = "GET /else HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        // rustls returns an error if the stream ends without close_notify.
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        io.begin_close();
        serving.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
