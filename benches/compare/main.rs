//! Servers side by side under the same load: `benches/compare/run` builds them and starts this.
//!
//! One thread makes the load, with epoll and a client of its own that does as little as it can, and checks that each
//! message comes back as it has to. What is compared is the CPU time of the server's process per message, which the
//! kernel counts in nanoseconds; rounds are interleaved, so that what the machine does meanwhile meets all servers
//! alike, and ratios are made within a round.
#![allow(clippy::expect_used)]

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

  --with LIST      whom to measure beside us: floor,socketioxide (default), socketioxide-axum, node, bun,
                   ours-axum, ours-mio, ours-smol
  --only LIST      scenarios: idle, handshake, ack1, ack16, echo1k, bin4k, broadcast, polling (default: all)
  --rounds N       how often each is measured (3)
  --secs S         how long each measurement takes (3)
  --idle N         how many connections are idle (9000)
  --save NAME      write benches/results/NAME.json and NAME.md

WORKERS in the environment is how many threads a server has (1). What follows `--` goes to our server, as in
`-- --runtime smol` or `-- --mounted axum`.";

/// What was asked for.
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
            // Nobody is always the first.
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
                options.only = names.iter().map(find).collect::<Option<_>>().ok_or("no such scenario")?;
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
