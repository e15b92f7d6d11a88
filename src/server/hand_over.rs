//! Handing over to the next process: what is remembered for clients that come back, as bytes.

use super::Server;
use super::namespace::Namespace;
use super::recovery::Stored;
use super::socket::{read_stored_json, stored_json};
use crate::engine::timers::{Expire, Notify};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use sockeye_core::Time;
pub use sockeye_core::socketio::recovery::SnapshotError as HandOverError;
use sockeye_core::socketio::recovery::{Snapshot, SnapshotWriter};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

/// What an earlier process has [handed over](Server::hand_over): see
/// [`ServerBuilder::take_over`](crate::ServerBuilder::take_over).
pub struct HandOver {
    snapshot: Snapshot,
}

impl HandOver {
    /// Reads what [`Server::hand_over`] has returned. The memory that this takes is limited by a multiple of the length of
    /// `bytes`, whatever they are.
    ///
    /// # Errors
    /// If they are something else, were written by a version that is not compatible, or are damaged: start without them then,
    /// and clients begin anew.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<HandOver, HandOverError> {
        Ok(HandOver { snapshot: Snapshot::from_bytes(bytes.into())? })
    }

    /// Returns the number of sockets whose clients may come back, in all namespaces.
    pub fn sockets_count(&self) -> usize {
        self.snapshot.sizes().1
    }

    /// Returns the number of events that these clients may have missed, in all namespaces.
    pub fn events_count(&self) -> usize {
        self.snapshot.sizes().0
    }
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver")
            .field("sockets", &self.sockets_count())
            .field("events", &self.events_count())
            .finish_non_exhaustive()
    }
}

/// What was handed over and belongs to namespaces that do not exist yet.
pub(super) struct Handed(Mutex<Option<Snapshot>>);

impl Handed {
    pub(super) fn new(state: HandOver) -> Handed {
        Handed(Mutex::new(Some(state.snapshot)))
    }

    /// Forgets the rest when no client can be recovered any more.
    pub(super) fn begin(self: &Arc<Self>, server: &Server) {
        let engine = &server.engine.0;
        let Some(recovery) = &engine.application.recovery else { return };
        let this: Arc<dyn Expire> = self.clone();
        let at = engine.now() + recovery.max_disconnection();
        let (_, driver) = engine.timers.insert(at, Notify::Object(Arc::downgrade(&this)));
        driver.into_iter().for_each(Waker::wake);
    }
}

impl Expire for Handed {
    fn expire(self: Arc<Self>, _: Time) {
        let rest = self.0.lock().take();
        drop(rest);
    }
}

impl Namespace {
    /// Continues what an earlier process remembered of the namespace. It is new, so nobody else has its lock.
    pub(super) fn continued(self) -> Namespace {
        let Some(engine) = self.0.engine.upgrade() else { return self };
        let Some(handed) = &engine.application.handed else { return self };
        let (now, mut handed) = (self.now(), handed.0.lock());
        let mut order = self.order();
        let snapshot = handed.as_mut().filter(|snapshot| snapshot.is_for(self.0.parser));
        if let (Some(memory), Some(snapshot)) = (&mut order.memory, snapshot) {
            let away = wall_clock().saturating_sub(snapshot.taken_at());
            let (config, epoch) = (memory.retained.config().clone(), memory.retained.epoch());
            let read = |data| read_stored(data, now, away);
            // In a cluster, the bus keeps everything.
            if let Some(epoch) = epoch
                && let Some(retained) = snapshot.take(self.name(), config, epoch, now, away, read)
            {
                memory.retained = retained;
            }
        }
        drop(order);
        self
    }

    /// Puts the first deadline of what the namespace remembers into the server's table. The caller must hold no lock.
    pub(super) fn begin_memory(&self) {
        let driver = self.arm_memory(&mut self.order());
        driver.into_iter().for_each(Waker::wake);
    }
}

impl Server {
    /// Closes the server as [`close_within`](Server::close_within) does, and returns what the next process needs, so that the
    /// clients continue there as after a short cut: see [`ServerBuilder::take_over`](crate::ServerBuilder::take_over). Needs
    /// [`connection_state_recovery`](crate::ServerBuilder::connection_state_recovery); otherwise no client is in it.
    ///
    /// The bytes contain the sockets with their private ids, rooms and
    /// [shared data](crate::Socket::set_shared_data), and the events that their clients may have missed. Keep them secret:
    /// with a private id, anybody could continue as the client. Other [data](crate::Socket::set_data) are values in the
    /// memory of this process, and stay behind.
    ///
    /// In a [cluster](crate::cluster), no client is in it either: the sockets are kept at the bus, from which the other servers
    /// or the next process take them.
    ///
    /// Events that are sent while this closes the server are part of it. What is sent after it has returned reaches nobody,
    /// so end the tasks that send before you call it, or let the next process send.
    ///
    /// ```
    /// # async fn example(io: sockeye::Server) -> std::io::Result<()> {
    /// let state = io.hand_over(std::time::Duration::from_secs(5)).await;
    /// std::fs::write("state", state)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn hand_over(&self, within: Duration) -> Vec<u8> {
        self.close_within(within).await;
        let application = self.engine.application();
        let now = self.engine.0.now();
        let mut writer = SnapshotWriter::new(application.parser, wall_clock());
        for namespace in application.namespaces.all() {
            // Nothing can be remembered after this, so nothing is sent to anybody who would miss it later.
            let memory = namespace.order().memory.take();
            // In a cluster, the bus keeps everything.
            if let Some(memory) = memory.filter(|memory| memory.retained.epoch().is_some()) {
                writer.add(namespace.name(), &memory.retained, now, |stored, out| {
                    write_stored(stored, now, out);
                });
            }
        }
        writer.finish()
    }
}

/// Returns the time since the Unix epoch, because the clocks of two processes have nothing else in common.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Appends what can leave the process of the data of a socket: the milliseconds until its credentials expire, behind a 1,
/// or a 0; and its shared data.
fn write_stored(stored: &Stored, now: Time, out: &mut Vec<u8>) {
    match stored.expires {
        Some(expires) => {
            let rest = expires.saturating_since(now).as_millis();
            out.push(1);
            out.extend_from_slice(&u64::try_from(rest).unwrap_or(u64::MAX).to_be_bytes());
        }
        None => out.push(0),
    }
    if let Some(json) = stored_json(&stored.values) {
        out.extend_from_slice(json.as_bytes());
    }
}

/// Reads what [`write_stored`] has written. Returns `None` if it makes no sense.
fn read_stored(mut data: Bytes, now: Time, away: Duration) -> Option<Stored> {
    let expires = match data.try_get_u8().ok()? {
        0 => None,
        1 => Some(now + Duration::from_millis(data.try_get_u64().ok()?).saturating_sub(away)),
        _ => return None,
    };
    let values = match data.is_empty() {
        true => Vec::new(),
        false => vec![read_stored_json(&data)?],
    };
    Some(Stored { values, expires, mark: 0 })
}
