//! The packet that opens a session, which is checked because a server may send anything.

use super::error::HandshakeError;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::time::Duration;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Maximum length of a handshake in bytes.
const MAX_LEN: usize = 16 << 10;
/// Maximum length of a session id in bytes. Even with every byte escaped, servers accept the head of a request.
const MAX_ID: usize = 2048;
/// The characters of an id that are escaped in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The bounds of the time between pings, whatever a server sends. JavaScript clients cannot wait longer, either.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis((1 << 31) - 1);

/// The handshake of a session, with values within bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// The session id, escaped for a query.
    pub(super) sid: Box<str>,
    pub(super) can_upgrade: bool,
    /// Timeout of the next ping, in milliseconds, which take less memory than a `Duration`.
    patience: u32,
    ping_timeout: u32,
    /// The largest message that the server accepts; `None` if it names no valid limit.
    pub(super) max_payload: Option<NonZeroUsize>,
}

/// The terms on which a server keeps a session that has lost its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// The number of messages that the server has handled.
    pub(super) received: u64,
    /// The time for which it keeps the session.
    pub(super) window: Duration,
    /// Maximum number of bytes that it keeps of messages that were not acknowledged.
    pub(super) max_bytes: usize,
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
    #[serde(default)]
    resume: Option<OpenTerms>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OpenTerms {
    received: u64,
    window: f64,
    max_bytes: f64,
}

impl Handshake {
    /// Parses the data of the packet. The terms are those of stateful reconnect, if the server offers it.
    pub(super) fn parse(data: &str) -> Result<(Handshake, Option<Terms>), HandshakeError> {
        if data.len() > MAX_LEN {
            return Err(HandshakeError::TooLong);
        }
        let open: Open<'_> = serde_json::from_str(data).map_err(|_| HandshakeError::Json)?;
        if open.sid.is_empty() || open.sid.len() > MAX_ID {
            return Err(HandshakeError::Id);
        }
        if !(open.ping_interval >= 0.0 && open.ping_timeout >= 0.0) {
            return Err(HandshakeError::Ping);
        }
        let millis = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST).min(LONGEST);
        let (interval, timeout) = (millis(open.ping_interval), millis(open.ping_timeout));
        let terms = open.resume.as_ref().map(|terms| Terms {
            received: terms.received,
            window: millis(terms.window.max(0.0)),
            // The cast saturates.
            max_bytes: terms.max_bytes as usize,
        });
        let handshake = Handshake {
            can_upgrade: open.upgrades.iter().any(|name| name == "websocket"),
            patience: as_millis((interval + timeout).clamp(SHORTEST, LONGEST)),
            ping_timeout: as_millis(timeout),
            // The cast saturates.
            max_payload: open.max_payload.and_then(|max| NonZeroUsize::new(max as usize)),
            sid: Cow::from(utf8_percent_encode(&open.sid, ESCAPED)).into(),
        };
        Ok((handshake, terms))
    }

    /// Returns the time after a ping within which the next one has to arrive.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.into())
    }

    pub(super) fn ping_timeout(&self) -> Duration {
        Duration::from_millis(self.ping_timeout.into())
    }
}

/// Returns whether a payload opens a session of Engine.IO 3: `96:0{...}`, or the same in its binary form.
pub(super) fn is_version_3(body: &[u8]) -> bool {
    let (digits, end) = match body {
        [0, digits @ ..] => (digits, 0xff),
        digits => (digits, b':'),
    };
    let is_digit = |byte: &u8| if end == b':' { byte.is_ascii_digit() } else { *byte < 10 };
    let length = digits.iter().take_while(|byte| is_digit(byte)).count();
    length > 0 && matches!(digits.get(length..), Some([after, b'0', b'{', ..]) if *after == end)
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
            max_payload: NonZeroUsize::new(1_000_000),
        };
        assert_eq!(Handshake::parse(text), Ok((expected, None)));
    }

    fn with(sid: &str, interval: &str, timeout: &str, max: &str) -> Result<Handshake, HandshakeError> {
        let parsed = Handshake::parse(&alloc::format!(
            r#"{{"sid":{sid},"upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{max}}}"#
        ));
        parsed.map(|(handshake, _)| handshake)
    }

    #[test]
    fn any_session_id_is_taken_and_escaped_as_a_query_needs_it() {
        for (sid, escaped) in [
            ("lv_VI97HAXpY6yYWAAAB", "lv_VI97HAXpY6yYWAAAB"),
            ("custom:id:1", "custom%3Aid%3A1"),
            ("+ / = # & %", "%2B%20%2F%20%3D%20%23%20%26%20%25"),
            (r"a\r\nb", "a%0D%0Ab"),
            ("é", "%C3%A9"),
            (&"x".repeat(300), &"x".repeat(300)),
        ] {
            let handshake = with(&alloc::format!(r#""{sid}""#), "1", "1", "1");
            assert_eq!(handshake.map(|it| it.sid), Ok(escaped.into()), "{sid}");
        }
    }

    #[test]
    fn an_answer_of_version_3_is_recognized_in_both_its_forms() {
        assert!(is_version_3(br#"96:0{"sid":"a"}2:40"#));
        assert!(is_version_3(b"\x00\x09\x06\xff0{\"sid\":\"a\"}"));
        for other in [&b""[..], b"0{}", b"96:", b":0{", b"96:4x", b"\x00\xff0{", b"\x0096:0{", b"hello"] {
            assert!(!is_version_3(other), "{other:?}");
        }
    }

    #[test]
    fn the_terms_of_stateful_reconnect_are_read_within_bounds() {
        let terms = |resume: &str| {
            let text = alloc::format!(
                r#"{{"sid":"a","upgrades":[],"pingInterval":1,"pingTimeout":1,"resume":{resume}}}"#
            );
            Handshake::parse(&text).map(|(_, terms)| terms)
        };
        let window = Duration::from_secs(30);
        let expected = Terms { received: 7, window, max_bytes: 1 << 20 };
        assert_eq!(terms(r#"{"received":7,"window":30000,"maxBytes":1048576}"#), Ok(Some(expected)));
        let absurd = Terms { received: u64::MAX, window: LONGEST, max_bytes: usize::MAX };
        let text = r#"{"received":18446744073709551615,"window":1e300,"maxBytes":1e300,"more":1}"#;
        assert_eq!(terms(text), Ok(Some(absurd)));
        let negative = Terms { received: 0, window: Duration::ZERO, max_bytes: 0 };
        assert_eq!(terms(r#"{"received":0,"window":-1,"maxBytes":-1}"#), Ok(Some(negative)));
        assert_eq!(terms("null"), Ok(None));
        for bad in ["{}", "true", r#"{"received":-1,"window":1,"maxBytes":1}"#] {
            assert_eq!(terms(bad), Err(HandshakeError::Json), "{bad}");
        }
    }

    #[test]
    fn absurd_values_are_refused_or_brought_within_bounds() {
        let long = alloc::format!(r#""{}""#, "x".repeat(MAX_ID + 1));
        for sid in [r#""""#, &long] {
            assert_eq!(with(sid, "1", "1", "1"), Err(HandshakeError::Id), "{sid}");
        }
        assert_eq!(with("7", "1", "1", "1"), Err(HandshakeError::Json));
        assert_eq!(with(r#""a""#, "-1", "1", "1"), Err(HandshakeError::Ping));
        assert_eq!(with(r#""a""#, "0", "0", "1").map(|it| it.patience()), Ok(SHORTEST));
        assert_eq!(with(r#""a""#, "1e300", "1e300", "1").map(|it| it.patience()), Ok(LONGEST));
        // A long interval within the bounds is kept.
        let days = Duration::from_millis(200_000_000 + 20_000);
        assert_eq!(with(r#""a""#, "200000000", "20000", "1").map(|it| it.patience()), Ok(days));
        for (max, expected) in [("0", None), ("-1", None), ("null", None), ("1e300", Some(usize::MAX))] {
            assert_eq!(
                with(r#""a""#, "1", "1", max).map(|it| it.max_payload),
                Ok(expected.and_then(NonZeroUsize::new))
            );
        }
        assert_eq!(Handshake::parse(&"[".repeat(MAX_LEN + 1)), Err(HandshakeError::TooLong));
        assert_eq!(Handshake::parse(&"[".repeat(MAX_LEN)), Err(HandshakeError::Json));
    }
}
