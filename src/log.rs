//! Logging through `tracing` where the feature is on, nothing where it is not; call sites look the same.

#[cfg(feature = "tracing")]
pub(crate) use tracing::{debug, error, warn};

#[cfg(not(feature = "tracing"))]
macro_rules! nothing {
    ($($any:tt)*) => {
        // Names the arguments, so that they are used either way.
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
