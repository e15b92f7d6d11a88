//! A world without sockets, threads and waiting: a server, its clients, and a clock that the test moves.
//!
//! Tasks run only when they were woken, and a stream wakes only who found it empty or full before: what a runtime
//! would not notice is not noticed here.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, clippy::expect_used)]

mod client;
mod dice;
mod link;
mod net;
mod polling;

pub use client::{Client, Incoming};
pub use dice::Dice;
pub use link::{NETWORK, Pipe};
use link::{ServerEnd, WeakPipe};
pub use net::{Down, Net};
pub use polling::Polling;

use sockeye::{DisconnectReason, Server, Socket};
use sockeye_core::Time;
use sockeye_core::drive::Drive;
use sockeye_core::host::{Host, Peer, Runtime};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak as RcWeak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The streams on which things take time.
type Links = Arc<Mutex<Vec<WeakPipe>>>;

/// A server and everything around it: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Sim(Rc<World>);

struct World {
    server: Server,
    machine: Arc<Machine>,
    timer: Arc<Token>,
    armed: RefCell<Option<Time>>,
    clients: RefCell<Vec<RcWeak<RefCell<dyn Receiver>>>>,
    links: Links,
    /// Other threads use the server, too: what follows from a change may be seen later than the change.
    threads: Cell<bool>,
}

/// A client that works by itself.
pub trait Receiver {
    /// Takes in what arrived, and answers it. Whether there was something.
    fn receive(&mut self) -> bool;
}

/// The clock and the tasks.
pub struct Machine(Mutex<Inside>);

#[derive(Default)]
pub struct Inside {
    now: Duration,
    tasks: HashMap<usize, (Task, Waker)>,
    /// Tasks that were spawned, not counted when one is being polled.
    alive: usize,
    ready: VecDeque<usize>,
    next: usize,
    /// Who waits for a time to come, each with a number.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
    /// Chooses which of the ready tasks is next; without it, they run in the order in which they were woken.
    chance: Option<Dice>,
}

impl Inside {
    fn next_ready(&mut self) -> Option<usize> {
        match &mut self.chance {
            Some(dice) => self.ready.remove(dice.below(self.ready.len())),
            None => self.ready.pop_front(),
        }
    }
}

/// A place in the ready list.
struct Token {
    id: usize,
    machine: Weak<Machine>,
    woken: AtomicBool,
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(machine) = self.machine.upgrade() {
            machine.lock().ready.push_back(self.id);
        }
    }
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic under this lock")
    }

    fn is_ready(&self) -> bool {
        !self.lock().ready.is_empty()
    }

    /// Wakes those whose time has come.
    fn wake_sleepers(&self) {
        let due = {
            let inside = &mut *self.lock();
            let later = inside.sleepers.split_off(&(inside.now, u64::MAX));
            std::mem::replace(&mut inside.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Polls one task that is ready. Whether there was one.
    fn step(&self) -> bool {
        let (id, taken) = {
            let mut inside = self.lock();
            let Some(id) = inside.next_ready() else { return false };
            let taken = inside.tasks.remove(&id);
            (id, taken)
        };
        let Some((mut task, waker)) = taken else { return true };
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.lock().tasks.insert(id, (task, waker));
        } else {
            self.lock().alive -= 1;
        }
        true
    }
}

pub struct Handle(Weak<Machine>);

impl Runtime for Handle {
    fn now(&self) -> Time {
        Time::from_origin(self.0.upgrade().map_or(Duration::ZERO, |machine| machine.lock().now))
    }

    fn spawn(&self, future: Task) {
        let Some(machine) = self.0.upgrade() else { return };
        let mut inside = machine.lock();
        inside.next += 1;
        inside.alive += 1;
        let id = inside.next;
        let waker = Token { id, machine: self.0.clone(), woken: AtomicBool::new(false) };
        inside.tasks.insert(id, (future, Arc::new(waker).into()));
        inside.ready.push_back(id);
    }

    fn workers(&self) -> usize {
        2
    }
}

/// What handlers can have of a simulation: its clock, and the other tasks.
#[derive(Clone)]
pub struct Others(Weak<Machine>);

impl Others {
    /// Lets so many other tasks have a turn, as if they ran on other threads while the caller goes on.
    pub fn run(&self, turns: usize) {
        let Some(machine) = self.0.upgrade() else { return };
        for _ in 0..turns {
            machine.step();
        }
    }

    /// Waits for a time to pass.
    pub async fn sleep(&self, time: Duration) {
        net::Sleep::after(time, self.0.clone()).await;
    }
}

impl Sim {
    /// Drives `server` from now on.
    pub fn new(server: Server) -> Sim {
        let machine = Arc::new(Machine(Mutex::default()));
        server.attach(Arc::new(Handle(Arc::downgrade(&machine))));
        let timer = Token { id: 0, machine: Arc::downgrade(&machine), woken: AtomicBool::new(false) };
        let timer = Arc::new(timer);
        server.set_timer_waker(&timer.clone().into());
        // A driver that begins looks at the deadlines that there are.
        let armed = RefCell::new(server.next_deadline());
        Sim(Rc::new(World {
            server,
            machine,
            timer,
            armed,
            clients: RefCell::default(),
            links: Links::default(),
            threads: Cell::new(false),
        }))
    }

    pub fn server(&self) -> &Server {
        &self.0.server
    }

    pub fn now(&self) -> Time {
        Time::from_origin(self.0.machine.lock().now)
    }

    fn runtime(&self) -> Handle {
        Handle(Arc::downgrade(&self.0.machine))
    }

    /// From now on chance says which of the tasks that are ready is next.
    pub fn shuffle(&self, dice: Dice) {
        self.0.machine.lock().chance = Some(dice);
    }

    pub fn others(&self) -> Others {
        Others(Arc::downgrade(&self.0.machine))
    }

    /// Lets one task have a turn, if one is ready.
    pub fn step(&self) {
        self.0.machine.step();
    }

    /// Lets other threads use the server meanwhile.
    pub fn share(&self) {
        self.0.threads.set(true);
    }

    /// A new byte stream to the server.
    pub fn dial(&self) -> Pipe {
        self.serve(Pipe::default())
    }

    /// A new byte stream from a given address.
    pub fn dial_from(&self, address: SocketAddr) -> Pipe {
        self.serve_for(Pipe::default(), Peer::from(address))
    }

    /// A new byte stream on which things take time.
    pub fn dial_in_weather(&self, dice: Dice) -> Pipe {
        let pipe = self.serve(Pipe::in_weather(dice, Arc::downgrade(&self.0.machine)));
        self.links().push(pipe.downgrade());
        pipe
    }

    /// A network for a real client.
    pub fn net(&self, dice: Dice) -> Arc<Net> {
        Net::new(self.server().clone(), Arc::downgrade(&self.0.machine), self.0.links.clone(), dice)
    }

    fn links(&self) -> MutexGuard<'_, Vec<WeakPipe>> {
        self.0.links.lock().expect("no panic under this lock")
    }

    /// Lets a client work by itself, as long as it lives.
    pub fn adopt(&self, client: &Rc<RefCell<impl Receiver + 'static>>) {
        let receiver: Rc<RefCell<dyn Receiver>> = client.clone();
        self.0.clients.borrow_mut().push(Rc::downgrade(&receiver));
    }

    fn serve(&self, pipe: Pipe) -> Pipe {
        self.serve_for(pipe, Peer::default())
    }

    fn serve_for(&self, pipe: Pipe, peer: Peer) -> Pipe {
        let connection = self.server().accept(self.now(), peer);
        let drive = Drive::new(ServerEnd(pipe.clone()), connection, Arc::new(self.runtime()));
        self.runtime().spawn(Box::pin(async move {
            let _ = drive.await;
        }));
        pipe
    }

    /// A WebSocket client with an open session.
    pub fn client(&self) -> Client {
        Client::open(self, "EIO=4&transport=websocket")
    }

    /// A WebSocket client in the main namespace.
    pub fn connect(&self) -> Client {
        let mut client = self.client();
        client.id = client.join("/");
        client
    }

    /// A polling client with an open session.
    pub fn polling(&self) -> Polling {
        Polling::open(self)
    }

    /// Runs `future` as a task; its result can be asked for.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Awaited<T> {
        let result = Awaited(Arc::new(Mutex::new(None)));
        let slot = result.0.clone();
        self.runtime().spawn(Box::pin(async move {
            let value = future.await;
            *slot.lock().expect("not poisoned") = Some(value);
        }));
        self.run();
        result
    }

    /// Runs until nothing is ready.
    pub fn run(&self) {
        for _ in 0..1_000_000 {
            if self.0.machine.step() || self.serve_clients() || self.0.machine.is_ready() {
                continue;
            }
            self.check_timer();
            if self.server().next_deadline().is_none_or(|at| at > self.now()) {
                return;
            }
            self.server().handle_timeout(self.now());
        }
        panic!("something never rests");
    }

    /// A deadline that moved closer is to be told, or a driver would sleep through it.
    fn check_timer(&self) {
        let next = self.server().next_deadline();
        let told = self.0.timer.woken.swap(false, Ordering::SeqCst);
        let before = self.0.armed.replace(next);
        let closer = next.is_some_and(|next| before.is_none_or(|before| next < before));
        assert!(told || !closer || self.0.threads.get(), "the driver was not told of an earlier deadline");
    }

    /// Clients take in what arrived, and answer pings by themselves. Whether one did anything.
    fn serve_clients(&self) -> bool {
        let mut clients = self.0.clients.borrow_mut();
        clients.retain(|client| client.strong_count() > 0);
        let living: Vec<_> = clients.iter().filter_map(RcWeak::upgrade).collect();
        drop(clients);
        living.iter().filter(|client| client.borrow_mut().receive()).count() > 0
    }

    /// Lets time pass; what is due meanwhile happens at its own time.
    pub fn advance(&self, time: Duration) {
        let end = self.now() + time;
        self.run();
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.set_now(at.max(self.now()));
            self.deliver();
            // More may be due than one turn's work.
            let is_done = || {
                self.server().handle_timeout(self.now());
                self.server().next_deadline().is_none_or(|next| next > self.now())
            };
            let passed = (0..1000).any(|_| is_done());
            assert!(passed || self.0.threads.get(), "a deadline stays");
            self.run();
        }
        self.set_now(end);
        self.run();
    }

    /// When something happens by itself.
    fn next_event(&self) -> Option<Time> {
        let mut links = self.links();
        links.retain(|link| link.strong_count() > 0);
        let arrivals = links.iter().filter_map(Pipe::upgrade).filter_map(|pipe| pipe.next_arrival());
        let wakes = self.0.machine.lock().sleepers.keys().next().map(|(at, _)| *at);
        arrivals.chain(wakes).map(Time::from_origin).chain(self.server().next_deadline()).min()
    }

    /// Lets arrive what is due.
    fn deliver(&self) {
        let links: Vec<_> = self.links().iter().filter_map(Pipe::upgrade).collect();
        let now = self.now().since_origin();
        links.iter().for_each(|link| link.deliver(now));
        self.0.machine.wake_sleepers();
    }

    fn set_now(&self, now: Time) {
        self.0.machine.lock().now = now.since_origin();
    }

    /// How many wait for a time to come.
    pub fn sleepers(&self) -> usize {
        self.0.machine.lock().sleepers.len()
    }

    /// How many tasks there are, connections among them.
    pub fn tasks(&self) -> usize {
        self.0.machine.lock().alive
    }
}

/// The result of a task, once it is there.
pub struct Awaited<T>(Arc<Mutex<Option<T>>>);

impl<T> Awaited<T> {
    pub fn take(&self) -> Option<T> {
        self.0.lock().expect("not poisoned").take()
    }
}

/// Runs `f` on a thread of its own and fails if it does not end: what it does would block for ever.
pub fn ends<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(f());
    });
    match result.recv_timeout(Duration::from_secs(10)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("blocked for ever"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("no result"),
        },
    }
}

/// What was called, in order.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    pub fn note(&self, call: impl Into<String>) {
        self.0.lock().expect("not poisoned").push(call.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

/// Counts how often it is dropped.
#[derive(Clone, Default)]
pub struct Drops(Arc<std::sync::atomic::AtomicUsize>);

impl Drops {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Something that is counted.
    pub fn guard(&self) -> DropGuard {
        DropGuard(self.clone())
    }
}

pub struct DropGuard(Drops);

impl DropGuard {
    /// Makes a closure hold it.
    pub fn hold(&self) {}
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Something to wait for that the test opens.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub fn open(&self) {
        let mut gate = self.0.lock().expect("not poisoned");
        gate.0 = true;
        gate.1.drain(..).for_each(Waker::wake);
    }

    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            let mut gate = self.0.lock().expect("not poisoned");
            gate.1.push(cx.waker().clone());
            if gate.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Notes the reason for which each socket of the main namespace is disconnected.
pub fn disconnect_reasons(server: &Server) -> Arc<Mutex<Vec<String>>> {
    let reasons = Arc::<Mutex<Vec<_>>>::default();
    let noted = reasons.clone();
    server.on_connect(move |socket: Socket| {
        let noted = noted.clone();
        socket.on_disconnect(move |reason: DisconnectReason| {
            noted.lock().expect("nothing panics here").push(reason.to_string());
            async {}
        });
        async {}
    });
    reasons
}
