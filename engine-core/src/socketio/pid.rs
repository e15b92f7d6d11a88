//! The private id by which a client proves that a connection was its own.

use crate::engineio::Id;
use core::fmt;

/// The private id of a socket: its public id, and a secret.
///
/// Clients do not know that it consists of two parts. The first one finds the socket without a table.
///
/// The private id of a socket that began on a server of the reference is a secret only: [`is_foreign`](Pid::is_foreign).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pid {
    /// The public id of the socket.
    pub id: Id,
    /// 120 bits that only the client and the server know.
    pub secret: Id,
    /// The private id is the secret alone, because another program has chosen it.
    pub is_foreign: bool,
}

impl Pid {
    /// Parses an id that a client sent. Returns `None` if it has another form.
    pub fn parse(text: &str) -> Option<Pid> {
        let (id, secret) = text.split_at_checked(text.len() / 2)?;
        Some(Pid { id: Id::parse(id)?, secret: Id::parse(secret)?, is_foreign: false })
    }

    /// Returns the two parts of the id as clients know it. The first one is empty if it is foreign.
    pub(crate) fn halves(&self) -> [&str; 2] {
        [if self.is_foreign { "" } else { self.id.as_str() }, self.secret.as_str()]
    }
}

/// Writes the id as clients know it.
impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.halves().iter().try_for_each(|half| f.write_str(half))
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
        let pid =
            Pid { id: Id::from_random([1; 15]), secret: Id::from_random([0xff; 15]), is_foreign: false };
        let text = format!("{pid}");
        assert_eq!(Pid::parse(&text), Some(pid));
        assert_eq!(format!("{}", Pid { is_foreign: true, ..pid }), text[20..]);
        assert!(!format!("{pid:?}").contains(pid.secret.as_str()), "it is not written to a log");
        for bad in ["", "foo", &text[1..], &text[..39], &(text.clone() + "x"), &"é".repeat(20)] {
            assert_eq!(Pid::parse(bad), None, "{bad}");
        }
    }
}
