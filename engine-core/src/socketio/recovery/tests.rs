//! Whole courses of events, and a naive model.

use super::entry::ENTRY;
use super::*;
use crate::engineio::Part;
use crate::socketio::Encoder;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use proptest::prelude::*;

pub(super) fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

pub(super) fn id(n: u8) -> Id {
    Id::from_random([n; 15])
}

pub(super) fn pid(n: u8) -> Pid {
    Pid { id: id(n), secret: id(n + 100), is_foreign: false }
}

fn new(change: impl FnOnce(&mut Config)) -> Retained<()> {
    let mut config = Config::default();
    change(&mut config);
    Retained::new(config, Epoch::from_random(7))
}

pub(super) fn to(rooms: &[&str], except: &[&str]) -> Target {
    let mut target = Target::default();
    rooms.iter().for_each(|room| target.rooms.insert(room));
    except.iter().for_each(|room| target.except.insert(room));
    target
}

/// Sends an event. Returns its offset.
pub(super) fn send<D>(recovery: &mut Retained<D>, now: Time, target: &Target, name: &str) -> String {
    let draft = recovery
        .epoch()
        .expect("an epoch")
        .draft(&Encoder::new().event("/", None, name, &()).expect("an event"));
    let frames = recovery.number(draft);
    recovery.record(now, target, &frames);
    read(&frames).1
}

/// The name and the offset of an event.
pub(super) fn read(frames: &Frames) -> (String, String) {
    let text = frames.parts().find_map(|part| match part {
        Part::Text(text) => core::str::from_utf8(text).ok().map(ToString::to_string),
        Part::Binary(_) => None,
    });
    let text = text.expect("a text");
    serde_json::from_str(text.trim_start_matches('2')).expect("a name and an offset")
}

fn names<D>(recovery: &Retained<D>, claim: &Claim) -> Option<Vec<String>> {
    Some(recovery.missed(claim)?.map(|frames| read(&frames).0).collect())
}

/// Connects and disconnects.
fn leave(recovery: &mut Retained<()>, now: Time, n: u8, rooms: &[&str]) {
    let life = recovery.begin(pid(n).secret);
    keep(recovery, now, n, life, rooms);
}

fn keep(recovery: &mut Retained<()>, now: Time, n: u8, life: Life, rooms: &[&str]) {
    let rooms = rooms.iter().map(|room| SmolStr::new(*room)).collect();
    assert!(recovery.keep(now, id(n), life, rooms, ()).is_none());
}

#[test]
fn a_client_gets_what_was_sent_to_it_and_to_its_rooms() {
    let mut recovery = new(|_| {});
    let life = recovery.begin(pid(1).secret);
    let offset = send(&mut recovery, at(1), &to(&[], &[]), "before");
    keep(&mut recovery, at(2), 1, life, &["red", "blue"]);
    let (own, other) = (id(1), id(2));
    for (rooms, except, name) in [
        (&[][..], &[][..], "all"),
        (&["red"], &[], "red"),
        (&["green"], &[], "not in green"),
        (&[own.as_str()], &[], "itself"),
        (&[other.as_str()], &[], "another"),
        (&[], &[own.as_str()], "all but itself"),
        (&[], &[other.as_str()], "all but another"),
        (&[], &["green", "blue"], "not blue"),
        (&["green", "blue"], &[], "green or blue"),
        (&["green", "blue"], &["red"], "not red"),
        (&["green", "blue"], &["yellow"], "not yellow"),
    ] {
        send(&mut recovery, at(2), &to(rooms, except), name);
    }
    let claim = recovery.claim(at(4), &pid(1), Some(&offset)).expect("it can be recovered");
    let expected = ["all", "red", "itself", "all but another", "green or blue", "not yellow"];
    assert_eq!(names(&recovery, &claim).as_deref(), Some(&expected.map(String::from)[..]));
    let (life, kept) = recovery.recover(at(4), &claim).expect("it is recovered");
    assert_eq!((life.secret(), &*kept.rooms), (pid(1).secret, &["blue".into(), "red".into()][..]));
    assert_eq!(recovery.usage().sessions, 0);
}

#[test]
fn two_recoveries_in_a_row_replay_nothing_twice() {
    let mut recovery = new(|_| {});
    leave(&mut recovery, at(1), 1, &[]);
    let offset = send(&mut recovery, at(2), &to(&[], &[]), "one");
    let claim = recovery.claim(at(3), &pid(1), None).expect("it can be recovered");
    assert_eq!(names(&recovery, &claim), Some(vec!["one".into()]));
    for offset in [Some(&*offset), Some(&offset), None] {
        let claim = recovery.claim(at(3), &pid(1), offset).expect("it can be recovered");
        let expected = offset.map_or(vec!["one".into()], |_| Vec::new());
        assert_eq!(names(&recovery, &claim), Some(expected), "not received if it does not say so");
        let (life, _) = recovery.recover(at(4), &claim).expect("it is recovered");
        keep(&mut recovery, at(4), 1, Life { since: 0, ..life }, &[]);
    }
}

#[test]
fn an_offset_from_the_connection_before_stands_for_the_beginning_of_this_one() {
    let mut recovery = new(|_| {});
    let old = send(&mut recovery, at(1), &to(&[], &[]), "in the life before");
    send(&mut recovery, at(2), &to(&[], &[]), "while it was no recipient");
    leave(&mut recovery, at(3), 1, &[]);
    send(&mut recovery, at(4), &to(&[], &[]), "missed");
    let claim = recovery.claim(at(5), &pid(1), Some(&old)).expect("it can be recovered");
    assert_eq!(names(&recovery, &claim), Some(vec!["missed".into()]));
}

#[test]
fn an_offset_that_is_wrong_begins_a_new_connection_and_the_socket_is_given_up() {
    let (mut recovery, mut other) =
        (new(|_| {}), Retained::<()>::new(Config::default(), Epoch::from_random(8)));
    let foreign = send(&mut other, at(0), &to(&[], &[]), "elsewhere");
    let mut last = send(&mut recovery, at(0), &to(&[], &[]), "here");
    let digit = last.pop().expect("a digit");
    let future = format!("{last}{}", char::from(digit as u8 + 1));
    for wrong in [&*foreign, "", "hello", "0", &last, &future, &format!("{last}{digit}x")] {
        leave(&mut recovery, at(1), 1, &[]);
        let refused = recovery.claim(at(2), &pid(1), Some(wrong));
        assert!(matches!(refused, Err(NotRecoverable::Missed(_))), "{wrong}: {refused:?}");
        assert!(!recovery.is_kept(&id(1)));
    }
    leave(&mut recovery, at(1), 1, &[]);
    assert!(recovery.claim(at(2), &pid(1), Some(&format!("{last}{digit}"))).is_ok());
}

#[test]
fn a_private_id_that_is_wrong_finds_nothing_and_changes_nothing() {
    let mut recovery = new(|_| {});
    leave(&mut recovery, at(1), 1, &[]);
    for wrong in [Pid { secret: id(9), ..pid(1) }, Pid { id: id(9), ..pid(1) }, pid(2)] {
        assert!(matches!(recovery.claim(at(2), &wrong, None), Err(NotRecoverable::Unknown)));
    }
    assert!(recovery.claim(at(2), &pid(1), None).is_ok());
}

#[test]
fn a_full_log_refuses_those_that_missed_what_has_left_it_and_no_others() {
    for bound in ["packets", "bytes"] {
        let mut recovery = new(|config| match bound {
            "packets" => config.max_packets = 3,
            _ => config.max_bytes = 3 * (ENTRY + 2 + 1 + 26),
        });
        let offsets: Vec<_> = (0..5)
            .map(|n| {
                leave(&mut recovery, at(1), n, &[]);
                send(&mut recovery, at(1), &to(&[], &[]), &n.to_string())
            })
            .collect();
        assert_eq!(recovery.usage().packets, 3, "{bound}");
        // Two have left, so who has received the second can be recovered.
        for (n, offset) in offsets.iter().enumerate() {
            leave(&mut recovery, at(1), 10, &[]);
            recovery.sessions.remove(&id(10));
            let life = Life { secret: pid(10).secret, is_foreign: false, since: 0, recovered: None };
            keep(&mut recovery, at(1), 10, life, &[]);
            let claim = recovery.claim(at(2), &pid(10), Some(offset));
            assert_eq!(claim.is_ok(), n >= 1, "{bound} {n}");
        }
        for n in 0..5 {
            assert_eq!(recovery.claim(at(2), &pid(n), None).is_ok(), n >= 2, "{bound} {n}");
        }
    }
}

#[test]
fn events_that_leave_the_log_while_a_client_is_being_admitted_end_its_recovery() {
    let mut recovery = new(|config| config.max_packets = 1);
    leave(&mut recovery, at(1), 1, &[]);
    send(&mut recovery, at(1), &to(&[], &[]), "one");
    let claim = recovery.claim(at(2), &pid(1), None).expect("it can be recovered");
    assert!(recovery.missed(&claim).is_some());
    send(&mut recovery, at(2), &to(&[], &[]), "two");
    assert!(recovery.missed(&claim).is_none());
}

#[test]
fn a_client_of_a_silent_namespace_recovers_after_any_time() {
    let mut recovery = new(|_| {});
    let life = recovery.begin(pid(1).secret);
    let offset = send(&mut recovery, at(0), &to(&[], &[]), "long ago");
    send(&mut recovery, at(10), &to(&["others"], &[]), "not for it");
    recovery.handle_timeout(at(10_000));
    assert_eq!(recovery.usage(), Usage::default());
    assert_eq!(recovery.log.capacity(), (0, 0), "no memory is held");
    keep(&mut recovery, at(10_000), 1, life, &[]);
    send(&mut recovery, at(10_001), &to(&[], &[]), "missed");
    let claim = recovery.claim(at(10_002), &pid(1), Some(&offset)).expect("it can be recovered");
    assert_eq!(names(&recovery, &claim), Some(vec!["missed".into()]));
}

#[test]
fn an_event_that_was_missed_twice_is_not_forgotten_silently() {
    let mut recovery = new(|_| {});
    leave(&mut recovery, at(0), 1, &[]);
    send(&mut recovery, at(1), &to(&[], &[]), "old");
    let claim = recovery.claim(at(119), &pid(1), None).expect("it can be recovered");
    let (life, _) = recovery.recover(at(119), &claim).expect("it is recovered");
    keep(&mut recovery, at(120), 1, life, &[]);
    // By now the event is so old that others would have received it for sure.
    recovery.handle_timeout(at(187));
    let refused = recovery.claim(at(187), &pid(1), None);
    assert!(matches!(refused, Err(NotRecoverable::Missed(_))), "{refused:?}");
    // It does not concern a client that has missed nothing, whatever others were sent.
    leave(&mut recovery, at(187), 2, &[]);
    for seconds in (188..500).step_by(20) {
        send(&mut recovery, at(seconds), &to(&["others"], &[]), "not for it");
        let claim = recovery.claim(at(seconds), &pid(2), None).expect("it can be recovered");
        let (life, _) = recovery.recover(at(seconds), &claim).expect("it is recovered");
        keep(&mut recovery, at(seconds), 2, life, &[]);
    }
}

#[test]
fn a_socket_is_kept_until_its_deadline_unless_its_client_is_being_admitted() {
    let mut recovery = new(|_| {});
    leave(&mut recovery, at(1), 1, &["red"]);
    leave(&mut recovery, at(2), 2, &[]);
    assert_eq!(recovery.next_deadline(), Some(at(121)));
    let claim = recovery.claim(at(120), &pid(1), None).expect("it can be recovered");
    assert_eq!(recovery.next_deadline(), Some(at(122)));
    assert!(recovery.take_expired(at(121)).is_none());
    assert_eq!(recovery.take_expired(at(122)).map(|(id, _)| id), Some(id(2)));
    assert!(recovery.claimed(&claim).is_some());
    recovery.release(&claim);
    assert!(matches!(recovery.claim(at(122), &pid(1), None), Err(NotRecoverable::Unknown)), "it is too late");
    let (expired, kept) = recovery.take_expired(at(122)).expect("it has expired");
    assert_eq!((expired, &*kept.rooms), (id(1), &["red".into()][..]));
    assert_eq!((recovery.take_expired(at(500)).is_none(), recovery.next_deadline()), (true, None));
}

#[test]
fn the_last_attempt_of_a_client_counts() {
    let mut recovery = new(|_| {});
    leave(&mut recovery, at(1), 1, &[]);
    let first = recovery.claim(at(2), &pid(1), None).expect("it can be recovered");
    let second = recovery.claim(at(3), &pid(1), None).expect("it can be recovered");
    assert!(recovery.missed(&first).is_none() && recovery.recover(at(4), &first).is_none());
    recovery.release(&first);
    assert!(recovery.recover(at(4), &second).is_some());
    assert!(recovery.recover(at(4), &second).is_none());
}

#[test]
fn there_is_no_capacity_for_more_sockets_than_the_limit() {
    let mut recovery = new(|config| config.max_sessions = 2);
    leave(&mut recovery, at(1), 1, &[]);
    leave(&mut recovery, at(2), 2, &[]);
    let life = recovery.begin(pid(3).secret);
    let removed = recovery.keep(at(3), id(3), life, [].into(), ());
    assert_eq!(removed.map(|(id, _)| id), Some(id(1)), "the one whose deadline is the first");
    assert_eq!(recovery.usage().sessions, 2);
    let keep = |recovery: &mut Retained<()>, n| {
        let life = recovery.begin(pid(n).secret);
        recovery.keep(at(3), id(n), life, [].into(), ()).map(|(id, _)| id)
    };
    assert_eq!(keep(&mut recovery, 2), None, "the same once more");
    assert_eq!(keep(&mut recovery, 1), Some(id(2)), "another one that has gone at the same time");
    let claims = [1, 3].map(|n| recovery.claim(at(4), &pid(n), None).expect("it is kept"));
    assert_eq!(keep(&mut recovery, 2), Some(id(2)), "those of clients that have come back stay");
    assert_eq!(claims.map(|claim| claim.id()), [id(1), id(3)]);
    assert_eq!(keep(&mut new(|config| config.max_sessions = 0), 1), Some(id(1)));
}

#[test]
fn an_event_takes_64_bytes_beside_its_frames_and_a_socket_less_than_170() {
    assert_eq!(ENTRY, 64);
    assert!(size_of::<(Id, Kept<[u64; 4]>)>() <= 170, "{}", size_of::<(Id, Kept<[u64; 4]>)>());
    let mut recovery = new(|_| {});
    for n in 0..10_000 {
        send(&mut recovery, at(n / 1000), &to(&[], &[]), "x");
    }
    let (capacity, _) = recovery.log.capacity();
    assert!(capacity <= 10_000 * 9 / 8 + 16, "{capacity}");
    recovery.handle_timeout(at(194));
    let (capacity, _) = recovery.log.capacity();
    assert!(capacity <= 1200, "{capacity} of {}", recovery.usage().packets);
}

/// A step of the simulation.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Receive,
    Leave,
    Back { says_offset: bool },
    Pass(u64),
    Join(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..6).prop_map(Step::Send),
        3 => Just(Step::Receive),
        1 => Just(Step::Leave),
        2 => any::<bool>().prop_map(|says_offset| Step::Back { says_offset }),
        2 => (0u64..90).prop_map(Step::Pass),
        1 => (0usize..3).prop_map(Step::Join),
    ]
}

/// One client, and the events that it has to receive.
#[derive(Default)]
struct Model {
    rooms: Vec<&'static str>,
    /// Queued for the client, and not received.
    pending: Vec<String>,
    /// All events, with the time of each and whether the client was addressed.
    sent: Vec<(Time, bool)>,
    offset: Option<String>,
    /// The number of events before the first one that the client has not received.
    next: usize,
}

impl Model {
    fn is_addressed(&self, target: &Target) -> bool {
        let is_in = |room: &str| room == id(1).as_str() || self.rooms.contains(&room);
        (target.rooms.is_empty() || target.rooms.iter().any(is_in)) && !target.except.iter().any(is_in)
    }

    /// Returns whether an event that the client has to get, or may have to get, has left the log.
    fn has_lost(&self, now: Time, is_unconfirmed: bool) -> bool {
        let overflow = self.sent.len().saturating_sub(12);
        let is_old = |sent: Time| sent + Duration::from_secs(185) <= now;
        overflow > self.next || is_unconfirmed && self.sent[self.next..].iter().any(|it| is_old(it.0))
    }

    /// Returns the time of the first event that is queued.
    fn oldest_pending(&self) -> Option<Time> {
        let (name, _) = self.pending.first()?.split_once(' ')?;
        self.sent.get(name.parse::<usize>().ok()?).map(|(sent, _)| *sent)
    }
}

const ROOMS: [&str; 3] = ["red", "green", "blue"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_client_misses_nothing_or_is_told(steps in proptest::collection::vec(step(), 1..80)) {
        let mut recovery = new(|config| config.max_packets = 12);
        let now = Cell::new(at(0));
        let targets = [to(&[], &[]), to(&["red"], &[]), to(&["green", "blue"], &[]), to(&[], &["blue"]),
            to(&[id(1).as_str()], &[]), to(&["green"], &["red"])];
        let (mut model, mut life) = (Model::default(), Some(recovery.begin(pid(1).secret)));
        let (mut left, mut back) = (at(0), None);
        let mut names_sent = 0;
        for step in steps {
            match step {
                Step::Send(which) => {
                    let name = names_sent.to_string();
                    names_sent += 1;
                    let target = &targets[which];
                    let is_addressed = model.is_addressed(target);
                    let offset = send(&mut recovery, now.get(), target, &name);
                    model.sent.push((now.get(), is_addressed));
                    if is_addressed {
                        // While it is away, only the model queues it.
                        model.pending.push(format!("{name} {offset}"));
                    }
                }
                // The rooms are those at the disconnection, so they change only while the client has received all events.
                Step::Join(which) if life.is_some() && model.next == model.sent.len() => {
                    let room = ROOMS[which];
                    match model.rooms.iter().position(|it| *it == room) {
                        Some(at) => _ = model.rooms.swap_remove(at),
                        None => model.rooms.push(room),
                    }
                }
                Step::Receive if life.is_some() && !model.pending.is_empty() => {
                    let event = model.pending.remove(0);
                    let (name, offset) = event.split_once(' ').expect("both");
                    model.next = name.parse::<usize>().expect("a number") + 1;
                    model.offset = Some(offset.to_string());
                }
                Step::Leave => if let Some(life) = life.take() {
                    let rooms: Vec<_> = model.rooms.clone();
                    keep(&mut recovery, now.get(), 1, life, &rooms);
                    left = now.get();
                },
                Step::Back { says_offset } if life.is_none() => {
                    let is_late = left + Duration::from_secs(120) <= now.get();
                    // A client that says no offset has received nothing.
                    let offset = model.offset.clone().filter(|_| says_offset || model.offset.is_some());
                    match recovery.claim(now.get(), &pid(1), offset.as_deref()) {
                        Ok(claim) => {
                            prop_assert!(!is_late);
                            let missed: Vec<_> = recovery.missed(&claim).expect("nothing was sent meanwhile")
                                .map(|frames| read(&frames)).map(|(name, offset)| format!("{name} {offset}")).collect();
                            // Those that are queued since the last step were not received, so they come once more.
                            prop_assert_eq!(&missed, &model.pending);
                            life = recovery.recover(now.get(), &claim).map(|(life, _)| life);
                            back = Some(now.get());
                        }
                        Err(_) => {
                            // Of the events after a recovery, too, only the age is known, and not for whom they were.
                            let is_unconfirmed = back.is_some_and(|back| left < back + Duration::from_secs(65));
                            prop_assert!(is_late || model.has_lost(now.get(), is_unconfirmed), "refused without a reason");
                            recovery.sessions.remove(&id(1));
                            model = Model { sent: core::mem::take(&mut model.sent), ..Model::default() };
                            model.next = model.sent.len();
                            (life, back) = (Some(recovery.begin(pid(1).secret)), None);
                        }
                    }
                }
                // The server notices after the confirmation at the latest.
                Step::Pass(seconds) => {
                    let waits = life.is_some() && !model.pending.is_empty();
                    let passed = now.get() + Duration::from_secs(seconds);
                    if !waits || model.oldest_pending().is_some_and(|sent| sent + Duration::from_secs(65) > passed) {
                        now.set(passed);
                    }
                    recovery.handle_timeout(now.get());
                }
                _ => {}
            }
        }
    }
}

fn position(text: &str) -> StreamPosition {
    StreamPosition::parse(text).expect("a position")
}

/// Records an event that has come from a stream.
fn come(recovery: &mut Retained<()>, now: Time, at: &str, target: &Target, name: &str) {
    let event = Frames::new(Encoder::new().event("/", None, name, at).expect("an event").parts());
    recovery.record_at(now, position(at), target, &event);
}

#[test]
fn positions_of_a_stream_are_ordered_by_both_of_their_numbers() {
    for (text, next, previous) in
        [("0-0", "0-1", "0-0"), ("7-18446744073709551615", "8-0", "7-18446744073709551614")]
    {
        let it = position(text);
        assert_eq!(it.to_string(), text);
        assert_eq!((it.next(), it.previous()), (position(next), position(previous)));
    }
    assert!(position("9-10") > position("9-9") && position("10-0") > position("9-10"));
    for bad in [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "+1-2",
        " 1-2",
        "1-x",
        "99999999999999999999-0",
        "B000010.0000000_",
    ] {
        assert_eq!(StreamPosition::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn the_log_of_a_stream_covers_what_was_read_since_it_began_and_not_lost() {
    let mut recovery: Retained<()> = Retained::of_stream(Config { max_packets: 3, ..Config::default() });
    assert_eq!(recovery.unread(), None);
    assert!(!recovery.covers(position("1-0")), "where it begins is not known");
    recovery.begin_behind(at(0), position("5-3"));
    assert_eq!(recovery.unread(), Some(position("5-4")));
    assert!(recovery.covers(position("5-3")) && !recovery.covers(position("5-2")));
    assert!(!recovery.covers(position("5-4")), "it was not read yet");
    recovery.advance(position("6-0"));
    assert!(recovery.covers(position("6-0")) && recovery.covers(position("5-3")));
    for (number, at_position) in ["7-0", "7-5", "9-0", "9-0", "7-1"].iter().enumerate() {
        come(&mut recovery, at(number as u64), at_position, &to(&[], &[]), "event");
    }
    assert_eq!(recovery.usage().packets, 3, "one that comes again is ignored");
    assert!(recovery.covers(position("6-0")));
    come(&mut recovery, at(6), "9-1", &to(&[], &[]), "event");
    assert!(recovery.covers(position("7-0")) && !recovery.covers(position("6-0")), "the first was removed");
    recovery.begin_behind(at(7), position("12-0"));
    assert_eq!((recovery.usage().packets, recovery.usage().bytes), (0, 0));
    assert!(!recovery.covers(position("9-1")), "entries before it may be missing");
}

#[test]
fn a_socket_of_another_server_gets_what_the_log_has_for_it() {
    let mut recovery: Retained<()> = Retained::of_stream(Config::default());
    recovery.begin_behind(at(0), position("1-0"));
    for (place, room) in [("2-0", "red"), ("3-0", "blue"), ("4-0", "red"), ("5-0", "red")] {
        come(&mut recovery, at(1), place, &to(&[room], &[]), place);
    }
    let foreign = Pid { is_foreign: true, ..pid(1) };
    let life = Life::returned(&foreign, position("2-0"));
    let claim = recovery.adopt(at(2), id(1), life, ["red".into()].into(), (), position("2-1"));
    assert_eq!(names(&recovery, &claim).expect("all"), ["4-0", "5-0"]);
    let (life, _) = recovery.recover(at(2), &claim).expect("it is kept");
    assert_eq!(life.pid(id(1)), foreign);
    assert_eq!(life.received(), Some(position("2-0")), "it may be cut before it gets them");
    // After the confirmation it has got them.
    assert!(recovery.keep(at(2 + 66), id(1), life, ["red".into()].into(), ()).is_none());
    let kept = recovery.forget(&id(1)).expect("it is kept");
    assert_eq!(kept.life().received(), Some(position("5-0")));
}

#[test]
fn a_socket_is_sent_nothing_before_a_position_that_was_not_read_yet() {
    let mut recovery: Retained<()> = Retained::of_stream(Config::default());
    recovery.begin_behind(at(0), position("1-0"));
    let life = Life::returned(&pid(1), position("3-0"));
    let claim = recovery.adopt(at(1), id(1), life, [].into(), (), position("3-1"));
    for place in ["2-0", "3-0"] {
        assert_eq!(names(&recovery, &claim), None, "what it has received was not read");
        come(&mut recovery, at(2), place, &to(&[], &[]), place);
    }
    assert_eq!(names(&recovery, &claim).expect("nothing"), [""; 0]);
    come(&mut recovery, at(2), "4-0", &to(&[], &[]), "4-0");
    assert_eq!(names(&recovery, &claim).expect("all"), ["4-0"]);
}

#[test]
fn a_client_that_has_come_back_is_not_recovered_if_the_memory_has_lost_an_event_meanwhile() {
    let mut recovery: Retained<()> = Retained::of_stream(Config { max_packets: 2, ..Config::default() });
    recovery.begin_behind(at(0), position("1-0"));
    let from = recovery.unread().expect("a position");
    // While the stream is read for it up to there, more comes than the memory holds.
    for place in ["2-0", "3-0", "4-0"] {
        come(&mut recovery, at(1), place, &to(&[], &[]), place);
    }
    let life = Life::returned(&pid(1), position("0-1"));
    let claim = recovery.adopt(at(2), id(1), life, [].into(), (), from);
    assert_eq!(names(&recovery, &claim), None, "the first event is not there any more");
    // Or it was read anew from a later position.
    let life = Life::returned(&pid(2), position("0-1"));
    recovery.begin_behind(at(2), position("9-0"));
    let claim = recovery.adopt(at(2), id(2), life, [].into(), (), from);
    assert_eq!(names(&recovery, &claim), None);
}
