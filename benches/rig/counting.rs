//! An allocator that counts.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

/// The system's allocator, with a count of what each thread asks of it. Make it the `#[global_allocator]`.
pub struct Counting;

/// What a thread has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How often memory was asked for; more of it in the same place counts, too.
    pub allocations: u64,
    /// How many bytes that was.
    pub bytes: u64,
    /// How many pieces more there are than before.
    pub live: i64,
    /// How many bytes more there are than before.
    pub live_bytes: i64,
}

thread_local! {
    static USAGE: Cell<Usage> = const {
        Cell::new(Usage { allocations: 0, bytes: 0, live: 0, live_bytes: 0 })
    };
    static TRACING: Cell<bool> = const { Cell::new(false) };
    static TRACES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Usage {
    fn add(&mut self, size: usize, pieces: i64) {
        self.allocations += 1;
        self.bytes += size as u64;
        self.live += pieces;
    }
}

/// What `run` asks for.
pub fn measure<T>(run: impl FnOnce() -> T) -> (T, Usage) {
    let before = USAGE.get();
    let result = run();
    let after = USAGE.get();
    let usage = Usage {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
        live: after.live - before.live,
        live_bytes: after.live_bytes - before.live_bytes,
    };
    (result, usage)
}

/// Where `run` asks for memory: the functions of this project on the way there, the innermost first.
pub fn trace(run: impl FnOnce()) -> Vec<String> {
    TRACING.set(true);
    run();
    TRACING.set(false);
    TRACES.take()
}

fn note(size: usize) {
    // What noting itself allocates is not noted.
    if !TRACING.replace(false) {
        return;
    }
    let stack = Backtrace::force_capture().to_string();
    let ours = stack.lines().filter_map(|line| line.trim().split_once(": ").map(|(_, name)| name));
    let ours = ours.filter(|name| name.contains("sockeye") && !name.contains("counting"));
    let ours: Vec<_> = ours.take(8).collect();
    TRACES.with_borrow_mut(|traces| traces.push(format!("{size} bytes: {}", ours.join(" < "))));
    TRACING.set(true);
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut usage = USAGE.get();
        usage.add(layout.size(), 1);
        usage.live_bytes += layout.size() as i64;
        USAGE.set(usage);
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let mut usage = USAGE.get();
        usage.live -= 1;
        usage.live_bytes -= layout.size() as i64;
        USAGE.set(usage);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let mut usage = USAGE.get();
        usage.add(size, 0);
        usage.live_bytes += size as i64 - layout.size() as i64;
        USAGE.set(usage);
        note(size);
        unsafe { System.realloc(at, layout, size) }
    }
}
