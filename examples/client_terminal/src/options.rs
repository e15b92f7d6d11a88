//! The command line.

use crate::terminal::Mode;
use crate::trace::Trace;
use crate::values::namespace;
use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use sockeye::{Client, ClientTls, Transport};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal};
use std::time::Duration;

const USAGE: &str = "\
Talks to any Socket.IO server of version 3 or later.

usage: sockeye [OPTIONS] URL [LINE…]

The URL may name a namespace. Each LINE is an event to emit, or a command: /help lists them. Without a line, they are
read from the standard input; at a terminal, they are typed and edited there.

  -n, --namespace /NAME        connect to this namespace, too, and use it; may be repeated
  -a, --auth JSON|NAME=VALUE   data to send as auth; NAME=VALUE may be repeated
  -H, --header 'NAME: VALUE'   add a header to every request; may be repeated
  -q, --query NAME=VALUE       add a parameter to the query; may be repeated
      --transport NAME         use only polling or websocket
      --path PATH              the server's path (default: /socket.io)
      --proxy URL              use this proxy: http://USER:PASSWORD@HOST:PORT
      --ca FILE                trust only the certificates in this PEM file
  -t, --timeout SECONDS        how long to wait for an answer, and for --until (default: 30)
      --connect-timeout SECONDS    how long to wait for a connection (default: 20)
  -f, --file FILE              read the lines from a file, in which # begins a comment
  -e, --event NAME             show only this event, and those that expect an answer; may be repeated
  -u, --until NAME             end once this event arrives, and fail if it takes longer than --timeout
      --wait SECONDS           stay for this time after the last line, and show events
  -w, --watch                  stay after the last line, show events, and connect again until interrupted
  -j, --json                   print a line of JSON for everything that happens
      --trace                  show every packet of both protocols, with the connection's events
      --once                   at a terminal: do not connect again
  -h, --help
  -V, --version

An argument of an event is JSON, a word, 'some words', or @FILE for the bytes of a file.
A question mark before the event waits for its acknowledgement, and a script ends after the last one.

examples:
  sockeye http://localhost:3000
  sockeye http://localhost:3000 'chat message hello' '?add 2 3'
  sockeye -a token=secret http://localhost:3000/admin '?users {\"online\": true}' --json | jq .
  sockeye --watch --json https://example.com/news >> news.jsonl
  sockeye --until ready --timeout 60 http://localhost:3000 'job start'
  sockeye http://localhost:3000 < requests.txt

With --json, what a line causes has its number as \"line\", counted from 1: an answer belongs to the line that asked.
The exit code is 0 if all went well, 1 if a line was wrong or not answered, 2 if the command line is wrong, and 3 if the
server did not let us in or the connection was lost.
At a terminal, NO_COLOR turns colours off, and a line that begins with a space is not kept in the history.";

#[derive(Default)]
pub(crate) struct Options {
    url: String,
    lines: Vec<String>,
    file: Option<String>,
    transport: Option<Transport>,
    auth: Option<Map<String, Value>>,
    pub(crate) namespaces: Vec<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    path: Option<String>,
    proxy: Option<String>,
    ca: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) events: Vec<String>,
    pub(crate) until: Option<String>,
    connect_timeout: Option<Duration>,
    pub(crate) wait: Duration,
    watch: bool,
    pub(crate) json: bool,
    once: bool,
    pub(crate) trace: bool,
}

pub(crate) type Error = Box<dyn std::error::Error>;

/// The source of the lines.
pub(crate) enum Input {
    Editor,
    Lines(Box<dyn BufRead + Send>),
}

impl Options {
    /// Reads the command line. Returns `None` after printing the help.
    pub(crate) fn from_args(mut args: Parser) -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options { timeout: Duration::from_secs(30), ..Options::default() };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Short('n') | Arg::Long("namespace") => {
                    options.namespaces.push(args.value()?.parse_with(namespace)?);
                }
                Arg::Short('a') | Arg::Long("auth") => {
                    let auth = options.auth.get_or_insert_default();
                    args.value()?.parse_with(|text| add_auth(auth, text))?;
                }
                Arg::Short('H') | Arg::Long("header") => {
                    options.headers.push(args.value()?.parse_with(|it| pair(it, ':'))?);
                }
                Arg::Short('q') | Arg::Long("query") => {
                    options.query.push(args.value()?.parse_with(|it| pair(it, '='))?);
                }
                Arg::Long("transport") => options.transport = Some(args.value()?.parse_with(transport)?),
                Arg::Long("path") => options.path = Some(args.value()?.string()?),
                Arg::Long("proxy") => options.proxy = Some(args.value()?.string()?),
                Arg::Long("ca") => options.ca = Some(args.value()?.string()?),
                Arg::Short('t') | Arg::Long("timeout") => {
                    options.timeout = args.value()?.parse_with(seconds)?;
                }
                Arg::Long("connect-timeout") => {
                    options.connect_timeout = Some(args.value()?.parse_with(seconds)?);
                }
                Arg::Short('e') | Arg::Long("event") => options.events.push(args.value()?.string()?),
                Arg::Short('u') | Arg::Long("until") => options.until = Some(args.value()?.string()?),
                Arg::Short('f') | Arg::Long("file") => options.file = Some(args.value()?.string()?),
                Arg::Long("wait") => options.wait = args.value()?.parse_with(seconds)?,
                Arg::Short('w') | Arg::Long("watch") => options.watch = true,
                Arg::Short('j') | Arg::Long("json") => options.json = true,
                Arg::Long("trace") => options.trace = true,
                Arg::Long("once") => options.once = true,
                Arg::Value(url) if options.url.is_empty() => options.url = url.string()?,
                Arg::Value(line) => options.lines.push(line.string()?),
                Arg::Short('h') | Arg::Long("help") => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                Arg::Short('V') | Arg::Long("version") => {
                    println!("sockeye {}", env!("CARGO_PKG_VERSION"));
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        match (options.url.is_empty(), options.file.is_some() && !options.lines.is_empty()) {
            (true, _) => Err("the URL is missing: see --help".into()),
            (_, true) => Err("lines come from the command line or from a file, not from both".into()),
            _ => Ok(Some(options)),
        }
    }

    /// Opens the source of the lines.
    pub(crate) fn input(&self) -> Result<(Input, Mode), Error> {
        let mode = if self.watch { Mode::Watch } else { Mode::Script };
        let lines: Box<dyn BufRead + Send> = match self.file.as_deref() {
            None if !self.lines.is_empty() => Box::new(Cursor::new(self.lines.join("\n"))),
            Some(path) if path != "-" => {
                Box::new(BufReader::new(File::open(path).map_err(|error| format!("{path}: {error}"))?))
            }
            None if self.until.is_some() || self.watch && io::stdin().is_terminal() => Box::new(io::empty()),
            None if io::stdin().is_terminal() && io::stdout().is_terminal() && !self.json => {
                return Ok((Input::Editor, Mode::Interactive));
            }
            _ => Box::new(BufReader::new(io::stdin())),
        };
        Ok((Input::Lines(lines), mode))
    }

    pub(crate) fn client(&self, mode: Mode, trace: Trace) -> Result<Client, Error> {
        let again = mode == Mode::Watch || mode == Mode::Interactive && !self.once;
        let mut builder =
            Client::builder(&self.url).reconnection(again).ack_timeout(self.timeout).observer(trace);
        if let Some(transport) = self.transport {
            builder = builder.transports([transport]);
        }
        if let Some(auth) = &self.auth {
            builder = builder.auth(auth);
        }
        if let Some(path) = &self.path {
            builder = builder.path(path);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy);
        }
        if let Some(timeout) = self.connect_timeout {
            builder = builder.timeout(timeout);
        }
        for (name, value) in &self.headers {
            builder = builder.extra_header(name, value);
        }
        for (key, value) in &self.query {
            builder = builder.query(key, value);
        }
        if let Some(ca) = &self.ca {
            let pem = std::fs::read(ca).map_err(|error| format!("{ca}: {error}"))?;
            builder = builder.tls(ClientTls::from_pem(&pem)?);
        }
        Ok(builder.build()?)
    }
}

/// Adds an object or `NAME=VALUE` to the auth data.
fn add_auth(auth: &mut Map<String, Value>, text: &str) -> Result<(), String> {
    match text.starts_with('{') {
        true => {
            let more =
                serde_json::from_str::<Map<_, _>>(text).map_err(|error| format!("not JSON: {error}"))?;
            auth.extend(more);
        }
        false => {
            let (name, value) = pair(text, '=')?;
            auth.insert(name, value.into());
        }
    }
    Ok(())
}

fn transport(name: &str) -> Result<Transport, &'static str> {
    match name {
        "polling" => Ok(Transport::Polling),
        "websocket" => Ok(Transport::WebSocket),
        _ => Err("a transport is polling or websocket"),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn pair(text: &str, between: char) -> Result<(String, String), String> {
    let (name, value) = text.split_once(between).ok_or_else(|| format!("{between:?} is missing"))?;
    Ok((name.trim().into(), value.trim().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        let parsed = Options::from_args(Parser::from_args(args)).map_err(|error| error.to_string())?;
        Ok(parsed.expect("no help is asked for"))
    }

    #[test]
    fn auth_is_an_object_or_is_collected_from_pairs() {
        let auth = |args: &[&str]| Value::from(parse(args).unwrap().auth.unwrap());
        let expected = serde_json::json!({ "token": "a=b", "id": "7" });
        assert_eq!(auth(&["-a", "token=a=b", "--auth", "id=7", "url"]), expected);
        let expected = serde_json::json!({ "b": 1, "a": { "c": 2 }, "id": "7" });
        assert_eq!(auth(&["url", "-a", r#"{"b": 1, "a": {"c": 2}}"#, "-a", "id=7"]), expected);
    }

    #[test]
    fn what_follows_the_url_is_lines() {
        let options = parse(&["--json", "http://x", "?add 2 3", "-t", "1.5", "bye"]).unwrap();
        assert_eq!((options.url.as_str(), options.lines.len()), ("http://x", 2));
        assert_eq!(options.timeout, Duration::from_millis(1500));
        let (Input::Lines(lines), Mode::Script) = options.input().unwrap() else { panic!("no script") };
        assert_eq!(lines.lines().map(Result::unwrap).collect::<Vec<_>>(), ["?add 2 3", "bye"]);
    }

    #[test]
    fn mistakes_are_explained() {
        let refused = |args: &[&str]| parse(args).err().unwrap();
        assert_eq!(refused(&[]), "the URL is missing: see --help");
        assert!(refused(&["--transport", "smoke", "url"]).contains("polling or websocket"));
        assert!(refused(&["-H", "nothing", "url"]).contains("':' is missing"));
        assert!(refused(&["-t", "-1", "url"]).contains("negative"));
        assert!(refused(&["-f", "x", "url", "line"]).contains("not from both"));
        assert!(refused(&["--tls", "url"]).contains("--tls"));
    }
}
