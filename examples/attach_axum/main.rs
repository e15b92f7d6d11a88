//! Socket.IO inside an axum application: one port, one login for both, and a route that sends to all clients.
//!
//! Run it with `cargo run --example attach_axum --features axum`, and open the address that it prints. From another
//! terminal: `curl --data "tea is ready" http://127.0.0.1:3000/announce`.
#[path = "../page/mod.rs"]
mod page;
mod serve;

use axum::extract::State;
use axum::response::Redirect;
use axum::routing::post;
use axum::{Form, Router};
use serde::Deserialize;
use sockeye::extract::{Data, Extension};
use sockeye::mount::Layer;
use sockeye::{EmitError, Server, Socket};
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

// Lengths in characters. The page limits them as well, but not every client is the page.
const LONGEST_NAME: usize = 30;
const LONGEST_TEXT: usize = 500;

fn main() -> std::io::Result<()> {
    // The Socket.IO server also serves the page; a route could do that as well.
    let io = page::builder(include_bytes!("index.html")).build();
    io.on_connect(welcome);
    io.on("say", say);
    serve::serve(io.clone(), |layer| app(io, layer))
}

fn app(io: Server, layer: Layer<Server>) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/announce", post(announce))
        .with_state(io)
        .layer(layer.keep::<Session>())
        // Outside of the routes and of Socket.IO, so that requests to both have a session. Without https the cookie
        // must not be marked as secure.
        .layer(SessionManagerLayer::new(MemoryStore::default()).with_secure(false))
}

/// The session is that of the request that opened the connection.
async fn welcome(socket: Socket, Extension(session): Extension<Session>) -> Result<(), EmitError> {
    let from = socket.handshake().address().map(|address| address.ip());
    socket.emit("welcome", (name(&session).await, from))
}

async fn say(socket: Socket, Data(text): Data<String>, Extension(session): Extension<Session>) {
    socket.namespace().emit("said", (name(&session).await, cut(&text, LONGEST_TEXT)));
}

async fn name(session: &Session) -> String {
    let name = session.get::<String>("name").await.ok().flatten();
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "anonymous".to_owned())
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, String> {
    session.insert("name", cut(login.name.trim(), LONGEST_NAME)).await.map_err(|error| error.to_string())?;
    Ok(Redirect::to("/"))
}

/// Sends a text to all clients, for other programs that run beside this one.
async fn announce(State(io): State<Server>, text: String) -> String {
    let told = io.emit("announcement", text).sent;
    format!("{told} told\n")
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
