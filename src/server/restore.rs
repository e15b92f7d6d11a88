//! Recovery in a cluster: sockets are kept at the bus, and clients that come back to any server are sent what they missed
//! from its memory, or from the stream that the servers share.

use super::cluster::{Link, Lookup, LookupResult};
use super::namespace::Namespace;
use super::recovery::{
    Introduction, Numbering, Returned, Stored, bus_lifetime, capacity, polled_len, welcome,
};
use super::socket::{Socket, read_stored_json, stored_json};
use super::v2::is_v2;
use crate::engine::Id;
use crate::log::{debug, warn};
use crate::payload::with_encoder;
use smol_str::{SmolStr, format_smolstr};
use sockeye_core::Time;
use sockeye_core::cluster::{Cluster, ClusterLimits, Entry, Found, MissedEvent, RequestId, SavedSession};
use sockeye_core::engineio::Frames;
use sockeye_core::socketio::recovery::{Kept, Life, Pid, Retained, StreamPosition};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number of sockets that the bus is asked for at once.
const ASKED: usize = 256;

/// The most pages of a stream that are read for one client.
const MAX_PAGES: usize = 1000;

impl Namespace {
    /// Notes that the stream is read from behind a position on.
    pub(super) fn begin_stream(&self, position: StreamPosition) {
        let now = self.now();
        if let Some(memory) = &mut self.order().memory {
            memory.retained.begin_behind(now, position);
        }
    }

    /// Notes that the stream was read up to a position.
    pub(super) fn advance_stream(&self, position: StreamPosition) {
        if let Some(memory) = &mut self.order().memory {
            memory.retained.advance(position);
        }
    }

    /// Queues a socket that is kept for the bus. Called under the lock of the order, so that it is there before its client
    /// can come back.
    pub(super) fn keep_at_bus(&self, retained: &mut Retained<Stored>, id: Id, now: Time) {
        let (Some(link), lifetime) = (self.link(), retained.config().max_disconnection_duration) else {
            return;
        };
        let Some(kept) = retained.kept_mut(&id) else { return };
        kept.data.mark = link.next_mark();
        let mut saved = SavedSession::default();
        saved.sid = id.as_str().into();
        saved.pid = format_smolstr!("{}", kept.life().pid(id));
        saved.rooms = std::iter::once(saved.sid.clone()).chain(kept.rooms.iter().cloned()).collect();
        saved.data = stored_json(&kept.data.values).map(str::to_owned);
        saved.namespace = Some(self.name().into());
        saved.received = kept.life().received();
        saved.expires = kept.data.expires.map(|at| wall_clock(at.saturating_since(now)));
        saved.mark = Some(mark_of(link.uid(), kept.data.mark));
        // Without the lock of the cluster, which every message needs.
        let value = saved.encode();
        link.queue(|state, _| {
            state.take_unsaved(&saved.pid);
            state.cluster.save_session(&saved.pid, value, bus_lifetime(lifetime));
        });
    }

    /// Tells the application of the sockets that nobody has taken from the bus until their deadline.
    pub(super) fn ask_whether_expired(&self, expired: Vec<(Id, Kept<Stored>)>) {
        let (Some(runtime), Some(link)) = (self.runtime(), self.link()) else { return };
        let (namespace, link) = (self.clone(), Arc::downgrade(&link));
        runtime.spawn(Box::pin(async move {
            let mut is_reachable = true;
            // Many may expire together, and all have to be asked for before the bus forgets them.
            for some in expired.chunks(ASKED) {
                let Some(link) = link.upgrade() else { return };
                let look_up = |kept: &Kept<Stored>, id: Id, remove| {
                    let pid = format_smolstr!("{}", kept.life().pid(id));
                    link.look_up(|cluster| cluster.load_session(&pid, remove))
                };
                let asked: Vec<_> =
                    some.iter().map(|(id, kept)| is_reachable.then(|| look_up(kept, *id, false))).collect();
                let mut there = Vec::new();
                for ((id, kept), asked) in some.iter().zip(asked) {
                    let found = match asked {
                        Some(asked) if is_reachable => asked.await,
                        _ => None,
                    };
                    let is_unsaved = link
                        .queue(|state, _| state.take_unsaved(&format_smolstr!("{}", kept.life().pid(*id))));
                    match found {
                        // Another server has taken it, unless the bus has lost it.
                        Some(LookupResult::Found(Found::Value(None))) if !is_unsaved => {}
                        Some(LookupResult::Found(Found::Value(Some(value))))
                            if !is_ours(&link, &value, kept.data.mark) => {}
                        Some(LookupResult::Found(Found::Value(Some(_)))) => {
                            there.push((id, kept, look_up(kept, *id, true)));
                        }
                        Some(LookupResult::Found(Found::Value(None))) => namespace.tell_expired(*id, kept),
                        // It cannot be known.
                        _ => {
                            is_reachable = false;
                            namespace.tell_expired(*id, kept);
                        }
                    }
                }
                for (id, kept, removed) in there {
                    // Whoever removes it from the bus has it: this server, or one to which the client has come meanwhile.
                    match removed.await {
                        Some(LookupResult::Found(Found::Value(None))) => {}
                        Some(LookupResult::Found(Found::Value(Some(value))))
                            if !is_ours(&link, &value, kept.data.mark) =>
                        {
                            // That one has lost the client again since.
                            link.put_back(value);
                        }
                        _ => namespace.tell_expired(*id, kept),
                    }
                }
            }
        }));
    }
}

/// Returns the bytes of an entry.
fn len_of((position, fields): &Entry) -> usize {
    position.len() + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// Returns whether a session is the one that this server has kept under a mark.
fn is_ours(link: &Link, value: &[u8], mark: u64) -> bool {
    let session = SavedSession::decode(value, &ClusterLimits::default());
    session.is_ok_and(|session| session.mark == Some(mark_of(link.uid(), mark)))
}

fn mark_of(uid: &str, mark: u64) -> SmolStr {
    format_smolstr!("{uid}-{mark}")
}

/// Returns the time after `later`, in milliseconds since 1970.
fn wall_clock(later: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from((now + later).as_millis()).unwrap_or(u64::MAX)
}

/// A client that says that it was connected before, to this server or another one.
pub(super) struct Restoring<'a> {
    socket: &'a Socket,
    link: Arc<Link>,
    limits: ClusterLimits,
    pid: SmolStr,
    offset: Option<StreamPosition>,
    /// The time by which the bus has to have answered everything.
    deadline: Time,
}

impl<'a> Restoring<'a> {
    /// Returns the client of a socket, if it says so and its namespace recovers clients from the stream.
    pub(super) fn begin(socket: &'a Socket) -> Option<Restoring<'a>> {
        let namespace = socket.namespace();
        // Clients of Socket.IO 2 know no private ids.
        if namespace.0.numbering != Some(Numbering::Stream) || is_v2(socket.session()) {
            return None;
        }
        let Introduction { pid, offset } = Introduction::read(socket.auth_text())?;
        if Pid::parse(&pid).is_none() && Id::parse(&pid).is_none() {
            return None;
        }
        let offset = match offset {
            None => None,
            Some(offset) => Some(StreamPosition::parse(&offset)?),
        };
        let link = namespace.link()?;
        let (limits, timeout) = link.queue(|state, _| {
            let config = state.cluster.config();
            (config.limits, config.request_timeout)
        });
        let deadline = namespace.now() + timeout;
        Some(Restoring { socket, link, limits, pid: pid.into(), offset, deadline })
    }

    /// Asks the bus for something, until the deadline.
    fn look_up(&self, begin: impl FnOnce(&mut Cluster) -> Option<RequestId>) -> Lookup {
        let rest = self.deadline.saturating_since(self.socket.namespace().now());
        self.link.look_up(begin).within(rest)
    }

    /// Finds the socket that the client had. Returns `None` if it has to begin anew.
    pub(super) async fn find(self) -> Option<Returned> {
        let namespace = self.socket.namespace();
        if let Some(pid) = Pid::parse(&self.pid) {
            namespace.evict(&pid, self.socket.session());
        }
        let found = self.look_up(|cluster| cluster.load_session(&self.pid, true)).or_put_back().await;
        let Some(LookupResult::Found(Found::Value(value))) = found else {
            self.warn("the bus does not say in time whether it keeps the socket");
            return None;
        };
        let value = value?;
        let session = match SavedSession::decode(&value, &self.limits) {
            Ok(session) => session,
            Err(error) => {
                debug!(namespace = ?namespace.name(), cause = %error, "a socket that the bus has kept cannot be read");
                return None;
            }
        };
        let Some((pid, received)) = self.read_session(&session) else {
            // The client begins anew, and nobody has taken the socket.
            if session.pid == self.pid {
                self.link.put_back(value);
            }
            return None;
        };
        let missed = self.missed(&session, received).await;
        self.adopt(session, pid, received, missed)
    }

    /// Returns who the client was and what it has received, if a socket is the one that it asks for.
    fn read_session(&self, session: &SavedSession) -> Option<(Pid, StreamPosition)> {
        let name = self.socket.namespace().name();
        let is_right = session.pid == self.pid && session.namespace.as_deref().is_none_or(|it| it == name);
        let received = session.received.max(self.offset).filter(|_| is_right)?;
        let pid = match (Pid::parse(&self.pid), Id::parse(&session.sid)?) {
            (Some(pid), id) if pid.id == id => pid,
            (None, id) => Pid { id, secret: Id::parse(&self.pid)?, is_foreign: true },
            _ => return None,
        };
        Some((pid, received))
    }

    /// Returns what the client missed and is not in the memory, and the position from which on the memory has the rest.
    async fn missed(
        &self,
        session: &SavedSession,
        received: StreamPosition,
    ) -> Option<(Vec<Frames>, StreamPosition)> {
        let namespace = self.socket.namespace();
        let state = || {
            let order = namespace.order();
            let retained = &order.memory.as_ref()?.retained;
            Some((retained.unread()?, retained.covers(received)))
        };
        if state().is_none_or(|(unread, _)| unread <= received) {
            // The client got it from a server that has read further than this one.
            let reached = self.look_up(|cluster| cluster.reach(namespace.name(), received)).await;
            if !matches!(reached, Some(LookupResult::Reached)) {
                self.warn("the stream was not read in time up to what the client has received");
                return None;
            }
        }
        let (until, is_covered) = state()?;
        if is_covered {
            return Some((Vec::new(), received.next()));
        }
        let capacity = capacity(self.socket.session());
        let (mut earlier, mut size, mut last) = (Vec::new(), 0, received);
        let mut rest = self.max_read()?;
        for _ in 0..MAX_PAGES {
            let entries = self.page(last).await?;
            rest = match rest.checked_sub(entries.iter().map(len_of).sum()) {
                Some(rest) => rest,
                None => break,
            };
            let mut entries = entries.into_iter();
            // Entries that are not there any more may have been missed.
            if entries.next().and_then(|(offset, _)| StreamPosition::parse(&offset)) != Some(last) {
                return None;
            }
            let begin = last;
            for (offset, fields) in entries {
                last = StreamPosition::parse(&offset)?;
                if last >= until {
                    return Some((earlier, until));
                }
                if let Some(frames) = self.read(session, &offset, &fields) {
                    size += polled_len(&frames);
                    earlier.push(frames);
                }
                if size > capacity {
                    return None;
                }
            }
            if last == begin {
                return Some((earlier, until));
            }
        }
        self.warn("the client has to read too much of the stream");
        None
    }

    /// Returns the most bytes of the stream that are read: as many as the memory of the namespace may have.
    fn max_read(&self) -> Option<usize> {
        let order = self.socket.namespace().order();
        Some(order.memory.as_ref()?.retained.config().max_bytes)
    }

    /// Reads some entries of the stream.
    async fn page(&self, from: StreamPosition) -> Option<Vec<Entry>> {
        let name = self.socket.namespace().name();
        match self.look_up(|cluster| cluster.read_stream(name, from)).await {
            Some(LookupResult::Found(Found::Entries(entries))) => Some(entries),
            _ => {
                self.warn("the bus does not return in time what the client missed");
                None
            }
        }
    }

    /// Returns an entry as an event for the client, if it was sent to it.
    fn read(
        &self,
        session: &SavedSession,
        offset: &str,
        fields: &[(String, bytes::Bytes)],
    ) -> Option<Frames> {
        let namespace = self.socket.namespace();
        let fields = fields.iter().map(|(name, value)| (name.as_str(), &**value));
        let entry = self.link.decoder().read_entry(namespace.name(), offset, fields);
        let MissedEvent { target, event, .. } = entry.ok()??;
        let is_in = |room: &str| session.rooms.iter().any(|known| known == room);
        let is_addressed =
            (target.rooms.is_empty() || target.rooms.iter().any(is_in)) && !target.except.iter().any(is_in);
        let encode = || {
            with_encoder(namespace.0.parser, |encoder| {
                let encoded = event.encode(encoder, namespace.name(), None, Some(offset)).ok()?;
                Some(Frames::new(encoded.parts()))
            })
        };
        is_addressed.then(encode).flatten()
    }

    /// Takes the socket over. If what its client missed is not known, it is given up: it is not at the bus any more.
    fn adopt(
        &self,
        session: SavedSession,
        pid: Pid,
        received: StreamPosition,
        missed: Option<(Vec<Frames>, StreamPosition)>,
    ) -> Option<Returned> {
        let namespace = self.socket.namespace();
        let now = namespace.now();
        // It was at the bus after all.
        self.link.queue(|state, _| state.take_unsaved(&self.pid));
        let rooms = session.rooms.iter().filter(|room| **room != session.sid).cloned().collect();
        let mut order = namespace.order();
        let retained = &mut order.memory.as_mut()?.retained;
        let local = retained.forget(&pid.id);
        // Otherwise another server has kept it since.
        let local = local.filter(|kept| session.mark == Some(mark_of(self.link.uid(), kept.data.mark)));
        let stored = match local {
            Some(kept) => kept.data,
            None => Stored {
                values: session.data.iter().filter_map(|json| read_stored_json(json.as_bytes())).collect(),
                expires: session
                    .expires
                    .map(|at| now + Duration::from_millis(at.saturating_sub(wall_clock(Duration::ZERO)))),
                mark: 0,
            },
        };
        let life = Life::returned(&pid, received);
        let from = missed.as_ref().map_or(received.next(), |(_, from)| *from);
        let claim = retained.adopt(now, pid.id, life, rooms, stored, from);
        let mut given_up = Vec::new();
        let returned = match missed {
            Some((earlier, _)) => {
                welcome(retained, now, claim, earlier, self.socket.session(), &mut given_up)
            }
            None => {
                given_up.extend(retained.recover(now, &claim).map(|(_, kept)| (claim.id(), kept)));
                None
            }
        };
        namespace.end_step(order, given_up);
        returned
    }

    fn warn(&self, cause: &str) {
        let namespace = self.socket.namespace().name();
        warn!(namespace = ?namespace, cause = %cause, "a client that has come back begins anew");
    }
}
