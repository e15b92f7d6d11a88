//! MessagePack, read token by token: neither recurses nor allocates for what a length announces.

/// The type of the extension as which notepack.io, before its version 3, writes `undefined` and dates.
pub(crate) const NOTEPACK: i8 = 0;

/// A value, or the beginning of an array or a map whose elements follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
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
pub(crate) fn token(bytes: &[u8]) -> Option<(Token<'_>, &[u8])> {
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

/// Splits the first value from a checked sequence.
pub(crate) fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
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
