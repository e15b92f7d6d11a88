//! A Socket.IO client whose every packet is looked at.

use crate::engine::{Engine, Packet};
use crate::ledger::{Ledger, content};
use crate::simulation::{Dice, Receiver, Sim};
use bytes::Bytes;
use sockeye_core::socketio::{self, Args, Attached, Encoder, Kind, Limits, Reassembly};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

pub struct Peer {
    pub engine: Engine,
    ledger: Ledger,
    dice: Dice,
    reassembly: Reassembly,
    pub namespaces: BTreeMap<&'static str, Member>,
    /// Where it ever was.
    seen: HashSet<&'static str>,
    /// What was done to it that may end its session.
    pub blame: Option<&'static str>,
    /// When the server has to know of its end.
    pub ends_by: Duration,
}

/// A namespace that the client is in, or wants to be in.
#[derive(Default)]
pub struct Member {
    /// The socket's id, once the server has answered.
    pub id: Option<String>,
    /// The server closed it: that was told.
    pub was_told: bool,
    /// Questions that the server has not answered.
    pub asked: HashSet<u64>,
    /// What was for the socket before this one may still be under way.
    has_predecessor: bool,
}

/// The answer to a question.
pub fn answer(number: u32) -> u64 {
    u64::from(number) * 2 + 1
}

impl Peer {
    pub fn open(sim: &Sim, ledger: &Ledger, mut dice: Dice) -> Peer {
        let over_websocket = dice.once_in(3);
        Peer {
            engine: Engine::open(sim, dice.fork(), over_websocket),
            ledger: ledger.clone(),
            dice,
            reassembly: Reassembly::new(),
            namespaces: BTreeMap::new(),
            seen: HashSet::new(),
            blame: None,
            ends_by: Duration::MAX,
        }
    }

    /// Connects to a namespace, unless it is or was there.
    pub fn join(&mut self, name: &'static str) {
        let is_there = self.namespaces.get(name).is_some_and(|member| !member.was_told);
        if self.engine.end.is_none() && !is_there {
            let has_predecessor = !self.seen.insert(name);
            self.namespaces.insert(name, Member { has_predecessor, ..Member::default() });
            self.send(|encoder| encoder.connect(name, None));
        }
    }

    /// Leaves a namespace; gives back the socket's id.
    pub fn leave(&mut self, name: &'static str) -> Option<String> {
        let id = self.connected(name)?;
        self.namespaces.remove(name);
        self.send(|encoder| encoder.disconnect(name));
        Some(id)
    }

    /// The socket's id, if the client is in the namespace.
    pub fn connected(&self, name: &str) -> Option<String> {
        let member = self.namespaces.get(name).filter(|member| !member.was_told)?;
        self.engine.end.is_none().then(|| member.id.clone())?
    }

    pub fn emit(&mut self, name: &'static str, number: u32) {
        let Some(id) = self.connected(name) else { return };
        self.ledger.account(&id, |account| account.sent_to_server(number));
        let (text, bytes) = content(number);
        self.send(|encoder| encoder.event(name, None, "m", &(number, text, bytes)));
    }

    pub fn ask(&mut self, name: &'static str, number: u32) {
        if self.connected(name).is_none() {
            return;
        }
        let id = u64::from(number);
        if let Some(member) = self.namespaces.get_mut(name) {
            member.asked.insert(id);
        }
        self.send(|encoder| encoder.event(name, Some(id), "q", &number));
    }

    fn send(
        &mut self,
        packet: impl for<'e> FnOnce(&'e mut Encoder) -> Result<socketio::Encoded<'e>, socketio::EncodeError>,
    ) {
        let mut encoder = Encoder::new();
        let encoded = packet(&mut encoder).expect("it can be sent");
        let text = std::str::from_utf8(encoded.text).expect("packets are text");
        self.engine.send(Packet::Text(format!("4{text}")));
        encoded.attachments().for_each(|data| self.engine.send(Packet::Binary(data.into())));
    }

    fn handle(&mut self, packet: &socketio::Packet<'_>, attachments: Attached<'_>) {
        let Some((&name, member)) = self.namespaces.iter_mut().find(|(name, _)| **name == packet.namespace)
        else {
            // It left while the packet was under way.
            return;
        };
        if member.has_predecessor && member.id.is_none() && packet.kind != Kind::Connect {
            return;
        }
        match packet.kind {
            Kind::Connect => {
                assert!(member.id.is_none(), "connected twice");
                member.id = packet.data.split('"').nth(3).map(str::to_owned);
            }
            Kind::Disconnect => {
                assert!(!member.was_told, "disconnected twice");
                member.was_told = true;
            }
            Kind::Event | Kind::BinaryEvent => {
                assert!(!member.was_told, "an event after the end");
                let id = member.id.clone().expect("no event before the answer to the connect");
                let args = packet.args(attachments).expect("an event has arguments");
                self.handle_event(name, &id, packet, args);
            }
            Kind::Ack | Kind::BinaryAck => {
                let asked = packet.id.expect("an answer has an id");
                assert!(member.asked.remove(&asked), "an answer twice: {asked}");
                let args = packet.args(attachments).expect("an answer has arguments");
                assert_eq!(args.deserialize::<u64>().expect("a number"), answer(asked as u32));
            }
            Kind::ConnectError => panic!("refused: {}", packet.data),
        }
    }

    fn handle_event(&mut self, name: &'static str, id: &str, packet: &socketio::Packet<'_>, args: Args<'_>) {
        match packet.event().as_deref() {
            Some("m") => {
                let (number, text, bytes): (u32, String, Option<Bytes>) =
                    args.deserialize().expect("an event");
                self.ledger.account(id, |account| account.came_to_client(number, &text, bytes.as_ref()));
            }
            Some("q") => {
                let number: u32 = args.deserialize().expect("a question");
                self.ledger.account(id, |account| account.question_came(number));
                let asked = packet.id.expect("a question wants an answer");
                // Some are not answered, and some twice.
                for _ in 0..self.dice.pick(&[1, 1, 1, 2, 0]).unwrap_or(1) {
                    self.send(|encoder| encoder.ack(name, asked, &answer(number)));
                }
            }
            other => panic!("an event that nobody sent: {other:?}"),
        }
    }
}

impl Receiver for Peer {
    fn receive(&mut self) -> bool {
        let busy = self.engine.step();
        let limits = Limits::default();
        while let Some(packet) = self.engine.inbox.pop_front() {
            match packet {
                Packet::Text(text) => {
                    self.reassembly.handle_text().expect("attachments follow their event");
                    let packet =
                        socketio::Packet::decode(&text, &limits).expect("the server's packets are right");
                    self.reassembly.begin(&packet).expect("attachments follow their event");
                    if packet.attachments == 0 {
                        self.handle(&packet, Attached::default());
                    }
                }
                Packet::Binary(data) => {
                    let complete =
                        self.reassembly.add(&data, &limits).expect("an attachment that was announced");
                    if let Some(complete) = complete {
                        self.handle(&complete.packet(), complete.attachments());
                    }
                }
            }
        }
        busy
    }
}
