//! Recovery: the state that is sent to the server, and the events that it replays.

use super::*;

/// A client that has joined a server that can recover.
fn recoverable(change: impl FnOnce(&mut Config)) -> Rig {
    let mut rig = Rig::new(change);
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.client.join(at(0), rig.main, 1, "");
    rig.hear(r#"40{"sid":"s","pid":"p"}"#);
    rig.written();
    rig.events();
    rig
}

/// Loses the connection and opens another; what is shown by it.
fn come_back(rig: &mut Rig) -> String {
    rig.lose();
    rig.pass(6000);
    rig.open();
    let events = rig.events();
    let Some(Event::Join(id, attempt)) = events.last().cloned() else { panic!("{events:?}") };
    rig.client.join(rig.now(), id, attempt, "");
    let written = rig.written();
    assert_eq!(written.len(), 1);
    written.concat()
}

fn shown(offset: &str) -> String {
    alloc::format!(r#"40{{"pid":"p","offset":"{offset}"}}"#)
}

fn incoming(events: &[Event]) -> Vec<&str> {
    let came = events.iter().filter_map(|event| match event {
        Event::Incoming(_, it) => Some(it.args.as_args().json()),
        _ => None,
    });
    came.collect()
}

#[test]
fn a_string_of_an_event_that_wants_an_acknowledgement_is_no_offset() {
    let mut rig = recoverable(|_| {});
    rig.hear(r#"42["x",1,"QN3aB_0"]"#);
    rig.hear(r#"427["ask","QN3aB_9"]"#);
    rig.hear(r#"451-8["ask",{"_placeholder":true,"num":0},"QN3aB_9"]"#);
    rig.hear_binary(&[1]);
    assert_eq!(come_back(&mut rig), shown("QN3aB_0"));
}

#[test]
fn an_offset_has_the_form_of_those_before() {
    for (offsets, others) in [
        (["QN3aB_0", "QN3aB_0.0", "QN3aC--.1a"], ["hello", "1678463742834-0", "Hello, world", "QN3aB_0."]),
        (["1678463742834-0", "1678463742834-1", "1678463742840-12"], ["QN3aB_0", "12-3", "a b", "1-"]),
        (
            ["65f1a0b2c3d4e5f601020304", "65f1a0b2c3d4e5f601020305", "65f1a0b2c3d4e5f601020306"],
            ["QN3aB_0", "zzz1a0b2c3d4e5f601020304", "", "é"],
        ),
    ] {
        let mut rig = recoverable(|_| {});
        // A volatile one came first, before there was any.
        rig.hear(r#"42["volatile","first"]"#);
        for offset in offsets {
            rig.hear(&alloc::format!(r#"42["x","{offset}"]"#));
            for other in others {
                rig.hear(&alloc::format!(r#"42["volatile","{other}"]"#));
            }
            rig.hear(r#"42["volatile",{"a":"b"}]"#);
        }
        assert_eq!(come_back(&mut rig), shown(offsets[2]));
    }
}

#[test]
fn offsets_of_an_unknown_form_are_taken_and_one_that_was_none_is_found_out() {
    let mut rig = recoverable(|_| {});
    for offset in ["9", "10", "shard-a:11"] {
        rig.hear(&alloc::format!(r#"42["x","{offset}"]"#));
    }
    let long = "x".repeat(129);
    rig.hear(&alloc::format!(r#"42["volatile","{long}"]"#));
    rig.hear(r#"42["volatile","two words"]"#);
    assert_eq!(come_back(&mut rig), shown("shard-a:11"));
    // An argument looked like an offset of another kind.
    let mut rig = recoverable(|_| {});
    for offset in ["Looking", "1678463742834-0", "1678463742834-1"] {
        rig.hear(&alloc::format!(r#"42["x","{offset}"]"#));
    }
    assert_eq!(come_back(&mut rig), shown("1678463742834-1"));
}

#[test]
fn a_recovery_may_replay_more_than_waits_for_an_answer() {
    let mut rig = recoverable(|config| config.receive_buffer = 1000);
    rig.hear(r#"42["x","QN3aB_0"]"#);
    rig.events();
    come_back(&mut rig);
    let missed: Vec<_> = (0..1000).map(|i| alloc::format!(r#"["missed",{i},"QN3aB_1.{i}"]"#)).collect();
    for event in &missed {
        rig.hear(&alloc::format!("42{event}"));
    }
    rig.hear(r#"40{"sid":"s","pid":"p"}"#);
    let events = rig.events();
    assert_eq!(incoming(&events), missed);
    assert_eq!(events.last(), Some(&Event::Connected(rig.main)));
    assert!(rig.client.recovered(rig.main));
    assert_eq!(come_back(&mut rig), shown("QN3aB_1.999"));
}

#[test]
fn a_client_that_has_received_no_event_is_recovered_as_well() {
    let mut rig = recoverable(|_| {});
    assert_eq!(come_back(&mut rig), r#"40{"pid":"p"}"#);
    rig.hear(r#"42["missed",1,"QN3aB_1"]"#);
    assert_eq!(incoming(&rig.events()), [r#"["missed",1,"QN3aB_1"]"#]);
    rig.hear(r#"40{"sid":"s","pid":"p"}"#);
    assert!(rig.client.recovered(rig.main));
    assert_eq!(come_back(&mut rig), shown("QN3aB_1"));
}

#[test]
fn a_recovery_that_is_cut_off_goes_on_where_it_was() {
    let mut rig = recoverable(|_| {});
    rig.hear(r#"42["x","QN3aB_0"]"#);
    come_back(&mut rig);
    rig.hear(r#"42["missed",1,"QN3aB_1"]"#);
    assert_eq!(incoming(&rig.events()).len(), 1);
    assert_eq!(come_back(&mut rig), shown("QN3aB_1"));
}

#[test]
fn events_that_could_be_acknowledged_wait_for_the_answer_and_those_behind_them_too() {
    let mut rig = recoverable(|_| {});
    rig.hear(r#"42["x","QN3aB_0"]"#);
    come_back(&mut rig);
    for event in [r#"42["one","QN3aB_1"]"#, r#"420["two"]"#, r#"42["three","QN3aB_2"]"#] {
        rig.hear(event);
    }
    assert_eq!(incoming(&rig.events()), [r#"["one","QN3aB_1"]"#]);
    // It recovers nothing: the offsets are those of another life, which these events began.
    rig.hear(r#"40{"sid":"t","pid":"q"}"#);
    let events = rig.events();
    assert_eq!(incoming(&events), [r#"["two"]"#, r#"["three","QN3aB_2"]"#]);
    assert!(!rig.client.recovered(rig.main));
    assert_eq!(come_back(&mut rig), r#"40{"pid":"q","offset":"QN3aB_2"}"#);
    rig.hear(r#"40{"sid":"u","pid":"r"}"#);
    assert_eq!(come_back(&mut rig), r#"40{"pid":"r"}"#, "the offset was not the new life's");
    rig.hear(r#"40{"sid":"v"}"#);
    rig.hear(r#"42["x","QN3aB_3"]"#);
    assert_eq!(come_back(&mut rig), "40", "the server cannot recover any more");
}

#[test]
fn after_more_events_than_may_wait_the_next_attempt_is_a_fresh_one() {
    let mut rig = recoverable(|config| config.receive_buffer = 1000);
    rig.hear(r#"42["x","QN3aB_0"]"#);
    assert_eq!(come_back(&mut rig), shown("QN3aB_0"));
    (0..100).for_each(|_| rig.hear(r#"420["asks"]"#));
    let events = rig.events();
    assert!(matches!(&events[..], [Event::ConnectError(..)]), "{events:?}");
    assert_eq!(come_back(&mut rig), "40");
}

#[test]
fn auth_that_is_no_object_is_an_error_even_if_a_recovery_is_asked_for() {
    let mut rig = recoverable(|_| {});
    rig.hear(r#"42["x","QN3aB_0"]"#);
    rig.lose();
    rig.pass(6000);
    rig.open();
    let events = rig.events();
    let Some(Event::Join(id, attempt)) = events.last().cloned() else { panic!("{events:?}") };
    rig.client.join(rig.now(), id, attempt, r#""token""#);
    assert_eq!(rig.written(), [""; 0]);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::ConnectError(_, ConnectError::Auth(_))]), "{events:?}");
}
