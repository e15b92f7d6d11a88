//! Carries messages between the servers of a Sockeye cluster over Redis: `sockeye::redis` is this crate. It knows nothing of
//! Socket.IO, and implements [`Bus`](sockeye_core::cluster::Bus).
//!
//! ```
//! use sockeye_redis::RedisBus;
//!
//! # fn example() -> Result<(), sockeye_redis::UrlError> {
//! let bus = RedisBus::new("redis://127.0.0.1:6379")?;
//!
//! // With a password, encrypted, and with settings.
//! # #[cfg(feature = "tls")]
//! let bus = RedisBus::builder("rediss://user:password@redis.example.com").max_waiting(1 << 20).build()?;
//!
//! // Several servers: a Redis Cluster, or one of them that sentinels name.
//! let bus = RedisBus::cluster(["redis://10.0.0.1", "redis://10.0.0.2"]).build()?;
//! let bus = RedisBus::sentinel(["redis://10.0.0.1:26379"], "mymaster").password("secret").build()?;
//! # Ok(())
//! # }
//! # #[cfg(feature = "tls")]
//! # example().unwrap();
//! ```
//!
//! A server takes it with the dialect that the cluster speaks: `Server::builder().adapter(Adapter::classic(bus))`.
//!
//! # Versions of Redis
//!
//! Any version does for `Adapter::classic`, 5.0 or later for `Adapter::streams`, and 7.0 or later for `Adapter::sharded`.
//! Servers that speak the same protocol, such as Valkey, can be used as well.
//!
//! # When Redis is away
//!
//! The bus connects again by itself, after 100 ms, 200 ms and so on up to 5 s, and a part of that at random. It reports when
//! the connection is lost and when it is back, with the reason. Meanwhile nothing fails and nothing waits: messages are
//! kept for 30 s and up to 64 MiB, and sent after that. All of these are settings of [`RedisBusBuilder`].
//!
//! # Load
//!
//! Messages are passed to the server as they come. While more than about a thousand entries a second come from a stream, the
//! bus asks for the next ones a millisecond later, so that one answer has several of them.
//!
//! # Features
//!
//! - `tokio` (default) and `smol`: the runtimes. If both are enabled, the bus uses the one that its server runs on. With
//!   `smol`, types of tokio come along, because the crate `redis` uses them, but not tokio's runtime. Without either, the
//!   crate is empty.
//! - `tls`: `rediss` URLs, by rustls.
#![forbid(unsafe_code)]
#![cfg(any(feature = "tokio", feature = "smol"))]

mod builder;
mod bus;
#[cfg(feature = "smol")]
mod compat;
mod endpoint;
mod entries;
mod error;
mod failure;
mod found;
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
mod wire;

pub use builder::RedisBusBuilder;
pub use bus::RedisBus;
pub use error::UrlError;
