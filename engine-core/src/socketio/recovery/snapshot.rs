//! What a whole server remembers for clients that come back, as bytes for the next process.

use super::saved::{Reader, Saved, put_bytes};
use super::{Config, Epoch, Retained};
use crate::socketio::Parser;
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes};
use core::time::Duration;
use sha1::{Digest, Sha1};
use smol_str::SmolStr;

/// The first bytes. The last of them shows that a transfer did not take the rest for text.
const MAGIC: &[u8; 8] = b"sockeye\xff";

/// The version of what follows. A change of what is written anywhere below needs another one.
const VERSION: u8 = 1;

/// What the namespaces of a server remember, without a clock.
///
/// ```
/// use sockeye_core::Time;
/// use sockeye_core::engineio::Id;
/// use sockeye_core::socketio::Parser;
/// use sockeye_core::socketio::recovery::{Config, Epoch, Pid, Retained, Snapshot, SnapshotWriter};
/// use std::time::Duration;
///
/// let mut recovery = Retained::new(Config::default(), Epoch::from_random(1));
/// let pid = Pid { id: Id::from_random([1; 15]), secret: Id::from_random([2; 15]), is_foreign: false };
/// let life = recovery.begin(pid.secret);
/// recovery.keep(Time::ZERO, pid.id, life, [].into(), b'!');
///
/// let mut writer = SnapshotWriter::new(Parser::Text, Duration::from_secs(1_800_000_000));
/// writer.add("/", &recovery, Time::ZERO, |data, out| out.push(*data));
/// let bytes = writer.finish();
///
/// let mut snapshot = Snapshot::from_bytes(bytes.into())?;
/// let away = Duration::from_secs(1);
/// let read = |data: bytes::Bytes| data.first().copied();
/// let next = snapshot.take("/", Config::default(), Epoch::from_random(2), Time::ZERO, away, read);
/// assert!(next.unwrap().claim(Time::ZERO, &pid, None).is_ok());
/// # Ok::<(), sockeye_core::socketio::recovery::SnapshotError>(())
/// ```
#[derive(Debug)]
pub struct Snapshot {
    taken_at: Duration,
    parser: u8,
    namespaces: BTreeMap<SmolStr, Saved>,
}

/// The reason why bytes are no [`Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They were not written by [`SnapshotWriter`].
    #[error("these bytes are not the state of a server")]
    Foreign,
    /// They were written by a version of this crate that is not compatible.
    #[error("the state is of version {0}, which is unknown here")]
    Version(u8),
    /// A part is missing, or was changed.
    #[error("the state is damaged")]
    Damaged,
}

/// Writes a [`Snapshot`].
#[derive(Debug)]
pub struct SnapshotWriter {
    body: Vec<u8>,
}

impl SnapshotWriter {
    /// Begins the snapshot of a server that uses a parser. `taken_at` is the time by the wall clock, since the Unix epoch.
    pub fn new(parser: Parser, taken_at: Duration) -> SnapshotWriter {
        let mut body = Vec::new();
        body.put_u64(u64::try_from(taken_at.as_millis()).unwrap_or(u64::MAX));
        body.put_u8(number_of(parser));
        SnapshotWriter { body }
    }

    /// Adds what a namespace remembers. `write` appends the owner's data of a socket.
    pub fn add<D>(
        &mut self,
        namespace: &str,
        retained: &Retained<D>,
        now: Time,
        write: impl FnMut(&D, &mut Vec<u8>),
    ) {
        put_bytes(&mut self.body, namespace.as_bytes());
        retained.save(now, &mut self.body, write);
    }

    /// Returns the snapshot as bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAGIC.len() + 1 + 20 + self.body.len());
        out.put_slice(MAGIC);
        out.put_u8(VERSION);
        out.put_slice(&Sha1::digest(&self.body));
        out.put_slice(&self.body);
        out
    }
}

impl Snapshot {
    /// Reads what [`SnapshotWriter::finish`] has returned. What this allocates is limited by a multiple of the length of
    /// `bytes`, whatever they are.
    ///
    /// # Errors
    /// If they are something else, of another version, or damaged.
    pub fn from_bytes(bytes: Bytes) -> Result<Snapshot, SnapshotError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Foreign)?;
        let (version, rest) = rest.split_first().ok_or(SnapshotError::Damaged)?;
        if *version != VERSION {
            return Err(SnapshotError::Version(*version));
        }
        let (digest, body) = rest.split_first_chunk::<20>().ok_or(SnapshotError::Damaged)?;
        if Sha1::digest(body).as_slice() != digest {
            return Err(SnapshotError::Damaged);
        }
        Snapshot::read(&mut Reader(bytes.slice_ref(body))).ok_or(SnapshotError::Damaged)
    }

    fn read(bytes: &mut Reader) -> Option<Snapshot> {
        let taken_at = Duration::from_millis(bytes.u64()?);
        let parser = bytes.byte()?;
        let mut namespaces = BTreeMap::new();
        while !bytes.0.is_empty() {
            namespaces.insert(bytes.name()?, Saved::read(bytes)?);
        }
        Some(Snapshot { taken_at, parser, namespaces })
    }

    /// Returns the time by the wall clock at which the snapshot was taken, since the Unix epoch.
    pub fn taken_at(&self) -> Duration {
        self.taken_at
    }

    /// Returns whether the server used this parser. Clients that use another one do not understand the events.
    pub fn is_for(&self, parser: Parser) -> bool {
        self.parser == number_of(parser)
    }

    /// Returns the number of events and of sockets, in all namespaces that were not taken yet.
    pub fn sizes(&self) -> (usize, usize) {
        let sizes = self.namespaces.values().map(Saved::sizes);
        sizes.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1))
    }

    /// Removes what a namespace remembered, and continues it with these settings and a new epoch, `away` after the snapshot
    /// was taken. `read` reads the owner's data of a socket; one for which it returns `None` is left out.
    ///
    /// Returns `None` if nothing is known of the namespace.
    pub fn take<D>(
        &mut self,
        namespace: &str,
        config: Config,
        epoch: Epoch,
        now: Time,
        away: Duration,
        read: impl FnMut(Bytes) -> Option<D>,
    ) -> Option<Retained<D>> {
        let saved = self.namespaces.remove(namespace)?;
        Some(saved.restore(config, epoch, now, away, read))
    }
}

fn number_of(parser: Parser) -> u8 {
    if parser == Parser::Text { 0 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, id, pid, read, send, to};
    use super::super::{Claim, NotRecoverable, Pid};
    use super::*;
    use crate::engineio::Frames;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn saved(retained: &Retained<u8>, now: Time) -> Vec<u8> {
        let mut writer = SnapshotWriter::new(Parser::Text, SECOND);
        writer.add("/", retained, now, |data, out| out.push(*data));
        writer.finish()
    }

    fn restored(bytes: &[u8], config: Config, now: Time, away: Duration) -> Retained<u8> {
        let mut snapshot = Snapshot::from_bytes(Bytes::copy_from_slice(bytes)).expect("a snapshot");
        let read = |data: Bytes| data.first().copied();
        snapshot.take("/", config, Epoch::from_random(77), now, away, read).expect("the namespace")
    }

    fn new() -> Retained<u8> {
        Retained::new(Config::default(), Epoch::from_random(7))
    }

    fn leave(retained: &mut Retained<u8>, now: Time, n: u8, rooms: &[&str]) {
        let life = retained.begin(pid(n).secret);
        retained.keep(now, id(n), life, rooms.iter().map(|room| SmolStr::new(*room)).collect(), n);
    }

    fn missed(retained: &Retained<u8>, claim: &Claim) -> Vec<String> {
        retained.missed(claim).expect("all events").map(|frames| read(&frames).0).collect()
    }

    /// Creates the bytes of a body that somebody else has written.
    fn sealed(body: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &[VERSION], &Sha1::digest(body), body].concat()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(Vec<u8>, Vec<u8>),
        Leave(u8, Vec<u8>),
        Wait(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let rooms = || prop::collection::vec(0..3u8, 0..3);
        prop_oneof![
            4 => (rooms(), rooms()).prop_map(|(rooms, except)| Step::Send(rooms, except)),
            2 => (0..6u8, rooms()).prop_map(|(n, rooms)| Step::Leave(n, rooms)),
            1 => (0..40u8).prop_map(Step::Wait),
        ]
    }

    fn names(rooms: &[u8]) -> Vec<&'static str> {
        rooms.iter().filter_map(|room| ["red", "green", "blue"].get(usize::from(*room)).copied()).collect()
    }

    /// The state after some steps, the time, and the offsets that clients know.
    fn after(steps: Vec<Step>) -> (Retained<u8>, u64, Vec<String>) {
        let (mut retained, mut now, mut offsets) = (new(), 0, Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(rooms, except) => {
                    let target = to(&names(&rooms), &names(&except));
                    offsets.push(send(&mut retained, at(now), &target, &alloc::format!("{number}")));
                }
                Step::Leave(n, rooms) => leave(&mut retained, at(now), n, &names(&rooms)),
                Step::Wait(seconds) => now += u64::from(seconds),
            }
        }
        (retained, now, offsets)
    }

    proptest! {
        #[test]
        fn clients_miss_the_same_as_without_a_restart(
            steps in prop::collection::vec(step(), 0..40), clock in 0..500u64, away in 0..60u64, known: usize
        ) {
            let (mut old, now, offsets) = after(steps);
            let bytes = saved(&old, at(now));
            let mut next = restored(&bytes, Config::default(), at(clock), SECOND * away as u32);
            prop_assert_eq!(next.usage().sessions, old.usage().sessions);
            let offset = (!offsets.is_empty()).then(|| &*offsets[known % offsets.len()]);
            for n in 0..6 {
                for offset in [None, offset] {
                    let expected = old.claim(at(now + away), &pid(n), offset);
                    let claimed = next.claim(at(clock), &pid(n), offset);
                    match (expected, claimed) {
                        (Ok(expected), Ok(claimed)) => {
                            prop_assert_eq!(missed(&next, &claimed), missed(&old, &expected));
                            prop_assert_eq!(next.claimed(&claimed).map(|kept| kept.data), Some(n));
                        }
                        (Err(_), Err(_)) => {}
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_within_their_length(
            steps in prop::collection::vec(step(), 0..12),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let (retained, now, _) = after(steps);
            let mut body = saved(&retained, at(now)).split_off(MAGIC.len() + 21);
            for (index, byte) in changes {
                let index = index.index(body.len());
                body[index] = byte;
            }
            let cut_off = body[..cut.index(body.len())].to_vec();
            for bytes in [sealed(&body), sealed(&cut_off), sealed(&noise), noise] {
                let len = bytes.len();
                let Ok(mut snapshot) = Snapshot::from_bytes(bytes.into()) else { continue };
                let (events, sockets) = snapshot.sizes();
                prop_assert!(events + sockets <= len / 8);
                let read = |data: Bytes| data.first().copied();
                let next = snapshot.take("/", Config::default(), Epoch::from_random(1), at(5), SECOND, read);
                let Some(mut next) = next else { continue };
                for n in 0..6 {
                    if let Ok(claim) = next.claim(at(5), &pid(n), None) {
                        let parts = |frames: Frames| frames.parts().count();
                        let all = next.missed(&claim).into_iter().flatten().all(|it| parts(it) > 0);
                        prop_assert!(all);
                        next.recover(at(5), &claim);
                    }
                }
                saved(&next, at(6));
                next.handle_timeout(at(10_000));
                while next.take_expired(at(10_000)).is_some() {}
                prop_assert_eq!(next.usage(), Default::default());
            }
        }

        #[test]
        fn a_changed_or_missing_byte_is_damage(index: prop::sample::Index, bit in 0..8u8) {
            let mut retained = new();
            leave(&mut retained, at(1), 1, &["red"]);
            send(&mut retained, at(1), &to(&[], &[]), "missed");
            let bytes = saved(&retained, at(2));
            let index = index.index(bytes.len());
            prop_assert!(Snapshot::from_bytes(bytes[..index].to_vec().into()).is_err());
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            prop_assert!(Snapshot::from_bytes(changed.into()).is_err());
        }
    }

    #[test]
    fn the_error_names_what_is_wrong() {
        let bytes = saved(&new(), at(0));
        let error = |bytes: &[u8]| Snapshot::from_bytes(Bytes::copy_from_slice(bytes)).err();
        assert_eq!(error(&bytes), None);
        assert_eq!(error(b""), Some(SnapshotError::Foreign));
        assert_eq!(error(b"{\"sockets\":[]}"), Some(SnapshotError::Foreign));
        assert_eq!(error(&bytes[..bytes.len() - 1]), Some(SnapshotError::Damaged));
        let mut newer = bytes;
        newer[MAGIC.len()] += 1;
        assert_eq!(error(&newer), Some(SnapshotError::Version(VERSION + 1)));
    }

    #[test]
    fn offsets_of_another_process_that_continued_from_the_same_bytes_are_refused() {
        let mut old = new();
        leave(&mut old, at(0), 1, &[]);
        let known = send(&mut old, at(0), &to(&[], &[]), "before");
        let bytes = saved(&old, at(0));
        let mut next = restored(&bytes, Config::default(), at(0), Duration::ZERO);
        // The process that has saved it, or one that read it as well, sends other events at the same positions.
        let foreign = send(&mut old, at(0), &to(&[], &[]), "elsewhere");
        send(&mut next, at(0), &to(&[], &[]), "after");
        let claim = next.claim(at(0), &pid(1), Some(&known)).expect("it is recovered");
        assert_eq!(missed(&next, &claim), ["after"]);
        let refused = next.claim(at(0), &pid(1), Some(&foreign));
        assert!(matches!(refused, Err(NotRecoverable::Missed(_))), "{refused:?}");
    }

    #[test]
    fn a_client_that_receives_nothing_for_many_restarts_is_recovered() {
        let mut retained = new();
        leave(&mut retained, at(0), 1, &[]);
        let known = send(&mut retained, at(0), &to(&[], &[]), "seen");
        for random in 0..12 {
            let mut snapshot = Snapshot::from_bytes(saved(&retained, at(0)).into()).expect("a snapshot");
            let read = |data: Bytes| data.first().copied();
            let epoch = Epoch::from_random(1_000_000 + random);
            let next = snapshot.take("/", Config::default(), epoch, at(0), Duration::ZERO, read);
            retained = next.expect("the namespace");
        }
        send(&mut retained, at(0), &to(&[], &[]), "missed");
        let claim = retained.claim(at(0), &pid(1), Some(&known)).expect("it is recovered");
        assert_eq!(missed(&retained, &claim), ["missed"]);
    }

    #[test]
    fn the_time_between_the_processes_counts_and_smaller_limits_hold() {
        let mut old = new();
        (1..4).for_each(|n| leave(&mut old, at(0), n, &[]));
        leave(&mut old, at(100), 4, &[]);
        let known: Vec<_> =
            (0..5).map(|n| send(&mut old, at(100), &to(&[], &[]), &alloc::format!("{n}"))).collect();
        let bytes = saved(&old, at(100));
        let mut next = restored(&bytes, Config::default(), at(3), 30 * SECOND);
        assert!(next.claim(at(3), &pid(1), None).is_err(), "it was away for 130 s");
        assert_eq!(core::iter::from_fn(|| next.take_expired(at(3))).count(), 3);
        assert!(next.claim(at(3), &pid(4), None).is_ok());
        let config = Config { max_packets: 2, max_sessions: 2, ..Config::default() };
        let mut next = restored(&bytes, config, at(3), Duration::ZERO);
        assert_eq!((next.usage().packets, next.usage().sessions), (2, 2));
        assert!(next.is_kept(&id(4)), "those that were away the longest go first");
        let claim = next.claim(at(3), &pid(4), Some(&known[2])).expect("it is recovered");
        assert_eq!(missed(&next, &claim), ["3", "4"]);
        assert!(next.claim(at(3), &pid(4), Some(&known[1])).is_err(), "2 has left the log");
    }

    #[test]
    fn attachments_and_private_ids_are_the_same_and_the_parser_is_named() {
        let mut old = new();
        leave(&mut old, at(0), 1, &[]);
        let mut encoder = crate::socketio::Encoder::new();
        let file = Bytes::from(vec![1, 2, 3]);
        let draft =
            old.epoch().expect("an epoch").draft(&encoder.event("/", None, "file", &file).expect("an event"));
        let frames = old.number(draft);
        old.record(at(0), &to(&[], &[]), &frames);
        let bytes = saved(&old, at(0));
        let snapshot = Snapshot::from_bytes(bytes.clone().into()).expect("a snapshot");
        assert!(snapshot.is_for(Parser::Text));
        assert_eq!(snapshot.taken_at(), SECOND);
        let mut next = restored(&bytes, Config::default(), at(0), Duration::ZERO);
        let wrong = Pid { secret: id(9), ..pid(1) };
        assert!(matches!(next.claim(at(0), &wrong, None), Err(NotRecoverable::Unknown)));
        let claim = next.claim(at(0), &pid(1), None).expect("it is recovered");
        let replayed: Vec<_> = next.missed(&claim).expect("all events").collect();
        assert_eq!(replayed.first().map(|it| it.shared().clone()), Some(frames.shared().clone()));
        assert_eq!(next.recover(at(0), &claim).map(|(life, _)| life.secret()), Some(pid(1).secret));
    }
}
