//! Measures servers side by side under the same load. `benches/compare/run` builds the servers and starts this program.
//!
//! One thread generates the load, with epoll and a minimal client that checks that each message comes back right. The
//! compared figure is the CPU time of the server's process per message, which the kernel counts in nanoseconds. Servers
//! take turns, within a round several times a second where the load allows it, so that other work on the machine affects
//! all alike. Ratios are taken within a round.
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
mod slices;
mod upgrading;

use lexopt::prelude::*;
use report::{Report, Sample};
use scenario::{Load, SCENARIOS, Scenario};
use server::{Candidate, Running, Settings};
use slices::Steady;
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
            let first = round % candidates.len();
            let mut order: Vec<&Candidate> = candidates.iter().collect();
            order.rotate_left(first);
            let mut samples = measure(&order, scenario, &options);
            samples.rotate_right(first);
            for (at, sample) in samples.into_iter().enumerate() {
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

/// Measures each server: in slices that take turns if the load can be interrupted, otherwise one server after the other.
fn measure(
    candidates: &[&Candidate],
    scenario: &Scenario,
    options: &Options,
) -> Vec<Result<Sample, Failure>> {
    let Options { time, idle, .. } = *options;
    let in_slices = |time, connect: &dyn Fn(Running) -> Result<Box<dyn Steady>, Failure>| {
        let loads = candidates.iter().map(|one| connect(Running::start(one, Settings::default())?));
        slices::measure(loads.collect(), time)
    };
    let alone = |settings, run: &dyn Fn(&mut Running) -> Result<Sample, Failure>| {
        candidates.iter().map(|one| run(&mut Running::start(one, settings)?)).collect()
    };
    let settings = Settings::default();
    match scenario.load {
        Load::Events(load) => in_slices(time, &|server| events::connect(server, load)),
        Load::Sizes(load) => in_slices(time / 2, &|server| events::connect(server, load)),
        Load::Polling { clients } => in_slices(time, &|server| polling::connect(server, clients)),
        Load::Workers(load) => {
            candidates.iter().map(|one| events::with_two_workers(one, load, time)).collect()
        }
        Load::Open { clients, as_browser } => {
            alone(settings, &|server| idle::open(server, clients.unwrap_or(idle), as_browser))
        }
        Load::Heartbeats => {
            let settings = Settings { ping_interval: Some(Duration::from_secs(1)), ..settings };
            alone(settings, &|server| idle::heartbeats(server, idle, time))
        }
        Load::Beside => alone(settings, &|server| beside::run(server, time)),
        Load::Avalanche(clients) => alone(settings, &|server| avalanche::run(server, clients, idle)),
        Load::Rooms => alone(settings, &|server| rooms::run(server, time)),
        Load::Deaf => alone(settings, &|server| deaf::run(server)),
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
