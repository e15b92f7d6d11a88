//! What outlives the future that serves, and many such futures of one server.

use crate::client::{PATIENCE, Polling, WebSocket};
use crate::endings::{expect_reason, reporting};
use sockeye::Server;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A word that another thread says to a future.
#[derive(Clone, Default)]
struct Word(Arc<Mutex<(bool, Option<Waker>)>>);

impl Word {
    fn say(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.0 = true;
        inner.1.take().into_iter().for_each(Waker::wake);
    }

    async fn heard(&self) {
        poll_fn(|cx| {
            let mut inner = self.0.lock().unwrap();
            inner.1 = Some(cx.waker().clone());
            if inner.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a task to its end: it serves until it is told to stop, and later closes the server.
type Run = fn(Box<dyn FnOnce(Serve, Spawn) -> Task + Send>);
/// Serves a server.
type Serve = fn(Server, TcpListener) -> Task;
/// Starts a task, which can be waited for.
type Spawn = fn(Task) -> Task;

fn on_tokio(task: Box<dyn FnOnce(Serve, Spawn) -> Task + Send>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(task(
        |server, listener| Box::pin(async { crate::start::serve_on_tokio(server, listener).await.unwrap() }),
        |task| Box::pin(async { tokio::spawn(task).await.unwrap() }),
    ));
}

fn on_smol(task: Box<dyn FnOnce(Serve, Spawn) -> Task + Send>) {
    smol::block_on(task(
        |server, listener| Box::pin(async { sockeye::runtime::smol::serve(server, listener).await.unwrap() }),
        |task| Box::pin(smol::spawn(task)),
    ));
}

/// A server whose serving was stopped, as a `select!` does; its runtime goes on.
struct Stopped {
    stop: Word,
    close: Word,
    ended: mpsc::Receiver<&'static str>,
}

fn start(run: Run, server: Server) -> (SocketAddr, Stopped) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, close) = (Word::default(), Word::default());
    let (tell, ended) = mpsc::channel();
    let words = (stop.clone(), close.clone());
    std::thread::spawn(move || {
        run(Box::new(move |serve, _| {
            Box::pin(async move {
                let serving = serve(server.clone(), listener);
                smol::future::or(serving, words.0.heard()).await;
                tell.send("stopped").unwrap();
                words.1.heard().await;
                server.close().await;
                tell.send("closed").unwrap();
            })
        }));
    });
    (address, Stopped { stop, close, ended })
}

impl Stopped {
    #[track_caller]
    fn stop(&self) {
        self.stop.say();
        assert_eq!(self.ended.recv_timeout(PATIENCE), Ok("stopped"));
    }

    #[track_caller]
    fn close(&self) {
        self.close.say();
        assert_eq!(self.ended.recv_timeout(2 * PATIENCE), Ok("closed"));
    }
}

/// Clients that fall silent are noticed, and the others served.
fn time_goes_on(run: Run) {
    let builder =
        Server::builder().ping_interval(Duration::from_millis(300)).ping_timeout(Duration::from_secs(3));
    let (io, reasons) = reporting(builder);
    let (address, serving) = start(run, io.clone());
    let (mut talking, _silent) = (WebSocket::connect(address), WebSocket::connect(address));
    let _polling = Polling::connect(address);
    serving.stop();
    for _ in 0..2 {
        expect_reason_while_it_talks(&reasons, &mut talking);
    }
    assert_eq!(io.clients_count(), 1);
    serving.close();
}

fn expect_reason_while_it_talks(reasons: &mpsc::Receiver<String>, talking: &mut WebSocket) {
    loop {
        talking.expect("2");
        talking.send("3");
        if let Ok(reason) = reasons.try_recv() {
            return assert_eq!(reason, "ping timeout");
        }
    }
}

/// Closing tells the clients, and ends.
fn closing_ends(run: Run) {
    let (io, reasons) = reporting(Server::builder());
    let (address, serving) = start(run, io);
    let (mut client, mut polling) = (WebSocket::connect(address), Polling::connect(address));
    polling.begin_poll();
    serving.stop();
    let closing = std::thread::spawn(move || serving.close());
    client.expect_end(Some(1001));
    assert_eq!(polling.end_poll(), "1");
    for _ in 0..2 {
        expect_reason(&reasons, "server shutting down");
    }
    closing.join().unwrap();
}

/// Many listeners, each in a task of its own, all end with their server.
fn many_listeners_end(run: Run) {
    const LISTENERS: usize = 70;
    let (tell, ended) = mpsc::channel();
    let io = Server::new();
    let server = io.clone();
    std::thread::spawn(move || {
        run(Box::new(move |serve, spawn| {
            Box::pin(async move {
                let listeners = [(); LISTENERS].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
                let last = listeners[LISTENERS - 1].local_addr().unwrap();
                let mut serving = listeners.map(|listener| Some(spawn(serve(server.clone(), listener))));
                poll_fn(|cx| {
                    for one in &mut serving {
                        if one.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
                            *one = None;
                        }
                    }
                    let _ = tell.send(Some(last));
                    if serving.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                let _ = tell.send(None);
            })
        }));
    });
    let last = ended.recv_timeout(PATIENCE).unwrap().unwrap();
    // Once this one serves, the others do.
    let mut client = WebSocket::connect(last);
    io.begin_close();
    client.expect_end(Some(1001));
    while ended.recv_timeout(PATIENCE).expect("all end").is_some() {}
}

#[test]
fn a_server_s_time_goes_on_when_its_serving_is_dropped_on_tokio() {
    time_goes_on(on_tokio);
}

#[test]
fn a_server_s_time_goes_on_when_its_serving_is_dropped_on_smol() {
    time_goes_on(on_smol);
}

#[test]
fn a_server_whose_serving_was_dropped_closes_on_tokio() {
    closing_ends(on_tokio);
}

#[test]
fn a_server_whose_serving_was_dropped_closes_on_smol() {
    closing_ends(on_smol);
}

#[test]
fn many_listeners_of_one_server_end_with_it_on_tokio() {
    many_listeners_end(on_tokio);
}

#[test]
fn many_listeners_of_one_server_end_with_it_on_smol() {
    many_listeners_end(on_smol);
}

#[test]
fn serving_on_smol_ends_with_an_error_when_the_executor_is_dropped() {
    use sockeye::runtime::smol::Smol;
    for is_serving in [false, true] {
        let executor = Arc::new(smol::Executor::new());
        let runtime = Smol::on(&executor);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut serving = pin!(runtime.serve(Server::new(), listener));
        if is_serving {
            assert!(smol::block_on(smol::future::poll_once(&mut serving)).is_none());
        }
        drop(executor);
        let error = smol::block_on(serving).unwrap_err();
        assert_eq!(error.to_string(), "the executor was dropped");
    }
}

#[test]
fn a_listener_on_smol_is_closed_with_the_future_that_serves_it() {
    let executor = Arc::new(smol::Executor::new());
    let runtime = sockeye::runtime::smol::Smol::on(&executor);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = Box::pin(runtime.serve(Server::new(), listener));
    assert!(smol::block_on(smol::future::poll_once(&mut serving)).is_none());
    while executor.try_tick() {}
    drop(serving);
    // Nothing runs the executor meanwhile.
    TcpListener::bind(address).unwrap();
}
