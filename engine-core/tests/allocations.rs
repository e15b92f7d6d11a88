//! The steady state does not allocate.
#![allow(unsafe_code, missing_docs)]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sockeye_core::socketio::{Encoder, Limits, Packet, Reassembly};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: forwards every call to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(run: impl FnOnce() -> T) -> usize {
    let before = COUNT.with(Cell::get);
    run();
    COUNT.with(Cell::get) - before
}

#[test]
fn decoding_and_typed_arguments_allocate_nothing() {
    let text = r#"2/admin?x=1,456["project:delete",123,"borrowed",{"a":[1.5e3,"\n"]}]"#;
    let limits = Limits::default();
    let count = allocations(|| {
        let packet = Packet::decode(text, &limits).unwrap();
        assert_eq!(packet.event().unwrap(), "project:delete");
        let args = packet.args(&[]).unwrap();
        assert_eq!(args.len(), 3);
        assert_eq!(args.deserialize::<(u8, &str)>().unwrap(), (123, "borrowed"));
        assert_eq!(args.deserialize::<u8>().unwrap(), 123);
        assert!(Packet::decode("2[\"connect\"]", &limits).is_err());
        assert!(Packet::decode("59999-[\"a\"]", &limits).is_err());
    });
    assert_eq!(count, 0);
}

#[test]
fn encoding_again_allocates_nothing() {
    let mut encoder = Encoder::new();
    let args = ("some text \n", Bytes::from_static(b"some bytes"), 1.5, Some(&[1u8, 2][..]));
    let mut encode = || {
        encoder.event("/admin", Some(1), "name", &args).unwrap().attachments().for_each(drop);
        encoder.ack("/", 1, &"ok").unwrap();
        encoder.disconnect("/").unwrap();
    };
    encode();
    assert_eq!(allocations(encode), 0);
}

#[test]
fn packets_without_attachments_allocate_nothing() {
    let packet = Packet::decode("2[\"a\"]", &Limits::default()).unwrap();
    let count = allocations(|| {
        let mut reassembly = Reassembly::new();
        reassembly.handle_text().unwrap();
        reassembly.begin(&packet).unwrap();
    });
    assert_eq!(count, 0);
}
