//! Socket.IO inside an axum application: one port, one login for both, and a route that sends to all clients.
//!
//! Run it with `cargo run --example attach_axum --features axum`, and open the address that it prints. From another
//! terminal: `curl --data "tea is ready" http://127.0.0.1:3000/announce`.
#[cfg(feature = "smol")]
mod on_smol;
#[path = "../common/options.rs"]
mod options;
#[path = "../page/mod.rs"]
mod page;

use axum::extract::State;
use axum::response::Redirect;
use axum::routing::post;
use axum::{Form, Router};
use serde::Deserialize;
use sockeye::extract::{Data, Extension};
use sockeye::mount::Layer;
use sockeye::{Server, Socket};
use std::io;
use std::net::SocketAddr;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

// Lengths in characters. The page limits them as well, but not every client is the page.
const LONGEST_NAME: usize = 30;
const LONGEST_TEXT: usize = 500;

fn main() -> io::Result<()> {
    // The Socket.IO server also serves the page; a route could do that as well.
    let io = page::builder(include_bytes!("index.html"))?.build();
    io.on_connect(connected);
    match options::option("--runtime")?.as_deref() {
        None | Some("tokio") => on_tokio(io),
        #[cfg(feature = "smol")]
        Some("smol") => on_smol::serve(io.clone(), app(io.clone(), sockeye::smol::layer(io))),
        Some(other) => {
            Err(io::Error::other(format!("unknown runtime {other}: use tokio, or smol with its feature")))
        }
    }
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

#[tokio::main]
async fn on_tokio(io: Server) -> io::Result<()> {
    let app = app(io.clone(), sockeye::tokio::layer(io.clone()));
    let listener = tokio::net::TcpListener::bind(options::address()).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            // An error means that the platform has no such signal: then the server never shuts down.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            io.close().await;
        })
        .await
}

/// The session is that of the request that opened the connection.
async fn connected(socket: Socket, Extension(session): Extension<Session>) {
    socket.on(
        "say",
        async |socket: Socket, Data(text): Data<String>, Extension(session): Extension<Session>| {
            let name = name(&session).await;
            socket.namespace().emit("said", (name, cut(&text, LONGEST_TEXT)));
        },
    );
    let from = socket.handshake().address().map(|address| address.ip());
    let _ = socket.emit("welcome", (name(&session).await, from));
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
