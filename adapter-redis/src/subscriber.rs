//! The connection that subscribes.

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::frame::{self, Frame};
use crate::runtime::{Runtime, Stream};
use crate::state::{LinkId, Shared};
use bytes::{Bytes, BytesMut};
use redis::cmd;
use sockeye_core::cluster::{Channel, ChannelKind, Node};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// The bytes that are read at once, unless more are known to come.
const READ: usize = 16 << 10;

/// The messages that are handled before other tasks have a turn.
const MESSAGES: usize = 256;

/// The most channels in one command.
const CHANNELS: usize = 1000;

/// The subscribing half of a link.
pub(crate) struct Subscriber {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    /// The bytes of the output that are written.
    written: usize,
    /// The channels that are subscribed to, or will be by the output.
    channels: BTreeSet<Channel>,
    /// The confirmations that are awaited.
    unconfirmed: usize,
    /// When the oldest command without an answer was written.
    asked: Option<Instant>,
    /// The answers to `AUTH` and `PING` that are awaited.
    unanswered: usize,
}

impl Subscriber {
    /// Connects, logs in and subscribes to channels. The answers are not awaited here.
    pub(crate) async fn open(
        runtime: Runtime,
        to: &Endpoint,
        timeout: Duration,
        channels: Vec<Channel>,
    ) -> Result<Subscriber, Failure> {
        let stream = runtime.connect(to, timeout).await?;
        let mut subscriber = Subscriber {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            channels: BTreeSet::new(),
            unconfirmed: 0,
            asked: None,
            unanswered: 0,
        };
        if let Some(password) = to.login.password() {
            let mut auth = cmd("AUTH");
            if let Some(user) = to.login.username() {
                auth.arg(user);
            }
            auth.arg(password).write_packed_command(&mut subscriber.output);
            subscriber.unanswered += 1;
        }
        // Without a password, and without channels, nothing else would tell that one is needed.
        subscriber.ping();
        subscriber.change(channels.into_iter().map(|channel| (channel, true)).collect());
        Ok(subscriber)
    }

    /// Subscribes to channels, or no longer. Channels of one kind share a command, except that in a Redis Cluster only
    /// those of one slot may.
    pub(crate) fn change(&mut self, changes: Vec<(Channel, bool)>) {
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
                command.write_packed_command(&mut self.output);
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

    /// Writes commands, and passes messages to the node.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (shared, id): (&Shared, LinkId),
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        self.poll_write(cx, to)?;
        let mut messages = 0;
        loop {
            while let Some(frame) = frame::take(&mut self.input).map_err(|_| Failure::malformed(to))? {
                match frame {
                    Frame::Message { channel, payload } => {
                        messages += 1;
                        pass(&channel, payload, node);
                    }
                    Frame::Subscribed => self.confirmed(),
                    Frame::Unsubscribed { channel } => {
                        if self.has_moved(&channel, (shared, id)) {
                            return Err(Failure::refused(to, "MOVED"));
                        }
                        self.confirmed();
                    }
                    Frame::Done => {
                        self.unanswered = self.unanswered.saturating_sub(1);
                        self.answered();
                    }
                    Frame::Refused(text) => return Err(Failure::refused(to, &text)),
                }
            }
            if messages >= MESSAGES {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if self.poll_read(cx, to)?.is_pending() {
                return Ok(());
            }
        }
    }

    fn confirmed(&mut self) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        self.answered();
    }

    fn answered(&mut self) {
        let more = self.unconfirmed + self.unanswered > 0;
        self.asked = more.then(Instant::now);
    }

    /// Returns whether a channel was taken away, because its slot is at another server now.
    fn has_moved(&self, name: &Bytes, (shared, id): (&Shared, LinkId)) -> bool {
        let Ok(name) = std::str::from_utf8(name) else { return false };
        let channel = Channel { kind: ChannelKind::Sharded, name: name.into() };
        self.channels.contains(&channel) && shared.is_wanted(id, &channel)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &Endpoint) -> Result<(), Failure> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(Failure::closed(to)),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(Failure::lost(to, &error)),
            }
        }
        if self.written > 0 {
            self.written = 0;
            self.output = Vec::new();
        }
        // TLS keeps what does not fit into the socket.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(Failure::lost(to, &error)),
            _ => Ok(()),
        }
    }

    /// Reads into the input. Pending if there is nothing.
    fn poll_read(&mut self, cx: &mut Context<'_>, to: &Endpoint) -> Result<Poll<()>, Failure> {
        self.input.reserve(frame::missing(&self.input).max(READ));
        // The future keeps nothing between polls.
        match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
            Poll::Ready(Ok(0)) => Err(Failure::closed(to)),
            Poll::Ready(Ok(_)) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(Failure::lost(to, &error)),
            Poll::Pending => {
                if self.input.is_empty() {
                    // An idle connection needs no buffer.
                    self.input = BytesMut::new();
                }
                Ok(Poll::Pending)
            }
        }
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
        cmd("PING").write_packed_command(&mut self.output);
        self.unanswered += 1;
        self.asked = Some(Instant::now());
    }
}

fn pass(channel: &Bytes, payload: Bytes, node: &dyn Node) {
    // The node watches names that are text, so that no other can come, except by a pattern.
    if let Ok(channel) = std::str::from_utf8(channel) {
        node.handle_message(channel, payload);
    }
}
