//! Functions as handlers: their parameters are extracted, their futures polled, their panics caught.

use crate::Socket;
use crate::error::EmitError;
use crate::extract::{Context, ExtractError};
use crate::function::{NonBorrowingFn, Parameters};
use crate::guard::{BoxFuture, Guarded, catch};
use crate::log::Span;
use crate::observe::HandlerFailure;
use crate::payload::Payload;
use crate::payload::sealed::Encode;
use smol_str::SmolStr;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

/// A function that handles events: an `async` function or closure of up to eight parameters, each of which
/// [can be extracted](crate::extract::Extract).
///
/// The return value is the acknowledgement, if the client wants one: any [`Payload`]. A `Result` is acknowledged with
/// what it holds:
///
/// | return value | acknowledgement |
/// |---|---|
/// | `Ok(value)` | `value` |
/// | `Err(error)` of a type of your own, which is serializable | `error`: choose a form that the client can tell from `value` |
/// | `Err(HandlerError::ack(value))` | `value`: [`HandlerError::ack`](crate::HandlerError::ack) is for a handler that also uses `?` |
/// | `Err(error)` of [`HandlerError`](crate::HandlerError) otherwise, into which `?` turns any other error; or of another error of this library, such as [`EmitError`] and [`AckError`](crate::AckError) | none: the error is logged, and the client times out |
///
/// If the client wants no acknowledgement, an error of your own is logged as well, at `DEBUG`. The type decides, so a
/// `Result` inside of another value, even of another `Result`, is an ordinary enum: `Ok(Err(1))` is acknowledged with
/// `{ Err: 1 }`.
///
/// An `async` closure must not capture anything, because its future may outlive the call. Use a plain closure
/// that clones what it needs into the future, or store it in the server as [`State`](crate::extract::State).
///
/// ```
/// use sockeye::extract::Data;
/// use sockeye::{HandlerError, Server, Socket};
/// use std::sync::Arc;
///
/// // A text that is no number is logged, and the client times out.
/// async fn parse(Data(text): Data<String>) -> Result<i64, HandlerError> {
///     Ok(text.parse()?)
/// }
///
/// /// The client's acknowledgement is `{ error: "there is no user 7" }`.
/// #[derive(serde::Serialize)]
/// struct Problem {
///     error: String,
/// }
///
/// async fn name(Data(user): Data<u64>) -> Result<&'static str, Problem> {
///     match user {
///         1 => Ok("Ann"),
///         _ => Err(Problem { error: format!("there is no user {user}") }),
///     }
/// }
///
/// let greeting = Arc::new(String::from("hello"));
/// let io = Server::new();
/// io.on_connect(move |socket: Socket| {
///     let greeting = greeting.clone();
///     async move {
///         socket.emit("greeting", &*greeting)?;
///         socket.on("parse", parse);
///         socket.on("name", name);
///         Ok::<_, HandlerError>(())
///     }
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event handler",
    label = "not a function of up to eight parameters",
    note = "a handler is an `async` function or closure: `async |socket: Socket, Data(text): Data<String>| {{ .. }}`",
    note = "it has at most eight parameters: take several arguments of an event as one tuple, `Data((a, b))`"
)]
pub trait Handler<Parameters, S = Socket>: Send + Sync + 'static {
    /// Extracts the parameters and makes the future.
    #[doc(hidden)]
    fn call(&self, context: &Context<'_, S>) -> Result<BoxFuture<Result<(), EmitError>>, ExtractError>;
}

/// The return value of a handler.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`, because it is not serializable",
    label = "returns `{Self}`",
    note = "what a handler returns is the acknowledgement: add `#[derive(serde::Serialize)]` to its type, or return nothing",
    note = "both types of a `Result` have to be serializable: `HandlerError` is, and `?` turns any error into it"
)]
pub trait Return: Payload {}

#[diagnostic::do_not_recommend]
impl<T: Payload> Return for T {}

/// A socket of either side, as handlers use it.
pub trait AnySocket: Acknowledge + Clone + 'static {
    /// Runs the rest of a handler in the background.
    fn spawn(&self, future: impl Future + Send + 'static);

    /// Returns the span of the log for the call of a handler.
    fn span(&self, event: &str) -> Span;

    /// Logs a failure to handle an event, and passes it to the observer.
    fn log_failure(&self, event: &str, failure: HandlerFailure<'_>);

    /// Passes a failure to the application's functions, which may acknowledge the event by `ack`. Returns why that was not
    /// sent.
    fn ask_about(&self, event: &str, failure: HandlerFailure<'_>, ack: Option<u64>) -> Option<EmitError>;

    /// Tells of a failure to handle an event, whose acknowledgement `ack` nothing else sends. The caller must hold no lock.
    #[cold]
    fn tell_failure(&self, event: &str, failure: HandlerFailure<'_>, ack: Option<u64>) {
        self.log_failure(event, failure);
        if let Some(error) = self.ask_about(event, failure, ack) {
            self.log_failure(event, HandlerFailure::NotSent(&error));
        }
    }
}

/// The part of a socket that does not depend on its side: it sends acknowledgements.
pub trait Acknowledge: Send + Sync {
    /// Acknowledges an event.
    ///
    /// # Errors
    /// If the socket is gone, or the answer cannot be sent.
    fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError>;
}

impl<F, P, S> Handler<P, S> for F
where
    F: NonBorrowingFn<P>,
    F::Output: Future<Output: Return> + Send + 'static,
    P: Parameters<S>,
    S: AnySocket,
{
    fn call(&self, context: &Context<'_, S>) -> Result<BoxFuture<Result<(), EmitError>>, ExtractError> {
        let parameters = P::extract(context)?;
        let ack = context.take_ack().map(|id| (context.socket.clone(), id));
        let future = NonBorrowingFn::call(self, parameters);
        Ok(Box::pin(async move {
            let answer = future.await;
            finish(ack, &answer)
        }))
    }
}

/// A handler with the types of its parameters erased.
pub(crate) trait AnyHandler<S>: Send + Sync {
    fn call(&self, context: &Context<'_, S>) -> Result<BoxFuture<Result<(), EmitError>>, ExtractError>;
}

struct Erased<F, P, S>(F, PhantomData<fn(P, S)>);

impl<F: Handler<P, S>, P, S> AnyHandler<S> for Erased<F, P, S> {
    fn call(&self, context: &Context<'_, S>) -> Result<BoxFuture<Result<(), EmitError>>, ExtractError> {
        self.0.call(context)
    }
}

/// A stored handler. One that captures nothing needs no memory and no reference count.
#[derive(Clone)]
pub(crate) enum Kept<S: 'static> {
    Plain(&'static dyn AnyHandler<S>),
    Capturing(Arc<dyn AnyHandler<S>>),
}

impl<S: 'static> Kept<S> {
    pub(crate) fn new<P: 'static>(handler: impl Handler<P, S>) -> Kept<S> {
        fn keep<S, F: AnyHandler<S> + 'static>(handler: F) -> Kept<S> {
            match size_of::<F>() == 0 && !std::mem::needs_drop::<F>() {
                // Leaking a value without size leaks no memory.
                true => Kept::Plain(Box::leak(Box::new(handler))),
                false => Kept::Capturing(Arc::new(handler)),
            }
        }
        keep(Erased::<_, P, S>(handler, PhantomData))
    }
}

impl<S> Deref for Kept<S> {
    type Target = dyn AnyHandler<S>;

    fn deref(&self) -> &Self::Target {
        match self {
            Kept::Plain(handler) => *handler,
            Kept::Capturing(handler) => &**handler,
        }
    }
}

/// Acknowledges with the return value of a handler.
///
/// # Errors
/// If it is an `Err` of which the client does not learn: because the error is not for it, or because it wants no
/// acknowledgement or has gone. Also if the answer cannot be sent.
pub(crate) fn finish(ack: Option<(impl AnySocket, u64)>, answer: &impl Payload) -> Result<(), EmitError> {
    match ack {
        Some((socket, id)) => match socket.acknowledge(id, answer) {
            // A client that has gone, or is closed because it does not read, is no failure of the handler.
            Err(EmitError::Disconnected | EmitError::SlowConsumer { .. }) => crate::payload::check(answer),
            sent => sent,
        },
        None => crate::payload::check(answer),
    }
}

/// Calls a handler and polls its future once, in place; if it has to wait, the runtime continues it.
///
/// No lock is held meanwhile. A panic ends this call of the handler, and nothing else.
pub(crate) fn run<S: AnySocket>(handler: &dyn AnyHandler<S>, context: &Context<'_, S>) {
    let Context { socket, event, .. } = *context;
    let span = socket.span(event);
    let _inside = span.enter();
    let wanted = context.ack.get();
    // Outside of the closure, so that it is not dropped while a panic unwinds.
    let mut future = None;
    let called = catch(|| {
        let future = future.insert(handler.call(context)?);
        Ok::<_, ExtractError>(future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())))
    });
    match called {
        Ok(Ok(Poll::Ready(Ok(())))) => {}
        Ok(Ok(Poll::Pending)) => {
            let (socket, event, ack) = (socket.clone(), event.into(), context.unsent_ack(wanted));
            let spawn = |future| {
                socket.spawn(Rest { future: Guarded(future), socket: socket.clone(), event, ack, span })
            };
            future.map(spawn);
        }
        Ok(Ok(Poll::Ready(Err(error)))) => {
            socket.tell_failure(event, HandlerFailure::of(&error), context.unsent_ack(wanted));
        }
        Ok(Err(error)) => {
            socket.tell_failure(event, HandlerFailure::NotCalled(&error), context.unsent_ack(wanted));
        }
        Err(panic) => {
            socket.tell_failure(event, HandlerFailure::Panicked(panic.message()), context.unsent_ack(wanted));
        }
    }
}

/// Polls a future once, and passes it to the runtime if it has to wait. Its failure is that of a handler of `event`.
pub(crate) fn drive<S: AnySocket>(
    socket: &S,
    event: &str,
    span: Span,
    future: BoxFuture<Result<(), EmitError>>,
) {
    let mut rest =
        Rest { future: Guarded(future), socket: socket.clone(), event: event.into(), ack: None, span };
    let mut context = task::Context::from_waker(Waker::noop());
    if Pin::new(&mut rest).poll(&mut context).is_pending() {
        socket.spawn(rest);
    }
}

/// Passes a future to the runtime. Its failure is that of a handler of `event`.
pub(crate) fn spawn<S: AnySocket>(socket: &S, event: &str, future: BoxFuture<Result<(), EmitError>>) {
    let span = socket.span(event);
    socket.spawn(Rest {
        future: Guarded(future),
        socket: socket.clone(),
        event: event.into(),
        ack: None,
        span,
    });
}

/// The rest of the call of a handler that has to wait.
struct Rest<S> {
    future: Guarded<Result<(), EmitError>>,
    socket: S,
    event: SmolStr,
    /// The acknowledgement that the handler sends, and nothing else if it fails.
    ack: Option<u64>,
    span: Span,
}

impl<S> Unpin for Rest<S> {}

impl<S: AnySocket> Future for Rest<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let _inside = self.span.enter();
        let Poll::Ready(done) = Pin::new(&mut self.future).poll(cx) else { return Poll::Pending };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.socket.tell_failure(&self.event, HandlerFailure::of(&error), self.ack),
            Err(panic) => {
                self.socket.tell_failure(&self.event, HandlerFailure::Panicked(panic.message()), self.ack);
            }
        }
        Poll::Ready(())
    }
}
