//! The program at a terminal: what is typed, and what arrives meanwhile.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sockeye::extract::Data;
use sockeye::{Server, Socket};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The deadline of a wait for something that should come at once.
const DEADLINE: Duration = Duration::from_secs(20);

/// A terminal in which the program runs.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// The output that no call of `until` has passed.
    printed: Vec<u8>,
}

impl Terminal {
    fn start(history: &str, url: &str) -> Terminal {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let open = || File::options().read(true).write(true).open(name).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sockeye"))
            .arg(url)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join(history))
            .stdin(open())
            .stdout(open())
            .spawn()
            .unwrap();
        let keyboard = File::from(terminal);
        let mut output = keyboard.try_clone().unwrap();
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails once the program has ended.
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keyboard, screen, printed: Vec::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the prompt, and types a line: what is typed before the editor reads may be lost.
    fn type_line(&mut self, line: &str) {
        self.until("/ > ");
        self.press(&format!("{line}\r"));
    }

    /// Waits until the program has ended.
    fn ends(&mut self) -> ExitStatus {
        loop {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("the program does not end"),
            }
        }
    }

    /// Waits until `text` is printed, and returns what was printed before it.
    fn until(&mut self, text: &str) -> String {
        let text = text.as_bytes();
        loop {
            if let Some(at) = self.printed.windows(text.len()).position(|part| part == text) {
                let before = self.printed.drain(..at + text.len()).take(at).collect();
                return String::from_utf8(before).unwrap();
            }
            let bytes = self.screen.recv_timeout(DEADLINE);
            self.printed.extend(bytes.unwrap_or_else(|_| {
                let (text, printed) = (String::from_utf8_lossy(text), String::from_utf8_lossy(&self.printed));
                panic!("no {text:?} in {printed:?}")
            }));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_says_what_waits_and_how_to_go_on() {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
        socket.on("kick", async |socket: Socket| socket.disconnect(false));
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(sockeye::runtime::tokio::serve(io.clone(), listener));
    let requests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("requests.txt");
    std::fs::write(&requests, "# a comment\n?add 2 3\n/run again\n").unwrap();

    let mut terminal = Terminal::start("says", &url);
    terminal.until("● / connected as ");
    terminal.type_line(&format!("/run {}", requests.display()));
    terminal.until("· ?add 2 3\r\n");
    terminal.until("a file that is run cannot run another\r\n");
    terminal.until("← / add answered 5 (");
    terminal.type_line("/pending");
    terminal.until("· everything is answered\r\n");
    terminal.type_line("kick");
    terminal.until("○ / disconnected: io server disconnect\r\n");
    terminal.until("· /connect connects again\r\n");
    terminal.type_line("?add 1 1");
    terminal.until("· add is sent as soon as there is a connection\r\n");
    terminal.type_line("/pending");
    terminal.until("· the server did not answer ?add (");
    terminal.type_line("/connect");
    terminal.until("← / add answered 2 (");
    terminal.type_line("/trace");
    terminal.until("· packets are shown\r\n");
    terminal.type_line("hello");
    terminal.until("message event / hello  42[\"hello\"]\r\n");
    terminal.type_line("/quit");
    assert!(terminal.ends().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arriving_event_does_not_tear_the_line_that_is_edited() {
    let io = Server::new();
    let (told, events) = channel();
    io.on_connect(move |socket: Socket| {
        let told = told.clone();
        socket.on("half", move |Data(text): Data<String>| {
            told.send(text).unwrap();
            async {}
        });
        async {}
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(sockeye::runtime::tokio::serve(io.clone(), listener));

    let mut terminal = Terminal::start("tear", &url);
    terminal.until("● / connected as ");
    terminal.until("● / > ");
    terminal.press("half d");
    terminal.until("half d");
    assert_eq!(io.emit("news", 1).error, None);
    terminal.until("← / news 1\r\n");
    assert_eq!(terminal.until("half d"), "● / > ");
    terminal.press("one\r");
    assert_eq!(events.recv_timeout(DEADLINE).unwrap(), "done");

    // The history has the line, and the prompt shows the end of the connection.
    terminal.until("● / > ");
    terminal.press("\x1b[A");
    terminal.until("half done");
    terminal.press("\r");
    assert_eq!(events.recv_timeout(DEADLINE).unwrap(), "done");
    terminal.press("/leave\r");
    terminal.until("○ / disconnected: io client disconnect\r\n");
    terminal.press("/qu\t\r");
    assert!(terminal.ends().success());
}
