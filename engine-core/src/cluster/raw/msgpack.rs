//! MessagePack, read without building values.

use crate::cluster::error::BusError;
use crate::cluster::limits::{ClusterLimits, MAX_DEPTH};
use alloc::format;
use alloc::string::String;
use smallvec::SmallVec;

/// The type of the extension that holds a timestamp.
const TIMESTAMP: i8 = -1;
/// The type of the extension as which older versions of notepack.io write `undefined`.
const UNDEFINED: i8 = 0;

/// A value, or the beginning of an array or a map whose elements follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A string, which may be broken UTF-8: JavaScript's strings can hold half of a surrogate pair.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// The number of elements.
    Array(u32),
    /// The number of pairs.
    Map(u32),
    Ext(i8, &'a [u8]),
}

/// Reads the first token, and returns it with the bytes behind it. Returns `None` if it is not complete.
#[inline]
pub(super) fn token(bytes: &[u8]) -> Option<(Token<'_>, &[u8])> {
    let (&marker, rest) = bytes.split_first()?;
    let plain = |token| Some((token, rest));
    let (kind, len, rest) = match marker {
        0x00..=0x7f => return plain(Token::Uint(marker.into())),
        0x80..=0x8f => return plain(Token::Map((marker & 0xf).into())),
        0x90..=0x9f => return plain(Token::Array((marker & 0xf).into())),
        0xa0..=0xbf => (Data::Str, (marker & 0x1f).into(), rest),
        0xc0 => return plain(Token::Nil),
        0xc1 => return None,
        0xc2 => return plain(Token::Bool(false)),
        0xc3 => return plain(Token::Bool(true)),
        0xc4 => length(Data::Bin, rest, u8::from_be_bytes)?,
        0xc5 => length(Data::Bin, rest, u16::from_be_bytes)?,
        0xc6 => length(Data::Bin, rest, u32::from_be_bytes)?,
        0xc7 => length(Data::Ext, rest, u8::from_be_bytes)?,
        0xc8 => length(Data::Ext, rest, u16::from_be_bytes)?,
        0xc9 => length(Data::Ext, rest, u32::from_be_bytes)?,
        0xca => return number(rest, |bytes| Token::Float(f32::from_be_bytes(bytes).into())),
        0xcb => return number(rest, |bytes| Token::Float(f64::from_be_bytes(bytes))),
        0xcc => return number(rest, |bytes| Token::Uint(u8::from_be_bytes(bytes).into())),
        0xcd => return number(rest, |bytes| Token::Uint(u16::from_be_bytes(bytes).into())),
        0xce => return number(rest, |bytes| Token::Uint(u32::from_be_bytes(bytes).into())),
        0xcf => return number(rest, |bytes| Token::Uint(u64::from_be_bytes(bytes))),
        0xd0 => return number(rest, |bytes| Token::Int(i8::from_be_bytes(bytes).into())),
        0xd1 => return number(rest, |bytes| Token::Int(i16::from_be_bytes(bytes).into())),
        0xd2 => return number(rest, |bytes| Token::Int(i32::from_be_bytes(bytes).into())),
        0xd3 => return number(rest, |bytes| Token::Int(i64::from_be_bytes(bytes))),
        0xd4 => (Data::Ext, 1, rest),
        0xd5 => (Data::Ext, 2, rest),
        0xd6 => (Data::Ext, 4, rest),
        0xd7 => (Data::Ext, 8, rest),
        0xd8 => (Data::Ext, 16, rest),
        0xd9 => length(Data::Str, rest, u8::from_be_bytes)?,
        0xda => length(Data::Str, rest, u16::from_be_bytes)?,
        0xdb => length(Data::Str, rest, u32::from_be_bytes)?,
        0xdc => return number(rest, |bytes| Token::Array(u16::from_be_bytes(bytes).into())),
        0xdd => return number(rest, |bytes| Token::Array(u32::from_be_bytes(bytes))),
        0xde => return number(rest, |bytes| Token::Map(u16::from_be_bytes(bytes).into())),
        0xdf => return number(rest, |bytes| Token::Map(u32::from_be_bytes(bytes))),
        0xe0..=0xff => return plain(Token::Int(i8::from_be_bytes([marker]).into())),
    };
    data(kind, len, rest)
}

/// The kinds of data that have a length in front.
#[derive(Clone, Copy)]
enum Data {
    Str,
    Bin,
    Ext,
}

fn number<'a, const N: usize>(
    bytes: &'a [u8],
    read: impl FnOnce([u8; N]) -> Token<'a>,
) -> Option<(Token<'a>, &'a [u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((read(*number), rest))
}

fn length<const N: usize, T: Into<u32>>(
    kind: Data,
    bytes: &[u8],
    read: impl FnOnce([u8; N]) -> T,
) -> Option<(Data, u32, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    Some((kind, read(*len).into(), rest))
}

fn data(kind: Data, len: u32, bytes: &[u8]) -> Option<(Token<'_>, &[u8])> {
    let len = usize::try_from(len).ok()?;
    Some(match kind {
        Data::Ext => {
            let (&[kind], rest) = bytes.split_first_chunk()?;
            let (data, rest) = rest.split_at_checked(len)?;
            (Token::Ext(i8::from_be_bytes([kind]), data), rest)
        }
        Data::Str => bytes.split_at_checked(len).map(|(data, rest)| (Token::Str(data), rest))?,
        Data::Bin => bytes.split_at_checked(len).map(|(data, rest)| (Token::Bin(data), rest))?,
    })
}

/// An array or a map that is not complete yet.
struct Open {
    /// The number of values to come: two for each pair of a map.
    left: u64,
    is_map: bool,
}

/// Checks the value that begins a message, and splits it from what follows. It has to be within the limits, and JSON has
/// to be able to express its maps. `depth` is the number of arrays and maps around it; its pieces of binary data are added
/// to `attachments`. Neither recurses nor allocates for what a length announces.
pub(super) fn check<'a>(
    message: &'a [u8],
    depth: usize,
    attachments: &mut usize,
    limits: &ClusterLimits,
) -> Result<(&'a [u8], &'a [u8]), BusError> {
    let mut open = SmallVec::<[Open; 16]>::new();
    let mut rest = message;
    loop {
        let (token, behind) = token(rest).ok_or(BusError::Syntax)?;
        rest = behind;
        if let Some(open) = open.last_mut() {
            let is_key = open.is_map && open.left.is_multiple_of(2);
            if is_key && !matches!(token, Token::Str(_) | Token::Int(_) | Token::Uint(_)) {
                return Err(BusError::Key);
            }
            open.left -= 1;
        }
        match token {
            Token::Array(_) | Token::Map(_) if depth + open.len() >= MAX_DEPTH => {
                return Err(BusError::Depth);
            }
            Token::Array(len) => open.push(Open { left: len.into(), is_map: false }),
            Token::Map(len) => open.push(Open { left: 2 * u64::from(len), is_map: true }),
            Token::Ext(TIMESTAMP, data) if seconds(data).is_some() => {}
            Token::Ext(UNDEFINED, [_]) => {}
            Token::Ext(kind, _) => return Err(BusError::Extension(kind)),
            Token::Bin(_) => {
                *attachments += 1;
                if *attachments > limits.max_attachments {
                    return Err(BusError::TooManyAttachments { limit: limits.max_attachments });
                }
            }
            _ => {}
        }
        while open.last().is_some_and(|open| open.left == 0) {
            open.pop();
        }
        if open.is_empty() {
            return message.split_at_checked(message.len() - rest.len()).ok_or(BusError::Syntax);
        }
    }
}

/// Splits the marker and the length of an array or a map from its content. Returns `None` if another value comes.
pub(super) fn open(bytes: &[u8], is_map: bool) -> Option<(u32, &[u8])> {
    match token(bytes)? {
        (Token::Map(len), rest) if is_map => Some((len, rest)),
        (Token::Array(len), rest) if !is_map => Some((len, rest)),
        _ => None,
    }
}

/// Splits the key of a map from what follows. Of an integer, the name is empty.
pub(super) fn key(bytes: &[u8]) -> Result<(&[u8], &[u8]), BusError> {
    match token(bytes).ok_or(BusError::Syntax)? {
        (Token::Str(name), rest) => Ok((name, rest)),
        (Token::Int(_) | Token::Uint(_), rest) => Ok((&[], rest)),
        _ => Err(BusError::Key),
    }
}

/// Splits the first value from a checked sequence.
pub(super) fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut left = 1_u64;
    let mut rest = bytes;
    while left > 0 {
        let (token, behind) = token(rest)?;
        rest = behind;
        left -= 1;
        left += match token {
            Token::Array(len) => len.into(),
            Token::Map(len) => 2 * u64::from(len),
            _ => 0,
        };
    }
    bytes.split_at_checked(bytes.len() - rest.len())
}

/// Returns the seconds since 1970 and the nanoseconds of a timestamp.
fn seconds(data: &[u8]) -> Option<(i64, u32)> {
    match data.len() {
        4 => Some((u32::from_be_bytes(*data.first_chunk()?).into(), 0)),
        8 => {
            let both = u64::from_be_bytes(*data.first_chunk()?);
            Some(((both & 0x3_FFFF_FFFF) as i64, (both >> 34) as u32))
        }
        12 => {
            let (nanos, rest) = data.split_first_chunk()?;
            Some((i64::from_be_bytes(*rest.first_chunk()?), u32::from_be_bytes(*nanos)))
        }
        _ => None,
    }
}

/// Returns an extension as JavaScript's `JSON.stringify` writes it: the text of a date, or `None` for `null`.
pub(super) fn date(kind: i8, data: &[u8]) -> Option<String> {
    let (seconds, nanos) = seconds(data).filter(|_| kind == TIMESTAMP)?;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The years that JavaScript writes with four digits.
    if !(-719_528..=2_932_896).contains(&days) {
        return None;
    }
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = (nanos / 1_000_000) % 1000;
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Returns the year, the month and the day of a number of days since 1970, in the Gregorian calendar. Counts in eras of
/// 400 years that begin in March, so that a leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::raw::Reader;

    #[test]
    fn a_timestamp_reads_as_javascript_writes_a_date() {
        let ms = |ms: i64| {
            let mut data = u32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap().to_be_bytes().to_vec();
            data.extend(ms.div_euclid(1000).to_be_bytes());
            date(TIMESTAMP, &data)
        };
        for (at, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(ms(at).as_deref(), Some(expected));
        }
        assert_eq!(ms(253_402_300_800_000), None);
        assert_eq!(date(TIMESTAMP, &[0, 0, 0, 1]).as_deref(), Some("1970-01-01T00:00:01.000Z"));
        let both = (500_000_000_u64 << 34 | 2).to_be_bytes();
        assert_eq!(date(TIMESTAMP, &both).as_deref(), Some("1970-01-01T00:00:02.500Z"));
    }

    #[test]
    fn lengths_that_announce_more_than_there_is_are_errors() {
        let limits = ClusterLimits { max_attachments: 2, ..ClusterLimits::default() };
        let check = |bytes| {
            let mut reader = Reader::new(bytes, &limits)?;
            reader.value()?;
            reader.finish()
        };
        let nested = [vec![0x91; MAX_DEPTH], vec![0xc0]].concat();
        assert_eq!(check(&nested), Ok(()));
        for (bytes, expected) in [
            (&b""[..], BusError::Syntax),
            (b"\xc1", BusError::Syntax),
            (b"\xdd\xff\xff\xff\xff\xc0", BusError::Syntax),
            (b"\xdf\xff\xff\xff\xff\xa0\xc0", BusError::Syntax),
            (b"\xdb\xff\xff\xff\xffabc", BusError::Syntax),
            (b"\xc6\xff\xff\xff\xffabc", BusError::Syntax),
            (b"\xc9\xff\xff\xff\xff\x01abc", BusError::Syntax),
            (b"\xc0\xc0", BusError::Syntax),
            (b"\x81\xc0\xc0", BusError::Key),
            (b"\x81\x90\xc0", BusError::Key),
            (b"\xd4\x05\x00", BusError::Extension(5)),
            (b"\xd4\xff\x00", BusError::Extension(-1)),
            (b"\x93\xc4\x00\xc4\x00\xc4\x00", BusError::TooManyAttachments { limit: 2 }),
            (&[vec![0x91; MAX_DEPTH + 1], vec![0xc0]].concat(), BusError::Depth),
        ] {
            assert_eq!(check(bytes), Err(expected), "{bytes:x?}");
        }
    }
}
