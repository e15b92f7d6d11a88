//! Ids of sessions and sockets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;

/// An id of 20 characters of the URL-safe base64 alphabet, like the reference implementation's.
///
/// The id of an Engine.IO session is a bearer secret: anybody who knows it can use the session. The ids of Socket.IO
/// sockets are public, and therefore drawn separately.
#[doc(alias = "SocketId")]
#[doc(alias = "Sid")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 20]);

impl Id {
    /// Creates an id of 120 bits, which must come from a cryptographically secure source.
    pub fn from_random(random: [u8; 15]) -> Id {
        let mut id = [0; 20];
        URL_SAFE_NO_PAD.encode_slice(random, &mut id).expect("15 bytes are 20 characters of base64");
        Id(id)
    }

    /// Parses an id that a peer sent. Returns `None` if it has another form.
    pub fn parse(text: &str) -> Option<Id> {
        let id: [u8; 20] = text.as_bytes().try_into().ok()?;
        // Checking all of them is cheaper than stopping at the first wrong one.
        let is_right =
            id.iter().fold(true, |right, b| right & (b.is_ascii_alphanumeric() | matches!(b, b'-' | b'_')));
        is_right.then_some(Id(id))
    }

    /// Returns the 20 characters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("ids are ASCII by construction")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// Serializes as a string.
impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl core::ops::Deref for Id {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Id {
    fn eq(&self, other: &str) -> bool {
        // Without `as_str`, which checks the bytes: `benches/count join`.
        self.0 == *other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_serialized_as_a_string() {
        let json = serde_json::to_string(&Id::from_random([0xff; 15]));
        assert_eq!(json.ok().as_deref(), Some(r#""____________________""#));
    }

    #[test]
    fn an_id_can_be_parsed_again_and_other_text_is_refused() {
        let id = Id::from_random([0xff; 15]);
        assert_eq!(id.as_str(), "____________________");
        assert_eq!(Id::parse(&id), Some(id));
        for bad in ["", "short", "____________________x", "___________________ ", "__________________é"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
