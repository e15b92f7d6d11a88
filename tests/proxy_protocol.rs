//! The PROXY protocol on the listeners of the runtimes, in front of HTTP and of TLS.
#![cfg(all(feature = "tokio", feature = "smol"))]
#![allow(missing_docs, clippy::unwrap_used)]

use sockeye::Server;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything takes here, so that a fault does not hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// It opens no session, for whose client the server would wait when it closes.
const REQUEST: &str = "GET /socket.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\nHost: a\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.1 10.0.0.1 51000 443\r\n";

type Serve = fn(Server, TcpListener) -> io::Result<()>;

fn on_tokio(server: Server, listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        sockeye::runtime::tokio::serve_proxied(server, listener).await
    })
}

fn on_smol(server: Server, listener: TcpListener) -> io::Result<()> {
    smol::block_on(sockeye::runtime::smol::serve_proxied(server, listener))
}

/// A server in a thread, which answers with the client's address in a header.
struct Running {
    server: Server,
    port: u16,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    fn start(serve: impl FnOnce(Server, TcpListener) -> io::Result<()> + Send + 'static) -> Running {
        let server = Server::builder()
            .headers(|handshake, headers| {
                let address = handshake.address().map_or("unknown".into(), |address| address.to_string());
                let scheme = if handshake.secure() { "https" } else { "http" };
                headers.append("X-Peer", format!("{scheme} {address}")).unwrap();
            })
            .build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = server.clone();
        Running { server, port, thread: Some(std::thread::spawn(move || serve(own, listener))) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.begin_close();
        if let Some(Ok(served)) = self.thread.take().map(JoinHandle::join) {
            served.unwrap();
        }
    }
}

/// Reads a response, and returns the peer that the server saw.
fn peer(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let value = head.lines().find_map(|line| line.strip_prefix("X-Peer: "));
    value.unwrap_or_else(|| panic!("{head}")).to_owned()
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

fn the_header_tells_the_address(serve: Serve) {
    let running = Running::start(serve);
    let own = |stream: &TcpStream| format!("http {}", stream.local_addr().unwrap());
    let secure = [192, 0, 2, 1, 10, 0, 0, 1, 199, 56, 1, 187, 0x20, 0, 5, 1, 0, 0, 0, 0];
    for (header, expected) in [
        (LINE.as_bytes().to_vec(), Some("http 192.0.2.1:51000")),
        (b"PROXY TCP6 2001:db8::1 ::1 51000 443\r\n".to_vec(), Some("http [2001:db8::1]:51000")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (v2(0x21, 0x11, &secure), Some("https 192.0.2.1:51000")),
        (v2(0x20, 0, &[]), None),
    ] {
        let mut stream = running.connect();
        stream.write_all(&[&header, REQUEST.as_bytes()].concat()).unwrap();
        let expected = expected.map_or_else(|| own(&stream), str::to_owned);
        assert_eq!(peer(&mut stream), expected);
    }
}

fn the_header_may_arrive_byte_by_byte(serve: Serve) {
    let running = Running::start(serve);
    let mut stream = running.connect();
    for byte in [LINE, REQUEST].concat().as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(peer(&mut stream), "http 192.0.2.1:51000");
    // The connection is kept, and the header is not expected again.
    let mut rest = [0; 4096];
    let _ = stream.read(&mut rest).unwrap();
    stream.write_all(REQUEST.as_bytes()).unwrap();
    assert_eq!(peer(&mut stream), "http 192.0.2.1:51000");
}

fn a_connection_without_a_header_is_closed_and_affects_no_other(serve: Serve) {
    let running = Running::start(serve);
    let silent = running.connect();
    for wrong in [REQUEST.as_bytes(), b"PROXY TCP4 x\r\n", b"\x16\x03\x01\x02\x00"] {
        let mut stream = running.connect();
        stream.write_all(wrong).unwrap();
        // Closed with or without a reset, because not all bytes were read.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    let mut stream = running.connect();
    stream.write_all([LINE, REQUEST].concat().as_bytes()).unwrap();
    assert_eq!(peer(&mut stream), "http 192.0.2.1:51000");
    drop(silent);
}

macro_rules! on_each_runtime {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn on_tokio() {
                super::$name(super::on_tokio);
            }

            #[test]
            fn on_smol() {
                super::$name(super::on_smol);
            }
        }
    )*};
}

on_each_runtime! {
    the_header_tells_the_address
    the_header_may_arrive_byte_by_byte
    a_connection_without_a_header_is_closed_and_affects_no_other
}

#[cfg(feature = "tls")]
mod in_front_of_tls {
    use super::*;
    use sockeye::Tls;
    use sockeye::tls::rustls::crypto::ring;
    use sockeye::tls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use sockeye::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::sync::Arc;

    fn check(serve: fn(Server, TcpListener, Tls) -> io::Result<()>) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let running = Running::start(move |server, listener| serve(server, listener, tls));

        let mut stream = running.connect();
        stream.write_all(LINE.as_bytes()).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(client, stream);
        stream.write_all(REQUEST.as_bytes()).unwrap();
        assert_eq!(peer(&mut stream), "https 192.0.2.1:51000");
    }

    #[test]
    fn on_tokio() {
        check(|server, listener, tls| {
            listener.set_nonblocking(true)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                sockeye::runtime::tokio::serve_proxied_tls(server, listener, tls).await
            })
        });
    }

    #[test]
    fn on_smol() {
        check(|server, listener, tls| {
            smol::block_on(sockeye::runtime::smol::serve_proxied_tls(server, listener, tls))
        });
    }
}
