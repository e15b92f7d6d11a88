//! x
pub mod engine;
mod log;
pub use sockeye_core::http;
#[cfg(feature = "tokio")]
pub use sockeye_tokio as tokio;
