//! The connections to one server, and the task that keeps them.

use crate::endpoint::{Endpoint, Place};
use crate::failure::Failure;
use crate::publisher::{Connection, Publisher};
use crate::queue::Command;
use crate::reader::Reader;
use crate::runtime::{Runtime, Sleep};
use crate::state::{LinkId, Shared};
use crate::subscriber::Subscriber;
use crate::topology;
use sockeye_core::cluster::Node;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

/// What a task of the bus works with.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: Weak<dyn Node>,
    pub(crate) id: LinkId,
    /// The server, in a Redis Cluster.
    pub(crate) place: Option<Place>,
}

impl Worker {
    /// Runs `work` until the bus, the node or the link is gone, and reports what the handle has noticed.
    pub(crate) async fn run(&self, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.shared.poll_link(self.id, cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(node) = self.node.upgrade() else { return Poll::Ready(()) };
            if let Some(status) = self.shared.take_overflow() {
                node.handle_status(status);
            }
            self.shared.take_unsaved().iter().for_each(|key| node.handle_unsaved(&key.name));
            drop(node);
            work.as_mut().poll(cx)
        })
        .await;
    }

    /// Keeps a connection to one server.
    pub(crate) async fn keep(&self) {
        self.run(self.keep_connecting()).await;
    }

    async fn keep_connecting(&self) {
        let runtime = Runtime::current();
        let mut delays = Delays::new(self);
        loop {
            let (failure, was_up) = self.connect_once(runtime).await;
            if was_up {
                delays = Delays::new(self);
            }
            self.handle_down(&failure);
            runtime.sleep(delays.next()).await;
        }
    }

    /// Reports the end of a connection, or that there is none.
    pub(crate) fn handle_down(&self, failure: &Failure) {
        let Some(node) = self.node.upgrade() else { return };
        let status = self.shared.set_down(self.id, failure.cause());
        for item in self.shared.take_counts(self.id) {
            if let Command::Count(_, count) = item.command {
                count.add(None, &*node);
            }
        }
        if let Some(status) = status {
            node.handle_status(status);
        }
        if self.place.is_some() {
            self.shared.ask_servers();
        }
    }

    /// Connects and works until the connection ends. Returns its end, and whether there was one.
    async fn connect_once(&self, runtime: Runtime) -> (Failure, bool) {
        let timeout = self.shared.config.connection_timeout;
        let to = match topology::find(&self.shared.servers, self.place.as_ref(), runtime, timeout).await {
            Ok(to) => to,
            Err(failure) => return (failure, false),
        };
        let mut open = match Session::open(self, runtime, to, timeout).await {
            Ok(session) => Open { session, worker: self },
            Err(failure) => return (failure, false),
        };
        let failure = poll_fn(|cx| match open.session.poll(cx, self) {
            Ok(()) => Poll::Pending,
            Err(failure) => Poll::Ready(failure),
        })
        .await;
        (failure, open.session.was_up)
    }
}

/// A session that gives back what was not answered, also if its task ends because its server has left the Redis Cluster.
struct Open<'a> {
    session: Session,
    worker: &'a Worker,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.worker.node.upgrade() {
            self.session.publisher.end((&self.worker.shared, self.worker.id), &*node);
        }
    }
}

/// The connections to a server.
struct Session {
    runtime: Runtime,
    to: Endpoint,
    publisher: Publisher,
    subscriber: Subscriber,
    reader: Reading,
    tick: Sleep,
    is_up: bool,
    was_up: bool,
}

/// The connection for streams, if one is watched.
enum Reading {
    Nothing,
    Opening(Pin<Box<dyn Future<Output = Result<Reader, Failure>> + Send>>),
    Open(Box<Reader>),
}

impl Reading {
    fn is_ready(&self) -> bool {
        match self {
            Reading::Nothing => true,
            Reading::Opening(_) => false,
            Reading::Open(reader) => reader.is_ready(),
        }
    }
}

impl Session {
    async fn open(
        worker: &Worker,
        runtime: Runtime,
        to: Endpoint,
        timeout: Duration,
    ) -> Result<Session, Failure> {
        let connection = Connection::open(runtime, &to, timeout).await?;
        let channels = worker.shared.begin(worker.id);
        let subscriber = Subscriber::open(runtime, &to, &worker.shared.config, channels).await?;
        let mut session = Session {
            runtime,
            to,
            publisher: Publisher::new(connection),
            subscriber,
            reader: Reading::Nothing,
            tick: runtime.sleep(interval(worker)),
            is_up: false,
            was_up: false,
        };
        session.read_streams(worker);
        Ok(session)
    }

    /// Begins to read the streams that are watched now.
    fn read_streams(&mut self, worker: &Worker) {
        let streams = worker.shared.streams(worker.id);
        self.reader = match streams.is_empty() {
            true => Reading::Nothing,
            false => Reading::Opening(Box::pin(Reader::open(
                self.runtime,
                self.to.clone(),
                worker.shared.config.clone(),
                streams,
            ))),
        };
    }

    fn poll(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Result<(), Failure> {
        // It is asked for again at the next wake-up.
        let Some(node) = worker.node.upgrade() else { return Ok(()) };
        // First, so that nobody counts as silent whose answer has come while this task was held up.
        self.work(cx, worker, &*node)?;
        let mut is_checked = false;
        while self.tick.as_mut().poll(cx).is_ready() {
            let timeout = worker.shared.config.response_timeout;
            self.publisher.check(cx, timeout, &self.to)?;
            self.subscriber.check(timeout, &self.to)?;
            if let Reading::Open(reader) = &self.reader {
                reader.check(timeout, &self.to)?;
            }
            self.tick = self.runtime.sleep(interval(worker));
            is_checked = true;
        }
        // What was sent to check the connections has to leave.
        if is_checked { self.work(cx, worker, &*node) } else { Ok(()) }
    }

    fn work(&mut self, cx: &mut Context<'_>, worker: &Worker, node: &dyn Node) -> Result<(), Failure> {
        let shared = (&*worker.shared, worker.id);
        let changed = self.subscriber.poll_changes(cx, shared, &self.to)?;
        // In a Redis Cluster, channels came from another server.
        self.is_up &= !changed.has_more;
        if changed.has_streams {
            self.read_streams(worker);
        }
        self.subscriber.poll(cx, shared, &self.to, node)?;
        self.poll_reader(cx, worker, node)?;
        if !self.is_up && self.subscriber.is_ready() && self.reader.is_ready() {
            (self.is_up, self.was_up) = (true, true);
            if let Some(status) = worker.shared.set_up(worker.id) {
                node.handle_status(status);
            }
        }
        // Answers to a request come to channels of this node, so that it must not leave before these are subscribed to.
        self.publisher.poll(cx, shared, self.is_up, &self.to, node)
    }

    fn poll_reader(&mut self, cx: &mut Context<'_>, worker: &Worker, node: &dyn Node) -> Result<(), Failure> {
        if let Reading::Opening(open) = &mut self.reader {
            let Poll::Ready(reader) = open.as_mut().poll(cx) else { return Ok(()) };
            self.reader = Reading::Open(Box::new(reader?));
        }
        match &mut self.reader {
            Reading::Open(reader) => reader.poll(cx, &worker.shared, &self.to, node),
            _ => Ok(()),
        }
    }
}

/// How often a connection is checked.
fn interval(worker: &Worker) -> Duration {
    worker.shared.config.response_timeout / 2
}

/// The delays between attempts to connect: each twice the one before, and random by half, so that the nodes of a cluster
/// do not all come back at once.
struct Delays {
    next: Duration,
    max: Duration,
}

impl Delays {
    fn new(worker: &Worker) -> Delays {
        let config = &worker.shared.config;
        Delays { next: config.reconnection_delay, max: config.reconnection_delay_max }
    }

    fn next(&mut self) -> Duration {
        let delay = self.next.min(self.max);
        self.next = delay.saturating_mul(2);
        let mut random = [0; 2];
        // Without randomness it is the longest.
        let _ = getrandom::fill(&mut random);
        delay - delay / 2 * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
    }
}
