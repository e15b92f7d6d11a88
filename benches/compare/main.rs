//! Measures servers side by side under the same load. `benches/compare/run` builds the servers and starts this program.
//!
//! One thread generates the load, with epoll and a minimal client that checks that each message comes back right. The
//! compared figure is the CPU time of the server's process per message, which the kernel counts in nanoseconds. Rounds
//! are interleaved, so that other work on the machine affects all servers alike, and ratios are taken within a round.
#![allow(clippy::expect_used)]

mod avalanche;
mod beside;
mod client;
mod deaf;
mod events;
mod group;
mod http;
mod idle;
mod machine;
mod polling;
mod report;
mod rooms;
mod scenario;
mod server;
mod upgrading;

use lexopt::prelude::*;
use report::{Report, Sample};
use scenario::{Load, SCENARIOS, Scenario};
use server::{Candidate, Running, Settings};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: benches/compare/run [options] [-- arguments of load_server]

  --with LIST      servers to measure beside ours: floor, socketioxide, socketioxide-axum, node, bun,
                   ours-axum, ours-mio, ours-smol (default: floor,socketioxide)
  --only LIST      scenarios or families of scenarios (default: all)
  --except LIST    scenarios or families that are left out
  --rounds N       rounds of measurements (default: 3)
  --secs S         seconds per measurement, half of it for sizes (default: 3)
  --idle N         clients of idle, browser, heartbeats and of the avalanches (default: 9000)
  --save NAME      write benches/results/NAME.json and NAME.md; benches/compare/table.mjs makes the table
                   of the README from the newest of them

A LIST is separated by commas. The environment variable WORKERS sets the number of threads of each server
(default: 1). Arguments after `--` go to our server, as in `-- --runtime smol` or `-- --mounted axum`.

Each client needs a file descriptor here and one in the server, in avalanche_polling two: `ulimit -n` limits --idle,
and the avalanches have as many clients as it allows.
";

/// The command line.
struct Options {
    with: Vec<String>,
    only: Vec<&'static Scenario>,
    rounds: usize,
    time: Duration,
    idle: usize,
    save: Option<String>,
    arguments: Vec<String>,
    /// The command that repeats this run.
    command: String,
}

fn main() -> Result<(), Failure> {
    let Some(options) = parse()? else {
        println!("{}", usage());
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
                let sample = measure(&candidates[at], scenario, &options);
                let (scenario_name, server) = (scenario.name, &candidates[at].name);
                match &sample {
                    Ok(sample) => eprintln!("round {} {scenario_name:17} {server:14}{sample}", round + 1),
                    Err(error) => {
                        eprintln!("round {} {scenario_name:17} {server:14} failed: {error}", round + 1)
                    }
                }
                report.add(scenario, at, sample);
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
    let mut settings = Settings::default();
    match scenario.load {
        Load::Workers(load) => return events::with_two_workers(candidate, load, options.time),
        Load::Heartbeats => settings.ping_interval = Some(Duration::from_secs(1)),
        _ => {}
    }
    let mut server = Running::start(candidate, settings)?;
    match scenario.load {
        Load::Open { clients, as_browser } => {
            idle::open(&server, clients.unwrap_or(options.idle), as_browser)
        }
        Load::Heartbeats => idle::heartbeats(&server, options.idle, options.time),
        Load::Events(load) | Load::Workers(load) => events::run(&server, load, options.time),
        Load::Sizes(load) => events::run(&server, load, options.time / 2),
        Load::Beside => beside::run(&server, options.time),
        Load::Avalanche(clients) => avalanche::run(&mut server, clients, options.idle),
        Load::Rooms => rooms::run(&server, options.time),
        Load::Deaf => deaf::run(&server),
        Load::Polling { clients } => polling::run(&server, clients, options.time),
    }
}

/// Returns the help, with all scenarios by family.
fn usage() -> String {
    let (mut text, mut family) = (USAGE.to_owned(), "");
    for scenario in &SCENARIOS {
        if scenario.family != family {
            family = scenario.family;
            let _ = write!(text, "\nfamily {family}\n");
        }
        let _ = writeln!(text, "  {:17} {}", scenario.name, scenario.about);
    }
    text
}

/// Returns the scenario with a name, or those of a family.
fn find(name: &str) -> Result<Vec<&'static Scenario>, Failure> {
    let named = SCENARIOS.iter().filter(|scenario| [scenario.name, scenario.family].contains(&name));
    let named: Vec<_> = named.collect();
    match named.is_empty() {
        false => Ok(named),
        true => Err(format!("there is no scenario or family {name}: see --help").into()),
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
        command: command(),
    };
    let mut without = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("with") => options.with = list(&parser.value()?.string()?),
            Long("only") => {
                let named = list(&parser.value()?.string()?).iter().map(|name| find(name)).collect::<Result<
                    Vec<_>,
                    _,
                >>(
                )?;
                options.only = named.concat();
            }
            Long("except") => {
                for name in list(&parser.value()?.string()?) {
                    without.extend(find(&name)?.iter().map(|scenario| scenario.name));
                }
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
    options.only.retain(|scenario| !without.contains(&scenario.name));
    Ok(Some(options))
}

/// Returns the command that repeats this run.
fn command() -> String {
    let mut words = vec!["benches/compare/run".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--save" => _ = arguments.next(),
            argument if argument.starts_with("--save=") => {}
            _ => words.push(argument),
        }
    }
    words.join(" ")
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
