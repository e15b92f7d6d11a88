//! The URLs of a client's server, `http://host:port/namespace?query`, and of its proxy.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sockeye_core::host::Proxy;
use sockeye_core::http::{basic_authorization, decode};
use sockeye_core::socketio::is_sendable_namespace;
use url::{ParseError, form_urlencoded};

/// The parts of a server's URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) secure: bool,
    pub(super) port: u16,
    /// The value of the `Host` header.
    pub(super) authority: String,
    /// `/` if the URL has no path.
    pub(super) namespace: String,
    pub(super) query: String,
}

/// The reason why the URL of the server cannot be used. [`BuildError`](super::BuildError) says it with the URL.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It begins with none of `http://`, `https://`, `ws://` and `wss://`.
    #[error("it begins with none of http://, https://, ws:// and wss://")]
    Scheme,
    /// There is no host, or it contains characters that are not valid in a host.
    #[error("it has no valid host: a url is http://host:port/namespace")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// The URL contains a user or a password.
    #[error(
        "it has a user in it: pass who you are by `ClientBuilder::auth`, or by a header with `extra_header`"
    )]
    User,
    /// The URL contains characters that are not valid there, or a comma in its path, which is the namespace.
    #[error("it has a comma in its path, which is the namespace, or characters that are not valid in a url")]
    Characters,
}

sockeye_core::debug_as_text!(UrlError);

/// Returns the URL to show in an error, without what may be secret: a user, a password and the query.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Returns what to write instead of a URL without scheme, or nothing if there is nothing to guess.
pub(super) fn advice(url: &str, error: UrlError) -> String {
    let is_address = url.starts_with(|first: char| first.is_alphanumeric() || first == '[');
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let has_scheme = ["http", "https", "ws", "wss"].contains(&&*scheme.to_ascii_lowercase());
    match error == UrlError::Scheme && is_address && !has_scheme && !url.contains("://") {
        true => format!(": write http://{url}"),
        false => String::new(),
    }
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(UrlError::Scheme),
        };
        // The URL standard would repair these silently.
        if rest.starts_with('/') {
            return Err(UrlError::Host);
        }
        if needs_repair(text) {
            return Err(UrlError::Characters);
        }
        let url = url::Url::parse(text).map_err(|error| match error {
            ParseError::InvalidPort => UrlError::Port,
            _ => UrlError::Host,
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::User);
        }
        let host = url.host_str().ok_or(UrlError::Host)?;
        let authority = match url.port() {
            Some(0) => return Err(UrlError::Port),
            Some(port) => format!("{host}:{port}"),
            None => host.into(),
        };
        let port = url.port_or_known_default().ok_or(UrlError::Port)?;
        // The namespace is not the path of a request, so it is kept as written.
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let namespace = path.find('/').and_then(|at| path.get(at..)).unwrap_or("/");
        if !is_sendable_namespace(namespace) {
            return Err(UrlError::Characters);
        }
        let query = url.query().unwrap_or_default();
        Ok(Url { secure, port, authority, namespace: namespace.into(), query: query.into() })
    }
}

/// Returns whether there are characters that the URL standard removes or replaces.
fn needs_repair(text: &str) -> bool {
    text.contains(|char: char| char.is_ascii_control() || char == '\\') || text.trim() != text
}

/// Parses `http://user:password@host:port`, where user, password and port are optional.
pub(super) fn parse_proxy(text: &str) -> Result<Proxy, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("its scheme is not http");
    }
    if rest.starts_with('/') || needs_repair(text) {
        return Err("it contains invalid characters");
    }
    let url = url::Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => "it has no valid port",
        _ => "it has no valid host",
    })?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("it has a path, a query or a fragment");
    }
    let host = url.host_str().map(host_of).ok_or("it has no valid host")?;
    let port = url.port_or_known_default().filter(|port| *port > 0).ok_or("it has no valid port")?;
    let authorization = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => {
            let shown = authorization(user, password.unwrap_or_default());
            Some(shown.ok_or("its user or password cannot be sent")?)
        }
    };
    Ok(Proxy::new(host, port, authorization))
}

/// Returns the credentials for a proxy from a user and a password with escapes.
fn authorization(user: &str, password: &str) -> Option<String> {
    // A plus means a space only in a query.
    let decoded = |it: &str| decode(&it.replace('+', "%2B")).ok().map(|it| it.into_owned());
    basic_authorization(&decoded(user)?, &decoded(password)?).ok()
}

/// Returns the host of a `Host` header's value, without brackets.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// The query parameters that the protocol uses itself.
const OWN: [&str; 5] = ["EIO", "transport", "sid", "t", "b64"];

/// Returns the application's parameters of a query. `resumes` is whether stateful reconnect adds its own.
pub(super) fn without_own(query: &str, resumes: bool) -> String {
    let is_own = |field: &str| {
        let mut fields = form_urlencoded::parse(field.as_bytes());
        fields.any(|(key, _)| OWN.contains(&&*key) || resumes && key == "resume")
    };
    let fields: Vec<_> = query.split('&').filter(|field| !field.is_empty() && !is_own(field)).collect();
    fields.join("&")
}

/// The characters that are escaped in a key or a value of a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Appends `text` to a query, escaped where necessary.
pub(super) fn push_escaped(query: &mut String, text: &str) {
    query.extend(utf8_percent_encode(text, ESCAPED));
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
    fn a_host_may_have_any_name_that_names_may_have() {
        for (text, authority) in [
            ("http://bücher.example:3000", "xn--bcher-kva.example:3000"),
            ("http://例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("http://MY_service:3000", "my_service:3000"),
            ("https://a:443/x", "a"),
        ] {
            assert_eq!(Url::parse(text).map(|url| url.authority), Ok(authority.into()), "{text}");
        }
    }

    #[test]
    fn a_namespace_stays_as_it_is_written_and_a_query_is_escaped_where_it_has_to_be() {
        let url = Url::parse("http://a/é%20/../b?name=é&x=a%20b#y").unwrap();
        assert_eq!((&*url.namespace, &*url.query), ("/é%20/../b", "name=%C3%A9&x=a%20b"));
    }

    #[test]
    fn the_protocol_s_own_parameters_are_left_out_however_they_are_written() {
        let query = "EIO=3&a=b%26c&transport=x&&sid&t=1&b64=1&%65IO=4&E%49O=4&eio=5&T=2";
        assert_eq!(without_own(query, false), "a=b%26c&%65IO=4&eio=5&T=2");
    }

    #[test]
    fn an_invalid_server_url_is_refused() {
        for (text, error) in [
            ("localhost:3000", UrlError::Scheme),
            ("ftp://a", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http://a b", UrlError::Host),
            ("http:///a", UrlError::Host),
            ("http://a\r\nX: y", UrlError::Characters),
            (" http://a", UrlError::Scheme),
            ("http://a\\b", UrlError::Characters),
            ("http://a/b,c", UrlError::Characters),
            ("http://a:0", UrlError::Port),
            ("http://a:70000", UrlError::Port),
            ("http://[::1]x", UrlError::Host),
            ("http://u:p@a", UrlError::User),
            ("http://a?x=\r\n", UrlError::Characters),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_error_of_a_url_names_it_and_says_what_to_do() {
        let told = |url: &str| format!("{:?}", crate::Client::new(url).unwrap_err());
        assert_eq!(
            told("localhost:3000/chat?token=secret"),
            "the url \"localhost:3000/chat\" cannot be used: it begins with none of http://, https://, ws:// and wss://: \
             write http://localhost:3000/chat"
        );
        for (url, end) in [
            ("ftp://a", "wss://"),
            ("http:a", "wss://"),
            ("/chat", "wss://"),
            ("", "wss://"),
            ("[::1]:3000", "wss://: write http://[::1]:3000"),
            ("http://", "it has no valid host: a url is http://host:port/namespace"),
            ("http://a:70000", "its port is not a number from 1 to 65535"),
        ] {
            let told = told(url);
            assert!(
                told.starts_with(&format!("the url {url:?} cannot be used: it")) && told.ends_with(end),
                "{told}"
            );
        }
        let told = told("http://me:secret@a/b?token=secret");
        assert!(
            told.starts_with("the url \"http://a/b\" cannot be used: it has a user in it: pass"),
            "{told}"
        );
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
    fn an_invalid_proxy_is_refused_and_its_password_is_shown_nowhere() {
        for (text, error) in [
            ("proxy:3128", "it has no scheme"),
            ("https://proxy", "its scheme is not http"),
            ("socks5://proxy", "its scheme is not http"),
            ("http://u:p@", "it has no valid host"),
            ("http://a b", "it has no valid host"),
            ("http://proxy:0", "it has no valid port"),
            ("http://proxy/?", "it has a path, a query or a fragment"),
            ("http://u:a\nb@proxy", "it contains invalid characters"),
            ("http://proxy/path", "it has a path, a query or a fragment"),
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
