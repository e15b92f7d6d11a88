//! Lists of arguments that are put together or shown.

use super::encode::count_placeholders;
use super::json;
use super::placeholder;
use super::serialize::Sink;
use super::string::skip_string;
use crate::socketio::attached::Attached;
use crate::socketio::error::{DecodeError, EncodeError};
use crate::socketio::limits::MAX_DEPTH;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::{self, Write};
use serde::Serialize;

/// Checks that a text is a JSON array whose placeholders refer to `count` attachments, and returns it without whitespace
/// behind it.
pub(crate) fn check_list(json: &str, count: usize) -> Result<&str, DecodeError> {
    let json = json::scan(json, MAX_DEPTH)?.value;
    if !json.starts_with('[') {
        return Err(DecodeError::Payload);
    }
    placeholder::check(json, count)?;
    Ok(json)
}

/// Appends an element to a JSON array, and its attachments to `attachments`. If that fails, both are as before.
pub(crate) fn push<T: Serialize + ?Sized>(
    list: &mut String,
    is_first: bool,
    attachments: &mut Vec<Bytes>,
    value: &T,
) -> Result<(), EncodeError> {
    let mut sink = Sink::new();
    sink.attached_before = attachments.len();
    value.serialize(&mut sink)?;
    // Beside attachments, an object that looks like a placeholder could be mistaken for one.
    let earlier = match attachments.is_empty() && !sink.binary.ends.is_empty() {
        true => count_placeholders(list.as_bytes()),
        false => 0,
    };
    let is_binary = !attachments.is_empty() || !sink.binary.ends.is_empty();
    if is_binary && earlier + count_placeholders(&sink.text) != sink.binary.ends.len() {
        return Err(EncodeError::Placeholder);
    }
    let text = core::str::from_utf8(&sink.text).map_err(serde::ser::Error::custom)?;
    list.truncate(list.trim_end().len() - 1);
    if !is_first {
        list.push(',');
    }
    list.push_str(text);
    list.push(']');
    let binary = Bytes::from(sink.binary.bytes);
    let mut start = 0;
    for end in sink.binary.ends {
        attachments.push(binary.slice(start..end));
        start = end;
    }
    Ok(())
}

/// Returns the number of the attachment that a JSON value stands for, if it is a placeholder.
pub(crate) fn attachment_number(json: &str) -> Option<usize> {
    placeholder::fields(json.strip_prefix('{')?).map(|(num, _)| num)
}

/// Writes JSON for people: in one line, without control characters, and with `<12 bytes>` for an attachment.
pub(crate) fn show(out: &mut dyn Write, json: &str, attachments: Attached<'_>) -> fmt::Result {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'"', b'{', rest.as_bytes()) {
        let Some((before, from)) = rest.split_at_checked(at) else { break };
        show_tokens(out, before)?;
        if let Some(object) = from.strip_prefix('{') {
            let attachment = placeholder::fields(object)
                .and_then(|(num, behind)| attachments.get(num).map(|bytes| (bytes.len(), behind)));
            rest = match attachment {
                Some((1, behind)) => out.write_str("<1 byte>").map(|()| behind)?,
                Some((count, behind)) => write!(out, "<{count} bytes>").map(|()| behind)?,
                None => out.write_char('{').map(|()| object)?,
            };
        } else {
            let (string, behind) = skip_string(from);
            show_string(out, string)?;
            rest = behind;
        }
    }
    show_tokens(out, rest)
}

/// Writes what stands between strings, where a line break is whitespace.
fn show_tokens(out: &mut dyn Write, text: &str) -> fmt::Result {
    let mut lines = text.split(['\n', '\r', '\t']);
    out.write_str(lines.next().unwrap_or_default())?;
    lines.try_for_each(|line| {
        out.write_char(' ')?;
        out.write_str(line)
    })
}

/// Writes a string with escapes for control characters, which JSON allows from U+007F on and a terminal may obey.
fn show_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((at, control)) = rest.char_indices().find(|(_, char)| char.is_control()) {
        let (before, from) = rest.split_at(at);
        write!(out, "{before}\\u{:04x}", u32::from(control))?;
        rest = from.get(control.len_utf8()..).unwrap_or_default();
    }
    out.write_str(rest)
}
