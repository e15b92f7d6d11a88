//! A client of the server under test.

use super::inbox::{Change, Inbox, Line, State};
use super::network::Network;
use super::server::within;
use super::stage::{Blocking, Failure, Mode, Stage};
use crate::client::{
    Client, ClientAckError, ClientAckFuture, ClientConnectError, ClientDisconnectReason, ClientSocket,
    Received,
};
use crate::engine::Transport;
use crate::payload::Payload;
use crate::pending::{self, Answer};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The time in which nothing may arrive at a client that expects nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A client of a [`TestServer`](super::TestServer) in one namespace: the real [`Client`], with methods that expect what
/// arrives.
///
/// Events wait here until they are expected, in any order. The event [`auth:renew`](crate::AUTH_RENEW) waits here as well,
/// but the client has answered it with its `auth` already. To answer otherwise, give its [`socket`](TestClient::socket) a
/// handler; one that takes an [`AckSender`](crate::extract::AckSender) and drops it does not answer.
///
/// Once the last value of a client is dropped, the client closes its connection, as a browser does that leaves the page.
pub struct TestClient<M: Mode = Blocking> {
    stage: Arc<Stage>,
    tab: Arc<Tab>,
    socket: ClientSocket,
    inbox: Inbox,
    mode: PhantomData<fn() -> M>,
}

/// The parts of a client that its namespaces share.
pub(super) struct Tab {
    pub(super) number: usize,
    pub(super) client: Client,
    pub(super) network: Arc<Network>,
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.client.close();
    }
}

impl<M: Mode> TestClient<M> {
    pub(super) fn new(stage: Arc<Stage>, tab: Arc<Tab>, socket: ClientSocket, inbox: Inbox) -> Self {
        TestClient { stage, tab, socket, inbox, mode: PhantomData }
    }

    /// Returns the real socket, for everything that this type does not have: handlers, volatile events, further settings.
    ///
    /// Its messages leave when the test next waits.
    pub fn socket(&self) -> &ClientSocket {
        &self.socket
    }

    /// Returns the socket's id, which the server knows it by.
    ///
    /// # Panics
    /// If it is not connected.
    #[track_caller]
    pub fn id(&self) -> String {
        match self.socket.id() {
            Some(id) => id,
            None => panic!("{}", self.failure("is not connected, so it has no id").0),
        }
    }

    /// Returns the transport in use.
    ///
    /// # Panics
    /// If there is no connection.
    #[track_caller]
    pub fn transport(&self) -> Transport {
        match self.socket.transport() {
            Some(transport) => transport,
            None => panic!("{}", self.failure("has no connection").0),
        }
    }

    /// Returns whether it is connected to its namespace.
    pub fn is_connected(&self) -> bool {
        self.socket.is_connected()
    }

    // The connection.

    /// Connects to another namespace, over the same connection.
    ///
    /// # Panics
    /// If that is refused, or takes longer than the [limit](super::TestServer::limit).
    #[track_caller]
    pub fn connect(&self, namespace: &str) -> M::Output<'_, TestClient<M>> {
        let socket = self.tab.client.socket(namespace);
        let inbox = Inbox::new(&socket);
        let other = TestClient::new(self.stage.clone(), self.tab.clone(), socket, inbox);
        M::run(&self.stage, async move {
            other.begin().await?;
            Ok(other)
        })
    }

    pub(super) async fn begin(&self) -> Result<(), Failure> {
        let connected = self.connected().await?;
        connected.map_err(|error| {
            let data = match &error {
                ClientConnectError::Refused { data: Some(data), .. } => format!(" ({data})"),
                _ => String::new(),
            };
            self.failure(&format!("cannot connect: {error}{data}"))
        })?;
        self.stage.ground.settle().await;
        self.inbox
            .look(|state| _ = state.take_change(|change| matches!(change, Change::Connected).then_some(())));
        Ok(())
    }

    pub(super) async fn fail(&self) -> Result<ClientConnectError, Failure> {
        match self.connected().await? {
            Ok(()) => Err(self.failure("is connected, although that must fail")),
            Err(error) => {
                self.tab.client.close();
                self.stage.ground.settle().await;
                Ok(error)
            }
        }
    }

    async fn connected(&self) -> Result<Result<(), ClientConnectError>, Failure> {
        self.socket.connect();
        let connected = within(&self.stage, self.stage.limit(), self.socket.connected()).await;
        connected.ok_or_else(|| self.late("is neither connected nor refused"))
    }

    /// Leaves the namespace, as the application of a client does.
    #[track_caller]
    pub fn disconnect(&self) -> M::Output<'_, ()> {
        self.socket.disconnect();
        self.settle()
    }

    /// Cuts the connection: both sides notice at once. The client opens another one after its
    /// [delay](crate::client::ClientBuilder::reconnection_delay), which is about a second.
    #[track_caller]
    pub fn cut(&self) -> M::Output<'_, ()> {
        self.tab.network.cut();
        self.settle()
    }

    /// Cuts the connection, and lets the client open no other until [`online`](TestClient::online).
    #[track_caller]
    pub fn offline(&self) -> M::Output<'_, ()> {
        self.tab.network.set_offline(true);
        self.cut()
    }

    /// Ends [`offline`](TestClient::offline). The client connects at its next attempt, at most 7.5 s later by default: see
    /// [`expect_connect`](TestClient::expect_connect).
    pub fn online(&self) {
        self.tab.network.set_offline(false);
    }

    /// Lets no byte arrive any more, in either direction, as if a cable were pulled out: neither side notices, until it waits
    /// in vain.
    pub fn stall(&self) {
        self.tab.network.change(|weather| weather.stalled = true);
    }

    /// Ends [`stall`](TestClient::stall): the bytes that were held up arrive.
    #[track_caller]
    pub fn resume(&self) -> M::Output<'_, ()> {
        self.tab.network.change(|weather| weather.stalled = false);
        self.settle()
    }

    /// Sets the time that bytes need from the client to the server, and back.
    pub fn set_latency(&self, latency: Duration) {
        self.tab.network.change(|weather| weather.latency = latency);
    }

    // Sending.

    /// Sends an event, and lets the server handle it. The arguments are any [`Payload`]: a tuple is several arguments, `()`
    /// is none, any other value is one.
    ///
    /// # Panics
    /// If it cannot be sent, for example because it is too large.
    #[track_caller]
    pub fn emit(&self, event: &str, args: impl Payload) -> M::Output<'_, ()> {
        self.stage.check_idle();
        let sent = self.socket.emit(event, args);
        let failure = sent.err().map(|error| self.failure(&format!("cannot emit {event:?}: {error}")));
        M::run(&self.stage, async {
            self.stage.ground.settle().await;
            failure.map_or(Ok(()), Err)
        })
    }

    /// Sends an event, and returns the server's acknowledgement, read as a `T`: a tuple takes its arguments in order, any
    /// other type the first, and [`Args`](crate::Args) all of them unread.
    ///
    /// # Panics
    /// If there is no acknowledgement within the [limit](super::TestServer::limit), or it is not a `T`.
    #[track_caller]
    pub fn ask<T: Answer + 'static>(&self, event: &str, args: impl Payload) -> M::Output<'_, T> {
        self.begin_ask(event, args).answer()
    }

    /// Sends an event, and returns the server's acknowledgement, or the error if there is none.
    #[track_caller]
    pub fn try_ask<T: Answer + 'static>(
        &self,
        event: &str,
        args: impl Payload,
    ) -> M::Output<'_, Result<T, ClientAckError>> {
        let answer = self.socket.timeout(self.stage.limit()).emit_with_ack(event, args);
        M::run(&self.stage, async { Ok(answer.await) })
    }

    /// Sends an event without waiting for the acknowledgement: the returned [`Question`] does. Use it if the server asks
    /// something back before it answers.
    ///
    /// ```
    /// # use sockeye::{Server, Socket, testing::TestServer};
    /// let io = Server::new();
    /// io.on("ask me", async |socket: Socket| socket.emit_with_ack::<String>("question", ()).await);
    ///
    /// let test = TestServer::new(io);
    /// let ann = test.connect("/");
    /// let asked = ann.begin_ask::<String>("ask me", ());
    /// ann.expect("question").ack("herring").unwrap();
    /// assert_eq!(asked.answer(), "herring");
    /// ```
    pub fn begin_ask<T: Answer + 'static>(&self, event: &str, args: impl Payload) -> Question<'_, T, M> {
        let answer = self.socket.timeout(self.stage.limit()).emit_with_ack(event, args);
        Question { answer, event: event.to_owned(), client: self }
    }

    // Expecting.

    /// Waits for an event, and returns its arguments, read as a `T`: a tuple takes them in order, any other type the first,
    /// and [`Args`](crate::Args) all of them unread. Events of other names that arrive before stay here.
    ///
    /// # Panics
    /// If there is none within the [limit](super::TestServer::limit), or its arguments are not a `T`. The message tells what
    /// has arrived instead.
    #[track_caller]
    pub fn expect_event<T: Answer + 'static>(&self, event: &str) -> M::Output<'_, T> {
        let event = event.to_owned();
        M::run(&self.stage, async move {
            let received = self.receive(&event).await?;
            pending::read::<T>(received.args().clone()).map_err(|error| {
                let wanted = type_name::<T>();
                self.failure(&format!("received {}, which is not a `{wanted}`: {error}", Line(&received)))
            })
        })
    }

    /// Waits for an event, and returns it: use it to [acknowledge](Received::ack) the event.
    ///
    /// # Panics
    /// If there is none within the [limit](super::TestServer::limit).
    #[track_caller]
    pub fn expect(&self, event: &str) -> M::Output<'_, Received> {
        let event = event.to_owned();
        M::run(&self.stage, async move { self.receive(&event).await })
    }

    async fn receive(&self, event: &str) -> Result<Received, Failure> {
        let received = self.wait(|state| state.take(event)).await;
        received.ok_or_else(|| self.late(&format!("received no event {event:?}")))
    }

    /// Expects that nothing is left that the test has not expected, and that nothing arrives for a second: no event, and no
    /// end of the connection.
    ///
    /// # Panics
    /// If there is something.
    #[track_caller]
    pub fn expect_nothing(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            let late = self.stage.ground.sleep(QUIET);
            match self.inbox.wait(late, |state| (!state.is_empty()).then_some(())).await {
                None => Ok(()),
                Some(()) => Err(self.failure("expected nothing")),
            }
        })
    }

    /// Expects that no event of this name is left that the test has not expected, and that none arrives for a second.
    ///
    /// # Panics
    /// If there is one.
    #[track_caller]
    pub fn expect_no(&self, event: &str) -> M::Output<'_, ()> {
        let event = event.to_owned();
        M::run(&self.stage, async move {
            let late = self.stage.ground.sleep(QUIET);
            match self.inbox.wait(late, |state| state.take(&event)).await {
                None => Ok(()),
                Some(received) => Err(self.failure(&format!("received {}", Line(&received)))),
            }
        })
    }

    /// Waits until the client is disconnected from the namespace, and returns the cause. `reason` is the one that Socket.IO
    /// names, such as `io server disconnect`, `transport close` or `ping timeout`.
    ///
    /// # Panics
    /// If the reason is another one, or if it is still connected after the [limit](super::TestServer::limit).
    #[track_caller]
    pub fn expect_disconnect(&self, reason: &str) -> M::Output<'_, ClientDisconnectReason> {
        let reason = reason.to_owned();
        M::run(&self.stage, async move {
            let pick = |change: &Change| match change {
                Change::Disconnected(reason) => Some(reason.clone()),
                _ => None,
            };
            match self.wait(|state| state.take_change(pick)).await {
                Some(known) if known.to_string() == reason => Ok(known),
                Some(other) => {
                    Err(self.failure(&format!("was disconnected by \"{other}\", not by {reason:?}")))
                }
                None => Err(self.late("was not disconnected")),
            }
        })
    }

    /// Waits until the client is connected again.
    ///
    /// # Panics
    /// If it is not within the [limit](super::TestServer::limit).
    #[track_caller]
    pub fn expect_connect(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            let pick = |change: &Change| matches!(change, Change::Connected).then_some(());
            let connected = self.wait(|state| state.take_change(pick)).await;
            connected.ok_or_else(|| self.late("was not connected again"))?;
            self.stage.ground.settle().await;
            Ok(())
        })
    }

    /// Waits until an attempt to connect again has failed, and returns the error.
    ///
    /// # Panics
    /// If none has within the [limit](super::TestServer::limit).
    #[track_caller]
    pub fn expect_connect_error(&self) -> M::Output<'_, ClientConnectError> {
        M::run(&self.stage, async {
            let pick = |change: &Change| match change {
                Change::Failed(error) => Some(error.clone()),
                _ => None,
            };
            let failed = self.wait(|state| state.take_change(pick)).await;
            failed.ok_or_else(|| self.late("has had no error in connecting"))
        })
    }

    /// Returns the events that have arrived and were not expected yet, in their order.
    #[track_caller]
    pub fn received(&self) -> M::Output<'_, Vec<Received>> {
        M::run(&self.stage, async {
            self.stage.ground.settle().await;
            Ok(self.inbox.look(|state| state.events.drain(..).collect()))
        })
    }

    /// Forgets everything that has arrived by now.
    #[track_caller]
    pub fn clear(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            self.stage.ground.settle().await;
            self.inbox.look(State::clear);
            Ok(())
        })
    }

    #[track_caller]
    fn settle(&self) -> M::Output<'_, ()> {
        M::run(&self.stage, async {
            self.stage.ground.settle().await;
            Ok(())
        })
    }

    async fn wait<T>(&self, look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        self.inbox.wait(self.stage.ground.sleep(self.stage.limit()), look).await
    }

    // Failing.

    fn late(&self, what: &str) -> Failure {
        self.failure(&format!("{what} within {:?}", self.stage.limit()))
    }

    fn failure(&self, what: &str) -> Failure {
        let mut text = format!("client {} in {:?} {what}", self.tab.number, self.socket.namespace());
        self.inbox.look(|state| state.describe(&mut text));
        if !self.socket.is_connected() {
            text.push_str("\n  it is not connected");
        }
        self.stage.describe(&mut text);
        Failure(text)
    }
}

impl<M: Mode> fmt::Debug for TestClient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("number", &self.tab.number)
            .field("namespace", &self.socket.namespace())
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

/// An event whose acknowledgement is awaited, made by [`TestClient::begin_ask`].
#[must_use = "the event is sent in any case; use `emit` if no answer is wanted"]
pub struct Question<'a, T, M: Mode = Blocking> {
    answer: ClientAckFuture<T>,
    event: String,
    client: &'a TestClient<M>,
}

impl<'a, T: Answer + 'static, M: Mode> Question<'a, T, M> {
    /// Waits for the server's acknowledgement, and returns it.
    ///
    /// # Panics
    /// If there is none within the [limit](super::TestServer::limit) of the event, or it is not a `T`.
    #[track_caller]
    pub fn answer(self) -> M::Output<'a, T> {
        M::run(&self.client.stage, self.wait())
    }

    async fn wait(self) -> Result<T, Failure> {
        let Question { answer, event, client } = self;
        answer.await.map_err(|error| match error {
            ClientAckError::Timeout => client.late(&format!("received no acknowledgement of {event:?}")),
            ClientAckError::Decode(error) => {
                let wanted = type_name::<T>();
                client.failure(&format!(
                    "received an acknowledgement of {event:?} that is not a `{wanted}`: {error}"
                ))
            }
            error => client.failure(&format!("received no acknowledgement of {event:?}: {error}")),
        })
    }
}

impl<T, M: Mode> fmt::Debug for Question<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("event", &self.event).finish_non_exhaustive()
    }
}
