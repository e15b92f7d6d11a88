//! The session cookie, by which load balancers recognize a client.

use alloc::string::{String, ToString};
use core::fmt::Write;
use core::time::Duration;

use super::{InvalidHeader, is_token};

/// The cookie that carries the session id (RFC 6265, section 4.1). Default: `io=<sid>; Path=/;
/// HttpOnly; SameSite=Lax`.
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

/// The requests from other sites to which a browser adds the cookie (RFC 6265bis, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// No requests.
    Strict,
    /// Requests that open a page.
    Lax,
    /// All requests. Browsers require [`Cookie::secure`] with it.
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
    /// Creates the default cookie with another name.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if the name is not a token.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidHeader> {
        let name = name.into();
        match is_token(name.as_bytes()) {
            true => Ok(Cookie { name, ..Cookie::default() }),
            false => Err(InvalidHeader),
        }
    }

    /// Sets the path below which the browser sends the cookie; `None` means the path of the request
    /// that set it. Default: `/`.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if it contains a control character, a `;` or a byte that is not ASCII.
    pub fn path(mut self, path: Option<&str>) -> Result<Self, InvalidHeader> {
        self.path = path.map(attribute).transpose()?;
        Ok(self)
    }

    /// Sets the domain to which the browser sends the cookie, including subdomains. Default: only the
    /// host that set it.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if it contains a control character, a `;` or a byte that is not ASCII.
    pub fn domain(mut self, domain: &str) -> Result<Self, InvalidHeader> {
        self.domain = Some(attribute(domain)?);
        Ok(self)
    }

    /// Sets how long the browser keeps the cookie, in whole seconds. Default: until the browser is
    /// closed.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age.as_secs());
        self
    }

    /// Hides the cookie from scripts. Default: on.
    pub fn http_only(mut self, on: bool) -> Self {
        self.http_only = on;
        self
    }

    /// Makes the browser send the cookie over TLS only. Default: off.
    pub fn secure(mut self, on: bool) -> Self {
        self.secure = on;
        self
    }

    /// Sets the requests from other sites to which the browser adds the cookie; `None` leaves that to
    /// the browser. Default: [`SameSite::Lax`].
    pub fn same_site(mut self, same_site: Option<SameSite>) -> Self {
        self.same_site = same_site;
        self
    }

    /// Returns the value of `Set-Cookie`. `value` is the session id; characters that could break the
    /// header are escaped as by `encodeURIComponent`.
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
