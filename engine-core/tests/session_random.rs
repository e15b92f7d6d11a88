//! Invariants of a session under arbitrary calls in any order.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use sockeye_core::engineio::{CloseReason, Opening, Transport, Version};
use support::any_calls::{Op, any_calls};

fn op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![0usize..40, 120usize..130, Just(700)];
    prop_oneof![
        8 => Just(Op::Poll),
        1 => Just(Op::AbortPoll),
        3 => Just(Op::BeginPost),
        3 => Just(Op::EndPost),
        1 => Just(Op::AbortPost),
        4 => proptest::sample::select(vec!["3", "3", "4in", "6", "5", "0", "b", "b4", "1", "2", "2"]).prop_map(Op::Packet),
        4 => Just(Op::BeginUpgrade),
        6 => proptest::sample::select(vec!["2probe", "2probe", "5", "5", "4", "3"]).prop_map(Op::Probe),
        1 => Just(Op::AbortUpgrade),
        6 => size().prop_map(Op::Text),
        6 => size().prop_map(Op::Binary),
        6 => size().prop_map(Op::Shared),
        6 => (0usize..1500).prop_map(Op::Write),
        1 => proptest::sample::select(vec![
            CloseReason::ForcedClose(None), CloseReason::ServerShutdown, CloseReason::PingTimeout,
        ]).prop_map(Op::Close),
        4 => (0u64..12_000).prop_map(Op::Pass),
        1 => (0u64..100_000).prop_map(Op::Back),
        3 => Just(Op::Timeout),
        1 => Just(Op::Heard),
        1 => any::<bool>().prop_map(Op::Excuse),
        1 => Just(Op::Getters),
        1 => Just(Op::Lose),
        3 => prop_oneof![Just(Transport::WebSocket), Just(Transport::Polling)].prop_map(Op::Resume),
        2 => Just(Op::Acknowledge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn a_session_delivers_in_order_and_ends_for_any_sequence_of_calls(
        over_websocket: bool,
        version in proptest::sample::select(vec![Version::V4, Version::V3]),
        base64: bool,
        resumable: bool,
        max_payload in prop_oneof![Just(1usize), Just(200), Just(201), Just(1_000_000)],
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        let transport = if over_websocket { Transport::WebSocket } else { Transport::Polling };
        any_calls(Opening { transport, version, base64, resumable }, max_payload, ops);
    }
}
