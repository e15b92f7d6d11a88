//! The steady state does not allocate.
#![allow(unsafe_code, missing_docs)]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sockeye_core::Time;
use sockeye_core::engineio::Id;
use sockeye_core::socketio::recovery::{Config, Epoch, Retained};
use sockeye_core::socketio::{Encoder, Limits, Packet, Reassembly, Target};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: forwards every call to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
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

fn bytes(run: impl FnOnce()) -> usize {
    let before = BYTES.with(Cell::get);
    run();
    BYTES.with(Cell::get).wrapping_sub(before)
}

fn random_id(n: u32) -> Id {
    // In no order, as ids are.
    let n = n.wrapping_mul(0x9e37_79b9).to_le_bytes();
    Id::from_random(std::array::from_fn(|at| n[at % 4]))
}

#[test]
fn a_socket_that_is_kept_takes_less_than_300_bytes_beside_its_rooms_and_data() {
    const SOCKETS: u32 = 10_000;
    let mut retained = Retained::new(Config::default(), Epoch::from_random(1));
    let taken = bytes(|| {
        for n in 0..SOCKETS {
            // The pointer, length and capacity of the data, the end of the credentials, and a mark.
            let data = (Vec::<u8>::new(), Some(Time::ZERO), 0_u64);
            let life = retained.begin(random_id(n + SOCKETS));
            assert!(retained.keep(Time::ZERO, random_id(n), life, [].into(), data).is_none());
        }
    });
    assert_eq!(retained.usage().sessions, SOCKETS as usize);
    let each = taken / SOCKETS as usize;
    assert!((100..300).contains(&each), "{each} bytes");
}

#[test]
fn an_event_that_is_remembered_takes_its_frames_and_about_64_bytes() {
    const EVENTS: usize = 10_000;
    let mut retained: Retained<()> = Retained::new(Config::default(), Epoch::from_random(1));
    let mut encoder = Encoder::new();
    let epoch = retained.epoch().expect("it numbers events itself");
    let mut frames = 0;
    let taken = bytes(|| {
        for _ in 0..EVENTS {
            let event = retained.number(epoch.draft(&encoder.event("/", None, "event", "data").unwrap()));
            frames += event.frames_len();
            retained.record(Time::ZERO, &Target::default(), &event);
        }
    });
    // The memory grows by an eighth, and a shared buffer has a counter.
    let each = (taken - frames) / EVENTS;
    assert!(each <= 64 + 64 / 8 + 32, "{each} bytes");
}
