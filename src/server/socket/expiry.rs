//! Credentials that expire, and are renewed.

use super::{Inner, Socket, Stage};
use crate::engine::timers::{Expire, Key, Notify};
use crate::error::{ConnectError, DisconnectReason};
use crate::extract::Context;
use crate::guard::{BoxFuture, Guarded};
use crate::handler::spawn;
use crate::payload::Args;
use crate::renewal::AUTH_RENEW;
use crate::server::Engine;
use crate::server::functions::Renewal;
use crate::server::middleware::{ask, panicked};
use crate::server::patience::Patience;
use sockeye_core::Time;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The shortest time for which credentials can be renewed. Without it, a client whose credentials have already expired
/// could be asked again and again without a pause.
const SHORTEST: Duration = Duration::from_secs(1);

/// The end of the credentials of a socket.
#[derive(Clone, Copy)]
pub(super) struct Expiry {
    pub(super) at: Time,
    /// The entry in the table of deadlines, of a socket that has been let in.
    timer: Option<Key>,
}

impl Socket {
    /// Notes that the client is authenticated for `time`, counted from now. After that, the socket is disconnected from
    /// its namespace ([`AuthExpired`](DisconnectReason::AuthExpired); the client sees `io server disconnect`), or first
    /// [asked for new credentials](crate::Namespace::renew_auth) if the namespace wants that. Default: no limit.
    ///
    /// It may be called in a middleware, and at any time later: the last call counts. [`Duration::MAX`] is no limit,
    /// [`Duration::ZERO`] means that the credentials have expired already. Does nothing if the socket is disconnected.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sockeye::extract::Auth;
    /// use sockeye::{Server, Socket};
    /// use std::time::{Duration, SystemTime};
    ///
    /// #[derive(Deserialize)]
    /// struct Login {
    ///     token: String,
    /// }
    ///
    /// # struct Claims { exp: u64 }
    /// # fn verify(token: &str) -> Result<Claims, &'static str> { Ok(Claims { exp: token.len() as u64 }) }
    /// let io = Server::new();
    /// io.middleware(async |socket: Socket, Auth(login): Auth<Login>| {
    ///     let claims = verify(&login.token)?; // by a crate for JSON Web Tokens
    ///     let end = SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp);
    ///     let rest = end.duration_since(SystemTime::now()).map_err(|_| "the token has expired")?;
    ///     socket.authenticated_for(rest);
    ///     Ok(())
    /// });
    /// ```
    pub fn authenticated_for(&self, time: Duration) {
        let Some(engine) = self.0.namespace.0.engine.upgrade() else { return };
        self.authenticated_until(engine.now() + time);
    }

    pub(super) fn authenticated_until(&self, at: Time) {
        let Some(engine) = self.0.namespace.0.engine.upgrade() else { return };
        let mut state = self.0.state.lock();
        if state.stage == Stage::Ended {
            return;
        }
        let replaced = state.more().expiry.replace(Expiry { at, timer: None });
        drop(state);
        disarm(&engine, replaced);
        self.arm_expiry(&engine);
    }

    /// Puts the end of the credentials into the table of deadlines, once the socket has been let in.
    fn arm_expiry(&self, engine: &Engine) {
        let mut state = self.0.state.lock();
        if state.stage != Stage::Entered {
            return;
        }
        let Some(expiry) = state.expiry() else { return };
        let this: Arc<dyn Expire> = self.0.clone();
        let (key, driver) = engine.timers.insert(expiry.at, Notify::Object(Arc::downgrade(&this)));
        let replaced = expiry.timer.replace(key);
        drop(state);
        if let Some(replaced) = replaced {
            engine.timers.remove(replaced);
        }
        driver.into_iter().for_each(Waker::wake);
    }

    /// Does the same for credentials that were noted before the socket was let in.
    pub(super) fn begin_expiry(&self) {
        if let Some(engine) = self.0.namespace.0.engine.upgrade() {
            self.arm_expiry(&engine);
        }
    }

    /// Removes the entry in the table of deadlines at the end of the socket.
    pub(super) fn end_expiry(&self, expiry: Option<Expiry>) {
        if let Some(engine) = expiry.and_then(|_| self.0.namespace.0.engine.upgrade()) {
            disarm(&engine, expiry);
        }
    }

    fn is_expired(&self, now: Time) -> bool {
        self.0.state.lock().expiry().is_some_and(|expiry| expiry.at <= now)
    }

    /// Asks the client, whose credentials have expired, for new ones, and disconnects it if they do not arrive or are
    /// refused.
    async fn renew(&self, now: Time, renewal: &Renewal) {
        let asked = self.timeout(renewal.grace).emit_with_ack(AUTH_RENEW, ());
        let mut patience = Patience::new(&self.0.namespace, renewal.grace);
        let renewed = patience.limit(async {
            let auth: Args = asked.await.map_err(|error| ConnectError::new(error.to_string()))?;
            Guarded(self.ask_about(renewal, &auth)?)
                .await
                .map_err(|panic| panicked(self, AUTH_RENEW, &panic))?
        });
        let renewed = renewed.await.and_then(|time| match time >= SHORTEST {
            true => Ok(time),
            false => Err(ConnectError::new("renew_auth returned a time of less than a second")),
        });
        match renewed {
            Ok(time) => self.authenticated_for(time),
            Err(error) if self.is_connected() => {
                self.tell_refused(AUTH_RENEW, error.message());
                self.disconnect_expired(now);
            }
            // The client has gone meanwhile.
            Err(_) => {}
        }
    }

    /// Begins the decision about new credentials.
    fn ask_about(
        &self,
        renewal: &Renewal,
        auth: &Args,
    ) -> Result<BoxFuture<Result<Duration, ConnectError>>, ConnectError> {
        let args = auth.0.as_args();
        ask(&*renewal.decide, &Context { args: Some(&args), ..Context::new(self, AUTH_RENEW) })
    }

    /// Disconnects the socket whose credentials had expired at `now`, unless they were renewed meanwhile.
    fn disconnect_expired(&self, now: Time) {
        if self.is_expired(now) {
            self.leave_namespace(&DisconnectReason::AuthExpired);
        }
    }
}

fn disarm(engine: &Engine, expiry: Option<Expiry>) {
    if let Some(key) = expiry.and_then(|expiry| expiry.timer) {
        engine.timers.remove(key);
    }
}

impl Expire for Inner {
    fn expire(self: Arc<Self>, now: Time) {
        let socket = Socket(self);
        // A later call may have moved it.
        if !socket.is_connected() || !socket.is_expired(now) {
            return;
        }
        if socket.0.namespace.0.functions.renewal().is_none() {
            return socket.disconnect_expired(now);
        }
        let asking = socket.clone();
        let renewed = async move {
            if let Some(renewal) = asking.0.namespace.0.functions.renewal() {
                asking.renew(now, renewal).await;
            }
            Ok(())
        };
        spawn(&socket, AUTH_RENEW, Box::pin(renewed));
    }
}
