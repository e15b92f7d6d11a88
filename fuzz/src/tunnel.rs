//! What a proxy answers.

use sockeye_core::http::{MAX_HEAD, Tunnel};

/// The handshake ends with the answer's empty line, or in bounds, and then takes no more.
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
