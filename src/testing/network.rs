//! The network of one client: streams in memory, which lead to the server under test.

use super::ground::Ground;
use super::ground::Task;
use super::link::{self, Line, Weather};
use super::stage::Stage;
use crate::server::Server;
#[cfg(feature = "http")]
use crate::staged;
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::drive::{Drive, Unattended};
use sockeye_core::host::{Connector, Destination, Host, Outgoing, Peer, Runtime};
#[cfg(feature = "http")]
use std::future::{Future, poll_fn};
use std::io;
#[cfg(feature = "http")]
use std::pin::Pin;
use std::sync::Arc;

pub(super) struct Network {
    server: Server,
    ground: Ground,
    /// The runtime that drives the server.
    runtime: Arc<dyn Runtime>,
    peer: Peer,
    #[cfg(feature = "http")]
    extensions: http::Extensions,
    state: Mutex<State>,
}

struct State {
    weather: Weather,
    offline: bool,
    lines: Vec<Line>,
}

impl Network {
    pub(super) fn new(stage: &Stage, peer: Peer, weather: Weather) -> Network {
        Network {
            server: stage.server.clone(),
            ground: stage.ground.clone(),
            runtime: stage.runtime.clone(),
            peer,
            #[cfg(feature = "http")]
            extensions: http::Extensions::new(),
            state: Mutex::new(State { weather, offline: false, lines: Vec::new() }),
        }
    }

    /// Sets the extensions of the client's requests.
    #[cfg(feature = "http")]
    pub(super) fn with_extensions(mut self, extensions: http::Extensions) -> Network {
        self.extensions = extensions;
        self
    }

    /// Changes the weather of the open streams, and of those that are opened later.
    pub(super) fn change(&self, f: impl FnOnce(&mut Weather)) {
        let state = &mut *self.state.lock();
        f(&mut state.weather);
        state.lines.iter().for_each(|line| line.set_weather(state.weather));
    }

    /// Cuts the open streams.
    pub(super) fn cut(&self) {
        self.state.lock().lines.drain(..).for_each(|line| line.cut());
    }

    /// Sets whether streams can be opened.
    pub(super) fn set_offline(&self, offline: bool) {
        self.state.lock().offline = offline;
    }
}

impl Runtime for Network {
    fn now(&self) -> Time {
        self.ground.now()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        self.ground.enter(f);
    }

    fn spawn(&self, future: Task) {
        self.ground.spawn(future);
    }
}

impl Connector for Network {
    fn connect(self: Arc<Self>, _: Destination, mut protocol: Box<dyn Outgoing>) {
        let state = &mut *self.state.lock();
        if state.offline {
            let ground = self.ground.clone();
            return self.ground.spawn(Box::pin(async move {
                let error =
                    io::Error::new(io::ErrorKind::ConnectionRefused, "the client is offline in this test");
                protocol.handle_failed(ground.now(), &error);
            }));
        }
        let (near, far, line) = link::stream(&self.ground, state.weather);
        state.lines.retain(Line::is_open);
        state.lines.push(line);
        let connection = self.server.accept(self.runtime.now(), self.peer);
        let accepted = Unattended(Drive::new(far, connection, self.runtime.clone()));
        #[cfg(feature = "http")]
        let accepted = {
            let (mut accepted, extensions) = (accepted, self.extensions.clone());
            poll_fn(move |cx| staged::with_extensions(&extensions, || Pin::new(&mut accepted).poll(cx)))
        };
        self.ground.spawn(Box::pin(accepted));
        let opened = Drive::new(near, protocol, self.clone());
        self.ground.spawn(Box::pin(Unattended(opened)));
    }

    fn sleep_until(&self, deadline: Time) -> Task {
        self.ground.sleep_until(deadline)
    }
}
