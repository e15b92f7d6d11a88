//! A program without a server that sends into a cluster: REDIS as a URL, `--adapter classic|sharded|streams`. It sends what
//! `emitter.test.js` expects.

#[path = "../../../examples/common/options.rs"]
#[allow(dead_code)]
mod options;

use bytes::Bytes;
use sockeye::cluster::{Adapter, ClusterEmitter};
use sockeye::redis::RedisBus;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let bus = RedisBus::new(std::env::var("REDIS")?)?;
    let adapter = match options::option("--adapter")?.as_deref() {
        Some("classic") => Adapter::classic(bus),
        Some("streams") => Adapter::streams(bus),
        _ => Adapter::sharded(bus),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let io = ClusterEmitter::new(adapter, Arc::new(sockeye::runtime::tokio::Tokio::new()));
        io.emit("to all", (1, "two", Bytes::from_static(&[0, 255])))?;
        io.to("even").emit("to even", "x")?;
        io.except("even").emit("but even", ())?;
        io.to("even").sockets_join("new");
        io.to("odd").disconnect_sockets(true);
        io.server_side_emit("where", ())?;
        io.flush(Duration::from_secs(10)).await;
        Ok(())
    })
}
