//! The upgrade of a session from polling to WebSocket.

use super::{Polling, Refused, Session, State, Streaming};
use crate::engineio::framing::Framing;
use crate::engineio::packet::Packet;
use crate::engineio::version::BinaryForm;
use crate::time::Time;
use crate::websocket::Deflate;
use alloc::boxed::Box;
use core::time::Duration;

/// The number of one attempt to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// The next step of the connection that is being tried, after a packet from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    /// Send a pong with the data `probe` on it.
    Answer,
    /// Read no more of it, because the messages of a request with data come first. Handle the packet again once
    /// [`is_upgrade_due`](Session::is_upgrade_due).
    Wait,
    /// It is the session's transport from now on.
    Complete,
    /// Close it; the session lives on polling.
    Close,
}

impl Session {
    /// Begins an upgrade, in which a WebSocket connection takes over a polling session.
    ///
    /// If the application `is_behind`, an overdue pong is excused as in [`excuse_pong`](Session::excuse_pong).
    pub fn begin_upgrade(&mut self, now: Time, is_behind: bool) -> Result<Ticket, Refused> {
        self.catch_up(now, is_behind);
        if self.closed.is_some() {
            return Err(Refused::Closed);
        }
        self.check_attached()?;
        let deadline = now + self.config.upgrade_timeout;
        let framing = Framing::of(BinaryForm::of(self.version(), false));
        let allowed = self.config.allow_upgrades && self.config.websocket;
        match &mut self.state {
            State::Polling(polling) if allowed && polling.probe.is_none() => {
                polling.tickets = polling.tickets.wrapping_add(1);
                let ticket = Ticket(polling.tickets);
                polling.probe = Some(Box::new(Probe {
                    ticket,
                    release: None,
                    released: false,
                    waits: false,
                    deadline,
                    framing,
                }));
                Ok(ticket)
            }
            _ => Err(Refused::NoUpgrade),
        }
    }

    /// Compresses messages from now on, as was negotiated for the WebSocket connection: the session's or the one that is
    /// being tried. Call this when that connection begins. `agreed` is what was made of
    /// [`Config::per_message_deflate`](crate::engineio::server::Config::per_message_deflate); without that setting, nothing is
    /// compressed.
    pub fn set_deflate(&mut self, agreed: Deflate) {
        match &mut self.state {
            State::Streaming(streaming) => {
                streaming.set_framing(streaming.plain_framing().compressed(agreed))
            }
            State::Polling(polling) => {
                if let Some(probe) = &mut polling.probe {
                    probe.framing = probe.framing.compressed(agreed);
                }
            }
        }
    }

    /// Sends binary messages as base64 from now on, as a client of version 3 has asked for in the request for the WebSocket
    /// connection. Call this when that connection begins. Does nothing in version 4.
    pub fn set_base64(&mut self) {
        let form = BinaryForm::of(self.version(), true);
        match &mut self.state {
            State::Streaming(streaming) => streaming.form = form,
            State::Polling(polling) => {
                if let Some(probe) = &mut polling.probe {
                    probe.framing = probe.framing.with(form);
                }
            }
        }
    }

    /// Returns whether the attempt to upgrade is still under way; if not, its connection has to be closed.
    pub fn is_upgrading(&self, ticket: Ticket) -> bool {
        let State::Polling(polling) = &self.state else { return false };
        polling.probe.as_ref().is_some_and(|probe| probe.ticket == ticket) && !self.is_finished()
    }

    /// Returns whether an upgrade that was told to [wait](Probing::Wait) can continue.
    pub fn is_upgrade_due(&self, ticket: Ticket) -> bool {
        let State::Polling(polling) = &self.state else { return false };
        let waits = |probe: &Probe| probe.waits && probe.ticket == ticket;
        !polling.posting && polling.probe.as_deref().is_some_and(waits) && !self.is_finished()
    }

    /// Handles a packet from the connection that is being tried.
    ///
    /// Once the probe is answered, a poll that waits is ended, so that the client can stop polling: the first at once,
    /// the next ones at most every 100 ms. There are clients that send no probe, and some that send several.
    pub fn handle_probe(&mut self, now: Time, ticket: Ticket, packet: &Packet<'_>) -> Probing {
        if !self.is_upgrading(ticket) {
            return Probing::Close;
        }
        let deadline = now + self.config.upgrade_timeout;
        let State::Polling(polling) = &mut self.state else { return Probing::Close };
        match (packet, polling.probe.as_mut()) {
            (Packet::Ping("probe"), Some(probe)) => {
                if probe.release.is_none() {
                    probe.release = Some(now);
                    probe.deadline = deadline;
                    polling.release_poll(now);
                }
                Probing::Answer
            }
            // The messages of a session are handled one at a time.
            (Packet::Upgrade, Some(probe)) if polling.posting => {
                probe.waits = true;
                Probing::Wait
            }
            (Packet::Upgrade, _) => {
                self.complete_upgrade();
                self.heartbeat.leave(now);
                if let Some(closed) = &mut self.closed {
                    closed.farewell = None;
                }
                Probing::Complete
            }
            _ => {
                polling.probe = None;
                Probing::Close
            }
        }
    }

    /// Handles the end of the connection that was being tried: the session stays on polling.
    pub fn abort_upgrade(&mut self, ticket: Ticket) {
        if let State::Polling(polling) = &mut self.state
            && polling.probe.as_ref().is_some_and(|probe| probe.ticket == ticket)
        {
            polling.probe = None;
        }
    }

    /// Moves the session to the connection that was tried, and the packets that wait with it.
    fn complete_upgrade(&mut self) {
        // What waits behind the queue has the form of a payload, too.
        self.advance_backlog(usize::MAX);
        let State::Polling(polling) = &mut self.state else { return };
        let framing = polling.probe.as_ref().map(|probe| probe.framing).unwrap_or_default();
        let payload = core::mem::take(&mut polling.payload);
        let queue = payload.into_frames(framing, &self.config.deflate_pool);
        self.state = State::Streaming(Streaming::new(framing, queue, polling.parked));
        self.hold_connection();
    }
}

/// A WebSocket connection that may take over.
#[derive(Debug)]
pub(super) struct Probe {
    ticket: Ticket,
    /// The time from which a waiting poll may be released; `None` until the probe is answered.
    release: Option<Time>,
    /// The waiting poll is released.
    pub(super) released: bool,
    /// The client has moved on to it, and the session follows once no request with data is in progress.
    pub(super) waits: bool,
    pub(super) deadline: Time,
    framing: Framing,
}

/// The interval at which polls are released during an upgrade, as in the reference. A client that has not seen the answer
/// to its probe polls again at once, and a proxy may hold that answer back for as long as the upgrade may take.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

impl Polling {
    /// Returns whether the client waits for its poll to end, so that it can go on with the other connection.
    pub(super) fn is_probed(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.release.is_some())
    }

    /// Returns whether the waiting poll is to be ended without packets.
    pub(super) fn is_released(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.released)
    }

    /// Returns the time at which the waiting poll is to be released, unless it is answered before.
    pub(super) fn next_release(&self) -> Option<Time> {
        let probe = self.probe.as_ref().filter(|probe| self.parked && !probe.released)?;
        probe.release
    }

    /// Releases the waiting poll if it is time to.
    pub(super) fn release_poll(&mut self, now: Time) {
        if self.next_release().is_some_and(|release| release <= now)
            && let Some(probe) = &mut self.probe
        {
            probe.released = true;
            probe.release = Some(now + RELEASE_INTERVAL);
        }
    }
}
