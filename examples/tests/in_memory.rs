//! The servers of the examples, tested in memory as a program of your own can be: see `sockeye::testing`.
#![cfg(feature = "testing")]
#![allow(dead_code, clippy::duplicate_mod)]

#[path = "../acknowledgements/main.rs"]
mod acknowledgements;
#[path = "../chat/main.rs"]
mod chat;
#[path = "../date_notifier/main.rs"]
mod date_notifier;
#[cfg(all(feature = "axum", feature = "tokio"))]
#[path = "in_memory/private_messages.rs"]
mod private_messages;

use serde_json::{Value, json};
use sockeye::testing::{ClientSetup, TestClient, TestServer};
use std::time::{Duration, UNIX_EPOCH};

fn guest<'a>(test: &'a TestServer, name: &str) -> ClientSetup<'a> {
    test.client().auth(json!({ "name": name, "room": "Harbour", "key": name }))
}

/// Enters the chat, and forgets its greeting.
fn enter(test: &TestServer, name: &str) -> TestClient {
    let client = guest(test, name).connect("/");
    client.expect_event::<Vec<String>>("rooms");
    client.expect_event::<(String, Value)>("room");
    client.clear();
    client
}

/// Returns the names of those who are here.
fn names(client: &TestClient) -> Vec<String> {
    let here = client.expect_event::<Vec<(String, Value)>>("here");
    here.into_iter().map(|(_, user)| user["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_line_of_the_chat_reaches_its_room_and_is_kept_for_those_who_join_later() {
    let test = TestServer::new(chat::app());
    let (ann, bob, eve) = (enter(&test, "Ann"), enter(&test, "Bob"), enter(&test, "Eve"));
    eve.emit("enter", "Galley");
    [&ann, &bob, &eve].iter().for_each(|client| client.clear());
    ann.emit("say", ("Harbour", "1", "ahoy"));
    for client in [&ann, &bob] {
        let line = client.expect_event::<Value>("line");
        assert_eq!((&line["text"], &line["by"]["name"]), (&json!("ahoy"), &json!("Ann")));
    }
    eve.expect_nothing();
    let late = guest(&test, "Dan").connect("/");
    let (room, lines) = late.expect_event::<(String, Vec<Value>)>("room");
    assert_eq!((&*room, lines.len(), &lines[0]["text"]), ("Harbour", 1, &json!("ahoy")));
}

#[test]
fn the_chat_tells_who_is_here() {
    let test = TestServer::new(chat::app());
    let ann = enter(&test, "Ann");
    let bob = guest(&test, "Bob").connect("/");
    assert_eq!(names(&ann), ["Ann", "Bob"]);
    bob.stall();
    test.advance(Duration::from_secs(46));
    assert_eq!(names(&ann), ["Ann"]);
    bob.resume();
    bob.expect_connect();
    assert_eq!(names(&ann), ["Ann", "Bob"]);
    drop(bob);
    assert_eq!(names(&ann), ["Ann"]);
    ann.expect_nothing();
}

#[test]
fn the_chat_tells_the_others_who_is_typing() {
    let test = TestServer::new(chat::app());
    let (ann, bob) = (enter(&test, "Ann"), enter(&test, "Bob"));
    ann.clear();
    ann.emit("typing", true);
    assert_eq!(bob.expect_event::<(String, bool)>("typing"), (ann.id(), true));
    ann.expect_nothing();
}

#[test]
fn the_chat_refuses_a_guest_without_a_name() {
    let test = TestServer::new(chat::app());
    for name in ["", "  ", &"x".repeat(25)] {
        let error = guest(&test, name).connect_error("/");
        assert_eq!(error.to_string(), "a name has between 1 and 24 characters");
    }
}

#[test]
fn numbers_are_added() {
    let test = TestServer::new(acknowledgements::app());
    assert_eq!(test.connect("/").ask::<f64>("add", (2, 3)), 5.0);
}

#[test]
fn the_page_is_asked_before_it_is_answered() {
    let test = TestServer::new(acknowledgements::app());
    let page = test.connect("/");
    let asked = page.begin_ask::<String>("ask me", ());
    let question = page.expect("question");
    assert!(question.ack("sockeye").is_ok());
    assert_eq!(asked.answer(), "You said “sockeye”");
}

#[test]
fn the_server_waits_a_minute_for_the_page() {
    let test = TestServer::new(acknowledgements::app()).limit(Duration::from_secs(61));
    let page = test.connect("/");
    assert_eq!(page.ask::<String>("ask me", ()), "No answer: operation has timed out");
    assert_eq!(test.elapsed(), Duration::from_secs(60));
}

#[test]
fn every_page_gets_the_date() {
    let test = TestServer::new(date_notifier::app());
    let pages = [test.connect("/"), test.connect("/")];
    date_notifier::tick(test.server(), UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
    for page in &pages {
        assert_eq!(page.expect_event::<u64>("date"), 1_700_000_000_123);
        page.expect_nothing();
    }
}
