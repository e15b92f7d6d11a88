//! Figures from the kernel about a process and the machine.

use std::fs;
use std::process::Command;

/// The CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// The time of all threads, counted by the scheduler in nanoseconds.
    pub(crate) total: u64,
    /// The times in user mode and in the kernel, counted in clock ticks: precise enough only for their ratio.
    user: u64,
    system: u64,
}

impl Cpu {
    pub(crate) fn of(process: u32) -> Cpu {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let time = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let total = tasks.filter_map(time).sum();
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // Skips the name in parentheses, which may contain spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let (user, system) = match ticks[..] {
            [user, system] => (user, system),
            _ => (0, 0),
        };
        Cpu { total, user, system }
    }

    /// Returns the time since `before`, and the part of it in user mode, in microseconds.
    pub(crate) fn since(self, before: Cpu) -> (f64, f64) {
        let total = self.total.saturating_sub(before.total) as f64 / 1e3;
        let (user, system) = ((self.user - before.user) as f64, (self.system - before.system) as f64);
        let share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        (total, total * share)
    }
}

/// Returns the resident memory of a process, in KB.
pub(crate) fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// Describes the processor, the kernel and the compiler.
pub(crate) fn describe() -> serde_json::Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    serde_json::json!({
        "processor": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": output("uname", &["-sr"]),
        "compiler": output("rustc", &["--version"]),
    })
}

/// Runs a program and returns its trimmed output; an empty string if it cannot be run.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
