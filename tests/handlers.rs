//! The parameters of handlers, the order in which they run, and the use of their return values.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Client, Drops, Gate, Sim, ends};
use sockeye::extract::{AckSender, Auth, Data, Event, State, TryData};
use sockeye::host::{Host, Runtime};
use sockeye::{Args, EmitError, HandlerError, Id, Server, SharedDataError, Socket, Time};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A client of a server whose sockets `setup` prepares.
fn connect(setup: impl Fn(&Socket) + Send + Sync + 'static) -> Client {
    let server = Server::new();
    server.on_connect(move |socket: Socket| {
        setup(&socket);
        async {}
    });
    Sim::new(server).connect()
}

#[test]
fn a_thousand_events_in_one_burst_are_answered_in_order() {
    let client = connect(|socket| {
        socket.on("echo", async |socket: Socket, Data(n): Data<u32>| socket.emit("echo", n));
    });
    let events: Vec<_> = (0..1000).map(|n| format!(r#"42["echo",{n}]"#)).collect();
    client.send_all(events.iter().map(String::as_str));
    assert_eq!(client.texts(), events);
}

#[test]
fn a_handler_that_waits_does_not_hold_up_later_ones() {
    let gate = Gate::default();
    let wait = gate.clone();
    let client = connect(move |socket| {
        let wait = wait.clone();
        socket.on("slow", move || {
            let wait = wait.clone();
            async move {
                wait.wait().await;
                "slow"
            }
        });
        socket.on("fast", async || "fast");
    });
    client.send_all([r#"421["slow"]"#, r#"422["fast"]"#, r#"423["fast"]"#]);
    assert_eq!(client.texts(), [r#"432["fast"]"#, r#"433["fast"]"#]);
    gate.open();
    assert_eq!(client.next(), r#"431["slow"]"#);
}

#[test]
fn a_handler_that_panics_harms_nobody() {
    let gate = Gate::default();
    let wait = gate.clone();
    let client = connect(move |socket| {
        socket.on("at once", || -> std::future::Ready<()> { panic!("in the function") });
        socket.on("polled", async || -> () { panic!("in the future") });
        let wait = wait.clone();
        socket.on("later", move || {
            let wait = wait.clone();
            async move {
                wait.wait().await;
                panic!("after waiting");
                #[allow(unreachable_code)]
                ()
            }
        });
        socket.on("fine", async || 1);
        socket.on_disconnect(async || -> () { panic!("at the end") });
    });
    let other = client.sim.connect();
    client.send_all([r#"421["at once"]"#, r#"422["polled"]"#, r#"423["later"]"#, r#"424["fine"]"#]);
    assert_eq!(client.texts(), ["434[1]"]);
    gate.open();
    client.send(r#"425["fine"]"#);
    assert_eq!(client.texts(), ["435[1]"]);
    client.close();
    other.send(r#"426["fine"]"#);
    assert_eq!(other.texts(), ["436[1]"]);
    assert_eq!(client.sim.server().sockets().len(), 1);
}

#[test]
fn a_connect_handler_that_panics_leaves_the_socket_connected() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| -> () {
        socket.on("x", async || 1);
        panic!("a bug");
    });
    let client = Sim::new(server).connect();
    client.send(r#"421["x"]"#);
    assert_eq!(client.next(), "431[1]");
}

#[test]
fn an_event_whose_data_does_not_fit_is_skipped() {
    let client = connect(|socket| {
        socket.on("number", async |Data(n): Data<u32>| n);
        socket.on("try", async |TryData(n): TryData<u32>| n.is_err());
    });
    client.send_all([r#"421["number","x"]"#, r#"422["number"]"#, r#"423["number",7]"#]);
    assert_eq!(client.texts(), ["433[7]"]);
    client.send_all([r#"424["try","x"]"#, r#"425["try",1]"#]);
    assert_eq!(client.texts(), ["434[true]", "435[false]"]);
    assert!(!client.is_closed());
}

#[test]
fn what_a_handler_returns_is_the_acknowledgement() {
    let client = connect(|socket| {
        socket.on("nothing", async || ());
        socket.on("one", async || "x");
        socket.on("tuple", async || (1, "b", [true, false]));
        socket.on("list", async || vec![1, 2]);
        socket.on("none", async || None::<u32>);
        socket.on("null", async || serde_json::Value::Null);
        socket.on("nulls", async || ((), serde_json::Value::Null));
        socket.on("fine", async || Ok::<_, EmitError>(()));
        socket.on("sent", async |ack: AckSender| {
            ack.send(serde_json::Value::Null).unwrap();
        });
        socket.on("ok", async || Ok::<_, EmitError>(5));
        socket.on("bytes", async || Bytes::from_static(b"abc"));
        socket.on("args", async |args: Args| args);
    });
    for (event, answer) in [
        ("nothing", "[]"),
        ("one", r#"["x"]"#),
        ("tuple", r#"[1,"b",[true,false]]"#),
        ("list", "[[1,2]]"),
        ("none", "[null]"),
        ("null", "[null]"),
        ("nulls", "[null,null]"),
        ("fine", "[]"),
        ("sent", "[null]"),
        ("ok", "[5]"),
        ("args", "[]"),
    ] {
        client.send(&format!(r#"420["{event}"]"#));
        assert_eq!(client.next(), format!("430{answer}"), "{event}");
    }
    client.send(r#"429["args",{ "a": [1.50] },null]"#);
    assert_eq!(client.next(), r#"439[{ "a": [1.50] },null]"#);
    client.send(r#"427["bytes"]"#);
    assert_eq!(client.next(), r#"461-7[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), b"abc");
    // Without an id nothing is acknowledged.
    client.send(r#"42["one"]"#);
    client.expect_nothing();
}

#[test]
fn half_a_surrogate_pair_reaches_typed_handlers_as_the_replacement_character() {
    let client = connect(|socket| {
        socket.on("length", async |Data((text, more)): Data<(String, Vec<String>)>| (text, more));
        socket.on_fallback(async |args: Args| args);
    });
    client.send(r#"421["length","\ud83d",["\ud83d\ude00","x\uDE00"]]"#);
    assert_eq!(client.next(), "431[\"\u{fffd}\",[\"\u{1f600}\",\"x\u{fffd}\"]]");
    // Arguments that are forwarded are the same to the byte.
    client.send(r#"422["other",{ "\ud83d": "\uDFFF" }]"#);
    assert_eq!(client.next(), r#"432[{ "\ud83d": "\uDFFF" }]"#);
}

#[test]
fn half_a_surrogate_pair_in_auth_is_read_as_the_replacement_character() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.emit("you", socket.auth::<serde_json::Value>().unwrap()));
    let client = Sim::new(server).client();
    client.send(r#"40{"name":"\ud83d"}"#);
    assert!(client.next().starts_with("40"));
    assert_eq!(client.next(), "42[\"you\",{\"name\":\"\u{fffd}\"}]");
}

#[test]
fn an_empty_attachment_is_empty_data() {
    let client = connect(|socket| {
        socket.on("x", async |Data(data): Data<Bytes>| data);
        socket.on("args", async |args: Args| args);
    });
    for event in ["x", "args"] {
        client.send(&format!(r#"451-1["{event}",{{"_placeholder":true,"num":0}}]"#));
        client.send_binary(b"");
        assert_eq!(client.next(), r#"461-1[{"_placeholder":true,"num":0}]"#);
        assert_eq!(client.next_binary(), b"");
    }
}

#[test]
fn binary_data_comes_and_goes() {
    let client = connect(|socket| {
        socket.on("reverse", async |Data((name, data)): Data<(String, Bytes)>| {
            (name, Bytes::from(data.iter().rev().copied().collect::<Vec<_>>()))
        });
        socket.on("args", async |socket: Socket, args: Args| socket.emit("args", args));
    });
    client.send(r#"451-3["reverse","x",{"_placeholder":true,"num":0}]"#);
    client.expect_nothing();
    client.send_binary(b"abc");
    assert_eq!(client.next(), r#"461-3["x",{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), b"cba");
    client.send(r#"452-["args",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#);
    client.send_binary(b"0");
    client.send_binary(b"1");
    assert_eq!(
        client.next(),
        r#"452-["args",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#
    );
    assert_eq!((client.next_binary(), client.next_binary()), (b"0".to_vec(), b"1".to_vec()));
}

#[test]
fn an_error_is_not_acknowledged() {
    let client = connect(|socket| {
        socket.on("fails", async || Err::<u32, _>(EmitError::Disconnected));
        socket.on("question", async || -> Result<u32, HandlerError> { Ok("x".parse::<u32>()?) });
        socket.on("fine", async || 1);
    });
    client.send_all([r#"421["fails"]"#, r#"422["question"]"#, r#"42["fails"]"#, r#"423["fine"]"#]);
    assert_eq!(client.texts(), ["433[1]"]);
}

#[test]
fn an_error_of_the_applications_own_is_the_acknowledgement() {
    #[derive(serde::Serialize)]
    struct Problem {
        error: &'static str,
    }
    let client = connect(|socket| {
        socket.on("text", async || Err::<u32, _>("no"));
        socket.on("object", async || Err::<u32, _>(Problem { error: "no" }));
        socket.on("list", async || Err::<u32, _>((404, "no")));
        socket.on("unit", async || Err::<u32, _>(()));
        socket.on("bytes", async || Err::<u32, _>(Bytes::from_static(b"abc")));
        socket.on("refusal", async || Err::<u32, _>(sockeye::ConnectError::new("no").data(1)));
        socket.on("later", async || {
            smol::future::yield_now().await;
            Err::<u32, _>("no")
        });
        socket.on("sender", async |ack: AckSender| ack.send(Err::<u32, _>("no")));
        socket.on("sender of another", async |ack: AckSender| {
            let sent = ack.send(Err::<u32, _>(EmitError::Disconnected));
            assert_eq!(sent.unwrap_err().to_string(), "failed: the socket is not connected");
        });
    });
    for (event, answer) in [
        ("text", r#"["no"]"#),
        ("object", r#"[{"error":"no"}]"#),
        ("list", r#"[404,"no"]"#),
        ("unit", "[]"),
        ("refusal", r#"[{"message":"no","data":1}]"#),
        ("later", r#"["no"]"#),
        ("sender", r#"["no"]"#),
    ] {
        client.send(&format!(r#"420["{event}"]"#));
        assert_eq!(client.next(), format!("430{answer}"), "{event}");
        client.send(&format!(r#"42["{event}"]"#));
        client.expect_nothing();
    }
    client.send(r#"427["bytes"]"#);
    assert_eq!(client.next(), r#"461-7[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), b"abc");
    client.send(r#"428["sender of another"]"#);
    client.expect_nothing();
}

#[test]
fn the_type_of_the_return_value_decides_that_an_err_is_an_error() {
    mod own {
        #[derive(serde::Serialize)]
        pub(super) enum Result {
            Err(u8),
        }
    }
    let client = connect(|socket| {
        socket.on("own", async || own::Result::Err(1));
        socket.on("inside of ok", async || Ok::<_, HandlerError>(Err::<u32, _>(1)));
        socket.on("inside of err", async || Err::<u32, _>(Err::<u32, _>(1)));
        socket.on("tuple", async || (Err::<u32, _>(1), 2));
        socket.on("error in a tuple", async || (HandlerError::new("a text"),));
    });
    for (event, answer) in [
        ("own", r#"[{"Err":1}]"#),
        ("inside of ok", r#"[{"Err":1}]"#),
        ("inside of err", r#"[{"Err":1}]"#),
        ("tuple", r#"[{"Err":1},2]"#),
        ("error in a tuple", r#"["a text"]"#),
    ] {
        client.send(&format!(r#"420["{event}"]"#));
        assert_eq!(client.next(), format!("430{answer}"), "{event}");
    }
}

#[test]
fn an_err_is_not_emitted() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    let refused = socket.emit("x", Err::<u32, _>("no")).unwrap_err();
    assert_eq!(refused.to_string(), r#"an `Err` can be acknowledged, but not emitted: "no""#);
    assert!(client.sim.server().emit("x", Err::<u32, _>("no")).error.is_some());
    assert!(client.sim.server().server_side_emit("x", Err::<u32, _>("no")).is_err());
    client.expect_nothing();
    socket.emit("x", Ok::<_, EmitError>(1)).unwrap();
    assert_eq!(client.next(), r#"42["x",1]"#);
}

#[test]
fn an_ack_sender_answers_when_it_suits_and_in_place_of_the_return_value() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let client = connect(move |socket| {
        let keep = keep.clone();
        socket.on("x", move |ack: AckSender| {
            keep.lock().unwrap().push(ack);
            async { "not this" }
        });
    });
    client.send_all([r#"427["x"]"#, r#"42["x"]"#]);
    client.expect_nothing();
    let [first, second] = <[AckSender; 2]>::try_from(std::mem::take(&mut *kept.lock().unwrap())).unwrap();
    assert!(first.is_wanted() && !second.is_wanted());
    first.send(("a", 1)).unwrap();
    second.send("nobody asked").unwrap();
    assert_eq!(client.next(), r#"437["a",1]"#);
    client.expect_nothing();

    client.send(r#"428["x"]"#);
    client.close();
    let late = kept.lock().unwrap().pop().unwrap();
    assert_eq!(late.send(1), Err(EmitError::Disconnected));
}

#[test]
fn handlers_get_what_they_ask_for() {
    #[derive(Clone)]
    struct Database(u32);

    let server = Server::builder().state(Database(7)).build();
    server.on_connect(async |socket: Socket| {
        socket.on(
            "all",
            async |socket: Socket, id: Id, event: Event, State(db): State<Database>, server: Server| {
                (socket.id() == id, event.0, db.0, server.clients_count())
            },
        );
        socket.on("auth", async |Auth(auth): Auth<Vec<u32>>| auth);
        socket.on("no state", async |State(_): State<u8>| "never");
        socket.on("no reason", async |_: sockeye::DisconnectReason| "never");
    });
    let client = Sim::new(server).connect();
    client.send(r#"421["all"]"#);
    assert_eq!(client.next(), r#"431[true,"all",7,1]"#);
    // An empty object is not a list.
    client.send_all([r#"422["auth"]"#, r#"423["no state"]"#, r#"424["no reason"]"#]);
    client.expect_nothing();
}

#[test]
fn the_handshake_is_there_for_handlers() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        let handshake = socket.handshake();
        let header = handshake.header("x-test").unwrap_or_default().to_owned();
        socket.emit("handshake", (header, handshake.query_param("transport"), socket.transport().name()))
    });
    let client = Sim::new(server).connect();
    assert_eq!(client.next(), r#"42["handshake","yes","websocket","websocket"]"#);
}

#[test]
fn events_without_a_handler_of_their_own_go_to_the_fallback() {
    let client = connect(|socket| {
        socket.on("known", async || "known");
        socket.on_fallback(async |Event(name): Event, args: Args| (name, args.len()));
        socket.on("gone", async || "gone");
        socket.off("gone");
        socket.off("never there");
        socket.on("twice", async || 1);
        socket.off("twice");
        socket.on("twice", async || 2);
    });
    client.send_all([r#"421["known"]"#, r#"422["other",1,2]"#, r#"423["gone"]"#, r#"424["twice"]"#]);
    assert_eq!(client.texts(), [r#"431["known"]"#, r#"432["other",2]"#, r#"433["gone",0]"#, "434[2]"]);
    // Integers are names too.
    client.send(r#"425[7,"x"]"#);
    assert_eq!(client.next(), r#"435["7",1]"#);
}

#[test]
fn an_event_without_any_handler_is_dropped() {
    let client = connect(|_| {});
    client.send(r#"421["x"]"#);
    client.expect_nothing();
    assert!(!client.is_closed());
}

#[test]
#[should_panic(expected = "reserved")]
fn a_reserved_name_has_no_handler() {
    let client = connect(|_| {});
    client.sim.server().sockets()[0].on("disconnect", async || ());
}

#[test]
fn a_reserved_name_is_not_sent() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    assert!(matches!(socket.emit("connect", ()), Err(EmitError::Encode(_))));
    assert!(client.sim.server().emit("disconnect", ()).error.is_some());
    client.expect_nothing();
}

#[test]
fn data_is_kept_with_a_socket_one_of_each_type() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    socket.set_data(1_u32);
    socket.set_data("a".to_owned());
    socket.set_data(2_u32);
    assert_eq!(socket.data::<u32>().as_deref(), Some(&2));
    assert_eq!(socket.data::<String>().as_deref().map(String::as_str), Some("a"));
    assert!(socket.data::<u64>().is_none());
    client.close();
    assert_eq!(socket.data::<u32>().as_deref(), Some(&2));
}

#[test]
fn shared_data_is_kept_as_json_and_outlives_the_client() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    assert_eq!(socket.shared_data_json(), None);
    assert_eq!(socket.shared_data::<u32>().unwrap(), None);
    socket.set_shared_data(("Ann", 7)).unwrap();
    assert_eq!(socket.shared_data::<(String, u32)>().unwrap(), Some(("Ann".to_owned(), 7)));
    assert!(matches!(socket.shared_data::<bool>(), Err(SharedDataError::Deserialize(_))));
    client.close();
    assert_eq!(socket.shared_data_json().as_deref(), Some(r#"["Ann",7]"#));
}

#[test]
fn shared_data_that_is_too_long_or_no_json_leaves_the_earlier_data() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    let longest = "x".repeat((64 << 10) - 2);
    socket.set_shared_data(&longest).unwrap();
    let too_long = socket.set_shared_data(format!("{longest}x"));
    assert!(matches!(too_long, Err(SharedDataError::TooLong)), "{too_long:?}");
    let no_json = socket.set_shared_data(std::collections::BTreeMap::from([((1, 2), 3)]));
    assert!(matches!(no_json, Err(SharedDataError::Serialize(_))), "{no_json:?}");
    assert_eq!(socket.shared_data::<String>().unwrap(), Some(longest));
}

#[test]
fn send_emits_a_message_event() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    socket.send(("a", 1)).unwrap();
    socket.volatile().send(()).unwrap_err();
    assert_eq!(client.next(), r#"42["message","a",1]"#);
    socket.volatile().send(()).unwrap();
    assert_eq!(client.next(), r#"42["message"]"#);
}

#[test]
fn the_queued_bytes_of_a_slow_client_are_counted() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    assert_eq!(socket.queued_bytes(), 0);
    socket.send("x".repeat(1000)).unwrap();
    assert!(socket.queued_bytes() > 1000);
    client.next();
    assert_eq!(socket.queued_bytes(), 0);
}

/// Uses the socket when it is dropped.
struct Nosy(Socket, Arc<AtomicUsize>);

impl Drop for Nosy {
    fn drop(&mut self) {
        self.0.off("other");
        self.0.join("room");
        self.0.set_data(0_u8);
        let _ = self.0.emit("dropped", ());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_a_handler_captured_may_use_the_socket_when_it_is_dropped() {
    let client = connect(|_| {});
    let socket = client.sim.server().sockets().remove(0);
    let drops = ends(move || {
        let drops = Arc::new(AtomicUsize::new(0));
        let nosy = || {
            let nosy = Nosy(socket.clone(), drops.clone());
            move || {
                let _ = &nosy;
                async {}
            }
        };
        socket.on("x", nosy());
        socket.on("x", nosy());
        socket.off("x");
        socket.on_any(nosy());
        socket.off_any();
        socket.on_any_outgoing(nosy());
        socket.off_any_outgoing();
        socket.set_data(Nosy(socket.clone(), drops.clone()));
        socket.set_data(Nosy(socket.clone(), Arc::default()));
        drops.load(Ordering::SeqCst)
    });
    assert_eq!(drops, 5);
    assert_eq!(client.texts().len(), 5);
}

#[test]
fn a_handler_may_replace_itself_and_disconnect() {
    let drops = Drops::default();
    let guards = drops.clone();
    let client = connect(move |socket| {
        let guard = guards.guard();
        socket.on("x", move |socket: Socket| {
            guard.hold();
            socket.off("x");
            socket.on("x", async || 2);
            async { 1 }
        });
        socket.on("bye", async |socket: Socket| socket.disconnect(false));
    });
    client.send_all([r#"421["x"]"#, r#"422["x"]"#, r#"423["bye"]"#]);
    assert_eq!(client.texts(), ["431[1]", "432[2]", "41"]);
    assert_eq!(drops.count(), 1);
}

/// The names of the handlers that were called, in order.
type Calls = Arc<Mutex<Vec<String>>>;

fn note(calls: &Calls, name: &'static str) -> impl Fn(Event) -> std::future::Ready<&'static str> + use<> {
    let calls = calls.clone();
    move |Event(event)| {
        calls.lock().unwrap().push(format!("{name}:{event}"));
        std::future::ready(name)
    }
}

fn taken(calls: &Calls) -> Vec<String> {
    std::mem::take(&mut calls.lock().unwrap())
}

#[test]
fn every_handler_of_an_event_is_called_and_the_first_acknowledges() {
    let calls = Calls::default();
    let noted = calls.clone();
    let client = connect(move |socket| {
        socket.on_any(note(&noted, "any"));
        socket.on("a", note(&noted, "first"));
        socket.once("a", note(&noted, "once"));
        socket.on("a", note(&noted, "last"));
        socket.on_fallback(note(&noted, "fallback"));
        socket.prepend_any(note(&noted, "before"));
        socket.on("off", async |socket: Socket| {
            socket.off("a");
            socket.off_any();
        });
    });
    client.send(r#"421["a"]"#);
    assert_eq!(client.texts(), [r#"431["first"]"#]);
    assert_eq!(taken(&calls), ["before:a", "any:a", "first:a", "once:a", "last:a"]);
    client.send_all([r#"42["a"]"#, r#"422["b"]"#, r#"42["off"]"#, r#"423["a"]"#]);
    assert_eq!(client.texts(), [r#"432["fallback"]"#, r#"433["fallback"]"#]);
    let expected = ["before:a", "any:a", "first:a", "last:a", "before:b", "any:b", "fallback:b"];
    assert_eq!(taken(&calls), [&expected[..], &["before:off", "any:off", "fallback:a"]].concat());
}

#[test]
fn what_leaves_is_told_to_those_who_listen_to_it() {
    let server = Server::new();
    let calls = Calls::default();
    let noted = calls.clone();
    server.on_connect(async |_: Socket| ());
    // Every handler of the connection is called.
    server.on_connect(move |socket: Socket| {
        socket.on_any_outgoing(note(&noted, "out"));
        socket.prepend_any_outgoing(note(&noted, "before"));
        let calls = noted.clone();
        socket.on_any_outgoing(move |args: Args| {
            calls.lock().unwrap().push(format!("{:?}", args.deserialize::<(String, bytes::Bytes)>().ok()));
            async {}
        });
        socket.on("stop", async |socket: Socket| socket.off_any_outgoing());
        socket.on("ack", async || "no event");
        async {}
    });
    let sim = Sim::new(server.clone());
    let (client, other) = (sim.connect(), sim.connect());
    let told = ["before:a", "out:a", r#"Some(("x", b"\0"))"#];
    let socket = server.sockets().remove(0);
    socket.emit("a", ("x", Bytes::from_static(b"\0"))).unwrap();
    assert_eq!(taken(&calls), told);
    server.emit("a", ("x", Bytes::from_static(b"\0")));
    assert_eq!(taken(&calls), [told, told].concat());
    client.send(r#"421["ack"]"#);
    assert_eq!(taken(&calls), [""; 0], "an acknowledgement is no event");
    client.send(r#"42["stop"]"#);
    other.send(r#"42["stop"]"#);
    server.emit("a", 1);
    socket.emit("a", 1).unwrap();
    assert_eq!(taken(&calls), [""; 0]);
}

/// A runtime that knows whether it was entered.
#[derive(Default)]
struct Entered(AtomicBool);

impl Runtime for Entered {
    fn now(&self) -> Time {
        Time::ZERO
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        self.0.store(true, Ordering::SeqCst);
        f();
        self.0.store(false, Ordering::SeqCst);
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {
        unreachable!("no handler waits");
    }
}

#[test]
fn handlers_of_outgoing_events_and_of_the_end_are_called_inside_of_the_runtime() {
    let (server, runtime, calls) = (Server::new(), Arc::new(Entered::default()), Calls::default());
    server.attach(runtime.clone());
    let noted = calls.clone();
    server.on_connect(move |socket: Socket| {
        let note = || {
            let (runtime, calls) = (runtime.clone(), noted.clone());
            move |Event(name): Event| {
                calls.lock().unwrap().push(format!("{name}: {}", runtime.0.load(Ordering::SeqCst)));
                async {}
            }
        };
        socket.on_any_outgoing(note());
        socket.on_disconnect(note());
        async {}
    });
    let sim = Sim::new(server.clone());
    let _client = sim.connect();
    let socket = server.sockets().remove(0);
    socket.emit("one", ()).unwrap();
    server.emit("all", ());
    socket.disconnect(false);
    assert_eq!(taken(&calls), ["one: true", "all: true", "disconnect: true"]);
}

#[test]
fn the_first_handler_that_can_be_called_acknowledges() {
    let client = connect(|socket| {
        socket.on("x", async |Data(n): Data<u32>| n);
        socket.on("x", async |Data(text): Data<String>| text);
        socket.on("x", async |Data(text): Data<String>| format!("never {text}"));
        socket.on("later", async |ack: AckSender, Data(n): Data<u32>| ack.send(n));
        socket.on("later", async |Data(text): Data<String>| text);
    });
    client.send_all([r#"421["x","text"]"#, r#"422["x",7]"#, r#"423["x",[]]"#]);
    assert_eq!(client.texts(), [r#"431["text"]"#, "432[7]"]);
    client.send_all([r#"424["later","text"]"#, r#"425["later",7]"#]);
    assert_eq!(client.texts(), [r#"434["text"]"#, "435[7]"]);
}

/// A relay of one event: an argument in front, the rest as it came.
async fn relay(socket: Socket, args: Args) -> Result<(), EmitError> {
    let mut out = Args::new();
    out.push("from")?;
    for arg in &args {
        match arg.bytes() {
            Some(bytes) => out.push(Bytes::copy_from_slice(bytes))?,
            None => out.push(arg.deserialize::<serde_json::Value>().unwrap())?,
        };
    }
    socket.emit("relayed", out)
}

#[test]
fn arguments_are_read_one_by_one_and_put_together() {
    let client = connect(|socket| {
        socket.on("relay", relay);
        socket.on("list", async |args: Args| {
            Args::from_values(args.to_values().unwrap().iter().rev()).unwrap()
        });
        socket.on("sum", async |args: Args| {
            args.iter().map(|arg| arg.deserialize::<u32>()).sum::<Result<u32, _>>().unwrap()
        });
        socket.on("second", async |args: Args| args.get(1).unwrap().deserialize::<String>().unwrap());
        socket.on("json", async |args: Args| {
            let again = Args::from_json(&args.to_json(), args.attachments().iter().cloned()).unwrap();
            assert_eq!(again, args);
            (args.to_json(), format!("{args:?}"))
        });
    });
    let answer = |event: &str| {
        client.send(event);
        client.next()
    };
    assert_eq!(answer(r#"421["list",1,{"b":[2]},"\ud800"]"#), "431[\"\u{fffd}\",{\"b\":[2]},1]");
    assert_eq!(answer(r#"421["list"]"#), "431[]");
    assert_eq!(answer(r#"421["sum",1,2,3]"#), "431[6]");
    assert_eq!(answer(r#"421["second",1,"x"]"#), r#"431["x"]"#);
    assert_eq!(answer(r#"421["json", 1 ,"x"]"#), r#"431["[1,\"x\"]","[1, \"x\"]"]"#);
    client.send(r#"451-["relay",{"a":1},{"_placeholder":true,"num":0},null]"#);
    client.send_binary(b"bytes");
    assert_eq!(client.next(), r#"451-["relayed","from",{"a":1},{"_placeholder":true,"num":0},null]"#);
    assert_eq!(client.next_binary(), b"bytes");
}
