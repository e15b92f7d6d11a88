//! Carries messages between the servers of a Sockeye cluster over Redis.
#![forbid(unsafe_code)]
#![cfg(any(feature = "tokio", feature = "smol"))]

mod builder;
mod bus;
#[cfg(feature = "smol")]
mod compat;
mod endpoint;
mod error;
mod failure;
mod frame;
mod link;
mod publisher;
mod queue;
mod reader;
mod runtime;
mod slots;
mod state;
mod subscriber;
mod topology;

pub use builder::RedisBusBuilder;
pub use bus::RedisBus;
pub use error::UrlError;
