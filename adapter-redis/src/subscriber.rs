//! The connection that subscribes.

use crate::builder::Config;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::frame::{Frame, Frames};
use crate::runtime::Runtime;
use crate::state::{LinkId, Shared};
use crate::wire::Wire;
use redis::cmd;
use sockeye_core::cluster::{BusStatus, Channel, ChannelKind, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::task::Context;
use std::time::{Duration, Instant};

/// The messages that are handled before other tasks have a turn.
const MESSAGES: usize = 256;

/// The most channels in one command.
const CHANNELS: usize = 1000;

/// The subscribing half of a link.
pub(crate) struct Subscriber {
    wire: Wire,
    frames: Frames,
    /// The channels that are subscribed to, or will be by the output.
    channels: BTreeSet<Channel>,
    /// The confirmations that are awaited.
    unconfirmed: usize,
    /// Of these, how many say that a sharded channel is no longer subscribed to, by its name.
    leaving: BTreeMap<String, usize>,
    /// When the oldest command without an answer was written, or something came since.
    asked: Option<Instant>,
    /// The answers to `AUTH` and `PING` that are awaited.
    unanswered: usize,
}

/// What the channels of a link were changed by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Streams are to be read, or no longer.
    pub(crate) has_streams: bool,
    /// Channels have come from another link, or wait to be subscribed to.
    pub(crate) has_more: bool,
}

impl Subscriber {
    /// Connects, logs in and subscribes to channels. The answers are not awaited here.
    pub(crate) async fn open(
        runtime: Runtime,
        to: &Endpoint,
        config: &Config,
        channels: Vec<Channel>,
    ) -> Result<Subscriber, Failure> {
        let mut subscriber = Subscriber {
            wire: Wire::new(runtime.connect(to, config.connection_timeout).await?),
            frames: Frames::new(config.max_message),
            channels: BTreeSet::new(),
            unconfirmed: 0,
            leaving: BTreeMap::new(),
            asked: None,
            unanswered: 0,
        };
        subscriber.unanswered = usize::from(subscriber.wire.log_in(to));
        // Without a password, and without channels, nothing else would tell that one is needed.
        subscriber.ping();
        subscriber.change(channels.into_iter().map(|channel| (channel, true)).collect());
        Ok(subscriber)
    }

    /// Subscribes to channels, or no longer. Channels of one kind share a command, except that in a Redis Cluster only
    /// those of one slot may.
    fn change(&mut self, changes: Vec<(Channel, bool)>) {
        let mut names: Vec<(&'static str, Channel)> = Vec::new();
        for (channel, on) in changes {
            let changed =
                if on { self.channels.insert(channel.clone()) } else { self.channels.remove(&channel) };
            let command = match (channel.kind, on) {
                (ChannelKind::Plain, true) => "SUBSCRIBE",
                (ChannelKind::Plain, false) => "UNSUBSCRIBE",
                (ChannelKind::Pattern, true) => "PSUBSCRIBE",
                (ChannelKind::Pattern, false) => "PUNSUBSCRIBE",
                (ChannelKind::Sharded, true) => "SSUBSCRIBE",
                (ChannelKind::Sharded, false) => "SUNSUBSCRIBE",
                (ChannelKind::Stream, _) => continue,
            };
            if changed && command == "SUNSUBSCRIBE" {
                *self.leaving.entry(channel.name.to_string()).or_default() += 1;
            }
            if changed {
                names.push((command, channel));
            }
        }
        self.unconfirmed += names.len();
        // A channel changes at most once in a batch, so that the order between commands does not matter.
        names.sort();
        for group in names.chunk_by(|(a, channel), (b, _)| a == b && channel.kind != ChannelKind::Sharded) {
            for part in group.chunks(CHANNELS) {
                let Some((command, _)) = part.first() else { continue };
                let mut command = cmd(command);
                for (_, channel) in part {
                    command.arg(channel.name.as_str());
                }
                self.wire.send(&command);
            }
        }
        if !names.is_empty() {
            self.asked.get_or_insert_with(Instant::now);
        }
    }

    /// Returns whether all subscriptions are confirmed.
    pub(crate) fn is_ready(&self) -> bool {
        self.unconfirmed == 0 && self.unanswered == 0
    }

    /// Writes commands, and those of further changes once nothing is left of the earlier ones: until then, a room that comes and goes
    /// is no change.
    pub(crate) fn poll_changes(
        &mut self,
        cx: &mut Context<'_>,
        (shared, id): (&Shared, LinkId),
        to: &Endpoint,
    ) -> Result<Changed, Failure> {
        if self.wire.poll_write(cx, to)?.is_pending() {
            return Ok(Changed { has_streams: false, has_more: shared.has_more(id) });
        }
        let (changes, has_more) = shared.take_changes(id);
        let has_streams = changes.iter().any(|(channel, _)| channel.kind == ChannelKind::Stream);
        if !changes.is_empty() {
            self.change(changes);
            let _ = self.wire.poll_write(cx, to)?;
        }
        Ok(Changed { has_streams, has_more })
    }

    /// Passes messages to the node.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (shared, id): (&Shared, LinkId),
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        let mut messages = 0;
        loop {
            messages += self.handle_input((shared, id), to, node)?;
            if messages >= MESSAGES {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if self.wire.poll_read(cx, self.frames.missing(), to)?.is_pending() {
                return Ok(());
            }
            // The answer may be behind many messages.
            self.asked = self.asked.map(|_| Instant::now());
        }
    }

    /// Handles what was read. Returns the number of messages.
    fn handle_input(
        &mut self,
        (shared, id): (&Shared, LinkId),
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<usize, Failure> {
        let input = self.wire.take();
        let mut rest = &*input;
        let mut messages = 0;
        let mut receiver = None;
        while let Some(frame) = self.frames.take(&mut rest).map_err(|_| Failure::malformed(to))? {
            match frame {
                Frame::Message { channel, payload } => {
                    messages += 1;
                    // The node watches names that are text, so that no other can come, except by a pattern.
                    if let Ok(channel) = std::str::from_utf8(channel) {
                        let receiver = receiver.get_or_insert_with(|| node.receiver());
                        receiver.handle_message(channel, payload, &input);
                    }
                }
                Frame::Subscribed | Frame::Unsubscribed => self.confirmed(),
                Frame::UnsubscribedSharded { channel } => match std::str::from_utf8(channel) {
                    Ok(channel) if self.has_moved(channel, (shared, id)) => {}
                    _ => self.confirmed(),
                },
                Frame::Done => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    self.answered();
                }
                Frame::Refused(text) => return Err(Failure::refused(to, &text)),
                Frame::TooLong { len } => {
                    let limit = shared.config.max_message;
                    node.handle_status(BusStatus::MessageTooLong { len, limit });
                }
            }
        }
        drop(receiver);
        let rest = rest.len();
        self.wire.put_back(input, rest);
        Ok(messages)
    }

    fn confirmed(&mut self) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        self.answered();
    }

    fn answered(&mut self) {
        let more = self.unconfirmed + self.unanswered > 0;
        self.asked = more.then(Instant::now);
    }

    /// Returns whether a channel that is no longer subscribed to was taken away, because its slot is at another server now.
    fn has_moved(&mut self, name: &str, (shared, id): (&Shared, LinkId)) -> bool {
        // It may be watched again since the command that is confirmed.
        if let Some(awaited) = self.leaving.get_mut(name) {
            *awaited -= 1;
            if *awaited == 0 {
                self.leaving.remove(name);
            }
            return false;
        }
        let channel = Channel { kind: ChannelKind::Sharded, name: name.into() };
        let has_moved = self.channels.remove(&channel);
        if has_moved {
            shared.handle_moved(id, channel);
        }
        has_moved
    }

    /// Checks that Redis answers. To be called at intervals.
    pub(crate) fn check(&mut self, timeout: Duration, to: &Endpoint) -> Result<(), Failure> {
        match self.asked {
            Some(asked) if asked.elapsed() >= timeout => return Err(Failure::silent(to)),
            Some(_) => {}
            None => self.ping(),
        }
        Ok(())
    }

    fn ping(&mut self) {
        self.wire.send(&cmd("PING"));
        self.unanswered += 1;
        self.asked = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::builder::Servers;
    use crate::endpoint::Place;
    use crate::reader::tests::Counts;
    use crate::slots::SLOTS;
    use crate::state::FIRST;
    use crate::topology::Server;
    use std::pin::Pin;
    use std::task::Waker;
    use tokio::io::AsyncRead;

    fn wire(input: &str) -> Wire {
        let input: &[u8] = input.to_owned().leak().as_bytes();
        Wire::new(Box::new(tokio::io::join(input, tokio::io::sink())))
    }

    /// Returns a subscriber that gets this, and then the end of the connection.
    fn subscriber(input: &str) -> Subscriber {
        subscriber_over(wire(input))
    }

    fn subscriber_over(wire: Wire) -> Subscriber {
        Subscriber {
            wire,
            frames: Frames::new(100),
            channels: BTreeSet::new(),
            unconfirmed: 0,
            leaving: BTreeMap::new(),
            asked: None,
            unanswered: 0,
        }
    }

    #[test]
    fn a_server_that_sends_messages_is_not_silent() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to.clone()), Config::default());
        let mut subscriber = subscriber("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n");
        subscriber.ping();
        subscriber.asked = Instant::now().checked_sub(Duration::from_secs(60));
        let timeout = shared.config.response_timeout;
        assert_eq!(subscriber.check(timeout, &to), Err(Failure::silent(&to)));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = subscriber.poll(&mut cx, (&shared, FIRST), &to, &Counts::default());
        assert_eq!(subscriber.check(timeout, &to), Ok(()));
        assert!(!subscriber.is_ready(), "the answer is still awaited");
    }

    #[test]
    fn a_channel_that_is_watched_again_before_its_end_is_confirmed_has_not_moved() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to.clone()), Config::default());
        let channels =
            [ChannelKind::Sharded, ChannelKind::Plain].map(|kind| Channel { kind, name: "c".into() });
        let confirmations = |kind: &str| {
            let of_kind =
                |command: &str| format!("*3\r\n${}\r\n{command}\r\n$1\r\nc\r\n:1\r\n", command.len());
            ["subscribe", "unsubscribe", "subscribe"]
                .map(|command| of_kind(&format!("{kind}{command}")))
                .concat()
        };
        let moved = "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n";
        let input = confirmations("") + &confirmations("s");
        let mut subscriber = subscriber(&input);
        for channel in &channels {
            shared.watch(channel, true);
        }
        for on in [true, false, true] {
            subscriber.change(channels.iter().map(|channel| (channel.clone(), on)).collect());
        }
        let mut cx = Context::from_waker(Waker::noop());
        let counts = Counts::default();
        let ended = subscriber.poll(&mut cx, (&shared, FIRST), &to, &counts);
        assert_eq!(ended, Err(Failure::closed(&to)), "at the end of the input");
        assert!(subscriber.is_ready() && !shared.take_asked());
        assert!(subscriber.channels.iter().eq([&channels[1], &channels[0]]));

        // Nobody has asked for this one.
        subscriber.wire = wire(moved);
        let _ = subscriber.poll(&mut cx, (&shared, FIRST), &to, &counts);
        assert!(shared.take_asked() && subscriber.is_ready());
        assert!(subscriber.channels.iter().eq([&channels[1]]));
    }

    #[test]
    fn rooms_that_come_and_go_while_redis_does_not_read_are_not_told_to_it() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to.clone()), Config::default());
        let (stream, mut redis) = tokio::io::duplex(64);
        let mut subscriber = subscriber_over(Wire::new(Box::new(stream)));
        let mut cx = Context::from_waker(Waker::noop());
        shared.begin(FIRST);
        let channel = |name: String| Channel { kind: ChannelKind::Plain, name: name.into() };
        for number in 0..10 {
            shared.watch(&channel(format!("early-{number}")), true);
        }
        for number in 0..1000 {
            subscriber.poll_changes(&mut cx, (&shared, FIRST), &to).unwrap();
            for on in [true, false] {
                shared.watch(&channel(format!("short-{number}")), on);
            }
            shared.watch(&channel("early-3".into()), number % 2 == 0);
        }
        shared.watch(&channel("late".into()), true);
        let mut seen = Vec::new();
        for _ in 0..20 {
            subscriber.poll_changes(&mut cx, (&shared, FIRST), &to).unwrap();
            let mut part = [0; 64];
            let mut part = tokio::io::ReadBuf::new(&mut part);
            let _ = Pin::new(&mut redis).poll_read(&mut cx, &mut part).map(Result::unwrap);
            seen.extend_from_slice(part.filled());
        }
        let seen = String::from_utf8(seen).unwrap();
        let commands: Vec<_> = seen.split('*').filter(|command| !command.is_empty()).collect();
        let [early, late, gone] = commands[..] else { panic!("{commands:?}") };
        assert!(early.starts_with("11\r\n$9\r\nSUBSCRIBE\r\n$7\r\nearly-0\r\n"), "{early}");
        assert_eq!(late, "2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nlate\r\n");
        assert_eq!(gone, "2\r\n$11\r\nUNSUBSCRIBE\r\n$7\r\nearly-3\r\n");
    }

    #[test]
    fn channels_of_another_link_are_told_of_before_they_can_be_subscribed_to() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to.clone()), Config::default());
        let owned_by = |owner: u16| {
            let slots = |port| if port == owner { vec![(0, SLOTS - 1)] } else { Vec::new() };
            let server = |port| Server { place: Place::Tcp("redis".into(), port), slots: slots(port) };
            shared.set_servers(&[1, 2].map(server), &Counts::default()).0
        };
        let [(first, _), (second, _)] = owned_by(1)[..] else { panic!("two servers are new") };
        let channel = |name: &str| Channel { kind: ChannelKind::Sharded, name: name.into() };
        shared.watch(&channel("one"), true);
        assert_eq!((shared.begin(first).len(), shared.begin(second).len()), (1, 0));
        let (stream, _redis) = tokio::io::duplex(8);
        let mut subscriber = subscriber_over(Wire::new(Box::new(stream)));
        let mut cx = Context::from_waker(Waker::noop());
        let mut has_more =
            || subscriber.poll_changes(&mut cx, (&shared, second), &to).map(|changed| changed.has_more);
        owned_by(2);
        assert_eq!((has_more(), has_more()), (Ok(true), Ok(false)));
        owned_by(1);
        owned_by(2);
        assert_eq!(
            (has_more(), has_more()),
            (Ok(true), Ok(true)),
            "Redis has not read what is written first"
        );
    }
}
