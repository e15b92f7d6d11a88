//! Namespaces that clients create by asking for them, and handlers that all sockets of a namespace share.

use super::Log;
use serde_json::{Value, json};
use sockeye::extract::{Auth, Data, Event, Params};
use sockeye::{ConnectError, DisconnectReason, RoomChange, Server, Socket};

/// The parents, and events of the main namespace that tell of their children and reach them.
pub(crate) fn dynamic(io: &Server) {
    let created = Log::default();
    let noting = created.clone();
    io.on_new_namespace(move |namespace| noting.note(namespace.name()));
    io.on("created", move || {
        let created = created.all();
        async move { created }
    });

    let numbered = io.of_pattern("/dynamic-{number}");
    numbered.middleware(async |Params(_): Params<u32>, Auth(auth): Auth<Value>| {
        match auth["refuse"] == true {
            true => Err(ConnectError::new("You shall not pass!")),
            false => Ok(()),
        }
    });
    numbered.on_connect(async |socket: Socket| {
        socket.join("some-room");
        socket.emit("name", socket.namespace().name())
    });
    numbered.on_disconnect(super::tell_disconnect);
    numbered.on("number", async |Params(number): Params<u32>| number);

    io.of_fn(async |name: String, auth: Value, _| name == "/by-function" && auth["token"] == "secret");

    let parent = numbered.clone();
    io.on("children", move || {
        let counted = parent.children().into_iter().map(|it| (it.name().to_owned(), it.sockets_count()));
        let mut counted = Vec::from_iter(counted);
        counted.sort();
        async move { counted }
    });
    io.on("hello all", move |Data(room): Data<Option<String>>| {
        let args = (1, "2", json!({ "3": "4" }));
        let sent = match room {
            Some(room) => numbered.to(room).emit("hello", args).sent,
            None => numbered.emit("hello", args).sent,
        };
        async move { sent }
    });
    io.on("delete", async |io: Server, Data(name): Data<String>| io.delete_namespace(&name));
}

/// A namespace whose sockets have no handlers of their own. What was called for its sockets, and its room events, are
/// the acknowledgement of `calls` in the main namespace.
pub(crate) fn shared(io: &Server) {
    let (namespace, log) = (io.of("/shared"), Log::default());
    let noting = log.clone();
    namespace.on_any(move |Event(event): Event| {
        noting.note(format!("any {event}"));
        async {}
    });
    namespace.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    namespace.on("join", async |socket: Socket, Data(room): Data<String>| socket.try_join(room));
    namespace.on("leave", async |socket: Socket, Data(room): Data<String>| socket.leave(room));
    namespace
        .on("share", async |socket: Socket, Data(value): Data<Value>| socket.set_shared_data(value).is_ok());
    namespace.on("all shared", async |socket: Socket| {
        let all = socket.namespace().sockets().into_iter();
        all.map(|it| (it.id().to_string(), it.shared_data::<Value>().ok().flatten())).collect::<Vec<_>>()
    });
    namespace.on_fallback(async |Event(event): Event| format!("no handler of {event}"));
    let noting = log.clone();
    namespace.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
        let count = socket.namespace().rooms().len();
        noting.note(format!("disconnecting {} {count} {reason}", socket.rooms().join(",")));
        async {}
    });
    let noting = log.clone();
    namespace.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        let count = socket.namespace().rooms().len();
        noting.note(format!("disconnect {} {count} {reason}", socket.rooms().join(",")));
        async {}
    });
    let noting = log.clone();
    namespace.on_room_event(move |event| {
        noting.note(match event.change {
            RoomChange::Created => format!("create {}", event.room),
            RoomChange::Joined(id) => format!("join {} {id}", event.room),
            RoomChange::Left(id) => format!("leave {} {id}", event.room),
            _ => format!("delete {}", event.room),
        });
    });
    io.on("calls", move || {
        let calls = log.take();
        async move { calls }
    });
    io.on("list rooms", async |io: Server, Data(name): Data<String>| io.of(&name).rooms());
}
