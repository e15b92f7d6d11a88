//! `drive`: the loop between a stream and a protocol; in `serve`, that of a server.
#![cfg(feature = "std")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "drive/serve.rs"]
mod serve;
mod support;

use proptest::prelude::*;
use sockeye_core::connection::Phase;
use sockeye_core::drive::{Drive, Protocol, Stream, StreamStatus, Turn, pump};
use sockeye_core::host::Runtime;
use sockeye_core::websocket::Opcode;
use sockeye_core::{Outbound, Time};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker, ready};
use support::wire::{HANDSHAKE, Wire, limits_with};
use support::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A protocol that stops reading while `high_water` bytes wait to be written.
struct App(Wire);

fn app() -> App {
    App(Wire { reads: false, ..Wire::new() })
}

fn websocket(high_water: usize) -> App {
    App(Wire { reads: false, high_water, ..Wire::upgraded(limits_with(|_| {})) })
}

impl Protocol for App {
    fn set_waker(&mut self, _: &Waker) {}

    fn handle_wake(&mut self, now: Time) {
        self.0.connection.handle_timeout(now);
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        self.0.data(now, input)
    }

    fn handle_eof(&mut self, now: Time) {
        self.0.connection.handle_eof(now);
    }

    fn wants_read(&self) -> bool {
        match self.0.connection.phase() {
            Phase::Closed => false,
            Phase::Closing => true,
            _ => self.0.connection.queued() < self.0.high_water,
        }
    }

    fn poll_transmit(&mut self) -> Option<&mut Outbound> {
        Some(self.0.connection.outbound()).filter(|out| !out.is_empty())
    }

    fn status(&self) -> StreamStatus {
        match self.0.connection.phase() {
            Phase::Closed => StreamStatus::Closed,
            _ if self.0.connection.wants_half_close() => StreamStatus::HalfClose,
            _ => StreamStatus::Open,
        }
    }

    fn handle_half_closed(&mut self, now: Time) {
        self.0.connection.handle_half_closed(now);
    }
}

/// A stream with scripted results, which blocks after them.
#[derive(Default)]
struct Pipe {
    reads: VecDeque<io::Result<Vec<u8>>>,
    /// The number of bytes that each write accepts.
    capacities: VecDeque<io::Result<usize>>,
    /// Set if writes accept everything once `capacities` is used up.
    is_wide: bool,
    written: Vec<u8>,
    eof: bool,
    /// The waker of a read that is pending.
    reader: Option<Waker>,
    /// The number of times that flushing blocks.
    unflushed: usize,
    reads_asked: usize,
    writes_asked: usize,
    /// The number of times that the shutdown blocks.
    shutdown: Option<usize>,
    shutdowns: usize,
}

impl Pipe {
    fn wide(reads: impl IntoIterator<Item = Vec<u8>>) -> Pipe {
        Pipe { reads: reads.into_iter().map(Ok).collect(), is_wide: true, ..Pipe::default() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads_asked += 1;
        match self.reads.pop_front() {
            Some(Ok(mut data)) => {
                let n = data.len().min(buf.len());
                buf[..n].copy_from_slice(&data[..n]);
                if n < data.len() {
                    self.reads.push_front(Ok(data.split_off(n)));
                }
                Ok(n)
            }
            Some(Err(error)) => Err(error),
            None if self.eof => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes_asked += 1;
        let capacity = match self.capacities.pop_front() {
            Some(capacity) => capacity?,
            None if self.is_wide => usize::MAX,
            None => return Err(ErrorKind::WouldBlock.into()),
        };
        let before = self.written.len();
        let bytes = bufs.iter().flat_map(|buf| buf.iter()).take(capacity);
        self.written.extend(bytes);
        Ok(self.written.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.unflushed.checked_sub(1) {
            Some(left) => {
                self.unflushed = left;
                Err(ErrorKind::WouldBlock.into())
            }
            None => Ok(()),
        }
    }
}

fn blocked<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Pipe>>);

impl Shared {
    fn new(pipe: Pipe) -> Shared {
        Shared(Arc::new(Mutex::new(pipe)))
    }

    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap()
    }
}

impl Stream for Shared {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.lock();
        if pipe.eof || !pipe.reads.is_empty() {
            return Poll::Ready(());
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(cx));
        blocked(self.lock().read(buf))
    }

    fn poll_write_vectored(&mut self, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        blocked(self.lock().write_vectored(bufs))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.lock();
        match &mut pipe.shutdown {
            Some(0) | None => {
                pipe.shutdowns += 1;
                Poll::Ready(Ok(()))
            }
            Some(left) => {
                *left -= 1;
                Poll::Pending
            }
        }
    }
}

/// Runs turns until the next one has to wait for the stream.
fn run(pipe: &mut Pipe, app: &mut App, partial: &mut Vec<u8>) -> io::Result<Turn> {
    for _ in 0..10_000 {
        match pump(at(0), pipe, app, partial)? {
            Turn::Again => {}
            turn => return Ok(turn),
        }
    }
    panic!("the loop spins");
}

fn is_answer(written: &[u8]) -> bool {
    written.starts_with(b"HTTP/1.1 200 OK\r\n") && written.ends_with(b"\r\n\r\n")
}

#[test]
fn a_request_in_single_bytes_is_answered_and_leaves_no_buffer() {
    let mut pipe = Pipe::wide(GET.iter().map(|byte| vec![*byte]));
    let (mut app, mut partial) = (app(), Vec::new());
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert!(is_answer(&pipe.written));
    assert_eq!(partial.capacity(), 0);
}

#[test]
fn bytes_of_an_incomplete_request_are_kept_between_turns() {
    let (mut app, mut partial) = (app(), Vec::new());
    let mut pipe = Pipe::wide([GET[..10].to_vec()]);
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(partial, &GET[..10]);
    pipe.reads.push_back(Ok(GET[10..].to_vec()));
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert!(is_answer(&pipe.written) && partial.capacity() == 0);
}

#[test]
fn a_spurious_turn_does_nothing() {
    let (mut app, mut partial, mut pipe) = (app(), Vec::new(), Pipe::default());
    for _ in 0..3 {
        assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    }
    assert_eq!((pipe.reads_asked, pipe.writes_asked), (3, 0));
}

#[test]
fn partial_writes_preserve_order() {
    let expected = {
        let mut pipe = Pipe::wide([GET.to_vec()]);
        assert_eq!(run(&mut pipe, &mut app(), &mut Vec::new()).unwrap(), Turn::Wait);
        pipe.written
    };
    let (mut app, mut partial) = (app(), Vec::new());
    let mut pipe = Pipe { reads: [Ok(GET.to_vec())].into(), ..Pipe::default() };
    while pipe.written.len() < expected.len() {
        assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
        pipe.capacities = [Ok(3), Err(ErrorKind::Interrupted.into()), Ok(1)].into();
    }
    assert_eq!(pipe.written, expected);
}

#[test]
fn more_pieces_than_one_write_accepts_are_written_by_several() {
    let (mut app, mut pipe) = (app(), Pipe::wide([]));
    let mut expected = Vec::new();
    for i in 0..200 {
        app.0.connection.outbound().push(vec![i; 300].into());
        expected.extend([i; 300]);
    }
    assert_eq!(run(&mut pipe, &mut app, &mut Vec::new()).unwrap(), Turn::Wait);
    assert_eq!(pipe.written, expected);
    assert_eq!(pipe.writes_asked, 4);
}

#[test]
fn a_buffering_stream_is_flushed_before_it_is_shut_down() {
    let mut pipe = Pipe { unflushed: 2, ..Pipe::wide([LAST.to_vec()]) };
    let (mut app, mut partial) = (app(), Vec::new());
    for _ in 0..2 {
        assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
        assert!(!pipe.written.is_empty());
    }
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::HalfClose);
}

#[test]
fn a_stream_that_cannot_be_flushed_is_waited_for_until_the_deadline() {
    let mut pipe = Pipe { unflushed: usize::MAX, ..Pipe::wide([LAST.to_vec()]) };
    let (mut app, mut partial) = (app(), Vec::new());
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    let deadline = app.0.connection.next_deadline().unwrap();
    assert_eq!(pump(deadline, &mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
}

#[test]
fn a_turn_ends_after_eight_reads() {
    let frame = masked(Opcode::Binary, &[0; 60_000]);
    let (mut app, mut partial) = (websocket(usize::MAX), Vec::new());
    let mut pipe = Pipe::wide(std::iter::repeat_n(frame, 20));
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Again);
    assert_eq!(pipe.reads_asked, 8);
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(app.0.events.len(), 20);
}

#[test]
fn a_pong_leaves_while_the_peer_goes_on_sending_and_writing_has_blocked() {
    let messages = std::iter::repeat_n(masked(Opcode::Binary, &[0; 60_000]), 20);
    let reads = std::iter::once(masked(Opcode::Ping, b"a")).chain(messages);
    let mut pipe = Pipe { capacities: [Err(ErrorKind::WouldBlock.into())].into(), ..Pipe::wide(reads) };
    let (mut app, mut partial) = (websocket(usize::MAX), Vec::new());
    app.0.connection.outbound().clear();
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Again);
    assert!(pipe.written.is_empty());
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Again);
    assert!(pipe.written.starts_with(&[0x8a, 1, b'a']));
    assert!(!pipe.reads.is_empty(), "the peer has more");
}

#[test]
fn reading_pauses_while_the_peer_does_not_read() {
    let (mut app, mut partial) = (websocket(100), Vec::new());
    let message = masked(Opcode::Binary, &[1; 58]);
    let mut pipe = Pipe { reads: [Ok(message.repeat(5))].into(), ..Pipe::default() };
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(app.0.events.len(), 2, "120 bytes wait");
    assert_eq!(partial.len(), 3 * message.len());
    pipe.reads.push_back(Ok(message.clone()));
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(pipe.reads.len(), 1, "nothing was read");

    // No read has blocked, so the stream would not report the bytes that were not read: another turn is needed.
    pipe.capacities.push_back(Ok(120));
    assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Again);
    pipe.is_wide = true;
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(app.0.events.len(), 6);
    assert_eq!(pipe.written.len(), 6 * 60);
    assert_eq!(partial.capacity(), 0);
}

#[test]
fn reading_resumes_once_a_partial_write_has_freed_capacity() {
    let (mut app, mut partial) = (websocket(100), Vec::new());
    let message = masked(Opcode::Binary, &[1; 58]);
    let mut pipe = Pipe { reads: [Ok(message.repeat(3))].into(), ..Pipe::default() };
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    pipe.capacities.push_back(Ok(60));
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(app.0.events.len(), 3);
}

#[test]
fn eof_inside_a_message_closes_without_an_answer() {
    let (mut app, mut partial) = (websocket(usize::MAX), Vec::new());
    let mut pipe = Pipe { eof: true, ..Pipe::wide([masked(Opcode::Text, b"hello")[..8].to_vec()]) };
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::HalfClose);
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
    assert!(pipe.written.is_empty() && app.0.events.is_empty());
}

#[test]
fn a_request_before_eof_is_answered() {
    let mut pipe = Pipe { eof: true, ..Pipe::wide([GET.to_vec()]) };
    let (mut app, mut partial) = (app(), Vec::new());
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::HalfClose);
    assert!(is_answer(&pipe.written));
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
}

#[test]
fn eof_while_writing_blocks_waits_until_the_deadline_without_spinning() {
    let mut pipe = Pipe { reads: [Ok(GET.to_vec())].into(), eof: true, ..Pipe::default() };
    let (mut app, mut partial) = (app(), Vec::new());
    for _ in 0..3 {
        assert_eq!(pump(at(0), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    }
    assert_eq!(app.0.connection.next_deadline(), Some(at(5000)));
    assert_eq!(pump(at(5000), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
}

#[test]
fn after_the_last_answer_the_stream_stays_half_closed_until_the_peer_closes() {
    let (mut app, mut partial) = (app(), Vec::new());
    let mut pipe = Pipe::wide([LAST.to_vec()]);
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::HalfClose);
    assert!(pipe.written.ends_with(b"Connection: close\r\n\r\n"));
    pipe.reads.push_back(Ok(GET.to_vec()));
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!((partial.len(), app.0.events.len()), (0, 2), "further input is dropped");
    pipe.eof = true;
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
}

#[test]
fn a_peer_that_never_closes_is_given_up_at_the_deadline() {
    let (mut app, mut partial) = (app(), Vec::new());
    let mut pipe = Pipe::wide([LAST.to_vec()]);
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::HalfClose);
    assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
    assert_eq!(pump(at(5000), &mut pipe, &mut app, &mut partial).unwrap(), Turn::Done);
}

#[test]
fn errors_of_the_stream_are_returned() {
    let fails = |pipe: &mut Pipe| run(pipe, &mut app(), &mut Vec::new()).unwrap_err().kind();
    let reset = || ErrorKind::ConnectionReset.into();
    assert_eq!(
        fails(&mut Pipe { reads: [Err(reset())].into(), ..Pipe::default() }),
        ErrorKind::ConnectionReset
    );
    let written = |capacity| Pipe { capacities: [capacity].into(), ..Pipe::wide([GET.to_vec()]) };
    assert_eq!(fails(&mut written(Err(ErrorKind::BrokenPipe.into()))), ErrorKind::BrokenPipe);
    assert_eq!(fails(&mut written(Ok(0))), ErrorKind::WriteZero);
    let mut pipe = Pipe::wide([GET.to_vec()]);
    pipe.reads.push_front(Err(ErrorKind::Interrupted.into()));
    assert_eq!(run(&mut pipe, &mut app(), &mut Vec::new()).unwrap(), Turn::Wait);
    assert!(is_answer(&pipe.written));
}

proptest! {
    #[test]
    fn the_outcome_does_not_depend_on_the_sizes_of_reads_and_writes(
        sizes in proptest::collection::vec(0usize..400, 1..60),
        capacities in proptest::collection::vec(1usize..400, 0..60),
        high_water in prop_oneof![Just(1usize), Just(100), Just(usize::MAX)],
    ) {
        let messages: Vec<u8> = (0..30).flat_map(|i| masked(Opcode::Binary, &vec![i; usize::from(i) * 9])).collect();
        let input = [HANDSHAKE, &messages].concat();
        let expected = {
            let (mut pipe, mut app) = (Pipe::wide([input.clone()]), app());
            prop_assert_eq!(run(&mut pipe, &mut app, &mut Vec::new()).unwrap(), Turn::Wait);
            (pipe.written, app.0.events)
        };
        let mut app = App(Wire { high_water, ..app().0 });
        let (mut pipe, mut partial) = (Pipe::default(), Vec::new());
        let mut rest = input.as_slice();
        for (i, size) in sizes.iter().enumerate() {
            let (chunk, tail) = rest.split_at_checked(*size).unwrap_or((rest, &[]));
            rest = tail;
            // An empty chunk stands for a stream that blocks.
            let block = || Err(ErrorKind::WouldBlock.into());
            pipe.reads.push_back(if chunk.is_empty() { block() } else { Ok(chunk.to_vec()) });
            pipe.capacities.extend(capacities.get(i).map(|capacity| Ok(*capacity)));
            prop_assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
        }
        pipe.reads.push_back(Ok(rest.to_vec()));
        pipe.reads.retain(|read| read.as_ref().is_ok_and(|data| !data.is_empty()));
        pipe.is_wide = true;
        prop_assert_eq!(run(&mut pipe, &mut app, &mut partial).unwrap(), Turn::Wait);
        prop_assert_eq!(&pipe.written, &expected.0);
        prop_assert_eq!(&app.0.events, &expected.1);
        prop_assert_eq!(partial.capacity(), 0);
    }
}

// `Drive`.

#[derive(Default)]
struct Clock(AtomicU64);

impl Runtime for Clock {
    fn now(&self) -> Time {
        at(self.0.load(Ordering::Relaxed))
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {
        panic!("a drive spawns nothing");
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn wakes() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (wakes.clone(), wakes.into())
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_drive_completes_when_the_peer_closes_after_the_shutdown() {
    let pipe = Shared::new(Pipe { shutdown: Some(1), ..Pipe::wide([LAST.to_vec()]) });
    let mut drive = Drive::new(pipe.clone(), app(), Arc::new(Clock::default()));
    let (_, waker) = wakes();
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(pipe.lock().shutdowns, 0);
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(pipe.lock().shutdowns, 1);
    pipe.lock().eof = true;
    assert!(matches!(poll(&mut drive, &waker), Poll::Ready(Ok(()))));
    assert!(pipe.lock().written.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_drive_waits_for_the_shutdown_even_if_the_peer_has_closed() {
    let pipe = Shared::new(Pipe { shutdown: Some(2), eof: true, ..Pipe::wide([GET.to_vec()]) });
    let mut drive = Drive::new(pipe.clone(), app(), Arc::new(Clock::default()));
    let (_, waker) = wakes();
    assert!(poll(&mut drive, &waker).is_pending());
    assert!(poll(&mut drive, &waker).is_pending());
    assert!(matches!(poll(&mut drive, &waker), Poll::Ready(Ok(()))));
    assert_eq!(pipe.lock().shutdowns, 1);
}

#[test]
fn a_shutdown_that_never_completes_is_given_up_at_the_protocols_deadline() {
    let pipe = Shared::new(Pipe { shutdown: Some(usize::MAX), ..Pipe::wide([LAST.to_vec()]) });
    let clock = Arc::new(Clock::default());
    let mut drive = Drive::new(pipe, app(), clock.clone());
    let (_, waker) = wakes();
    assert!(poll(&mut drive, &waker).is_pending());
    clock.0.store(4999, Ordering::Relaxed);
    assert!(poll(&mut drive, &waker).is_pending());
    clock.0.store(5000, Ordering::Relaxed);
    assert!(matches!(poll(&mut drive, &waker), Poll::Ready(Ok(()))));
}

#[test]
fn a_drive_wakes_itself_only_if_there_is_more_to_do() {
    let frame = masked(Opcode::Binary, &[0; 60_000]);
    let pipe = Shared::new(Pipe::wide(std::iter::repeat_n(frame, 12)));
    let mut drive = Drive::new(pipe.clone(), websocket(usize::MAX), Arc::new(Clock::default()));
    let (wakes, waker) = wakes();
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(pipe.lock().reads.is_empty());
    pipe.lock().reads.push_back(Err(ErrorKind::ConnectionReset.into()));
    assert!(matches!(poll(&mut drive, &waker), Poll::Ready(Err(_))));
}

#[test]
fn a_drive_does_not_read_again_until_the_stream_reports_something() {
    let pipe = Shared::new(Pipe::wide([GET.to_vec()]));
    let mut drive = Drive::new(pipe.clone(), app(), Arc::new(Clock::default()));
    let (_, waker) = wakes();
    for _ in 0..3 {
        assert!(poll(&mut drive, &waker).is_pending());
        assert!(is_answer(&pipe.lock().written));
        assert_eq!(pipe.lock().reads_asked, 1);
    }
    pipe.lock().reads.push_back(Ok(GET.to_vec()));
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(pipe.lock().reads_asked, 2);
}

#[test]
fn a_drive_handles_the_messages_that_waited_though_the_stream_reports_nothing() {
    let frame = masked(Opcode::Binary, &[0; 100]);
    let pipe = Shared::new(Pipe { reads: [Ok(frame.repeat(3))].into(), ..Pipe::default() });
    let mut drive = Drive::new(pipe.clone(), websocket(50), Arc::new(Clock::default()));
    let (wakes, waker) = wakes();
    // The echo of the first cannot be written, and the others wait for that.
    assert!(poll(&mut drive, &waker).is_pending());
    pipe.lock().is_wide = true;
    assert!(poll(&mut drive, &waker).is_pending());
    while wakes.0.swap(0, Ordering::Relaxed) > 0 {
        assert!(poll(&mut drive, &waker).is_pending());
    }
    let head = pipe.lock().written.len() - 3 * 102;
    assert_eq!(pipe.lock().written.split_off(head), [&[0x82, 100][..], &[0; 100]].concat().repeat(3));
}

/// A runtime with several threads may note that a stream is readable on one of them, while another reads what has arrived and
/// waits again: the first then uses up the waker of the second read, and nothing is left to read.
#[test]
fn a_drive_that_is_woken_in_vain_waits_for_the_stream_again() {
    let pipe = Shared::new(Pipe::wide([]));
    let mut drive = Drive::new(pipe.clone(), app(), Arc::new(Clock::default()));
    let ((_, waker), (_, other)) = (wakes(), wakes());
    for waker in [&waker, &waker, &other] {
        assert!(poll(&mut drive, waker).is_pending());
        assert!(pipe.lock().reader.take().is_some_and(|reader| reader.will_wake(waker)));
    }
}

#[test]
fn a_drive_reads_the_end_again() {
    let pipe = Shared::new(Pipe { eof: true, ..Pipe::default() });
    let mut protocol = websocket(usize::MAX);
    // Something is left to write, so that the stream is not closed at once.
    protocol.0.connection.outbound().extend(b"rest");
    let mut drive = Drive::new(pipe.clone(), protocol, Arc::new(Clock::default()));
    let (_, waker) = wakes();
    for asked in 1..=3 {
        assert!(poll(&mut drive, &waker).is_pending());
        assert_eq!(pipe.lock().reads_asked, asked);
    }
}

#[test]
fn a_drive_reads_until_it_would_block_once_the_protocol_wants_more() {
    let frame = masked(Opcode::Binary, &[0; 100]);
    let pipe = Shared::new(Pipe { reads: [Ok(frame.clone())].into(), ..Pipe::default() });
    let mut drive = Drive::new(pipe.clone(), websocket(50), Arc::new(Clock::default()));
    let (_, waker) = wakes();
    // The echo cannot be written, and nothing more is read until it is.
    assert!(poll(&mut drive, &waker).is_pending());
    assert_eq!(pipe.lock().reads_asked, 1);
    pipe.lock().reads.push_back(Ok(frame));
    pipe.lock().is_wide = true;
    for _ in 0..3 {
        assert!(poll(&mut drive, &waker).is_pending());
    }
    assert_eq!(pipe.lock().reads_asked, 2);
    assert!(pipe.lock().reader.is_some());
}
