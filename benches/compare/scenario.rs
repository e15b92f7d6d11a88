//! The scenarios that servers are measured in.

/// A load and the figure that it yields.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The description of the figure, with its unit.
    pub(crate) figure: &'static str,
    pub(crate) load: Load,
    pub(crate) metric: Metric,
}

#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Clients that connect and are then silent. Without a number, `--idle` sets it.
    Open { clients: Option<usize> },
    /// Events over WebSocket.
    Events(Events),
    /// Echoes at a fixed rate, beside broadcasts to many other clients.
    Beside,
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

/// The figure of a sample that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Resident memory per connection, in KB.
    Memory,
    /// CPU time of the server per message or per opened connection, in microseconds.
    Cpu,
    /// The latency that one message of a hundred exceeds, in milliseconds.
    Latency,
}

const fn events(kind: Kind, clients: usize, in_flight: usize, size: usize) -> Load {
    Load::Events(Events { kind, clients, in_flight, size })
}

pub(crate) const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "idle",
        figure: "memory per idle WebSocket connection, KB",
        load: Load::Open { clients: None },
        metric: Metric::Memory,
    },
    Scenario {
        name: "handshake",
        figure: "to open a connection, µs",
        load: Load::Open { clients: Some(9_000) },
        metric: Metric::Cpu,
    },
    Scenario {
        name: "ack1",
        figure: "acknowledgement, one in flight, µs",
        load: events(Kind::Ack, 100, 1, 32),
        metric: Metric::Cpu,
    },
    Scenario {
        name: "ack16",
        figure: "acknowledgement, 16 in flight, µs",
        load: events(Kind::Ack, 100, 16, 32),
        metric: Metric::Cpu,
    },
    Scenario {
        name: "echo1k",
        figure: "1 KiB echo, 16 in flight, µs",
        load: events(Kind::Echo, 100, 16, 1024),
        metric: Metric::Cpu,
    },
    Scenario {
        name: "bin4k",
        figure: "4 KiB binary echo, 8 in flight, µs",
        load: events(Kind::Binary, 100, 8, 4096),
        metric: Metric::Cpu,
    },
    Scenario {
        name: "broadcast",
        figure: "broadcast to 1,000, per delivery, µs",
        load: events(Kind::Broadcast, 1_000, 1, 32),
        metric: Metric::Cpu,
    },
    Scenario {
        name: "beside",
        figure: "99th percentile of 20,000 echoes/s, beside one broadcast/s to 6,000, ms",
        load: Load::Beside,
        metric: Metric::Latency,
    },
    Scenario {
        name: "polling",
        figure: "acknowledgement over polling, POST and GET, µs",
        load: Load::Polling { clients: 50 },
        metric: Metric::Cpu,
    },
];
