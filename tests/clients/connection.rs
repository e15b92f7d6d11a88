//! Connecting, joining, leaving, and what becomes of it.

use crate::start::{CLOSE_TIMEOUT, Connect, PATIENCE, Port, Way, builder, builder_of, serve};
use serde_json::json;
use sockeye::client::{ClientConnectError, ClientDisconnectReason, ClientTransportError};
use sockeye::extract::{Auth, Data};
use sockeye::{Server, Socket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) fn three_namespaces_share_a_connection(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let io = Server::new();
        for name in ["/", "/a", "/b"] {
            io.of(name).on_connect(async |socket: Socket| {
                socket.on("where", async |socket: Socket| socket.namespace().name().to_owned());
            });
        }
        let running = serve(io, None);
        let client = running.client(way).build().unwrap();
        let sockets = ["/a", "/b"].map(|name| client.socket(name));
        for socket in &sockets {
            socket.connect();
        }
        start(&client).await.unwrap();
        for (socket, name) in [(&*client, "/"), (&sockets[0], "/a"), (&sockets[1], "/b")] {
            // Events emitted before the namespace is joined wait for that.
            assert_eq!(socket.emit_with_ack::<String>("where", ()).await.unwrap(), name);
        }
        let ids = [client.id(), sockets[0].id(), sockets[1].id()];
        assert!(ids.iter().all(Option::is_some) && ids[0] != ids[1] && ids[1] != ids[2]);
        assert_eq!(running.server.clients_count(), 1);
        assert_eq!(client.socket("/a"), sockets[0]);
    }
}

pub(crate) fn a_refused_namespace_is_joined_with_other_auth(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        #[derive(serde::Deserialize)]
        struct Token {
            token: u32,
        }
        let io = Server::new();
        io.middleware(async |Auth(Token { token }): Auth<Token>| match token {
            0 => Err(sockeye::ConnectError::new("not you").data(json!({ "code": 7 }))),
            _ => Ok(()),
        });
        io.on_connect(async |socket: Socket| socket.emit("hello", ()));
        let running = serve(io, None);
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let auth = move || {
            let token = counter.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(json!({ "token": token })) }
        };
        let client = running.client(way).auth_with(auth).build().unwrap();
        let refused = start(&client).await.unwrap_err();
        let expected =
            ClientConnectError::Refused { message: "not you".into(), data: Some(json!({ "code": 7 })) };
        assert_eq!(refused, expected);
        assert!(!client.is_active(), "it is not tried again by itself");
        client.connect();
        client.connected().await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

pub(crate) fn auth_that_cannot_be_had_is_asked_for_again(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = serve(Server::new(), None);
        running.server.on_connect(async || ());
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let auth = move || {
            let call = counter.fetch_add(1, Ordering::SeqCst);
            async move { if call < 2 { Err("no token") } else { Ok(json!({})) } }
        };
        let client = running.client(way).auth_with(auth).build().unwrap();
        let failed = start(&client).await;
        assert_eq!(failed, Err(ClientConnectError::Auth("no token".into())));
        assert!(client.is_active());
        while client.connected().await.is_err() {}
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }
}

pub(crate) fn a_disconnect_is_told_on_both_sides(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let io = Server::new();
        let (tell, told) = mpsc::channel();
        io.on_connect(move |socket: Socket| {
            let tell = tell.clone();
            async move {
                socket.on_disconnect(move |reason: sockeye::DisconnectReason| {
                    tell.send(reason.to_string()).unwrap();
                    async {}
                });
            }
        });
        let running = serve(io, None);
        let client = running.client(way).build().unwrap();
        let (tell, reasons) = mpsc::channel();
        client.on_disconnect(move |reason: ClientDisconnectReason| {
            tell.send(reason).unwrap();
            async {}
        });
        start(&client).await.unwrap();
        client.disconnect();
        client.closed().await;
        assert_eq!(reasons.try_recv(), Ok(ClientDisconnectReason::Client));
        let told_by = |told: &mpsc::Receiver<String>| told.try_recv().ok();
        let mut reason = told_by(&told);
        while reason.is_none() {
            // Lets the runtime write it.
            start(&running.client(way).build().unwrap()).await.unwrap();
            reason = told_by(&told);
        }
        assert_eq!(reason.as_deref(), Some("client namespace disconnect"));
        let client = running.client(way).build().unwrap();
        let mut events = client.events();
        start(&client).await.unwrap();
        running.server.sockets().iter().for_each(|socket| socket.disconnect(false));
        while client.is_active() {
            events.recv_timeout(Duration::from_millis(5)).await;
        }
        assert!(!client.is_connected());
    }
}

pub(crate) fn events_sent_offline_arrive_once_and_in_order_after_a_restart(
    way: Way,
) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (tell, told) = mpsc::channel();
        let server = || {
            let io = Server::new();
            let tell = tell.clone();
            io.on_connect(move |socket: Socket| {
                let tell = tell.clone();
                socket.on("count", move |Data(number): Data<u32>| {
                    tell.send(number).unwrap();
                    async move { number }
                });
                async {}
            });
            io
        };
        // While nobody listens there, no other test's server may: the client looks for its own.
        let port = cfg!(target_os = "linux").then(Port::take);
        let running = serve(server(), port.as_ref().map(|port| port.address));
        let client = running.client(way).build().unwrap();
        // Before there was any connection.
        let first = client.emit("count", 0).unwrap();
        assert!(first.is_waiting() && client.buffered() > 0);
        start(&client).await.unwrap();
        assert_eq!(first.await, Ok(()));
        assert_eq!(client.emit_with_ack::<u32>("count", 1).await.unwrap(), 1);
        let mut events = client.events();
        let address = running.stop();
        while client.is_connected() {
            events.recv_timeout(Duration::from_millis(5)).await;
        }
        let sent: Vec<_> = (2..100).map(|number| client.emit("count", number).unwrap()).collect();
        assert!(client.volatile().emit("count", 1000).is_err());
        let answer = client.emit_with_ack::<u32>("count", 100);
        let _running = serve(server(), Some(address));
        for sent in sent {
            assert_eq!(sent.await, Ok(()));
        }
        assert_eq!(answer.await.unwrap(), 100);
        assert_eq!(client.buffered(), 0);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), (0..=100).collect::<Vec<_>>());
    }
}

pub(crate) fn nobody_there_is_an_error_that_says_so(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let nobody = Port::take();
        let client = builder(nobody.address, way).reconnection(false).build().unwrap();
        let error = start(&client).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot connect: {}: ", nobody.address)), "{error}");
        assert!(!client.is_active());

        let running = serve(Server::new(), None);
        let client = running.client(way).path("/elsewhere").reconnection(false).build().unwrap();
        let error = start(&client).await.unwrap_err();
        let ClientConnectError::Closed(sockeye::client::ClientCloseReason::TransportError(error)) = error
        else {
            panic!("{error:?}");
        };
        assert!(matches!(error, ClientTransportError::Status { status: 404, .. }), "{error:?}");
        assert!(error.to_string().contains("to /elsewhere/, which is probably not the path"), "{error}");
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn an_address_that_never_answers_is_given_up_in_time(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let dead = crate::start::Dead::take();
        let builder = builder(dead.address, way).reconnection(false).timeout(Duration::from_millis(500));
        let client = builder.build().unwrap();
        let begin = Instant::now();
        let error = start(&client).await.unwrap_err().to_string();
        // On a machine that is busy, the client may be the first to lose its patience.
        let expected =
            [format!("cannot connect: {}: timed out", dead.address), "cannot connect: timeout".into()];
        assert!(expected.contains(&error), "{error}");
        assert!(begin.elapsed() < PATIENCE);
    }
}

pub(crate) fn a_name_leads_to_its_server_whatever_its_other_addresses(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = serve(Server::new(), None);
        running.server.on_connect(async || ());
        // An address of IPv6, too, on most machines, where nobody listens.
        let client = builder_of(&format!("http://localhost:{}", running.address.port()), way);
        start(&client.build().unwrap()).await.unwrap();
    }
}

pub(crate) fn leaving_and_joining_in_one_turn_connects_again(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| socket.on("nothing", async || ()));
        let running = serve(io, None);
        let client = running.client(way).build().unwrap();
        start(&client).await.unwrap();
        let before = client.id();
        client.disconnect();
        client.connect();
        client.connected().await.unwrap();
        assert_ne!(client.id(), before);
        client.timeout(PATIENCE).emit_with_ack::<()>("nothing", ()).await.unwrap();
    }
}

pub(crate) fn events_sent_before_the_close_arrive(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (tell, told) = mpsc::channel();
        let io = Server::new();
        io.on_connect(move |socket: Socket| {
            let tell = tell.clone();
            socket.on("count", move |Data((number, _)): Data<(u32, String)>| {
                tell.send(number).unwrap();
                async {}
            });
            async {}
        });
        let running = serve(io, None);
        let client = running.client(way).build().unwrap();
        client.closed().await;
        start(&client).await.unwrap();
        for number in 0..100 {
            client.emit("count", (number, "x".repeat(10_000))).unwrap();
        }
        client.close();
        let begin = Instant::now();
        client.closed().await;
        assert!(begin.elapsed() < CLOSE_TIMEOUT);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(!client.is_connected());
    }
}
