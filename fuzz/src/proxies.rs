//! What proxies tell of the client: the headers that they add, and the PROXY protocol.

use sockeye_core::http::{Header, Request, TrustProxy};
use sockeye_core::proxy_protocol::{MAX_HEADER, Progress, parse};
use std::net::SocketAddr;

/// The address is that of the connection or one that stands in a header; and if a trusted proxy has written the last element
/// well, nothing before it changes the result.
pub fn trust_proxy(data: &[u8]) {
    let (proxy, client): (SocketAddr, SocketAddr) = (([10, 0, 0, 1], 80).into(), ([192, 0, 2, 1], 7).into());
    for (trust, name, element) in [
        (TrustProxy::hops(1), "X-Forwarded-For", "192.0.2.1:7"),
        (TrustProxy::private_networks(), "X-Forwarded-For", "192.0.2.1:7"),
        (TrustProxy::hops(1).forwarded(), "Forwarded", "for=\"192.0.2.1:7\";proto=https"),
        (TrustProxy::private_networks().forwarded(), "Forwarded", "for=\"192.0.2.1:7\";proto=https"),
    ] {
        let known = |value: &[u8]| {
            let headers = [Header { name, value }, Header { name: "X-Forwarded-Proto", value: b"https" }];
            trust.client(Some(proxy), false, &Request::new("GET", "/", &headers))
        };
        assert!(known(data).0.is_some());
        assert_eq!(known(&[data, b", ", element.as_bytes()].concat()), (Some(client), true));
    }
}

/// The header ends where it says, its result does not depend on how it was cut, and nothing behind it is asked for.
pub fn proxy_protocol(data: &[u8]) {
    let whole = parse(data);
    let mut at = 0;
    loop {
        match parse(&data[..at]) {
            Ok(Progress::More(more)) => {
                assert!(more > 0 && at + more <= MAX_HEADER);
                if at + more > data.len() {
                    // The whole input may be wrong behind what was read.
                    assert!(!matches!(whole, Ok(Progress::Done { .. })));
                    return;
                }
                at += more;
            }
            Ok(Progress::Done { len, source }) => {
                assert_eq!((len, whole), (at, Ok(Progress::Done { len, source })));
                return;
            }
            Err(error) => {
                assert_eq!(whole, Err(error));
                return;
            }
        }
    }
}
