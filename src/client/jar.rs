//! Cookies that the server set and that are sent back to it, which keep a client on one of several servers.

use cookie::Cookie;
use sockeye_core::Time;
use std::time::Duration;

/// Maximum number of cookies kept.
const MAX_COOKIES: usize = 32;
/// Maximum length of a cookie, name and value together, in bytes.
const MAX_COOKIE: usize = 4096;

/// The cookies of one server: the part of RFC 6265 that one origin and one path need.
///
/// A cookie expires at its `Max-Age`, or else at its `Expires`; without either it lives as long as the
/// client. At most 32 are kept, of at most 4096 bytes each; any others are dropped.
#[derive(Debug, Default)]
pub(super) struct CookieJar(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    name: Box<str>,
    value: Box<str>,
    until: Option<Time>,
}

impl CookieJar {
    /// Stores the cookie of one `Set-Cookie` header. `today` is the time since 1970, which `Expires` dates
    /// are compared with.
    pub(super) fn store(&mut self, now: Time, today: Duration, header: &[u8]) {
        let Ok(header) = std::str::from_utf8(header) else { return };
        let Ok(cookie) = Cookie::parse(header) else { return };
        let (name, value) = cookie.name_value();
        let is_sendable = |it: &str| it.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
        let fits = name.len() + value.len() < MAX_COOKIE;
        if name.is_empty() || !fits || !is_sendable(name) || !is_sendable(value) {
            return;
        }
        let lifetime = lifetime(&cookie, today);
        self.0.retain(|known| *known.name != *name && known.lives(now));
        if lifetime != Some(Duration::ZERO) && self.0.len() < MAX_COOKIES {
            let until = lifetime.map(|lifetime| now + lifetime);
            self.0.push(Kept { name: name.into(), value: value.into(), until });
        }
    }

    /// Returns the value of the `Cookie` header; `None` if there is no cookie.
    pub(super) fn header(&mut self, now: Time) -> Option<String> {
        self.0.retain(|known| known.lives(now));
        let pairs: Vec<_> = self.0.iter().map(|known| format!("{}={}", known.name, known.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Kept {
    fn lives(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Returns the remaining lifetime of a cookie, if it is limited. `Max-Age` takes precedence over `Expires`
/// (RFC 6265, section 5.3).
fn lifetime(cookie: &Cookie<'_>, today: Duration) -> Option<Duration> {
    match (cookie.max_age(), cookie.expires_datetime()) {
        (Some(age), _) => Some(age.try_into().unwrap_or_default()),
        (None, Some(date)) => {
            let date = u64::try_from(date.unix_timestamp()).unwrap_or_default();
            Some(Duration::from_secs(date).saturating_sub(today))
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_origin(Duration::from_secs(seconds))
    }

    /// 21 October 2015, 07:28:00 UTC.
    const TODAY: Duration = Duration::from_secs(1_445_412_480);

    fn store(jar: &mut CookieJar, header: &[u8]) {
        jar.store(at(0), TODAY, header);
    }

    #[test]
    fn cookies_are_kept_replaced_and_taken_back() {
        let mut jar = CookieJar::default();
        assert_eq!(jar.header(at(0)), None);
        store(&mut jar, b"io=abc; Path=/; HttpOnly; SameSite=Lax");
        store(&mut jar, b"SERVERID = s1 ");
        assert_eq!(jar.header(at(0)).as_deref(), Some("io=abc; SERVERID=s1"));
        store(&mut jar, b"io=def; Max-Age=10");
        assert_eq!(jar.header(at(0)).as_deref(), Some("SERVERID=s1; io=def"));
        store(&mut jar, b"io=; Max-Age=0");
        assert_eq!(jar.header(at(0)).as_deref(), Some("SERVERID=s1"));
        store(&mut jar, b"SERVERID=; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(jar.header(at(0)), None);
    }

    #[test]
    fn a_cookie_is_gone_when_its_time_has_come() {
        for attributes in [
            "Max-Age=10",
            "Expires=Wed, 21 Oct 2015 07:28:10 GMT",
            "expires=Wed, 21-Oct-2015 07:28:10 GMT",
            "Expires=Wednesday, 21-Oct-15 07:28:10 GMT",
            "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10",
        ] {
            let mut jar = CookieJar::default();
            store(&mut jar, format!("a=1; {attributes}").as_bytes());
            assert_eq!(jar.header(at(9)).as_deref(), Some("a=1"), "{attributes}");
            assert_eq!(jar.header(at(10)), None, "{attributes}");
        }
        for attributes in
            ["Max-Age=-1", "Expires=Wed, 21 Oct 2015 07:28:00 GMT", "Expires=Mon, 01 Jan 1601 00:00:00 GMT"]
        {
            let mut jar = CookieJar::default();
            store(&mut jar, format!("a=1; {attributes}").as_bytes());
            assert_eq!(jar.header(at(0)), None, "{attributes}");
        }
        for attributes in ["Max-Age=soon", "Expires=never", "Max-Age=99999999999999999999"] {
            let mut jar = CookieJar::default();
            store(&mut jar, format!("a=1; {attributes}").as_bytes());
            assert_eq!(jar.header(at(1_000_000)).as_deref(), Some("a=1"), "{attributes}");
        }
    }

    #[test]
    fn invalid_cookies_and_those_beyond_the_limits_are_dropped() {
        let mut jar = CookieJar::default();
        for bad in [&b"novalue"[..], b"=x", b"a=\x01", b"\xff=1"] {
            store(&mut jar, bad);
        }
        store(&mut jar, format!("a={}", "x".repeat(MAX_COOKIE)).as_bytes());
        assert_eq!(jar.header(at(0)), None);
        store(&mut jar, b"short=1; Max-Age=1");
        for i in 0..100 {
            jar.store(at(1), TODAY, format!("c{i}=1").as_bytes());
        }
        let header = jar.header(at(1)).unwrap();
        assert_eq!((header.split("; ").count(), header.contains("short")), (MAX_COOKIES, false));
    }
}
