//! Notes of what a session does, for a program that watches it.

use super::Session;
use crate::engineio::client::error::{CloseReason, TransportError};
use crate::engineio::frames::Part;
use crate::engineio::transport::Transport;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// One thing that a session did: see [`Client::take_notes`](crate::socketio::client::Client::take_notes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// It began to open a connection with this transport.
    Opening(Transport),
    /// The server has opened it.
    Opened,
    /// It queued a packet in the form of text for this transport.
    Text(Transport, String),
    /// It queued a binary message for this transport.
    Binary(Transport, Vec<u8>),
    /// It moved to WebSocket.
    Upgraded,
    /// It stays with polling, for this reason.
    NotUpgraded(TransportError),
    /// It has lost its connection, and can be resumed.
    Interrupted(CloseReason),
    /// It was resumed with another connection.
    Resumed,
    /// It ended.
    Closed(CloseReason),
}

/// The notes that were not taken yet, in a box that only sessions with notes have.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

impl Notes {
    /// Takes the notes.
    pub(crate) fn take(&mut self) -> Vec<Note> {
        core::mem::take(&mut self.0)
    }
}

impl Session {
    /// Begins to write down notes, behind those that are given.
    pub(crate) fn set_notes(&mut self, notes: Box<Notes>) {
        self.notes = Some(notes);
        self.note(|session| Note::Opening(session.transport()));
        if let Some(reason) = &self.closed {
            let reason = CloseReason::clone(reason);
            self.note(|_| Note::Closed(reason));
        }
    }

    /// Returns the notes that were not taken yet.
    pub(crate) fn notes_mut(&mut self) -> &mut Option<Box<Notes>> {
        &mut self.notes
    }

    /// Adds a note, if notes are written down.
    pub(super) fn note(&mut self, note: impl FnOnce(&Session) -> Note) {
        if let Some(mut notes) = self.notes.take() {
            notes.0.push(note(self));
            self.notes = Some(notes);
        }
    }

    /// Notes a message that is about to be queued.
    #[cold]
    pub(super) fn note_message(&mut self, part: Part<'_>) {
        self.note(|session| match part {
            Part::Text(text) => {
                let mut packet = String::from("4");
                packet.push_str(&String::from_utf8_lossy(text));
                Note::Text(session.transport(), packet)
            }
            Part::Binary(data) => Note::Binary(session.transport(), data.into()),
        });
    }

    /// Notes a packet of the protocol itself.
    #[cold]
    pub(super) fn note_control(&mut self, packet: &[u8], transport: Transport) {
        self.note(|_| Note::Text(transport, String::from_utf8_lossy(packet).into_owned()));
    }
}
