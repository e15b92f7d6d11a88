//! The commands that are typed.

use super::{Mode, Terminal};
use crate::record::{Question, Record, Unanswered, millis};
use crate::values;
use sockeye::client::{ClientAckError, Received};
use sockeye::{Args, ClientSocket};
use std::sync::atomic::Ordering;

pub(crate) const HELP: &str = "\
EVENT [ARGUMENT…]     emit an event
?EVENT [ARGUMENT…]    emit an event and wait for the acknowledgement
/answer N [ARGUMENT…] acknowledge the event with this number
/pending              list what waits for an answer, on both sides
/mute [EVENT]         hide an event, or show it again; without a name, list those that are hidden
/connect [NAMESPACE]  connect to a namespace and use it from now on; without a name, connect again
/leave                disconnect from the namespace
/status               show the state of the connection
/run FILE             run the lines of a file, in which # begins a comment
/trace                show every packet of both protocols, or show them no longer
/help                 show this help
/quit                 disconnect and exit
An argument is JSON, a word, 'some words', or @FILE for the bytes of a file. The name of an event with spaces is quoted.";

/// The step that follows a line.
enum Next {
    Go,
    Show(Record),
    Quit,
}

impl Terminal {
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
        self.fail((self.0.mode != Mode::Interactive).then_some(line), error);
    }

    pub(super) fn fail(&self, line: Option<u64>, error: impl ToString) {
        self.0.failed.store(true, Ordering::Relaxed);
        self.0.output.print(&Record::Error { line, message: error.to_string() });
    }

    async fn obey(&self, number: u64, line: &str) -> Result<Next, Box<dyn std::error::Error>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let current = self.current();
        Ok(match word {
            "" => Next::Go,
            "/help" => Next::Show(Record::Help),
            "/quit" => Next::Quit,
            "/connect" if current.is_connected() && rest.is_empty() => Next::Show(self.status(number)),
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
            "/status" => Next::Show(self.status(number)),
            "/trace" => Next::Show(Record::Trace { line: number, on: self.0.output.toggle_trace() }),
            "/pending" => Next::Show(self.pending(number)),
            "/mute" => Next::Show(self.mute(number, rest.trim())?),
            "/run" if self.0.mode != Mode::Interactive => {
                return Err("a script reads a file by the option --file".into());
            }
            "/run" => self.run_file(number, rest.trim()).await?,
            "/answer" => {
                let (answer, args) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
                let args = values::arguments(args)?;
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
        let args = values::arguments(args)?;
        let namespace = socket.namespace().to_owned();
        self.state().know(&event);
        let waiting = Record::Waiting { line: number, namespace: namespace.clone(), event: event.clone() };
        let is_script = self.0.mode != Mode::Interactive;
        if is_script {
            let (namespace, event, args) = (namespace.clone(), event.clone(), args.clone());
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
                true => Next::Show(waiting),
            });
        }
        // Someone who types is not kept waiting.
        let permit = match is_script {
            true => Some(self.0.questions.clone().acquire_owned().await?),
            false => None,
        };
        let question = self.state().ask(number, &event);
        let waits = !is_script && !socket.is_connected();
        let (answer, terminal) = (socket.emit_with_ack::<Args>(&event, args), self.clone());
        tokio::spawn(async move {
            terminal.answer(question, namespace, answer.await);
            drop(permit);
        });
        Ok(if waits { Next::Show(waiting) } else { Next::Go })
    }

    fn answer(&self, question: u64, namespace: String, answer: Result<Args, ClientAckError>) {
        let Some(Question { line, event, asked }) = self.state().asked.remove(&question) else { return };
        self.0.output.show(&match answer {
            Ok(args) => Record::Answer { line, namespace, event, args, ms: millis(asked) },
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

    /// Runs the lines of a file.
    async fn run_file(&self, number: u64, path: &str) -> Result<Next, Box<dyn std::error::Error>> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if line.starts_with("/run") {
                return Err(format!("{path}: a file that is run cannot run another").into());
            }
            self.0.output.print(&Record::Note { message: line.into() });
            // Boxed, because a line may be any command.
            if !Box::pin(self.run(number, line)).await {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    fn status(&self, line: u64) -> Record {
        let state = self.state();
        let current = &state.current;
        let others = state.watched.iter().filter(|it| *it != current && it.is_connected());
        Record::Status {
            line,
            namespace: current.namespace().into(),
            connected: current.is_connected(),
            id: current.id(),
            transport: current.transport().map(|transport| transport.name()),
            waiting_bytes: current.buffered(),
            others: others.map(|it| it.namespace().to_owned()).collect(),
        }
    }

    fn pending(&self, line: u64) -> Record {
        let state = self.state();
        let unanswered =
            |(answer, event): (&u32, &Received)| Unanswered { answer: *answer, event: event.event().into() };
        Record::Pending {
            line,
            questions: state.asked.values().cloned().collect(),
            answers: state.unanswered.iter().map(unanswered).collect(),
        }
    }
}
