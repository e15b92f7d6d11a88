//! The log of TLS handshakes that fail.

use super::Log;
use sockeye::{Server, Tls};
use tracing::Level;

fn tls() -> Tls {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Tls::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes()).unwrap()
}

/// Requires that the line says that a client of plain HTTP came.
fn expect_plain_client(log: &Log) {
    let lines = std::mem::take(&mut *log.lines.lock().unwrap());
    let [(level, message, fields)] = &*lines else { panic!("{lines:?}") };
    assert_eq!((*level, message.as_str()), (Level::DEBUG, "a tls handshake failed"));
    assert!(fields.contains("cause=the client does not speak TLS: it connects by http or ws"), "{fields}");
    assert!(fields.contains("peer=127.0.0.1:"), "{fields}");
}

#[cfg(feature = "tokio")]
#[test]
fn a_client_of_plain_http_is_told_by_tokio() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    log.of(|| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(sockeye::runtime::tokio::serve_tls(Server::new(), listener, tls()));
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET /socket.io/ HTTP/1.1\r\n\r\n").await.unwrap();
            // An alert, and the end or a reset.
            let _ = client.read_to_end(&mut Vec::new()).await;
        });
    });
    expect_plain_client(&log);
}

#[cfg(feature = "smol")]
#[test]
fn a_client_of_plain_http_is_told_by_smol() {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    let log = Log::default();
    let executor = std::sync::Arc::new(smol::Executor::new());
    let runtime = sockeye::runtime::smol::Smol::on(&executor);
    log.of(|| {
        smol::block_on(executor.run(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let serving = runtime.serve_tls(Server::new(), listener, tls());
            let client = async {
                let mut client = smol::net::TcpStream::connect(address).await.unwrap();
                client.write_all(b"GET /socket.io/ HTTP/1.1\r\n\r\n").await.unwrap();
                let _ = client.read_to_end(&mut Vec::new()).await;
                Ok(())
            };
            smol::future::or(client, serving).await.unwrap();
        }));
    });
    expect_plain_client(&log);
}
