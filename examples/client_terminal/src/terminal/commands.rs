//! The commands that are typed.

use super::{Mode, Terminal};
use crate::record::{Question, Record, Unanswered};
use crate::values::{self, Arguments, received};
use sockeye::client::{ClientAckError, Received};
use sockeye::{Args, ClientSocket};
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(crate) const HELP: &str = "\
EVENT [ARGUMENT…]     emit an event
?EVENT [ARGUMENT…]    emit an event and wait for the acknowledgement
/answer N [ARGUMENT…] acknowledge the event with this number
/pending              list what waits for an answer, on both sides
/mute [EVENT]         hide an event, or show it again; without a name, list those that are hidden
/connect [NAMESPACE]  connect to a namespace and use it from now on; without a name, connect again
/leave                disconnect from the namespace
/status               show the state of the connection
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
