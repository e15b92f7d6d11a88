//! Shows what happens in the namespaces of a client.

mod commands;

pub(crate) use commands::HELP;

use crate::options::Options;
use crate::output::Output;
use crate::record::{Question, Record};
use sockeye::client::{ClientConnectError, ClientDisconnectReason, Events, ManagerEvent, Received};
use sockeye::{Client, ClientSocket};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// The number of events that are kept to be acknowledged; beyond it the oldest is dropped.
const UNANSWERED: usize = 1000;
/// The number of events of a script whose acknowledgements are awaited at the same time.
const QUESTIONS: u32 = 100;
/// The number of names of events that are kept for completion.
const NAMES: usize = 1000;
/// The delay after which a watching program connects again to a server that refused or disconnected it.
const AGAIN: Duration = Duration::from_secs(5);

/// The use that is made of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Someone types, and sees what happens meanwhile.
    Interactive,
    /// Each line is done before the next one, and the end of the connection is the end of the program.
    Script,
    /// A script after which the program stays, and connects again whenever it has to.
    Watch,
}

#[derive(Clone)]
pub(crate) struct Terminal(Arc<Inner>);

struct Inner {
    client: Client,
    mode: Mode,
    output: Arc<Output>,
    state: Mutex<State>,
    questions: Arc<Semaphore>,
    /// A line was wrong, or was not answered.
    failed: AtomicBool,
    /// The connection has ended and does not come back.
    lost: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    /// The expected event has arrived.
    arrived: watch::Sender<bool>,
}

struct State {
    /// The namespace that commands use.
    current: ClientSocket,
    watched: Vec<ClientSocket>,
    /// The tasks that show events.
    shown: Vec<JoinHandle<()>>,
    /// Events that the server has not acknowledged yet, by a number of their own.
    asked: BTreeMap<u64, Question>,
    questions: u64,
    /// Events of the server that have not been acknowledged yet, by the number that was shown.
    unanswered: BTreeMap<u32, Received>,
    next: u32,
    names: BTreeSet<String>,
    muted: BTreeSet<String>,
    /// The only events that are shown, if there are any.
    shown_only: BTreeSet<String>,
    /// The event that ends the program.
    expected: Option<String>,
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

    fn ask(&mut self, line: u64, event: &str) -> u64 {
        self.questions += 1;
        self.asked.insert(self.questions, Question { line, event: event.into(), asked: Instant::now() });
        self.questions
    }

    fn hides(&self, event: &str) -> bool {
        self.muted.contains(event) || !self.shown_only.is_empty() && !self.shown_only.contains(event)
    }

    fn know(&mut self, event: &str) {
        if self.names.len() < NAMES && !self.names.contains(event) {
            self.names.insert(event.into());
        }
    }
}

impl Terminal {
    pub(crate) fn new(client: Client, mode: Mode, output: Arc<Output>, options: &Options) -> Terminal {
        let state = State {
            current: (*client).clone(),
            watched: Vec::new(),
            shown: Vec::new(),
            asked: BTreeMap::new(),
            questions: 0,
            unanswered: BTreeMap::new(),
            next: 1,
            names: BTreeSet::new(),
            muted: BTreeSet::new(),
            shown_only: options.events.iter().cloned().collect(),
            expected: options.until.clone(),
        };
        let terminal = Terminal(Arc::new(Inner {
            client: client.clone(),
            mode,
            output,
            state: Mutex::new(state),
            questions: Arc::new(Semaphore::new(QUESTIONS as usize)),
            failed: AtomicBool::new(false),
            lost: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            arrived: watch::Sender::new(false),
        }));
        let manager = terminal.clone();
        client.on_manager_event(move |event| manager.manager(event));
        terminal.watch(&client);
        terminal
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no code panics while it holds the lock")
    }

    // For the editor.

    pub(crate) fn current(&self) -> ClientSocket {
        self.state().current.clone()
    }

    /// Returns the names of events that begin with `start`.
    pub(crate) fn names(&self, start: &str) -> Vec<String> {
        let state = self.state();
        state.names.range(start.to_owned()..).take_while(|name| name.starts_with(start)).cloned().collect()
    }

    // Events that are shown.

    /// Shows everything that happens in a namespace from now on.
    fn watch(&self, socket: &ClientSocket) {
        let mut state = self.state();
        if state.watched.contains(socket) {
            return;
        }
        state.watched.push(socket.clone());
        let terminal = self.clone();
        socket.on_connect(move |socket: ClientSocket| {
            let (namespace, id) = (socket.namespace().to_owned(), socket.id());
            terminal.0.output.show(&Record::Connect { namespace, id, recovered: socket.recovered() });
            async {}
        });
        // A script learns it from the line that connects.
        if self.0.mode != Mode::Script {
            let terminal = self.clone();
            socket.on_connect_error(move |socket: ClientSocket, error: ClientConnectError| {
                terminal.0.output.show(&connect_error(&socket, &error));
                terminal.ended(&socket);
                async {}
            });
        }
        let terminal = self.clone();
        socket.on_disconnect(move |socket: ClientSocket, reason: ClientDisconnectReason| {
            let (namespace, message) = (socket.namespace().to_owned(), reason.to_string());
            terminal.0.output.show(&Record::Disconnect { namespace, reason: message });
            if reason != ClientDisconnectReason::Client {
                terminal.ended(&socket);
            }
            async {}
        });
        let (terminal, events) = (self.clone(), socket.events());
        state.shown.push(tokio::spawn(terminal.show_events(socket.clone(), events)));
    }

    /// Shows events until the program ends, and then those that have already arrived.
    async fn show_events(self, socket: ClientSocket, mut events: Events) {
        let mut stop = self.0.stop.subscribe();
        loop {
            tokio::select! {
                biased;
                Some(received) = events.recv() => self.event(socket.namespace(), received),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn event(&self, namespace: &str, event: Received) {
        let (name, args) = (event.event().to_owned(), event.args().clone());
        let is_expected;
        let answer = {
            let mut state = self.state();
            state.know(&name);
            is_expected = state.expected.as_ref() == Some(&name);
            if state.hides(&name) && !is_expected && !event.wants_ack() {
                return;
            }
            event.wants_ack().then(|| state.keep(event))
        };
        let namespace = namespace.to_owned();
        self.0.output.show(&Record::Event { namespace, event: name, args, answer });
        if is_expected {
            self.0.arrived.send_replace(true);
        }
    }

    fn manager(&self, event: ManagerEvent) {
        self.0.output.show(&match event {
            ManagerEvent::ReconnectAttempt(attempt) => Record::ReconnectAttempt { attempt },
            ManagerEvent::Reconnect(attempts) => Record::Reconnect { attempts },
            ManagerEvent::ReconnectError(error) => Record::ReconnectError { message: error.to_string() },
            ManagerEvent::ReconnectFailed => Record::ReconnectFailed,
            // Every 25 s: shown only with `--json`, which promises everything.
            ManagerEvent::Ping if self.0.output.is_json() => Record::Ping,
            _ => return,
        });
    }

    /// Handles the end of a namespace that we did not leave: if the client does not connect again, a watching program does.
    fn ended(&self, socket: &ClientSocket) {
        match self.0.mode {
            _ if socket.is_active() => {}
            Mode::Interactive => {
                let message = "/connect connects again".into();
                self.0.output.show(&Record::Note { message });
            }
            Mode::Script => _ = self.0.lost.send_replace(true),
            Mode::Watch => {
                let (socket, stop) = (socket.clone(), self.0.stop.subscribe());
                tokio::spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    if !*stop.borrow() {
                        socket.connect();
                    }
                });
            }
        }
    }

    /// Waits until the connection has ended, if that is the end of the program.
    pub(crate) async fn lost(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Waits until the expected event has arrived. Fails after the timeout.
    pub(crate) async fn expected(&self, timeout: Duration) {
        let mut arrived = self.0.arrived.subscribe();
        if tokio::time::timeout(timeout, arrived.wait_for(|arrived| *arrived)).await.is_err() {
            let event = self.state().expected.clone().unwrap_or_default();
            self.fail(None, format!("{event} did not arrive within {timeout:?}"));
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        *self.0.lost.borrow()
    }

    /// Waits for the answers to all lines. Returns whether each line succeeded.
    pub(crate) async fn finish(&self) -> bool {
        // The semaphore is never closed.
        let _ = self.0.questions.acquire_many(QUESTIONS).await;
        !self.0.failed.load(Ordering::Relaxed)
    }

    /// Disconnects, once everything is written, and shows the events that have arrived.
    pub(crate) async fn close(&self) {
        self.0.client.close();
        // The runtime still has to write the last packets, and it ends with the program.
        self.0.client.closed().await;
        self.0.stop.send_replace(true);
        let shown = std::mem::take(&mut self.state().shown);
        for task in shown {
            let _ = task.await;
        }
    }

    /// Connects to a namespace, and uses it from now on. A script waits until it is connected.
    pub(crate) async fn join(&self, namespace: &str) -> Result<(), ClientConnectError> {
        let socket = self.0.client.socket(namespace);
        self.watch(&socket);
        socket.connect();
        self.state().current = socket.clone();
        self.connected(&socket).await
    }

    /// Waits until a namespace is connected, if this is a script.
    pub(crate) async fn connected(&self, socket: &ClientSocket) -> Result<(), ClientConnectError> {
        if self.0.mode != Mode::Script {
            return Ok(());
        }
        let result = socket.connected().await;
        if let Err(error) = &result {
            self.0.output.print(&connect_error(socket, error));
        }
        result
    }
}

fn connect_error(socket: &ClientSocket, error: &ClientConnectError) -> Record {
    let data = match error {
        ClientConnectError::Refused { data: Some(data), .. } => data.clone(),
        _ => serde_json::Value::Null,
    };
    Record::ConnectError { namespace: socket.namespace().into(), message: error.to_string(), data }
}
