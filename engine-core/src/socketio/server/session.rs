//! The namespaces of one client, on the server.

use super::namespaces::{Member, Namespaces, State};
use crate::socketio::error::DecodeError;
use crate::socketio::kind::Kind;
use crate::socketio::limits::Limits;
use crate::socketio::packet::Packet;
use crate::socketio::parser::text::Reassembly;
use crate::socketio::parser::{Complete, Decoded, Form};
use crate::time::Time;
use alloc::sync::Arc;
use core::time::Duration;

/// The namespaces that one client has joined, and the packet that it is sending.
///
/// `S` is the owner's handle for a joined namespace, which is cheap to clone. Call
/// [`handle_message`](Session::handle_message) for every message, and do what the [`Received`] says. After an error the
/// client's connection has to be closed.
#[derive(Debug)]
pub struct Session<S> {
    namespaces: Namespaces<S>,
    reassembly: Reassembly,
    /// The time by which the pending packet has to be complete; or, if there is none, by which a namespace has to be joined.
    /// One field for both, because a packet can be pending only once a namespace was joined.
    deadline: Option<Time>,
}

/// The meaning of a message from the client.
#[derive(Debug)]
pub enum Received<'a, S> {
    /// The client asks to join a namespace: call [`begin_connect`](Session::begin_connect) if it exists, which checks
    /// whether the client may join.
    Connect(Packet<'a>),
    /// The same as [`Connect`](Received::Connect), as a packet that owns its text.
    ConnectWhole(Complete<'a>),
    /// An event or an acknowledgement for a joined namespace.
    Packet(S, Packet<'a>),
    /// The same as [`Packet`](Received::Packet), with attachments or as a packet that owns its text.
    Complete(S, Complete<'a>),
    /// The client left a namespace that it had joined, or that it was joining.
    Disconnect(S),
    /// Nothing to do: the message was a part of a packet, or a packet for a namespace that the server has closed.
    Nothing,
}

/// The result of a client's request to join a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the client may wait for an answer"]
pub enum Joining {
    /// The application has to decide, and to call [`accept`](Session::accept) or [`refuse`](Session::refuse).
    Begun,
    /// The client repeats a request whose answer it cannot know yet; that answer is for both.
    Pending,
    /// [`Limits::max_namespaces`] is reached: the client has to be told that it is refused.
    TooMany,
}

/// A violation of the protocol by the client, whose connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A packet cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet for a namespace that the client has not joined, or for which it has no answer yet.
    #[error("a packet for a namespace that is not connected")]
    NotConnected,
    /// A request to join a namespace that the client has joined, as it was told.
    #[error("a second connect for a namespace")]
    ConnectedTwice,
    /// A refusal, which only servers send.
    #[error("a connect error from a client")]
    ConnectErrorFromClient,
    /// The attachments of a packet did not arrive in time.
    #[error("the attachments of a packet took too long")]
    AttachmentsTooLate,
    /// No namespace was joined in time.
    #[error("no namespace was connected in time")]
    ConnectTimeout,
}

impl<S> Default for Session<S> {
    fn default() -> Self {
        Session { namespaces: Namespaces::default(), reassembly: Reassembly::new(), deadline: None }
    }
}

impl<S: Clone + PartialEq> Session<S> {
    /// Begins when the Engine.IO session was opened. The client has to join a namespace within `timeout`.
    pub fn open(&mut self, now: Time, timeout: Duration) {
        self.deadline = Some(now + timeout);
    }

    /// Handles a message from the client.
    ///
    /// # Errors
    /// Returns an error if the client broke the protocol.
    pub fn handle_message<'a>(
        &mut self,
        now: Time,
        message: Decoded<'a>,
        limits: &Limits,
    ) -> Result<Received<'a, S>, ProtocolError> {
        match message.0 {
            Form::Packet(packet) => {
                self.expect_packet()?;
                self.handle_packet(packet)
            }
            Form::Begun(namespace, reassembly) => {
                self.expect_packet()?;
                // Nothing is kept for a namespace that is not joined.
                self.member(namespace)?;
                // The server has closed it before it was joined, and no other was.
                if self.deadline.is_some() {
                    return Err(ProtocolError::NotConnected);
                }
                self.reassembly = reassembly?;
                self.deadline = Some(now + limits.reassembly_timeout);
                Ok(Received::Nothing)
            }
            Form::Attachment(data) => self.handle_attachment(data, limits),
            Form::Whole(complete) => self.handle_whole(complete),
            Form::Wrong(error) => {
                self.expect_packet()?;
                Err(error.into())
            }
        }
    }

    /// Returns the socket that a [plain](Decoded::plain) packet is for, which was not passed to
    /// [`handle_message`](Session::handle_message); `None` if the server has closed the namespace.
    ///
    /// As long as only plain packets arrive, and the socket stays in its namespace, the next packet for that namespace is
    /// for the same socket.
    ///
    /// # Errors
    /// Returns an error if the client broke the protocol.
    #[inline]
    pub fn socket_for(&mut self, packet: &Packet<'_>) -> Result<Option<S>, ProtocolError> {
        self.expect_packet()?;
        self.member(packet.namespace)
    }

    /// Returns a socket for which the next packet may be, if it is [plain](Decoded::plain): that of the namespace that was
    /// joined first.
    #[inline]
    pub fn first_socket(&self) -> Option<S> {
        match &self.namespaces.first()?.state {
            State::Connected(socket) if !self.reassembly.is_pending() => Some(socket.clone()),
            _ => None,
        }
    }

    /// Checks that no attachment has to come before a packet.
    #[inline]
    fn expect_packet(&mut self) -> Result<(), ProtocolError> {
        Ok(self.reassembly.handle_text().inspect_err(|_| self.deadline = None)?)
    }

    #[inline]
    fn handle_packet<'a>(&mut self, packet: Packet<'a>) -> Result<Received<'a, S>, ProtocolError> {
        match packet.kind {
            Kind::Connect => Ok(Received::Connect(packet)),
            Kind::ConnectError => Err(ProtocolError::ConnectErrorFromClient),
            Kind::Disconnect => match self.find(packet.namespace).map(|member| &member.state) {
                None => Err(ProtocolError::NotConnected),
                Some(State::Left) => Ok(Received::Nothing),
                Some(State::Connecting(_) | State::Connected(_)) => {
                    Ok(self.leave(packet.namespace, false).map_or(Received::Nothing, Received::Disconnect))
                }
            },
            _ => Ok(match self.member(packet.namespace)? {
                None => Received::Nothing,
                Some(socket) => Received::Packet(socket, packet),
            }),
        }
    }

    fn handle_whole<'a>(&mut self, complete: Complete<'a>) -> Result<Received<'a, S>, ProtocolError> {
        self.expect_packet()?;
        Ok(match self.handle_packet(complete.packet())? {
            Received::Connect(_) => Received::ConnectWhole(complete),
            Received::Packet(socket, _) => Received::Complete(socket, complete),
            Received::Disconnect(socket) => Received::Disconnect(socket),
            Received::ConnectWhole(_) | Received::Complete(..) | Received::Nothing => Received::Nothing,
        })
    }

    fn handle_attachment<'a>(
        &mut self,
        data: &'a [u8],
        limits: &Limits,
    ) -> Result<Received<'a, S>, ProtocolError> {
        let added = self.reassembly.add(data, limits);
        if !self.reassembly.is_pending() {
            self.deadline = None;
        }
        let Some(complete) = added? else { return Ok(Received::Nothing) };
        Ok(match self.member(complete.packet().namespace)? {
            None => Received::Nothing,
            Some(socket) => Received::Complete(socket, complete),
        })
    }

    /// Handles the client's request to join a namespace that exists, as `socket`.
    ///
    /// `is_told` is true if the client can know all answers that it was given, because nothing is queued for it.
    ///
    /// # Errors
    /// Returns [`ProtocolError::ConnectedTwice`] if the client has joined the namespace and can know it.
    pub fn begin_connect(
        &mut self,
        name: Arc<str>,
        socket: &S,
        is_told: bool,
        limits: &Limits,
    ) -> Result<Joining, ProtocolError> {
        match self.find(&name).map(|member| &member.state) {
            Some(State::Connecting(_)) => return Ok(Joining::Pending),
            Some(State::Connected(_)) if !is_told => return Ok(Joining::Pending),
            Some(State::Connected(_)) => return Err(ProtocolError::ConnectedTwice),
            Some(State::Left) | None if self.present() >= limits.max_namespaces => {
                return Ok(Joining::TooMany);
            }
            Some(State::Left) => self.namespaces.retain(|member| member.name != name),
            None => {}
        }
        // The namespace that was left first is forgotten first, because the client is most likely to know of it.
        if self.namespaces.len() >= limits.max_namespaces
            && let Some(at) = self.namespaces.iter().position(|member| matches!(member.state, State::Left))
        {
            self.namespaces.remove(at);
        }
        self.namespaces.push(Member { name, state: State::Connecting(socket.clone()) });
        Ok(Joining::Begun)
    }

    /// Returns whether the client still waits for the decision about `socket`.
    pub fn is_joining(&self, name: &str, socket: &S) -> bool {
        matches!(self.find(name), Some(Member { state: State::Connecting(it), .. }) if it == socket)
    }

    /// Admits the client as `socket`. Returns whether the client still waits for the decision.
    pub fn accept(&mut self, name: &str, socket: &S) -> bool {
        match self.joining(name, socket) {
            Some(member) => {
                member.state = State::Connected(socket.clone());
                // A packet of another namespace may be pending, whose attachments still have to come in time.
                if !self.reassembly.is_pending() {
                    self.deadline = None;
                }
                true
            }
            None => false,
        }
    }

    /// Refuses the client, which would have been `socket`. Returns whether the client still waits for the decision.
    pub fn refuse(&mut self, name: &str, socket: &S) -> bool {
        let waits = self.joining(name, socket).is_some();
        if waits {
            self.namespaces.retain(|member| *member.name != *name);
        }
        waits
    }

    /// Removes a namespace that the client left, or that the server closes for it. Returns its socket, admitted or not.
    pub fn leave(&mut self, name: &str, by_server: bool) -> Option<S> {
        let at = self.namespaces.iter().position(|member| *member.name == *name)?;
        let state = match by_server {
            true => core::mem::replace(&mut self.namespaces.get_mut(at)?.state, State::Left),
            false => self.namespaces.remove(at)?.state,
        };
        state.into_socket()
    }

    /// Removes all namespaces at the end of the session. Returns their sockets, admitted or not.
    pub fn take_all(&mut self) -> impl Iterator<Item = S> + use<S> {
        self.reassembly.clear();
        self.deadline = None;
        core::mem::take(&mut self.namespaces).into_members().filter_map(|member| member.state.into_socket())
    }

    /// Returns the sockets of the joined namespaces.
    pub fn sockets(&self) -> impl Iterator<Item = &S> {
        self.namespaces.iter().filter_map(|member| match &member.state {
            State::Connected(socket) => Some(socket),
            _ => None,
        })
    }

    /// Returns the time at which [`handle_timeout`](Session::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Lets the client have as much more time as it could not be reached.
    pub fn postpone(&mut self, away: Duration) {
        self.deadline = self.deadline.map(|deadline| deadline + away);
    }

    /// Handles the passing of time. Does nothing before the deadline.
    ///
    /// # Errors
    /// Returns an error if the client was too slow.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), ProtocolError> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        self.deadline = None;
        Err(match self.reassembly.is_pending() {
            true => {
                self.reassembly.clear();
                ProtocolError::AttachmentsTooLate
            }
            false => ProtocolError::ConnectTimeout,
        })
    }

    /// Returns the number of namespaces that are joined or being joined.
    fn present(&self) -> usize {
        self.namespaces.iter().filter(|member| !matches!(member.state, State::Left)).count()
    }

    /// Returns the namespace if the application has yet to decide about this socket.
    fn joining(&mut self, name: &str, socket: &S) -> Option<&mut Member<S>> {
        let is_joining = |member: &Member<S>| matches!(&member.state, State::Connecting(it) if it == socket);
        self.namespaces.iter_mut().find(|member| *member.name == *name && is_joining(member))
    }

    fn find(&self, name: &str) -> Option<&Member<S>> {
        self.namespaces.iter().find(|member| *member.name == *name)
    }

    /// Returns the socket of a joined namespace; `None` if the server has closed the namespace.
    fn member(&self, name: &str) -> Result<Option<S>, ProtocolError> {
        match self.find(name).map(|member| &member.state) {
            Some(State::Connected(socket)) => Ok(Some(socket.clone())),
            Some(State::Left) => Ok(None),
            Some(State::Connecting(_)) | None => Err(ProtocolError::NotConnected),
        }
    }
}
