//! The private id by which a client proves that a connection was its own.

use crate::engineio::Id;
use core::fmt;

/// The private id of a socket: its public id, and a secret.
///
/// Clients do not know that it consists of two parts. The first one finds the socket without a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pid {
    /// The public id of the socket.
    pub id: Id,
    /// 120 bits that only the client and the server know.
    pub secret: Id,
}

impl Pid {
    /// Parses an id that a client sent. Returns `None` if it has another form.
    pub fn parse(text: &str) -> Option<Pid> {
        let (id, secret) = text.split_at_checked(text.len() / 2)?;
        Some(Pid { id: Id::parse(id)?, secret: Id::parse(secret)? })
    }
}

/// Writes the id as clients know it.
impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, self.secret)
    }
}

/// Writes the public part only.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pid").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_private_id_can_be_parsed_again_and_other_text_is_refused() {
        let pid = Pid { id: Id::from_random([1; 15]), secret: Id::from_random([0xff; 15]) };
        let text = format!("{pid}");
        assert_eq!(Pid::parse(&text), Some(pid));
        assert!(!format!("{pid:?}").contains(pid.secret.as_str()), "it is not written to a log");
        for bad in ["", "foo", &text[1..], &text[..39], &(text.clone() + "x"), &"é".repeat(20)] {
            assert_eq!(Pid::parse(bad), None, "{bad}");
        }
    }
}
