//! A counting allocator.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

/// The system's allocator, which counts the allocations of each thread. Make it the `#[global_allocator]`.
pub struct Counting;

/// The allocations of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of allocations, including reallocations.
    pub allocations: u64,
    /// The number of bytes that they asked for.
    pub bytes: u64,
    /// The change in the number of live allocations.
    pub live: i64,
    /// The change in the number of live bytes.
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

/// Runs `run`, and returns its result with its allocations.
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

/// Runs `run`, and returns for each allocation the functions of this project on the stack, the innermost first.
pub fn trace(run: impl FnOnce()) -> Vec<String> {
    TRACING.set(true);
    run();
    TRACING.set(false);
    TRACES.take()
}

fn note(size: usize) {
    // The allocations of this function itself are not recorded.
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

// SAFETY: every call is passed on to the system's allocator.
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
