//! Where a client's server is: `http://host:port/namespace?query`.

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
        let (host, port) = split_port(authority)?;
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err(UrlError::Host);
        }
        let default = if secure { 443 } else { 80 };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(UrlError::Port)?,
            None => default,
        };
        let is_visible = |it: &str| it.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible(query) || path.contains(',') {
            return Err(UrlError::Characters);
        }
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.into() };
        let authority = if port == default { bracketed } else { format!("{bracketed}:{port}") };
        Ok(Url { secure, port, authority, namespace: format!("/{path}"), query: query.into() })
    }
}

/// The host of a value of the header `Host`, without brackets.
pub(super) fn host_of(authority: &str) -> &str {
    split_port(authority).map_or(authority, |(host, _)| host)
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UrlError::Port),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
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
    fn a_query_is_escaped() {
        let mut query = String::new();
        push_escaped(&mut query, "a b&c=é");
        assert_eq!(query, "a%20b%26c%3D%C3%A9");
    }
}
