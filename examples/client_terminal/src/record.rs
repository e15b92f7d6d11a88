//! Everything that is shown: as a line of text or of JSON.

use crate::terminal::HELP;
use crate::trace::Head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ZonedDateTime};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sockeye::Args;
use std::borrow::Cow;
use std::time::Instant;

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
        #[serde(flatten, serialize_with = "arguments")]
        args: Args,
        answer: Option<u32>,
    },
    Emit {
        line: u64,
        namespace: String,
        event: String,
        #[serde(flatten, serialize_with = "arguments")]
        args: Args,
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
        #[serde(flatten, serialize_with = "arguments")]
        args: Args,
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
        /// The other namespaces that are connected.
        others: Vec<String>,
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
    Note {
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
    #[serde(rename = "ms", serialize_with = "serialize_millis")]
    pub(crate) asked: Instant,
}

/// An event of the server that we have not answered yet.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unanswered {
    pub(crate) answer: u32,
    pub(crate) event: String,
}

/// The colours of a line, as SGR parameters of ECMA-48.
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const MAGENTA: &str = "35";
const CYAN: &str = "36";
const GREY: &str = "90";

impl Record {
    /// Returns the line in JSON: its type first, its time last.
    pub(crate) fn json(&self, now: Timestamp) -> String {
        #[derive(Serialize)]
        struct Timed<'a> {
            #[serde(flatten)]
            record: &'a Record,
            time: String,
        }
        let line = Timed { record: self, time: format!("{now:.3}") };
        let text = serde_json::to_string(&line).expect("records have no keys but strings");
        // Not all control characters in strings are escaped. Outside of strings, a server may have sent white space.
        let escape = |c: char| match c {
            '\t' | '\n' | '\r' => " ".into(),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.into(),
        };
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
            Record::Status { namespace, connected, id, transport, waiting_bytes, others, .. } => {
                let state = if *connected { "connected" } else { "not connected" };
                let id = id.as_ref().map_or(String::new(), |id| format!(" as {id}"));
                let over = transport.map_or(String::new(), |transport| format!(" over {transport}"));
                let others = if others.is_empty() { "" } else { &format!(", and to {}", others.join(", ")) };
                (GREY, format!("· {namespace} {state}{id}{over}{others}, {waiting_bytes} bytes waiting"))
            }
            Record::Pending { questions, answers, .. } => {
                let asked: Vec<_> =
                    questions.iter().map(|it| format!("?{} ({} ms)", it.event, millis(it.asked))).collect();
                let asking = answers.iter().map(|it| format!("{} (/answer {})", it.event, it.answer));
                let owed = [("the server", asked), ("you", asking.collect())].into_iter();
                let owed = owed.filter(|(_, events)| !events.is_empty());
                let owed: Vec<_> =
                    owed.map(|(who, events)| format!("{who} did not answer {}", events.join(", "))).collect();
                let owed = if owed.is_empty() { "everything is answered".into() } else { owed.join("; ") };
                (GREY, format!("· {owed}"))
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
            Record::Note { message } => (GREY, format!("· {message}")),
            Record::Error { line: Some(line), message } => (RED, format!("! line {line}: {message}")),
            Record::Error { line: None, message } => (RED, format!("! {message}")),
        }
    }

    /// Returns the line that is shown: a time and a text. No control character of a server reaches the terminal.
    pub(crate) fn shown(&self, now: &ZonedDateTime, colour: bool) -> String {
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

/// Serializes arguments as the JSON that they are, in which `{"_placeholder":true,"num":0}` stands for the first of the
/// attachments beside it.
fn arguments<S: Serializer>(args: &Args, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Arguments<'a> {
        args: Vec<&'a RawValue>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<String>,
    }
    let raw = args.iter().map(|arg| serde_json::from_str(arg.json()));
    let raw = raw.collect::<Result<_, _>>().map_err(serde::ser::Error::custom)?;
    let attachments = args.attachments().iter().map(|data| STANDARD.encode(data)).collect();
    Arguments { args: raw, attachments }.serialize(serializer)
}

pub(crate) fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

fn serialize_millis<S: Serializer>(since: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(*since))
}

/// Returns arguments for people, each behind a space.
fn spaced(args: &Args) -> String {
    args.iter()
        .map(|arg| arg.bytes().map_or_else(|| format!(" {arg}"), |data| format!(" {}", bytes(data))))
        .collect()
}

/// The number of bytes that are shown.
const BYTES: usize = 16;

/// Returns the number of bytes, and the first of them in hexadecimal digits.
pub(crate) fn bytes(data: &[u8]) -> String {
    let shown: String = data.iter().take(BYTES).map(|byte| format!(" {byte:02x}")).collect();
    let more = if data.len() > BYTES { " …" } else { "" };
    let colon = if data.is_empty() { "" } else { ":" };
    format!("<{} bytes{colon}{shown}{more}>", data.len())
}

/// Replaces control characters. Those that may stand between the parts of JSON become spaces.
fn printable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, text: &str) -> Record {
        let args = Args::from_json(&format!(r#"[{{"b":"{text}","a":null}}]"#), []).unwrap();
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
        let emit = Record::Emit {
            line: 1,
            namespace: "/".into(),
            event: "add".into(),
            args: Args::new(),
            asks: true,
        };
        assert_eq!(emit.shown(&now, true), "\x1b[90m12:00:00.500\x1b[0m \x1b[90m→ / ?add\x1b[0m");
    }

    #[test]
    fn bytes_are_shown_as_bytes() {
        let files = [vec![0, 255, 7], vec![1; 20], vec![]].map(Into::into);
        let json = r#"[{"_placeholder":true,"num":0},{"in":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":2}]"#;
        let args = Args::from_json(json, files).unwrap();
        assert_eq!(spaced(&args), r#" <3 bytes: 00 ff 07> {"in":[<20 bytes>]} <0 bytes>"#);
        assert_eq!(bytes(&[1; 20]), format!("<20 bytes:{} …>", " 01".repeat(16)));
        let record = Record::Event { namespace: "/".into(), event: "x".into(), args, answer: None };
        let shown = r#""attachments":["AP8H","AQEBAQEBAQEBAQEBAQEBAQEBAQE=",""]"#;
        assert!(
            record.json(noon()).contains(&format!(r#""args":{json},{shown}"#)),
            "{}",
            record.json(noon())
        );
    }

    #[test]
    fn json_of_several_lines_is_one_line() {
        let args = Args::from_json("[{\n\t\"a\": 1\r\n}]", []).unwrap();
        let record = Record::Event { namespace: "/".into(), event: "x".into(), args, answer: None };
        assert!(record.json(noon()).contains(r#""args":[{  "a": 1  }]"#), "{}", record.json(noon()));
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
}
