//! Functions as handlers: their parameters are extracted, their futures polled, their panics caught.

use crate::Socket;
use crate::error::EmitError;
use crate::extract::{Context, ExtractError};
use crate::function::{NonBorrowingFn, Parameters};
use crate::guard::{BoxFuture, Panic, catch};
use crate::log::Span;
use crate::observe::HandlerFailure;
use crate::payload::Payload;
use crate::payload::sealed::Encode;
use crate::pool;
use smol_str::SmolStr;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker, ready};

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
    /// Extracts the parameters, makes the future, and polls it once.
    #[doc(hidden)]
    fn start(&self, context: &Context<'_, S>) -> Started<S>;
}

/// The outcome of a handler's first poll.
#[allow(missing_debug_implementations)]
pub enum Started<S> {
    /// It is over.
    Done(Outcome),
    /// It has to wait.
    Waiting(BoxCall<S>),
    /// A parameter cannot be extracted.
    NotCalled(ExtractError),
    /// It panicked.
    Panicked(Panic),
}

/// The outcome of a handler that is over: whether its return value was acknowledged, or needs no acknowledgement.
// The error has a box, so that a success fits into a register: `benches/count ack16`.
pub(crate) type Outcome = Result<(), Box<EmitError>>;

/// A call of a handler that has to wait.
pub(crate) type BoxCall<S> = Pin<Box<dyn Call<S>>>;

/// The future of a handler, and what is done with its return value.
pub trait Call<S>: Send {
    /// Polls the future. When it is ready, acknowledges `ack` with the return value.
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>, socket: &S, ack: Option<u64>) -> Poll<Outcome>;
}

// An `Option`, so that the future of the next call can be put into the same memory.
impl<S: AnySocket, F: Future<Output: Return> + Send + 'static> Call<S> for Option<F> {
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>, socket: &S, ack: Option<u64>) -> Poll<Outcome> {
        let future = self.as_pin_mut().expect("a call has its future until it is recycled");
        let answer = ready!(future.poll(cx));
        Poll::Ready(finish(ack.map(|id| (socket, id)), &answer))
    }
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
    fn start(&self, context: &Context<'_, S>) -> Started<S> {
        let wanted = context.ack.get();
        // Outside of the closure, so that the future is not dropped while a panic unwinds.
        let mut memory: Pin<Box<Option<F::Output>>> = pool::take_call().unwrap_or_else(|| Box::pin(None));
        // Not returned from the closure, because each move of it takes time: `benches/count ack16`.
        let mut outcome = Started::Done(Ok(()));
        let call = || {
            match P::apply(self, context) {
                Ok(future) => memory.set(Some(future)),
                Err(error) => {
                    outcome = Started::NotCalled(error);
                    return Poll::Ready(());
                }
            }
            let mut cx = task::Context::from_waker(Waker::noop());
            match memory.as_mut().poll(&mut cx, context.socket, context.unsent_ack(wanted)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(failed) => outcome = Started::Done(failed),
            }
            Poll::Ready(())
        };
        match catch(call) {
            Ok(Poll::Pending) => return Started::Waiting(memory),
            Ok(Poll::Ready(())) => {}
            Err(panic) => outcome = Started::Panicked(panic),
        }
        memory.set(None);
        pool::put_call(memory);
        outcome
    }
}

/// A handler with the types of its parameters erased.
pub(crate) trait AnyHandler<S>: Send + Sync {
    fn start(&self, context: &Context<'_, S>) -> Started<S>;
}

struct Erased<F, P, S>(F, PhantomData<fn(P, S)>);

impl<F: Handler<P, S>, P, S> AnyHandler<S> for Erased<F, P, S> {
    fn start(&self, context: &Context<'_, S>) -> Started<S> {
        self.0.start(context)
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
pub(crate) fn finish(ack: Option<(&impl AnySocket, u64)>, answer: &impl Payload) -> Outcome {
    if let Some((socket, id)) = ack {
        match socket.acknowledge(id, answer) {
            Ok(()) => return Ok(()),
            // A client that has gone, or is closed because it does not read, is no failure of the handler.
            Err(EmitError::Disconnected | EmitError::SlowConsumer { .. }) => {}
            Err(error) => return Err(Box::new(error)),
        }
    }
    crate::payload::check(answer).map_err(Box::new)
}

/// Calls a handler and polls its future once, in place; if it has to wait, the runtime continues it.
///
/// No lock is held meanwhile. A panic ends this call of the handler, and nothing else.
pub(crate) fn run<S: AnySocket>(handler: &dyn AnyHandler<S>, context: &Context<'_, S>) {
    let Context { socket, event, .. } = *context;
    let span = socket.span(event);
    let _inside = span.enter();
    let wanted = context.ack.get();
    match handler.start(context) {
        Started::Done(Ok(())) => {}
        Started::Done(Err(error)) => {
            socket.tell_failure(event, HandlerFailure::of(&error), context.unsent_ack(wanted));
        }
        Started::Waiting(call) => {
            let (event, ack) = (event.into(), context.unsent_ack(wanted));
            socket.spawn(Rest { work: Work::Call(call), socket: socket.clone(), event, ack, span });
        }
        Started::NotCalled(error) => {
            socket.tell_failure(event, HandlerFailure::NotCalled(&error), context.unsent_ack(wanted));
        }
        Started::Panicked(panic) => {
            socket.tell_failure(event, HandlerFailure::Panicked(panic.message()), context.unsent_ack(wanted));
        }
    }
}

/// Polls a future once, and passes it to the runtime if it has to wait. Its failure is that of a handler of `event`.
pub(crate) fn drive<S: AnySocket>(socket: &S, event: &str, span: Span, future: BoxFuture<Outcome>) {
    let mut rest =
        Rest { work: Work::Other(future), socket: socket.clone(), event: event.into(), ack: None, span };
    let mut context = task::Context::from_waker(Waker::noop());
    if Pin::new(&mut rest).poll(&mut context).is_pending() {
        socket.spawn(rest);
    }
}

/// Passes a future to the runtime. Its failure is that of a handler of `event`.
pub(crate) fn spawn<S: AnySocket>(socket: &S, event: &str, future: BoxFuture<Outcome>) {
    let span = socket.span(event);
    socket.spawn(Rest {
        work: Work::Other(future),
        socket: socket.clone(),
        event: event.into(),
        ack: None,
        span,
    });
}

/// A future that has to wait.
enum Work<S> {
    Call(BoxCall<S>),
    Other(BoxFuture<Outcome>),
}

impl<S> Work<S> {
    /// Polls the future. It also completes if it panics.
    fn poll(
        &mut self,
        cx: &mut task::Context<'_>,
        socket: &S,
        ack: Option<u64>,
    ) -> Poll<Result<Outcome, Panic>> {
        let polled = catch(|| match self {
            Work::Call(call) => call.as_mut().poll(cx, socket, ack),
            Work::Other(future) => future.as_mut().poll(cx),
        });
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// The rest of the call of a handler that has to wait.
struct Rest<S> {
    work: Work<S>,
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
        let Rest { work, socket, event, ack, span } = &mut *self;
        let _inside = span.enter();
        match ready!(work.poll(cx, socket, *ack)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => socket.tell_failure(event, HandlerFailure::of(&error), *ack),
            Err(panic) => socket.tell_failure(event, HandlerFailure::Panicked(panic.message()), *ack),
        }
        Poll::Ready(())
    }
}
