//! The response of a proxy.

use sockeye_core::http::{MAX_HEAD, Tunnel};

/// The handshake with the proxy ends with the empty line of its response or with an error, within the limit of a head.
pub fn tunnel(data: &[u8]) {
    let mut tunnel = Tunnel::new();
    for (at, byte) in data.iter().enumerate() {
        match tunnel.handle_byte(*byte) {
            Ok(false) => assert!(at < MAX_HEAD),
            Ok(true) => {
                let head = &data[..=at];
                assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
                return;
            }
            Err(_) => return,
        }
    }
}
