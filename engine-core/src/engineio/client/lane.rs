//! What a session and the driver of its byte streams say to each other.

use crate::engineio::packet::Message;
use crate::outbound::Outbound;
use alloc::string::String;

/// A byte stream that a session may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// For the requests that wait for packets, and for the handshake.
    Poll,
    /// For the requests that send packets.
    Post,
    /// For WebSocket.
    WebSocket,
}

impl Lane {
    /// All there are.
    pub const ALL: [Lane; 3] = [Lane::Poll, Lane::Post, Lane::WebSocket];
}

/// What a session wants of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The stream, if there is one, is of no use any more: close it after what is queued.
    Nothing,
    /// A stream that is there stays.
    Keep,
    /// A request is to be written: see [`Session::begin`](super::Session::begin).
    Request,
}

/// A request for a lane.
#[derive(Debug)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// What is sent, as `text/plain`.
    pub body: Option<Outbound>,
    /// Whether it is a WebSocket handshake.
    pub upgrade: bool,
}

/// What a packet from the server means.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The session is open.
    Open,
    /// A message for the application.
    Message(Message<'a>),
    /// The server asked whether this side lives, and was answered.
    Ping,
    /// Nothing for the application.
    Nothing,
}
