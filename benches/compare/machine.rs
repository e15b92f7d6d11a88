//! Figures from the kernel about a process and the machine.

use std::fs;
use std::ops::AddAssign;
use std::process::Command;

/// The CPU time that a process has used, and its page faults: since its start, or in some part of its life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// The time of all threads, counted by the scheduler in nanoseconds.
    total: u64,
    /// The number of pages that were mapped without reading from a disk.
    faults: u64,
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
        let fields: Vec<u64> = fields.skip(7).take(6).map(|field| field.parse().unwrap_or(0)).collect();
        match fields[..] {
            [faults, _, _, _, user, system] => Cpu { total, faults, user, system },
            _ => Cpu { total, ..Cpu::default() },
        }
    }

    /// Returns what `process` has used since.
    pub(crate) fn until_now(self, process: u32) -> Cpu {
        let now = Cpu::of(process);
        Cpu {
            total: now.total.saturating_sub(self.total),
            faults: now.faults - self.faults,
            user: now.user - self.user,
            system: now.system - self.system,
        }
    }

    /// Returns the time in microseconds.
    pub(crate) fn total(self) -> f64 {
        self.total as f64 / 1e3
    }

    /// Returns the time in user mode in microseconds.
    pub(crate) fn user(self) -> f64 {
        let ticks = self.user + self.system;
        if ticks > 0 { self.total() * self.user as f64 / ticks as f64 } else { 0.0 }
    }

    pub(crate) fn faults(self) -> u64 {
        self.faults
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, more: Cpu) {
        self.total += more.total;
        self.faults += more.faults;
        self.user += more.user;
        self.system += more.system;
    }
}

/// Returns the number of connections that the machine has dropped because a backlog was full.
pub(crate) fn dropped_connections() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find(|(name, _)| *name == "ListenDrops").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Returns the resident memory of a process, in KB.
pub(crate) fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// Returns the number of connections that this process may have open, with a reserve for other files.
pub(crate) fn max_connections() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<usize>().ok());
    limit.map_or(usize::MAX, |limit| limit.saturating_sub(100))
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
