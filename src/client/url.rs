//! Where a client's server is: `http://host:port/namespace?query`; and where its proxy is.

use sockeye_core::host::Proxy;
use sockeye_core::http::{basic_authorization, decode};

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) secure: bool,
    pub(super) port: u16,
    /// The value of the header `Host`.
    pub(super) authority: String,
    /// `/` where there is none.
    pub(super) namespace: String,
    pub(super) query: String,
}

/// The URL of the server cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It begins with none of `http://`, `https://`, `ws://` and `wss://`.
    #[error("the url begins with none of http://, https://, ws:// and wss://")]
    Scheme,
    /// There is no host, or it has characters that no host has.
    #[error("the url has no valid host")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the url has no valid port")]
    Port,
    /// There is a name or a password in it: give that by `extra_header` or `auth`.
    #[error("the url has a user in it")]
    User,
    /// A path, a query or a header has characters that cannot stand there.
    #[error("a path, a query or a header has characters that cannot be sent")]
    Characters,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(UrlError::Scheme),
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let default = if secure { 443 } else { 80 };
        let (host, port) = split_port(authority, default)?;
        let is_visible = |it: &str| it.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible(query) || path.contains([',', '\u{1e}']) {
            return Err(UrlError::Characters);
        }
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.into() };
        let authority = if port == default { bracketed } else { format!("{bracketed}:{port}") };
        Ok(Url { secure, port, authority, namespace: format!("/{path}"), query: query.into() })
    }
}

/// Reads `http://user:password@host:port`, of which the user and the port may be missing.
pub(super) fn parse_proxy(text: &str) -> Result<Proxy, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("its scheme is another");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err("there is something behind host and port");
    }
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    let (host, port) = split_port(address, 80).map_err(|error| match error {
        UrlError::Port => "it has no valid port",
        _ => "it has no valid host",
    })?;
    let authorization = match user {
        Some(user) => Some(parse_user(user).ok_or("its user or password cannot be sent")?),
        None => None,
    };
    Ok(Proxy::new(host, port, authorization))
}

/// What is shown to a proxy for `user:password`.
fn parse_user(text: &str) -> Option<String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    // A plus is a space in a query only.
    let decoded = |it: &str| decode(&it.replace('+', "%2B")).ok().map(|it| it.into_owned());
    basic_authorization(&decoded(user)?, &decoded(password)?).ok()
}

/// The host of a value of the header `Host`, without brackets.
pub(super) fn host_of(authority: &str) -> &str {
    split_port(authority, 0).map_or(authority, |(host, _)| host)
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(UrlError::Port),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host_byte) {
        return Err(UrlError::Host);
    }
    match port {
        Some(port) => {
            let port = port.parse().ok().filter(|port| *port > 0).ok_or(UrlError::Port)?;
            Ok((host, port))
        }
        None => Ok((host, default)),
    }
}

/// Appends `text` to a query, with escapes where it needs them.
pub(super) fn push_escaped(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => query.push(byte.into()),
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_namespace_and_query() {
        let url = Url::parse("wss://chat.example:3000/admin?token=a%20b#x").unwrap();
        assert_eq!((url.secure, host_of(&url.authority), url.port), (true, "chat.example", 3000));
        assert_eq!(
            (&*url.authority, &*url.namespace, &*url.query),
            ("chat.example:3000", "/admin", "token=a%20b")
        );
        let url = Url::parse("http://[::1]").unwrap();
        assert_eq!(
            (host_of(&url.authority), url.port, &*url.authority, &*url.namespace),
            ("::1", 80, "[::1]", "/")
        );
        assert_eq!(Url::parse("HTTPS://a").map(|url| (url.port, url.authority)), Ok((443, "a".into())));
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for (text, error) in [
            ("localhost:3000", UrlError::Scheme),
            ("ftp://a", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http://a b", UrlError::Host),
            ("http://a\r\nX: y", UrlError::Host),
            ("http://a:0", UrlError::Port),
            ("http://a:70000", UrlError::Port),
            ("http://[::1]x", UrlError::Port),
            ("http://u:p@a", UrlError::User),
            ("http://a?x=\r\n", UrlError::Characters),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_proxy_has_a_host_a_port_and_perhaps_a_user() {
        let shown = |user: &str, password: &str| Some(basic_authorization(user, password).unwrap());
        for (text, host, port, authorization) in [
            ("http://proxy", "proxy", 80, None),
            ("HTTP://10.0.0.1:3128/", "10.0.0.1", 3128, None),
            ("http://u:p@[::1]:3128", "::1", 3128, shown("u", "p")),
            ("http://u%40x:a+b%3a%2f@:c@proxy", "proxy", 80, shown("u@x", "a+b:/@:c")),
            ("http://only@proxy", "proxy", 80, shown("only", "")),
        ] {
            assert_eq!(parse_proxy(text), Ok(Proxy::new(host, port, authorization)), "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_its_password_is_shown_nowhere() {
        for (text, error) in [
            ("proxy:3128", "it has no scheme"),
            ("https://proxy", "its scheme is another"),
            ("socks5://proxy", "its scheme is another"),
            ("http://u:p@", "it has no valid host"),
            ("http://a b", "it has no valid host"),
            ("http://proxy:0", "it has no valid port"),
            ("http://proxy/path", "there is something behind host and port"),
            ("http://a%3ab:c@proxy", "its user or password cannot be sent"),
            ("http://u:%0d%0a@proxy", "its user or password cannot be sent"),
            ("http://u:%zz@proxy", "its user or password cannot be sent"),
        ] {
            assert_eq!(parse_proxy(text), Err(error), "{text}");
        }
        let proxy = parse_proxy("http://user:secret@proxy:3128").unwrap();
        assert_eq!(format!("{proxy:?}"), r#"Proxy { host: "proxy", port: 3128, .. }"#);
    }

    #[test]
    fn a_name_that_would_split_a_packet_is_refused() {
        for url in ["http://h/a,b", "http://h/a\u{1e}41", "http://h/?a=\u{1e}"] {
            assert!(matches!(Url::parse(url), Err(UrlError::Characters)), "{url:?}");
        }
        let mut query = String::new();
        push_escaped(&mut query, "\u{1e}");
        assert_eq!(query, "%1E");
    }

    #[test]
    fn a_query_is_escaped() {
        let mut query = String::new();
        push_escaped(&mut query, "a b&c=é");
        assert_eq!(query, "a%20b%26c%3D%C3%A9");
    }
}
