//! `https` and `wss`.

use crate::start::{PATIENCE, Way};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sockeye::{Args, Client, ClientTls, Server, Socket, Tls};
use std::future::Future;
use std::net::TcpListener;

/// What a client that trusts the certificate, and one that does not, make of a server.
pub(crate) fn only_a_server_that_is_trusted_is_spoken_to(
    way: Way,
) -> impl AsyncFnOnce(crate::start::Connect) {
    async move |start| {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        let io = Server::new();
        io.on_connect(async |socket: Socket| socket.on("return", async |args: Args| args));
        let tls = Tls::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = io.clone();
        std::thread::spawn(move || serve(sockeye::smol::serve_tls(server, listener, tls)));

        let trusted = ClientTls::from_pem(cert.pem().as_bytes()).unwrap();
        let builder = |host: &str| {
            let transports = match way {
                Way::Polling => vec![sockeye::Transport::Polling],
                Way::WebSocket => vec![sockeye::Transport::WebSocket],
                Way::Upgrade => vec![sockeye::Transport::Polling, sockeye::Transport::WebSocket],
            };
            let url = format!("https://{host}:{port}");
            Client::builder(url).transports(transports).timeout(PATIENCE).reconnection(false)
        };
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
    }
}

fn serve(serving: impl Future<Output = std::io::Result<()>>) {
    let _ = smol::block_on(serving);
}
