//! The spans around the lines of the log.

use super::*;

#[test]
fn a_handler_is_inside_of_its_connection_its_session_and_its_call_before_and_after_its_first_wait() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.of("/news").on_connect(async |socket: Socket| {
            tracing::info!("from connect");
            socket.on("say", async || {
                tracing::info!("from say");
                yield_now().await;
                tracing::info!("from say, later");
                yield_now().await;
                tracing::info!("from say, last");
            });
            socket.on_disconnect(async || tracing::info!("from disconnect"));
        });
        let sim = Sim::new(io);
        let mut client = sim.client();
        let id = client.join("/news");
        client.send_all([r#"42/news,["say"]"#]);
        client.close();
        let around = format!("connection{{peer=unknown}}: session{{sid={}}}: ", &client.session[..6]);
        let call = |event| {
            format!("{around}handler{{event={event:?} namespace=\"/news\" socket={id}}}: from {event}")
        };
        let say = call("say");
        assert_eq!(
            log.inside("from"),
            [call("connect"), say.clone(), say.clone() + ", later", say + ", last", call("disconnect")]
        );
        assert_eq!(log.spans.lock().unwrap().entered, []);
    });
}

#[test]
fn a_handler_that_another_thread_or_an_upgrade_causes_is_inside_of_its_session() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| {
            socket.on("say", async || tracing::info!("from say"));
            socket.on_disconnect(async || tracing::info!("from disconnect"));
        });
        let sim = Sim::new(io);
        let mut client = sim.polling();
        let id = client.join();
        let socket = client.begin_upgrade();
        socket.send_all(["2probe"]);
        socket.send_all(["5", r#"42["say"]"#]);
        sim.server().of("/").socket(&id).unwrap().disconnect(false);
        let around = format!("connection{{peer=unknown}}: session{{sid={}}}: ", &client.session[..6]);
        let call =
            |event| format!("{around}handler{{event={event:?} namespace=\"/\" socket={id}}}: from {event}");
        assert_eq!(log.inside("from"), [call("say"), call("disconnect")]);
    });
}

#[test]
fn a_middleware_is_inside_of_the_admission_before_and_after_its_first_wait() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.middleware(async || {
            tracing::info!("from the first");
            yield_now().await;
            tracing::info!("from the first, later");
            Ok::<_, ConnectError>(())
        });
        let client = Sim::new(io).connect();
        let admission = format!(
            "session{{sid={}}}: admission{{namespace=\"/\" socket={}}}: ",
            &client.session[..6],
            client.id
        );
        let events = log.inside("from");
        assert!(events.iter().all(|event| event.contains(&admission)) && events.len() == 2, "{events:?}");
    });
}

#[test]
fn the_id_of_a_client_of_socketio_2_is_shown_like_that_of_its_session() {
    let log = Log::default();
    log.of(|| {
        let io = Server::builder().allow_eio3(true).max_rooms(2).build();
        io.middleware(async || {
            tracing::info!("from the middleware");
            Ok::<_, ConnectError>(())
        });
        io.on_connect(async |socket: Socket| {
            socket.on("bug", async || bug());
            socket.join(["a", "b", "c"]);
        });
        let sim = Sim::new(io);
        let client = Client::open(&sim, "EIO=3&transport=websocket");
        assert_eq!(client.next(), "40");
        client.send(r#"42["bug"]"#);
        client.cut();
        let events = log.inside("");
        let short = format!("socket={}}}", &client.session[..6]);
        assert!(events.iter().any(|event| event.contains(&short)), "{events:?}");
        let lines = log.lines.lock().unwrap();
        let told = lines.iter().map(|(_, _, fields)| fields).chain(&events);
        assert!(lines.iter().filter(|(_, _, fields)| fields.contains("socket=")).count() > 3, "{lines:?}");
        told.for_each(|line| assert!(!line.contains(&client.session), "{line}"));
    });
}

#[test]
fn allow_request_is_inside_of_the_connection() {
    let log = Log::default();
    log.of(|| {
        let allow = async |_| {
            tracing::info!("from allow_request");
            yield_now().await;
            tracing::info!("from allow_request, later");
            Ok(())
        };
        let _client = Sim::new(Server::builder().allow_request(allow).build()).connect();
        assert_eq!(
            log.inside("from"),
            [
                "connection{peer=unknown}: from allow_request",
                "connection{peer=unknown}: from allow_request, later"
            ]
        );
    });
}

#[test]
fn the_events_of_this_library_are_inside_of_the_spans_that_they_belong_to() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| socket.on("bug", async || bug()));
        let mut client = Sim::new(io).polling();
        let id = client.join();
        client.post(r#"42["bug"]"#);
        let socket = client.begin_upgrade();
        socket.send_all(["2probe"]);
        socket.send_all(["5"]);
        socket.send_all(["41"]);
        socket.close();
        let session = format!("connection{{peer=unknown}}: session{{sid={}}}: ", &client.session[..6]);
        let call =
            format!("{session}handler{{event=\"bug\" namespace=\"/\" socket={id}}}: a handler panicked");
        // The upgrade and what follows it happen on another connection, which has the same peer.
        let events: Vec<_> = log.inside("");
        let expected = [
            "a session is opened",
            "a client is connected",
            "a session is upgraded",
            "a client is disconnected",
            "a session is closed",
        ];
        let mut expected: Vec<_> = expected.map(|text| session.clone() + text).into();
        expected.insert(2, call);
        assert_eq!(events, expected);
    });
}

#[test]
#[cfg(feature = "http")]
fn a_session_of_a_mounted_server_is_inside_of_its_connection_but_not_of_the_other_servers_request() {
    use http_body_util::Full;
    use sockeye::mount::{Outcome, answer};

    let log = Log::default();
    log.of(|| {
        let sim = Sim::new(Server::new());
        let _request = tracing::info_span!("request").entered();
        let request = http::Request::get("/socket.io/?EIO=4&transport=polling");
        let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        let peer: SocketAddr = "192.0.2.1:1234".parse().unwrap();
        let answered = sim.spawn(answer(sim.server().clone(), request, peer.into()));
        let Some(Outcome::Response(response)) = answered.take() else { panic!("not answered") };
        assert_eq!(response.status(), 200);
        let events = log.inside("a session is opened");
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert!(event.starts_with("connection{peer=192.0.2.1:1234}: session{sid="), "{event}");
    });
}

#[test]
fn every_span_is_closed_with_its_client() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.middleware(async || {
            yield_now().await;
            Ok::<_, ConnectError>(())
        });
        io.on_connect(async |socket: Socket| socket.on("wait", async || yield_now().await));
        let sim = Sim::new(io);
        let mut polling = sim.polling();
        polling.join();
        let socket = polling.begin_upgrade();
        socket.send_all(["2probe"]);
        socket.send_all(["5", r#"42["wait"]"#]);
        let client = sim.connect();
        client.send_all([r#"42["wait"]"#]);
        assert!(log.spans.lock().unwrap().open.len() >= 2);
        client.close();
        socket.close();
        polling.cut();
        sim.run();
        let spans = log.spans.lock().unwrap();
        assert!(spans.all.len() > 10 && spans.open.is_empty(), "{:?}", spans.open);
    });
}

#[test]
fn a_connection_that_carries_a_session_keeps_only_the_span_of_the_session() {
    let log = Log::default();
    let open = || {
        let spans = log.spans.lock().unwrap();
        let mut open: Vec<_> = spans.open.keys().map(|id| spans.all[*id as usize - 1].0.clone()).collect();
        open.sort();
        open
    };
    log.of(|| {
        let sim = Sim::new(Server::new());
        let client = sim.connect();
        assert_eq!(open(), [format!("session{{sid={}}}", &client.session[..6])]);
        client.close();
        assert_eq!(open(), <[String; 0]>::default());
        let mut polling = sim.polling();
        polling.join();
        let before = open();
        let upgrade = polling.begin_upgrade();
        assert_eq!(open().len(), before.len() + 1);
        upgrade.send_all(["2probe"]);
        upgrade.send_all(["5"]);
        assert_eq!(open(), before);
    });
}

#[test]
fn spans_are_created_only_for_a_subscriber_that_wants_them() {
    let log = Log { max_level: Level::WARN, ..Log::default() };
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| socket.on("bug", async || bug()));
        let client = Sim::new(io).connect();
        client.send_all([r#"42["bug"]"#]);
        assert_eq!(log.inside(""), ["a handler panicked"]);
        assert_eq!(log.spans.lock().unwrap().all, []);
    });
}
