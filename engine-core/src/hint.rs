//! Hints to the compiler.

/// Marks the path that leads here as one that is rarely taken, so that its code lies apart from that of the common one: as
/// `core::hint::cold_path`, which Rust 1.88 does not have. A call of a function that is `#[cold]` does the same.
///
/// The processor fetches the code of a message anew each time, because the system's own has displaced it. So how many lines
/// of its cache the code takes counts as much as how many instructions it is.
#[cold]
#[inline(always)]
pub const fn cold_path() {}
