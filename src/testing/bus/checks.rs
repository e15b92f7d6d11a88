//! The checks, one for each guarantee.

use super::BusCheck;
use super::probe::{Probe, QUIET};
use crate::cluster::{BusStatus, Channel, ChannelKind};
use bytes::Bytes;
use sockeye_core::cluster::{Entry, Found};
use std::sync::Arc;
use std::time::Duration;

/// The number of messages whose order is checked.
const MESSAGES: usize = 500;

/// The time for which values are kept.
const LIFETIME: Duration = Duration::from_secs(60);

impl BusCheck {
    /// The messages of one node on one channel arrive once, and in their order, whatever their sizes.
    pub(super) async fn check_order(&self, kind: ChannelKind) {
        let (channel, [a, b, c]) = (self.channel(kind), [self.probe(), self.probe(), self.probe()]);
        for probe in [&a, &b, &c] {
            probe.watch(&channel, true);
        }
        a.until_watched(&channel, 3).await;
        let messages: Vec<Bytes> = (0..MESSAGES)
            .map(|number| {
                let len = if number % 100 == 99 { 1 << 20 } else { number % 7 * 100 };
                let content = (0..=u8::MAX).cycle().skip(number).take(len);
                format!("{number} ").into_bytes().into_iter().chain(content).collect()
            })
            .collect();
        for message in &messages {
            a.publish(&channel, message.clone());
            b.publish(&channel, message.clone());
        }
        for (probe, is_sender) in [(&c, false), (&b, true)] {
            // A node ignores what it has sent itself.
            let senders = if is_sender { 1 } else { 2 };
            let what = "all messages on a channel that is watched arrive";
            probe.wait(what, |heard| (heard.on(&channel).len() >= senders * MESSAGES).then_some(())).await;
        }
        c.sleep(QUIET).await;
        c.heard(|heard| {
            let heard = heard.on(&channel);
            assert_eq!(heard.len(), 2 * MESSAGES, "no message arrives twice");
            let mut next = [0; MESSAGES];
            let mut last = [None; 2];
            for message in heard {
                let number = messages.iter().position(|known| *known == message);
                let number = number.expect("messages arrive unchanged");
                // The first copy of a number that arrives is that of the sender that is ahead.
                let copy = next[number];
                next[number] += 1;
                assert!(
                    copy < 2 && last[copy].is_none_or(|last| last < number),
                    "messages of one node arrive in order"
                );
                last[copy] = Some(number);
            }
        });
    }

    /// Only what is watched arrives, and watching a channel twice is the same as once.
    pub(super) async fn check_watching(&self, kind: ChannelKind) {
        let [a, b] = [self.probe(), self.probe()];
        let [watched, other, ended] = [(); 3].map(|()| self.channel(kind));
        b.watch(&watched, true);
        b.watch(&watched, true);
        b.watch(&ended, true);
        a.until_watched(&watched, 1).await;
        a.until_watched(&ended, 1).await;
        b.watch(&ended, false);
        // A second time changes nothing.
        b.watch(&ended, false);
        b.watch(&other, false);
        a.until_watched(&ended, 0).await;
        for channel in [&ended, &other, &watched] {
            a.publish(channel, "hello");
        }
        b.wait("a message on a channel that is watched arrives", |heard| {
            (!heard.on(&watched).is_empty()).then_some(())
        })
        .await;
        b.sleep(QUIET).await;
        b.heard(|heard| {
            assert_eq!(heard.on(&watched), [b"hello"], "watching a channel twice is the same as once");
            assert_eq!(heard.messages.len(), 1, "nothing arrives that is not watched: {:?}", heard.messages);
        });
        b.watch(&ended, true);
        a.until_watched(&ended, 1).await;
        a.publish(&ended, "again");
        b.wait("a channel can be watched again", |heard| (heard.on(&ended) == [b"again"]).then_some(()))
            .await;
    }

    /// The nodes that watch a channel are counted, and the one that asks is one of them.
    pub(super) async fn check_count(&self, kind: ChannelKind) {
        let channel = self.channel(kind);
        let [a, b] = [self.probe(), self.probe()];
        assert_eq!(a.count(&channel).await, Some(0), "a channel that no node watches has no subscribers");
        a.watch(&channel, true);
        a.until_watched(&channel, 1).await;
        b.watch(&channel, true);
        a.until_watched(&channel, 2).await;
        b.until_watched(&channel, 2).await;
        drop(b);
        a.until_watched(&channel, 1).await;
    }

    /// Many channels can be watched at once.
    pub(super) async fn check_many_channels(&self, kind: ChannelKind) {
        let [a, b] = [self.probe(), self.probe()];
        let channels: Vec<Channel> = (0..MESSAGES).map(|_| self.channel(kind)).collect();
        channels.iter().for_each(|channel| b.watch(channel, true));
        if let Some(last) = channels.last() {
            a.until_watched(last, 1).await;
        }
        channels.iter().for_each(|channel| a.publish(channel, channel.name.to_string()));
        b.wait("messages on many channels arrive", |heard| (heard.messages.len() >= MESSAGES).then_some(()))
            .await;
        b.heard(|heard| {
            let is_own = |(name, message): &(String, Bytes)| *message == name.as_bytes();
            assert!(heard.messages.iter().all(is_own), "a message arrives with the name of its channel");
        });
        channels.iter().for_each(|channel| b.watch(channel, false));
    }

    /// A message on a channel that matches a pattern arrives once, with the name of its channel.
    pub(super) async fn check_patterns(&self) {
        let [a, b] = [self.probe(), self.probe()];
        let base = self.channel(ChannelKind::Plain);
        let name =
            |rest: &str| Channel { kind: ChannelKind::Plain, name: format!("{}[x]{rest}", base.name).into() };
        let pattern = Channel { kind: ChannelKind::Pattern, name: format!(r"{}\[x\]*", base.name).into() };
        b.watch_until_heard(&pattern, || a.publish(&name(""), "ping")).await;
        a.publish(&base, "no");
        a.publish(&Channel { kind: ChannelKind::Plain, name: format!("{}x", base.name).into() }, "no");
        for rest in ["", "room#", "other#"] {
            a.publish(&name(rest), rest.to_owned());
        }
        b.wait("messages that match a pattern arrive", |heard| (heard.messages.len() >= 3).then_some(()))
            .await;
        b.sleep(QUIET).await;
        b.heard(|heard| {
            let mut heard: Vec<_> =
                heard.messages.iter().map(|(name, message)| (&**name, &**message)).collect();
            heard.sort_unstable();
            let expected = ["", "other#", "room#"].map(|rest| (name(rest).name, rest));
            let expected: Vec<_> =
                expected.iter().map(|(name, rest)| (name.as_str(), rest.as_bytes())).collect();
            assert_eq!(heard, expected, "what matches a pattern arrives once, with the name of its channel");
        });
        b.watch(&pattern, false);
    }

    /// Every node reads the entries of a stream in one order, from the end.
    pub(super) async fn check_streams(&self) {
        let [a, b, c] = [self.probe(), self.probe(), self.probe()];
        let stream = Channel { kind: ChannelKind::Stream, name: self.channel(ChannelKind::Stream).name };
        let append = |probe: &Probe, number: String| {
            let fields = vec![
                ("uid", Bytes::from_static(b"a")),
                ("data", Bytes::from(number)),
                ("raw", (&b"\x00\xff"[..]).into()),
            ];
            probe.call(|bus| bus.append(&stream, fields));
        };
        append(&a, "before".into());
        for probe in [&a, &b, &c] {
            probe.watch_until_heard(&stream, || append(&a, "ping".into())).await;
        }
        for probe in [&a, &b, &c] {
            probe.sleep(QUIET).await;
            probe.heard(|heard| {
                assert!(heard.entries.iter().all(|entry| entry.2.iter().all(|it| it.1 != "before")))
            });
        }
        for number in 0..MESSAGES {
            append(&a, format!("a {number}"));
            append(&b, format!("b {number}"));
        }
        let mut orders = Vec::new();
        for probe in [&b, &c] {
            // Entries may arrive again, behind or at the position of the last one.
            let order = probe
                .wait("all entries of a stream arrive", |heard| {
                    let mut last = (0, 0);
                    let mut order = Vec::new();
                    for (name, offset, fields) in &heard.entries {
                        assert_eq!(*name, stream.name, "an entry arrives with the name of its stream");
                        let position = position(offset);
                        let data =
                            fields.iter().find(|(key, _)| key == "data").map(|(_, value)| value.clone());
                        let raw = fields.iter().any(|(key, value)| key == "raw" && value == &b"\x00\xff"[..]);
                        assert!(raw && fields.len() == 3, "fields arrive unchanged: {fields:?}");
                        if position > last {
                            last = position;
                            order.extend(data.filter(|data| data != "ping"));
                        }
                    }
                    (order.len() == 2 * MESSAGES).then_some(order)
                })
                .await;
            for sender in ["a", "b"] {
                let numbers = order.iter().filter_map(|data| {
                    let data = std::str::from_utf8(data).ok()?;
                    data.strip_prefix(sender)?.trim_start().parse::<usize>().ok()
                });
                assert!(numbers.eq(0..MESSAGES), "the entries of one node arrive in order");
            }
            orders.push(order);
        }
        assert!(orders.windows(2).all(|two| two[0] == two[1]), "all nodes read a stream in one order");
    }

    /// A value is found by every node until it is removed, or at the end of its lifetime.
    pub(super) async fn check_values(&self) {
        let [a, b] = [self.probe(), self.probe()];
        let key = self.channel(ChannelKind::Stream).name;
        let value = |content: &'static [u8]| Found::Value(Some(Bytes::from_static(content)));
        let save = |content: &'static [u8], lifetime| {
            a.call(|bus| bus.save(&key, Bytes::from_static(content), lifetime));
        };
        assert_eq!(a.load(&key, false).await, Found::Value(None), "a value that was not saved is not found");
        save(b"first", LIFETIME);
        save(b"\x00second\xff", LIFETIME);
        for is_removed in [false, true] {
            let found = a.load(&key, is_removed).await;
            assert_eq!(
                found,
                value(b"\x00second\xff"),
                "the value that was saved last is found until it is removed"
            );
        }
        assert_eq!(b.load(&key, false).await, Found::Value(None), "a value that was removed is not found");
        save(b"third", LIFETIME);
        a.call(|bus| bus.flush()).await;
        assert_eq!(b.load(&key, true).await, value(b"third"), "a value is found by other nodes");
        assert_eq!(a.load(&key, true).await, Found::Value(None), "a value is removed for all nodes");
        save(b"fourth", Duration::from_millis(1));
        a.until_forgotten(&key).await;
    }

    /// The entries of a stream can be read again from a position on.
    pub(super) async fn check_reading(&self) {
        let [a, b] = [self.probe(), self.probe()];
        let stream = self.channel(ChannelKind::Stream);
        let read = async |from: &str| match b.look_up(|bus, request| bus.read(&stream, from, request)).await {
            Found::Entries(entries) => entries,
            found => panic!("entries are found in a stream, not {found:?}"),
        };
        assert_eq!(read("0-0").await, [], "nothing is read from an empty stream");
        for number in 0..10 {
            a.call(|bus| bus.append(&stream, vec![("data", Bytes::from(number.to_string()))]));
        }
        a.call(|bus| bus.flush()).await;
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let from = all.last().map_or("0-0", |(offset, _)| offset);
            let mut some = read(from).await;
            // The entry at the position is there, too.
            let known = if all.is_empty() { 0 } else { 1 };
            assert_eq!(
                all.last(),
                some.get(..known).and_then(<[_]>::first),
                "a stream is read from a position on"
            );
            if some.len() == known {
                break;
            }
            all.extend(some.split_off(known));
        }
        let data: Vec<_> = all.iter().flat_map(|(_, fields)| fields).collect();
        let expected: Vec<_> =
            (0..10).map(|number| ("data".to_owned(), Bytes::from(number.to_string()))).collect();
        assert!(data.into_iter().eq(&expected), "what is read again is unchanged and in order: {all:?}");
    }

    /// What is asked for before the node is attached is done once the bus is connected, which it reports.
    pub(super) async fn check_queue(&self) {
        let kind = if self.has(ChannelKind::Plain) { ChannelKind::Plain } else { ChannelKind::Sharded };
        let (channel, a) = (self.channel(kind), self.probe());
        let b = Probe::new(self.runtime.clone(), (self.make)(), self.timeout);
        b.watch(&channel, true);
        a.watch(&channel, true);
        a.until_watched(&channel, 1).await;
        b.publish(&channel, "early");
        b.attach();
        b.wait("the bus reports that it is connected", |heard| {
            heard.statuses.contains(&BusStatus::Connected).then_some(())
        })
        .await;
        a.until_watched(&channel, 2).await;
        a.wait("a message from before the node was attached arrives", |heard| {
            (heard.on(&channel) == [b"early"]).then_some(())
        })
        .await;
        a.publish(&channel, "late");
        let flushed = a.call(|bus| bus.flush());
        flushed.await;
        b.wait("a channel from before the node was attached is watched", |heard| {
            heard.on(&channel).contains(&&b"late"[..]).then_some(())
        })
        .await;
    }

    /// A bus that is dropped leaves nothing behind, and holds its node only while it calls it.
    pub(super) async fn check_end(&self) {
        let kind = if self.has(ChannelKind::Plain) { ChannelKind::Plain } else { ChannelKind::Sharded };
        let (channel, a) = (self.channel(kind), self.probe());
        let Probe { bus, ear, .. } = self.probe();
        bus.watch(&channel, true);
        a.until_watched(&channel, 1).await;
        assert_eq!(Arc::strong_count(&ear), 1, "a bus holds its node only while it calls it");
        drop(bus);
        a.until_watched(&channel, 0).await;
        a.sleep(QUIET).await;
        assert_eq!(Arc::weak_count(&ear), 0, "the tasks of a bus that is dropped end");
    }
}

/// Reads an offset such as `1526919030474-55`.
fn position(offset: &str) -> (u64, u64) {
    let parts =
        offset.split_once('-').and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
    parts.expect("an offset is two numbers with a hyphen between them")
}
