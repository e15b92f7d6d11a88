//! The two headers that prove an opening handshake (RFC 6455, 1.3 and 4): the client's
//! `Sec-WebSocket-Key` and the server's `Sec-WebSocket-Accept`. Values are without surrounding
//! whitespace.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// The text that a server appends to the key before hashing it (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`, in ASCII (RFC 6455, 4.2.2).
/// A server must check the key with [`is_valid_key`] first.
pub fn accept_key(key: impl AsRef<[u8]>) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key.as_ref()).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 in base64");
    accept
}

/// Returns whether a `Sec-WebSocket-Key` is 16 bytes in base64: 22 characters and the padding (RFC
/// 6455, 4.2.1). Unused bits of the last character may be set, because some clients choose random
/// characters instead of random bytes.
pub fn is_valid_key(key: impl AsRef<[u8]>) -> bool {
    let Some(characters) = key.as_ref().strip_suffix(b"==") else {
        return false;
    };
    characters.len() == 22
        && characters.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Returns a client's `Sec-WebSocket-Key` for a nonce, in ASCII (RFC 6455, 4.1). The nonce must be
/// random and new for each connection.
pub fn encode_key(nonce: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 in base64");
    key
}

/// Returns whether a server's `Sec-WebSocket-Accept` is the answer to this key (RFC 6455, 4.1). If it
/// is not, the client must fail the connection.
pub fn is_valid_accept(key: impl AsRef<[u8]>, accept: impl AsRef<[u8]>) -> bool {
    accept.as_ref() == accept_key(key)
}
