//! How packets are written as messages of Engine.IO, and read.

pub(crate) mod text;
