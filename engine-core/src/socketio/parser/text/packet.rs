//! The text form of a received Socket.IO packet: `<type>[<n>-][<namespace>,][<id>][<JSON>]`.

use super::json;
use super::string::{MAX_TWICE, is_plain, skip_name};
use crate::engineio::SEPARATOR;
use crate::socketio::error::DecodeError;
use crate::socketio::kind::{Kind, MAX_ID, is_reserved, is_reserved_name};
use crate::socketio::limits::Limits;
use crate::socketio::packet::{Hint, Packet};
use alloc::borrow::Cow;

impl<'a> Packet<'a> {
    /// Decodes the text of an Engine.IO message, as [`Parser::Text`](crate::socketio::Parser::Text) writes it.
    /// Allocates nothing.
    ///
    /// This is stricter than socket.io-parser: numbers consist of digits only, whitespace is allowed only inside and
    /// after the JSON, an event must have a name, and an acknowledgement an id and data.
    ///
    /// # Errors
    /// Returns an error if the text is not a valid packet, or exceeds one of `limits`.
    #[inline]
    pub fn decode(text: &'a str, limits: &Limits) -> Result<Packet<'a>, DecodeError> {
        let digit = *text.as_bytes().first().ok_or(DecodeError::Empty)?;
        let kind = Kind::from_digit(digit).ok_or(DecodeError::Type)?;
        let rest = text.get(1..).ok_or(DecodeError::Type)?;
        let (attachments, rest) = if kind.is_binary() { attachment_count(rest, limits)? } else { (0, rest) };
        let (namespace, query, rest) = split_namespace(rest, limits)?;
        let (id, rest) = split_id(rest)?;
        let has_id = id.is_some();
        if !kind.is_event() && has_id != kind.is_ack() {
            return Err(DecodeError::Id);
        }
        let (data, name_end, is_string) = check(kind, rest, limits)?;
        Ok(Packet { kind, namespace, query, id, attachments, data, name_end, is_string })
    }
}

/// Returns the position behind the first element of an array.
pub(crate) fn end_of_first(data: &str) -> usize {
    let mut elements = json::Elements::new(data);
    elements.next();
    elements.position()
}

/// Returns the name of an event, given its data and the position behind the name. `None` if that is 0: the data of
/// another packet.
pub(crate) fn event_name(data: &str, name_end: usize) -> Option<Cow<'_, str>> {
    if name_end == 0 {
        return None;
    }
    let written = data.get(1..name_end).unwrap_or_default().trim_ascii_start();
    Some(match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => json::unescape(inner),
        None => Cow::Borrowed(written),
    })
}

/// Splits off `<n>-`, and returns the number of attachments and the rest.
// Not inlined, as the next ones, so that the code for plain events lies together: `benches/count ack`.
#[inline(never)]
fn attachment_count<'a>(text: &'a str, limits: &Limits) -> Result<(usize, &'a str), DecodeError> {
    let mut count = 0;
    let mut digits = 0;
    let mut rest = text.as_bytes();
    while let Some((&digit @ b'0'..=b'9', behind)) = rest.split_first() {
        digits += 1;
        if digits > 4 {
            return Err(DecodeError::AttachmentCount);
        }
        count = count * 10 + usize::from(digit - b'0');
        rest = behind;
    }
    // A binary packet must have attachments, because the last one completes it.
    if count == 0 || rest.first() != Some(&b'-') {
        return Err(DecodeError::AttachmentCount);
    }
    if count > limits.max_attachments {
        return Err(DecodeError::TooManyAttachments);
    }
    let rest = text.get(digits + 1..).ok_or(DecodeError::AttachmentCount)?;
    Ok((count, rest))
}

/// Splits off `<namespace>,`, and returns the namespace, its query and the rest. The comma may be missing at the end.
#[inline]
fn split_namespace<'a>(text: &'a str, limits: &Limits) -> Result<(&'a str, &'a str, &'a str), DecodeError> {
    match text.starts_with('/') {
        true => split_written_namespace(text, limits),
        false => Ok(("/", "", text)),
    }
}

#[inline(never)]
fn split_written_namespace<'a>(
    text: &'a str,
    limits: &Limits,
) -> Result<(&'a str, &'a str, &'a str), DecodeError> {
    // The search stops at the maximum length of a namespace, because the rest may be megabytes.
    let bytes = text.as_bytes();
    let window = bytes.get(..=limits.max_namespace_len).unwrap_or(bytes);
    let (full, rest) = match memchr::memchr(b',', window) {
        Some(at) => text.split_at_checked(at).ok_or(DecodeError::NamespaceTooLong)?,
        None if bytes.len() <= limits.max_namespace_len => (text, ""),
        None => return Err(DecodeError::NamespaceTooLong),
    };
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    let (namespace, query) = full.split_once('?').unwrap_or((full, ""));
    if memchr::memchr(SEPARATOR, namespace.as_bytes()).is_some() {
        return Err(DecodeError::Namespace);
    }
    Ok((namespace, query, rest))
}

/// Splits off the acknowledgement id, and returns it and the rest.
fn split_id(text: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let mut id = None;
    let mut rest = text.as_bytes();
    while let Some((&digit @ b'0'..=b'9', behind)) = rest.split_first() {
        // Cannot overflow, because the previous value is at most MAX_ID.
        let value = id.unwrap_or(0) * 10 + u64::from(digit - b'0');
        if value > MAX_ID {
            return Err(DecodeError::Id);
        }
        id = Some(value);
        rest = behind;
    }
    let rest = text.get(text.len() - rest.len()..).ok_or(DecodeError::Id)?;
    Ok((id, rest))
}

/// Does the same as [`check_data`], the most frequent data by the shortest path: `benches/count ack`. Returns also whether the
/// only argument is a string, if neither that nor the event's name has escapes.
#[inline]
pub(super) fn check<'a>(
    kind: Kind,
    text: &'a str,
    limits: &Limits,
) -> Result<(&'a str, usize, Hint), DecodeError> {
    let may_nest = limits.max_depth > 0;
    match kind {
        Kind::Event if may_nest => {
            if let Some(name_end) = plain_name(text, limits) {
                if is_last_string(text, name_end, b',') {
                    return Ok((text, name_end, Hint(true)));
                }
                let data = json::scan_behind(text, name_end, limits.max_depth)?;
                return Ok((data, name_end, Hint(false)));
            }
        }
        Kind::Ack if may_nest && is_last_string(text, 0, b'[') => return Ok((text, 0, Hint(true))),
        _ => {}
    }
    check_data(kind, text, limits).map(|(data, name_end)| (data, name_end, Hint(false)))
}

/// Returns the position behind the name of an event if that is valid, and has no escapes.
#[inline]
fn plain_name(text: &str, limits: &Limits) -> Option<usize> {
    let inner = text.as_bytes().strip_prefix(b"[\"")?;
    let behind = skip_name(inner);
    let name = inner.get(..inner.len() - behind.len())?;
    let is_valid = name.len() <= limits.max_event_len && !is_reserved_name(name);
    (is_valid && behind.first() == Some(&b'"')).then_some(2 + name.len() + 1)
}

/// Returns whether `separator` and a string without escapes, as the last element of the array, are all that follows at
/// `position`.
#[inline]
fn is_last_string(text: &str, position: usize, separator: u8) -> bool {
    let Some([first, b'"', string @ .., b'"', b']']) = text.as_bytes().get(position..) else { return false };
    *first == separator && text.len() <= MAX_TWICE && is_plain(string)
}

/// Checks the data. Returns it without trailing whitespace, and the position behind the event's name.
#[inline(never)]
pub(super) fn check_data<'a>(
    kind: Kind,
    text: &'a str,
    limits: &Limits,
) -> Result<(&'a str, usize), DecodeError> {
    if text.is_empty() {
        return match kind {
            Kind::Connect | Kind::Disconnect | Kind::ConnectError => Ok(("", 0)),
            _ => Err(DecodeError::Payload),
        };
    }
    let scanned = json::scan(text, limits.max_depth)?;
    let name_end = match (kind, text.as_bytes().first()) {
        (Kind::Connect, Some(b'{')) => 0,
        (Kind::ConnectError, Some(b'{' | b'"')) => 0,
        (Kind::Ack | Kind::BinaryAck, Some(b'[')) => 0,
        (Kind::Event | Kind::BinaryEvent, Some(b'[')) => {
            check_name(scanned.first, limits)?;
            scanned.first_end
        }
        _ => return Err(DecodeError::Payload),
    };
    Ok((scanned.value, name_end))
}

/// Checks the name of an event, given the first element of its data.
#[inline(always)]
pub(crate) fn check_name(first: Option<&str>, limits: &Limits) -> Result<(), DecodeError> {
    let written = first.ok_or(DecodeError::Payload)?;
    let Some(inner) = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        let digits = written.strip_prefix('-').unwrap_or(written);
        return match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true if written.len() > limits.max_event_len => Err(DecodeError::EventTooLong),
            true => Ok(()),
            false => Err(DecodeError::Payload),
        };
    };
    if inner.len() > limits.max_event_len {
        return Err(DecodeError::EventTooLong);
    }
    match is_reserved(&json::unescape(inner)) {
        true => Err(DecodeError::ReservedEvent),
        false => Ok(()),
    }
}
