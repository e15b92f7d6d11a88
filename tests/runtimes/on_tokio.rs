//! What concerns tokio alone, and one server on several listeners.

use crate::client::{PATIENCE, WebSocket};
use crate::start::{serve_on_tokio, tokio_current_thread};
use sockeye::{Server, Socket};
#[cfg(all(unix, feature = "smol"))]
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn a_server_is_served_on_two_listeners() {
    let io = Server::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let server = io.clone();
    let serving = std::thread::spawn(move || {
        runtime.block_on(async {
            let tasks = listeners.map(|listener| tokio::spawn(serve_on_tokio(server.clone(), listener)));
            for task in tasks {
                let ended = tokio::time::timeout(4 * PATIENCE, task).await;
                ended.expect("each ends").unwrap().unwrap();
            }
        });
    });
    let mut clients = addresses.map(WebSocket::connect);
    assert_eq!(io.emit("all", ()).sent, 2);
    for client in &mut clients {
        client.expect(r#"42["all"]"#);
    }
    // Both wait for a deadline that is far away: a closer one has to be told.
    let answers = io.timeout(Duration::from_millis(50)).emit_with_ack::<()>("all", ());
    for client in &mut clients {
        client.expect(r#"420["all"]"#);
    }
    let answers = smol::block_on(answers);
    assert!(answers.answers.is_empty() && answers.missing.len() == 2);
    io.begin_close();
    for mut client in clients {
        client.expect_end(Some(1001));
    }
    serving.join().unwrap();
}

#[cfg(unix)]
#[test]
fn listeners_that_share_a_port_serve_one_server() {
    use tokio::net::TcpSocket;

    let io = Server::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut address = ([127, 0, 0, 1], 0).into();
    let listen = |_| {
        let _inside = runtime.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(16).unwrap();
        address = listener.local_addr().unwrap();
        runtime.spawn(sockeye::runtime::tokio::serve(io.clone(), listener))
    };
    let tasks = [0, 1].map(listen);
    let mut clients = [(); 8].map(|()| WebSocket::connect(address));
    assert_eq!(io.emit("all", ()).sent, 8);
    for client in &mut clients {
        client.expect(r#"42["all"]"#);
    }
    io.begin_close();
    for mut client in clients {
        client.expect_end(Some(1001));
    }
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
}

#[cfg(all(unix, feature = "smol"))]
#[test]
fn a_server_is_served_on_several_listeners_of_smol() {
    use std::os::unix::net::{UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("sockeye-several-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let io = Server::new();
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let [first, second] = listeners;
    let on_tcp = |listener| smol::spawn(sockeye::runtime::smol::serve(io.clone(), listener));
    let on_unix =
        smol::spawn(sockeye::runtime::smol::serve_unix(io.clone(), UnixListener::bind(&path).unwrap()));
    let tasks = [on_tcp(first), on_unix, on_tcp(second)];

    let mut clients = addresses.map(WebSocket::connect);
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.write_all(b"GET /else HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(std::io::read_to_string(unix).unwrap().starts_with("HTTP/1.1 404 "));
    assert_eq!(io.emit("all", ()).sent, 2);
    for client in &mut clients {
        client.expect(r#"42["all"]"#);
    }
    io.begin_close();
    for mut client in clients {
        client.expect_end(Some(1001));
    }
    std::fs::remove_file(&path).unwrap();
    for task in tasks {
        smol::block_on(task).unwrap();
    }
}

#[cfg(all(unix, feature = "smol"))]
#[test]
fn a_unix_socket_is_served_on_smol() {
    use smol::Timer;
    use smol::future::FutureExt;
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use smol::net::unix::UnixStream;

    let path = std::env::temp_dir().join(format!("sockeye-smol-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let talk = async {
        let io = Server::new();
        let serving = smol::spawn(sockeye::runtime::smol::serve_unix(io.clone(), listener));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let head = "GET /else HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        io.begin_close();
        serving.await.unwrap();
        true
    };
    let in_time = smol::block_on(talk.or(async {
        Timer::after(PATIENCE).await;
        false
    }));
    std::fs::remove_file(&path).unwrap();
    assert!(in_time);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_that_was_opened_before_is_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("sockeye-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let io = Server::builder().max_sessions_per_address(1).build();
        let listener = UnixListener::from_std(listener).unwrap();
        let serving = tokio::spawn(sockeye::runtime::tokio::serve(io.clone(), listener));
        for count in 1..=2 {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let head =
                "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(r#"0{"sid":""#), "{answer}");
            assert_eq!(io.clients_count(), count, "a peer without an address is not counted by it");
        }
        serving.abort();
    };
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await });
    std::fs::remove_file(&path).unwrap();
    ended.expect("it ends");
}

#[test]
fn a_handler_that_begins_on_another_thread_finds_the_runtime() {
    let io = Server::new();
    let (tell, told) = std::sync::mpsc::channel();
    io.on_connect(move |socket: Socket| {
        let tell = tell.clone();
        async move {
            socket.on_disconnect(move || {
                let tell = tell.clone();
                async move {
                    // Before the first wait: this is polled by the thread that disconnects.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let _ = tell.send(());
                }
            });
        }
    });
    let running = tokio_current_thread(io);
    let _client = WebSocket::connect(running.address);
    running.server.sockets()[0].disconnect(false);
    told.recv_timeout(PATIENCE).expect("the handler goes on");
}
