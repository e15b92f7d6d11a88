//! A server that echoes, mounted in nothing: a clock that the test moves, and bodies that come when the test lets them.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use sockeye::Time;
use sockeye::engine::{self, Application, CloseReason, Message, Session};
use sockeye::host::{Host, Peer, Runtime};
use sockeye::mount::{Body, Outcome, answer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A clock in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct Clock(pub(crate) Arc<AtomicU64>);

impl Clock {
    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }
}

impl Runtime for Clock {
    fn now(&self) -> Time {
        Time::from_origin(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {
        unreachable!("no handler waits");
    }
}

/// Echoes, and remembers why sessions ended and what was known of their requests.
#[derive(Clone, Default)]
pub(crate) struct Echo(pub(crate) Arc<Mutex<Log>>);

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) ends: Vec<CloseReason>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) secure: bool,
    pub(crate) extension: Option<u8>,
    pub(crate) messages: usize,
}

impl Application for Echo {
    type State = ();

    fn on_open(&self, session: &Session<Self>) {
        let mut log = self.0.lock().unwrap();
        log.address = session.handshake().address();
        log.secure = session.handshake().secure();
        log.extension = session.handshake().extension::<u8>().copied();
    }

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        self.0.lock().unwrap().messages += 1;
        session.settle();
        session.send(message).unwrap();
    }

    fn on_close(&self, _: &Session<Self>, reason: &CloseReason) {
        self.0.lock().unwrap().ends.push(reason.clone());
    }
}

pub(crate) type Outcomes = Outcome<engine::Server<Echo>>;

pub(crate) struct World {
    pub(crate) server: engine::Server<Echo>,
    pub(crate) clock: Clock,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(engine::Server::builder(Echo::default()))
    }

    pub(crate) fn with(builder: engine::Builder<Echo>) -> World {
        World::at(Clock::default(), builder)
    }

    pub(crate) fn at(clock: Clock, builder: engine::Builder<Echo>) -> World {
        let server = builder.build();
        server.attach(Arc::new(clock.clone()));
        World { server, clock }
    }

    pub(crate) fn request(&self, request: Request<Feed>) -> Pin<Box<dyn Future<Output = Outcomes> + Send>> {
        Box::pin(answer(self.server.clone(), request, Peer::default()))
    }

    pub(crate) fn get(&self, query: &str) -> Pin<Box<dyn Future<Output = Outcomes> + Send>> {
        self.request(Request::get(uri(query)).body(Feed::default()).unwrap())
    }

    pub(crate) fn post(&self, sid: &str, body: Feed) -> Pin<Box<dyn Future<Output = Outcomes> + Send>> {
        self.request(Request::post(uri(&format!("polling&sid={sid}"))).body(body).unwrap())
    }

    /// Opens a session over polling.
    pub(crate) fn open(&self) -> String {
        let response = response(now(&mut self.get("polling")));
        assert_eq!(response.status(), StatusCode::OK);
        let open = text(response);
        let (_, rest) = open.split_once(r#""sid":""#).unwrap();
        rest[..20].to_owned()
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.clock.advance(time);
        self.server.handle_timeout(self.clock.now());
    }

    pub(crate) fn ends(&self) -> Vec<CloseReason> {
        self.server.application().0.lock().unwrap().ends.clone()
    }
}

pub(crate) fn uri(query: &str) -> String {
    format!("/engine.io/?EIO=4&transport={query}")
}

/// A body that comes when the test lets it.
#[derive(Clone, Default)]
pub(crate) struct Feed(pub(crate) Arc<Mutex<Fed>>);

#[derive(Default)]
pub(crate) struct Fed {
    pub(crate) pieces: Vec<&'static [u8]>,
    pub(crate) open: bool,
}

impl Feed {
    pub(crate) fn whole(pieces: &[&'static [u8]]) -> Feed {
        Feed(Arc::new(Mutex::new(Fed { pieces: pieces.to_vec(), open: false })))
    }

    pub(crate) fn endless(pieces: &[&'static [u8]]) -> Feed {
        Feed(Arc::new(Mutex::new(Fed { pieces: pieces.to_vec(), open: true })))
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut fed = self.0.lock().unwrap();
        if !fed.pieces.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(fed.pieces.remove(0))))));
        }
        if fed.open { Poll::Pending } else { Poll::Ready(None) }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
pub(crate) struct Woken(pub(crate) AtomicU64);

impl Woken {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The outcome, which has to be there.
#[track_caller]
pub(crate) fn now<F: Future + Unpin>(future: &mut F) -> F::Output {
    match poll(future) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("there is no outcome yet"),
    }
}

pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
pub(crate) fn response(outcome: Outcomes) -> Response<Body> {
    match outcome {
        Outcome::Response(response) => response,
        Outcome::Upgrade(..) => panic!("not a response"),
    }
}

pub(crate) fn text(response: Response<Body>) -> String {
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) =
        Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()))
    {
        all.extend_from_slice(frame.data_ref().unwrap());
    }
    String::from_utf8(all).unwrap()
}
