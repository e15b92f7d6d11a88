//! Offsets: the positions of events in the log of a namespace, as clients see them.

use crate::engineio::Draft;
use crate::socketio::parser::Encoded;
use crate::socketio::parser::msgpack::append_str;
use core::fmt;

/// The digits of base 64 that the reference uses for its offsets.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// Number of digits of an epoch, and of a position.
const EPOCH: usize = 7;
const POSITION: usize = 8;

/// The first position that has too many digits. At a million events per second it is reached after nine years.
pub(super) const END: u64 = 1 << (6 * POSITION);

/// What is appended to the arguments of an event: a comma, and the offset as a string.
const LEN: usize = 2 + EPOCH + 1 + POSITION + 1;

/// The log that an offset belongs to: a name drawn at random, so that the offsets of another namespace, or of this one
/// before the server was restarted, are recognized.
///
/// An offset is the epoch, a full stop and the position. This is a form of the reference's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch([u8; EPOCH]);

impl Epoch {
    /// Creates an epoch from 64 random bits.
    pub fn from_random(random: u64) -> Epoch {
        let mut epoch = digits(random / 26);
        // A capital letter: offsets of the reference begin with one until 2046, by which clients may recognize them.
        let letter = DIGITS.iter().skip(10 + (random % 26) as usize).copied().next();
        epoch[0] = letter.unwrap_or(b'A');
        Epoch(epoch)
    }

    pub(super) fn from_bytes(bytes: [u8; EPOCH]) -> Epoch {
        Epoch(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; EPOCH] {
        &self.0
    }

    /// Encodes an event with an offset behind its arguments, whose position is written by
    /// [`Retained::number`](super::Retained::number).
    pub fn draft(&self, event: &Encoded<'_>) -> Draft {
        let mut tail = [b'0'; LEN + 1];
        tail[..2].copy_from_slice(b",\"");
        tail[2..2 + EPOCH].copy_from_slice(&self.0);
        tail[2 + EPOCH] = b'.';
        tail[LEN - 1..].copy_from_slice(b"\"]");
        let Some(packed) = event.packed() else {
            let arguments = event.text.strip_suffix(b"]").unwrap_or_default();
            return Draft::new([arguments, &tail], POSITION + 2, event.attachments());
        };
        let offset = tail.get(2..LEN - 1).and_then(|offset| core::str::from_utf8(offset).ok());
        let mut bytes = packed.bytes.clone();
        append_str(&mut bytes, packed.data, offset.unwrap_or_default());
        Draft::new_binary(&bytes, POSITION)
    }

    /// Returns the position of an offset, or `None` if it is not one of this log.
    pub(super) fn position(&self, offset: &str) -> Option<u64> {
        let (epoch, position) = offset.as_bytes().split_first_chunk::<EPOCH>()?;
        let position: &[u8; POSITION] = position.strip_prefix(b".")?.try_into().ok()?;
        if *epoch != self.0 {
            return None;
        }
        position.iter().try_fold(0, |value, digit| {
            let digit = DIGITS.iter().position(|it| it == digit)?;
            Some(value * 64 + digit as u64)
        })
    }
}

/// Splits a number from what begins with it. Returns `None` if there is no digit, or if it is above 64 bits.
fn digits_of(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut rest) = (None, text);
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first() {
        let value: u64 = number.unwrap_or(0);
        number = Some(value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
        rest = behind;
    }
    Some((number?, rest))
}

/// The position of an entry in a stream that several servers share: milliseconds, and a number among the entries of one.
///
/// Displays as Redis writes it, such as `1526919030474-55`. It is the offset of an event then, as in the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPosition(pub(super) u128);

impl StreamPosition {
    /// Parses an offset. Returns `None` if it is no position.
    pub fn parse(offset: &str) -> Option<StreamPosition> {
        let (ms, behind) = digits_of(offset.as_bytes())?;
        let (number, behind) = digits_of(behind.strip_prefix(b"-")?)?;
        behind.is_empty().then_some(StreamPosition(u128::from(ms) << 64 | u128::from(number)))
    }

    /// Returns the next position.
    pub fn next(self) -> StreamPosition {
        StreamPosition(self.0.saturating_add(1))
    }

    /// Returns the position before this one.
    pub fn previous(self) -> StreamPosition {
        StreamPosition(self.0.saturating_sub(1))
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0 >> 64, self.0 as u64)
    }
}

/// Writes the position into an event.
pub(super) fn write_position(draft: &mut Draft, position: u64) {
    let position: [u8; POSITION] = digits(position);
    draft.overwrite(&position);
}

/// Returns the last digits of a number.
fn digits<const N: usize>(mut value: u64) -> [u8; N] {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value % 64) as usize];
        value /= 64;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::Part;
    use crate::socketio::Encoder;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// The offset of an event, as a client would read it.
    fn offset(epoch: Epoch, position: u64) -> String {
        let mut encoder = Encoder::new();
        let mut draft = epoch.draft(&encoder.event("/", None, "e", &()).expect("an event"));
        write_position(&mut draft, position);
        let text = draft.finish().parts().find_map(|part| match part {
            Part::Text(text) => Some(String::from_utf8_lossy(text).to_string()),
            Part::Binary(_) => None,
        });
        let text = text.expect("a text");
        text.strip_prefix(r#"2["e",""#)
            .and_then(|it| it.strip_suffix(r#""]"#))
            .expect("an offset")
            .to_string()
    }

    proptest! {
        #[test]
        fn an_offset_is_read_by_its_own_epoch_only(random: u64, other: u64, position in 0..END) {
            let (epoch, other) = (Epoch::from_random(random), Epoch::from_random(other));
            let offset = offset(epoch, position);
            prop_assert_eq!(epoch.position(&offset), Some(position));
            prop_assert_eq!(other.position(&offset).is_some(), other == epoch);
            prop_assert!(offset.as_bytes()[0].is_ascii_uppercase());
        }

        #[test]
        fn no_other_text_is_an_offset(text in "[0-9A-Za-z._é-]{0,18}", random: u64) {
            let epoch = Epoch::from_random(random);
            if let Some(position) = epoch.position(&text) {
                prop_assert_eq!(offset(epoch, position), text);
            }
            let own = offset(epoch, random % END);
            for end in 0..own.len() {
                prop_assert_eq!(epoch.position(&own[..end]), None);
            }
            let longer = own + "0";
            prop_assert_eq!(epoch.position(&longer), None);
        }
    }

    #[test]
    fn the_offset_is_the_last_argument_and_attachments_stay_behind() {
        let epoch = Epoch::from_random(26 * 64 + 1);
        let mut encoder = Encoder::new();
        let bytes = bytes::Bytes::from_static(&[1, 2]);
        let event = encoder.event("/chat", None, "file", &("x".repeat(200), bytes)).expect("an event");
        let plain = String::from_utf8_lossy(event.text).to_string();
        let mut draft = epoch.draft(&event);
        write_position(&mut draft, 63);
        let frames = draft.finish();
        let parts: Vec<_> = frames.parts().collect();
        let [Part::Text(text), Part::Binary([1, 2])] = parts[..] else { panic!("{parts:?}") };
        let expected = plain.trim_end_matches(']').to_string() + r#","B000010.0000000_"]"#;
        assert_eq!(String::from_utf8_lossy(text), expected);
    }

    #[test]
    fn the_offset_is_the_last_argument_of_a_packet_in_messagepack() {
        use crate::socketio::Parser;
        use rmpv::Value;
        let epoch = Epoch::from_random(26 * 64 + 1);
        let mut encoder = Encoder::with_parser(Parser::MessagePack);
        for count in [0, 13, 14, 200] {
            let list = alloc::vec![1; count];
            let json = serde_json::to_string(&list).expect("a list");
            let args = crate::socketio::Args::new_ack(&json, &[]);
            let mut draft = epoch.draft(&encoder.forward_event("/chat", None, "e", args).expect("an event"));
            write_position(&mut draft, 63);
            let frames = draft.finish();
            let parts: Vec<_> = frames.parts().collect();
            let [Part::Binary(mut packet)] = parts[..] else { panic!("{parts:?}") };
            let value = rmpv::decode::read_value(&mut packet).expect("a packet");
            let mut expected = alloc::vec![Value::from("e")];
            expected.extend(list.into_iter().map(Value::from));
            expected.push("B000010.0000000_".into());
            assert_eq!((&value["data"], packet), (&Value::Array(expected), &[][..]));
            assert_eq!(value["nsp"].as_str(), Some("/chat"));
        }
    }
}
