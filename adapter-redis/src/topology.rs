//! Where the servers are.

use crate::builder::Servers;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::runtime::Runtime;
use std::time::Duration;

/// Returns the server to connect to.
pub(crate) async fn find(
    servers: &Servers,
    _runtime: Runtime,
    _timeout: Duration,
) -> Result<Endpoint, Failure> {
    match servers {
        Servers::Single(server) => Ok(server.clone()),
    }
}
