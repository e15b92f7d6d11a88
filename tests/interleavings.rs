//! What connections of one session do at the same time, step by step: connections are driven by hand, one from within
//! a handler that another one calls, or by a second thread that waits at a chosen place.
#![allow(missing_docs, clippy::unwrap_used)]

use sockeye::drive::{Turn, pump};
use sockeye::host::{Host, Peer, Runtime};
use sockeye::{Server, Socket, StatefulReconnect, Time};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_frame};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Wake, Waker};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock that stands still, and tasks that run when they are told to.
#[derive(Default)]
struct Tasks(Mutex<Vec<Task>>);

impl Runtime for Tasks {
    fn now(&self) -> Time {
        Time::ZERO
    }

    fn spawn(&self, future: Task) {
        self.0.lock().unwrap().push(future);
    }
}

impl Tasks {
    fn run(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap());
        tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        self.0.lock().unwrap().extend(tasks);
    }
}

/// What happens when the last waker of a connection goes, and whether it was woken.
#[derive(Default)]
struct Watch {
    woken: AtomicBool,
    on_drop: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(hook) = self.on_drop.get_mut().unwrap().take() {
            hook();
        }
    }
}

/// A connection of the server, and what is on its stream.
#[derive(Clone)]
struct Line(Arc<Mutex<Wire>>, Arc<Watch>);

struct Wire {
    connection: <Server as Host>::Connection,
    stream: Stream,
    partial: Vec<u8>,
}

#[derive(Default)]
struct Stream {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = self.input.as_slice().read(buf)?;
        self.input.drain(..n);
        Ok(n)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line {
    fn open(server: &Server) -> Line {
        Line::over(server.accept(Time::ZERO, Peer::default()))
    }

    fn over(mut connection: <Server as Host>::Connection) -> Line {
        use sockeye::drive::Protocol;
        let watch = Arc::new(Watch::default());
        connection.set_waker(&watch.clone().into());
        let wire = Wire { connection, stream: Stream::default(), partial: Vec::new() };
        Line(Arc::new(Mutex::new(wire)), watch)
    }

    /// These bytes arrive. Returns those that leave.
    fn turn(&self, bytes: &[u8]) -> Vec<u8> {
        self.turn_at(Time::ZERO, bytes)
    }

    fn turn_at(&self, now: Time, bytes: &[u8]) -> Vec<u8> {
        let Wire { connection, stream, partial } = &mut *self.0.lock().unwrap();
        stream.input.extend_from_slice(bytes);
        loop {
            self.1.woken.store(false, Ordering::SeqCst);
            let turn = pump(now, stream, connection, partial).unwrap();
            if turn != Turn::Again && !self.1.woken.load(Ordering::SeqCst) {
                return std::mem::take(&mut stream.output);
            }
        }
    }

    fn is_woken(&self) -> bool {
        self.1.woken.load(Ordering::SeqCst)
    }

    fn request(&self, text: String) -> String {
        String::from_utf8(self.turn(text.as_bytes())).unwrap()
    }

    fn get(&self, query: &str) -> String {
        self.request(format!("GET /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn post(&self, sid: &str, body: &str) -> String {
        let length = body.len();
        self.request(format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// A line whose probe was answered.
    fn probe(server: &Server, sid: &str) -> Line {
        let line = Line::upgrade(server, sid);
        assert_eq!(line.frames(&["2probe"]), ["3probe"]);
        line
    }

    /// A line that begins an upgrade.
    fn upgrade(server: &Server, sid: &str) -> Line {
        let line = Line::open(server);
        let head = line.request(handshake(sid));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        line
    }

    /// These frames arrive. Returns the texts that leave; a close frame is `close`.
    fn frames(&self, texts: &[&str]) -> Vec<String> {
        let mut bytes = Vec::new();
        for text in texts {
            write_frame(&mut bytes, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        }
        let mut output = self.turn(&bytes);
        let (mut decoder, mut rest) = (Decoder::new(Role::Client, usize::MAX), output.as_mut_slice());
        let mut texts = Vec::new();
        while let Some(message) = decoder.decode(&mut rest).unwrap() {
            texts.push(match message {
                Message::Text(text) => text.into_owned(),
                Message::Close(_) => "close".to_owned(),
                other => panic!("{other:?}"),
            });
        }
        texts
    }
}

/// The request of an upgrade.
fn handshake(sid: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A session over polling, in the main namespace.
fn polling(server: &Server) -> (Line, String) {
    let line = Line::open(server);
    let opened = line.get("");
    let sid = opened.split_once(r#""sid":""#).unwrap().1[..20].to_owned();
    (line, sid)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_default().1
}

/// A server with a hook for the handler of `hold`, and how many sockets joined and left `/b`.
fn holding() -> (Server, Arc<Tasks>, Arc<Hook>, Arc<[AtomicUsize; 2]>) {
    hold_on(Server::new())
}

fn hold_on(server: Server) -> (Server, Arc<Tasks>, Arc<Hook>, Arc<[AtomicUsize; 2]>) {
    let tasks = Arc::new(Tasks::default());
    server.attach(tasks.clone());
    let (hook, counts) = (Arc::new(Hook::default()), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let held = hook.clone();
    server.on_connect(move |socket: Socket| {
        let held = held.clone();
        socket.on("hold", move || {
            held.call();
            async {}
        });
        async {}
    });
    let count = counts.clone();
    server.of("/b").on_connect(move |socket: Socket| {
        count[0].fetch_add(1, Ordering::SeqCst);
        let count = count.clone();
        socket.on_disconnect(move || {
            count[1].fetch_add(1, Ordering::SeqCst);
            async {}
        });
        async {}
    });
    (server, tasks, hook, counts)
}

/// Something to be called once, from within a handler.
#[derive(Default)]
struct Hook(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Hook {
    fn set(&self, f: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(f));
    }

    fn call(&self) {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

fn counts(counts: &[AtomicUsize; 2]) -> [usize; 2] {
    [counts[0].load(Ordering::SeqCst), counts[1].load(Ordering::SeqCst)]
}

/// An upgrade completes while a POST is being handled, and both connections ask for `/b`.
fn connect_twice_at_once(post: impl FnOnce(&Server, &str, &str) -> String) {
    let (server, _tasks, hook, joined) = holding();
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let websocket = Line::probe(&server, &sid);
    let (other, answer) = (websocket.clone(), Arc::new(OnceLock::new()));
    let answered = answer.clone();
    hook.set(move || answered.set(other.frames(&["5", "40/b,"])).unwrap());
    assert_eq!(body(&post(&server, &sid, "42[\"hold\"]\u{1e}40/b,")), "ok");
    // The messages of a session are handled one at a time, those of the POST first.
    assert_eq!(answer.get().unwrap(), &[""; 0]);
    assert!(websocket.is_woken());
    let answers = websocket.frames(&[]);
    assert_eq!(answers.iter().filter(|text| text.starts_with("40/b,{")).count(), 1, "{answers:?}");
    assert_eq!((counts(&joined), server.of("/b").sockets_count()), ([1, 0], 1));
    assert_eq!(server.clients_count(), 1);
    drop(websocket);
    assert_eq!((counts(&joined), server.of("/b").sockets_count()), ([1, 1], 0));
    assert_eq!(server.clients_count(), 0);
}

#[test]
fn two_connections_of_a_session_that_connect_at_once_make_one_socket_that_ends_with_it() {
    connect_twice_at_once(|server, sid, body| Line::open(server).post(sid, body));
}

#[cfg(feature = "http")]
#[test]
fn two_connections_of_a_mounted_session_that_connect_at_once_make_one_socket_that_ends_with_it() {
    use http_body::Body as _;
    use sockeye::mount::{Outcome, answer};
    connect_twice_at_once(|server, sid, body| {
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let request = http::Request::post(target).body(body.to_owned()).unwrap();
        let mut answering = Box::pin(answer(server.clone(), request, Peer::default()));
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Outcome::Response(response)) = answering.as_mut().poll(cx) else {
            panic!("no answer")
        };
        let mut body = Box::pin(response.into_body());
        let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) else { panic!("no body") };
        let data = frame.into_data().unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        format!("\r\n\r\n{text}")
    });
}

/// A session whose handlers are behind, so that a POST waits, and whose pong is overdue, while the timer has not fired.
fn overdue() -> (Server, [Line; 2], String, Time) {
    let server = Server::new();
    server.attach(Arc::new(Tasks::default()));
    server.on_connect(async |socket: Socket| socket.on("work", std::future::pending::<()>));
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let poll = Line::open(&server);
    let query = format!("&sid={sid}");
    assert!(poll.get(&query).contains("40{"));
    assert_eq!(line.post(&sid, &["42[\"work\"]"; 256].join("\x1e")), "", "handlers are behind");
    assert_eq!(poll.get(&query), "");
    ping(&server, &poll);
    (server, [line, poll], sid, Time::ZERO + std::time::Duration::from_secs(46))
}

#[test]
fn a_poll_that_arrives_before_the_timer_of_an_overdue_pong_has_fired_keeps_the_session() {
    let (server, [_post, poll], sid, late) = overdue();
    let request = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8(poll.turn_at(late, request.as_bytes())).unwrap();
    assert_eq!(body(&answer), "2");
    assert_eq!(server.clients_count(), 1);
}

#[test]
fn an_upgrade_that_begins_before_the_timer_of_an_overdue_pong_has_fired_keeps_the_session() {
    let (server, [_post, poll], sid, late) = overdue();
    assert_eq!(poll.get(&format!("&sid={sid}")), "");
    let websocket = Line::over(server.accept(late, Peer::default()));
    let head = String::from_utf8(websocket.turn_at(late, handshake(&sid).as_bytes())).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(server.clients_count(), 1);
}

#[test]
fn an_upgrade_that_waits_for_a_post_goes_with_it() {
    let (server, _tasks, hook, _) = holding();
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let websocket = Line::probe(&server, &sid);
    let other = websocket.clone();
    hook.set(move || assert_eq!(other.frames(&["5"]), [""; 0]));
    // The rest of the payload ends the session.
    line.post(&sid, "42[\"hold\"]\u{1e}x");
    assert!(websocket.is_woken());
    assert_eq!(websocket.frames(&[]), ["close"]);
    assert_eq!(server.clients_count(), 0);
}

#[test]
fn messages_behind_an_upgrade_that_waits_are_left_unread() {
    use sockeye::drive::Protocol;
    let (server, _tasks, hook, joined) = holding();
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let websocket = Line::probe(&server, &sid);
    let other = websocket.clone();
    hook.set(move || {
        assert_eq!(other.frames(&["5", "40/b,"]), [""; 0]);
        // A driver may offer bytes although the connection does not want to read.
        let Wire { connection, partial, .. } = &mut *other.0.lock().unwrap();
        assert!(!partial.is_empty() && !connection.wants_read());
        assert_eq!(connection.handle_data(Time::ZERO, partial), 0);
    });
    assert_eq!(body(&line.post(&sid, "42[\"hold\"]")), "ok");
    let answers = websocket.frames(&[]);
    assert!(answers.iter().any(|text| text.starts_with("40/b,{")), "{answers:?}");
    assert_eq!(counts(&joined), [1, 0]);
}

#[test]
fn a_websocket_whose_session_ends_while_its_upgrade_waits_is_closed() {
    for is_probed in [true, false] {
        let (server, _tasks, hook, _) = holding();
        let (line, sid) = polling(&server);
        assert_eq!(body(&line.post(&sid, "40")), "ok");
        let websocket = if is_probed { Line::probe(&server, &sid) } else { Line::upgrade(&server, &sid) };
        let (other, closing) = (websocket.clone(), server.clone());
        hook.set(move || {
            assert_eq!(other.frames(&["5"]), [""; 0]);
            closing.begin_close();
        });
        assert_eq!(body(&line.post(&sid, "42[\"hold\"]")), "ok");
        assert!(websocket.is_woken());
        let told = websocket.frames(&[]);
        assert_eq!(told.last().map(String::as_str), Some("close"), "{told:?}");
        assert!(server.is_closed(), "without that time passes");
    }
}

#[test]
fn a_client_that_is_let_in_on_another_thread_is_not_told_before_its_handler_has_begun() {
    let (server, tasks) = (Server::new(), Arc::new(Tasks::default()));
    server.attach(tasks.clone());
    // The application decides on its second look, which is another thread's.
    server.middleware(async || {
        let mut looks = 0;
        std::future::poll_fn(|_| {
            looks += 1;
            if looks > 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
    });
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    server.on_connect(move || {
        begin.send(()).unwrap();
        ended.lock().unwrap().recv().unwrap();
        async {}
    });
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    // A poll whose connection is gone leaves the session its last waker, which goes with the next poll: while that
    // looks whether there is something for it.
    let first = Line::open(&server);
    assert_eq!(first.get(&format!("&sid={sid}")), "");
    let begun = Mutex::new(begun);
    let accepting = tasks.clone();
    *first.1.on_drop.lock().unwrap() = Some(Box::new(move || {
        std::thread::spawn(move || accepting.run());
        begun.lock().unwrap().recv().unwrap();
    }));
    ping(&server, &first);
    drop(first);
    let second = Line::open(&server);
    assert_eq!(second.get(&format!("&sid={sid}")), "", "the handler has not ended");
    end.send(()).unwrap();
    let begin = std::time::Instant::now();
    while !second.is_woken() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "nobody is told");
        std::thread::yield_now();
    }
    assert!(body(&second.request(String::new())).starts_with("40{"));
}

/// Has the poll that waits on a line answered: by the ping that is due.
fn ping(server: &Server, line: &Line) {
    let due = server.next_deadline().unwrap().max(Time::ZERO + std::time::Duration::from_secs(25));
    server.handle_timeout(due);
    assert_eq!(body(&line.request(String::new())), "2");
}

#[test]
fn a_poll_that_waits_behind_a_cork_is_released_by_an_upgrade_and_the_server_ends() {
    let (server, tasks) = (Server::new(), Arc::new(Tasks::default()));
    server.attach(tasks.clone());
    server.middleware(async || {
        let mut looks = 0;
        std::future::poll_fn(|_| {
            looks += 1;
            if looks > 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
    });
    let hook = Arc::new(Hook::default());
    let corked = hook.clone();
    server.on_connect(move || {
        corked.call();
        async {}
    });
    let (line, sid) = polling(&server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let websocket = Line::probe(&server, &sid);
    let poll = Line::open(&server);
    let (closing, upgrading, waiting) = (server.clone(), websocket.clone(), poll.clone());
    let query = format!("&sid={sid}");
    hook.set(move || {
        assert_eq!(waiting.get(&query), "", "what is sent here is held back");
        assert_eq!(upgrading.frames(&["5"]), [""; 0]);
        assert!(waiting.is_woken());
        assert_eq!(body(&waiting.request(String::new())), "6");
        closing.begin_close();
    });
    tasks.run();
    let told = websocket.frames(&[]);
    assert!(told[0].starts_with("40{") && told[1] == "close", "{told:?}");
    assert!(server.is_closed(), "without that time passes");
}

/// A session that has moved to WebSocket, and its last poll, whose connection had no turn since.
fn upgraded(server: &Server) -> (Line, Line) {
    let (line, sid) = polling(server);
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let poll = Line::open(server);
    assert!(poll.get(&format!("&sid={sid}")).contains("40{"));
    assert_eq!(poll.get(&format!("&sid={sid}")), "");
    let websocket = Line::probe(server, &sid);
    assert_eq!(websocket.frames(&["5"]), [""; 0]);
    (websocket, poll)
}

#[test]
fn a_late_poll_does_not_keep_what_a_turn_has_queued_from_leaving() {
    use sockeye::drive::Protocol;
    let (server, _tasks, hook, _) = holding();
    let (websocket, poll) = upgraded(&server);
    let (sending, late) = (server.clone(), poll.clone());
    hook.set(move || {
        assert_eq!(sending.emit("news", 1).sent, 1);
        late.0.lock().unwrap().connection.set_waker(Waker::noop());
    });
    assert_eq!(websocket.frames(&[r#"42["hold"]"#]), [r#"42["news",1]"#]);
    drop(poll);
}

/// Asserts that a session knows that nothing is left to write, if this happens while a large message is being written.
fn written_although(meanwhile: impl FnOnce(&mut <Server as Host>::Connection, &Line)) {
    use bytes::Buf;
    use sockeye::drive::Protocol;
    let (server, _tasks, ..) = holding();
    let (websocket, poll) = upgraded(&server);
    let socket = server.sockets().remove(0);
    socket.emit("large", "x".repeat(60_000)).unwrap();
    let connection = &mut websocket.0.lock().unwrap().connection;
    connection.handle_wake(Time::ZERO);
    assert!(connection.poll_transmit().unwrap().len() > 60_000);
    meanwhile(connection, &poll);
    let out = connection.poll_transmit().unwrap();
    out.advance(out.len());
    assert!(connection.poll_transmit().is_none());
    assert_eq!(socket.conn().queued_bytes, 0);
    socket.volatile().emit("small", ()).unwrap();
}

#[test]
fn a_late_poll_does_not_keep_the_session_from_learning_that_everything_is_written() {
    written_although(|_, poll| assert_eq!(body(&poll.request(String::new())), "6"));
}

#[test]
fn a_new_waker_does_not_keep_the_session_from_learning_that_everything_is_written() {
    use sockeye::drive::Protocol;
    written_although(|connection, _| {
        let watch = Arc::new(Watch::default());
        connection.set_waker(&watch.clone().into());
        assert!(!watch.woken.load(Ordering::SeqCst), "the stream tells when it can be written");
    });
}

#[test]
fn a_server_is_not_closed_before_its_last_answer_is_written() {
    use sockeye::drive::Protocol;
    let server = Server::new();
    server.attach(Arc::new(Tasks::default()));
    let (line, sid) = polling(&server);
    let woken = Arc::new(Watch::default());
    let closing = server.clone();
    let mut closed = Box::pin(async move { closing.close().await });
    let waker = Waker::from(woken.clone());
    assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut request =
        format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let mut wire = line.0.lock().unwrap();
    wire.connection.handle_data(Time::ZERO, &mut request);
    assert_eq!(server.clients_count(), 0);
    assert!(!server.is_closed() && !woken.woken.load(Ordering::SeqCst), "the goodbye is only queued");
    drop(wire);
    assert_eq!(body(&line.request(String::new())), "1");
    assert!(server.is_closed() && woken.woken.load(Ordering::SeqCst));
}

#[cfg(feature = "http")]
#[test]
fn a_mounted_server_is_not_closed_before_its_last_answer_is_taken() {
    use sockeye::mount::{Outcome, answer};
    let server = Server::new();
    server.attach(Arc::new(Tasks::default()));
    let (_line, sid) = polling(&server);
    let woken = Arc::new(Watch::default());
    let closing = server.clone();
    let mut closed = Box::pin(async move { closing.close().await });
    let waker = Waker::from(woken.clone());
    assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let request = http::Request::get(target).body(String::new()).unwrap();
    let mut answering = Box::pin(answer(server.clone(), request, Peer::default()));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Outcome::Response(response)) = answering.as_mut().poll(cx) else { panic!("no answer") };
    assert!(!server.is_closed() && !woken.woken.load(Ordering::SeqCst), "nobody has taken the goodbye");
    drop(response);
    assert!(server.is_closed() && woken.woken.load(Ordering::SeqCst));
}

/// A server with stateful reconnect, whose handler of `hold` is as in [`holding`].
fn resuming() -> (Server, Arc<Hook>) {
    let server = Server::builder().stateful_reconnect(StatefulReconnect::new()).build();
    let (server, _, hook, _) = hold_on(server);
    (server, hook)
}

/// The request that resumes a session over WebSocket, for a client that has handled `count` messages.
fn resume(sid: &str, count: u64, attempt: u32) -> String {
    handshake(&format!("{sid}&resume={count}&attempt={attempt}"))
}

fn opened(answer: &str) -> String {
    answer.split_once(r#""sid":""#).unwrap().1[..20].to_owned()
}

#[test]
fn a_session_is_resumed_after_the_message_that_its_old_connection_is_handling_and_the_next_is_left() {
    let (server, hook) = resuming();
    let old = Line::open(&server);
    let answer = String::from_utf8_lossy(&old.turn(handshake("&resume=0").as_bytes())).into_owned();
    let sid = opened(&answer);
    assert!(old.frames(&["40"])[0].starts_with("40{"));
    let new = Line::open(&server);
    let (other, request) = (new.clone(), resume(&sid, 1, 1));
    hook.set(move || assert_eq!(other.request(request), "", "it waits"));
    let answers = old.frames(&[r#"420["hold"]"#, r#"421["hold"]"#]);
    assert!(!answers.iter().any(|text| text.starts_with("43")), "nothing more is sent there: {answers:?}");
    assert!(new.is_woken());
    let answer = String::from_utf8_lossy(&new.turn(b"")).into_owned();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains(&sid) && answer.contains(r#""received":2,"#), "{answer}");
    assert!(answer.contains(r#"430[]"#), "{answer}");
    assert_eq!(new.frames(&[r#"421["hold"]"#]), ["431[]"]);
    // The old one concerns the session no more.
    drop(old);
    assert_eq!(new.frames(&[r#"422["hold"]"#]), ["432[]"]);
    assert_eq!(server.clients_count(), 1);
}

#[test]
fn a_session_is_resumed_after_the_message_that_a_post_is_handling_and_its_rest_is_left() {
    let (server, hook) = resuming();
    let (line, poll) = (Line::open(&server), Line::open(&server));
    let sid = opened(&line.get("&resume=0"));
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    assert!(poll.get(&format!("&sid={sid}")).contains("40{"));
    let new = Line::open(&server);
    let (other, request) = (new.clone(), resume(&sid, 1, 1));
    hook.set(move || assert_eq!(other.request(request), "", "it waits"));
    let answer = line.post(&sid, "420[\"hold\"]\u{1e}421[\"hold\"]");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(new.is_woken());
    let answer = String::from_utf8_lossy(&new.turn(b"")).into_owned();
    assert!(answer.contains(&sid) && answer.contains(r#""received":2,"#), "{answer}");
    assert_eq!(new.frames(&[r#"421["hold"]"#]), ["431[]"]);
}

#[test]
fn of_two_requests_that_resume_a_session_the_later_one_gets_it() {
    let (server, hook) = resuming();
    let old = Line::open(&server);
    let sid = opened(&String::from_utf8_lossy(&old.turn(handshake("&resume=0").as_bytes())));
    assert!(old.frames(&["40"])[0].starts_with("40{"));
    let (first, second) = (Line::open(&server), Line::open(&server));
    let (others, id) = ([first.clone(), second.clone()], sid.clone());
    hook.set(move || {
        assert_eq!(others[0].request(resume(&id, 1, 1)), "");
        assert_eq!(others[1].request(resume(&id, 1, 2)), "");
    });
    old.frames(&[r#"42["hold"]"#]);
    assert!(first.is_woken() && second.is_woken());
    let refused = String::from_utf8(first.turn(b"")).unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    let answer = String::from_utf8_lossy(&second.turn(b"")).into_owned();
    assert!(answer.contains(&sid) && answer.contains(r#""received":2,"#), "{answer}");
    drop(first);
    assert_eq!(second.frames(&[r#"420["hold"]"#]), ["430[]"]);
}

#[cfg(feature = "http")]
#[test]
fn a_response_of_a_mounted_server_that_is_dropped_after_the_session_was_resumed_changes_nothing() {
    use sockeye::mount::{Outcome, answer};
    let (server, _hook) = resuming();
    let line = Line::open(&server);
    let sid = opened(&line.get("&resume=0"));
    assert_eq!(body(&line.post(&sid, "40")), "ok");
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let request = http::Request::get(target).body(String::new()).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut answering = Box::pin(answer(server.clone(), request, Peer::default()));
    let Poll::Ready(Outcome::Response(response)) = answering.as_mut().poll(cx) else { panic!("no answer") };
    let new = Line::open(&server);
    let resumed = String::from_utf8_lossy(&new.turn(resume(&sid, 0, 1).as_bytes())).into_owned();
    assert!(
        resumed.contains(&sid) && resumed.contains("40{"),
        "what the response has is sent again: {resumed}"
    );
    drop(response);
    assert_eq!(new.frames(&[r#"420["hold"]"#]), ["430[]"]);
}
