//! The results: samples, medians and ratios, as JSON and as a table.

use crate::machine::{describe, output};
use crate::scenario::{Metric, Scenario};
use crate::server::Candidate;
use crate::{Failure, Options};
use serde_json::{Value, json};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One measurement of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The CPU time of the server per message, in microseconds: in total, and in user mode.
    cpu: f64,
    user: f64,
    messages: u64,
    per_second: f64,
    /// Latencies, in microseconds.
    median: u32,
    p99: u32,
    /// Memory per connection, in KB.
    pub(crate) memory: f64,
}

impl Sample {
    pub(crate) fn of_cpu(total: f64, user: f64, messages: u64) -> Sample {
        let each = messages.max(1) as f64;
        Sample { cpu: total / each, user: user / each, messages, ..Sample::default() }
    }

    pub(crate) fn take_time(&mut self, elapsed: Duration, messages: u64, latencies: &mut [u32]) {
        self.per_second = messages as f64 / elapsed.as_secs_f64();
        latencies.sort_unstable();
        let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
        (self.median, self.p99) = (at(0.5), at(0.99));
    }

    fn figure(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Memory => self.memory,
            Metric::Cpu => self.cpu,
            Metric::Latency => f64::from(self.p99) / 1e3,
        }
    }

    fn json(&self) -> Value {
        json!({
            "cpu_us": self.cpu, "user_us": self.user, "messages": self.messages, "per_second": self.per_second,
            "median_us": self.median, "p99_us": self.p99, "kb_per_connection": self.memory,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.3} µs CPU ({:.3} user)", self.cpu, self.user)?;
        match self.per_second > 0.0 {
            true => write!(f, ", {:.0}/s, median {} µs, p99 {} µs", self.per_second, self.median, self.p99),
            false => write!(f, ", {:.2} KB", self.memory),
        }
    }
}

/// The results of a run.
pub(crate) struct Report {
    names: Vec<String>,
    rows: Vec<Row>,
    about: Value,
}

struct Row {
    name: &'static str,
    figure: &'static str,
    metric: Metric,
    /// The samples of each server by round; `None` if it failed.
    samples: Vec<Vec<Option<Sample>>>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(root: &Path, candidates: &[Candidate], options: &Options) -> Report {
        let row = |scenario: &&'static Scenario| Row {
            name: scenario.name,
            figure: scenario.figure,
            metric: scenario.metric,
            samples: vec![Vec::new(); candidates.len()],
            failures: Vec::new(),
        };
        let root = root.display().to_string();
        let versions: serde_json::Map<_, _> =
            candidates.iter().map(|one| (one.name.clone(), one.version.clone().into())).collect();
        let about = json!({
            "date": output("date", &["-u", "+%Y-%m-%d"]),
            "commit": output("git", &["-C", &root, "rev-parse", "HEAD"]),
            "changed": !output("git", &["-C", &root, "status", "--porcelain"]).is_empty(),
            "machine": describe(),
            "versions": versions,
            "arguments": options.arguments,
            "workers": std::env::var("WORKERS").unwrap_or("1".into()),
            "seconds": options.time.as_secs_f64(),
            "idle_connections": options.idle,
        });
        Report {
            names: candidates.iter().map(|one| one.name.clone()).collect(),
            rows: options.only.iter().map(row).collect(),
            about,
        }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, server: usize, sample: Sample) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == scenario.name) {
            row.samples[server].push(Some(sample));
        }
    }

    pub(crate) fn fail(&mut self, scenario: &Scenario, server: usize, error: String) {
        let name = &self.names[server];
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == scenario.name) {
            row.samples[server].push(None);
            row.failures.push(format!("{name}: {error}"));
        }
    }

    /// Returns a table of the medians and of our ratios to each other server, with the lowest and highest values.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| |");
        self.names.iter().for_each(|name| _ = write!(text, " {name} |"));
        self.names[1..].iter().for_each(|name| _ = write!(text, " ours / {name} |"));
        text += "\n|---|";
        (1..2 * self.names.len()).for_each(|_| text += "---|");
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.figure);
            for server in 0..self.names.len() {
                text += &cell(&row.figures(server));
            }
            for other in 1..self.names.len() {
                text += &cell(&row.ratios(other));
            }
        }
        text += "\n\nMedians; in parentheses the lowest and the highest of the rounds. Ratios are of the same round.\n";
        for (row, failure) in
            self.rows.iter().flat_map(|row| row.failures.iter().map(move |text| (row, text)))
        {
            let _ = writeln!(text, "\nFailed: {}: {failure}", row.name);
        }
        text
    }

    pub(crate) fn save(&self, folder: &Path, name: &str) -> Result<(), Failure> {
        let rows = self.rows.iter().map(|row| {
            let servers = self.names.iter().enumerate().map(|(server, name)| {
                let samples = row.samples[server].iter().flatten().map(Sample::json).collect::<Vec<_>>();
                (name.clone(), json!({ "median": median(&row.figures(server)), "rounds": samples }))
            });
            let servers: serde_json::Map<_, _> = servers.collect();
            (
                row.name.to_owned(),
                json!({ "figure": row.figure, "servers": servers, "failures": row.failures }),
            )
        });
        let rows: serde_json::Map<_, _> = rows.collect();
        let all = json!({ "about": self.about, "scenarios": rows });
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&all)? + "\n")?;
        let machine = &self.about["machine"];
        let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let mut text = format!(
            "# {name}\n\n{}, commit {}{}; {}, {} cores, {}, {}.\n\n",
            word(&self.about["date"]),
            word(&self.about["commit"]).chars().take(9).collect::<String>(),
            if self.about["changed"] == true { " with changes" } else { "" },
            word(&machine["processor"]),
            machine["cores"],
            word(&machine["kernel"]),
            word(&machine["compiler"]),
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

impl Row {
    fn figures(&self, server: usize) -> Vec<f64> {
        self.samples[server].iter().flatten().map(|sample| sample.figure(self.metric)).collect()
    }

    fn ratios(&self, other: usize) -> Vec<f64> {
        let pairs = self.samples[0].iter().zip(&self.samples[other]);
        let pairs = pairs.filter_map(|(ours, theirs)| Some((ours.as_ref()?, theirs.as_ref()?)));
        pairs.map(|(ours, theirs)| ours.figure(self.metric) / theirs.figure(self.metric)).collect()
    }
}

fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn cell(figures: &[f64]) -> String {
    let Some(median) = median(figures) else { return " – |".into() };
    let (low, high) = figures.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    format!(" {median:.2} ({low:.2}–{high:.2}) |")
}
