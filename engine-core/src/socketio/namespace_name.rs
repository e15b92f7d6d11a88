//! The names of namespaces, as applications choose them and as packets carry them.

use crate::engineio::SEPARATOR;
use alloc::borrow::Cow;
use alloc::format;

/// The characters that cannot stand in a packet: a comma ends the name, and U+001E ends the packet in the body of a
/// request.
const ENDS: [char; 2] = [',', SEPARATOR as char];

/// The reason why no client could connect to a namespace of this name.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The name contains a comma, which ends it in a packet.
    #[error("a namespace's name cannot contain a comma")]
    Comma,
    /// The name contains a question mark, after which clients and servers of older versions expect a query.
    #[error("a namespace's name cannot contain a question mark: a query belongs into the url of the client")]
    QuestionMark,
    /// The name contains U+001E, which separates packets in the body of a request.
    #[error("a namespace's name cannot contain U+001E")]
    Separator,
    /// The name is longer than [`Limits::max_namespace_len`](super::Limits::max_namespace_len).
    #[error("a namespace's name cannot be longer than {limit} bytes")]
    TooLong {
        /// The maximum length of a name with its slash, in bytes.
        limit: usize,
    },
}

crate::debug_as_text!(NamespaceError);

/// Returns the name of a namespace with its leading slash, which may be missing in `name`.
pub fn with_slash(name: &str) -> Cow<'_, str> {
    if name.starts_with('/') { name.into() } else { format!("/{name}").into() }
}

/// Checks that clients can connect to a namespace of this name, which starts with its slash and has at most `limit`
/// bytes.
///
/// # Errors
/// The reason why they cannot.
pub fn check_namespace(name: &str, limit: usize) -> Result<(), NamespaceError> {
    // The name of the main namespace is not written into packets.
    if name.len() > limit && name != "/" {
        return Err(NamespaceError::TooLong { limit });
    }
    match name.chars().find(|it| *it == '?' || ENDS.contains(it)) {
        None => Ok(()),
        Some(',') => Err(NamespaceError::Comma),
        Some('?') => Err(NamespaceError::QuestionMark),
        Some(_) => Err(NamespaceError::Separator),
    }
}

/// Returns whether a name can stand in a packet, and the packet in the body of a request. Unlike in
/// [`check_namespace`], a query may follow a question mark, as in version 2 of the protocol.
#[inline]
pub fn is_sendable_namespace(name: &str) -> bool {
    // The first is most frequent, and checked for each packet: `benches/count ack16`.
    name == "/" || (name.starts_with('/') && !name.contains(ENDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_passes_the_check_can_be_sent() {
        use NamespaceError::*;
        for (name, expected) in [
            ("/", Ok(())),
            ("/a", Ok(())),
            ("/a,b", Err(Comma)),
            ("/a?b,", Err(QuestionMark)),
            ("/\u{1e}", Err(Separator)),
            ("/three", Err(TooLong { limit: 5 })),
        ] {
            assert_eq!(check_namespace(name, 5), expected, "{name:?}");
            assert!(expected.is_err() || is_sendable_namespace(name), "{name:?}");
        }
        assert_eq!(check_namespace("/", 0), Ok(()), "it is never written");
        assert!(is_sendable_namespace("/a?b=c") && !is_sendable_namespace("/a?b=c,"));
        assert!(!is_sendable_namespace("/\u{1e}") && !is_sendable_namespace("a"));
    }

    #[test]
    fn the_leading_slash_of_a_name_is_optional() {
        for (name, whole) in [("", "/"), ("/", "/"), ("a", "/a"), ("/a", "/a"), ("//", "//")] {
            assert_eq!(with_slash(name), whole);
        }
    }
}
