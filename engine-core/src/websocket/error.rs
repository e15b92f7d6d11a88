//! Violations of the protocol by the peer.

/// A violation of the protocol by the peer. The connection must be failed (RFC 6455, 7.1.7): send a
/// close frame with [`close_code`](Self::close_code) and this error's message as the reason, and
/// close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reserved bit is set, and no extension that defines it was negotiated (5.2).
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode, given here, that is not one of the six of RFC 6455 (5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A control frame without FIN (5.5).
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes (5.5).
    #[error("control frame of more than 125 bytes")]
    ControlTooLong,
    /// An unmasked frame from a client (5.1).
    #[error("unmasked frame from a client")]
    NotMasked,
    /// A masked frame from a server (5.1).
    #[error("masked frame from a server")]
    Masked,
    /// A length in more bytes than it needs, or with its top bit set (5.2).
    #[error("invalid encoding of the payload length")]
    InvalidLength,
    /// A continuation frame although no message is in progress (5.4).
    #[error("continuation frame without a message")]
    UnexpectedContinuation,
    /// A new message before the last fragment of the one in progress (5.4).
    #[error("new message inside a fragmented one")]
    UnfinishedMessage,
    /// More than 128 empty fragments in one message.
    #[error("too many empty fragments")]
    TooManyEmptyFragments,
    /// The message is longer than the limit, by its declared or its inflated length.
    #[error("message of more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes, as given to [`Decoder::new`](super::Decoder::new).
        limit: usize,
    },
    /// The text of a message or the reason of a close frame is not UTF-8 (8.1).
    #[error("invalid utf-8")]
    InvalidUtf8,
    /// A compressed message is not a complete DEFLATE stream (RFC 7692, 7.2.2).
    #[error("invalid deflate stream")]
    InvalidDeflate,
    /// A close frame with a body of one byte, which is half a code (5.5.1).
    #[error("close frame of one byte")]
    TruncatedCloseCode,
    /// A close frame with a code, given here, that must not be sent (7.4).
    #[error("invalid close code {0}")]
    InvalidCloseCode(u16),
}

impl Error {
    /// Returns the code for the close frame that answers this error (RFC 6455, 7.4.1): 1002 protocol
    /// error, 1007 invalid UTF-8 or DEFLATE, 1008 policy violation, 1009 message too big.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 1009,
            Self::TooManyEmptyFragments => 1008,
            Self::InvalidUtf8 | Self::InvalidDeflate => 1007,
            _ => 1002,
        }
    }
}
