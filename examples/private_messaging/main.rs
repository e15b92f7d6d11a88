//! Private messages between users who have logged in: in all of their tabs, and kept for them while they are away.
//!
//! Run it with `cargo run --example private_messaging --features axum`, and open the address that it prints. All tabs of
//! a browser are one user; a private window is another one.
#[path = "../page/mod.rs"]
mod page;
#[path = "../attach_axum/serve/mod.rs"]
mod serve;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use axum::{Form, Router};
use serde::{Deserialize, Serialize};
use sockeye::extract::{Data, Extension, State};
use sockeye::mount::Layer;
use sockeye::{ConnectError, EmitError, Server, Socket};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

// Everything that users can make the server keep has a limit: users, messages, and the lengths of both in characters.
const MOST_USERS: usize = 50;
const KEPT_MESSAGES: usize = 50;
const LONGEST_NAME: usize = 24;
const LONGEST_ID: usize = 40;
const LONGEST_TEXT: usize = 500;

/// The users and their messages. Every change is sent to the pages while the lock is held, so that all pages see the
/// same changes in the same order.
pub(crate) type House = Arc<Mutex<Users>>;

#[derive(Default)]
pub(crate) struct Users {
    /// Everyone who has logged in, present or not. A name is one user's until that user logs out.
    names: BTreeSet<String>,
    /// The last messages between two users, by their names in alphabetical order.
    messages: HashMap<[String; 2], VecDeque<Message>>,
}

#[derive(Serialize)]
struct Message {
    /// Chosen by the page, so that a message that it had to send twice is kept once.
    id: String,
    from: String,
    to: String,
    text: String,
    /// Milliseconds since 1970.
    at: u64,
    read: bool,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    online: bool,
    /// The number of messages from this user that the other one has not read yet.
    unread: usize,
}

/// The data of each socket: the name of its user.
struct Name(String);

fn main() -> std::io::Result<()> {
    let house = House::default();
    let io = messages(house.clone());
    serve::serve(io.clone(), |layer| app(io, house, layer))
}

/// Returns the server, which `tests/in_memory.rs` tests.
pub(crate) fn messages(house: House) -> Server {
    let io = page::builder(include_bytes!("index.html"))
        .asset("/messages.js", "text/javascript; charset=utf-8", include_bytes!("messages.js").as_slice())
        .state(house)
        .build();
    io.middleware(recognize);
    io.on_connect(connected);
    io.on_disconnect(disconnected);
    io.on("open", open);
    io.on("read", read);
    io.on("private message", private_message);
    io
}

fn app(io: Server, house: House, layer: Layer<Server>) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .with_state((io, house))
        .layer(layer.keep::<Session>())
        // Outside of Socket.IO, so that a socket has the session of the cookie that its page sends. A reload or another
        // tab sends the same cookie. Without https the cookie must not be marked as secure.
        .layer(SessionManagerLayer::new(MemoryStore::default()).with_secure(false))
}

#[derive(Deserialize)]
pub(crate) struct Login {
    pub(crate) name: String,
}

/// Takes a free name. A program of your own would ask for a password as well.
pub(crate) async fn log_in(
    session: Session,
    Shared((io, house)): Shared<(Server, House)>,
    Form(login): Form<Login>,
) -> Result<(), (StatusCode, String)> {
    let refusal = |why: &str| Err((StatusCode::FORBIDDEN, why.to_owned()));
    let name = login.name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return refusal(&format!("a name has between 1 and {LONGEST_NAME} characters"));
    }
    let mut house = house.lock().await;
    if user(&session).await.is_some_and(|name| house.names.contains(&name)) {
        return Ok(()); // another tab was faster
    }
    if house.names.contains(name) {
        return refusal("this name is taken");
    }
    if house.names.len() == MOST_USERS {
        return refusal("there are too many users");
    }
    session
        .insert("name", name)
        .await
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    house.names.insert(name.to_owned());
    io.emit("user", (name, false));
    Ok(())
}

/// Forgets the user, and disconnects all of its tabs.
async fn log_out(session: Session, Shared((io, house)): Shared<(Server, House)>) -> Redirect {
    let mut house = house.lock().await;
    if let Some(name) = user(&session).await
        && session.flush().await.is_ok()
    {
        house.names.remove(&name);
        house.messages.retain(|between, _| !between.contains(&name));
        io.emit("logged out", &name);
        io.within(tabs(&name)).disconnect_sockets(true);
    }
    Redirect::to("/")
}

async fn user(session: &Session) -> Option<String> {
    session.get("name").await.ok().flatten()
}

/// Refuses a client that has not logged in.
async fn recognize(socket: Socket, Extension(session): Extension<Session>) -> Result<(), ConnectError> {
    let name = user(&session).await.ok_or("you are not logged in")?;
    socket.set_data(Name(name));
    Ok(())
}

/// Adds a tab to its user, and sends it the list of the other users.
async fn connected(socket: Socket, io: Server, State(house): State<House>) -> Result<(), EmitError> {
    let me = name(&socket);
    let house = house.lock().await;
    if !house.names.contains(&me) {
        socket.disconnect(true); // its user has logged out meanwhile
        return Ok(());
    }
    socket.join(tabs(&me));
    let others = house.names.iter().filter(|name| **name != me).map(|name| {
        let messages = house.messages.get(&between(&me, name)).into_iter().flatten();
        let unread = messages.filter(|message| message.from == *name && !message.read).count();
        User { name, online: is_online(&io, name), unread }
    });
    socket.emit("users", (&me, others.collect::<Vec<_>>()))?;
    io.emit("user", (&me, is_online(&io, &me)));
    Ok(())
}

/// Tells the others when a user has closed the last tab.
async fn disconnected(socket: Socket, io: Server, State(house): State<House>) {
    let me = name(&socket);
    let house = house.lock().await;
    if house.names.contains(&me) {
        io.emit("user", (&me, is_online(&io, &me)));
    }
}

/// Sends the messages from and to another user, those of the time without a connection included.
async fn open(
    socket: Socket,
    Data(other): Data<String>,
    State(house): State<House>,
) -> Result<(), EmitError> {
    let house = house.lock().await;
    socket.emit("messages", (&other, house.messages.get(&between(&name(&socket), &other))))
}

/// Marks the messages from another user as read, in all tabs of both.
async fn read(socket: Socket, io: Server, Data(other): Data<String>, State(house): State<House>) {
    let me = name(&socket);
    let mut house = house.lock().await;
    if let Some(messages) = house.messages.get_mut(&between(&me, &other)) {
        messages.iter_mut().filter(|message| message.to == me).for_each(|message| message.read = true);
        io.within(tabs(&me)).within(tabs(&other)).emit("read", (&me, &other));
    }
}

/// Keeps a message, and sends it to all tabs of both users. The acknowledgement tells the page that it need not send the
/// message again.
async fn private_message(
    socket: Socket,
    io: Server,
    Data((to, id, text)): Data<(String, String, String)>,
    State(house): State<House>,
) {
    let (from, id, text) = (name(&socket), cut(&id, LONGEST_ID), cut(&text, LONGEST_TEXT));
    let mut house = house.lock().await;
    if !house.names.contains(&from) || !house.names.contains(&to) {
        return;
    }
    let messages = house.messages.entry(between(&from, &to)).or_default();
    if messages.iter().any(|message| message.id == id) {
        return;
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let message = Message { id, from, to, text, at, read: false };
    io.within(tabs(&message.from)).within(tabs(&message.to)).emit("private message", &message);
    messages.push_back(message);
    if messages.len() > KEPT_MESSAGES {
        messages.pop_front();
    }
}

fn name(socket: &Socket) -> String {
    socket.data::<Name>().map_or_else(String::new, |name| name.0.clone())
}

/// Returns the room of all tabs of a user. The prefix keeps the names apart from the ids of sockets, which are rooms too.
fn tabs(name: &str) -> String {
    format!("user {name}")
}

fn is_online(io: &Server, name: &str) -> bool {
    !io.within(tabs(name)).sockets().is_empty()
}

fn between(a: &str, b: &str) -> [String; 2] {
    let mut names = [a.to_owned(), b.to_owned()];
    names.sort();
    names
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
