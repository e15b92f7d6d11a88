//! Talks to any Socket.IO server from a terminal.
//!
//! Run it with `cargo run --example client_terminal http://localhost:3000`, and type `/help`.
//!
//! With `--json` it prints a line of JSON for everything that happens, for use in pipes; `--help` lists the other
//! options.

mod options;
mod values;

use options::Options;
use serde_json::{Value, json};
use sockeye::client::{ClientConnectError, ClientDisconnectReason, ManagerEvent, Received};
use sockeye::{AckError, Args, Client, ClientSocket};
use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use values::{Arguments, shown};

const HELP: &str = "\
EVENT [ARGUMENT…]     emit an event; put its name in quotes if it has spaces
?EVENT [ARGUMENT…]    emit an event and wait for the acknowledgement
/answer N [ARGUMENT…] acknowledge the event with this number
/connect NAMESPACE    connect to a namespace and use it from now on
/leave                disconnect from the namespace
/status               show the state of the connection
/quit                 disconnect and exit
An argument is JSON, or @FILE for the bytes of a file.";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(options) = Options::from_args()? else { return Ok(()) };
    let client = options.client()?;
    let terminal = Terminal::new(client.clone(), options.json);
    client.on_manager_event({
        let terminal = terminal.clone();
        move |event| terminal.manager(&event)
    });
    terminal.watch(&client);
    if let Err(error) = sockeye::tokio::connect(&client).await
        && !client.is_active()
    {
        return Err(error.into());
    }
    for namespace in &options.namespaces {
        terminal.join(namespace);
    }
    let mut lines = read_lines();
    let mut asked = Vec::new();
    while let Some(line) = lines.recv().await {
        match terminal.obey(line.trim()) {
            Ok(Next::Go) => {}
            Ok(Next::Asked(task)) => asked.push(task),
            Ok(Next::Quit) => break,
            Err(error) => terminal.complain(&error.to_string()),
        }
    }
    // Events from a pipe are acknowledged before the program ends.
    for task in asked {
        let _ = task.await;
    }
    client.close();
    // The runtime still has to write the last packets, and it ends with this function.
    client.closed().await;
    Ok(())
}

/// Reads lines on a thread of its own, because reading from a terminal blocks.
fn read_lines() -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The step that follows a line.
enum Next {
    Go,
    Asked(tokio::task::JoinHandle<()>),
    Quit,
}

/// Shows what happens, and runs the commands that are typed.
#[derive(Clone)]
struct Terminal {
    client: Client,
    json: bool,
    colour: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The namespace that commands use.
    current: ClientSocket,
    watched: Vec<ClientSocket>,
    /// Events that have not been acknowledged yet, by the number that was shown.
    unanswered: BTreeMap<u32, Received>,
    next: u32,
}

/// The number of events that are kept to be acknowledged; beyond it the oldest is dropped.
const UNANSWERED: usize = 1000;

impl Terminal {
    fn new(client: Client, json: bool) -> Terminal {
        let current = (*client).clone();
        let state = State { current, watched: Vec::new(), unanswered: BTreeMap::new(), next: 1 };
        let colour = !json && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Terminal { client, json, colour, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the lock")
    }

    // Events that are shown.

    /// Shows everything that happens in a namespace from now on.
    fn watch(&self, socket: &ClientSocket) {
        {
            let mut state = self.state();
            if state.watched.contains(socket) {
                return;
            }
            state.watched.push(socket.clone());
        }
        let terminal = self.clone();
        socket.on_connect(move |socket: ClientSocket| {
            let (name, id) = (socket.namespace(), socket.id());
            let value =
                json!({ "type": "connect", "namespace": name, "id": id, "recovered": socket.recovered() });
            terminal.show("32", &format!("{name} connected as {}", id.unwrap_or_default()), &value);
            async {}
        });
        let terminal = self.clone();
        socket.on_connect_error(move |socket: ClientSocket, error: ClientConnectError| {
            let data = match &error {
                ClientConnectError::Refused { data: Some(data), .. } => data.clone(),
                _ => Value::Null,
            };
            let (name, message) = (socket.namespace(), error.to_string());
            let value =
                json!({ "type": "connect_error", "namespace": name, "message": message, "data": data });
            let data = if data.is_null() { String::new() } else { format!(" {data}") };
            terminal.show("31", &format!("{name} not connected: {message}{data}"), &value);
            async {}
        });
        let terminal = self.clone();
        socket.on_disconnect(move |socket: ClientSocket, reason: ClientDisconnectReason| {
            let (name, reason) = (socket.namespace(), reason.to_string());
            let value = json!({ "type": "disconnect", "namespace": name, "reason": reason });
            terminal.show("33", &format!("{name} disconnected: {reason}"), &value);
            async {}
        });
        let terminal = self.clone();
        let (mut events, name) = (socket.events(), socket.namespace().to_owned());
        tokio::spawn(async move {
            while let Some(received) = events.recv().await {
                terminal.event(&name, received);
            }
        });
    }

    fn event(&self, namespace: &str, received: Received) {
        let (event, args) = (received.event().to_owned(), shown(received.args()));
        let number = received.wants_ack().then(|| self.state().keep(received));
        let value = json!({
            "type": "event", "namespace": namespace, "event": event, "args": args, "answer": number,
        });
        let wants = number.map_or(String::new(), |number| format!("  expects an answer: /answer {number}"));
        self.show("36", &format!("{namespace} {event}{}{wants}", spaced(&args)), &value);
    }

    fn manager(&self, event: &ManagerEvent) {
        let (name, detail) = match event {
            ManagerEvent::ReconnectAttempt(attempt) => ("reconnect_attempt", json!(attempt)),
            ManagerEvent::Reconnect(attempts) => ("reconnect", json!(attempts)),
            ManagerEvent::ReconnectError(error) => ("reconnect_error", json!(error.to_string())),
            ManagerEvent::ReconnectFailed => ("reconnect_failed", Value::Null),
            // Every 25 s: shown only with `--json`, which promises everything.
            ManagerEvent::Ping if !self.json => return,
            ManagerEvent::Ping => ("ping", Value::Null),
            _ => return,
        };
        self.show("90", &format!("{name} {detail}"), &json!({ "type": name, "detail": detail }));
    }

    fn show(&self, colour: &str, text: &str, value: &Value) {
        match (self.json, self.colour) {
            (true, _) => println!("{value}"),
            (false, true) => println!("\x1b[{colour}m{}\x1b[0m", printable(text)),
            (false, false) => println!("{}", printable(text)),
        }
    }

    fn complain(&self, error: &str) {
        self.show("31", error, &json!({ "type": "error", "message": error }));
    }

    // Commands.

    fn join(&self, namespace: &str) {
        let socket = self.client.socket(namespace);
        self.watch(&socket);
        socket.connect();
        self.state().current = socket;
    }

    fn obey(&self, line: &str) -> Result<Next, Box<dyn std::error::Error>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let current = self.state().current.clone();
        match word {
            "" => {}
            "/help" => println!("{HELP}"),
            "/quit" => return Ok(Next::Quit),
            "/connect" if rest.trim().starts_with('/') && !rest.contains(',') => self.join(rest.trim()),
            "/connect" => return Err("a namespace begins with a slash and has no comma".into()),
            "/leave" => current.disconnect(),
            "/status" => self.status(&current),
            "/answer" => {
                let (number, args) = rest.split_once(' ').unwrap_or((rest, ""));
                let received = self.state().unanswered.remove(&number.parse()?);
                received
                    .ok_or("no event with this number expects an answer")?
                    .ack(Arguments::parse(args)?)?;
            }
            command if command.starts_with('/') => {
                return Err(format!("unknown command {command}: see /help").into());
            }
            _ => return self.emit(&current, line),
        }
        Ok(Next::Go)
    }

    fn emit(&self, socket: &ClientSocket, line: &str) -> Result<Next, Box<dyn std::error::Error>> {
        let (asks, line) = line.strip_prefix('?').map_or((false, line), |line| (true, line));
        let (event, args) = values::event(line)?;
        if !asks {
            if socket.emit(&event, args)?.is_waiting() {
                let value = json!({ "type": "waiting", "event": event });
                self.show("90", "sent as soon as there is a connection", &value);
            }
            return Ok(Next::Go);
        }
        let (answer, terminal) = (socket.emit_with_ack::<Args>(&event, args), self.clone());
        Ok(Next::Asked(tokio::spawn(async move { terminal.answer(&event, answer.await) })))
    }

    fn answer(&self, event: &str, answer: Result<Args, AckError>) {
        match answer {
            Ok(args) => {
                let args = shown(&args);
                let value = json!({ "type": "answer", "event": event, "args": args });
                self.show("35", &format!("{event} answered{}", spaced(&args)), &value);
            }
            Err(error) => {
                let value = json!({ "type": "no_answer", "event": event, "message": error.to_string() });
                self.show("31", &format!("{event} not answered: {error}"), &value);
            }
        }
    }

    fn status(&self, socket: &ClientSocket) {
        let transport = socket.transport().map(|transport| transport.name());
        let value = json!({
            "type": "status", "namespace": socket.namespace(), "connected": socket.is_connected(),
            "id": socket.id(), "transport": transport, "waiting_bytes": socket.buffered(),
        });
        let connected = if socket.is_connected() { "connected" } else { "not connected" };
        let over = transport.map_or(String::new(), |transport| format!(" over {transport}"));
        let waiting = socket.buffered();
        self.show(
            "90",
            &format!("{} {connected}{over}, {waiting} bytes waiting", socket.namespace()),
            &value,
        );
    }
}

impl State {
    fn keep(&mut self, received: Received) -> u32 {
        if self.unanswered.len() >= UNANSWERED {
            self.unanswered.pop_first();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.unanswered.insert(number, received);
        number
    }
}

fn spaced(args: &[Value]) -> String {
    args.iter().map(|arg| format!(" {arg}")).collect()
}

/// Replaces control characters, so that a server's text cannot control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
