//! The connection that reads streams.

use crate::builder::Config;
use crate::endpoint::Endpoint;
use crate::entries::{Entries, Piece};
use crate::failure::Failure;
use crate::runtime::{Runtime, Sleep};
use crate::state::Shared;
use crate::wire::Wire;
use redis::cmd;
use sockeye_core::cluster::{BusStatus, Node};
use std::collections::VecDeque;
use std::task::Context;
use std::time::{Duration, Instant};

/// The time that Redis waits for entries before it answers that there are none, in milliseconds. As in Node.
const BLOCK: u64 = 5000;

/// The most entries in one answer, of each stream: at first as in Node, and up to `MAX_COUNT` if they are so small that an
/// answer has no more than `ANSWER` bytes.
const COUNT: usize = 100;
const MAX_COUNT: usize = 1000;
const ANSWER: usize = 256 << 10;

/// The entries that are handled before other tasks have a turn.
const ENTRIES: usize = 256;

/// While entries come one after the other, each would be an answer of its own, and most of its cost that of asking for the
/// next one. So if this number of answers have come within `PAUSE` each, the next is asked for after `PAUSE`.
const QUICK: u32 = 8;
const PAUSE: Duration = Duration::from_millis(1);

/// The reading part of a link: one command that waits at Redis, for all streams.
pub(crate) struct Reader {
    runtime: Runtime,
    wire: Wire,
    parser: Entries,
    streams: Vec<Position>,
    /// The streams whose end was asked for, or whose position.
    unknown: VecDeque<usize>,
    /// The stream whose entries are being read.
    current: Option<usize>,
    is_asked: bool,
    /// When it was asked for entries, or connected.
    since: Instant,
    /// When something came.
    heard: Instant,
    /// The entries of the answer so far, and its bytes.
    count: usize,
    bytes: usize,
    /// The most entries in the next answer.
    max_count: usize,
    /// The answers that came one shortly after the other.
    quick: u32,
    pause: Option<Sleep>,
}

/// A stream, with the entry that was read last.
struct Position {
    stream: String,
    id: String,
    is_changed: bool,
}

impl Position {
    fn set(&mut self, id: &str) {
        id.clone_into(&mut self.id);
        self.is_changed = true;
    }
}

impl Reader {
    /// Connects. A stream whose position is unknown is read from its end, which is where it ends now.
    pub(crate) async fn open(
        runtime: Runtime,
        to: Endpoint,
        config: Config,
        streams: Vec<(String, Option<String>)>,
    ) -> Result<Reader, Failure> {
        let mut wire = Wire::new(runtime.connect(&to, config.connection_timeout).await?);
        wire.log_in(&to);
        if to.login.db() != 0 && !to.in_cluster {
            wire.send(cmd("SELECT").arg(to.login.db()));
        }
        let mut unknown = VecDeque::new();
        let mut known = Vec::with_capacity(streams.len());
        for (stream, id) in streams {
            unknown.push_back(known.len());
            // Its last entry; or that of the position, which tells whether entries behind it were removed.
            let (from, to) = id.as_deref().map_or(("+", "-"), |id| (id, id));
            wire.send(cmd("XREVRANGE").arg(&stream).arg(from).arg(to).arg("COUNT").arg(1));
            known.push(Position { stream, id: id.unwrap_or_default(), is_changed: false });
        }
        Ok(Reader {
            runtime,
            wire,
            parser: Entries::new(config.max_message),
            streams: known,
            unknown,
            current: None,
            is_asked: false,
            since: Instant::now(),
            heard: Instant::now(),
            count: 0,
            bytes: 0,
            max_count: COUNT,
            quick: 0,
            pause: None,
        })
    }

    /// Returns whether all positions are known.
    pub(crate) fn is_ready(&self) -> bool {
        self.unknown.is_empty()
    }

    /// Passes entries to the node.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        let mut entries = 0;
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Ok(());
                }
                self.pause = None;
            }
            if self.is_ready() && !self.is_asked {
                self.ask();
            }
            let _ = self.wire.poll_write(cx, to)?;
            entries += self.handle_input(shared, to, node)?;
            self.keep_positions(shared);
            if self.is_ready() && !self.is_asked {
                continue;
            }
            if entries >= ENTRIES {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if self.wire.poll_read(cx, self.parser.missing(), to)?.is_pending() {
                return Ok(());
            }
            self.heard = Instant::now();
        }
    }

    /// Handles what was read. Returns the number of entries.
    fn handle_input(&mut self, shared: &Shared, to: &Endpoint, node: &dyn Node) -> Result<usize, Failure> {
        let input = self.wire.take();
        let mut rest = &*input;
        let mut entries = 0;
        let (mut receiver, mut fields) = (None, Vec::new());
        while let Some(piece) =
            self.parser.take(&mut rest, self.unknown.is_empty()).map_err(|_| Failure::malformed(to))?
        {
            let entry = match piece {
                Piece::Entry(entry) if self.is_ready() => entry,
                other => {
                    self.handle(other, shared, to, node)?;
                    continue;
                }
            };
            entries += 1;
            self.count += 1;
            self.bytes = self.bytes.saturating_add(entry.len());
            if let Some(index) = self.current {
                let id = std::str::from_utf8(entry.id()).map_err(|_| Failure::malformed(to))?;
                if let Some(position) = self.streams.get_mut(index) {
                    fields.clear();
                    fields.extend(entry.fields());
                    let receiver = receiver.get_or_insert_with(|| node.receiver());
                    receiver.handle_entry(&position.stream, id, &fields, &input);
                    position.set(id);
                }
            }
            self.parser.reuse(entry);
            self.finish_if_complete();
        }
        drop(receiver);
        let rest = rest.len();
        self.wire.put_back(input, rest);
        Ok(entries)
    }

    /// Handles what is no entry to pass on.
    fn handle(
        &mut self,
        piece: Piece<'_>,
        shared: &Shared,
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        match piece {
            Piece::Refused(text) => return Err(Failure::refused(to, &text)),
            // The answer of a login.
            Piece::Done => return Ok(()),
            Piece::Nothing => {
                if let Some(index) = self.unknown.pop_front() {
                    return self.begin(index, None, to, node);
                }
            }
            Piece::Stream(name) => {
                self.current = self.streams.iter().position(|it| it.stream.as_bytes() == name);
            }
            Piece::Entry(entry) => {
                if let Some(index) = self.unknown.pop_front() {
                    return self.begin(index, Some(entry.id()), to, node);
                }
            }
            Piece::TooLong { id, len } => {
                if let Some(index) = self.unknown.pop_front() {
                    return self.begin(index, Some(&id), to, node);
                }
                self.count += 1;
                self.bytes = self.bytes.saturating_add(len);
                let limit = shared.config.max_message;
                node.handle_status(BusStatus::MessageTooLong { len, limit });
                if let Some(index) = self.current {
                    self.set_position(index, &id, to)?;
                    self.tell_begun(index, node);
                }
            }
        }
        self.finish_if_complete();
        Ok(())
    }

    /// Handles the end of an answer, if it is over.
    fn finish_if_complete(&mut self) {
        if !self.parser.is_complete() {
            return;
        }
        self.is_asked = false;
        self.quick = if self.since.elapsed() < PAUSE { self.quick.saturating_add(1) } else { 0 };
        let (count, bytes) = (std::mem::take(&mut self.count), std::mem::take(&mut self.bytes));
        let is_full = count >= self.max_count;
        self.max_count = next_count(self.max_count, count, bytes);
        self.since = Instant::now();
        if self.quick >= QUICK && !is_full {
            self.pause = Some(self.runtime.sleep(PAUSE));
        }
    }

    /// Asks for what comes after the positions.
    fn ask(&mut self) {
        let mut command = cmd("XREAD");
        command.arg("BLOCK").arg(BLOCK).arg("COUNT").arg(self.max_count).arg("STREAMS");
        for position in &self.streams {
            command.arg(&position.stream);
        }
        for position in &self.streams {
            command.arg(&position.id);
        }
        self.wire.send(&command);
        self.is_asked = true;
        self.since = Instant::now();
    }

    /// Begins to read a stream behind its last entry, or from its position on, if it has one: `found` is the entry there, which
    /// is not there any more if entries behind it may have been removed, too.
    fn begin(
        &mut self,
        index: usize,
        found: Option<&[u8]>,
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        let is_known = self.streams.get(index).is_some_and(|position| !position.id.is_empty());
        if !is_known {
            self.set_position(index, found.unwrap_or(b"0-0"), to)?;
        }
        if !is_known || found.is_none() {
            self.tell_begun(index, node);
        }
        Ok(())
    }

    /// Tells the node that the entries of a stream behind its position follow.
    fn tell_begun(&self, index: usize, node: &dyn Node) {
        if let Some(position) = self.streams.get(index) {
            node.handle_stream(&position.stream, &position.id);
        }
    }

    fn set_position(&mut self, index: usize, id: &[u8], to: &Endpoint) -> Result<(), Failure> {
        let id = std::str::from_utf8(id).map_err(|_| Failure::malformed(to))?;
        if let Some(position) = self.streams.get_mut(index) {
            position.set(id);
        }
        Ok(())
    }

    /// Keeps the positions, so that the next connection reads on from here.
    fn keep_positions(&mut self, shared: &Shared) {
        for position in self.streams.iter_mut().filter(|position| position.is_changed) {
            position.is_changed = false;
            shared.set_position(&position.stream, &position.id);
        }
    }

    /// Checks that Redis answers. To be called at intervals.
    pub(crate) fn check(&self, timeout: Duration, to: &Endpoint) -> Result<(), Failure> {
        let late = if self.is_ready() { Duration::from_millis(BLOCK) + timeout } else { timeout };
        if self.since.max(self.heard).elapsed() < late { Ok(()) } else { Err(Failure::silent(to)) }
    }
}

/// Returns the most entries in the next answer, after one with `count` entries and of `bytes`. What follows may be larger, so
/// the number does not grow at once.
fn next_count(max_count: usize, count: usize, bytes: usize) -> usize {
    if count == 0 {
        return max_count;
    }
    let fitting = ANSWER.saturating_mul(count) / bytes.max(1);
    fitting.clamp(COUNT, MAX_COUNT).min(max_count.saturating_mul(2))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::builder::Servers;
    use bytes::Bytes;
    use sockeye_core::cluster::RequestId;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// Counts the entries that come, and how often a task is woken.
    #[derive(Default)]
    pub(crate) struct Counts {
        entries: AtomicUsize,
        wakes: AtomicUsize,
    }

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Node for Counts {
        fn runtime(&self) -> Arc<dyn sockeye_core::host::Runtime> {
            unreachable!("no task is spawned")
        }

        fn handle_message(&self, _: &str, _: Bytes) {}

        fn handle_entry(&self, _: &str, _: &str, _: &[(&str, Bytes)]) {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }

        fn handle_count(&self, _: &RequestId, _: Option<usize>) {}

        fn handle_status(&self, _: BusStatus) {}
    }

    /// Returns a reader that gets an answer with so many entries.
    fn reader(entries: usize) -> Reader {
        let data = "x".repeat(100);
        let entry = |number| format!("*2\r\n$8\r\n1-{number:06}\r\n*2\r\n$4\r\ndata\r\n$100\r\n{data}\r\n");
        let list: String = (0..entries).map(entry).collect();
        let answer: &[u8] = format!("*1\r\n*2\r\n$1\r\ns\r\n*{entries}\r\n{list}").leak().as_bytes();
        Reader {
            runtime: Runtime::current(),
            wire: Wire::new(Box::new(tokio::io::join(answer, tokio::io::sink()))),
            parser: Entries::new(usize::MAX),
            streams: vec![Position { stream: "s".into(), id: "0-0".into(), is_changed: false }],
            unknown: VecDeque::new(),
            current: None,
            is_asked: true,
            since: Instant::now(),
            heard: Instant::now(),
            count: 0,
            bytes: 0,
            max_count: MAX_COUNT,
            quick: 0,
            pause: None,
        }
    }

    fn redis() -> (Endpoint, Shared) {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        (to.clone(), Shared::new(Servers::Single(to), Config::default()))
    }

    #[test]
    fn a_server_whose_answer_takes_long_to_handle_is_not_silent() {
        let ((to, shared), mut reader) = (redis(), reader(2000));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        (reader.since, reader.heard) = (long_ago, long_ago);
        let timeout = Config::default().response_timeout;
        assert_eq!(reader.check(timeout, &to), Err(Failure::silent(&to)));
        let polled = reader.poll(&mut Context::from_waker(Waker::noop()), &shared, &to, &Counts::default());
        assert_eq!(polled, Ok(()));
        assert_eq!(reader.check(timeout, &to), Ok(()));
    }

    #[test]
    fn other_tasks_have_a_turn_while_many_entries_are_there() {
        const COUNT: usize = 2000;
        let ((to, shared), mut reader) = (redis(), reader(COUNT));
        let counts = Arc::new(Counts::default());
        let waker = counts.clone().into();
        let mut cx = Context::from_waker(&waker);
        for turns in 1.. {
            let before = counts.entries.load(Ordering::Relaxed);
            let polled = reader.poll(&mut cx, &shared, &to, &*counts);
            let handled = counts.entries.load(Ordering::Relaxed);
            assert!(handled - before < 2 * ENTRIES, "{} entries in one turn", handled - before);
            if handled == COUNT {
                break;
            }
            assert_eq!(polled, Ok(()));
            assert_eq!(counts.wakes.load(Ordering::Relaxed), turns);
        }
    }

    #[test]
    fn more_entries_are_asked_for_if_they_are_small() {
        assert_eq!(next_count(COUNT, 0, 0), COUNT);
        let grown: Vec<_> =
            std::iter::successors(Some(COUNT), |&count| Some(next_count(count, 10, 3000))).take(5).collect();
        assert_eq!(grown, [100, 200, 400, 800, 873]);
        assert_eq!(next_count(800, 800, 800), MAX_COUNT);
        assert_eq!(next_count(800, 5, 100_000), COUNT);
        assert_eq!(next_count(COUNT, 1, usize::MAX), COUNT);
    }
}
