//! A handshake as the object that the reference's servers tell each other.

use super::own::{self, Own};
use super::{HOLE, Handshake};
use serde_json::{Map, Value};
use sockeye_core::host::Peer;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

impl Handshake {
    /// Returns the object as JSON. `auth` is the text that the client sent.
    pub(crate) fn to_reference(&self, auth: &str) -> String {
        let mut headers = Map::new();
        for (name, value) in self.headers() {
            let name = name.to_ascii_lowercase();
            let value = String::from_utf8_lossy(value);
            let separator = if name == "cookie" { "; " } else { ", " };
            match headers.get_mut(&name) {
                Some(Value::String(known)) => known.extend([separator, &value]),
                _ => _ = headers.insert(name, Value::String(value.into_owned())),
            }
        }
        let mut query = Map::new();
        for (key, value) in self.query() {
            let value = Value::String(value);
            match query.get_mut(&key) {
                None => _ = query.insert(key, value),
                Some(Value::Array(known)) => known.push(value),
                Some(known) => *known = Value::Array(vec![known.take(), value]),
            }
        }
        let address = self.address().map(|address| address.ip().to_string()).unwrap_or_default();
        let auth = if auth.is_empty() { "{}" } else { auth };
        let mut out = String::new();
        let _ = write!(
            out,
            r#"{{"headers":{},"time":"{}","address":"{address}","xdomain":{},"secure":{},"issued":{},"url":{},"query":{},"auth":{auth}}}"#,
            Value::Object(headers),
            date(self.issued() / 1000),
            self.xdomain(),
            self.secure(),
            self.issued(),
            Value::String(self.url().into_owned()),
            Value::Object(query),
        );
        out
    }

    /// Reads the object. What is missing, or not of its type, is empty.
    pub(crate) fn from_reference(json: &str) -> Handshake {
        let object: Value = serde_json::from_str(json).unwrap_or_default();
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let address = text("address").parse::<IpAddr>().ok();
        let secure = object.get("secure").and_then(Value::as_bool).unwrap_or_default();
        let address = address.map(|ip| SocketAddr::new(ip.to_canonical(), 0));
        let mut own = own::begin(Peer { address, secure });
        let is_line = |text: &str| !text.contains(['\n', '\r']) && !text.as_bytes().contains(&HOLE[0]);
        let url = text("url");
        // A space would end the method.
        own.extend_from_slice(if is_line(url) && !url.contains(' ') { url.as_bytes() } else { b"" });
        for (name, value) in object.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let values = match value {
                Value::Array(values) => &values[..],
                value => std::slice::from_ref(value),
            };
            let is_name = !name.is_empty() && !name.contains(':') && is_line(name);
            for value in values.iter().filter_map(Value::as_str).filter(|value| is_name && is_line(value)) {
                super::write_header(&mut own, name, value.as_bytes());
            }
        }
        let issued = object.get("issued").and_then(Value::as_u64).unwrap_or_default();
        let time = UNIX_EPOCH + Duration::from_millis(issued.min(MAX_MILLIS));
        Handshake { beside: None, own: Own::new(time, &own) }
    }
}

/// The last millisecond that a handshake can have.
const MAX_MILLIS: u64 = own::MAX_MICROS / 1000;

/// Returns a time in seconds since the Unix epoch as JavaScript writes it, in UTC.
fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    // The civil date by the proleptic Gregorian calendar, in which years begin in March and eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let month = MONTHS.get(month as usize).copied().unwrap_or_default();
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!(
        "{weekday} {month} {day:02} {year} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockeye_core::http;

    #[test]
    fn a_handshake_reads_back_from_the_object_of_the_reference() {
        let headers = [
            http::Header { name: "Host", value: b"x:1" },
            http::Header { name: "Cookie", value: b"a=1" },
            http::Header { name: "cookie", value: b"b=2" },
            http::Header { name: "Origin", value: b"http://y" },
        ];
        let request = http::Request::new("GET", "/socket.io/?EIO=4&a=1&a=2", &headers);
        let peer = Peer { address: "1.2.3.4:5".parse().ok(), secure: true };
        let time = UNIX_EPOCH + Duration::from_millis(1_750_000_000_123);
        let handshake = Handshake::at(time, &request, peer, None);
        let json = handshake.to_reference(r#"{"token":1}"#);
        assert_eq!(
            json,
            concat!(
                r#"{"headers":{"cookie":"a=1; b=2","host":"x:1","origin":"http://y"},"#,
                r#""time":"Sun Jun 15 2025 15:06:40 GMT+0000 (Coordinated Universal Time)","address":"1.2.3.4","#,
                r#""xdomain":true,"secure":true,"issued":1750000000123,"url":"/socket.io/?EIO=4&a=1&a=2","#,
                r#""query":{"EIO":"4","a":["1","2"]},"auth":{"token":1}}"#
            )
        );
        let again = Handshake::from_reference(&json);
        assert_eq!(again.url(), handshake.url());
        assert_eq!(again.header("Host"), Some("x:1"));
        assert_eq!(again.header("cookie"), Some("a=1; b=2"));
        assert_eq!((again.secure(), again.issued()), (true, 1_750_000_000_123));
        assert_eq!(again.address().map(|it| it.to_string()).as_deref(), Some("1.2.3.4:0"));
    }

    #[test]
    fn dates_are_those_of_javascript() {
        for (seconds, start) in [
            (0, "Thu Jan 01 1970 00:00:00"),
            (951_782_400, "Tue Feb 29 2000 00:00:00"),
            (951_868_799, "Tue Feb 29 2000 23:59:59"),
            (4_107_542_399, "Sun Feb 28 2100 23:59:59"),
            (4_107_542_400, "Mon Mar 01 2100 00:00:00"),
        ] {
            assert!(date(seconds).starts_with(start), "{}", date(seconds));
        }
    }

    #[test]
    fn an_object_that_makes_no_sense_is_an_empty_handshake() {
        let json = r#"{"headers":{"a\nb":"1","c":"x\ny","d:e":"2","f":["3",4]},"url":"POST /\n","address":5,"issued":-1}"#;
        for json in ["", "[]", "{}", json] {
            let handshake = Handshake::from_reference(json);
            assert_eq!((&*handshake.url(), handshake.method(), handshake.address()), ("", "GET", None));
            assert!(handshake.headers().all(|header| header == ("f", &b"3"[..])));
        }
        let object = r#"{"address":"::ffff:127.0.0.1","issued":18446744073709551615}"#;
        let handshake = Handshake::from_reference(object);
        assert_eq!(handshake.address().map(|it| it.to_string()).as_deref(), Some("127.0.0.1:0"));
    }
}
