//! Socket.IO inside of an axum application: one port, one login for both, and a route that tells all clients.
//!
//! Run it with `cargo run --example attach_axum --features axum`, and open the address that it prints. From elsewhere:
//! `curl --data "tea is ready" http://127.0.0.1:3000/announce`.
use axum::extract::State;
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use sockeye::extract::{Data, Extension};
use sockeye::{Server, Socket};
use std::net::SocketAddr;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let io = Server::new();
    io.on_connect(connected);

    let app = Router::new()
        .route("/", get(async || Html(include_str!("index.html"))))
        .route("/login", post(log_in))
        .route("/announce", post(announce))
        .with_state(io.clone())
        .layer(sockeye::tokio::layer(io.clone()).keep::<Session>())
        // Around both: requests have their session by the time they get there. `with_secure` is for https only.
        .layer(SessionManagerLayer::new(MemoryStore::default()).with_secure(false));

    println!("open http://127.0.0.1:3000");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            // An error means that there is no such signal here; then nothing shuts down.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            io.close().await;
        })
        .await
}

/// The session is that of the request by which the client came.
async fn connected(socket: Socket, Extension(session): Extension<Session>) {
    socket.on(
        "say",
        async |socket: Socket, Data(text): Data<String>, Extension(session): Extension<Session>| {
            let name = name(&session).await;
            socket.namespace().emit("said", (name, text));
        },
    );
    let from = socket.handshake().address().map(|address| address.ip());
    let _ = socket.emit("welcome", (name(&session).await, from));
}

async fn name(session: &Session) -> String {
    let name = session.get("name").await;
    name.ok().flatten().unwrap_or_else(|| "somebody".to_owned())
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

async fn log_in(session: Session, Form(login): Form<Login>) -> Result<Redirect, String> {
    let name = login.name.chars().take(30).collect::<String>();
    session.insert("name", name).await.map_err(|error| error.to_string())?;
    Ok(Redirect::to("/"))
}

/// What other programs of yours call to reach all clients.
async fn announce(State(io): State<Server>, text: String) -> String {
    let told = io.emit("announcement", text).sent;
    format!("{told} told\n")
}
