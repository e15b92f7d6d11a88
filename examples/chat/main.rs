//! A chat: rooms, who is there, who is typing, and what was said before.
//!
//! Run it with `cargo run --example chat`, and open the address that it prints in two windows: each is a user.
#[path = "../common/mod.rs"]
mod common;
#[path = "../page/mod.rs"]
mod page;

use serde::{Deserialize, Serialize};
use sockeye::extract::{Auth, Data, State};
use sockeye::{Broadcast, ConnectError, EmitError, Server, Socket};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// The rooms are fixed: if clients could create rooms, a single one could create a million.
const ROOMS: [&str; 3] = ["Lobby", "Harbour", "Galley"];
/// The number of lines that a room keeps for users who join later.
const HISTORY: usize = 100;
// Lengths in characters. The page limits them as well, but not every client is the page.
const LONGEST_ID: usize = 40;
const LONGEST_NAME: usize = 24;
const LONGEST_TEXT: usize = 500;

/// The last lines of each room. Every change is sent to the room while the lock is held, so that all of its members see
/// the same changes in the same order. tokio's lock works on every runtime.
type History = Arc<Mutex<HashMap<&'static str, VecDeque<Line>>>>;

#[derive(Serialize)]
struct Line {
    /// Chosen by the page, so that a line that it had to send twice is shown once.
    id: String,
    by: User,
    text: String,
    /// Milliseconds since 1970.
    at: u64,
}

/// The auth data that a page sends whenever it connects.
#[derive(Deserialize)]
struct Hello {
    name: String,
    /// Random, and known to this page only.
    #[serde(default)]
    key: String,
    room: String,
}

// The data of each socket.
#[derive(Clone, Default, Serialize)]
struct User {
    name: String,
    /// A hash of the page's key: the same after a reload, and different from that of others with the same name.
    id: String,
}
struct Room(&'static str);

fn main() -> std::io::Result<()> {
    // In a program of your own: `sockeye::runtime::tokio::listen(app(), "127.0.0.1:3000").await`, or the same of smol.
    common::serve(app())
}

/// Returns the server, which `tests/in_memory.rs` tests.
pub(crate) fn app() -> Server {
    let io = page::builder(include_bytes!("index.html"))
        .asset("/chat.js", "text/javascript; charset=utf-8", include_bytes!("chat.js").as_slice())
        .state(History::default())
        .build();
    io.middleware(introduce);
    io.on_connect(connected);
    io.on_disconnect(leave);
    io.on("enter", enter);
    io.on("say", say);
    io.on("typing", typing);
    io
}

/// Refuses a client without a valid name.
async fn introduce(socket: Socket, Auth(hello): Auth<Hello>) -> Result<(), ConnectError> {
    let name = hello.name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(format!("a name has between 1 and {LONGEST_NAME} characters").into());
    }
    let mut hasher = DefaultHasher::new();
    hello.key.hash(&mut hasher);
    socket.set_data(User { name: name.to_owned(), id: format!("{:016x}", hasher.finish()) });
    Ok(())
}

async fn connected(
    socket: Socket,
    Auth(hello): Auth<Hello>,
    history: State<History>,
) -> Result<(), EmitError> {
    socket.emit("rooms", ROOMS.to_vec())?;
    enter(socket, Data(hello.room), history).await
}

/// Moves the socket to a room, and sends the room's last lines to the page.
async fn enter(
    socket: Socket,
    Data(wanted): Data<String>,
    State(history): State<History>,
) -> Result<(), EmitError> {
    let room = known(&wanted);
    let mut history = history.lock().await;
    if let Some(before) = socket.data::<Room>() {
        socket.leave(before.0);
        tell_who_is_here(socket.to(before.0));
    }
    socket.set_data(Room(room));
    socket.join(room);
    socket.emit("room", (room, history.entry(room).or_default()))?;
    tell_who_is_here(socket.within(room));
    Ok(())
}

/// Handles a line. It names its room, because a page without a connection sends it later, maybe from another room.
async fn say(
    socket: Socket,
    Data((room, id, text)): Data<(String, String, String)>,
    State(history): State<History>,
) {
    let room = known(&room);
    let mut history = history.lock().await;
    let lines = history.entry(room).or_default();
    let line = Line {
        id: cut(&id, LONGEST_ID),
        by: user(&socket),
        text: cut(&text, LONGEST_TEXT),
        at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
    };
    socket.within(room).emit("line", &line);
    lines.push_back(line);
    if lines.len() > HISTORY {
        lines.pop_front();
    }
}

async fn typing(socket: Socket, Data(typing): Data<bool>) {
    if let Some(room) = socket.data::<Room>() {
        socket.to(room.0).emit("typing", (socket.id(), typing));
    }
}

async fn leave(socket: Socket, State(history): State<History>) {
    let _in_order = history.lock().await;
    if let Some(room) = socket.data::<Room>() {
        tell_who_is_here(socket.to(room.0));
    }
}

/// Sends the whole list each time: this is simple, and cheap for rooms of a few hundred members.
fn tell_who_is_here(room: Broadcast) {
    let here: Vec<_> = room.sockets().iter().map(|socket| (socket.id(), user(socket))).collect();
    room.emit("here", here);
}

fn user(socket: &Socket) -> User {
    socket.data::<User>().as_deref().cloned().unwrap_or_default()
}

fn known(room: &str) -> &'static str {
    ROOMS.into_iter().find(|known| *known == room).unwrap_or(ROOMS[0])
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
