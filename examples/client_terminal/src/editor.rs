//! The line that is edited at a terminal, with its history.

use crate::output::Output;
use crate::terminal::{HELP, Terminal};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, CompletionType, Config, Context, ExternalPrinter, Helper};
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// The number of lines in the history.
const HISTORY: usize = 10_000;

pub(crate) struct Editor {
    editor: rustyline::Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// Opens the terminal. From now on, what happens is printed above the line that is edited.
    pub(crate) fn open(output: &mut Output) -> rustyline::Result<Editor> {
        let config = Config::builder()
            .auto_add_history(true)
            .history_ignore_space(true)
            .max_history_size(HISTORY)?
            .completion_type(CompletionType::List)
            // The prompt shows the state in any case; `Assistant` colours nothing if that is not wanted.
            .color_mode(ColorMode::Forced)
            .build();
        let mut editor = rustyline::Editor::with_config(config)?;
        let mut printer = editor.create_external_printer()?;
        output.print_by(move |line| {
            // Fails once the editor is closed.
            if printer.print(line.clone()).is_err() {
                print!("{line}");
            }
        });
        let history = history_file();
        if let Some(path) = &history {
            // There is none before the first use.
            let _ = editor.load_history(path);
        }
        Ok(Editor { editor, history })
    }

    pub(crate) fn assist(&mut self, terminal: Terminal, colour: bool) {
        self.editor.set_helper(Some(Assistant { terminal, colour }));
    }

    /// Reads the next line. Returns `None` at Ctrl-C and Ctrl-D.
    pub(crate) fn read(&mut self) -> Option<io::Result<String>> {
        let namespace = self.editor.helper()?.terminal.current().namespace().to_owned();
        match self.editor.readline(&format!("{OFF} {namespace} > ")) {
            Ok(line) => {
                if let Some(path) = &self.history {
                    // A history that cannot be written is still one until the end of the program.
                    let _ = self.editor.append_history(path);
                }
                Some(Ok(line))
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
            Err(ReadlineError::Io(error)) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }
}

/// Returns the file of the history in the folder for such files, which is created: see the XDG Base Directory
/// Specification.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let folder = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?.join("sockeye");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// The marks of the prompt: they have the same width.
const ON: char = '●';
const OFF: char = '○';

struct Assistant {
    terminal: Terminal,
    colour: bool,
}

impl Highlighter for Assistant {
    /// Shows the state of the connection as it is when the prompt is drawn, which it is again after each line above it.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        let Some(rest) = prompt.strip_prefix(OFF).filter(|_| default) else { return prompt.into() };
        let (mark, sgr) = match self.terminal.current().is_connected() {
            true => (ON, "32"),
            false => (OFF, "33"),
        };
        match self.colour {
            true => format!("\x1b[{sgr}m{mark}\x1b[0m{rest}").into(),
            false => format!("{mark}{rest}").into(),
        }
    }
}

impl Completer for Assistant {
    type Candidate = String;

    /// Completes commands, and the names of events that were seen.
    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let start = typed.strip_prefix('?').unwrap_or(typed);
        let at = typed.len() - start.len();
        Ok((at, complete(start, |start| self.terminal.names(start))))
    }
}

fn complete(start: &str, names: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
    if start.contains(' ') {
        return Vec::new();
    }
    if start.starts_with('/') {
        let commands = HELP.lines().filter_map(|line| line.split(' ').next());
        return commands.filter(|command| command.starts_with(start)).map(|it| format!("{it} ")).collect();
    }
    let is_plain = |name: &String| !name.contains(char::is_whitespace) && !name.chars().any(char::is_control);
    names(start).into_iter().filter(is_plain).map(|name| name + " ").collect()
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_events_are_completed() {
        let names = |_: &str| vec!["chat".into(), "chat message".into()];
        assert_eq!(complete("/con", names), ["/connect "]);
        assert_eq!(complete("/", names).len(), 10);
        assert_eq!(complete("ch", names), ["chat "]);
        assert!(complete("chat he", names).is_empty());
    }
}
