//! A server with every hook into HTTP requests. It prints `request <method> <transport> <cookie>` for each, and
//! `refused <code> <message> <context>` for each that was refused, the context as JSON.

use serde_json::{Map, Value};
use sockeye::{Handshake, Id, Rejection, ResponseHeaders, Server, ServerBuilder};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn hooked() -> ServerBuilder {
    Server::builder()
        .check_origin(true)
        .allow_request(async |request: Handshake| match request.query_param("allow").as_deref() {
            Some("no") => Err("not allowed".to_owned()),
            _ => Ok(()),
        })
        .use_request(async |request: Handshake| {
            let transport = request.query_param("transport").unwrap_or_default();
            println!(
                "request {} {transport} {}",
                request.method(),
                request.header("cookie").unwrap_or_default()
            );
            with("X-First", "1")
        })
        .use_request(async |request: Handshake| match request.query_param("refuse") {
            Some(_) => Err(Rejection::new(401, "log in")),
            None => with("X-Second", "2"),
        })
        .initial_headers(|_, headers| add(headers, "Set-Cookie", "first=hello"))
        .headers(|request, headers| add(headers, "X-All", request.method().to_owned()))
        .generate_id(async |request: Handshake| match request.query_param("id").as_deref() {
            Some("none") => Err("no id for you".to_owned()),
            _ => Ok(numbered_id()),
        })
        .on_connection_error(|error| {
            let context =
                error.context().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
            let context = Value::Object(Map::from_iter(context));
            println!("refused {} {} {context}", error.code(), error.message());
        })
}

fn add(headers: &mut ResponseHeaders, name: &'static str, value: impl Into<String>) {
    headers.append(name, value.into()).expect("a valid header");
}

fn with(name: &'static str, value: &str) -> Result<ResponseHeaders, Rejection> {
    let mut headers = ResponseHeaders::new();
    add(&mut headers, name, value);
    Ok(headers)
}

/// An id that begins with `H`. It is no secret, which does not matter in a test.
fn numbered_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = [0; 15];
    id[0] = 7 << 2;
    id[7..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Id::from_random(id)
}
