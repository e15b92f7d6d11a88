//! Events and answers.

use crate::start::{CLOSE_TIMEOUT, Connect, PATIENCE, Way, serve, settle};
use bytes::Bytes;
use smol::stream::StreamExt;
use sockeye::client::{ClientAckError, ClientEmitError};
use sockeye::extract::{Data, Event};
use sockeye::{Args, Client, ClientSocket, Server, Socket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn server() -> Server {
    let builder = Server::builder().max_payload(200_000);
    #[cfg(feature = "deflate")]
    let builder = builder.per_message_deflate(sockeye::PerMessageDeflate::new());
    let io = builder.build();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
        socket.on("return", async |args: Args| args);
        socket.on("nothing", async || ());
        socket.on("ask back", async |socket: Socket, Data(text): Data<String>| {
            socket.emit_with_ack::<String>("question", text).await
        });
    });
    io
}

async fn connect(connect: Connect, way: Way) -> (crate::start::Running, Client) {
    let running = serve(server(), None);
    let client = running.client(way).build().unwrap();
    connect(&client).await.unwrap();
    (running, client)
}

pub(crate) fn echoes_come_back_in_order(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        let mut events = client.events();
        // Some go before the upgrade, some meanwhile, some after it.
        for i in 0..500 {
            client.emit("echo", i).unwrap();
            if i % 50 == 0 {
                client.emit_with_ack::<()>("nothing", ()).await.unwrap();
            }
        }
        for i in 0..500 {
            let received = events.recv().await.unwrap();
            assert_eq!((received.event(), received.args().deserialize().unwrap()), ("echo", i));
        }
        settle(&client, way).await;
    }
}

pub(crate) fn binary_goes_both_ways(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let sent = (Bytes::from(vec![7; len]), "between".to_string(), Bytes::from_static(b"\x00\xff"));
            let back = client.emit_with_ack::<(Bytes, String, Bytes)>("return", sent.clone()).await;
            assert_eq!(back.unwrap(), sent);
        }
        settle(&client, way).await;
        let back = client.emit_with_ack::<Bytes>("return", Bytes::from_static(b"after")).await;
        assert_eq!(back.unwrap(), "after");
    }
}

pub(crate) fn acknowledgements_go_both_ways(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        client.on("question", async |_: ClientSocket, Data(text): Data<String>| format!("{text}!"));
        let answer = client.emit_with_ack::<String>("ask back", "really").await;
        assert_eq!(answer.unwrap(), "really!");
        let late = client.timeout(Duration::from_millis(20)).emit_with_ack::<()>("unknown", ()).await;
        assert!(matches!(late, Err(ClientAckError::Timeout)), "{late:?}");
        let wrong = client.emit_with_ack::<i32>("return", "text").await;
        assert!(matches!(wrong, Err(ClientAckError::Decode(_))), "{wrong:?}");
    }
}

pub(crate) fn events_are_taken_one_by_one(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (running, client) = connect(start, way).await;
        let mut events = client.events();
        assert!(events.recv_timeout(Duration::from_millis(20)).await.is_none());
        let asked = running.server.sockets()[0].emit_with_ack::<i32>("question", (1, "two"));
        let received = events.recv_timeout(PATIENCE).await.unwrap();
        assert_eq!(received.event(), "question");
        assert_eq!(received.args().deserialize::<(i32, String)>().unwrap(), (1, "two".into()));
        assert!(received.wants_ack());
        assert!(matches!(received.ack("x".repeat(2_000_000)), Err(ClientEmitError::TooLarge { .. })));
        received.ack(3).unwrap();
        assert_eq!(asked.await.unwrap(), 3);
        assert!(!received.wants_ack());
        assert_eq!(received.ack(4), Err(ClientEmitError::NoAckWanted));
        running.server.emit("statement", ());
        let received = events.recv_timeout(PATIENCE).await.unwrap();
        assert_eq!((received.event(), received.ack(5)), ("statement", Err(ClientEmitError::NoAckWanted)));
    }
}

pub(crate) fn events_are_a_stream_that_ends_with_the_client(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        let events = client.events();
        for i in 0..50 {
            client.emit("echo", i).unwrap();
        }
        client.emit_with_ack::<()>("nothing", ()).await.unwrap();
        client.close();
        drop(client);
        let begin = Instant::now();
        let numbers = events.map(|received| received.args().deserialize::<i32>().unwrap());
        assert_eq!(numbers.collect::<Vec<_>>().await, (0..50).collect::<Vec<_>>());
        assert!(begin.elapsed() < CLOSE_TIMEOUT);
    }
}

pub(crate) fn an_event_is_shown_once_when_it_is_sent(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let running = serve(server(), None);
        let client = running.client(way).build().unwrap();
        let (tell, told) = mpsc::channel();
        client.on_any_outgoing(move |Event(name): Event, args: Args| {
            tell.send((name, args)).unwrap();
            async {}
        });
        let shown = || {
            let shown =
                told.try_iter().map(|(name, args)| (name, args.deserialize::<(u32, Bytes)>().unwrap()));
            shown.collect::<Vec<_>>()
        };
        let bytes = Bytes::from_static(b"\x00\xff");
        let waiting = client.emit("echo", (1, bytes.clone())).unwrap();
        assert_eq!(shown(), []);
        start(&client).await.unwrap();
        waiting.await.unwrap();
        client.emit_with_ack::<u32>("return", (2, bytes.clone())).await.unwrap();
        assert_eq!(shown(), [("echo".into(), (1, bytes.clone())), ("return".into(), (2, bytes.clone()))]);
        client.off_any_outgoing();
        client.emit_with_ack::<u32>("return", (4, bytes)).await.unwrap();
        assert_eq!(shown(), []);
    }
}

pub(crate) fn a_message_larger_than_the_server_takes_is_an_error_before_it_is_sent(
    way: Way,
) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        settle(&client, way).await;
        let error = client.emit("echo", "x".repeat(200_000)).unwrap_err();
        assert_eq!(error, ClientEmitError::TooLarge { limit: 200_000 });
        // Kept while there was no connection, it is one when there is.
        let other = _running.client(way).build().unwrap();
        let kept = other.emit("echo", "x".repeat(200_000)).unwrap();
        start(&other).await.unwrap();
        assert_eq!(kept.await, Err(ClientEmitError::TooLarge { limit: 200_000 }));
        assert!(client.is_connected() && other.is_connected());
    }
}

pub(crate) fn a_large_message_goes_both_ways(way: Way) -> impl AsyncFnOnce(Connect) {
    async move |start| {
        let (_running, client) = connect(start, way).await;
        let text = "é".repeat(90_000);
        for _ in 0..5 {
            let back = client.emit_with_ack::<String>("return", &text).await;
            assert!(back.unwrap() == text);
        }
    }
}
