//! `Result`s among the arguments: which values are one, and which errors are not for the peer.

use core::any::type_name;
use core::fmt::Display;
use serde::{Serialize, Serializer};

/// The name of the newtype struct as which an error serializes that is not for the peer.
pub(super) const FAILURE: &str = "$sockeye::private::Failure";

/// Serializes an error as its text, marked as not for the peer: an acknowledgement is not sent if it is the `Err` of this
/// error, but fails with [`EncodeError::Failed`](super::EncodeError::Failed). Elsewhere the error is an ordinary string.
///
/// # Errors
/// If the serializer fails.
pub fn serialize_failure<S: Serializer>(error: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(FAILURE, &Text(error))
}

struct Text<'a, E>(&'a E);

impl<E: Display> Serialize for Text<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// Returns whether the type is `Result` itself, or a reference to one.
///
/// To serde, every enum named `Result` with a variant `Err` looks the same, and the `Serialize` of `Result` leaves no
/// place for another trait that only `Result` implements. The name is no promise of the standard library, but a test
/// notices a change; it costs nothing, because the compiler knows the outcome.
pub(super) fn is_result<T: ?Sized>() -> bool {
    const RESULT: &str = "core::result::Result<";
    let name = type_name::<T>();
    name.starts_with(RESULT) || name.strip_prefix('&').is_some_and(|name| name.starts_with(RESULT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt;

    /// An enum that looks like the one of the standard library to serde.
    mod own {
        #[allow(dead_code, reason = "only its name counts")]
        pub(super) enum Result<T, E> {
            Ok(T),
            Err(E),
        }
    }

    #[test]
    fn the_standard_librarys_result_is_known_by_its_type_and_nothing_else_is() {
        type Alias = fmt::Result;
        assert!(is_result::<Result<u8, &str>>() && is_result::<Alias>() && is_result::<&Result<(), ()>>());
        assert!(is_result::<Result<Result<u8, u8>, Option<own::Result<u8, u8>>>>());
        assert!(!is_result::<own::Result<u8, Result<u8, u8>>>() && !is_result::<Option<Result<u8, u8>>>());
        assert!(!is_result::<(Result<u8, u8>,)>() && !is_result::<str>() && !is_result::<()>());
    }
}
