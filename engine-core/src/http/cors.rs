//! Cross-origin resource sharing, compatible with the npm package `cors`, which the reference server uses.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::{InvalidHeader, Request, is_token, is_value_byte};

/// The rules by which pages of other origins may read responses (WHATWG Fetch, section 3.3).
///
/// [`Cors::off`], the default, writes no header, so browsers keep other origins out. Browsers do
/// not apply these rules to a WebSocket: the server must check its origin with [`Cors::allows`].
///
/// ```
/// # use sockeye_core::http::{Cors, InvalidHeader};
/// let cors = Cors::origins(["https://example.com"])?.credentials(true);
/// assert!(cors.allows("https://example.com"));
/// # Ok::<(), InvalidHeader>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origin: Origin,
    methods: String,
    allowed_headers: Option<String>,
    exposed_headers: Option<String>,
    credentials: bool,
    private_network: bool,
    max_age: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Off,
    Any,
    List(Vec<String>),
    Reflect,
}

impl Default for Cors {
    fn default() -> Self {
        Cors::off()
    }
}

impl Cors {
    fn new(origin: Origin) -> Self {
        Cors {
            origin,
            methods: "GET,HEAD,PUT,PATCH,POST,DELETE".to_string(),
            allowed_headers: None,
            exposed_headers: None,
            credentials: false,
            private_network: false,
            max_age: None,
        }
    }

    /// Turns CORS off: no header is written and no preflight is answered.
    pub fn off() -> Self {
        Cors::new(Origin::Off)
    }

    /// Allows every origin, as `*`. Browsers do not accept this together with [`Cors::credentials`].
    pub fn any() -> Self {
        Cors::new(Origin::Any)
    }

    /// Allows a list of origins. Each must be written as browsers send it, because origins are
    /// compared byte by byte: `https://example.com`, with the port unless it is the scheme's default,
    /// without a slash at the end.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if an origin is empty or contains bytes other than visible ASCII.
    pub fn origins<T: Into<String>>(origins: impl IntoIterator<Item = T>) -> Result<Self, InvalidHeader> {
        let origins: Vec<String> = origins.into_iter().map(Into::into).collect();
        match origins.iter().all(|origin| is_origin(origin.as_bytes())) {
            true => Ok(Cors::new(Origin::List(origins))),
            false => Err(InvalidHeader),
        }
    }

    /// Allows every origin, by sending back that of the request. With [`Cors::credentials`] this lets
    /// every page act as your user.
    pub fn reflect() -> Self {
        Cors::new(Origin::Reflect)
    }

    /// Sets the methods that a preflight allows. Default: GET, HEAD, PUT, PATCH, POST, DELETE.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if one of them is not a token.
    pub fn methods<T: AsRef<str>>(
        mut self,
        methods: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidHeader> {
        self.methods = join(methods)?;
        Ok(self)
    }

    /// Sets the request headers that a preflight allows. Default: those that the preflight names.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if one of them is not a token.
    pub fn allowed_headers<T: AsRef<str>>(
        mut self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidHeader> {
        self.allowed_headers = Some(join(names)?);
        Ok(self)
    }

    /// Sets the response headers that a page may read besides those that it always may. Default: none.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if one of them is not a token.
    pub fn exposed_headers<T: AsRef<str>>(
        mut self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidHeader> {
        self.exposed_headers = Some(join(names)?);
        Ok(self)
    }

    /// Allows pages to send cookies. Default: off.
    pub fn credentials(mut self, allowed: bool) -> Self {
        self.credentials = allowed;
        self
    }

    /// Allows pages of the public internet to reach a server in a private network or on the same machine: answers
    /// `Access-Control-Request-Private-Network` in the preflight of an allowed origin (Private Network Access). Default: off.
    ///
    /// Turn it on only for a server that such pages are meant to reach. The restriction protects the devices in a home from
    /// them.
    pub fn private_network(mut self, allowed: bool) -> Self {
        self.private_network = allowed;
        self
    }

    /// Sets how long a browser may remember the response to a preflight, in whole seconds. Default: the
    /// browser decides.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age.as_secs().to_string());
        self
    }

    pub(crate) fn is_off(&self) -> bool {
        self.origin == Origin::Off
    }

    /// Returns whether a page of this origin may talk to the server. Use it for a WebSocket handshake
    /// with an `Origin`; a handshake without one is not from a browser. [`Cors::off`] allows none: the
    /// caller has to compare the origin with `Host` to see if the page is the server's own.
    pub fn allows(&self, origin: &str) -> bool {
        is_origin(origin.as_bytes())
            && match &self.origin {
                Origin::Off => false,
                Origin::Any | Origin::Reflect => true,
                Origin::List(origins) => origins.iter().any(|it| it == origin),
            }
    }

    /// Returns whether the request is a preflight. Answer it with 204, [`Cors::headers`] and
    /// `Content-Length: 0`, without which browsers wait for a body. As in the reference, every OPTIONS
    /// is a preflight unless CORS is off.
    pub fn is_preflight(&self, request: &Request<'_>) -> bool {
        !self.is_off() && request.method() == "OPTIONS"
    }

    /// Returns the headers for the response to this request, also if it is an error or the answer to a
    /// preflight. They can be chained with others for [`super::write_head`]. Parts of the request that
    /// are sent back are ASCII, without control characters except tabs.
    pub fn headers<'a>(
        &'a self,
        request: &Request<'a>,
    ) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        // Most servers have it off, so nothing is looked up.
        let headers = (!self.is_off()).then(|| self.headers_while_on(request));
        let headers = headers.into_iter().flatten();
        headers.filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
    }

    fn headers_while_on<'a>(&'a self, request: &Request<'a>) -> [(&'static str, Option<&'a str>); 8] {
        let preflight = self.is_preflight(request);
        let varies_by_origin = matches!(self.origin, Origin::List(_) | Origin::Reflect);
        let reflects_headers = preflight && self.allowed_headers.is_none();
        let allowed_headers = || match &self.allowed_headers {
            Some(names) => Some(names.as_str()),
            None => request
                .header_str("access-control-request-headers")
                .filter(|names| names.bytes().all(|byte| byte.is_ascii() && is_value_byte(byte))),
        };
        let vary = match (varies_by_origin, reflects_headers) {
            (true, true) => Some("Origin, Access-Control-Request-Headers"),
            (true, false) => Some("Origin"),
            (false, true) => Some("Access-Control-Request-Headers"),
            (false, false) => None,
        };
        let origin = self.allowed_origin(request);
        let private_network = self.private_network
            && preflight
            && origin.is_some()
            && request.header("access-control-request-private-network") == Some(b"true");
        [
            ("Access-Control-Allow-Origin", origin),
            ("Vary", vary),
            ("Access-Control-Allow-Credentials", self.credentials.then_some("true")),
            ("Access-Control-Allow-Methods", preflight.then_some(&self.methods)),
            ("Access-Control-Allow-Headers", preflight.then(allowed_headers).flatten()),
            ("Access-Control-Allow-Private-Network", private_network.then_some("true")),
            ("Access-Control-Max-Age", self.max_age.as_deref().filter(|_| preflight)),
            ("Access-Control-Expose-Headers", self.exposed_headers.as_deref()),
        ]
    }

    fn allowed_origin<'a>(&'a self, request: &Request<'a>) -> Option<&'a str> {
        match self.origin {
            Origin::Off => None,
            Origin::Any => Some("*"),
            Origin::List(_) | Origin::Reflect => {
                request.header_str("origin").filter(|origin| self.allows(origin))
            }
        }
    }
}

fn is_origin(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

fn join<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Result<String, InvalidHeader> {
    let mut joined = String::new();
    for name in names {
        let name = name.as_ref();
        if !is_token(name.as_bytes()) {
            return Err(InvalidHeader);
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(name);
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;
    use alloc::format;

    const ORIGIN: &str = "https://a.example";

    fn headers(cors: &Cors, method: &str, sent: &[(&str, &str)]) -> Vec<String> {
        let sent: Vec<_> =
            sent.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        cors.headers(&Request::new(method, "/socket.io/", &sent))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    #[test]
    fn off_writes_no_header_and_answers_no_preflight() {
        let cors = Cors::default().credentials(true).max_age(Duration::from_secs(5));
        let cors = cors.exposed_headers(["X"]).unwrap();
        assert!(headers(&cors, "GET", &[("Origin", ORIGIN)]).is_empty());
        assert!(headers(&cors, "OPTIONS", &[("Origin", ORIGIN)]).is_empty());
        assert!(!cors.is_preflight(&Request::new("OPTIONS", "/", &[])));
        assert!(!cors.allows(ORIGIN));
    }

    #[test]
    fn any_origin_is_a_star_that_does_not_vary() {
        let cors = Cors::any();
        let expected = ["Access-Control-Allow-Origin: *"];
        assert_eq!(headers(&cors, "GET", &[("Origin", ORIGIN)]), expected);
        assert_eq!(headers(&cors, "GET", &[]), expected);
        assert!(cors.allows(ORIGIN));
    }

    #[test]
    fn a_listed_origin_is_named_and_others_are_not() {
        let cors = Cors::origins(["https://b.example", ORIGIN]).unwrap();
        assert_eq!(
            headers(&cors, "GET", &[("origin", ORIGIN)]),
            ["Access-Control-Allow-Origin: https://a.example", "Vary: Origin"]
        );
        for other in [
            "https://c.example",
            "https://a.example.evil",
            "https://a.exampl",
            "HTTPS://A.example",
            "null",
            "",
        ] {
            assert_eq!(headers(&cors, "GET", &[("Origin", other)]), ["Vary: Origin"]);
            assert!(!cors.allows(other), "{other}");
        }
        assert_eq!(headers(&cors, "GET", &[]), ["Vary: Origin"]);
        assert!(cors.allows(ORIGIN));
    }

    #[test]
    fn reflect_names_whoever_asks() {
        let cors = Cors::reflect().credentials(true);
        assert_eq!(
            headers(&cors, "POST", &[("Origin", ORIGIN)]),
            [
                "Access-Control-Allow-Origin: https://a.example",
                "Vary: Origin",
                "Access-Control-Allow-Credentials: true"
            ]
        );
        let without = ["Vary: Origin", "Access-Control-Allow-Credentials: true"];
        assert_eq!(headers(&cors, "POST", &[]), without);
    }

    #[test]
    fn an_origin_with_odd_bytes_is_never_sent_back() {
        let cors = Cors::reflect();
        for odd in ["a\r\nX: y", "a\nb", "a b", "a\tb", "a\0", "é", "\x7f", ""] {
            assert_eq!(headers(&cors, "GET", &[("Origin", odd)]), ["Vary: Origin"]);
            assert!(!cors.allows(odd), "{odd:?}");
            assert!(Cors::origins([odd]).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_preflight_allows_the_default_methods_and_the_headers_it_asks_for() {
        let sent = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-one, X-Two"),
        ];
        let cors = Cors::any();
        assert!(cors.is_preflight(&Request::new("OPTIONS", "/", &[])));
        assert_eq!(
            headers(&cors, "OPTIONS", &sent),
            [
                "Access-Control-Allow-Origin: *",
                "Vary: Access-Control-Request-Headers",
                "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE",
                "Access-Control-Allow-Headers: x-one, X-Two",
            ]
        );
        assert_eq!(
            headers(&Cors::reflect(), "OPTIONS", &sent)[1],
            "Vary: Origin, Access-Control-Request-Headers"
        );
    }

    #[test]
    fn a_preflight_says_what_was_configured() {
        let cors = Cors::origins([ORIGIN]).unwrap();
        let cors = cors.methods(["GET", "POST"]).unwrap();
        let cors = cors.allowed_headers(["X-One", "X-Two"]).unwrap();
        let cors = cors.exposed_headers(["X-Three", "X-Four"]).unwrap();
        let cors = cors.credentials(true).max_age(Duration::from_millis(600_900));
        let sent = [("Origin", ORIGIN), ("Access-Control-Request-Headers", "x-other")];
        assert_eq!(
            headers(&cors, "OPTIONS", &sent),
            [
                "Access-Control-Allow-Origin: https://a.example",
                "Vary: Origin",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Methods: GET,POST",
                "Access-Control-Allow-Headers: X-One,X-Two",
                "Access-Control-Max-Age: 600",
                "Access-Control-Expose-Headers: X-Three,X-Four",
            ]
        );
        assert_eq!(
            headers(&cors, "GET", &sent),
            [
                "Access-Control-Allow-Origin: https://a.example",
                "Vary: Origin",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: X-Three,X-Four",
            ]
        );
    }

    #[test]
    fn a_private_network_is_opened_only_if_asked_for_and_configured_and_to_allowed_origins() {
        let open = "Access-Control-Allow-Private-Network: true";
        let cors = Cors::origins([ORIGIN]).unwrap();
        let asked = [("Origin", ORIGIN), ("Access-Control-Request-Private-Network", "true")];
        let is_open =
            |cors: &Cors, method, sent: &[_]| headers(cors, method, sent).iter().any(|it| it == open);
        assert!(!is_open(&cors, "OPTIONS", &asked));
        let cors = cors.private_network(true);
        assert!(is_open(&cors, "OPTIONS", &asked));
        assert!(is_open(&Cors::any().private_network(true), "OPTIONS", &asked));
        assert!(!is_open(&Cors::off().private_network(true), "OPTIONS", &asked));
        assert!(!is_open(&cors, "GET", &asked));
        assert!(!is_open(&cors, "OPTIONS", &asked[..1]));
        assert!(!is_open(&cors, "OPTIONS", &[asked[0], ("Access-Control-Request-Private-Network", "false")]));
        assert!(!is_open(&cors, "OPTIONS", &[("Origin", "https://c.example"), asked[1]]));
    }

    #[test]
    fn requested_headers_with_odd_bytes_are_not_sent_back() {
        for odd in ["a\r\nX: y", "a\0b", "é"] {
            let sent = [("Access-Control-Request-Headers", odd)];
            let headers = headers(&Cors::any(), "OPTIONS", &sent);
            assert!(!headers.iter().any(|it| it.contains("Allow-Headers")));
        }
    }

    #[test]
    fn options_that_would_split_the_response_are_refused() {
        assert!(Cors::any().methods(["GET\r\nX: y"]).is_err());
        assert!(Cors::any().allowed_headers(["X", "a b"]).is_err());
        assert!(Cors::any().exposed_headers([""]).is_err());
    }
}
