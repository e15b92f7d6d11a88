//! The session cookie, by which load balancers recognise a client.

use alloc::string::{String, ToString};
use core::fmt::Write;
use core::time::Duration;

use super::{InvalidHeader, is_token};

/// The cookie that carries the session id: `io=<sid>; Path=/; HttpOnly; SameSite=Lax` unless it is
/// told otherwise (RFC 6265, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    path: Option<String>,
    domain: Option<String>,
    max_age: Option<u64>,
    http_only: bool,
    secure: bool,
    same_site: Option<SameSite>,
}

/// To which requests of other sites a browser adds the cookie (RFC 6265bis, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// To none.
    Strict,
    /// To those that open a page.
    Lax,
    /// To all. Browsers want [`Cookie::secure`] with it.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Cookie {
            name: "io".to_string(),
            path: Some("/".to_string()),
            domain: None,
            max_age: None,
            http_only: true,
            secure: false,
            same_site: Some(SameSite::Lax),
        }
    }
}

impl Cookie {
    /// The usual cookie under another name.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] for a name that is not a token.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidHeader> {
        let name = name.into();
        match is_token(name.as_bytes()) {
            true => Ok(Cookie { name, ..Cookie::default() }),
            false => Err(InvalidHeader),
        }
    }

    /// Below which path the browser sends it; `None` for that of the request. Default: `/`.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] for bytes other than ASCII without control characters and `;`.
    pub fn path(mut self, path: Option<&str>) -> Result<Self, InvalidHeader> {
        self.path = path.map(attribute).transpose()?;
        Ok(self)
    }

    /// To which domain, subdomains included, the browser sends it. Default: only to the host that
    /// set it.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] for bytes other than ASCII without control characters and `;`.
    pub fn domain(mut self, domain: &str) -> Result<Self, InvalidHeader> {
        self.domain = Some(attribute(domain)?);
        Ok(self)
    }

    /// For how long the browser keeps it, in whole seconds. Default: until it is closed.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age.as_secs());
        self
    }

    /// Whether it is hidden from scripts. Default: yes.
    pub fn http_only(mut self, on: bool) -> Self {
        self.http_only = on;
        self
    }

    /// Whether the browser sends it over TLS only. Default: no.
    pub fn secure(mut self, on: bool) -> Self {
        self.secure = on;
        self
    }

    /// To which requests of other sites the browser adds it; `None` leaves that to the browser.
    /// Default: [`SameSite::Lax`].
    pub fn same_site(mut self, same_site: Option<SameSite>) -> Self {
        self.same_site = same_site;
        self
    }

    /// The value of `Set-Cookie`. `value` is the session id; what could break the header is
    /// escaped as by `encodeURIComponent`.
    pub fn write(&self, value: &str) -> String {
        let mut out = String::with_capacity(self.name.len() + value.len() + 48);
        out.push_str(&self.name);
        out.push('=');
        for byte in value.bytes() {
            match byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
                true => out.push(char::from(byte)),
                false => push(&mut out, format_args!("%{byte:02X}")),
            }
        }
        if let Some(age) = self.max_age {
            push(&mut out, format_args!("; Max-Age={age}"));
        }
        if let Some(domain) = &self.domain {
            push(&mut out, format_args!("; Domain={domain}"));
        }
        if let Some(path) = &self.path {
            push(&mut out, format_args!("; Path={path}"));
        }
        if self.http_only {
            out.push_str("; HttpOnly");
        }
        if self.secure {
            out.push_str("; Secure");
        }
        out.push_str(match self.same_site {
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
            None => "",
        });
        out
    }
}

fn push(out: &mut String, text: core::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

fn attribute(value: &str) -> Result<String, InvalidHeader> {
    match value.bytes().all(|byte| matches!(byte, b' '..=b'~' if byte != b';')) {
        true => Ok(value.to_string()),
        false => Err(InvalidHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_reference() {
        assert_eq!(
            Cookie::default().write("lv_VI97HAXpY6yYWAAAB"),
            "io=lv_VI97HAXpY6yYWAAAB; Path=/; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn every_attribute_can_be_set() {
        let cookie = Cookie::new("sticky").unwrap();
        let cookie = cookie.path(Some("/chat")).unwrap();
        let cookie = cookie.domain("example.com").unwrap();
        let cookie = cookie.max_age(Duration::from_secs(60)).secure(true);
        assert_eq!(
            cookie.same_site(Some(SameSite::None)).write("a"),
            "sticky=a; Max-Age=60; Domain=example.com; Path=/chat; HttpOnly; Secure; SameSite=None"
        );
    }

    #[test]
    fn every_attribute_can_be_left_out() {
        let cookie = Cookie::default().path(None).unwrap().http_only(false);
        assert_eq!(cookie.same_site(None).write("a"), "io=a");
        let strict = Cookie::default().same_site(Some(SameSite::Strict));
        assert!(strict.write("a").ends_with("; SameSite=Strict"));
    }

    #[test]
    fn what_would_break_the_header_is_refused() {
        for name in ["", "a b", "a=b", "a;b", "a\r\nb", "é", "a\0"] {
            assert_eq!(Cookie::new(name), Err(InvalidHeader), "{name:?}");
        }
        for value in ["/;", "a\r\nb", "a\nb", "a\0", "é"] {
            assert!(Cookie::default().path(Some(value)).is_err(), "{value:?}");
            assert!(Cookie::default().domain(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_value_is_escaped() {
        assert!(Cookie::default().write("a; b\r\né").starts_with("io=a%3B%20b%0D%0A%C3%A9; Path"));
    }
}
