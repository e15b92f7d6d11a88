//! Mistakes in handlers, one in each function. The comments above a function are what the compiler has to say about it.

use sockeye::extract::{Data, State};
use sockeye::{ClientSocket, ConnectError, HandlerError, PacketError, Server, Socket};
use std::future::ready;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

struct Plain;

//~ `String` cannot be a parameter of a handler of `Socket`
//~ for example `Data(text): Data<String>`
fn an_argument_without_data(io: &Server) {
    io.on("chat", async |_: Socket, text: String| drop(text));
}

//~ `Plain` cannot be a parameter of a handler of `Socket`
fn an_argument_without_data_of_a_function(io: &Server) {
    async fn chat(_: Socket, _: Plain) {}
    io.on("chat", chat);
}

//~ Deserialize<'de>` is not satisfied
//~ not implemented for `Plain`
fn data_that_is_not_deserializable(io: &Server) {
    io.on("chat", async |Data(plain): Data<Plain>| drop(plain));
}

//~ `Rc<u8>` cannot be sent between threads safely
//~ extract::State<Rc<u8>>` to implement `Extract`
//~ `Rc<u8>` cannot be shared between threads safely
fn a_state_that_is_not_send(io: &Server) {
    io.on_connect(async |State(state): State<Rc<u8>>| drop(state));
}

//~ `&Socket` cannot be a parameter of a handler of `Socket`
//~ both are taken by value
fn a_socket_by_reference(io: &Server) {
    io.on("chat", async |_: &Socket| {});
}

//~ `ClientSocket` cannot be a parameter of a handler of `Socket`
//~ `ClientSocket` for those of a client
fn a_parameter_of_clients_at_a_server(io: &Server) {
    io.on("chat", async |_: ClientSocket| {});
}

//~ `Server` cannot be a parameter of a handler of `ClientSocket`
//~ `Socket` is for the handlers of a server
fn a_parameter_of_servers_at_a_client(socket: &ClientSocket) {
    socket.on("chat", async |_: Server| {});
}

//~ a handler cannot return `Plain`, because it is not serializable
//~ add `#[derive(serde::Serialize)]`
fn an_answer_that_is_not_serializable(io: &Server) {
    io.on("chat", async || Plain);
}

//~ a handler cannot return `Result<Vec<Plain>, HandlerError>`, because it is not serializable
fn an_answer_in_a_result_that_is_not_serializable(io: &Server) {
    io.on("chat", async || Ok::<Vec<Plain>, HandlerError>(Vec::new()));
}

//~ a handler cannot return `Result<(), std::io::Error>`, because it is not serializable
//~ `HandlerError` is, and `?` turns any error into it
fn an_error_that_is_not_serializable(io: &Server) {
    io.on("chat", async || Err::<(), _>(io::Error::other("")));
}

//~ a handler cannot return `Result<(), Box<
//~ `HandlerError` is, and `?` turns any error into it
fn a_boxed_error(io: &Server) {
    async fn chat() -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
    io.on("chat", chat);
}

//~ `Plain` cannot be the arguments of an event, because it is not serializable
//~ add `#[derive(serde::Serialize)]`
fn arguments_that_are_not_serializable(io: &Server) {
    io.emit("chat", Plain);
}

//~ `()` is not a future
fn a_closure_that_is_not_async(io: &Server) {
    io.on("chat", |_: Socket| {});
}

//~ is not an event handler
//~ it has at most eight parameters
fn nine_parameters(io: &Server) {
    type S = Socket;
    io.on("chat", async |_: S, _: S, _: S, _: S, _: S, _: S, _: S, _: S, _: S| {});
}

//~ `&str` is not an event handler
//~ a handler is an `async` function or closure: `async |socket: Socket, Data(text): Data<String>| { .. }`
fn no_function(io: &Server) {
    io.on("chat", "hello");
}

//~ future cannot be sent between threads safely
//~ has type `Rc<i32>` which is not `Send`
fn a_value_that_is_not_send_while_it_waits(io: &Server) {
    io.on("chat", async || {
        let count = Rc::new(1);
        ready(()).await;
        drop(count);
    });
}

static COUNT: Mutex<u8> = Mutex::new(0);

//~ future cannot be sent between threads safely
//~ `Send` is not implemented for `std::sync::MutexGuard<'_, u8>`
fn a_lock_while_it_waits(io: &Server) {
    io.on("chat", async || {
        let count = COUNT.lock();
        ready(()).await;
        drop(count);
    });
}

//~ async closure does not implement `Fn` because it captures state from its environment
//~ NonBorrowingFn<(Socket,)>`
fn an_async_closure_that_captures(io: &Server) {
    let count = Arc::new(Mutex::new(1));
    io.on("chat", async move |_: Socket| drop(count.lock()));
}

//~ `Rc<i32>` cannot be sent between threads safely
//~ `Rc<i32>` cannot be shared between threads safely
fn a_capture_that_is_not_send(io: &Server) {
    let count = Rc::new(1);
    io.on("chat", move || {
        drop(count.clone());
        async {}
    });
}

//~ to be a future that resolves to `Result<(), ConnectError>`, but it resolves to `()`
fn a_handler_as_middleware(io: &Server) {
    io.middleware(async |_: Socket| {});
}

//~ to be a future that resolves to `Result<(), PacketError>`, but it resolves to `Result<(), ConnectError>`
fn a_middleware_for_connections_as_one_for_packets(io: &Server) {
    io.of("/").use_packet(async |_: Socket| Err::<(), ConnectError>("".into()));
}

//~ `String` cannot be a parameter of a handler of `Socket`
fn an_argument_without_data_of_a_middleware(io: &Server) {
    io.of("/").use_packet(async |text: String| Err::<(), PacketError>(text.into()));
}

//~ `&str` is not a middleware
//~ a middleware is an `async` function or closure that returns `Result<(), ConnectError>`
fn no_middleware(io: &Server) {
    io.middleware("hello");
}

fn main() {}
