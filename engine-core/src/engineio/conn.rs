//! The facts about the connections of a session.

use super::transport::Transport;
use super::version::Version;
use crate::time::Time;
use core::num::NonZeroU32;
use core::time::Duration;

/// The facts about a session's connections at one moment: the transport, how fast the peer answers, and how much was sent
/// and received.
///
/// The counts begin with the session, and continue when it moves to another transport. They include WebSocket frames as they
/// are transferred, and the bodies of polling before HTTP compresses them, but neither TLS nor the heads of requests and
/// responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conn {
    /// The transport in use.
    pub transport: Transport,
    /// The version of the protocol, as the reference's `socket.conn.protocol`.
    pub version: Version,
    /// The time from a ping to its pong, of the last ping that was answered. `None` before that: the first ping is sent
    /// after the ping interval, which is 25 s by default. Always `None` in version 3, in which the client sends the pings.
    ///
    /// Messages take as long: the time includes what the ping waited behind queued messages, and the pong for handlers to
    /// catch up. Its resolution is 1 µs, and it is 71 minutes at most.
    pub round_trip: Option<Duration>,
    /// The number of bytes that arrived.
    pub received_bytes: u64,
    /// The number of bytes that were passed to the operating system, or to the server that this one is mounted in.
    pub sent_bytes: u64,
    /// The number of bytes that wait to be sent.
    pub queued_bytes: usize,
}

/// A number of microseconds in four bytes, because every session has one. Saturates after 71 minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Micros(
    // Plus one.
    NonZeroU32,
);

impl Micros {
    /// Returns the time from `earlier` to `later`; zero if `earlier` is later.
    pub(super) fn between(earlier: Time, later: Time) -> Micros {
        let micros = later.saturating_since(earlier).as_micros();
        Micros(NonZeroU32::MIN.saturating_add(u32::try_from(micros).unwrap_or(u32::MAX)))
    }

    pub(super) fn to_duration(self) -> Duration {
        Duration::from_micros(u64::from(self.0.get() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_saturate_instead_of_wrapping() {
        let end = Time::from_origin(Duration::MAX);
        let longest = Micros::between(Time::ZERO, end).to_duration();
        assert_eq!(longest, Duration::from_micros(u64::from(u32::MAX) - 1));
        assert_eq!(Micros::between(end, Time::ZERO).to_duration(), Duration::ZERO);
        assert_eq!(size_of::<Option<Micros>>(), 4);
    }
}
