//! Polling by scripts and forms.

use bytes::{Buf, Bytes};
use sockeye_core::Outbound;
use sockeye_core::engineio::server::jsonp::{Callback, decode_form};

/// A form is read without a panic into no more than it has, and what was read comes back as one string of a script, which
/// has no way out of it.
pub fn jsonp(data: &[u8]) {
    let (j, body) = data.split_at(data.iter().position(|&byte| byte == b'?').unwrap_or(0));
    let j = std::str::from_utf8(j).ok().and_then(Callback::parse).or(Callback::parse("0")).unwrap();
    let payload = match decode_form(body.strip_prefix(b"?").unwrap_or(body)) {
        Ok(payload) => payload,
        Err(_) => body.to_vec(),
    };
    assert!(payload.len() <= body.len());
    let Ok(text) = std::str::from_utf8(&payload) else { return };
    let mut out = Outbound::new();
    // Pieces may end within characters.
    payload.chunks(3).for_each(|piece| out.push(Bytes::copy_from_slice(piece)));
    j.wrap(&mut out);
    let script = String::from_utf8(out.copy_to_bytes(out.len()).to_vec()).unwrap();
    assert!(script.len() <= payload.len() * 6 + 24);
    let (index, string) = script.strip_prefix("___eio[").unwrap().split_once("](").unwrap();
    assert!(index.bytes().all(|byte| byte.is_ascii_digit()));
    let string = string.strip_suffix(");").unwrap();
    assert!(string.bytes().all(|byte| byte >= b' ' && byte != b'<'));
    assert!(!string.contains(['\u{2028}', '\u{2029}']));
    assert_eq!(serde_json::from_str::<String>(string).unwrap(), text);
}
