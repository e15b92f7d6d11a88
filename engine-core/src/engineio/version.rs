//! Versions of the protocol.

/// A version of Engine.IO that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Version {
    /// Version 4: the server sends pings, and U+001E separates the packets of a payload.
    V4,
}

impl Version {
    /// Parses the value of the query parameter `EIO`. Returns `None` for a version that is not spoken.
    pub fn parse(value: &str) -> Option<Version> {
        (value == Version::V4.as_str()).then_some(Version::V4)
    }

    /// Returns the value of the query parameter `EIO`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V4 => "4",
        }
    }
}
