//! Measures servers side by side under the same load. `benches/compare/run` builds the servers and starts this program.
//!
//! One thread generates the load, with epoll and a minimal client that checks that each message comes back right. The
//! compared figure is the CPU time of the server's process per message, which the kernel counts in nanoseconds. Rounds
//! are interleaved, so that other work on the machine affects all servers alike, and ratios are taken within a round.
#![allow(clippy::expect_used)]

mod beside;
mod client;
mod events;
mod http;
mod machine;
mod polling;
mod report;
mod scenario;
mod server;

use lexopt::prelude::*;
use report::{Report, Sample};
use scenario::{SCENARIOS, Scenario};
use server::{Candidate, Running};
use std::path::PathBuf;
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: benches/compare/run [options] [-- arguments of load_server]

  --with LIST      servers to measure beside ours: floor, socketioxide, socketioxide-axum, node, bun,
                   ours-axum, ours-mio, ours-smol (default: floor,socketioxide)
  --only LIST      scenarios: idle, handshake, ack1, ack16, echo1k, bin4k, broadcast, beside, polling
                   (default: all)
  --rounds N       rounds of measurements (default: 3)
  --secs S         seconds per measurement (default: 3)
  --idle N         idle connections (default: 9000)
  --save NAME      write benches/results/NAME.json and NAME.md

A LIST is separated by commas. The environment variable WORKERS sets the number of threads of each server
(default: 1). Arguments after `--` go to our server, as in `-- --runtime smol` or `-- --mounted axum`.";

/// The command line.
struct Options {
    with: Vec<String>,
    only: Vec<&'static Scenario>,
    rounds: usize,
    time: Duration,
    idle: usize,
    save: Option<String>,
    arguments: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let Some(options) = parse()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let root = PathBuf::from(std::env::var("COMPARE_ROOT").unwrap_or_else(|_| ".".into()));
    let candidates = server::candidates(&root, &options.with, &options.arguments)?;
    let mut report = Report::new(&root, &candidates, &options);
    for round in 0..options.rounds {
        for scenario in &options.only {
            // Each round starts with another server.
            for at in 0..candidates.len() {
                let at = (at + round) % candidates.len();
                let candidate = &candidates[at];
                match measure(candidate, scenario, &options) {
                    Ok(sample) => {
                        eprintln!("round {} {:10} {:14} {sample}", round + 1, scenario.name, candidate.name);
                        report.add(scenario, at, sample);
                    }
                    Err(error) => {
                        eprintln!(
                            "round {} {:10} {:14} failed: {error}",
                            round + 1,
                            scenario.name,
                            candidate.name
                        );
                        report.fail(scenario, at, error.to_string());
                    }
                }
            }
        }
    }
    println!("{}", report.markdown());
    if let Some(name) = &options.save {
        report.save(&root.join("benches/results"), name)?;
    }
    Ok(())
}

fn measure(candidate: &Candidate, scenario: &Scenario, options: &Options) -> Result<Sample, Failure> {
    let server = Running::start(candidate)?;
    match scenario.load {
        scenario::Load::Polling { clients } => polling::run(&server, clients, options.time),
        scenario::Load::Open { clients } => events::open(&server, clients.unwrap_or(options.idle)),
        scenario::Load::Beside => beside::run(&server, options.time),
        scenario::Load::Events(load) => events::run(&server, load, options.time),
    }
}

fn parse() -> Result<Option<Options>, Failure> {
    let mut options = Options {
        with: list("floor,socketioxide"),
        only: SCENARIOS.iter().collect(),
        rounds: 3,
        time: Duration::from_secs(3),
        idle: 9_000,
        save: None,
        arguments: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("with") => options.with = list(&parser.value()?.string()?),
            Long("only") => {
                let find = |name: &String| SCENARIOS.iter().find(|scenario| scenario.name == name);
                let names = list(&parser.value()?.string()?);
                options.only =
                    names.iter().map(find).collect::<Option<_>>().ok_or("unknown scenario: see --help")?;
            }
            Long("rounds") => options.rounds = parser.value()?.parse::<usize>()?.max(1),
            Long("secs") => options.time = Duration::from_secs_f64(parser.value()?.parse()?),
            Long("idle") => options.idle = parser.value()?.parse::<usize>()?.max(1),
            Long("save") => options.save = Some(parser.value()?.string()?),
            Long("help") | Short('h') => return Ok(None),
            Value(value) => {
                options.arguments.push(value.string()?);
                for rest in parser.raw_args()? {
                    options.arguments.push(rest.string()?);
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
