use super::*;
use crate::http::Header;
use alloc::format;
use alloc::string::ToString;
use proptest::prelude::*;

const PROXY: &str = "10.0.0.1:80";

fn client(trust: &TrustProxy, peer: &str, lines: &[(&str, &str)]) -> (String, bool) {
    let headers: Vec<_> =
        lines.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let request = Request::new("GET", "/", &headers);
    let (address, secure) = trust.client(peer.parse().ok(), false, &request);
    (address.map_or_else(|| "unknown".into(), |address| address.to_string()), secure)
}

fn of(trust: &TrustProxy, header: &str) -> String {
    client(trust, PROXY, &[("X-Forwarded-For", header)]).0
}

fn by_forwarded(header: &str) -> (String, bool) {
    client(&TrustProxy::hops(1).forwarded(), PROXY, &[("Forwarded", header)])
}

fn private() -> TrustProxy {
    TrustProxy::networks(["10.0.0.0/8", "fd00::/8"]).unwrap()
}

#[test]
fn the_nearest_address_that_is_not_trusted_is_the_clients() {
    assert_eq!(of(&private(), "1.2.3.4"), "1.2.3.4:0");
    assert_eq!(of(&private(), "6.6.6.6, 1.2.3.4, 10.0.0.2,10.0.0.3"), "1.2.3.4:0");
    assert_eq!(of(&private(), "6.6.6.6, 1.2.3.4, fd00::1, ::ffff:10.0.0.3"), "1.2.3.4:0");
    assert_eq!(of(&private(), "10.0.0.3, 10.0.0.2"), "10.0.0.3:0", "all are proxies");
}

#[test]
fn as_many_hops_are_followed_as_are_trusted() {
    let list = "9.9.9.9, 8.8.8.8, 7.7.7.7";
    assert_eq!(of(&TrustProxy::hops(0), list), PROXY);
    assert_eq!(of(&TrustProxy::hops(1), list), "7.7.7.7:0");
    assert_eq!(of(&TrustProxy::hops(2), list), "8.8.8.8:0");
    assert_eq!(of(&TrustProxy::hops(9), list), "9.9.9.9:0");
    let lines = [("x-forwarded-for", "9.9.9.9"), ("X-Forwarded-For", "8.8.8.8")];
    assert_eq!(client(&TrustProxy::hops(1), PROXY, &lines).0, "8.8.8.8:0", "the last line is the nearest");
    assert_eq!(client(&TrustProxy::hops(1), "unix", &lines).0, "8.8.8.8:0");
    let long = format!("6.6.6.6{}", ", 10.0.0.9".repeat(99));
    assert_eq!(of(&private(), &long), "10.0.0.9:0", "it is not followed for ever");
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client() {
    let lines = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")];
    for peer in ["11.0.0.1:80", "[fe00::1]:80"] {
        assert_eq!(client(&private(), peer, &lines), (peer.into(), false));
    }
    assert_eq!(client(&private(), "unix", &lines), ("unknown".into(), false));
    assert_eq!(client(&TrustProxy::hops(0), PROXY, &lines), (PROXY.into(), false));
}

#[test]
fn a_malformed_address_ends_at_the_nearest_trusted_proxy() {
    for wrong in
        ["", "unknown", "unix:", "1.2.3", "1.2.3.4.5", "1.2.3.4:99999", "a.example", "[::1", "\"1.1.1.1\""]
    {
        assert_eq!(of(&private(), &format!("1.2.3.4, {wrong}")), PROXY, "{wrong}");
        assert_eq!(of(&private(), &format!("1.2.3.4, {wrong}, 10.0.0.2")), "10.0.0.2:0", "{wrong}");
    }
    assert_eq!(client(&private(), PROXY, &[]).0, PROXY);
}

#[test]
fn an_address_may_have_a_port() {
    for (text, address) in [
        ("1.2.3.4:567", "1.2.3.4:567"),
        ("[2001:db8::1]:567", "[2001:db8::1]:567"),
        ("[2001:db8::1]", "[2001:db8::1]:0"),
        ("2001:db8::1", "[2001:db8::1]:0"),
        ("1.2.3.4:_hidden", "1.2.3.4:0"),
    ] {
        assert_eq!(of(&private(), text), address);
    }
}

#[test]
fn the_scheme_is_that_of_the_client() {
    let secure = |hops, scheme: &str| {
        let lines = [("X-Forwarded-For", "9.9.9.9, 8.8.8.8"), ("X-Forwarded-Proto", scheme)];
        client(&TrustProxy::hops(hops), PROXY, &lines).1
    };
    assert!(secure(1, "https") && secure(1, "WSS") && !secure(1, "http") && !secure(1, "gopher"));
    assert!(secure(1, "http, https") && !secure(1, "https, http"), "the client wrote the first one");
    assert!(secure(2, "https, http"), "the first proxy is reached by https, the second by http");
    assert!(secure(2, "https"), "the second proxy passes on that of the first");
    assert!(client(&private(), PROXY, &[("X-Forwarded-Proto", "https")]).1, "without an address");
}

#[test]
fn an_encrypted_connection_of_the_proxy_does_not_make_that_of_the_client_encrypted() {
    let headers = [Header { name: "X-Forwarded-Proto", value: b"http" }];
    let request = Request::new("GET", "/", &headers);
    assert_eq!(TrustProxy::hops(1).client(None, true, &request), (None, false));
    assert_eq!(TrustProxy::hops(1).client(None, true, &Request::new("GET", "/", &[])), (None, true));
}

#[test]
fn only_the_header_that_the_proxies_write_is_read() {
    let lines = [("Forwarded", "for=6.6.6.6;proto=https"), ("X-Forwarded-For", "1.2.3.4")];
    assert_eq!(client(&private(), PROXY, &lines), ("1.2.3.4:0".into(), false));
    assert_eq!(client(&private().forwarded(), PROXY, &lines), ("6.6.6.6:0".into(), true));
}

#[test]
fn forwarded_is_read_as_the_rfc_writes_it() {
    for (header, address, secure) in [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0", false),
        ("For=\"[2001:db8:cafe::17]:4711\"", "[2001:db8:cafe::17]:4711", false),
        ("host=\"a,b;c=\\\"\"; Proto=HTTPS ; for=\"192.0.2.43:47011\"", "192.0.2.43:47011", true),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17:0", false),
        ("for=\"192.0.2.43:_gazonk\"", "192.0.2.43:0", false),
        ("for=unknown;proto=https", PROXY, true),
        ("for=_hidden", PROXY, false),
        ("proto=https", PROXY, true),
    ] {
        assert_eq!(by_forwarded(header), (address.into(), secure), "{header}");
    }
}

#[test]
fn a_malformed_element_says_nothing() {
    for header in [
        "",
        ";",
        "for",
        "for=",
        "for=1.2.3.4;",
        "for=1.2.3.4;for=5.6.7.8",
        "proto=https;proto=https",
        "=1.2.3.4",
        "f r=1.2.3.4",
        "for=\"1.2.3.4",
        "for=\"1.2.3.4\"x",
        "for=1.2.3.4 ;; proto=https",
        "for=1.2 .3.4;proto=https",
        "for=\"1.2.3.\\4\"",
    ] {
        assert_eq!(by_forwarded(header), (PROXY.into(), false), "{header}");
    }
}

#[test]
fn an_open_quote_of_the_client_does_not_reach_into_what_the_proxy_wrote() {
    for client in ["for=\"", "\"", "for=\"\\", "host=\"\\\"", ",,\"a"] {
        let header = format!("{client}, for=\"1.2.3.4:5\";proto=https");
        assert_eq!(by_forwarded(&header), ("1.2.3.4:5".into(), true), "{header}");
    }
}

#[test]
fn a_network_is_an_address_and_perhaps_the_length_of_its_prefix() {
    let contains =
        |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
    assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
    assert!(contains("10.1.2.3/8", "10.9.9.9") && !contains("10.0.0.0/9", "10.128.0.0"));
    assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
    assert!(contains("2001:db8::/32", "2001:db8:1::") && !contains("2001:db8::/32", "2001:db9::"));
    assert!(PRIVATE.iter().all(|text| Network::parse(text).is_some()));
    for wrong in
        ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "localhost", "10.0.0.1:80"]
    {
        let error = TrustProxy::networks([wrong]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{wrong:?} is not a network: ")), "{error}");
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    /// The end of the list decides, whatever stands before it.
    #[test]
    fn a_client_cannot_choose_its_address(invented in "[ -~]{0,60}", address in address()) {
        let list = format!("{invented}, {address}");
        prop_assert_eq!(of(&TrustProxy::hops(1), &list), address.to_string());
        let forwarded = format!("{invented}, for=\"{address}\";proto=https");
        prop_assert_eq!(by_forwarded(&forwarded), (address.to_string(), true));
        if !private().trusts(Some(address), 0) {
            prop_assert_eq!(of(&private(), &list), address.to_string());
        }
    }

    #[test]
    fn any_bytes_lead_to_an_address_that_was_told(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let headers = [Header { name: "Forwarded", value: &value }, Header { name: "X-Forwarded-For", value: &value }];
        let request = Request::new("GET", "/", &headers);
        for trust in [private(), private().forwarded(), TrustProxy::hops(3), TrustProxy::hops(3).forwarded()] {
            let peer = PROXY.parse().unwrap();
            prop_assert!(trust.client(Some(peer), false, &request).0.is_some());
        }
    }
}
