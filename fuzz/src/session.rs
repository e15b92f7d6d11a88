//! Sequences of calls to an Engine.IO session.

use super::Choices;
use super::support::any_calls::{Op, any_calls};
use sockeye_core::engineio::{CloseReason, Opening, Transport, Version};

/// Makes any calls in any order: nothing is lost, doubled or reordered, and silence ends the session.
pub fn session(data: &[u8]) {
    let mut choices = Choices(data);
    let form = choices.byte();
    let version = if form & 0x80 == 0 { Version::V4 } else { Version::V3 };
    let (base64, resumable) = (form & 0x40 != 0, form & 2 != 0);
    let opening = Opening { transport: transport(form), version, base64, resumable };
    let max_payload = [1, 200, 1_000_000][usize::from(choices.byte() % 3)];
    let ops = std::iter::from_fn(|| (!choices.is_empty()).then(|| op(&mut choices))).collect::<Vec<_>>();
    any_calls(opening, max_payload, ops);
}

fn transport(choice: u8) -> Transport {
    if choice & 1 == 0 { Transport::Polling } else { Transport::WebSocket }
}

fn op(choices: &mut Choices<'_>) -> Op {
    let packets = ["3", "4in", "6", "5", "0", "b", "1", "2"];
    let probes = ["2probe", "5", "4", "3"];
    match choices.byte() % 22 {
        0 => Op::Poll,
        1 => Op::AbortPoll,
        2 => Op::BeginPost,
        3 => Op::EndPost,
        4 => Op::AbortPost,
        5 => Op::Packet(packets[usize::from(choices.byte() % 8)]),
        6 => Op::BeginUpgrade,
        7 => Op::Probe(probes[usize::from(choices.byte() % 4)]),
        8 => Op::AbortUpgrade,
        9 => Op::Text(usize::from(choices.byte()) * 3),
        10 => Op::Binary(usize::from(choices.byte()) * 3),
        11 => Op::Shared(usize::from(choices.byte()) * 3),
        12 => Op::Write(choices.short().into()),
        13 => Op::Close(match choices.byte() % 3 {
            0 => CloseReason::ForcedClose(None),
            1 => CloseReason::ServerShutdown,
            _ => CloseReason::PingTimeout,
        }),
        14 => Op::Pass(choices.short().into()),
        15 => Op::Back(choices.short().into()),
        16 => Op::Timeout,
        17 => Op::Heard,
        18 if choices.byte() & 1 == 0 => Op::Getters,
        18 => Op::Excuse(choices.byte() & 1 == 0),
        19 => Op::Lose,
        20 => Op::Resume(transport(choices.byte())),
        _ => Op::Acknowledge,
    }
}
