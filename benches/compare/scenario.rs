//! The scenarios that servers are measured in, and the figures that each yields.

use crate::avalanche::Clients;

/// A load and the figures that it yields.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    /// A description of the load, for `--help`.
    pub(crate) about: &'static str,
    pub(crate) load: Load,
    pub(crate) figures: &'static [Figure],
}

/// A row of the table.
pub(crate) struct Figure {
    /// The name under which a sample has it.
    pub(crate) key: &'static str,
    /// The description, with its unit.
    pub(crate) about: &'static str,
    pub(crate) kind: FigureKind,
    /// True if the table of the README has it.
    pub(crate) is_headline: bool,
}

impl Figure {
    const fn headline(self) -> Figure {
        Figure { is_headline: true, ..self }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FigureKind {
    /// A figure that depends on the machine: servers are compared by ratios.
    Measure,
    /// A figure that does not, such as a number of page faults: it stands for itself, and is zero at best.
    Count,
}

#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Clients that connect and are then silent. Without a number, `--idle` sets it.
    Open { clients: Option<usize>, as_browser: bool },
    /// Idle clients that are sent a ping every second.
    Heartbeats,
    /// Events over WebSocket.
    Events(Events),
    /// Echoes of one size, for half of the time.
    Sizes(Events),
    /// The same events with one worker thread and with two.
    Workers(Events),
    /// Echoes at a fixed rate, alone and beside broadcasts to many other clients.
    Beside,
    /// Clients that come back after the server was killed. `--idle` sets their number.
    Avalanche(Clients),
    /// Joining and leaving rooms, and broadcasts to a room.
    Rooms,
    /// Broadcasts to clients of which a few do not read.
    Deaf,
    /// Acknowledgements over polling: for each a POST, and a GET for the answer.
    Polling { clients: usize },
}

#[derive(Clone, Copy)]
pub(crate) struct Events {
    pub(crate) kind: Kind,
    pub(crate) clients: usize,
    /// The number of messages that each client keeps in flight.
    pub(crate) in_flight: usize,
    /// The length of a message's data, in bytes.
    pub(crate) size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ack,
    Echo,
    Binary,
    Broadcast,
}

const fn events(kind: Kind, clients: usize, in_flight: usize, size: usize) -> Events {
    Events { kind, clients, in_flight, size }
}

const fn measure(key: &'static str, about: &'static str) -> Figure {
    Figure { key, about, kind: FigureKind::Measure, is_headline: false }
}

const fn count(key: &'static str, about: &'static str) -> Figure {
    Figure { key, about, kind: FigureKind::Count, is_headline: false }
}

/// Defines a scenario with one figure: the CPU time of the server per message.
macro_rules! cpu {
    ($family:literal, $name:literal, $events:expr, $about:literal) => {
        Scenario {
            name: $name,
            family: $family,
            about: $about,
            load: Load::Events($events),
            figures: &[measure("cpu_us", concat!($about, ", µs")).headline()],
        }
    };
}

/// Defines the echo of one size: of small ones by ten clients with four in flight, because the wake-up of an idle server
/// would cost more than the message; of large ones by one client with one in flight.
macro_rules! sizes {
    (small, $name:literal, $kind:expr, $size:expr, $about:literal) => {
        sizes!($name, events($kind, 10, 4, $size), $about, measure("cpu_us", concat!($about, ", µs")))
    };
    (large, $name:literal, $kind:expr, $size:expr, $about:literal) => {
        sizes!(
            $name,
            events($kind, 1, 1, $size),
            $about,
            measure("cpu_us", concat!($about, ", µs")).headline()
        )
    };
    ($name:literal, $events:expr, $about:literal, $cpu:expr) => {
        Scenario {
            name: $name,
            family: "sizes",
            about: $about,
            load: Load::Sizes($events),
            figures: &[$cpu, count("page_faults", concat!($about, ", page faults"))],
        }
    };
}

pub(crate) const SCENARIOS: [Scenario; 27] = [
    Scenario {
        name: "idle",
        family: "connections",
        about: "connections with the required headers only",
        load: Load::Open { clients: None, as_browser: false },
        figures: &[measure("kb_per_connection", "memory per idle WebSocket connection, KB").headline()],
    },
    Scenario {
        name: "browser",
        family: "connections",
        about: "connections with a browser's 18 headers (1.2 KB)",
        load: Load::Open { clients: None, as_browser: true },
        figures: &[
            measure("kb_per_connection", "memory per idle connection with a browser's headers, KB")
                .headline(),
            measure("cpu_us", "to open a connection with a browser's headers, µs"),
        ],
    },
    Scenario {
        name: "handshake",
        family: "connections",
        about: "opening 9,000 connections",
        load: Load::Open { clients: Some(9_000), as_browser: false },
        figures: &[measure("cpu_us", "to open a connection, µs").headline()],
    },
    Scenario {
        name: "heartbeats",
        family: "connections",
        about: "idle connections with a ping every second",
        load: Load::Heartbeats,
        figures: &[measure("cpu_us", "ping and pong of an idle connection, µs").headline()],
    },
    cpu!("small", "ack1", events(Kind::Ack, 100, 1, 32), "acknowledgement, one in flight"),
    cpu!("small", "ack16", events(Kind::Ack, 100, 16, 32), "acknowledgement, 16 in flight"),
    cpu!("small", "echo1k", events(Kind::Echo, 100, 16, 1024), "1 KiB echo, 16 in flight"),
    cpu!("small", "bin4k", events(Kind::Binary, 100, 8, 4096), "4 KiB binary echo, 8 in flight"),
    Scenario {
        name: "polling",
        family: "small",
        about: "acknowledgements over polling, 50 clients",
        load: Load::Polling { clients: 50 },
        figures: &[measure("cpu_us", "acknowledgement over polling, POST and GET, µs").headline()],
    },
    sizes!(small, "text64", Kind::Echo, 64, "echo of a string of 64 B"),
    sizes!(small, "text1k", Kind::Echo, 1 << 10, "echo of a string of 1 KiB"),
    sizes!(small, "text16k", Kind::Echo, 16 << 10, "echo of a string of 16 KiB"),
    sizes!(large, "text256k", Kind::Echo, 256 << 10, "echo of a string of 256 KiB"),
    sizes!(large, "text900k", Kind::Echo, 900_000, "echo of a string of 900 KB"),
    sizes!(small, "bytes64", Kind::Binary, 64, "echo of 64 B of binary data"),
    sizes!(small, "bytes1k", Kind::Binary, 1 << 10, "echo of 1 KiB of binary data"),
    sizes!(small, "bytes16k", Kind::Binary, 16 << 10, "echo of 16 KiB of binary data"),
    sizes!(large, "bytes256k", Kind::Binary, 256 << 10, "echo of 256 KiB of binary data"),
    sizes!(large, "bytes900k", Kind::Binary, 900_000, "echo of 900 KB of binary data"),
    cpu!(
        "broadcasts",
        "broadcast",
        events(Kind::Broadcast, 1_000, 1, 32),
        "broadcast to 1,000, per delivery"
    ),
    Scenario {
        name: "deaf",
        family: "broadcasts",
        about: "400 broadcasts of 16 KiB to 1,000 clients, of which 50 never read",
        load: Load::Deaf,
        figures: &[
            measure("cpu_us", "16 KiB broadcast to 1,000, of which 50 do not read, per delivery, µs")
                .headline(),
            count("grown_mb", "memory taken for the 50 that do not read, MB"),
        ],
    },
    Scenario {
        name: "rooms",
        family: "rooms",
        about: "1,000 clients, each in ten of 10,000 rooms",
        load: Load::Rooms,
        figures: &[
            measure("join_us", "to join or leave one of 10,000 rooms, ten a message, µs").headline(),
            measure("cpu_us", "broadcast to one of 10,000 rooms, µs").headline(),
        ],
    },
    Scenario {
        name: "beside",
        family: "beside",
        about: "20,000 echoes/s of 1,000 clients, alone and beside one broadcast/s to 5,000 others",
        load: Load::Beside,
        figures: &[
            measure("quiet_p50_ms", "20,000 echoes/s: median, ms"),
            measure("quiet_p99_ms", "20,000 echoes/s: 99th percentile, ms").headline(),
            measure("quiet_p999_ms", "20,000 echoes/s: 99.9th percentile, ms"),
            measure("p50_ms", "20,000 echoes/s beside one broadcast/s to 5,000: median, ms"),
            measure("p99_ms", "20,000 echoes/s beside one broadcast/s to 5,000: 99th percentile, ms")
                .headline(),
            measure("p999_ms", "20,000 echoes/s beside one broadcast/s to 5,000: 99.9th percentile, ms"),
            measure("last_recipient_ms", "the last of 5,000 recipients beside 20,000 echoes/s, ms")
                .headline(),
        ],
    },
    Scenario {
        name: "avalanche",
        family: "avalanches",
        about: "all clients of a killed server come back over WebSocket: at once, and over 5 s",
        load: Load::Avalanche(Clients::WebSocket),
        figures: &[
            measure("back_s", "all clients back over WebSocket, at once, s").headline(),
            measure("cpu_us", "a client back over WebSocket, at once, µs"),
            count("lost_syns", "connections that the backlog lost, at once"),
            measure(
                "spread_p99_ms",
                "99th percentile of the time to be back over WebSocket, spread over 5 s, ms",
            ),
            measure("spread_cpu_us", "a client back over WebSocket, spread over 5 s, µs"),
            count("spread_lost_syns", "connections that the backlog lost, spread over 5 s"),
        ],
    },
    Scenario {
        name: "avalanche_polling",
        family: "avalanches",
        about: "the same over polling, with the upgrade to WebSocket",
        load: Load::Avalanche(Clients::Upgrading),
        figures: &[
            measure("back_s", "all clients back over polling and upgraded, at once, s").headline(),
            measure("cpu_us", "a client back over polling and upgraded, at once, µs"),
            count("lost_syns", "connections that the backlog lost, polling, at once"),
            measure(
                "spread_p99_ms",
                "99th percentile of the time to be back over polling and upgraded, spread over 5 s, ms",
            ),
            measure("spread_cpu_us", "a client back over polling and upgraded, spread over 5 s, µs"),
            count("spread_lost_syns", "connections that the backlog lost, polling, spread over 5 s"),
        ],
    },
    Scenario {
        name: "workers_echo",
        family: "workers",
        about: "echo1k with one worker thread and with two",
        load: Load::Workers(events(Kind::Echo, 100, 16, 1024)),
        figures: &[count("two_workers_to_one", "1 KiB echo: CPU time with two workers, times that with one")
            .headline()],
    },
    Scenario {
        name: "workers_broadcast",
        family: "workers",
        about: "broadcast with one worker thread and with two",
        load: Load::Workers(events(Kind::Broadcast, 1_000, 1, 32)),
        figures: &[count(
            "two_workers_to_one",
            "broadcast to 1,000: CPU time with two workers, times that with one",
        )
        .headline()],
    },
];
