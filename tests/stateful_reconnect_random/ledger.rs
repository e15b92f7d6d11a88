//! What was sent, what arrived, and what either side was told.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// The books of one client and its server.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
pub struct Books {
    /// What did not go as it must.
    pub faults: Vec<String>,
    /// The numbers of the events that the client has emitted, and of those that arrived, in order.
    pub sent: Vec<u32>,
    pub at_server: Vec<u32>,
    /// The events that the client was told of as lost.
    pub lost: BTreeSet<u32>,
    /// What the server has sent, for each id of the client's socket.
    pub sockets: BTreeMap<String, Lifetime>,
    /// The id of the socket, as the client knows it.
    pub current: Option<String>,
    pub questions: BTreeMap<u32, Question>,
    pub interruptions: u32,
    pub resumptions: u32,
    pub disconnects: u32,
    /// The server has disconnected the client, which does not connect again by itself.
    pub is_dismissed: bool,
    /// The events of the client that were under way when the server disconnected it.
    pub excused: BTreeSet<u32>,
}

/// The events of one socket of the server, from its connection to its end.
#[derive(Default)]
pub struct Lifetime {
    pub sent: Vec<u32>,
    pub at_client: Vec<u32>,
    pub ended: bool,
}

#[derive(Debug, Default)]
pub struct Question {
    /// How often it arrived.
    pub asked: u32,
    pub answer: Option<Result<u32, String>>,
}

impl Ledger {
    pub fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn came_to_server(&self, number: u32, data: &Bytes) {
        let mut books = self.lock();
        books.check_content(number, data);
        if let Some(last) = books.at_server.last().copied().filter(|last| *last >= number) {
            books.faults.push(format!("{number} came to the server after {last}"));
        }
        books.at_server.push(number);
    }

    pub fn came_to_client(&self, number: u32, data: &Bytes) {
        let mut books = self.lock();
        books.check_content(number, data);
        let id = books.current.clone().unwrap_or_default();
        let lifetime = books.sockets.entry(id).or_default();
        lifetime.at_client.push(number);
        let (at, expected) =
            (lifetime.at_client.len(), lifetime.sent.get(lifetime.at_client.len() - 1).copied());
        if expected != Some(number) {
            books.faults.push(format!("{number} came to the client as event {at} instead of {expected:?}"));
        }
    }
}

impl Books {
    fn check_content(&mut self, number: u32, data: &Bytes) {
        if *data != content(number) {
            self.faults.push(format!("{number} arrived with another content"));
        }
    }

    pub fn question(&mut self, number: u32) -> &mut Question {
        self.questions.entry(number).or_default()
    }

    /// Checks what must hold at any time. `is_safe` is whether no session may have ended.
    pub fn check(&self, is_safe: bool) {
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
        assert!(self.questions.values().all(|question| question.asked < 2), "a question arrived twice");
        if is_safe {
            assert_eq!((self.disconnects, self.lost.len()), (0, 0), "a session ended");
        }
    }

    /// Checks what must hold once everything has arrived.
    pub fn check_settled(&self) {
        let at_server: BTreeSet<_> = self.at_server.iter().copied().collect();
        for number in &self.sent {
            let is_known = at_server.contains(number) || self.lost.contains(number);
            let is_known = is_known || self.excused.contains(number);
            assert!(is_known, "the event {number} of the client is lost, and nobody was told");
        }
        assert!(self.lost.is_subset(&self.sent.iter().copied().collect()));
        for (id, Lifetime { sent, at_client, ended }) in &self.sockets {
            assert!(
                *ended || sent == at_client,
                "events of the server to {id} are missing: {sent:?} {at_client:?}"
            );
        }
        for (number, Question { asked, answer }) in &self.questions {
            match answer {
                Some(Ok(value)) => assert_eq!((*asked, value), (1, number)),
                Some(Err(error)) => {
                    // Also if the question is what was too much, or came after it.
                    let known = ["disconnected", "not connected", "reads too slowly"];
                    let is_known = known.iter().any(|part| error.contains(part));
                    assert!(self.disconnects > 0 && is_known, "{number}: {error}");
                }
                None => panic!("the question {number} was not answered"),
            }
        }
    }
}

/// The content of an event: mostly short, now and then longer than a buffer, often with attachments.
pub fn content(number: u32) -> Bytes {
    let len = match number % 40 {
        7 => 20_000,
        it if it % 3 == 0 => 0,
        it => it as usize * 20,
    };
    Bytes::from(vec![number as u8; len])
}
