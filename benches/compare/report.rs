//! The results: samples, medians and ratios, as JSON and as a table.

use crate::machine::{Cpu, describe, output};
use crate::scenario::{Figure, FigureKind, Scenario};
use crate::server::Candidate;
use crate::{Failure, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One measurement of one server: figures by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(BTreeMap<String, f64>);

impl Sample {
    pub(crate) fn set(&mut self, name: &str, figure: f64) {
        self.0.insert(name.to_owned(), figure);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Takes the CPU time and the page faults of a server, per message.
    pub(crate) fn take_cpu(&mut self, used: Cpu, messages: u64) {
        let each = messages.max(1) as f64;
        self.set("cpu_us", used.total() / each);
        self.set("user_us", used.user() / each);
        self.set("page_faults", used.faults() as f64 / each);
        self.set("messages", messages as f64);
    }

    /// Takes percentiles of latencies, which are in microseconds, under names that begin with `prefix`.
    pub(crate) fn take_latencies(&mut self, prefix: &str, elapsed: Duration, latencies: &mut [u32]) {
        latencies.sort_unstable();
        let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            self.set(&format!("{prefix}{name}_ms"), f64::from(at(part)) / 1e3);
        }
        self.set(&format!("{prefix}per_second"), latencies.len() as f64 / elapsed.as_secs_f64());
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, figure)| write!(f, " {name} {figure:.3}"))
    }
}

/// The results of a run.
pub(crate) struct Report {
    /// The servers, ours first.
    names: Vec<String>,
    results: Vec<Results>,
    about: Value,
}

/// The results of a scenario.
struct Results {
    scenario: &'static Scenario,
    /// The samples of each server by round; `None` if it failed.
    samples: Vec<Vec<Option<Sample>>>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(root: &Path, candidates: &[Candidate], options: &Options) -> Report {
        let results = |scenario: &&'static Scenario| Results {
            scenario,
            samples: vec![Vec::new(); candidates.len()],
            failures: Vec::new(),
        };
        let root = root.display().to_string();
        let versions: serde_json::Map<_, _> =
            candidates.iter().map(|one| (one.name.clone(), one.version.clone().into())).collect();
        let names: Vec<String> = candidates.iter().map(|one| one.name.clone()).collect();
        let about = json!({
            "date": output("date", &["-u", "+%Y-%m-%d %H:%M"]),
            "command": options.command,
            "commit": output("git", &["-C", &root, "rev-parse", "HEAD"]),
            "changed": !output("git", &["-C", &root, "status", "--porcelain"]).is_empty(),
            "machine": describe(),
            "servers": names,
            "versions": versions,
            "workers": std::env::var("WORKERS").unwrap_or("1".into()),
            "rounds": options.rounds,
            "seconds": options.time.as_secs_f64(),
            "idle_connections": options.idle,
        });
        Report { names, results: options.only.iter().map(results).collect(), about }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, server: usize, sample: Result<Sample, Failure>) {
        let name = &self.names[server];
        if let Some(results) = self.results.iter_mut().find(|one| one.scenario.name == scenario.name) {
            if let Err(error) = &sample {
                results.failures.push(format!("{}: {name}: {error}", scenario.name));
            }
            results.samples[server].push(sample.ok());
        }
    }

    /// Returns a table of the medians and of our ratios to each other server, with the lowest and highest values.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| scenario | |");
        self.names.iter().for_each(|name| _ = write!(text, " {name} |"));
        self.names[1..].iter().for_each(|name| _ = write!(text, " ours / {name} |"));
        text += "\n|---|---|";
        (1..2 * self.names.len()).for_each(|_| text += "---|");
        for results in &self.results {
            for figure in results.scenario.figures {
                let _ = write!(text, "\n| {} | {} |", results.scenario.name, figure.about);
                for server in 0..self.names.len() {
                    text += &cell(&results.figures(server, figure));
                }
                for other in 1..self.names.len() {
                    text += &cell(&results.ratios(other, figure));
                }
            }
        }
        text += "\n\nMedians; in parentheses the lowest and the highest of the rounds. Ratios are of the same round.\n";
        for failure in self.results.iter().flat_map(|results| &results.failures) {
            let _ = writeln!(text, "\nFailed: {failure}");
        }
        text
    }

    fn json(&self) -> Value {
        let mut rows = Vec::new();
        for results in &self.results {
            for figure in results.scenario.figures {
                let by_name = |figures: &dyn Fn(usize) -> Vec<f64>| -> serde_json::Map<String, Value> {
                    let names = self.names.iter().enumerate();
                    names.filter_map(|(at, name)| Some((name.clone(), summary(&figures(at))?))).collect()
                };
                rows.push(json!({
                    "scenario": results.scenario.name,
                    "family": results.scenario.family,
                    "key": figure.key,
                    "figure": figure.about,
                    "is_headline": figure.is_headline,
                    "is_count": figure.kind == FigureKind::Count,
                    "servers": by_name(&|server| results.figures(server, figure)),
                    "ratios": by_name(&|other| if other == 0 { Vec::new() } else { results.ratios(other, figure) }),
                }));
            }
        }
        let samples = self.results.iter().map(|results| {
            let servers = self.names.iter().zip(&results.samples);
            let servers = servers.map(|(name, samples)| {
                let samples = samples.iter().map(|sample| json!(sample.as_ref().map(|sample| &sample.0)));
                (name.clone(), samples.collect::<Vec<_>>().into())
            });
            (results.scenario.name.to_owned(), Value::Object(servers.collect()))
        });
        let samples: serde_json::Map<_, _> = samples.collect();
        let failures: Vec<_> = self.results.iter().flat_map(|results| results.failures.clone()).collect();
        json!({ "about": self.about, "rows": rows, "samples": samples, "failures": failures })
    }

    pub(crate) fn save(&self, folder: &Path, name: &str) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&self.json())? + "\n")?;
        let machine = &self.about["machine"];
        let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let mut text = format!(
            "# {name}\n\n{}, commit {}{}; {}, {} cores, {}, {}.\n\n```sh\n{}\n```\n\n",
            word(&self.about["date"]),
            word(&self.about["commit"]).chars().take(9).collect::<String>(),
            if self.about["changed"] == true { " with changes" } else { "" },
            word(&machine["processor"]),
            machine["cores"],
            word(&machine["kernel"]),
            word(&machine["compiler"]),
            word(&self.about["command"]),
        );
        for name in &self.names {
            let _ = writeln!(text, "- {name}: {}", word(&self.about["versions"][name]));
        }
        text += "\n";
        text += &self.markdown();
        fs::write(folder.join(format!("{name}.md")), text)?;
        Ok(())
    }
}

impl Results {
    fn figures(&self, server: usize, figure: &Figure) -> Vec<f64> {
        self.samples[server].iter().flatten().filter_map(|sample| sample.get(figure.key)).collect()
    }

    fn ratios(&self, other: usize, figure: &Figure) -> Vec<f64> {
        if figure.kind == FigureKind::Count {
            return Vec::new();
        }
        let pairs = self.samples[0].iter().zip(&self.samples[other]);
        let pairs = pairs.filter_map(|(ours, theirs)| {
            Some(ours.as_ref()?.get(figure.key)? / theirs.as_ref()?.get(figure.key)?)
        });
        pairs.filter(|ratio| ratio.is_finite()).collect()
    }
}

/// Returns the median, the lowest and the highest of some figures, if there are any.
fn spread(figures: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted.get(middle.checked_sub(1)?)? + sorted[middle]) / 2.0,
    };
    Some([median, *sorted.first()?, *sorted.last()?])
}

fn summary(figures: &[f64]) -> Option<Value> {
    let [median, lowest, highest] = spread(figures)?;
    Some(json!({ "median": median, "lowest": lowest, "highest": highest }))
}

fn cell(figures: &[f64]) -> String {
    match spread(figures) {
        None => " – |".into(),
        Some([median, lowest, highest]) => {
            // Three significant digits of each.
            let digits = match highest {
                ..=0.0 => 0,
                ..0.1 => 3,
                ..10.0 => 2,
                ..100.0 => 1,
                _ => 0,
            };
            format!(" {median:.digits$} ({lowest:.digits$}–{highest:.digits$}) |")
        }
    }
}
