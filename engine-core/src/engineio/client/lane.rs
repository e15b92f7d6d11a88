//! The interface between a session and the driver of its byte streams.

use super::session::Unconfirmed;
use crate::engineio::packet::Message;
use crate::outbound::Outbound;
use alloc::boxed::Box;
use alloc::string::String;

/// A byte stream that a session may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The stream of the requests that wait for packets, and of the handshake.
    Poll,
    /// The stream of the requests that send packets.
    Post,
    /// The WebSocket connection.
    WebSocket,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Lane; 3] = [Lane::Poll, Lane::Post, Lane::WebSocket];
}

/// The demand of a session on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// No stream is needed: if there is one, close it after what is queued.
    Nothing,
    /// No stream is needed: if there is one, abort it. The session goes on without it, so the server must not take the close
    /// frame of a connection that was given up for the end of the session.
    Abort,
    /// An open stream is kept; none is opened.
    Keep,
    /// A request is to be written, for which a stream is opened if there is none: see
    /// [`Session::begin`](super::Session::begin).
    Request,
}

/// A request for a lane.
#[derive(Debug)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path and the query.
    pub target: String,
    /// The body, of the type `text/plain`.
    pub body: Option<Outbound>,
    /// The request is a WebSocket handshake.
    pub upgrade: bool,
}

/// The meaning of a packet from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The session is open.
    Open,
    /// A message for the application.
    Message(Message<'a>),
    /// The server sent a ping, which was answered.
    Ping,
    /// The connection was lost, and the session goes on with this one.
    Resumed,
    /// The server no longer has the session, and has opened another one. This is what it has not acknowledged of the old
    /// one.
    Replaced(Box<Unconfirmed>),
    /// Nothing for the application.
    Nothing,
}
