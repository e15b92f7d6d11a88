//! The packet that opens a session, as a server may send it.

use super::error::HandshakeError;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;
use serde::Deserialize;

/// The longest handshake, in bytes.
const MAX_LEN: usize = 16 << 10;
/// The longest session id, in bytes.
const MAX_ID: usize = 256;
/// The bounds of the time between pings, whatever a server says. No client of JavaScript can wait longer.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis((1 << 31) - 1);

/// What a server said when it opened a session. Within bounds, whatever it said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    pub(super) sid: Box<str>,
    pub(super) can_upgrade: bool,
    /// In milliseconds: every client has one.
    patience: u32,
    ping_timeout: u32,
    /// `None` if the server says nothing that is a limit.
    pub(super) max_payload: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open<'a> {
    #[serde(borrow)]
    sid: Cow<'a, str>,
    #[serde(borrow, default)]
    upgrades: Vec<Cow<'a, str>>,
    ping_interval: f64,
    ping_timeout: f64,
    #[serde(default)]
    max_payload: Option<f64>,
}

impl Handshake {
    pub(super) fn parse(data: &str) -> Result<Handshake, HandshakeError> {
        if data.len() > MAX_LEN {
            return Err(HandshakeError::TooLong);
        }
        let open: Open<'_> = serde_json::from_str(data).map_err(|_| HandshakeError::Json)?;
        // It goes into the query of every request.
        let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if open.sid.is_empty() || open.sid.len() > MAX_ID || !open.sid.bytes().all(is_id_byte) {
            return Err(HandshakeError::Id);
        }
        if !(open.ping_interval >= 0.0 && open.ping_timeout >= 0.0) {
            return Err(HandshakeError::Ping);
        }
        let millis = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST).min(LONGEST);
        let (interval, timeout) = (millis(open.ping_interval), millis(open.ping_timeout));
        Ok(Handshake {
            can_upgrade: open.upgrades.iter().any(|name| name == "websocket"),
            patience: as_millis((interval + timeout).clamp(SHORTEST, LONGEST)),
            ping_timeout: as_millis(timeout),
            // The cast saturates.
            max_payload: open.max_payload.filter(|max| *max >= 1.0).map(|max| max as usize),
            sid: open.sid.into(),
        })
    }

    /// How long after a ping the next one may come.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.into())
    }

    pub(super) fn ping_timeout(&self) -> Duration {
        Duration::from_millis(self.ping_timeout.into())
    }
}

fn as_millis(within_bounds: Duration) -> u32 {
    u32::try_from(within_bounds.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_read() {
        let text = r#"{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let expected = Handshake {
            sid: "lv_VI97HAXpY6yYWAAAB".into(),
            can_upgrade: true,
            patience: 45_000,
            ping_timeout: 20_000,
            max_payload: Some(1_000_000),
        };
        assert_eq!(Handshake::parse(text), Ok(expected));
    }

    fn with(sid: &str, interval: &str, timeout: &str, max: &str) -> Result<Handshake, HandshakeError> {
        Handshake::parse(&alloc::format!(
            r#"{{"sid":{sid},"upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{max}}}"#
        ))
    }

    #[test]
    fn absurd_values_are_refused_or_brought_within_bounds() {
        for sid in [r#""""#, r#""a\r\nb""#, r#""a&b""#, r#""é""#] {
            assert_eq!(with(sid, "1", "1", "1"), Err(HandshakeError::Id), "{sid}");
        }
        assert_eq!(with("7", "1", "1", "1"), Err(HandshakeError::Json));
        assert_eq!(with(r#""a""#, "-1", "1", "1"), Err(HandshakeError::Ping));
        assert_eq!(with(r#""a""#, "0", "0", "1").map(|it| it.patience()), Ok(SHORTEST));
        assert_eq!(with(r#""a""#, "1e300", "1e300", "1").map(|it| it.patience()), Ok(LONGEST));
        // What a server can ask for is kept to.
        let days = Duration::from_millis(200_000_000 + 20_000);
        assert_eq!(with(r#""a""#, "200000000", "20000", "1").map(|it| it.patience()), Ok(days));
        for (max, expected) in [("0", None), ("-1", None), ("null", None), ("1e300", Some(usize::MAX))] {
            assert_eq!(with(r#""a""#, "1", "1", max).map(|it| it.max_payload), Ok(expected));
        }
        assert_eq!(Handshake::parse(&"[".repeat(MAX_LEN + 1)), Err(HandshakeError::TooLong));
        assert_eq!(Handshake::parse(&"[".repeat(MAX_LEN)), Err(HandshakeError::Json));
    }
}
