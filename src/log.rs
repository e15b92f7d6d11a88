//! Logging through `tracing` if the feature is on, otherwise nothing. Call sites look the same.

#[cfg(feature = "tracing")]
pub(crate) use tracing::{debug, error, warn};

#[cfg(not(feature = "tracing"))]
macro_rules! nothing {
    ($($any:tt)*) => {
        // Uses the arguments, so that there are no warnings about unused variables.
        if false { $crate::log::use_fields!($($any)*); }
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! use_fields {
    (% $value:ident, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
    ($name:ident = ? $value:expr, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
    ($name:ident = % $value:expr, $($rest:tt)*) => { let _ = &$value; $crate::log::use_fields!($($rest)*); };
    ($name:ident, $($rest:tt)*) => { let _ = &$name; $crate::log::use_fields!($($rest)*); };
    ($message:literal) => {};
}

#[cfg(not(feature = "tracing"))]
pub(crate) use {nothing as debug, nothing as error, nothing as warn, use_fields};
