//! Failures of a client's handlers: those that the server learns of, and those that the application does.

use super::rig::{World, by_polling, connect_by_polling};
use sockeye::extract::Data;
use sockeye::observe::HandlerFailure;
use sockeye::{EmitError, HandlerError};
use std::sync::{Arc, Mutex};

#[test]
fn a_handlers_error_is_acknowledged_or_seen_by_the_function_which_may_acknowledge_it() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    let client = world.client(|builder| {
        by_polling(builder).on_handler_error(move |failed| {
            let kind = match failed.failure() {
                HandlerFailure::NotCalled(_) => "not called",
                HandlerFailure::Failed(text) | HandlerFailure::Unheard(text) => text,
                HandlerFailure::NotSent(EmitError::TooLarge { .. }) => "too large",
                HandlerFailure::Panicked(_) => "panicked",
                HandlerFailure::Unhandled => "unhandled",
                _ => "another",
            };
            assert!(failed.socket().is_some_and(|socket| socket.namespace() == failed.namespace()));
            see.lock().unwrap().push(format!("{} in {}: {kind}", failed.event(), failed.namespace()));
            failed.ack("sorry");
        })
    });
    client.on_connect(async || Err::<(), _>("no"));
    client.on("own", async || Err::<(), _>("no"));
    client.on("error", async || Err::<(), _>(HandlerError::new("it failed")));
    client.on("data", async |Data(n): Data<u32>| n);
    client.on("panic", async || -> () { panic!("a bug of the application") });
    client.on("large", async || "x".repeat(1_000_001));
    let (mut poll, mut post) = connect_by_polling(&world, &client);
    poll.respond(r#"40{"sid":"s"}"#);
    poll.written();
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), ["connect in /: \"no\""]);

    let mut answer = |event: &str| {
        poll.respond(&format!(r#"427["{event}"]"#));
        poll.written();
        let written = post.written();
        post.respond("ok");
        let (_, body) = written.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    };
    assert_eq!(answer("own"), r#"437["no"]"#);
    assert_eq!(*seen.lock().unwrap(), [""; 0]);
    for (event, failure) in [
        ("error", "it failed"),
        ("data", "not called"),
        ("panic", "panicked"),
        ("large", "too large"),
        ("none", "unhandled"),
    ] {
        assert_eq!(answer(event), r#"437["sorry"]"#);
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [format!("{event} in /: {failure}")]);
    }
}
