//! `https` and `wss`.

use crate::proxy::Proxy;
use crate::start::{Connect, Way, builder_of, serve};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sockeye::{Args, ClientTls, Server, Socket, Tls};
use std::net::TcpListener;

/// A server of this name, which is here; its port, and its certificate.
fn start_server(name: &str) -> (Server, u16, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.into()]).unwrap();
    let io = Server::new();
    io.on_connect(async |socket: Socket| socket.on("return", async |args: Args| args));
    let tls = Tls::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = io.clone();
    std::thread::spawn(move || smol::block_on(sockeye::runtime::smol::serve_tls(server, listener, tls)));
    (io, port, cert.pem())
}

/// A client that trusts the certificate connects, and one that does not is refused.
pub(crate) fn only_a_server_that_is_trusted_is_spoken_to(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (io, port, certificate) = start_server("localhost");
        let trusted = ClientTls::from_pem(certificate.as_bytes()).unwrap();
        let builder = |host: &str| builder_of(&format!("https://{host}:{port}"), way).reconnection(false);
        let client = builder("localhost").tls(trusted.clone()).build().unwrap();
        start(&client).await.unwrap();
        let large = "x".repeat(300_000);
        let back = client.emit_with_ack::<String>("return", &large).await;
        assert!(back.unwrap() == large);

        let other = generate_simple_self_signed(["localhost".into()]).unwrap();
        let wary = ClientTls::from_pem(other.cert.pem().as_bytes()).unwrap();
        let stranger = builder("localhost").tls(wary).build().unwrap();
        let error = start(&stranger).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
        let elsewhere = builder("127.0.0.1").tls(trusted).build().unwrap();
        let error = start(&elsewhere).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
        io.begin_close();

        let plain = serve(Server::new(), None);
        let client = builder_of(&format!("https://{}", plain.address), way).reconnection(false);
        let client = client.tls(ClientTls::from_pem(certificate.as_bytes()).unwrap()).build().unwrap();
        let error = start(&client).await.unwrap_err().to_string();
        assert!(error.contains("the server does not speak TLS"), "{error}");
    }
}

pub(crate) fn encryption_goes_through_a_proxy(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        // Only the proxy finds it, but the certificate is for this name.
        let (io, port, certificate) = start_server("chat.invalid");
        let proxy = Proxy::start(None);
        let builder = builder_of(&format!("wss://chat.invalid:{port}"), way);
        let tls = ClientTls::from_pem(certificate.as_bytes()).unwrap();
        let client = builder.tls(tls).proxy(&format!("http://{}", proxy.address)).build().unwrap();
        start(&client).await.unwrap();
        let large = "x".repeat(300_000);
        assert!(client.emit_with_ack::<String>("return", &large).await.unwrap() == large);
        let expected = format!("CONNECT chat.invalid:{port} HTTP/1.1");
        assert!(proxy.asked().iter().all(|line| *line == expected));
        io.begin_close();
    }
}
