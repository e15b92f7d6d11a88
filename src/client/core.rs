//! The state behind a client's lock: the protocol's state machine, and the streams that it is given.

use smallvec::SmallVec;
use sockeye_core::Time;
use sockeye_core::engineio::Transport;
use sockeye_core::engineio::client::{Lane, Want};
use sockeye_core::socketio::client::{Client, Event};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

pub(super) struct Core {
    pub(super) client: Client,
    streams: [Stream; 3],
    /// The session that the streams belong to.
    generation: u64,
    /// The last id that was drawn for a stream or a waiting future.
    drawn: u64,
    /// A thread is dispatching events to the application: all of them, in order.
    pub(super) dispatching: bool,
    /// The value of [`Client::ended_attempts`] that waiting tasks were last woken for.
    ended_attempts: u32,
    /// The number of events at the front of the queue that are counted in the backlog.
    counted: u32,
    /// The number of events at the front of the queue that are known to be held back while the application is
    /// behind.
    seen: u32,
    /// The deadline that the timer task sleeps for, or was woken for.
    pub(super) armed: Option<Time>,
}

/// The stream of a lane.
#[derive(Default)]
pub(super) struct Stream {
    /// Zero if there is none.
    pub(super) id: u64,
    pub(super) waker: Option<Waker>,
}

/// The consequences of a change, to be acted on once no lock is held.
#[derive(Default)]
pub(super) struct Todo {
    /// The stream to open for each lane; zero if there is none.
    pub(super) open: [u64; 3],
    /// The stream to wake of each lane.
    pub(super) wake: [Option<Waker>; 3],
    /// The next deadline is earlier than the timer task knows.
    pub(super) is_earlier: bool,
    /// An attempt to join a namespace has ended.
    pub(super) has_result: bool,
}

/// A stream of a lane, as the origin of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) lane: Lane,
    /// The session that the stream belongs to.
    pub(super) generation: u64,
}

/// The demands on a stream.
pub(super) struct Demand {
    pub(super) want: Want,
    /// Something is queued for the stream of WebSocket.
    pub(super) transmits: bool,
}

impl Core {
    pub(super) fn new(client: Client) -> Core {
        Core {
            client,
            streams: Default::default(),
            generation: 0,
            drawn: 0,
            dispatching: false,
            ended_attempts: 0,
            counted: 0,
            seen: 0,
            armed: None,
        }
    }

    /// Returns an id that no other stream or future of this client has.
    pub(super) fn draw_id(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    pub(super) fn stream(&mut self, lane: Lane) -> &mut Stream {
        let [poll, post, websocket] = &mut self.streams;
        match lane {
            Lane::Poll => poll,
            Lane::Post => post,
            Lane::WebSocket => websocket,
        }
    }

    pub(super) fn wakers(&self) -> SmallVec<[Waker; 3]> {
        self.streams.iter().filter_map(|stream| stream.waker.clone()).collect()
    }

    /// Puts another stream in place of the lane's `stream`. Returns its id and the old one, or `None` if `stream`
    /// is not the lane's.
    pub(super) fn replace(&mut self, lane: Lane, stream: u64) -> Option<(u64, Stream)> {
        let id = self.drawn + 1;
        let own = self.stream(lane);
        if own.id != stream {
            return None;
        }
        let replaced = std::mem::replace(own, Stream { id, waker: None });
        self.drawn = id;
        Some((id, replaced))
    }

    pub(super) fn demand(&self, now: Time, Origin { lane, generation }: Origin) -> Demand {
        Demand {
            want: self.client.wants(now, generation, lane),
            transmits: lane == Lane::WebSocket && self.client.wants_transmit(generation),
        }
    }

    /// Returns the consequences of a change that `own`, the lane of the stream that made it, does not see by
    /// itself.
    pub(super) fn follow(&mut self, now: Time, own: Option<Lane>, can_open: bool) -> Todo {
        let mut todo = Todo::default();
        self.look_after_streams(now, own, can_open, &mut todo);
        let ended_attempts = self.client.ended_attempts();
        todo.has_result = std::mem::replace(&mut self.ended_attempts, ended_attempts) != ended_attempts;
        if let Some(deadline) = self.client.next_deadline()
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.armed = Some(deadline);
            todo.is_earlier = true;
        }
        todo
    }

    fn look_after_streams(&mut self, now: Time, own: Option<Lane>, can_open: bool, todo: &mut Todo) {
        let generation = self.client.generation();
        let is_another = std::mem::replace(&mut self.generation, generation) != generation;
        // The usual case: both other lanes are of no use any more.
        let is_on_websocket = self.client.transport() == Some(Transport::WebSocket);
        for ((lane, wake), open) in Lane::ALL.into_iter().zip(&mut todo.wake).zip(&mut todo.open) {
            if is_on_websocket && lane != Lane::WebSocket && self.stream(lane).id == 0 {
                continue;
            }
            let want = self.client.wants(now, generation, lane);
            let transmits = lane == Lane::WebSocket && self.client.wants_transmit(generation);
            let opened = self.drawn + 1;
            let stream = self.stream(lane);
            if stream.id != 0 && (is_another || matches!(want, Want::Nothing | Want::Abort)) {
                // Once woken, the stream finds out that it is no longer wanted.
                *wake = std::mem::take(stream).waker;
            }
            if want == Want::Request && stream.id == 0 {
                if can_open {
                    *stream = Stream { id: opened, waker: None };
                    self.drawn = opened;
                    *open = opened;
                }
            } else if (want == Want::Request || transmits) && own != Some(lane) && stream.waker.is_some() {
                wake.clone_from(&stream.waker);
            }
        }
    }

    /// Returns the next event to dispatch. If the application has fallen behind, that is the first event that
    /// calls no handler for a message; the others keep their order.
    pub(super) fn next_event(
        &mut self,
        is_behind: impl FnOnce() -> bool,
        backlog: &AtomicUsize,
    ) -> Option<Event> {
        let events = self.client.events_mut();
        let mut at = 0;
        if matches!(events.front(), Some(Event::Incoming(..))) && is_behind() {
            let seen = self.seen.max(1) as usize;
            at = seen + events.iter().skip(seen).position(goes_ahead).unwrap_or(events.len());
            self.seen = at.min(events.len()) as u32;
        }
        let event = if at == 0 { events.pop_front() } else { events.remove(at) }?;
        if at == 0 {
            self.seen = self.seen.saturating_sub(1);
        }
        if at < self.counted as usize {
            self.counted -= 1;
            let left = backlog.load(Ordering::Relaxed).saturating_sub(size_of_event(&event));
            backlog.store(left, Ordering::Relaxed);
        }
        Some(event)
    }

    /// Counts the events that wait. Returns whether there are any.
    pub(super) fn count_backlog(&mut self, backlog: &AtomicUsize) -> bool {
        let (events, counted) = (self.client.events_mut(), self.counted as usize);
        if events.len() > counted {
            let added: usize = events.iter().skip(counted).map(size_of_event).sum();
            backlog.store(backlog.load(Ordering::Relaxed).saturating_add(added), Ordering::Relaxed);
            self.counted = events.len() as u32;
        }
        self.counted > 0
    }
}

/// Returns whether an event may overtake those that are held back: it calls none of the socket's handlers,
/// and suspended handlers may be waiting for it.
fn goes_ahead(event: &Event) -> bool {
    matches!(event, Event::Join(..) | Event::Answer(..) | Event::Fate(..))
}

fn size_of_event(event: &Event) -> usize {
    let args = match event {
        Event::Incoming(_, incoming) => incoming.args.as_args(),
        Event::Outgoing(_, emitted) | Event::Lost(_, emitted) => emitted.args.as_args(),
        _ => return size_of::<Event>(),
    };
    size_of::<Event>() + args.json().len() + args.attachments().bytes()
}
