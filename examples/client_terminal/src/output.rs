//! The place where everything is shown.

use crate::record::Record;
use crate::terminal::HELP;
use jiff::ZonedDateTime;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

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
