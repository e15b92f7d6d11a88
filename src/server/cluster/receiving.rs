//! Messages that have arrived at the bus together.

use super::link::Link;
use crate::server::Engine;
use crate::server::namespace::Namespace;
use bytes::Bytes;
use smol_str::SmolStr;
use sockeye_core::Time;
use sockeye_core::cluster::{BusDecoder, BusEntry, BusReceiver};
use sockeye_core::socketio::recovery::StreamPosition;
use std::sync::Arc;

/// Receives messages that have arrived together. Most messages of other servers end here, because their sockets are
/// elsewhere, so what the messages have in common is looked up once.
pub(super) struct Receiving<'a> {
    link: &'a Link,
    decoder: &'a BusDecoder,
    /// `None` if the server is gone.
    engine: Option<Arc<Engine>>,
    known: Known,
}

/// What messages have in common. It is forgotten when one of them has an effect.
#[derive(Default)]
struct Known {
    now: Option<Time>,
    namespace: Option<Namespace>,
    /// The namespace and the sender of the last broadcast for nobody here.
    heard: Option<(SmolStr, SmolStr)>,
    /// The last entry of a stream, if it was for nobody here, and the state does not know it yet.
    passed: Option<(SmolStr, StreamPosition)>,
}

impl Known {
    /// Returns whether a namespace has sockets in a room, or any.
    fn has_sockets(&mut self, engine: &Engine, name: &str, room: Option<&str>) -> bool {
        if self.namespace.as_ref().is_none_or(|known| known.name() != name) {
            let Some(found) = engine.application.namespaces.get(name) else { return false };
            self.namespace = Some(found);
        }
        self.namespace.as_ref().is_some_and(|namespace| {
            let members = namespace.0.members.read();
            room.map_or_else(|| members.len() > 0, |room| members.has_room(room))
        })
    }

    /// Forgets what may have changed.
    fn forget(&mut self) {
        *self = Known { passed: self.passed.take(), ..Known::default() };
    }

    fn now(&mut self, engine: &Engine) -> Time {
        *self.now.get_or_insert_with(|| engine.now())
    }

    /// Returns whether a sender was noted at this time.
    fn has_heard(&self, (name, sender): (&SmolStr, &SmolStr)) -> bool {
        self.heard.as_ref().is_some_and(|last| *name == last.0 && *sender == last.1)
    }

    fn pass(&mut self, stream: &str, position: StreamPosition) {
        match &mut self.passed {
            Some((last, passed)) if last == stream => *passed = position.max(*passed),
            other => *other = Some((stream.into(), position)),
        }
    }
}

impl<'a> Receiving<'a> {
    pub(super) fn new(link: &'a Link) -> Receiving<'a> {
        Receiving { link, decoder: link.decoder(), engine: link.engine(), known: Known::default() }
    }

    /// Handles an entry of a stream.
    pub(super) fn entry<'f>(
        &mut self,
        stream: &str,
        offset: &str,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
        buffer: &Bytes,
    ) {
        let Receiving { link, decoder, engine: Some(engine), known } = self else { return };
        let now = known.now(engine);
        // Clients that are away may have been in any room.
        let is_for_all = link.is_behind() || engine.application.recovery.is_some();
        let is_for = |name: &str, room: Option<&str>| is_for_all || known.has_sockets(engine, name, room);
        let decoded = decoder.decode_entry(offset, fields, buffer, is_for);
        let sign = decoded.as_ref().ok().and_then(BusEntry::sign_of_life);
        if let Some((position, heard)) = sign
            && known.passed.as_ref().is_none_or(|(last, _)| last == stream)
            && known.has_heard(heard)
        {
            return known.pass(stream, position);
        }
        let mut state = link.state.lock();
        if let Some((stream, position)) = known.passed.take() {
            state.cluster.pass_entries(&stream, position);
        }
        // An entry that was read before does not count.
        let heard = sign.filter(|(position, _)| state.cluster.is_unread(stream, *position));
        let heard = heard.map(|(_, (name, sender))| (name.clone(), sender.clone()));
        let result = decoded.and_then(|entry| state.cluster.handle_decoded_entry(now, stream, entry));
        match link.finish(state, now, result) {
            true => known.forget(),
            false => known.heard = heard,
        }
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        let Some((stream, position)) = self.known.passed.take() else { return };
        let now = self.known.now.unwrap_or(Time::ZERO);
        let mut state = self.link.state.lock();
        state.cluster.pass_entries(&stream, position);
        self.link.finish(state, now, Ok(()));
    }
}

impl BusReceiver for Receiving<'_> {
    fn handle_message(&mut self, channel: &str, message: &[u8], buffer: &Bytes) {
        let Receiving { link, decoder, engine: Some(engine), known } = self else { return };
        // Sockets may be about to join a room, because another thread has not handled the messages before yet.
        let is_behind = link.is_behind();
        let mut is_for = |name: &str, room: Option<&str>| is_behind || known.has_sockets(engine, name, room);
        if !engine.application.namespaces.have_hashes() && decoder.is_elsewhere(channel, &mut is_for) {
            // Most messages of other servers end here, if the bus cannot keep them away.
            return;
        }
        // It is large, and most messages end here without being moved.
        let decoded = decoder.decode(channel, message, buffer, is_for);
        let heard = match &decoded {
            Ok(None) => return,
            Ok(Some(message)) => message.sign_of_life(),
            Err(_) => None,
        };
        if heard.is_some_and(|heard| known.has_heard(heard)) {
            return;
        }
        let heard = heard.map(|(name, sender)| (name.clone(), sender.clone()));
        let now = known.now(engine);
        let mut state = link.state.lock();
        let result = match decoded {
            Ok(Some(message)) => state.cluster.handle_decoded(now, message),
            other => other.map(|_| ()),
        };
        match link.finish(state, now, result) {
            true => known.forget(),
            false => known.heard = heard,
        }
    }

    fn handle_entry(&mut self, stream: &str, offset: &str, fields: &[(&str, &[u8])], buffer: &Bytes) {
        self.entry(stream, offset, fields.iter().copied(), buffer);
    }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use crate::Server;
    use crate::cluster::{Adapter, Bus, Channel, MemoryBus, Node, RequestId, Sharded, SubscriptionMode};
    use crate::observe::ClusterEvent;
    use crate::server::cluster::Link;
    use crate::testing::TestServer;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use std::future::Future;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Weak};
    use std::task::{Context, Waker};
    use std::time::Duration;

    fn start(adapter: Adapter) -> (TestServer, Arc<Link>) {
        let test = TestServer::new(Server::builder().adapter(adapter).build());
        let link = test.server().engine.application().namespaces.link.clone().expect("a cluster");
        (test, link)
    }

    /// An adapter whose rooms have no channels.
    fn sharded() -> Adapter {
        let settings = Sharded { subscription_mode: SubscriptionMode::Static, ..Sharded::default() };
        Adapter::new(settings, MemoryBus::new())
    }

    fn broadcast(room: &str, number: u8) -> String {
        let packet = format!(r#""packet":{{"type":2,"data":["news",{number}]}}"#);
        format!(
            r#"{{"uid":"a","nsp":"/","type":3,"data":{{{packet},"opts":{{"rooms":["{room}"],"except":[]}}}}}}"#
        )
    }

    /// Passes messages that have arrived at once in one buffer.
    fn receive(link: &Link, messages: &[String]) {
        let buffer = Bytes::from(messages.concat());
        let mut receiver = link.receiver();
        let mut start = 0;
        for message in messages {
            let end = start + message.len();
            receiver.handle_message("socket.io#/#", &buffer[start..end], &buffer);
            start = end;
        }
    }

    #[test]
    fn a_message_finds_the_rooms_that_sockets_have_joined_because_of_one_that_came_with_it() {
        let (test, link) = start(sharded());
        let client = test.connect("/");
        let join = format!(
            r#"{{"uid":"a","nsp":"/","type":4,"data":{{"opts":{{"rooms":["{}"],"except":[]}},"rooms":["late"]}}}}"#,
            client.id()
        );
        let late = |number| broadcast("late", number);
        receive(&link, &[late(1), late(2), join, late(3), late(4)]);
        assert_eq!(client.expect_event::<u8>("news"), 3);
        assert_eq!(client.expect_event::<u8>("news"), 4);
    }

    #[test]
    fn an_entry_that_was_read_before_is_ignored_also_if_those_since_were_for_nobody_here() {
        let (test, link) = start(Adapter::streams(MemoryBus::new()));
        let client = test.connect("/");
        let id = client.id();
        let receive = |entries: &[(&str, &str, u8)]| {
            let mut receiver = link.receiver();
            for (offset, room, number) in entries {
                let data = format!(
                    r#"{{"packet":{{"type":2,"data":["news",{number}]}},"opts":{{"rooms":["{room}"],"except":[]}}}}"#
                );
                let fields = [("uid", &b"a"[..]), ("nsp", b"/"), ("type", b"3"), ("data", data.as_bytes())];
                receiver.handle_entry("socket.io", offset, &fields, &Bytes::new());
            }
        };
        receive(&[("5-0", "elsewhere", 0), ("5-1", "elsewhere", 1), ("5-2", "elsewhere", 2)]);
        receive(&[("5-2", &id, 3), ("5-3", "elsewhere", 4), ("5-4", "elsewhere", 5), ("5-4", &id, 6)]);
        receive(&[("5-4", &id, 7), ("5-5", &id, 8)]);
        assert_eq!(client.expect_event::<u8>("news"), 8);
    }

    /// A bus that keeps what was published last.
    #[derive(Clone, Default)]
    struct Last(Arc<Mutex<Bytes>>);

    impl Bus for Last {
        fn attach(&self, _: Weak<dyn Node>) {}

        fn watch(&self, _: &Channel, _: bool) {}

        fn publish(&self, _: &Channel, message: Bytes) {
            *self.0.lock() = message;
        }

        fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

        fn count(&self, _: &Channel, _: RequestId) {}
    }

    #[test]
    fn sockets_of_other_servers_do_not_keep_what_was_read_with_them() {
        let bus = Last::default();
        let (test, link) = start(Adapter::new(Sharded::default(), bus.clone()));
        let fetched = test.server().fetch_sockets();
        let mut fetched = Box::pin(fetched);
        assert!(fetched.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let asked: serde_json::Value = serde_json::from_slice(&bus.0.lock()).expect("a request");
        let request = asked["data"]["requestId"].as_str().expect("its id");
        link.handle_count(&RequestId::from(request), Some(3));
        let receive = |uid: &str, id: &str| {
            let socket = format!(r#"{{"id":"{id}","rooms":[],"handshake":{{"url":"/{uid}"}},"data":{{}}}}"#);
            let data = format!(r#"{{"requestId":"{request}","sockets":[{socket}]}}"#);
            let message = format!(r#"{{"uid":"{uid}","nsp":"/","type":8,"data":{data}}}"#);
            let buffer = Bytes::from(message.clone() + &" ".repeat(64 << 10));
            let part = buffer.get(..message.len()).expect("the message");
            link.receiver().handle_message("socket.io#/#", part, &buffer);
            buffer
        };
        let first = receive("a", "AAAAAAAAAAAAAAAAAAAA");
        assert!(first.is_unique(), "while another server is awaited");
        let second = receive("b", "BBBBBBBBBBBBBBBBBBBB");
        let sockets = test.block_on(fetched).sockets;
        assert!(first.is_unique() && second.is_unique());
        let mut urls: Vec<_> = sockets.iter().map(|socket| socket.handshake().url()).collect();
        urls.sort_unstable();
        assert_eq!(urls, ["/a", "/b"]);
    }

    #[test]
    fn a_namespace_is_not_taken_for_a_room_of_another_one() {
        let (test, link) = start(Adapter::classic(MemoryBus::new()));
        for name in ["/chat", "/chat#lobby"] {
            let _ = test.server().of(name);
        }
        let client = test.connect("/chat#lobby");
        // A broadcast of Node, in MessagePack: `["a", {type: 2, data: ["news", 1], nsp: "/chat#lobby"}, {rooms: []}]`.
        let message =
            b"\x93\xa1a\x83\xa4type\x02\xa4data\x92\xa4news\x01\xa3nsp\xab/chat#lobby\x81\xa5rooms\x90";
        link.handle_message("socket.io#/chat#lobby#", Bytes::from_static(message));
        assert_eq!(client.expect_event::<u8>("news"), 1);
    }

    #[test]
    fn a_namespace_with_a_hash_in_its_name_and_no_sockets_hears_other_servers() {
        let (test, link) = start(sharded());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let namespace = test.server().of("/chat#lobby");
        namespace.on_server_side_event("go", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        let go = r#"{"uid":"a","nsp":"/chat#lobby","type":9,"data":{"packet":["go"]}}"#;
        link.handle_message("socket.io#/chat#lobby#", go.into());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_sender_is_alive_if_its_entries_follow_one_that_was_read_before() {
        let is_lost = Arc::new(AtomicBool::new(false));
        let told = is_lost.clone();
        let server =
            Server::builder().adapter(Adapter::streams(MemoryBus::new())).on_cluster_event(move |event| {
                told.fetch_or(matches!(event, ClusterEvent::NodeLost { .. }), Ordering::Relaxed);
            });
        let test = TestServer::new(server.build());
        let link = test.server().engine.application().namespaces.link.clone().expect("a cluster");
        let receive = |entries: &[(&str, &str)]| {
            let mut receiver = link.receiver();
            for (offset, kind) in entries {
                let data = br#"{"packet":{"type":2,"data":["news"]},"opts":{"rooms":["x"],"except":[]}}"#;
                let fields = [("uid", &b"a"[..]), ("nsp", b"/"), ("type", kind.as_bytes()), ("data", data)];
                receiver.handle_entry("socket.io", offset, &fields, &Bytes::new());
            }
        };
        receive(&[("5-0", "2"), ("5-1", "3")]);
        test.advance(Duration::from_secs(9));
        receive(&[("5-1", "3"), ("5-2", "3")]);
        test.advance(Duration::from_secs(9));
        assert!(!is_lost.load(Ordering::Relaxed));
        test.advance(Duration::from_secs(2));
        assert!(is_lost.load(Ordering::Relaxed));
    }
}
