//! Everything that is shown, as lines of text or of JSON.

use crate::trace::Head;
use crate::values::Json;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Something that happened, or the result of a command. `line` is the number of the line that caused it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record {
    Connect {
        namespace: String,
        id: Option<String>,
        recovered: bool,
    },
    ConnectError {
        namespace: String,
        message: String,
        data: serde_json::Value,
    },
    Disconnect {
        namespace: String,
        reason: String,
    },
    Event {
        namespace: String,
        event: String,
        args: Vec<Json>,
        answer: Option<u32>,
    },
    Emit {
        line: u64,
        namespace: String,
        event: String,
        args: Vec<Json>,
        asks: bool,
    },
    Waiting {
        line: u64,
        namespace: String,
        event: String,
    },
    Answer {
        line: u64,
        namespace: String,
        event: String,
        args: Vec<Json>,
        ms: u64,
    },
    NoAnswer {
        line: u64,
        namespace: String,
        event: String,
        message: String,
    },
    Status {
        line: u64,
        namespace: String,
        connected: bool,
        id: Option<String>,
        transport: Option<&'static str>,
        waiting_bytes: usize,
    },
    Pending {
        line: u64,
        questions: Vec<Question>,
        answers: Vec<Unanswered>,
    },
    Muted {
        line: u64,
        events: Vec<String>,
    },
    Help,
    ReconnectAttempt {
        attempt: u32,
    },
    Reconnect {
        attempts: u32,
    },
    ReconnectError {
        message: String,
    },
    ReconnectFailed,
    Ping,
    Trace {
        line: u64,
        on: bool,
    },
    Packet {
        direction: &'static str,
        transport: &'static str,
        packet: &'static str,
        #[serde(flatten)]
        head: Option<Head>,
        raw: String,
    },
    Connection {
        message: String,
    },
    Error {
        line: Option<u64>,
        message: String,
    },
}

/// An event of ours that the server has not answered yet.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) line: u64,
    pub(crate) event: String,
    pub(crate) ms: u64,
}

/// An event of the server that we have not answered yet.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unanswered {
    pub(crate) answer: u32,
    pub(crate) event: String,
}

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

/// The colours of a line, as SGR parameters of ECMA-48.
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const MAGENTA: &str = "35";
const CYAN: &str = "36";
const GREY: &str = "90";

impl Record {
    /// Returns the line in JSON: its type first, its time last.
    fn json(&self, now: Timestamp) -> String {
        #[derive(Serialize)]
        struct Timed<'a> {
            #[serde(flatten)]
            record: &'a Record,
            time: String,
        }
        let line = Timed { record: self, time: format!("{now:.3}") };
        let text = serde_json::to_string(&line).expect("records have no keys but strings");
        // serde_json escapes some control characters only; outside of strings there are none.
        let escape = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
        text.chars().map(escape).collect()
    }

    /// Returns the colour and the text.
    fn text(&self) -> (&'static str, String) {
        match self {
            Record::Connect { namespace, id, recovered } => {
                let id = id.as_deref().unwrap_or_default();
                let recovered = if *recovered { ", nothing was missed" } else { "" };
                (GREEN, format!("● {namespace} connected as {id}{recovered}"))
            }
            Record::ConnectError { namespace, message, data } => {
                let data = if data.is_null() { String::new() } else { format!(" {data}") };
                (RED, format!("! {namespace} not connected: {message}{data}"))
            }
            Record::Disconnect { namespace, reason } => {
                (YELLOW, format!("○ {namespace} disconnected: {reason}"))
            }
            Record::Event { namespace, event, args, answer } => {
                let answer = answer.map_or(String::new(), |number| format!("  (expects /answer {number})"));
                (CYAN, format!("← {namespace} {event}{}{answer}", spaced(args)))
            }
            Record::Emit { namespace, event, args, asks, .. } => {
                let asks = if *asks { "?" } else { "" };
                (GREY, format!("→ {namespace} {asks}{event}{}", spaced(args)))
            }
            Record::Waiting { event, .. } => {
                (GREY, format!("· {event} is sent as soon as there is a connection"))
            }
            Record::Answer { namespace, event, args, ms, .. } => {
                (MAGENTA, format!("← {namespace} {event} answered{} ({ms} ms)", spaced(args)))
            }
            Record::NoAnswer { namespace, event, message, .. } => {
                (RED, format!("! {namespace} {event} not answered: {message}"))
            }
            Record::Status { namespace, connected, id, transport, waiting_bytes, .. } => {
                let state = if *connected { "connected" } else { "not connected" };
                let id = id.as_ref().map_or(String::new(), |id| format!(" as {id}"));
                let over = transport.map_or(String::new(), |transport| format!(" over {transport}"));
                (GREY, format!("· {namespace} {state}{id}{over}, {waiting_bytes} bytes waiting"))
            }
            Record::Pending { questions, answers, .. } => {
                let asked = questions.iter().map(|it| format!(" ?{} ({} ms)", it.event, it.ms));
                let asking = answers.iter().map(|it| format!(" {} (/answer {})", it.event, it.answer));
                let (asked, asking) = (asked.collect::<String>(), asking.collect::<String>());
                let (questions, answers) = (questions.len(), answers.len());
                (GREY, format!("· {questions} wait for the server:{asked}; {answers} wait for you:{asking}"))
            }
            Record::Muted { events, .. } => (GREY, format!("· hidden: {}", events.join(", "))),
            Record::Help => (GREY, HELP.into()),
            Record::ReconnectAttempt { attempt } => (GREY, format!("· connecting again, attempt {attempt}")),
            Record::Reconnect { attempts } => {
                (GREY, format!("· connection open again after {attempts} attempts"))
            }
            Record::ReconnectError { message } => (GREY, format!("· still no connection: {message}")),
            Record::ReconnectFailed => (RED, "! no more attempts to connect".into()),
            Record::Ping => (GREY, "· ping".into()),
            Record::Trace { on: true, .. } => (GREY, "· packets are shown".into()),
            Record::Trace { on: false, .. } => (GREY, "· packets are not shown any longer".into()),
            Record::Packet { direction, transport, packet, head, raw } => {
                let arrow = if *direction == "in" { "«" } else { "»" };
                let head = head.as_ref().map_or(String::new(), |head| format!(" {head}"));
                (GREY, format!("{arrow} {transport} {packet}{head}  {}", cut(raw)))
            }
            Record::Connection { message } => (GREY, format!("· {message}")),
            Record::Error { line: Some(line), message } => (RED, format!("! line {line}: {message}")),
            Record::Error { line: None, message } => (RED, format!("! {message}")),
        }
    }

    /// Returns the line that is shown: a time and a text. No control character of a server reaches the terminal.
    fn shown(&self, now: &ZonedDateTime, colour: bool) -> String {
        let (sgr, text) = self.text();
        let text: String = text.chars().map(printable).collect();
        let time = now.strftime("%H:%M:%S%.3f");
        match colour {
            true => format!("\x1b[{GREY}m{time}\x1b[0m \x1b[{sgr}m{text}\x1b[0m"),
            false => format!("{time} {text}"),
        }
    }
}

/// The number of characters of a packet that are shown.
const PACKET: usize = 500;

/// Returns the beginning of a packet, and the number of bytes that follow it.
fn cut(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(PACKET) {
        Some((at, _)) => {
            let (shown, hidden) = raw.split_at(at);
            format!("{shown}… ({} more bytes)", hidden.len()).into()
        }
        None => raw.into(),
    }
}

fn spaced(args: &[Json]) -> String {
    args.iter().map(|arg| format!(" {arg}")).collect()
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

/// The place where records are shown.
pub(crate) struct Output {
    json: bool,
    colour: bool,
    /// Every packet is shown.
    tracing: AtomicBool,
    /// The lines that the editor prints above the line that is edited.
    editor: Option<SyncSender<String>>,
    /// The number of lines for which the editor had no time.
    skipped: Arc<AtomicUsize>,
}

/// The lines that wait for the editor. A terminal that is slower than the server skips lines instead of delaying the
/// connection.
const EDITOR_LINES: usize = 1000;

impl Output {
    pub(crate) fn new(json: bool, colour: bool, trace: bool) -> Output {
        Output { json, colour, tracing: trace.into(), editor: None, skipped: Arc::default() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_tracing(&self) -> bool {
        self.tracing.load(Ordering::Relaxed)
    }

    /// Begins to trace, or ends it. Returns whether it traces now.
    pub(crate) fn toggle_trace(&self) -> bool {
        !self.tracing.fetch_not(Ordering::Relaxed)
    }

    /// Prints what arrives by `print`, on a thread of its own, because the line that is edited is on the screen.
    pub(crate) fn print_by(&mut self, print: impl FnMut(String) + Send + 'static) {
        let (sender, lines) = sync_channel(EDITOR_LINES);
        self.editor = Some(sender);
        let skipped = self.skipped.clone();
        std::thread::spawn(move || print_lines(&lines, &skipped, print));
    }

    /// Shows something that happens at any time.
    pub(crate) fn show(&self, record: &Record) {
        let line = self.line(record);
        match &self.editor {
            None => write(&line),
            Some(editor) if editor.try_send(line).is_err() => {
                _ = self.skipped.fetch_add(1, Ordering::Relaxed)
            }
            Some(_) => {}
        }
    }

    /// Prints the result of a command, while no line is edited.
    pub(crate) fn print(&self, record: &Record) {
        write(&self.line(record));
    }

    fn line(&self, record: &Record) -> String {
        let now = ZonedDateTime::now();
        let line = match (self.json, record) {
            (true, _) => record.json(now.timestamp()),
            (false, Record::Help) => HELP.into(),
            (false, _) => record.shown(&now, self.colour),
        };
        line + "\n"
    }
}

fn print_lines(lines: &Receiver<String>, skipped: &AtomicUsize, mut print: impl FnMut(String)) {
    for line in lines {
        print(line);
        match skipped.swap(0, Ordering::Relaxed) {
            0 => {}
            skipped => print(format!("… {skipped} lines are not shown\n")),
        }
    }
}

/// Writes a line. If nobody reads it, as behind `head`, the program ends.
fn write(line: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, text: &str) -> Record {
        let args = vec![Json::Object(vec![("b".into(), Json::Text(text.into())), ("a".into(), Json::Null)])];
        Record::Event { namespace: "/chat".into(), event: event.into(), args, answer: Some(3) }
    }

    fn noon() -> Timestamp {
        "2026-11-29T12:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn a_line_of_json_keeps_keys_in_order_and_begins_with_the_type() {
        assert_eq!(
            event("said", "hi").json(noon()),
            r#"{"type":"event","namespace":"/chat","event":"said","args":[{"b":"hi","a":null}],"answer":3,"time":"2026-11-29T12:00:00.500Z"}"#
        );
        assert_eq!(Record::Ping.json(noon()), r#"{"type":"ping","time":"2026-11-29T12:00:00.500Z"}"#);
    }

    #[test]
    fn text_has_a_time_and_a_direction() {
        let now = noon().to_zoned_datetime(jiff::tz::TimeZone::UTC);
        assert_eq!(
            event("said", "hi").shown(&now, false),
            r#"12:00:00.500 ← /chat said {"b":"hi","a":null}  (expects /answer 3)"#
        );
        let emit =
            Record::Emit { line: 1, namespace: "/".into(), event: "add".into(), args: vec![], asks: true };
        assert_eq!(emit.shown(&now, true), "\x1b[90m12:00:00.500\x1b[0m \x1b[90m→ / ?add\x1b[0m");
    }

    #[test]
    fn control_characters_reach_neither_text_nor_json() {
        let record = event("x\u{1b}[2J", "\u{9b}2J\u{7f}");
        let text = record.shown(&noon().to_zoned_datetime(jiff::tz::TimeZone::UTC), false);
        let json = record.json(noon());
        assert!(!text.chars().chain(json.chars()).any(char::is_control), "{text} {json}");
        assert!(json.contains(r"\u009b2J\u007f"), "{json}");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn lines_for_which_there_was_no_time_are_counted() {
        let mut output = Output::new(false, false, false);
        let (printed, lines) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        output.print_by(move |line| {
            printed.send(line).unwrap();
            let _ = wait.recv();
        });
        output.show(&Record::Ping);
        // The thread now prints the first line, and nothing is taken until it may go on.
        lines.recv().unwrap();
        for _ in 0..EDITOR_LINES + 2 {
            output.show(&Record::Ping);
        }
        drop(go);
        assert_eq!(lines.recv().unwrap(), "… 2 lines are not shown\n");
        assert!(lines.recv().unwrap().ends_with("· ping\n"));
    }
}
