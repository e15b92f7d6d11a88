//! A client that comes back, and missed a few of many events: most were for rooms that it is not in.

use super::measured;
use sockeye_core::Time;
use sockeye_core::engineio::Id;
use sockeye_core::socketio::recovery::{Config, Epoch, Pid, Retained};
use sockeye_core::socketio::{Encoder, Target};

/// The messages are the events that are behind the client's offset. One of a thousand was for it; only these count.
pub(crate) fn run(messages: usize) {
    let now = Time::ZERO;
    let mut retained = Retained::new(Config::default(), Epoch::from_random(1));
    let pid = Pid { id: Id::from_random([1; 15]), secret: Id::from_random([2; 15]), is_foreign: false };
    let life = retained.begin(pid.secret);
    retained.keep(now, pid.id, life, ["news".into(), "lobby".into()].into(), ());
    let mut encoder = Encoder::new();
    for i in 0..messages {
        let mut target = Target::default();
        target
            .rooms
            .insert(if i % 1000 == 500 { "news".to_owned() } else { format!("room {}", i % 100) }.as_str());
        let encoded =
            encoder.event("/", None, "event", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").expect("an event");
        let draft = retained.epoch().expect("it numbers events itself").draft(&encoded);
        let frames = retained.number(draft);
        retained.record(now, &target, &frames);
    }
    let missed = measured(1, |_| {
        let claim = retained.claim(now, &pid, None).expect("the client is recovered");
        let missed = retained.missed(&claim).expect("all events are there").count();
        retained.recover(now, &claim).expect("the socket is kept");
        missed
    });
    assert_eq!(missed, messages.div_ceil(1000));
    eprintln!("recover: {missed} messages, missed of {messages}");
}
