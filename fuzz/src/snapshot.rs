//! What a process hands over to the next one.

use bytes::Bytes;
use sha1::{Digest, Sha1};
use sockeye::{HandOver, Recovery, Server};
use sockeye_core::Time;
use sockeye_core::engineio::Id;
use sockeye_core::socketio::recovery::{
    Config, Epoch, NotRecoverable, Pid, Retained, Snapshot, SnapshotError, SnapshotWriter,
};
use sockeye_core::socketio::{Encoder, Parser, Target};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A state with the right checksum is damaged, or continued by a server within its length; clients come back to it, and it
/// can be handed over once more.
pub fn snapshot(body: &[u8]) {
    let bytes = [b"sockeye\xff\x01", Sha1::digest(body).as_slice(), body].concat();
    let mut snapshot = match Snapshot::from_bytes(Bytes::copy_from_slice(&bytes)) {
        Ok(snapshot) => snapshot,
        Err(error) => return assert_eq!(error, SnapshotError::Damaged),
    };
    let (events, sockets) = snapshot.sizes();
    assert!(events + sockets <= body.len() / 8);
    let handed = HandOver::from_bytes(bytes).unwrap();
    assert_eq!((handed.events_count(), handed.sockets_count()), (events, sockets));
    let server = Server::builder().connection_state_recovery(Recovery::new()).take_over(handed).build();
    assert!(server.recovery_usage().sessions <= sockets);
    let now = Time::from_origin(SECOND);
    let read = |data: Bytes| Some(data.len());
    let taken = snapshot.take("/", Config::default(), Epoch::from_random(1), now, SECOND, read);
    let Some(mut retained) = taken else { return };
    let offset = body.rchunks(16).next().and_then(|end| std::str::from_utf8(end).ok());
    for n in 1..4 {
        let pid =
            Pid { id: Id::from_random([n; 15]), secret: Id::from_random([n + 100; 15]), is_foreign: false };
        come_back(&mut retained, now, &pid, if n == 1 { None } else { offset });
    }
    let usage = retained.usage();
    let mut writer = SnapshotWriter::new(Parser::Text, SECOND);
    writer.add("/", &retained, now, |len, out| out.resize(out.len() + len, 0));
    let again = Snapshot::from_bytes(writer.finish().into()).unwrap();
    assert_eq!(again.sizes(), (usage.packets, usage.sessions));
    let later = now + Duration::from_secs(10_000);
    retained.handle_timeout(later);
    while retained.take_expired(later).is_some() {}
    assert_eq!(retained.usage(), Default::default());
}

/// A client comes back, and an event is sent while it does.
fn come_back(retained: &mut Retained<usize>, now: Time, pid: &Pid, offset: Option<&str>) {
    let claim = match retained.claim(now, pid, offset) {
        Ok(claim) => claim,
        Err(NotRecoverable::Unknown | NotRecoverable::Missed(_)) => return,
    };
    let missed = retained
        .missed(&claim)
        .map(|events| events.map(|frames| assert!(frames.parts().count() > 0)).count());
    let mut target = Target::default();
    target.rooms.insert(&pid.id);
    let mut encoder = Encoder::new();
    let draft = retained.epoch().unwrap().draft(&encoder.event("/", None, "news", &()).unwrap());
    let frames = retained.number(draft);
    retained.record(now, &target, &frames);
    if let (Some(missed), Some(events)) = (missed, retained.missed(&claim)) {
        assert_eq!(events.count(), missed + 1);
    }
    assert!(retained.recover(now, &claim).is_some());
}
