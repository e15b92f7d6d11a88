//! JSON with placeholders for attachments, written as MessagePack with the binary data in place.

use crate::socketio::parser::text::{attachment_number, split_value, unescape};
use alloc::vec::Vec;
use rmp::encode;
use smallvec::SmallVec;

/// An array or a map whose length is written once it is known.
struct Open {
    /// The position of the marker.
    at: usize,
    /// The number of values so far; in a map the keys count too.
    count: usize,
    is_map: bool,
}

/// Appends a JSON value as MessagePack. `json` is valid JSON; a placeholder becomes the attachment with its number, if there
/// is one.
pub(crate) fn to_msgpack<'a>(out: &mut Vec<u8>, json: &str, attachment: impl Fn(usize) -> Option<&'a [u8]>) {
    let mut open = SmallVec::<[Open; 16]>::new();
    let mut rest = json;
    while let Some(&byte) = rest.as_bytes().first() {
        let mut behind = rest.get(1..).unwrap_or_default();
        match byte {
            b'[' | b'{' => match attachment_number(rest).and_then(&attachment) {
                Some(bytes) => {
                    write_bin(out, bytes);
                    behind = split_value(rest).map_or("", |(_, behind)| behind);
                    count(&mut open);
                }
                None => {
                    count(&mut open);
                    open.push(Open { at: out.len(), count: 0, is_map: byte == b'{' });
                    // Replaced when the length is known.
                    out.push(0);
                }
            },
            b']' | b'}' => {
                if let Some(open) = open.pop() {
                    close(out, open);
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                let Some((value, after)) = split_value(rest) else { break };
                write_scalar(out, value);
                behind = after;
                count(&mut open);
            }
        }
        rest = behind;
    }
}

fn count(open: &mut [Open]) {
    if let Some(open) = open.last_mut() {
        open.count += 1;
    }
}

/// Writes the length of a complete array or map into its place. Most have at most 15 elements, and nothing is moved.
fn close(out: &mut Vec<u8>, open: Open) {
    let Open { at, count, is_map } = open;
    let len = if is_map { count / 2 } else { count };
    let (fix, long) = if is_map { (0x80, [0xde, 0xdf]) } else { (0x90, [0xdc, 0xdd]) };
    let [short, long] = long;
    if let Ok(len @ 0..=15) = u8::try_from(len) {
        if let Some(marker) = out.get_mut(at) {
            *marker = fix | len;
        }
    } else if let Ok(len) = u16::try_from(len) {
        let [high, low] = len.to_be_bytes();
        out.splice(at..=at, [short, high, low]);
    } else {
        let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        out.splice(at..=at, [long, a, b, c, d]);
    }
}

fn write_scalar(out: &mut Vec<u8>, json: &str) {
    if let Some(inner) = json.strip_prefix('"') {
        return write_str(out, &unescape(inner.strip_suffix('"').unwrap_or(inner)));
    }
    match json {
        "null" => out.push(0xc0),
        "false" => out.push(0xc2),
        "true" => out.push(0xc3),
        number => {
            // Writing to memory does not fail.
            let _ = if let Ok(number) = number.parse() {
                encode::write_uint(out, number).map(drop)
            } else if let Ok(number) = number.parse() {
                encode::write_sint(out, number).map(drop)
            } else {
                encode::write_f64(out, number.parse().unwrap_or(f64::NAN))
            };
        }
    }
}

pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    let _ = encode::write_str(out, text);
}

pub(crate) fn write_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    let _ = encode::write_bin(out, bytes);
}
