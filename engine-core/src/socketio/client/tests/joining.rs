//! Attempts to join that fail, or take too long.

use super::*;

fn auth_error(id: NamespaceId, why: &str) -> Event {
    Event::ConnectError(id, ConnectError::Auth(why.into()))
}

/// A client whose connection is open, and whose application was asked what it shows.
fn asked(change: impl FnOnce(&mut Config)) -> Rig {
    let mut rig = Rig::new(change);
    rig.client.connect(at(0), rig.main);
    rig.open();
    assert_eq!(rig.events(), [Event::Join(rig.main, 1)]);
    rig
}

/// Lets time pass until the next deadline, and returns the milliseconds that passed.
fn wait(rig: &mut Rig) -> u64 {
    let before = rig.now;
    let next = rig.client.next_deadline().unwrap().since_origin().as_millis() as u64;
    rig.pass(next + 1 - before);
    rig.now - before
}

#[test]
fn a_callback_that_does_not_end_is_given_up_in_time_and_asked_again() {
    let mut rig = asked(|_| {});
    rig.pass(19_999);
    assert_eq!(rig.events(), []);
    rig.pass(1);
    assert_eq!(rig.events(), [auth_error(rig.main, "the callback took too long")]);
    rig.client.join(rig.now(), rig.main, 1, "");
    rig.client.refuse_join(rig.now(), rig.main, 1, "late");
    assert!(rig.written().is_empty() && rig.events().is_empty());
    assert!((500..=1502).contains(&wait(&mut rig)));
    assert_eq!(rig.events(), [Event::Join(rig.main, 2)]);
    rig.client.join(rig.now(), rig.main, 1, "");
    assert!(rig.written().is_empty());
    rig.client.join(rig.now(), rig.main, 2, "");
    assert_eq!(rig.written(), ["40"]);
}

#[test]
fn auth_that_fails_is_tried_again_after_waits_that_grow() {
    let mut rig = asked(|_| {});
    let generation = rig.client.generation();
    for (attempt, middle) in [(1, 1000), (2, 2000), (3, 4000), (4, 5000)] {
        rig.client.refuse_join(rig.now(), rig.main, attempt, "no token");
        assert_eq!(rig.events(), [auth_error(rig.main, "no token")]);
        let wait = wait(&mut rig);
        assert!((middle / 2..=middle * 3 / 2 + 2).contains(&wait), "{wait} ms");
        assert_eq!(rig.events(), [Event::Join(rig.main, attempt + 1)]);
    }
    rig.client.join(rig.now(), rig.main, 5, "");
    rig.hear(r#"40{"sid":"s"}"#);
    assert_eq!((rig.events(), rig.client.generation()), (vec![Event::Connected(rig.main)], generation));
}

#[test]
fn auth_that_fails_is_not_tried_again_where_nothing_is() {
    for attempts in [None, Some(2)] {
        let mut rig = asked(|config| {
            config.reconnection = attempts.is_some();
            config.reconnection_attempts = attempts;
        });
        for attempt in 1..=attempts.unwrap_or_default() {
            rig.client.refuse_join(rig.now(), rig.main, attempt, "no token");
            wait(&mut rig);
            assert!(rig.client.is_active(rig.main));
        }
        let last = attempts.unwrap_or_default() + 1;
        rig.client.refuse_join(rig.now(), rig.main, last, "no token");
        assert_eq!(rig.events().last(), Some(&auth_error(rig.main, "no token")));
        assert!(!rig.client.is_active(rig.main) && rig.client.next_deadline().is_none());
        rig.written();
        assert!(rig.client.is_idle(), "the connection is closed");
    }
}

#[test]
fn a_namespace_that_is_left_meanwhile_is_not_asked_for_again() {
    let mut rig = asked(|_| {});
    rig.client.refuse_join(at(0), rig.main, 1, "no token");
    rig.client.disconnect(at(0), rig.main);
    rig.events();
    rig.pass(10_000);
    assert!(rig.events().is_empty() && !rig.client.is_active(rig.main));
}

#[test]
fn auth_that_the_server_does_not_take_is_as_none() {
    let mut rig = asked(|_| {});
    rig.client.join(at(0), rig.main, 1, &alloc::format!(r#"{{"a":"{}"}}"#, "x".repeat(1000)));
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::ConnectError(_, ConnectError::NotSent(EmitError::TooLarge { .. }))]),
        "{events:?}"
    );
    wait(&mut rig);
    assert_eq!(rig.events(), [Event::Join(rig.main, 2)]);
}

#[test]
fn a_namespace_that_is_not_answered_does_not_cost_the_others_their_connection() {
    let mut rig = Rig::joined(|_| {});
    let (generation, chat) = (rig.client.generation(), rig.client.namespace("/chat"));
    rig.client.connect(at(0), chat);
    rig.client.join(at(0), chat, 1, "");
    rig.hear(r#"42/chat,["early"]"#);
    assert_eq!((rig.events(), rig.written()), (vec![Event::Join(chat, 1)], vec!["40/chat,".into()]));
    for _ in 0..3 {
        rig.pass(20_000);
        rig.hear("2");
        // It cannot be asked again before it has answered.
        assert_eq!(rig.events(), [Event::ConnectError(chat, ConnectError::Timeout), Event::Ping]);
        assert!(rig.client.is_active(chat) && !rig.client.is_connected(chat));
    }
    rig.pass(10_000);
    rig.written();
    rig.hear(r#"42/chat,["for nobody"]"#);
    rig.hear(r#"40/chat,{"sid":"late"}"#);
    assert_eq!((rig.written(), rig.events()), (vec!["41/chat,".into()], vec![]));
    rig.pong();
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
    rig.client.join(rig.now(), chat, 2, "");
    rig.hear(r#"40/chat,{"sid":"c"}"#);
    assert_eq!(rig.events(), [Event::Connected(chat)]);
    assert!(rig.client.is_connected(rig.main) && rig.client.generation() == generation);
}

#[test]
fn a_late_answer_before_the_next_attempt_is_left_and_the_attempt_is_made() {
    let mut rig = Rig::joined(|_| {});
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), chat);
    rig.client.join(at(0), chat, 1, "");
    rig.pass(20_000);
    rig.written();
    rig.events();
    rig.hear(r#"40/chat,{"sid":"late"}"#);
    assert_eq!((rig.written(), rig.events()), (vec!["41/chat,".into()], vec![]));
    rig.pass(2000);
    assert_eq!(rig.written(), [""; 0]);
    rig.pong();
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
}

#[test]
fn a_namespace_that_alone_is_wanted_and_not_answered_costs_the_connection() {
    let mut rig = Rig::joined(|_| {});
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), chat);
    rig.client.join(at(0), chat, 1, "");
    rig.client.disconnect(at(0), rig.main);
    rig.events();
    rig.pass(20_000);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::ConnectError(_, ConnectError::Closed(_))]), "{events:?}");
    rig.pass(2000);
    rig.open();
    let events = rig.events();
    assert!(
        matches!(events[..], [Event::ReconnectAttempt(1), Event::Reconnect(1), Event::Join(..)]),
        "{events:?}"
    );
}

#[test]
fn no_time_at_all_is_a_little() {
    let mut rig = Rig::new(|config| (config.timeout, config.retries) = (Duration::ZERO, 3));
    rig.client.connect(at(0), rig.main);
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), chat);
    assert!(rig.client.next_deadline().is_some_and(|deadline| deadline > at(0)));
    rig.open();
    rig.join();
    rig.emit(r#"20["a"]"#, ask(0, 0)).unwrap();
    // Each deadline that passes is followed by a later one.
    rig.pass(10_000);
    assert!(rig.client.is_connected(rig.main) && rig.client.is_active(chat));
}
