//! Cookies that a server gave, to be given back to it: what keeps a client with one of several servers.

use super::is_value_byte;
use alloc::string::String;
use alloc::vec::Vec;

/// How many cookies of one server are kept.
const MAX_COOKIES: usize = 32;
/// The longest cookie that is kept, name and value, in bytes.
const MAX_COOKIE: usize = 4096;

/// The cookies of one server (RFC 6265, as much of it as one origin and one path need).
///
/// Of the attributes only a `Max-Age` that is not positive counts: it takes the cookie back. The others live as long as
/// the client does. At most 32 are kept, of at most 4096 bytes each; what is beyond that is dropped.
#[derive(Debug, Default, Clone)]
pub struct CookieJar(Vec<(String, String)>);

impl CookieJar {
    /// Takes in one `Set-Cookie`.
    pub fn store(&mut self, header: &[u8]) {
        let Ok(header) = core::str::from_utf8(header) else { return };
        let mut parts = header.split(';');
        let pair = parts.next().unwrap_or_default().trim();
        let Some((name, value)) = pair.split_once('=').map(|(name, value)| (name.trim(), value.trim()))
        else {
            return;
        };
        if name.is_empty() || pair.len() > MAX_COOKIE || !pair.bytes().all(is_value_byte) {
            return;
        }
        self.0.retain(|(known, _)| known != name);
        let is_taken_back = parts.any(|attribute| {
            let Some((key, value)) = attribute.split_once('=') else { return false };
            key.trim().eq_ignore_ascii_case("max-age")
                && value.trim().parse::<i64>().is_ok_and(|age| age <= 0)
        });
        if !is_taken_back && self.0.len() < MAX_COOKIES {
            self.0.push((name.into(), value.into()));
        }
    }

    /// The value of `Cookie`; `None` if there is no cookie.
    pub fn header(&self) -> Option<String> {
        let mut header = String::new();
        for (name, value) in &self.0 {
            if !header.is_empty() {
                header.push_str("; ");
            }
            header.push_str(name);
            header.push('=');
            header.push_str(value);
        }
        Some(header).filter(|header| !header.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_taken_back() {
        let mut jar = CookieJar::default();
        assert_eq!(jar.header(), None);
        jar.store(b"io=abc; Path=/; HttpOnly; SameSite=Lax");
        jar.store(b"SERVERID = s1 ");
        assert_eq!(jar.header().as_deref(), Some("io=abc; SERVERID=s1"));
        jar.store(b"io=def; Max-Age=10");
        assert_eq!(jar.header().as_deref(), Some("SERVERID=s1; io=def"));
        jar.store(b"io=; Max-Age=0");
        assert_eq!(jar.header().as_deref(), Some("SERVERID=s1"));
    }

    #[test]
    fn what_is_no_cookie_or_too_much_is_dropped() {
        let mut jar = CookieJar::default();
        for bad in [&b"novalue"[..], b"=x", b"a=\x01", b"\xff=1"] {
            jar.store(bad);
        }
        jar.store(alloc::format!("a={}", "x".repeat(MAX_COOKIE)).as_bytes());
        assert_eq!(jar.header(), None);
        for i in 0..100 {
            jar.store(alloc::format!("c{i}=1").as_bytes());
        }
        assert_eq!(jar.header().map(|header| header.split("; ").count()), Some(MAX_COOKIES));
    }
}
