//! Events that wait: their bounds, their age, and their fate.

use super::*;

fn buffer(bytes: usize, age: Option<u64>) -> Offline {
    Offline::Buffer { bytes, age: age.map(Duration::from_millis) }
}

fn small_send_buffer(config: &mut Config) {
    let transports = [Transport::WebSocket].into();
    config.engine = Arc::new(EngineConfig { transports, send_buffer: 50, ..EngineConfig::default() });
}

fn long(start: &str) -> String {
    alloc::format!(r#"{start}["{}"]"#, "x".repeat(40))
}

#[test]
fn an_event_to_be_acknowledged_that_found_no_room_is_sent_once_there_is_some() {
    let mut rig = Rig::joined(|config| {
        small_send_buffer(config);
        config.retries = 1;
    });
    rig.emit(&long("2"), How::default()).unwrap();
    rig.emit(&long("20"), ask(0, 1000)).unwrap();
    assert_eq!(rig.written(), [alloc::format!("4{}", long("2"))]);
    assert_eq!(rig.written(), [alloc::format!("4{}", long("20"))]);
    rig.hear("430[]");
    assert!(matches!(rig.events()[..], [Event::Answer(_, 0, Ok(_)), Event::Fate(_, Ok(()))]));
}

#[test]
fn waiting_events_count_with_the_size_of_their_entry() {
    for retries in [0, 1] {
        let mut rig = Rig::new(|config| (config.offline, config.retries) = (buffer(100_000, None), retries));
        let refused =
            (0..).find_map(|id| rig.emit(r#"20["a"]"#, ask(id, 60_000)).err().map(|error| (id, error)));
        let Some((events, EmitError::OfflineFull { limit: 100_000 })) = refused else {
            panic!("{refused:?}")
        };
        assert!((500..1300).contains(&events), "{events} events");
        assert!((99_000..=100_000).contains(&rig.client.buffered(rig.main)));
        rig.client.clear(rig.main);
        assert_eq!(rig.client.buffered(rig.main), 0);
        assert_eq!(rig.events().len(), 2 * events as usize, "an answer and a fate for each");
    }
}

#[test]
fn an_event_to_be_acknowledged_expires_unless_it_was_sent() {
    let expired = |token| Event::Fate(token, Err(EmitError::Expired));
    let settings = |config: &mut Config| (config.offline, config.retries) = (buffer(10_000, Some(1000)), 5);
    let mut rig = Rig::new(settings);
    let Ok(Sent::Later(token)) = rig.emit(r#"20["a"]"#, ask(0, 60_000)) else { panic!() };
    rig.pass(999);
    assert_eq!(rig.events(), []);
    rig.pass(1);
    let not_sent = Event::Answer(rig.main, 0, Err(NoAnswer::NotSent(EmitError::Expired)));
    assert_eq!((rig.events(), rig.client.buffered(rig.main)), (vec![not_sent, expired(token)], 0));

    let mut rig = Rig::joined(settings);
    rig.emit(r#"20["a"]"#, ask(0, 60_000)).unwrap();
    let Ok(Sent::Later(second)) = rig.emit(r#"21["b"]"#, ask(1, 60_000)) else { panic!() };
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.lose();
    rig.now += 1000;
    rig.client.handle_timeout(rig.now());
    let fates: Vec<_> = rig.events().into_iter().filter(|event| matches!(event, Event::Fate(..))).collect();
    assert_eq!(fates, [expired(second)]);
    rig.pass(2000);
    rig.open();
    rig.join();
    assert_eq!(rig.written(), [r#"420["a"]"#]);
}

#[test]
fn nothing_is_kept_after_a_sleep_where_nothing_is_to_wait() {
    for retries in [0, 1] {
        let mut rig = Rig::joined(|config| (config.offline, config.retries) = (Offline::Fail, retries));
        // The machine slept for an hour, and no timer has fired yet.
        rig.now += 3_600_000;
        assert_eq!(rig.emit(r#"20["late"]"#, ask(0, 1000)), Err(EmitError::Disconnected));
        assert_eq!((rig.client.buffered(rig.main), rig.closed().len()), (0, 1));
    }
}

#[test]
fn an_answer_is_given_up_with_the_connection_if_its_event_was_sent() {
    let mut rig = Rig::new(small_send_buffer);
    for id in 0..3 {
        rig.emit(&long(&alloc::format!("2{id}")), ask(id, 60_000 - id)).unwrap();
    }
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.join();
    assert_eq!(rig.written().len(), 1, "the first left when it was joined");
    // The second follows it, and the third finds no capacity.
    rig.lose();
    let answers = |rig: &mut Rig| -> Vec<_> {
        let answers = rig.events().into_iter().filter_map(|event| match event {
            Event::Answer(_, id, answer) => Some((id, answer)),
            _ => None,
        });
        answers.collect()
    };
    let gone = |id| (id, Err(NoAnswer::Disconnected));
    assert_eq!(answers(&mut rig), [gone(0), gone(1)]);
    rig.pass(60_000);
    assert_eq!(answers(&mut rig), [(2, Err(NoAnswer::Timeout))]);
    assert_eq!(rig.client.buffered(rig.main), 0);
}

/// Joins again after the connection was lost.
fn come_back(rig: &mut Rig) {
    rig.lose();
    rig.pass(6000);
    rig.open();
    rig.join();
}

#[test]
fn a_connection_that_is_lost_counts_as_a_try() {
    let mut rig = Rig::joined(|config| config.retries = 2);
    let Ok(Sent::Later(deadly)) = rig.emit(r#"20["deadly"]"#, ask(0, 60_000)) else { panic!() };
    let Ok(Sent::Later(next)) = rig.emit(r#"21["next"]"#, ask(1, 60_000)) else { panic!() };
    for _ in 0..2 {
        assert_eq!(rig.written(), [r#"420["deadly"]"#]);
        rig.events();
        come_back(&mut rig);
    }
    assert_eq!(rig.written(), [r#"420["deadly"]"#]);
    rig.lose();
    let events = rig.events();
    let error = EmitError::NotAcknowledged { tries: 3 };
    assert_eq!(
        events[..2],
        [Event::Answer(rig.main, 0, Err(NoAnswer::Disconnected)), Event::Fate(deadly, Err(error))]
    );
    rig.pass(6000);
    rig.open();
    rig.join();
    assert_eq!(rig.written(), [r#"421["next"]"#]);
    rig.hear("431[]");
    assert!(rig.events().contains(&Event::Fate(next, Ok(()))));
}

#[test]
fn tries_are_counted_however_the_namespace_was_left_and_only_if_there_was_one() {
    let mut rig = Rig::joined(|config| config.retries = 2);
    let Ok(Sent::Later(token)) = rig.emit(r#"20["a"]"#, ask(0, 1000)) else { panic!() };
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    // An acknowledgement that came too late.
    rig.pass(1001);
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.hear("41");
    assert_eq!(rig.events(), [Event::Disconnected(rig.main, DisconnectReason::Server)]);
    // Nothing was sent by these connections.
    rig.client.connect(rig.now(), rig.main);
    for _ in 0..3 {
        rig.open();
        rig.lose();
        rig.pass(6000);
        rig.events();
    }
    rig.open();
    rig.join();
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.client.disconnect(rig.now(), rig.main);
    let error = EmitError::NotAcknowledged { tries: 3 };
    assert!(rig.events().contains(&Event::Fate(token, Err(error))));
}
