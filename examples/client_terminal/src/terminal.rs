//! Shows what happens in the namespaces of a client, and runs the commands that are typed.

use crate::output::{Output, Question, Record, Unanswered};
use crate::values::{self, Arguments, received};
use sockeye::client::{
    ClientAckError, ClientConnectError, ClientDisconnectReason, Events, ManagerEvent, Received,
};
use sockeye::{Args, Client, ClientSocket};
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
}

struct State {
    /// The namespace that commands use.
    current: ClientSocket,
    watched: Vec<ClientSocket>,
    /// The tasks that show events.
    shown: Vec<JoinHandle<()>>,
    /// Events that the server has not acknowledged yet, by the line.
    asked: BTreeMap<u64, (String, Instant)>,
    /// Events of the server that have not been acknowledged yet, by the number that was shown.
    unanswered: BTreeMap<u32, Received>,
    next: u32,
    names: BTreeSet<String>,
    muted: BTreeSet<String>,
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

    fn know(&mut self, event: &str) {
        if self.names.len() < NAMES && !self.names.contains(event) {
            self.names.insert(event.into());
        }
    }
}

/// The step that follows a line.
pub(crate) enum Next {
    Go,
    Show(Record),
    Quit,
}

impl Terminal {
    pub(crate) fn new(client: Client, mode: Mode, output: Arc<Output>) -> Terminal {
        let state = State {
            current: (*client).clone(),
            watched: Vec::new(),
            shown: Vec::new(),
            asked: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            next: 1,
            names: BTreeSet::new(),
            muted: BTreeSet::new(),
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
        let (namespace, name, args) =
            (namespace.to_owned(), event.event().to_owned(), received(event.args()));
        let answer = {
            let mut state = self.state();
            state.know(&name);
            if state.muted.contains(&name) && !event.wants_ack() {
                return;
            }
            event.wants_ack().then(|| state.keep(event))
        };
        self.0.output.show(&Record::Event { namespace, event: name, args, answer });
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
            Mode::Interactive => {}
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

    // Commands.

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

    /// Runs a line, and prints its result. Returns whether to go on.
    pub(crate) async fn run(&self, number: u64, line: &str) -> bool {
        match self.obey(number, line.trim()).await {
            Ok(Next::Go) => {}
            Ok(Next::Show(record)) => self.0.output.print(&record),
            Ok(Next::Quit) => return false,
            Err(error) => self.complain(number, error),
        }
        true
    }

    /// Says that a line failed. Someone who types needs no number.
    pub(crate) fn complain(&self, line: u64, error: impl ToString) {
        self.0.failed.store(true, Ordering::Relaxed);
        let line = (self.0.mode != Mode::Interactive).then_some(line);
        self.0.output.print(&Record::Error { line, message: error.to_string() });
    }

    async fn obey(&self, number: u64, line: &str) -> Result<Next, Box<dyn std::error::Error>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let current = self.current();
        Ok(match word {
            "" => Next::Go,
            "/help" => Next::Show(Record::Help),
            "/quit" => Next::Quit,
            "/connect" if rest.is_empty() => {
                current.connect();
                self.connected(&current).await?;
                Next::Go
            }
            "/connect" => {
                self.join(&values::namespace(rest.trim())?).await?;
                Next::Go
            }
            "/leave" => {
                current.disconnect();
                Next::Go
            }
            "/status" => Next::Show(status(number, &current)),
            "/trace" => Next::Show(Record::Trace { line: number, on: self.0.output.toggle_trace() }),
            "/pending" => Next::Show(self.pending(number)),
            "/mute" => Next::Show(self.mute(number, rest.trim())?),
            "/answer" => {
                let (answer, args) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
                let args = Arguments::parse(args)?;
                let answer = answer.parse().map_err(|_| "the number of the event is missing: /answer N")?;
                let event = self.state().unanswered.remove(&answer);
                event.ok_or("no event with this number expects an answer")?.ack(args)?;
                Next::Go
            }
            command if command.starts_with('/') => {
                return Err(format!("unknown command {command}: see /help").into());
            }
            _ if line.starts_with('#') && self.0.mode != Mode::Interactive => Next::Go,
            _ => self.emit(number, &current, line).await?,
        })
    }

    async fn emit(
        &self,
        number: u64,
        socket: &ClientSocket,
        line: &str,
    ) -> Result<Next, Box<dyn std::error::Error>> {
        let (asks, line) = line.strip_prefix('?').map_or((false, line), |line| (true, line));
        let (event, args) = values::event(line)?;
        let args = Arguments::parse(args)?;
        let namespace = socket.namespace().to_owned();
        self.state().know(&event);
        let is_script = self.0.mode != Mode::Interactive;
        if is_script {
            let (namespace, event, args) = (namespace.clone(), event.clone(), args.shown());
            self.0.output.print(&Record::Emit { line: number, namespace, event, args, asks });
        }
        if !asks {
            let sent = socket.emit(&event, args)?;
            return Ok(match sent.is_waiting() {
                false => Next::Go,
                true if is_script => {
                    sent.await?;
                    Next::Go
                }
                true => Next::Show(Record::Waiting { line: number, namespace, event }),
            });
        }
        // Someone who types is not kept waiting.
        let permit = match is_script {
            true => Some(self.0.questions.clone().acquire_owned().await?),
            false => None,
        };
        self.state().asked.insert(number, (event.clone(), Instant::now()));
        let (answer, terminal) = (socket.emit_with_ack::<Args>(&event, args), self.clone());
        tokio::spawn(async move {
            terminal.answer(number, namespace, event, answer.await);
            drop(permit);
        });
        Ok(Next::Go)
    }

    fn answer(&self, line: u64, namespace: String, event: String, answer: Result<Args, ClientAckError>) {
        let asked = self.state().asked.remove(&line);
        self.0.output.show(&match answer {
            Ok(args) => {
                let ms = asked.map_or(0, |(_, asked)| millis(asked));
                Record::Answer { line, namespace, event, args: received(&args), ms }
            }
            Err(error) => {
                self.0.failed.store(true, Ordering::Relaxed);
                Record::NoAnswer { line, namespace, event, message: error.to_string() }
            }
        });
    }

    /// Hides an event, or shows it again if it is hidden.
    fn mute(&self, line: u64, event: &str) -> Result<Record, String> {
        let (event, _) = values::event(event)?;
        let muted = &mut self.state().muted;
        if !event.is_empty() && !muted.remove(&event) {
            muted.insert(event);
        }
        Ok(Record::Muted { line, events: muted.iter().cloned().collect() })
    }

    fn pending(&self, line: u64) -> Record {
        let state = self.state();
        let question = |(line, (event, asked)): (&u64, &(String, Instant))| Question {
            line: *line,
            event: event.clone(),
            ms: millis(*asked),
        };
        let unanswered =
            |(answer, event): (&u32, &Received)| Unanswered { answer: *answer, event: event.event().into() };
        Record::Pending {
            line,
            questions: state.asked.iter().map(question).collect(),
            answers: state.unanswered.iter().map(unanswered).collect(),
        }
    }
}

fn connect_error(socket: &ClientSocket, error: &ClientConnectError) -> Record {
    let data = match error {
        ClientConnectError::Refused { data: Some(data), .. } => data.clone(),
        _ => serde_json::Value::Null,
    };
    Record::ConnectError { namespace: socket.namespace().into(), message: error.to_string(), data }
}

fn status(line: u64, socket: &ClientSocket) -> Record {
    Record::Status {
        line,
        namespace: socket.namespace().into(),
        connected: socket.is_connected(),
        id: socket.id(),
        transport: socket.transport().map(|transport| transport.name()),
        waiting_bytes: socket.buffered(),
    }
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}
