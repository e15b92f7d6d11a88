//! Through a proxy, by `CONNECT`.

use crate::start::{Connect, PATIENCE, Port, Running, Way, builder_of, serve};
use sockeye::client::ClientBuilder;
use sockeye::{Args, Server, Socket};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A proxy in threads of its own. Whatever the name of a server is, it knows where that is: here.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Opens tunnels for who shows this.
    pub(crate) fn start(authorization: Option<&'static str>) -> Proxy {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        let address = listen(move |mut stream| {
            let head = read_head(&mut stream)?;
            heads.lock().unwrap().push(head.clone());
            let shown = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
            if shown != authorization {
                return stream.write_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?",
                );
            }
            let (_, port) = head.split(' ').nth(1).and_then(|it| it.rsplit_once(':')).unwrap();
            let server = TcpStream::connect(("127.0.0.1", port.parse().unwrap()))?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 here\r\n\r\n")?;
            let (from, to) = (stream.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || copy(from, to));
            copy(server, stream);
            Ok(())
        });
        Proxy { address, asked }
    }

    /// The first lines of what it was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        let heads = self.asked.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }
}

fn listen(answer: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            // The end of either side is no concern of the proxy's.
            std::thread::spawn(move || _ = answer(stream.unwrap()));
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn server() -> Running {
    let io = Server::new();
    io.on_connect(async |socket: Socket| socket.on("return", async |args: Args| args));
    serve(io, None)
}

/// A client of a server that only its proxy can find.
fn hidden(running: &Running, way: Way) -> ClientBuilder {
    builder_of(&format!("http://chat.invalid:{}", running.address.port()), way)
}

pub(crate) fn a_proxy_carries_all_that_goes_both_ways(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = server();
        let proxy = Proxy::start(None);
        let client = hidden(&running, way).proxy(&format!("http://{}", proxy.address)).build().unwrap();
        start(&client).await.unwrap();
        for len in [0, 1, 300_000] {
            let text = "x".repeat(len);
            assert!(client.emit_with_ack::<String>("return", &text).await.unwrap() == text);
        }
        let asked = proxy.asked();
        let tunnels = if way == Way::WebSocket { 1 } else { 2 };
        assert!(asked.len() >= tunnels, "{asked:?}");
        let expected = format!("CONNECT chat.invalid:{} HTTP/1.1", running.address.port());
        assert!(asked.iter().all(|line| *line == expected), "{asked:?}");
    }
}

pub(crate) fn a_proxy_that_wants_a_password_gets_it(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = server();
        // `me:s@fe`, as `base64` of the coreutils has it.
        let proxy = Proxy::start(Some("Basic bWU6c0BmZQ=="));
        for user in ["", "me:safe@"] {
            let url = format!("http://{user}{}", proxy.address);
            let client = hidden(&running, way).proxy(&url).reconnection(false).build().unwrap();
            let error = start(&client).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot connect: the proxy answered with status 407");
        }
        let url = format!("http://me:s%40fe@{}", proxy.address);
        let client = hidden(&running, way).proxy(&url).build().unwrap();
        start(&client).await.unwrap();
        assert_eq!(client.emit_with_ack::<i32>("return", 5).await.unwrap(), 5);
    }
}

pub(crate) fn a_proxy_that_is_no_help_is_an_error_that_says_so(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = server();
        let nobody = Port::take();
        let garbage = listen(|mut stream| stream.write_all(b"SSH-2.0-OpenSSH_9.0\r\n").and(read_all(stream)));
        let endless = listen(|mut stream| {
            loop {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        });
        let short = listen(|mut stream| read_head(&mut stream).map(drop));
        for (address, error) in [
            (nobody.address, "the proxy cannot be used: "),
            (garbage, "the proxy's answer is not an http response: malformed head"),
            (endless, "the proxy's answer is not an http response: the head is too large"),
            (short, "the proxy ended the connection without an answer"),
        ] {
            let url = format!("http://{address}");
            let client = hidden(&running, way).proxy(&url).reconnection(false).build().unwrap();
            let told = start(&client).await.unwrap_err().to_string();
            assert!(told.starts_with(&format!("cannot connect: {error}")), "{told:?}, not {error:?}");
        }
    }
}

/// Keeps a stream until its other side ends.
fn read_all(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

pub(crate) fn a_proxy_that_never_answers_is_given_up_in_time(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = server();
        let silent = listen(read_all);
        let builder = hidden(&running, way).proxy(&format!("http://{silent}"));
        let client = builder.timeout(Duration::from_millis(50)).reconnection(false).build().unwrap();
        let begin = Instant::now();
        let told = start(&client).await.unwrap_err().to_string();
        assert!(told.starts_with("cannot connect: time"), "{told}");
        assert!(begin.elapsed() < PATIENCE);
    }
}
