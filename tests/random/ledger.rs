//! What was sent and what came, of every socket: the two have to agree at every moment.

use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The accounts of all sockets by their ids; shared with the server's handlers.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
pub struct Books {
    pub accounts: HashMap<String, Account>,
    /// What is wrong: a panic in a handler would be caught.
    pub faults: Vec<String>,
}

/// One socket.
#[derive(Default)]
pub struct Account {
    /// Numbers of the events that were sent, and how many of them came.
    to_server: Vec<u32>,
    at_server: usize,
    to_client: Vec<u32>,
    at_client: usize,
    /// Bytes that were sent to the client and have not come.
    pub under_way: usize,
    /// Questions to the client that have not come to it.
    questions: HashSet<u32>,
    /// Questions whose answer the server awaits.
    pub awaited: usize,
    /// Why the server says that it is gone.
    pub ends: Vec<String>,
    /// It was disconnected from its namespace, by one side or the other.
    pub is_excused: bool,
}

impl Ledger {
    pub fn lock(&self) -> MutexGuard<'_, Books> {
        // A check that fails under it is told by its own panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn account<R>(&self, id: &str, f: impl FnOnce(&mut Account) -> R) -> R {
        f(self.lock().accounts.entry(id.to_owned()).or_default())
    }

    /// An event came to the server.
    pub fn came_to_server(&self, id: &str, number: u32, text: &str, bytes: Option<&Bytes>) {
        let books = &mut *self.lock();
        let Some(account) = books.accounts.get_mut(id) else { return };
        let expected = account.to_server.get(account.at_server);
        account.at_server += 1;
        if expected != Some(&number) {
            books.faults.push(format!("{number} came to the server in place of {expected:?}"));
        }
        if content(number) != (text.to_owned(), bytes.cloned()) {
            books.faults.push(format!("{number} came to the server as something else: {text}"));
        }
        if !account.ends.is_empty() {
            books.faults.push(format!("{number} came to the server after the end"));
        }
    }

    /// The server says that a socket is gone.
    pub fn ended(&self, id: &str, reason: String) {
        let books = &mut *self.lock();
        let account = books.accounts.entry(id.to_owned()).or_default();
        account.ends.push(reason);
        if account.ends.len() > 1 {
            books.faults.push(format!("an end was told again: {:?}", account.ends));
        }
    }

    /// What holds at any moment.
    pub fn check(&self) {
        let books = self.lock();
        assert!(books.faults.is_empty(), "{:#?}", books.faults);
    }
}

impl Account {
    pub fn sent_to_server(&mut self, number: u32) {
        self.to_server.push(number);
    }

    pub fn sent_to_client(&mut self, number: u32) {
        self.to_client.push(number);
        self.under_way += size(number);
    }

    pub fn asked(&mut self, number: u32) {
        self.questions.insert(number);
        self.awaited += 1;
    }

    pub fn may_end(&mut self) {
        self.is_excused = true;
    }

    /// The server does not wait for an answer any more; the question has perhaps not come.
    pub fn resolved(&mut self, number: u32, is_lost: bool) {
        self.awaited -= 1;
        if is_lost {
            self.questions.remove(&number);
        }
    }

    #[track_caller]
    pub fn came_to_client(&mut self, number: u32, text: &str, bytes: Option<&Bytes>) {
        let expected = self.to_client.get(self.at_client);
        assert_eq!(Some(&number), expected, "came to the client in place of the other");
        assert_eq!((text.to_owned(), bytes.cloned()), content(number));
        self.at_client += 1;
        self.under_way -= size(number);
    }

    #[track_caller]
    pub fn question_came(&mut self, number: u32) {
        assert!(self.questions.remove(&number) || !self.ends.is_empty(), "question {number} came twice");
    }

    /// All that was sent has come.
    #[track_caller]
    pub fn check_settled(&self) {
        assert_eq!(self.at_server, self.to_server.len(), "lost on the way to the server");
        assert_eq!(self.at_client, self.to_client.len(), "lost on the way to the client");
        assert!(self.questions.is_empty(), "questions were lost: {:?}", self.questions);
    }
}

/// Text that looks like a protocol.
const ODD: [&str; 12] = [
    "",
    "plain",
    "-,/[]{}\"\\",
    "51-/a,1[\"x\"]",
    "{\"_placeholder\":true,\"num\":0}",
    "4\u{1e}42[\"m\"]\u{1e}b",
    "\u{0}\u{7f}\u{2028}\r\n\t",
    "🦈 鮭 ß\u{10ffff}",
    "__proto__",
    "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "bAQID",
    "\u{fffd}\u{feff}",
];

/// What an event of this number has in it: a text, and perhaps bytes.
pub fn content(number: u32) -> (String, Option<Bytes>) {
    let n = number as usize;
    let text = match n % 29 {
        7 => "3k".repeat(1500),
        19 => "9k".repeat(4500),
        _ => ODD[n % ODD.len()].to_owned(),
    };
    (text, n.is_multiple_of(5).then(|| vec![n as u8; n % 300].into()))
}

/// The next number whose event is large.
pub fn large(number: u32) -> u32 {
    number + (29 + 19 - number % 29) % 29
}

/// How many bytes an event of this number has at least.
fn size(number: u32) -> usize {
    let (text, bytes) = content(number);
    text.len() + bytes.map_or(0, |bytes| bytes.len())
}
