//! What a real client needs: streams to the server, in weather, and somebody who waits.

use super::link::{ClientEnd, Fuse, Pipe, ServerEnd, WeakPipe};
use super::{Dice, Handle, Links, Machine, Task};
use sockeye::Server;
use sockeye_core::Time;
use sockeye_core::drive::{Drive, Unattended};
use sockeye_core::host::{Connector, Destination, Host, Outgoing, Peer, Runtime};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

/// How a network fails that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Nobody listens.
    Refused,
    /// Nobody answers.
    Silent,
}

/// The network of one client.
pub struct Net {
    server: Server,
    handle: Handle,
    links: Links,
    inside: Mutex<Inside>,
}

struct Inside {
    dice: Dice,
    pipes: Vec<WeakPipe>,
    down: Option<Down>,
    /// What ends one of the streams.
    fuse: Option<Fuse>,
    /// Streams that are opened before may fail.
    disturbed_until: Duration,
}

impl Net {
    pub(super) fn new(server: Server, machine: Weak<Machine>, links: Links, dice: Dice) -> Arc<Net> {
        let inside =
            Inside { dice, pipes: Vec::new(), down: None, fuse: None, disturbed_until: Duration::ZERO };
        Arc::new(Net { server, handle: Handle(machine), links, inside: Mutex::new(inside) })
    }

    /// The streams that are there.
    pub fn pipes(&self) -> Vec<Pipe> {
        let mut inside = self.inside.lock().expect("no panic under this lock");
        inside.pipes.retain(|pipe| pipe.strong_count() > 0);
        inside.pipes.iter().filter_map(Pipe::upgrade).collect()
    }

    /// Lets one stream end after this number of bytes on all of them together, or none any more. Whether one has ended.
    pub fn set_fuse(&self, bytes: Option<usize>) -> bool {
        let fuse = bytes.map(Fuse::new);
        self.pipes().iter().for_each(|pipe| pipe.set_fuse(fuse.clone()));
        let mut inside = self.inside.lock().expect("no panic under this lock");
        std::mem::replace(&mut inside.fuse, fuse).is_some_and(|fuse| fuse.is_burnt())
    }

    /// From now on no stream can be opened, or they can again.
    pub fn set_down(&self, down: Option<Down>) {
        self.inside.lock().expect("no panic under this lock").down = down;
    }

    /// What happens now may still be felt by streams that are opened within this time.
    pub fn disturb(&self, time: Duration) {
        let until = self.handle.now().since_origin() + time;
        let mut inside = self.inside.lock().expect("no panic under this lock");
        inside.disturbed_until = inside.disturbed_until.max(until);
    }

    pub fn is_down(&self) -> bool {
        self.inside.lock().expect("no panic under this lock").down.is_some()
    }

    /// Whether what happened may still cost a session its life that begins now.
    pub fn is_harmed(&self) -> bool {
        let now = self.handle.now().since_origin();
        let is_disturbed = {
            let inside = self.inside.lock().expect("no panic under this lock");
            inside.down.is_some() || now <= inside.disturbed_until
        };
        is_disturbed || self.pipes().iter().any(|pipe| pipe.lock().harmed)
    }
}

impl Runtime for Net {
    fn now(&self) -> Time {
        self.handle.now()
    }

    fn spawn(&self, future: Task) {
        self.handle.spawn(future);
    }
}

impl Connector for Net {
    fn connect(self: Arc<Self>, to: Destination, mut protocol: Box<dyn Outgoing>) {
        let inside = &mut *self.inside.lock().expect("no panic under this lock");
        if let Some(down) = inside.down {
            let now = self.now();
            let (at, error) = match down {
                Down::Refused => (now, io::ErrorKind::ConnectionRefused),
                Down::Silent => (now + to.timeout, io::ErrorKind::TimedOut),
            };
            inside.disturbed_until = inside.disturbed_until.max(at.since_origin());
            let wait = Sleep { machine: self.handle.0.clone(), at: at.since_origin(), id: None };
            return self.spawn(Box::pin(async move {
                wait.await;
                protocol.handle_failed(at, &error.into());
            }));
        }
        let pipe = Pipe::in_weather(inside.dice.fork(), self.handle.0.clone());
        self.links.lock().expect("no panic under this lock").push(pipe.downgrade());
        pipe.set_fuse(inside.fuse.clone());
        inside.pipes.push(pipe.downgrade());
        let runtime = Arc::new(Handle(self.handle.0.clone()));
        let connection = self.server.accept(self.now(), Peer::default());
        let server = Drive::new(ServerEnd(pipe.clone()), connection, runtime.clone());
        self.spawn(Box::pin(Unattended(server)));
        self.spawn(Box::pin(Unattended(Drive::new(ClientEnd::new(pipe), protocol, runtime))));
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        assert!(deadline > self.now(), "a deadline stays");
        Box::pin(Sleep { machine: self.handle.0.clone(), at: deadline.since_origin(), id: None })
    }
}

/// Ends when its time has come.
pub(super) struct Sleep {
    machine: Weak<Machine>,
    at: Duration,
    id: Option<u64>,
}

impl Sleep {
    pub(super) fn after(time: Duration, machine: Weak<Machine>) -> Sleep {
        let now = Handle(machine.clone()).now().since_origin();
        Sleep { machine, at: now + time, id: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(machine) = self.machine.upgrade() else { return Poll::Pending };
        let mut inside = machine.lock();
        if inside.now >= self.at {
            return Poll::Ready(());
        }
        inside.slept += 1;
        let id = *self.id.get_or_insert(inside.slept);
        let replaced = inside.sleepers.insert((self.at, id), cx.waker().clone());
        drop(inside);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(machine), Some(id)) = (self.machine.upgrade(), self.id) {
            let removed = machine.lock().sleepers.remove(&(self.at, id));
            drop(removed);
        }
    }
}
