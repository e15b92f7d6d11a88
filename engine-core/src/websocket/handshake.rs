//! The two headers that prove an opening handshake (RFC 6455, 1.3 and 4): the client's
//! `Sec-WebSocket-Key` and the server's `Sec-WebSocket-Accept`. Values are given and taken
//! without the white space around them.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// What a server appends to the key before it is hashed (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`, in ASCII (RFC 6455, 4.2.2). For
/// a server, once [`is_valid_key`] has let the key through.
pub fn accept_key(key: impl AsRef<[u8]>) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key.as_ref()).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 in base64");
    accept
}

/// Whether a `Sec-WebSocket-Key` is 16 bytes in base64, as RFC 6455, 4.2.1 wants it: 22 characters
/// and the padding. Unused bits of the last character may be set, since there are clients that
/// draw characters rather than bytes.
pub fn is_valid_key(key: impl AsRef<[u8]>) -> bool {
    let Some(characters) = key.as_ref().strip_suffix(b"==") else {
        return false;
    };
    characters.len() == 22
        && characters.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The `Sec-WebSocket-Key` made of a nonce, in ASCII (RFC 6455, 4.1). For a client; the nonce is
/// to be random and new for each connection.
pub fn encode_key(nonce: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 in base64");
    key
}

/// Whether a server's `Sec-WebSocket-Accept` is the answer to this key (RFC 6455, 4.1). For a
/// client, which fails the connection if it is not.
pub fn is_valid_accept(key: impl AsRef<[u8]>, accept: impl AsRef<[u8]>) -> bool {
    accept.as_ref() == accept_key(key)
}
