//! How long a server that closes waits for its clients.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Incoming, Sim};
use sockeye::{DisconnectReason, Server, Socket};
use sockeye_core::host::Host;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

fn close(sim: &Sim) -> simulation::Awaited<()> {
    let server = sim.server().clone();
    sim.spawn(async move { server.close().await })
}

fn close_within(sim: &Sim, timeout: Duration) -> simulation::Awaited<()> {
    let server = sim.server().clone();
    sim.spawn(async move { server.close_within(timeout).await })
}

#[test]
fn a_polling_client_that_does_not_poll_counts_as_gone_after_five_seconds() {
    let sim = Sim::new(Server::new());
    let mut gone = sim.polling();
    gone.join();
    sim.server().emit("last", ());
    let closed = close(&sim);
    sim.advance(5 * SECOND - MOMENT);
    assert!(closed.take().is_none());
    sim.advance(MOMENT);
    assert!(closed.take().is_some());
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_polling_client_that_polls_again_is_waited_for_as_long_as_it_needs() {
    let sim = Sim::new(Server::new());
    let mut slow = sim.polling();
    slow.join();
    sim.server().emit("last", ());
    let closed = close(&sim);
    sim.advance(4 * SECOND);
    assert_eq!(slow.poll(), [r#"42["last"]"#]);
    sim.advance(25 * SECOND);
    assert!(closed.take().is_none());
    assert_eq!(slow.poll(), ["1"]);
    assert!(closed.take().is_some());
}

#[test]
fn a_polling_client_that_stops_to_poll_is_waited_for_no_longer_than_thirty_seconds() {
    let sim = Sim::new(Server::new());
    let mut client = sim.polling();
    client.join();
    sim.server().emit("last", ());
    let closed = close(&sim);
    sim.advance(4 * SECOND);
    assert_eq!(client.poll(), [r#"42["last"]"#]);
    sim.advance(26 * SECOND - MOMENT);
    assert!(closed.take().is_none());
    sim.advance(MOMENT);
    assert!(closed.take().is_some());
}

#[test]
fn a_websocket_client_that_does_not_read_is_waited_for_five_seconds() {
    let sim = Sim::new(Server::new());
    let stalled = sim.connect();
    stalled.stop_reading();
    sim.server().emit("last", "x".repeat(200_000));
    let closed = close(&sim);
    sim.advance(5 * SECOND - MOMENT);
    assert!(closed.take().is_none());
    sim.advance(MOMENT);
    assert!(closed.take().is_some());
}

#[test]
fn closing_within_a_time_waits_no_longer_whatever_clients_and_handlers_do() {
    let server = Server::builder()
        .allow_request(async |request| {
            // Decides never, if the request says so.
            if request.query_param("undecided").is_some() {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
        .build();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let noted = reasons.clone();
    server.on_disconnect(move |reason: DisconnectReason| {
        noted.lock().unwrap().push(reason.to_string());
        std::future::pending::<()>()
    });
    let sim = Sim::new(server);
    let (reader, stalled) = (sim.connect(), sim.connect());
    stalled.stop_reading();
    let [mut gone, mut polling, mut posting] = [sim.polling(), sim.polling(), sim.polling()];
    for client in [&mut gone, &mut polling, &mut posting] {
        client.join();
    }
    sim.server().emit("last", "x".repeat(200_000));
    sim.server().on("wait", async || std::future::pending::<()>().await);
    posting.begin_post(r#"42["wait"]"#);
    let undecided = simulation::Client::dial(&sim, "EIO=4&transport=websocket&undecided=1");

    let closed = close_within(&sim, SECOND);
    assert!(reader.next().contains("last"));
    assert_eq!(reader.poll(), Some(Incoming::Close(Some(1001))));
    assert!(polling.poll()[0].contains("last"));
    sim.advance(SECOND - MOMENT);
    assert!(closed.take().is_none() && !sim.server().is_closed());
    sim.advance(MOMENT);
    assert!(closed.take().is_some() && sim.server().is_closed());
    assert_eq!(sim.server().clients_count(), 0);
    assert_eq!(*reasons.lock().unwrap(), ["server shutting down"; 5]);
    drop(undecided);
}

#[test]
fn closing_within_a_time_ends_as_soon_as_every_client_has_gone() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let closed = close_within(&sim, 60 * SECOND);
    assert_eq!(client.poll(), Some(Incoming::Close(Some(1001))));
    assert!(closed.take().is_some());
    drop(client);
    sim.run();
    assert_eq!(sim.server().next_deadline(), None, "nothing is left to wait for");
}

#[test]
fn a_server_without_a_runtime_closes_within_any_time() {
    let server = Server::new();
    let mut closing = Box::pin(server.close_within(Duration::ZERO));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_ready());
    assert!(server.is_closed());
}

#[test]
fn closing_within_a_time_that_is_given_up_leaves_no_deadline_and_the_server_closes_in_its_own_time() {
    let sim = Sim::new(Server::new());
    let mut gone = sim.polling();
    gone.join();
    let server = sim.server().clone();
    let mut closing = Box::pin(async move { server.close_within(SECOND).await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    assert_eq!(sim.server().next_deadline(), Some(sim.now() + SECOND));
    drop(closing);
    assert!(sim.server().next_deadline() > Some(sim.now() + SECOND));
    sim.advance(5 * SECOND);
    assert!(sim.server().is_closed());
}

#[test]
fn the_longest_of_several_times_counts_no_more_once_the_shortest_is_over() {
    let sim = Sim::new(Server::new());
    sim.server().on_connect(async |socket: Socket| socket.join("all"));
    let mut gone = sim.polling();
    gone.join();
    let long = close_within(&sim, 4 * SECOND);
    let short = close_within(&sim, SECOND);
    let unlimited = close(&sim);
    sim.advance(SECOND);
    assert!(short.take().is_some() && long.take().is_some() && unlimited.take().is_some());
}

#[test]
fn handlers_that_wait_for_ever_do_not_keep_a_server_from_closing() {
    let server = Server::new();
    server.on("wait", async || std::future::pending::<()>().await);
    // Nobody decides about this namespace.
    server.of("/undecided").middleware(async |_: Socket| std::future::pending().await);
    server.use_packet(async |event: sockeye::extract::Event| {
        if event.0 == "undecided" {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let sim = Sim::new(server);
    let events = vec![r#"42["wait"]"#; 300];
    let client = sim.connect();
    client.send("40/undecided,");
    client.send_all(events.iter().copied());
    let mut posting = sim.polling();
    posting.join();
    posting.begin_post(&events.join("\x1e"));
    let mut deciding = sim.polling();
    deciding.join();
    deciding.begin_post(r#"42["undecided"]"#);
    let closed = close(&sim);
    assert_eq!(client.poll(), Some(Incoming::Close(Some(1001))));
    sim.advance(5 * SECOND);
    assert!(closed.take().is_some());
    drop((posting, deciding));
}
