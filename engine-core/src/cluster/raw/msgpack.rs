//! MessagePack from the bus, checked against the limits.

use crate::cluster::error::BusError;
use crate::cluster::limits::{ClusterLimits, MAX_DEPTH};
use crate::socketio::msgpack::is_timestamp;
pub(super) use crate::socketio::msgpack::{NOTEPACK, Token, date, split_value, token};
use smallvec::SmallVec;

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
            Token::Ext(kind, data) if is_timestamp(kind, data) => {}
            Token::Ext(NOTEPACK, [_]) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::raw::Reader;

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
