//! Reports of messages that were ignored.

use crate::observe::ClusterEvent;
use sockeye_core::Time;
use sockeye_core::cluster::BusError;
use std::time::Duration;

/// The time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Messages that were ignored, and have not been reported.
#[derive(Default)]
pub(super) struct Ignored {
    /// Why the last of them was.
    cause: Option<BusError>,
    count: u64,
    /// The time of the next report. Before the first one there is none.
    next: Option<Time>,
}

impl Ignored {
    pub(super) fn add(&mut self, cause: BusError) {
        self.cause = Some(cause);
        self.count += 1;
    }

    /// Takes the report, if there is something to report, and it is time.
    pub(super) fn take_report(&mut self, now: Time) -> Option<ClusterEvent> {
        if self.next.is_some_and(|at| now < at) {
            return None;
        }
        let cause = self.cause.take()?;
        self.next = Some(now + INTERVAL);
        Some(ClusterEvent::MessageIgnored { cause, count: std::mem::take(&mut self.count) })
    }

    /// Returns when there will be something to report.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.next.filter(|_| self.cause.is_some())
    }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;
    use crate::cluster::{Adapter, ClusterLimits, MemoryBus, Node};
    use crate::testing::TestServer;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[test]
    fn what_comes_while_a_handler_blocks_is_bounded_and_all_that_was_ignored_is_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let reports = told.clone();
        let limits = ClusterLimits { max_unhandled: 1, ..ClusterLimits::default() };
        let server = Server::builder().adapter(Adapter::sharded(MemoryBus::new()).limits(limits));
        let server = server.on_cluster_event(move |event| {
            if let ClusterEvent::MessageIgnored { cause, count } = event {
                reports.lock().push((*cause, *count));
            }
        });
        let test = TestServer::new(server.build());
        let io = test.server();
        let client = test.connect("/");
        let receive = |io: &Server, message: String| {
            let link = io.engine.application().namespaces.link.clone().expect("a cluster");
            link.handle_message("socket.io#/#", message.into());
        };
        let news = |number| {
            let packet = format!(r#"{{"type":2,"data":["news",{number}]}}"#);
            format!(
                r#"{{"uid":"a","nsp":"/","type":3,"data":{{"packet":{packet},"opts":{{"rooms":[],"except":[]}}}}}}"#
            )
        };
        // Messages come while it runs, as they do from other tasks of a bus while it blocks.
        let blocked = io.clone();
        io.on_server_side_event("block", move || {
            (1..=5).for_each(|number| receive(&blocked, news(number)));
            async {}
        });
        receive(io, r#"{"uid":"a","nsp":"/","type":9,"data":{"packet":["block"]}}"#.into());
        for number in [1, 2] {
            assert_eq!(client.expect_event::<u8>("news"), number);
        }
        let cause = BusError::Unhandled { limit: 1 };
        assert_eq!(*told.lock(), [(cause, 1)]);
        test.advance(INTERVAL);
        assert_eq!(*told.lock(), [(cause, 1), (cause, 2)]);
        test.advance(INTERVAL * 10);
        receive(io, news(6));
        assert_eq!(client.expect_event::<u8>("news"), 6);
        assert_eq!(told.lock().len(), 2);
    }
}
