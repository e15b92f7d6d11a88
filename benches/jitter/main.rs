//! Counts what clients receive of a stream of broadcasts while their connections are cut for two seconds at random times.
//! `benches/jitter/run` builds the servers and starts this program.
//!
//! The clients speak the protocol over WebSocket, as those of the reference do: they keep their private id and the last
//! offset, and say them when they come back.
#![allow(clippy::expect_used)]

#[path = "../compare/client.rs"]
mod client;
mod flock;
#[allow(dead_code)]
#[path = "../compare/machine.rs"]
mod machine;
mod own;
#[allow(dead_code)]
#[path = "../compare/server.rs"]
mod server;

use flock::{Counts, Flock};
use lexopt::prelude::*;
use server::{Candidate, Running, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: benches/jitter/run [options]

  --with LIST      servers beside ours, which has recovery off: ours-recovery, node, node-recovery, socketioxide
                   (default: all of them)
  --clients N      number of clients (default: 1000)
  --secs S         seconds of broadcasts (default: 30)
  --rate N         broadcasts per second (default: 10)
  --seed N         another choice of the times at which connections are cut (default: 1)
  --reference      use the JavaScript client, all in one process, instead of one that only speaks the protocol
  --own            use our own client, all in one process, behind a proxy that cuts its connections; then the server
                   ours-stateful has stateful reconnect on
";

/// The command line.
struct Options {
    with: Vec<String>,
    clients: usize,
    time: Duration,
    rate: u32,
    seed: u64,
    reference: bool,
    own: bool,
}

fn main() -> Result<(), Failure> {
    let Some(options) = parse()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let root = PathBuf::from(std::env::var("COMPARE_ROOT").unwrap_or_else(|_| ".".into()));
    println!(
        "| server | version | expected | delivered | of expected | twice or out of order | cuts | began anew |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for candidate in server::candidates(&root, &options.with, &[])? {
        match measure(&root, &candidate, &options) {
            Ok(counts) => println!("{}", row(&candidate, &counts)),
            Err(error) => {
                println!("| {} | {} | failed: {error} | | | | | |", candidate.name, candidate.version)
            }
        }
    }
    Ok(())
}

fn measure(root: &Path, candidate: &Candidate, options: &Options) -> Result<Counts, Failure> {
    let server = Running::start(candidate, Settings::default())?;
    match (options.reference, options.own) {
        (true, _) => reference(root, server.address, options),
        (_, true) => own::run(server.address, options),
        _ => Flock::open(server.address, options)?.run(),
    }
}

/// Does the same with the JavaScript client.
fn reference(root: &Path, address: SocketAddr, options: &Options) -> Result<Counts, Failure> {
    let output = Command::new("node")
        .arg(root.join("benches/compare/node/jitter.mjs"))
        .arg(format!("http://{address}"))
        .args([options.clients.to_string(), options.time.as_secs_f64().to_string(), options.rate.to_string()])
        .output()?;
    let counts: Vec<u64> = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let [expected, delivered, unexpected, cuts, anew] = counts[..] else {
        return Err("the clients print something else".into());
    };
    Ok(Counts { expected, delivered, unexpected, cuts, anew })
}

fn row(candidate: &Candidate, counts: &Counts) -> String {
    let Counts { expected, delivered, unexpected, cuts, anew } = counts;
    let percent = *delivered as f64 * 100.0 / (*expected).max(1) as f64;
    // Rounded down, because 100 % means all of them.
    let percent = (percent * 1000.0).floor() / 1000.0;
    let (name, version) = (&candidate.name, &candidate.version);
    format!(
        "| {name} | {version} | {expected} | {delivered} | {percent} % | {unexpected} | {cuts} | {anew} |"
    )
}

fn parse() -> Result<Option<Options>, Failure> {
    let with = ["ours-recovery", "node", "node-recovery", "socketioxide"].map(String::from).into();
    let time = Duration::from_secs(30);
    let mut options = Options { with, clients: 1000, time, rate: 10, seed: 1, reference: false, own: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("with") => options.with = list(&parser.value()?.string()?),
            Long("clients") => options.clients = parser.value()?.parse()?,
            Long("secs") => options.time = Duration::try_from_secs_f64(parser.value()?.parse()?)?,
            Long("rate") => options.rate = parser.value()?.parse::<u32>()?.max(1),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("reference") => options.reference = true,
            Long("own") => options.own = true,
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
}
