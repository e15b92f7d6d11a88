//! Talks to any Socket.IO server, from a terminal or from a script.
//!
//! Run it with `sockeye http://localhost:3000`, and type `/help`; `sockeye --help` has options and examples.

mod editor;
mod options;
mod output;
mod record;
mod terminal;
mod trace;
mod values;

use editor::Editor;
use options::{Input, Options};
use output::Output;
use sockeye::client::ClientConnectError;
use sockeye::runtime::tokio::Tokio;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use terminal::{Mode, Terminal};
use tokio::sync::{mpsc, oneshot};
use trace::Trace;

/// A line was wrong, or was not answered.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// There is no connection, or it was lost.
const NOT_CONNECTED: u8 = 3;

// On one thread tasks run in the order in which they were woken, so that answers are shown as they arrive.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("sockeye: {error}");
            USAGE.into()
        }
    }
}

async fn run() -> Result<u8, options::Error> {
    let Some(options) = Options::from_args(lexopt::Parser::from_env())? else { return Ok(0) };
    let (input, mode) = options.input()?;
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let mut output = Output::new(options.json, colour, options.trace);
    let (terminal, lines) = match input {
        Input::Editor => {
            let mut editor = Editor::open(&mut output)?;
            let terminal = start(&options, mode, output)?;
            editor.assist(terminal.clone(), colour);
            (terminal, read_lines(move || editor.read()))
        }
        Input::Lines(lines) => {
            let mut lines = lines.lines();
            (start(&options, mode, output)?, read_lines(move || lines.next()))
        }
    };
    let code = match connect(&terminal, &options.namespaces).await {
        Ok(()) => follow(&terminal, lines, mode, &options).await,
        Err(_) => NOT_CONNECTED,
    };
    terminal.close().await;
    Ok(code)
}

/// Creates the client, which is not connected yet.
fn start(options: &Options, mode: Mode, output: Output) -> Result<Terminal, options::Error> {
    let output = Arc::new(output);
    let client = options.client(mode, Trace(output.clone()))?;
    client.attach(Arc::new(Tokio::new()));
    Ok(Terminal::new(client, mode, output, options))
}

/// Connects to the namespaces. A script waits for each.
async fn connect(terminal: &Terminal, namespaces: &[String]) -> Result<(), ClientConnectError> {
    let first = terminal.current();
    first.connect();
    terminal.connected(&first).await?;
    for namespace in namespaces {
        terminal.join(namespace).await?;
    }
    Ok(())
}

/// Follows the lines, and waits for what the options say after the last line. Returns the exit code.
async fn follow(terminal: &Terminal, lines: mpsc::Receiver<Line>, mode: Mode, options: &Options) -> u8 {
    let run = async {
        let has_quit = run_lines(terminal, lines).await;
        match (mode, &options.until) {
            _ if has_quit => {}
            (Mode::Interactive, _) => {}
            (_, Some(_)) => terminal.expected(options.timeout).await,
            (Mode::Script, None) => tokio::time::sleep(options.wait).await,
            (Mode::Watch, None) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = run => {}
        () = terminal.lost() => {}
    }
    if mode == Mode::Interactive {
        return 0;
    }
    match terminal.finish().await {
        _ if terminal.is_lost() => NOT_CONNECTED,
        true => 0,
        false => FAILED,
    }
}

/// Runs the lines. Returns whether one of them quits.
async fn run_lines(terminal: &Terminal, mut lines: mpsc::Receiver<Line>) -> bool {
    while let Some(Line { number, text, done }) = lines.recv().await {
        match text {
            Ok(text) if terminal.run(number, &text).await => {}
            Ok(_) => return true,
            Err(error) => {
                terminal.complain(number, error);
                return false;
            }
        }
        // The thread that reads is gone only if the program ends.
        let _ = done.send(());
    }
    false
}

/// A line, and the way to say that the next one may be read: until then the editor leaves the terminal alone.
struct Line {
    number: u64,
    text: io::Result<String>,
    done: oneshot::Sender<()>,
}

/// Reads lines on a thread of its own, because reading blocks.
fn read_lines(mut read: impl FnMut() -> Option<io::Result<String>> + Send + 'static) -> mpsc::Receiver<Line> {
    let (send, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for number in 1.. {
            let Some(text) = read() else { return };
            let (done, next) = oneshot::channel();
            if send.blocking_send(Line { number, text, done }).is_err() || next.blocking_recv().is_err() {
                return;
            }
        }
    });
    lines
}
