//! Received packets: each is a map with the fields `type`, `nsp`, `data` and `id` in any order.

use super::json::{Reader, behind_undefined};
use super::token::{Token, split_value, token};
use crate::engineio::{Message, SEPARATOR};
use crate::socketio::error::DecodeError;
use crate::socketio::kind::{Kind, MAX_ID};
use crate::socketio::limits::Limits;
use crate::socketio::parser::complete::{Complete, Whole};
use crate::socketio::parser::decoded::{Decoded, Form};
use crate::socketio::parser::text;
use crate::utf8::from_utf8;
use alloc::boxed::Box;
use core::ops::Range;

/// Reads a message: a binary message is a packet, and there are no others.
#[inline(never)]
pub(crate) fn decode<'a>(message: &'a Message<'_>, limits: &Limits) -> Decoded<'a> {
    match message {
        Message::Text(_) => Decoded(Form::Wrong(DecodeError::NotBinary)),
        Message::Binary(data) => decode_binary(data, limits),
    }
}

/// Reads a binary message.
pub(crate) fn decode_binary<'a>(data: &'a [u8], limits: &Limits) -> Decoded<'a> {
    Decoded(match read(data, limits) {
        Ok(packet) => Form::Whole(packet),
        Err(error) => Form::Wrong(error),
    })
}

/// The fields of a packet that were read so far. Texts are ranges in the reader's text.
#[derive(Default)]
struct Fields {
    kind: Option<Kind>,
    id: Option<u64>,
    namespace: Option<(Range<usize>, Range<usize>)>,
    data: Option<Range<usize>>,
}

/// Reads a packet.
///
/// This is stricter than socket.io-msgpack-parser in the same way as the parser of texts.
///
/// # Errors
/// Returns an error if the message is not a valid packet, or exceeds one of `limits`.
fn read<'a>(message: &'a [u8], limits: &Limits) -> Result<Complete<'a>, DecodeError> {
    let Some((Token::Map(len), mut rest)) = token(message) else {
        return Err(if message.is_empty() { DecodeError::Empty } else { DecodeError::MessagePack });
    };
    let mut reader = Reader::new(message.len());
    let mut fields = Fields::default();
    for _ in 0..len {
        let (key, value) = token(rest).ok_or(DecodeError::MessagePack)?;
        rest = fields.read(&mut reader, key, value, limits)?;
    }
    if !rest.is_empty() {
        return Err(DecodeError::MessagePack);
    }
    let Fields { kind, id, namespace, data } = fields;
    let kind = kind.ok_or(DecodeError::Type)?;
    let (namespace, query) = namespace.ok_or(DecodeError::Namespace)?;
    if !kind.is_event() && id.is_some() != kind.is_ack() {
        return Err(DecodeError::Id);
    }
    let data = data.unwrap_or_default();
    let name_end = check_data(kind, &reader, data.clone(), limits)?;
    let Reader { text, kept: attachments, last, .. } = reader;
    let whole =
        Whole { kind, id, text, namespace, query, data, name_end, expected: 0, bytes: 0, attachments };
    Ok(Complete::new(Box::new(whole), last))
}

impl Fields {
    /// Reads the value behind a key. Returns the bytes behind it.
    fn read<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        key: Token<'_>,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<&'a [u8], DecodeError> {
        let key = match key {
            Token::Str(key) => key,
            // Its elements would be taken for the value.
            Token::Array(_) | Token::Map(_) => return Err(DecodeError::MessagePack),
            _ => b"",
        };
        let (value, behind) = token(bytes).ok_or(DecodeError::MessagePack)?;
        // JavaScript sends a field that is not there as `undefined`, Python as nil.
        if value == Token::Nil || behind_undefined(bytes).is_some() {
            return Ok(behind);
        }
        let is_new = match key {
            b"type" => self.kind.replace(kind(value)?).is_none(),
            b"id" => self.id.replace(id(value)?).is_none(),
            b"nsp" => {
                let Token::Str(name) = value else { return Err(DecodeError::Namespace) };
                self.namespace.replace(namespace(reader, name, limits)?).is_none()
            }
            b"data" => {
                let start = reader.text.len();
                let behind = reader.value(bytes, limits)?;
                if self.data.replace(start..reader.text.len()).is_some() {
                    return Err(DecodeError::MessagePack);
                }
                return Ok(behind);
            }
            // Such as the options of the sender.
            _ => return split_value(bytes).map(|(_, behind)| behind).ok_or(DecodeError::MessagePack),
        };
        if is_new { Ok(behind) } else { Err(DecodeError::MessagePack) }
    }
}

fn kind(value: Token<'_>) -> Result<Kind, DecodeError> {
    match value {
        Token::Uint(0) => Ok(Kind::Connect),
        Token::Uint(1) => Ok(Kind::Disconnect),
        Token::Uint(2) => Ok(Kind::Event),
        Token::Uint(3) => Ok(Kind::Ack),
        Token::Uint(4) => Ok(Kind::ConnectError),
        // The types of packets with attachments do not exist here.
        _ => Err(DecodeError::Type),
    }
}

fn id(value: Token<'_>) -> Result<u64, DecodeError> {
    let id = match value {
        Token::Uint(id) => Some(id),
        Token::Int(id) => u64::try_from(id).ok(),
        _ => None,
    };
    id.filter(|id| *id <= MAX_ID).ok_or(DecodeError::Id)
}

/// Appends a namespace. Returns the positions of its name and its query.
fn namespace(
    reader: &mut Reader<'_>,
    name: &[u8],
    limits: &Limits,
) -> Result<(Range<usize>, Range<usize>), DecodeError> {
    if name.len() > limits.max_namespace_len {
        return Err(DecodeError::NamespaceTooLong);
    }
    let full = from_utf8(name).ok_or(DecodeError::Namespace)?;
    let (name, query) = full.split_once('?').unwrap_or((full, ""));
    // The same as in texts, where a comma ends the name.
    if !name.starts_with('/') || full.bytes().any(|byte| byte == b',' || byte == SEPARATOR) {
        return Err(DecodeError::Namespace);
    }
    let start = reader.text.len();
    reader.text.push_str(full);
    let end = reader.text.len();
    Ok((start..start + name.len(), end - query.len()..end))
}

/// Checks the data. Returns the position in it behind the event's name.
fn check_data(
    kind: Kind,
    reader: &Reader<'_>,
    data: Range<usize>,
    limits: &Limits,
) -> Result<usize, DecodeError> {
    let data = reader.text.get(data).unwrap_or_default();
    let has_args = kind.is_event() || kind.is_ack();
    if !has_args && !reader.is_plain() {
        return Err(DecodeError::Payload);
    }
    if reader.is_ambiguous() {
        return Err(DecodeError::Attachment);
    }
    match (kind, data.as_bytes().first()) {
        (Kind::Connect, None | Some(b'{')) => Ok(0),
        (Kind::Disconnect, None) => Ok(0),
        (Kind::ConnectError, None | Some(b'{' | b'"')) => Ok(0),
        (Kind::Ack, Some(b'[')) => Ok(0),
        (Kind::Event, Some(b'[')) => {
            let is_scalar = !matches!(data.as_bytes().get(1), Some(b'[' | b'{'));
            if !is_scalar {
                return Err(DecodeError::Payload);
            }
            let mut elements = text::Elements::new(data);
            text::check_name(elements.next(), limits)?;
            Ok(elements.position())
        }
        _ => Err(DecodeError::Payload),
    }
}
