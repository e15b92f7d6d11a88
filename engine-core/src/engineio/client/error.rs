//! The reasons why a client's session could not be opened, or ended.

use crate::connection::client::ResponseError;
use crate::engineio::PacketError;
use crate::websocket;
use alloc::boxed::Box;
use core::fmt;

/// The reason why a client's session ended. Displays as the reference's reason, letter for letter; the variants carry the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    Client,
    /// The server closed it, by a WebSocket close frame with this code if it had one.
    TransportClose(Option<u16>),
    /// A connection failed, or the server broke the rules of a transport.
    TransportError(TransportError),
    /// The server sent no ping in time.
    PingTimeout,
    /// The application fell behind: so many events waited for its handlers that the server was no longer read, and
    /// its ping was not seen in time; or the server sent more while it was read because a namespace was being
    /// joined. Displays as a ping timeout.
    Behind,
    /// The server sent a packet that cannot be decoded.
    ParseError(PacketError),
    /// The server broke the Socket.IO protocol, as the text says.
    Protocol(Box<str>),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Client => "io client disconnect",
            CloseReason::TransportClose(_) => "transport close",
            CloseReason::TransportError(_) => "transport error",
            CloseReason::PingTimeout | CloseReason::Behind => "ping timeout",
            CloseReason::ParseError(_) | CloseReason::Protocol(_) => "parse error",
        })
    }
}

/// The error of a transport.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection to the server could not be opened; the text is the system's, with the addresses that were tried.
    #[error("cannot connect: {0}")]
    Connect(Box<str>),
    /// The server answered with a status other than 200, or other than 101 to a WebSocket handshake.
    #[error("the server answered with status {status}{}", Answer { status: *status, path, body })]
    Status {
        /// The status code.
        status: u16,
        /// The path of the request. With status 404, this is probably not the path of the server.
        path: Box<str>,
        /// The response's body, cut after 256 bytes.
        body: Box<str>,
    },
    /// The server's answer is not a valid response.
    #[error("{0}")]
    Response(ResponseError),
    /// The server broke the WebSocket protocol or a limit.
    #[error("websocket: {0}")]
    WebSocket(websocket::Error),
    /// The server's first packet does not open a session.
    #[error("the handshake is wrong: {0}")]
    Handshake(#[from] HandshakeError),
    /// The server closed a connection before the session was open, by a WebSocket close frame with this code if it had
    /// one.
    #[error("the server closed the connection{}", Code(*.0))]
    Closed(Option<u16>),
    /// A connection broke, or ended without a close frame or response.
    #[error("the connection was lost")]
    Lost,
    /// A request that sends packets was not answered in time.
    #[error("a request was not answered in time")]
    RequestTimeout,
    /// The server sent a packet that is not allowed, or not at this time.
    #[error("a packet out of place: {0}")]
    OutOfPlace(&'static str),
    /// The path, the query, the host or a header of the settings is not valid in a request.
    #[error("the path, the query, the host or a header cannot be sent")]
    Request,
    /// The server does not read the packets that the client has to send.
    #[error("the server does not read: {queued} bytes waiting")]
    NotRead {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The client has no runtime: none was attached yet, or it has ended.
    #[error("the client has no runtime, or its runtime has ended")]
    NoRuntime,
    /// No transport is left to try.
    #[error("there is no transport to use")]
    NoTransport,
}

crate::debug_as_text!(TransportError);

/// Displays the code of a close frame, if there is one.
struct Code(Option<u16>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, " with code {code}"))
    }
}

/// Displays what else than its status is known of a response.
struct Answer<'a> {
    status: u16,
    path: &'a str,
    body: &'a str,
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status == 404 {
            write!(f, " to {}, which is probably not the path of its Socket.IO server", self.path)?;
        }
        match self.body.trim_ascii() {
            "" => Ok(()),
            body => write!(f, ": {body}"),
        }
    }
}

impl From<TransportError> for CloseReason {
    fn from(error: TransportError) -> Self {
        CloseReason::TransportError(error)
    }
}

/// The error of the packet that opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Another packet came first: this may not be an Engine.IO server.
    #[error("the first packet does not open the session: is the path that of a Socket.IO server?")]
    NotOpen,
    /// The answer is no packet but, for example, a page that is served at every path.
    #[error("{0}: is the path that of a Socket.IO server?")]
    Unreadable(PacketError),
    /// The server ended the connection first, as servers on Node do if the path of a WebSocket is not that of Socket.IO.
    #[error(
        "the server ended the connection before the session was open: is the path that of a Socket.IO server?"
    )]
    Ended,
    /// The packet is that of version 3 of Engine.IO.
    #[error(
        "the server speaks version 3 of Engine.IO, which belongs to Socket.IO 2; this client speaks version 4"
    )]
    Version,
    /// It is longer than 16 KiB.
    #[error("longer than 16 KiB")]
    TooLong,
    /// It is not a JSON object with `sid`, `pingInterval` and `pingTimeout`.
    #[error("not a valid object")]
    Json,
    /// The id is empty, or longer than 2048 bytes.
    #[error("not a valid session id")]
    Id,
    /// The time between pings is not a positive number.
    #[error("not a valid ping interval or timeout")]
    Ping,
    /// The server resumes the session, but not on terms that fit what was sent.
    #[error("not the terms of the session that is resumed")]
    Resume,
}

/// The reason why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is not open.
    #[error("the session is not open")]
    NotOpen,
    /// The server reads too slowly: the message would exceed the send buffer.
    #[error("the send buffer is full: {queued} bytes waiting")]
    Full {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The message is larger than the server accepts, or the message with its attachments is larger than the send buffer.
    #[error("a message of {size} bytes, but at most {limit} are accepted")]
    TooLarge {
        /// The size of what is too large, in the form in which it would be sent.
        size: usize,
        /// The server's `maxPayload`, or the size of the send buffer.
        limit: usize,
    },
}
