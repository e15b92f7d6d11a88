//! What real clients and their server sent and got: the two have to agree at every moment.

use crate::ledger::content;
use bytes::Bytes;
use sockeye::client::{ClientEmitError, Sent};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared with the handlers of both sides.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    /// One namespace of one client, over all of its connections.
    pub lines: Vec<Line>,
    /// By the ids that the server gave.
    pub sockets: HashMap<String, Account>,
    /// What is wrong: a panic in a handler would be caught.
    pub faults: Vec<String>,
}

#[derive(Default)]
pub struct Line {
    /// Events are sent again until they are acknowledged.
    pub retries: bool,
    /// A request may have been sent again that the server had seen: it lost the connection without a word.
    may_double: bool,
    /// What was sent to the server, or waits.
    sent: Vec<Event>,
    /// How many of them have their fate.
    told: usize,
    /// The id, while connected.
    pub current: Option<String>,
    /// The server has given the session up, which the client does not know.
    given_up: bool,
    /// Questions to the server.
    questions: HashMap<u32, Question>,
}

struct Event {
    number: u32,
    waiting: Option<Sent>,
    fate: Option<Result<(), ClientEmitError>>,
    came: u32,
}

#[derive(Default)]
struct Question {
    /// The connection on which it was asked.
    asked_on: Option<String>,
    came: u32,
    result: Option<Result<(), String>>,
}

/// One connection of one namespace.
#[derive(Default)]
pub struct Account {
    line: Option<usize>,
    /// The next of the line's events that can come to the server.
    next: usize,
    to_client: Vec<u32>,
    at_client: usize,
    /// The server's questions, whether they came, and whether their answer has.
    questions: HashMap<u32, (bool, Option<Result<(), String>>)>,
    /// It may end: something was done to it.
    pub excused: bool,
    client_ended: bool,
    pub server_ended: bool,
}

impl Line {
    /// Sees what became of what waited: in order, each once.
    fn look(&mut self, faults: &mut Vec<String>) {
        let mut is_first = true;
        let from = self.told;
        for event in self.sent.iter_mut().skip(from) {
            let Some(sent) = &mut event.waiting else {
                self.told += usize::from(is_first);
                continue;
            };
            match Pin::new(sent).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => is_first = false,
                Poll::Ready(fate) => {
                    if fate.is_ok() && !is_first {
                        faults.push(format!("{} was sent before an earlier one", event.number));
                    }
                    if self.retries && fate.is_ok() && event.came == 0 {
                        faults.push(format!("{} is said to have come, and has not", event.number));
                    }
                    (event.waiting, event.fate) = (None, Some(fate));
                    self.told += usize::from(is_first);
                }
            }
        }
    }

    fn waiting(&self) -> usize {
        self.sent.iter().skip(self.told).filter(|event| event.waiting.is_some()).count()
    }

    /// The place of the next event from there that was not refused.
    fn next_after(&self, at: usize) -> usize {
        let refused = self.sent.iter().skip(at).take_while(|event| matches!(event.fate, Some(Err(_))));
        at + refused.count()
    }
}

impl Books {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A check that fails under it is told by its own panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open(&self, retries: bool) -> usize {
        let mut books = self.lock();
        books.lines.push(Line { retries, ..Line::default() });
        books.lines.len() - 1
    }

    /// Something is done to the connection of a line.
    pub fn excuse(&self, line: usize) {
        let books = &mut *self.lock();
        if let Some(id) = &books.lines[line].current {
            books.sockets.entry(id.clone()).or_default().excused = true;
        }
    }

    /// A connection of a line was cut that may have been used for a request before.
    pub fn allow_doubles(&self, line: usize) {
        self.lock().lines[line].may_double = true;
    }

    pub fn sent(&self, line: usize, number: u32, sent: Sent) {
        let books = &mut *self.lock();
        let (waiting, fate) = if sent.is_waiting() { (Some(sent), None) } else { (None, Some(Ok(()))) };
        books.lines[line].sent.push(Event { number, waiting, fate, came: 0 });
    }

    pub fn asked(&self, line: usize, number: u32) {
        let line = &mut self.lock().lines[line];
        let asked_on = line.current.clone();
        line.questions.insert(number, Question { asked_on, ..Question::default() });
    }

    pub fn answered(&self, line: usize, number: u32, result: Result<(), String>) {
        let books = &mut *self.lock();
        let question = books.lines[line].questions.entry(number).or_default();
        if result.is_ok() && question.came == 0 {
            books.faults.push(format!("{number} was answered, and had not come"));
        }
        if question.result.replace(result).is_some() {
            books.faults.push(format!("the answer to {number} was told twice"));
        }
    }

    pub fn server_sent(&self, id: &str, number: u32) {
        self.lock().sockets.entry(id.into()).or_default().to_client.push(number);
    }

    pub fn server_asked(&self, id: &str, number: u32) {
        self.lock().sockets.entry(id.into()).or_default().questions.insert(number, (false, None));
    }

    pub fn server_answered(&self, id: &str, number: u32, result: Result<(), String>) {
        let books = &mut *self.lock();
        let known = books.sockets.entry(id.into()).or_default().questions.entry(number).or_default();
        if result.is_ok() && !known.0 {
            books.faults.push(format!("{number} was answered by a client to which it had not come"));
        }
        known.1 = Some(result);
    }

    // What the client sees.

    /// `None` if the same request told of the end, which comes next.
    pub fn connected(&self, line: usize, id: Option<String>, is_harmed: bool) {
        let is_harmed = is_harmed || id.is_none();
        let id = id.unwrap_or_default();
        let books = &mut *self.lock();
        let own = &mut books.lines[line];
        own.look(&mut books.faults);
        let account = books.sockets.entry(id.clone()).or_default();
        (account.line, account.next) = (Some(line), own.told);
        account.excused |= is_harmed || own.given_up;
        if let Some(before) = own.current.replace(id) {
            books.faults.push(format!("connected while {before} was"));
        }
    }

    pub fn disconnected(&self, line: usize, reason: &str) {
        let books = &mut *self.lock();
        let Some(id) = books.lines[line].current.take() else {
            return books.faults.push(format!("an end of nothing: {reason}"));
        };
        let account = books.sockets.entry(id.clone()).or_default();
        for line in [line & !1, line | 1] {
            books.lines[line].given_up = false;
        }
        if !account.excused {
            books.faults.push(format!("the client ended without a cause: {reason}"));
        }
        if std::mem::replace(&mut account.client_ended, true) {
            books.faults.push(format!("an end was told again: {reason}"));
        }
        if id.is_empty() {
            books.sockets.remove(&id);
        }
    }

    pub fn came_to_client(&self, line: usize, number: u32, text: &str, bytes: Option<&Bytes>) {
        let books = &mut *self.lock();
        if (text.to_owned(), bytes.cloned()) != content(number) {
            books.faults.push(format!("{number} came to the client as something else: {text}"));
        }
        let current = books.lines[line].current.as_ref();
        let Some(account) = current.and_then(|id| books.sockets.get_mut(id)) else {
            return books.faults.push(format!("{number} came to a client that is not connected"));
        };
        let expected = account.to_client.get(account.at_client).copied();
        if expected == Some(number) {
            account.at_client += 1;
            return;
        }
        books.faults.push(format!("{number} came to the client in place of {expected:?}"));
    }

    pub fn question_came_to_client(&self, number: u32) {
        let books = &mut *self.lock();
        let mut questions = books.sockets.values_mut().filter_map(|it| it.questions.get_mut(&number));
        let came = questions.next().map(|(came, _)| std::mem::replace(came, true));
        if came != Some(false) {
            books.faults.push(format!("question {number} came to the client {came:?}"));
        }
    }

    // What the server sees.

    pub fn came_to_server(&self, id: &str, number: u32, text: &str, bytes: Option<&Bytes>) {
        let books = &mut *self.lock();
        if (text.to_owned(), bytes.cloned()) != content(number) {
            books.faults.push(format!("{number} came to the server as something else: {text}"));
        }
        let Some(account) = books.sockets.get_mut(id) else { return };
        let Some(line) = account.line.and_then(|line| books.lines.get_mut(line)) else {
            return books.faults.push(format!("{number} came from nobody"));
        };
        line.look(&mut books.faults);
        let Ok(at) = line.sent.binary_search_by_key(&number, |event| event.number) else {
            return books.faults.push(format!("{number} came, and was not sent"));
        };
        let next = line.next_after(account.next);
        let event = &mut line.sent[at];
        event.came += 1;
        match line.retries {
            // The same again, or a later one.
            true if at + 1 >= account.next => account.next = at + 1,
            false if at == next && event.came == 1 => account.next = at + 1,
            // The first of two requests may come last, if its connection was held up.
            _ if line.may_double && at < next && event.came > 1 => {}
            _ => {
                let fate = &event.fate;
                books.faults.push(format!("{number} ({at}, {fate:?}) came to the server in place of {next}"));
            }
        }
        if account.server_ended {
            books.faults.push(format!("{number} came to the server after the end"));
        }
    }

    pub fn question_came_to_server(&self, id: &str, number: u32) {
        let books = &mut *self.lock();
        let line = books.sockets.get(id).and_then(|account| account.line);
        let Some(line) = line.and_then(|line| books.lines.get_mut(line)) else { return };
        let came = line.questions.get_mut(&number).map(|question| {
            question.came += 1;
            question.came
        });
        if came != Some(1) && !line.retries && !line.may_double {
            books.faults.push(format!("question {number} came to the server {came:?}"));
        }
    }

    /// `too_slow` says that the server gave a client up that does not read: a cause that nobody announces.
    pub fn server_ended(&self, id: &str, reason: &str, too_slow: bool) {
        let line = self.lock().sockets.get(id).and_then(|account| account.line);
        // A request that came twice may have left a namespace that was joined again in between: the client learns of it when
        // it uses that.
        let is_misled = |line: usize| reason == "forced close" && self.lock().lines[line].may_double;
        if let Some(line) = line.filter(|line| too_slow || is_misled(*line)) {
            // With both of its namespaces.
            for line in [line & !1, line | 1] {
                self.excuse(line);
                self.lock().lines[line].given_up = true;
            }
        }
        let books = &mut *self.lock();
        let account = books.sockets.entry(id.into()).or_default();
        if std::mem::replace(&mut account.server_ended, true) {
            books.faults.push(format!("an end was told again: {reason}"));
        }
        if account.line.is_some() && !account.excused {
            books.faults.push(format!("the server ended without a cause: {reason}"));
        }
    }

    // What holds.

    #[track_caller]
    pub fn check(&self) {
        let books = &mut *self.lock();
        for line in &mut books.lines {
            line.look(&mut books.faults);
        }
        assert!(books.faults.is_empty(), "{:#?}", books.faults);
    }

    /// All that was sent on connections that live has come, and was answered: from that number on, and what was asked
    /// on connections to which nothing was done that could take the time of an answer.
    /// What is sent again until it is acknowledged goes one by one, which is not `done` as fast.
    #[track_caller]
    pub fn check_settled(&self, from: u32, done: bool) {
        let books = &*self.lock();
        for line in &books.lines {
            let Some(id) = &line.current else { continue };
            let account = &books.sockets[id];
            let is_through = done || !line.retries;
            assert!(!is_through || line.waiting() == 0, "{} still wait", line.waiting());
            if !line.retries {
                assert_eq!(line.next_after(account.next), line.sent.len(), "lost on the way to the server");
            }
            assert_eq!(account.at_client, account.to_client.len(), "lost on the way to the client");
            assert!(!account.server_ended);
            let is_due = |number: u32| !account.excused || number >= from;
            for (number, (came, result)) in account.questions.iter().filter(|it| is_due(*it.0)) {
                assert!(
                    *came && *result == Some(Ok(())),
                    "question {number} to the client: {came} {result:?}"
                );
            }
            for (number, question) in line.questions.iter().filter(|it| is_due(*it.0)) {
                let is_own = is_through && question.asked_on.as_ref() == Some(id);
                let result = &question.result;
                let was_refused = matches!(result, Some(Err(error)) if error.starts_with("not sent"));
                let is_told = was_refused || *result == Some(Ok(()));
                assert!(!is_own || is_told, "question {number}: {result:?}");
            }
        }
    }

    /// Everything was told.
    #[track_caller]
    pub fn check_end(&self) {
        self.check();
        let books = &*self.lock();
        for line in &books.lines {
            assert_eq!((line.waiting(), line.current.as_ref()), (0, None));
            assert!(line.questions.values().all(|question| question.result.is_some()));
        }
        for account in books.sockets.values() {
            assert!(account.server_ended && account.client_ended == account.line.is_some());
            assert!(account.questions.values().all(|(_, result)| result.is_some()));
        }
    }
}
