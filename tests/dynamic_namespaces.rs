//! Namespaces that clients create by asking for them: patterns, functions, and their removal.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/rig/mod.rs"]
mod rig;
mod simulation;

use rig::World;
use serde::Deserialize;
use simulation::{Calls, Client, Drops, Gate, Sim};
use sockeye::extract::{Data, Params};
use sockeye::{
    ConnectError, Handshake, Limits, NamespaceError, ParentNamespace, PatternError, Server, Socket,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

fn children(parent: &ParentNamespace) -> Vec<String> {
    let mut names: Vec<_> = parent.children().iter().map(|it| it.name().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Asks for a namespace, and returns the answer without the packet's head.
fn ask(client: &Client, name: &str, auth: &str) -> String {
    client.send(&format!("40{name},{auth}"));
    let answer = client.next();
    answer
        .strip_prefix(&format!("44{name},"))
        .unwrap_or(if answer.starts_with("40") { "in" } else { "?" })
        .into()
}

const INVALID: &str = r#"{"message":"Invalid namespace"}"#;

#[derive(Deserialize)]
struct Login {
    user: String,
}

#[test]
fn a_pattern_creates_a_namespace_for_each_name_with_the_handlers_and_middleware_of_the_parent() {
    let server = Server::new();
    let tenants = server.of_pattern("/tenant-{id}");
    tenants.middleware(async |Params(id): Params<u32>| if id < 100 { Ok(()) } else { Err("who?".into()) });
    tenants.on_connect(async |socket: Socket, Params(id): Params<u32>| socket.emit("id", id));
    tenants.on("say", async |socket: Socket, Data(text): Data<String>| {
        socket.broadcast().emit("said", text);
    });
    let sim = Sim::new(server.clone());
    let [mut a, mut b, mut other] = [sim.client(), sim.client(), sim.client()];
    for (client, name) in [(&mut a, "/tenant-7"), (&mut b, "/tenant-7"), (&mut other, "/tenant-8")] {
        client.join(name);
        assert_eq!(client.next(), format!("42{name},[\"id\",{}]", &name[8..]));
    }
    assert_eq!(children(&tenants), ["/tenant-7", "/tenant-8"]);
    a.send(r#"42/tenant-7,["say","hi"]"#);
    assert_eq!(b.next(), r#"42/tenant-7,["said","hi"]"#);
    other.expect_nothing();
    assert_eq!(ask(&a, "/tenant-100", ""), r#"{"message":"who?"}"#);
    // The parameter is no number.
    assert_eq!(ask(&a, "/tenant-x", ""), INVALID);
    assert_eq!(ask(&a, "/tenant-", ""), INVALID);
    assert_eq!(ask(&a, "/tenant-1/2", ""), INVALID);
    assert_eq!(children(&tenants), ["/tenant-7", "/tenant-8"], "a refused client leaves nothing behind");
    // Handlers that are added later are for the children that exist, too.
    tenants.on("late", async || "yes");
    a.send(r#"42/tenant-7,1["late"]"#);
    assert_eq!(a.next(), r#"43/tenant-7,1["yes"]"#);
}

#[test]
fn several_parameters_are_extracted_by_order_or_by_name() {
    #[derive(Deserialize)]
    struct Place {
        org: String,
        rest: String,
    }
    let server = Server::new();
    let parent = server.of_pattern("org/{org}/{*rest}");
    assert_eq!(parent.pattern(), Some("/org/{org}/{*rest}"));
    parent.on("tuple", async |Params((org, rest)): Params<(String, String)>| format!("{org} {rest}"));
    parent.on("named", async |Params(it): Params<Place>| format!("{} {}", it.org, it.rest));
    parent.on("number", async |Params((_, _)): Params<(u8, u8)>| "not called");
    server.on("main", async |Params(_): Params<String>| "not called");
    let sim = Sim::new(server);
    let mut client = sim.connect();
    client.join("/org/acme/a/b");
    let call = |event: &str| client.send(&format!(r#"42/org/acme/a/b,1["{event}"]"#));
    call("tuple");
    assert_eq!(client.next(), r#"43/org/acme/a/b,1["acme a/b"]"#);
    call("named");
    assert_eq!(client.next(), r#"43/org/acme/a/b,1["acme a/b"]"#);
    call("number");
    client.send(r#"421["main"]"#);
    client.expect_nothing();
}

#[test]
fn an_earlier_name_wins_over_a_pattern_and_an_earlier_pattern_over_a_later_one() {
    let server = Server::new();
    let fixed = server.of("/a-static");
    let first = server.of_pattern("/a-{x}");
    let all = server.of_pattern("/{*rest}");
    let sim = Sim::new(server.clone());
    let mut client = sim.client();
    for name in ["/a-static", "/a-1", "/b", "/b/c"] {
        client.join(name);
    }
    assert_eq!(fixed.sockets_count(), 1);
    assert_eq!(children(&first), ["/a-1"]);
    assert_eq!(children(&all), ["/b", "/b/c"]);
    // A message can be sent before the first client connects: it is the child that `of` creates.
    let later = server.of("a-2");
    assert_eq!(children(&first), ["/a-1", "/a-2"]);
    client.join("/a-2");
    assert_eq!(later.sockets_count(), 1);
}

#[test]
fn a_child_may_have_handlers_of_its_own_which_come_after_those_of_the_parent() {
    let server = Server::new();
    let (calls, parent) = (Arc::new(Mutex::new(Vec::new())), server.of_pattern("/p/{x}"));
    let note = |name: &'static str| {
        let calls = calls.clone();
        move || {
            calls.lock().unwrap().push(name);
            async {}
        }
    };
    server.on_new_namespace({
        let own = note("child");
        move |child| child.on("x", own.clone())
    });
    parent.on("x", note("parent"));
    let sim = Sim::new(server);
    let mut client = sim.client();
    client.join("/p/1");
    client.send(r#"42/p/1,["x"]"#);
    assert_eq!(*calls.lock().unwrap(), ["parent", "child"]);
}

#[test]
fn a_broadcast_of_the_parent_reaches_the_sockets_of_all_children() {
    let server = Server::new();
    let parent = server.of_pattern("/t-{x}");
    parent.on_connect(async |socket: Socket, Params(x): Params<u8>| {
        socket.join(if x == 1 { "odd" } else { "even" })
    });
    let sim = Sim::new(server);
    let clients = ["/t-1", "/t-2"].map(|name| {
        let mut client = sim.connect();
        client.join(name);
        client
    });
    let sent = parent.emit("all", 1);
    assert_eq!((sent.sent, sent.dropped, sent.error), (2, 0, None));
    assert_eq!(clients[0].next(), r#"42/t-1,["all",1]"#);
    assert_eq!(clients[1].next(), r#"42/t-2,["all",1]"#);
    assert_eq!(parent.to("odd").emit("odd", ()).sent, 1);
    assert_eq!(clients[0].next(), r#"42/t-1,["odd"]"#);
    assert_eq!(parent.except("odd").volatile().emit("even", ()).sent, 1);
    assert_eq!(clients[1].next(), r#"42/t-2,["even"]"#);
    clients.iter().for_each(Client::expect_nothing);
}

#[test]
fn a_function_decides_by_name_auth_and_request() {
    let server = Server::new();
    let parent = server.of_fn(async |name: String, login: Login, handshake: Handshake| {
        name == "/for-ann" && login.user == "ann" && handshake.url().contains("transport=websocket")
    });
    assert_eq!(parent.pattern(), None);
    parent.on("who", async |socket: Socket| socket.namespace().name().to_owned());
    let sim = Sim::new(server);
    let client = sim.client();
    assert_eq!(ask(&client, "/for-ann", r#"{"user":"bob"}"#), INVALID);
    assert_eq!(ask(&client, "/for-ann", r#"{"user":1}"#), INVALID);
    assert_eq!(ask(&client, "/for-bob", r#"{"user":"ann"}"#), INVALID);
    assert!(parent.children().is_empty());
    assert_eq!(ask(&client, "/for-ann", r#"{"user":"ann"}"#), "in");
    client.send(r#"42/for-ann,1["who"]"#);
    assert_eq!(client.next(), r#"43/for-ann,1["/for-ann"]"#);
    // Only a name that does not exist is asked for.
    assert_eq!(ask(&sim.client(), "/for-ann", ""), "in");
}

/// A server with a function that waits at the gate and lets in those whose `user` is `ann`; counts the new namespaces.
fn waiting() -> (Sim, ParentNamespace, Gate, Drops) {
    let (server, gate, created) = (Server::new(), Gate::default(), Drops::default());
    let (wait, count) = (gate.clone(), created.clone());
    server.on_new_namespace(move |_| drop(count.guard()));
    let parent = server.of_fn(move |_: String, login: Login, _: Handshake| {
        let wait = wait.clone();
        async move {
            wait.wait().await;
            login.user == "ann"
        }
    });
    (Sim::new(server), parent, gate, created)
}

const ANN: &str = r#"{"user":"ann"}"#;

#[test]
fn a_hundred_clients_that_ask_at_the_same_instant_share_one_child() {
    let (sim, parent, gate, created) = waiting();
    let clients: Vec<_> = (0..100).map(|_| sim.client()).collect();
    for (at, client) in clients.iter().enumerate() {
        client.send(&format!(r#"40/x,{{"user":"{}"}}"#, if at % 10 == 0 { "bob" } else { "ann" }));
        client.expect_nothing();
    }
    assert_eq!(created.count(), 0);
    gate.open();
    for (at, client) in clients.iter().enumerate() {
        // Nine of ten were let in. The others' function said no, although the namespace exists by then.
        assert!(client.next().starts_with(if at % 10 == 0 { "44/x,{" } else { "40/x,{" }));
    }
    assert_eq!((created.count(), children(&parent)), (1, vec!["/x".to_owned()]));
    assert_eq!(sim.server().of("/x").sockets_count(), 90);
}

#[test]
fn threads_that_join_and_leave_at_the_same_time_share_one_child_which_the_last_removes() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 30;
    let server = Server::builder().cleanup_empty_child_namespaces(true).build();
    let parent = server.of_pattern("/x-{n}");
    let joined = Arc::new(AtomicUsize::new(0));
    let count = joined.clone();
    parent.on_connect(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut world = World::new(server.clone());
                let clients: Vec<_> = (0..4).map(|_| world.websocket()).collect();
                for round in 0..ROUNDS {
                    let name = format!("/x-{round}");
                    barrier.wait();
                    for client in &clients {
                        world.send(*client, &rig::text(&format!("40{name},")));
                    }
                    barrier.wait();
                    assert_eq!(children(&parent), [&*name]);
                    assert_eq!(parent.children()[0].sockets_count(), THREADS * clients.len());
                    barrier.wait();
                    // The last of one round leaves while others come again.
                    for packet in [format!("41{name},"), format!("40{name},"), format!("41{name},")] {
                        for client in &clients {
                            world.send(*client, &rig::text(&packet));
                        }
                    }
                    barrier.wait();
                    assert!(parent.children().is_empty());
                }
            });
        }
    });
    assert_eq!(joined.load(Ordering::SeqCst), THREADS * 4 * ROUNDS * 2);
}

#[test]
fn a_connect_that_is_repeated_while_the_function_decides_is_answered_once() {
    let (sim, parent, gate, _) = waiting();
    let client = sim.client();
    let connect = format!("40/x,{ANN}");
    client.send_all([&*connect, &*connect]);
    gate.open();
    assert!(client.next().starts_with("40/x,{"));
    client.expect_nothing();
    assert_eq!(parent.children()[0].sockets_count(), 1);
}

#[test]
fn a_connect_that_is_repeated_or_is_one_too_many_keeps_no_child_alive() {
    let server = Server::builder()
        .cleanup_empty_child_namespaces(true)
        .packet_limits(Limits { max_namespaces: 1, ..Limits::default() })
        .build();
    let parent = server.of_pattern("/{x}");
    let sim = Sim::new(server);
    let client = sim.client();
    client.send_all(["40/a,", "40/a,", "40/b,"]);
    assert!(client.next().starts_with("40/a,{"));
    assert_eq!(client.next(), r#"44/b,{"message":"too many namespaces"}"#);
    assert_eq!(children(&parent), ["/a"]);
    client.send("41/a,");
    assert!(parent.children().is_empty());
}

#[test]
fn a_client_that_goes_while_the_function_decides_leaves_nothing_behind() {
    let ways: [fn(&Client); 3] = [|client| client.send("41/x,"), Client::close, Client::cut];
    for way in ways {
        let (sim, parent, gate, created) = waiting();
        let client = sim.connect();
        client.send(&format!("40/x,{ANN}"));
        way(&client);
        gate.open();
        sim.run();
        assert_eq!(
            (parent.children().len(), created.count()),
            (0, usize::from(!parent.children().is_empty()))
        );
        assert!(matches!(client.poll(), None | Some(simulation::Incoming::Close(_))));
    }
}

#[test]
fn a_function_that_never_answers_refuses_by_the_deadline_and_nobody_else_notices() {
    let (sim, parent, _, _) = waiting();
    let (client, other) = (sim.connect(), sim.connect());
    let tasks = sim.tasks();
    client.send(&format!("40/x,{ANN}"));
    other.send(r#"421["x"]"#);
    sim.advance(Duration::from_millis(44_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.next(), r#"44/x,{"message":"timeout"}"#);
    assert_eq!(sim.tasks(), tasks, "the function's future is dropped");
    assert!(parent.children().is_empty() && !client.is_closed() && !other.is_closed());
    assert_eq!(sim.server().sockets().len(), 2);
}

#[test]
fn the_function_and_the_middleware_share_one_deadline() {
    let (sim, parent, gate, _) = waiting();
    parent.middleware(std::future::pending::<Result<(), ConnectError>>);
    let client = sim.connect();
    client.send(&format!("40/x,{ANN}"));
    sim.advance(Duration::from_secs(30));
    gate.open();
    sim.run();
    assert_eq!(children(&parent), ["/x"]);
    sim.advance(Duration::from_millis(14_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.next(), r#"44/x,{"message":"timeout"}"#);
    assert!(parent.children().is_empty());
}

#[test]
fn a_function_that_panics_refuses_its_client_only() {
    let server = Server::new();
    let parent = server.of_fn(|name: String, (): (), _: Handshake| {
        assert!(name != "/at-once", "a bug");
        async move {
            assert!(name != "/later", "a bug");
            true
        }
    });
    // An `auth` of any type.
    let any = server.of_fn(|name: String, _: serde_json::Value, _: Handshake| {
        assert!(name != "/at-once", "a bug");
        async move {
            assert!(name != "/later", "a bug");
            true
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    assert_eq!(ask(&client, "/at-once", ""), r#"{"message":"Internal error"}"#);
    assert_eq!(ask(&client, "/later", ""), r#"{"message":"Internal error"}"#);
    assert_eq!(ask(&client, "/fine", ""), "in");
    assert_eq!((children(&parent).len(), children(&any)), (0, vec!["/fine".to_owned()]));
}

#[test]
fn an_empty_child_is_kept_unless_it_is_to_be_cleaned_up() {
    for cleanup in [false, true] {
        let server = Server::builder().cleanup_empty_child_namespaces(cleanup).build();
        let parent = server.of_pattern("/{x}");
        let sim = Sim::new(server.clone());
        let mut clients = [sim.client(), sim.client()];
        clients.iter_mut().for_each(|client| drop(client.join("/a")));
        let first = parent.children().remove(0);
        clients[0].send("41/a,");
        assert_eq!(children(&parent), ["/a"]);
        clients[1].close();
        assert_eq!(parent.children().is_empty(), cleanup);
        // A later client is in the namespace that there is then.
        clients[0].join("/a");
        assert_eq!(first.sockets_count(), usize::from(!cleanup));
        assert_eq!(server.of("/a").sockets_count(), 1);
        // The program's own is not removed before it had a socket.
        server.of("/b");
        server.of("/static");
        assert!(children(&parent).contains(&"/b".to_owned()));
    }
}

#[test]
fn clients_create_no_more_children_than_there_may_be() {
    let server = Server::builder().max_child_namespaces(2).build();
    let parent = server.of_pattern("/{x}");
    parent.middleware(
        async |Params(name): Params<String>| if name == "no" { Err("no".into()) } else { Ok(()) },
    );
    let function = server.of_fn(async |_: String, _: serde_json::Value, _: Handshake| true);
    let sim = Sim::new(server.clone());
    let client = sim.connect();
    for _ in 0..3 {
        assert_eq!(ask(&client, "/no", ""), r#"{"message":"no"}"#);
    }
    assert_eq!(ask(&client, "/a", ""), "in");
    assert_eq!(ask(&client, "/b/of_fn", ""), "in");
    let full = r#"{"message":"the server has too many namespaces"}"#;
    assert_eq!(ask(&client, "/c", ""), full);
    assert_eq!(ask(&client, "/c/of_fn", ""), full);
    // Those that exist are not affected, nor is the program.
    assert_eq!(ask(&sim.client(), "/a", ""), "in");
    server.of("/c");
    assert_eq!(ask(&client, "/c", ""), "in");
    assert!(server.delete_namespace("/a") && server.delete_namespace("/c"));
    assert_eq!((client.next(), client.next()), ("41/a,".into(), "41/c,".into()));
    assert_eq!(ask(&client, "/d", ""), "in");
    assert_eq!(
        (children(&parent), children(&function)),
        (vec!["/d".to_owned()], vec!["/b/of_fn".to_owned()])
    );
}

#[test]
fn a_name_that_no_client_should_use_is_refused_whatever_matches() {
    let server =
        Server::builder().packet_limits(Limits { max_namespace_len: 9, ..Limits::default() }).build();
    let parent = server.of_pattern("/{*any}");
    let sim = Sim::new(server);
    let client = sim.connect();
    assert_eq!(ask(&client, "/12345678", ""), "in");
    for packet in ["40/123456789,", "40/a\u{1e}b,"] {
        let client = sim.connect();
        client.send(packet);
        client.expect_close();
    }
    assert_eq!(children(&parent), ["/12345678"]);
}

#[test]
fn every_new_namespace_is_told_of_even_after_a_panic() {
    let (server, names) = (Server::new(), Arc::new(Mutex::new(Vec::new())));
    let noted = names.clone();
    server.on_new_namespace(|_| panic!("a bug"));
    server.on_new_namespace(move |namespace| noted.lock().unwrap().push(namespace.name().to_owned()));
    server.of_pattern("/p-{x}");
    server.of("/static");
    server.of("/static");
    let sim = Sim::new(server);
    sim.client().join("/p-1");
    sim.client().join("/p-1");
    assert_eq!(*names.lock().unwrap(), ["/static", "/p-1"]);
}

#[test]
fn a_namespace_may_be_created_and_deleted_by_its_own_handlers() {
    let server = Server::new();
    let ended = Drops::default();
    server.on("open", async |io: Server| {
        io.of("/new").on("close", async |io: Server| io.delete_namespace("/new"));
    });
    let sim = Sim::new(server.clone());
    let mut client = sim.connect();
    assert_eq!(ask(&client, "/new", ""), INVALID);
    client.send(r#"42["open"]"#);
    client.join("/new");
    let mut other = sim.connect();
    other.join("/new");
    let count = ended.clone();
    server.of("/new").on_disconnect(move |io: Server| {
        // Deleted already, so this does nothing.
        assert!(!io.delete_namespace("/new"));
        drop(count.guard());
        async {}
    });
    let old = server.of("/new");
    client.send(r#"42/new,1["close"]"#);
    assert_eq!((client.next(), other.next()), ("41/new,".into(), "41/new,".into()));
    assert_eq!((ended.count(), old.sockets_count()), (2, 0));
    client.expect_nothing();
    assert_eq!(ask(&client, "/new", ""), INVALID);
    assert_eq!(server.sockets().len(), 2, "the other namespaces are not affected");
    // A new one has nothing of the old one.
    let new = server.of("/new");
    client.join("/new");
    client.send(r#"42/new,2["close"]"#);
    client.expect_nothing();
    assert_eq!((new.sockets_count(), old.sockets_count()), (1, 0));
}

#[test]
fn a_namespace_may_be_deleted_when_one_of_its_clients_leaves() {
    for leaves in [true, false] {
        let server = Server::new();
        let deletions = Calls::default();
        let notes = deletions.clone();
        server.of("/new").on_connect(move |socket: Socket| {
            let notes = notes.clone();
            socket.on_disconnect(move |io: Server| {
                notes.note(io.delete_namespace("/new").to_string());
                async {}
            });
            async {}
        });
        let sim = Sim::new(server.clone());
        let [mut first, mut second] = [sim.connect(), sim.connect()];
        first.join("/new");
        second.join("/new");
        if leaves {
            first.send("41/new,");
        } else {
            first.cut();
        }
        assert_eq!(second.next(), "41/new,");
        // The handler of the other client is called inside of the deletion.
        assert_eq!(deletions.take(), ["false", "true"]);
        assert_eq!(ask(&second, "/new", ""), INVALID);
    }
}

#[test]
fn the_main_namespace_and_one_that_does_not_exist_cannot_be_deleted() {
    let server = Server::new();
    server.of("/a");
    assert!(!server.delete_namespace("/") && !server.delete_namespace("") && !server.delete_namespace("/b"));
    assert!(server.delete_namespace("a") && !server.delete_namespace("/a"));
    Sim::new(server).connect();
}

#[test]
fn a_client_whose_middleware_decides_after_the_deletion_is_refused() {
    let (server, gate) = (Server::new(), Gate::default());
    let (wait, namespace) = (gate.clone(), server.of("/x"));
    namespace.middleware(move || {
        let wait = wait.clone();
        async move {
            wait.wait().await;
            Ok(())
        }
    });
    namespace.on_connect(async |socket: Socket| socket.emit("never", ()));
    let sim = Sim::new(server.clone());
    let client = sim.connect();
    client.send("40/x,");
    assert!(server.delete_namespace("/x"));
    gate.open();
    assert_eq!(client.next(), format!("44/x,{INVALID}"));
    assert_eq!(namespace.sockets_count(), 0);
}

#[test]
fn a_namespace_that_is_deleted_while_a_client_enters_disconnects_it() {
    // The observer is told of the answer before the socket is a member.
    struct Deletes(Arc<Mutex<Option<Server>>>);
    impl sockeye::observe::Observer for Deletes {
        fn packet(&self, _: sockeye::observe::Direction, info: &sockeye::observe::PacketInfo<'_>) {
            use sockeye::engine::Message;
            use sockeye::observe::Packet;
            if let Packet::Message(Message::Text(text)) = info.packet
                && text.starts_with("0/x,{")
                && let Some(server) = self.0.lock().unwrap().take()
            {
                assert!(server.delete_namespace("/x"));
            }
        }
    }
    let deletes = Arc::new(Mutex::new(None));
    let server = Server::builder().observer(Deletes(deletes.clone())).build();
    let calls = Drops::default();
    let count = calls.clone();
    server.of("/x").on_connect(move || {
        drop(count.guard());
        async {}
    });
    let old = server.of("/x");
    *deletes.lock().unwrap() = Some(server.clone());
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send("40/x,");
    assert!(client.next().starts_with("40/x,{"));
    assert_eq!(client.next(), "41/x,");
    client.expect_nothing();
    assert_eq!((old.sockets_count(), calls.count()), (0, 0));
}

#[test]
fn a_child_that_is_deleted_is_created_anew_by_the_next_client() {
    let server = Server::new();
    let parent = server.of_pattern("/p-{x}");
    let sim = Sim::new(server.clone());
    let mut client = sim.connect();
    client.join("/p-1");
    let old = parent.children().remove(0);
    assert!(server.delete_namespace("/p-1"));
    assert_eq!(client.next(), "41/p-1,");
    assert!(parent.children().is_empty());
    client.join("/p-1");
    assert_eq!((old.sockets_count(), parent.children()[0].sockets_count()), (0, 1));
}

#[test]
fn a_pattern_that_is_of_no_use_is_an_error_with_the_reason() {
    let server =
        Server::builder().packet_limits(Limits { max_namespace_len: 8, ..Limits::default() }).build();
    let error = |pattern: &str| server.try_of_pattern(pattern).map(|_| ()).unwrap_err();
    for malformed in ["/{", "/}", "/{}", "/{*}", "/{*a}/b", "/{a}{b}", "/{a}-{b}"] {
        assert!(matches!(error(malformed), PatternError::Malformed(_)), "{malformed}");
    }
    for name in ["/", "", "/abc", "/{{abc}}"] {
        assert_eq!(error(name), PatternError::NoParameter, "{name}");
    }
    assert_eq!(error("/a,{x}"), PatternError::Name(NamespaceError::Comma));
    assert_eq!(error("/a?{x}"), PatternError::Name(NamespaceError::QuestionMark));
    assert_eq!(error("/1234567{x}"), PatternError::Name(NamespaceError::TooLong { limit: 8 }));
    // Nothing of these is left.
    server.of_pattern("/123456{x}");
    let by = |by: &str| PatternError::Shadowed { by: by.into() };
    assert_eq!(error("/123456{x}"), by("/123456{x}"));
    assert_eq!(error("123456{another_name}"), by("/123456{x}"));
    server.of_pattern("/a/{x}");
    server.of_pattern("/a/{*x}");
    assert_eq!(error("/a/b{x}"), by("/a/{x}"));
    assert_eq!(error("/a/{x}/b"), by("/a/{*x}"));
    server.of_pattern("/{{{x}");
    let sim = Sim::new(server);
    sim.client().join("/{abc");
}

#[test]
#[should_panic(expected = "the pattern has no parameter: \"/chat\"")]
fn a_pattern_that_is_a_name_panics_where_it_is_given() {
    Server::new().of_pattern("/chat");
}

#[test]
fn parents_and_children_are_dropped_with_the_server() {
    let (server, drops) = (Server::new(), Drops::default());
    let guards = [drops.guard(), drops.guard()];
    let [first, second] = guards;
    server.of_pattern("/{x}").on("x", move || {
        first.hold();
        async {}
    });
    server.of_fn(move |_: String, _: serde_json::Value, _: Handshake| {
        second.hold();
        async { true }
    });
    let sim = Sim::new(server);
    let clients = ["/a", "/a/b"].map(|name| {
        let mut client = sim.client();
        client.join(name);
        client
    });
    drop((clients, sim));
    assert_eq!(drops.count(), 2);
}
