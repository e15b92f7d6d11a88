//! The runtimes that a server and a client can run on, each behind the feature of its name. Both may be enabled at once.
//!
//! They have a module of their own so that `use sockeye::*` does not import a second `tokio`, which would make
//! `#[tokio::main]` ambiguous:
//!
//! ```no_run
//! use sockeye::*;
//!
//! # #[cfg(feature = "tokio")]
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     runtime::tokio::listen(Server::new(), "0.0.0.0:3000").await
//! }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! Without a runtime, [drive the server yourself](crate::drive_it_yourself).

#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;
