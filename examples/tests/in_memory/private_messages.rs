//! Private messages. The session of a user, which the cookie of its browser names, is given to each of its tabs here.

#[path = "../../private_messaging/main.rs"]
mod private_messaging;

use axum::Form;
use axum::extract::State;
use private_messaging::{House, Login};
use serde_json::{Value, json};
use sockeye::testing::{TestClient, TestServer};
use std::sync::Arc;
use tower_sessions::{MemoryStore, Session};

/// The server and its users.
fn server() -> (TestServer, House) {
    let house = House::default();
    (TestServer::new(private_messaging::messages(house.clone())), house)
}

/// Logs a user in, by the function that answers the page's request.
fn log_in((test, house): &(TestServer, House), name: &str) -> Result<Session, String> {
    let session = Session::new(None, Arc::new(MemoryStore::default()), None);
    let form = Form(Login { name: name.into() });
    let house = State((test.server().clone(), house.clone()));
    let answer = test.block_on(private_messaging::log_in(session.clone(), house, form));
    answer.map(|()| session).map_err(|(_, why)| why)
}

/// Opens a tab of a user, and forgets its greeting.
fn tab((test, _): &(TestServer, House), user: &Session) -> TestClient {
    let tab = test.client().extension(user.clone()).connect("/");
    tab.clear();
    tab
}

#[test]
fn a_message_reaches_all_tabs_of_both_users_and_nobody_else() {
    let here = server();
    let [ann, bob, eve] = ["Ann", "Bob", "Eve"].map(|name| log_in(&here, name).unwrap());
    let tabs = [&ann, &bob, &bob].map(|user| tab(&here, user));
    let eve = tab(&here, &eve);
    tabs.iter().for_each(|tab| tab.clear());
    tabs[0].ask::<()>("private message", ("Bob", "1", "ahoy"));
    for tab in &tabs {
        let message = tab.expect_event::<Value>("private message");
        assert_eq!((&message["from"], &message["text"]), (&json!("Ann"), &json!("ahoy")));
        tab.expect_nothing();
    }
    eve.expect_nothing();
}

#[test]
fn a_message_waits_for_a_user_who_is_away_and_is_kept_once() {
    let here = server();
    let [ann, bob] = ["Ann", "Bob"].map(|name| log_in(&here, name).unwrap());
    let sender = tab(&here, &ann);
    for _ in 0..2 {
        sender.ask::<()>("private message", ("Bob", "1", "are you there?"));
    }
    let reader = here.0.client().extension(bob).connect("/");
    let (me, others) = reader.expect_event::<(String, Value)>("users");
    assert_eq!((me.as_str(), others), ("Bob", json!([{ "name": "Ann", "online": true, "unread": 1 }])));
    reader.emit("open", "Ann");
    let (_, messages) = reader.expect_event::<(String, Vec<Value>)>("messages");
    assert_eq!(messages.len(), 1);
    sender.clear();
    reader.emit("read", "Ann");
    assert_eq!(sender.expect_event::<(String, String)>("read"), ("Bob".into(), "Ann".into()));
}

#[test]
fn a_user_is_away_once_the_last_tab_is_closed() {
    let here = server();
    let [ann, bob] = ["Ann", "Bob"].map(|name| log_in(&here, name).unwrap());
    let page = tab(&here, &ann);
    let tabs = [tab(&here, &bob), tab(&here, &bob)];
    page.clear();
    for (tab, online) in tabs.into_iter().zip([true, false]) {
        drop(tab);
        assert_eq!(page.expect_event::<(String, bool)>("user"), ("Bob".into(), online));
    }
    page.expect_nothing();
}

#[test]
fn only_users_may_connect_and_a_name_is_one_users() {
    let here = server();
    assert_eq!(log_in(&here, "  ").unwrap_err(), "a name has between 1 and 24 characters");
    log_in(&here, "Ann").unwrap();
    assert_eq!(log_in(&here, "Ann").unwrap_err(), "this name is taken");
    let stranger = Session::new(None, Arc::new(MemoryStore::default()), None);
    let error = here.0.client().extension(stranger).connect_error("/");
    assert_eq!(error.to_string(), "you are not logged in");
}
