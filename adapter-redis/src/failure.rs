//! The reasons why a connection ends, in words for the person who runs the server.

use crate::endpoint::Endpoint;
use redis::{ErrorKind, RedisError};
use std::fmt;
use std::io;

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    cause: String,
    /// A slot has moved to another server of the Redis Cluster.
    pub(crate) moved: bool,
}

impl Failure {
    fn new(to: &Endpoint, what: impl fmt::Display) -> Failure {
        Failure { cause: format!("Redis at {to}: {what}"), moved: false }
    }

    /// The stream could not be opened.
    pub(crate) fn cannot_connect(to: &Endpoint, error: &io::Error) -> Failure {
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ": is Redis running?",
            io::ErrorKind::TimedOut => ": is the address right, and the port open in the firewall?",
            _ => "",
        };
        Failure::new(to, format_args!("{error}{advice}"))
    }

    /// The stream broke.
    pub(crate) fn lost(to: &Endpoint, error: &io::Error) -> Failure {
        Failure::new(to, format_args!("the connection is lost: {error}"))
    }

    /// Redis has closed the stream.
    pub(crate) fn closed(to: &Endpoint) -> Failure {
        let advice = if to.secure { "" } else { " (if it expects TLS, write rediss://)" };
        Failure::new(to, format_args!("it closed the connection{advice}"))
    }

    /// No answer came in time.
    pub(crate) fn silent(to: &Endpoint) -> Failure {
        Failure::new(to, "it has ceased to answer")
    }

    /// Something came that is not the protocol of Redis.
    pub(crate) fn malformed(to: &Endpoint) -> Failure {
        let advice = if to.secure { "" } else { " (if it expects TLS, write rediss://)" };
        Failure::new(to, format_args!("the answer is not one of Redis{advice}"))
    }

    /// A command was refused. `text` is the error, such as `NOAUTH Authentication required.`
    pub(crate) fn refused(to: &Endpoint, text: &str) -> Failure {
        let code = text.split(' ').next().unwrap_or_default();
        let lower = text.to_ascii_lowercase();
        let sharded = lower.contains("unknown command") && lower.contains("'s");
        let advice = match code {
            "NOAUTH" => ": the URL needs a password, as in redis://:password@host",
            "WRONGPASS" => ": check the user and the password in the URL",
            "NOPERM" => ": the user needs the commands and channels of the bus (ACL SETUSER)",
            "MOVED" => ": it is part of a Redis Cluster: use RedisBus::cluster",
            "READONLY" => ": it is a replica: connect to the primary, or use RedisBus::sentinel",
            _ if sharded => ": sharded publish and subscribe needs Redis 7.0 or later",
            _ if lower.contains("cluster support disabled") => {
                ": it is not part of a Redis Cluster: use RedisBus::new"
            }
            _ if lower.contains("invalid password") || lower.contains("without any password") => {
                ": check the password in the URL"
            }
            _ => "",
        };
        Failure { moved: matches!(code, "MOVED" | "ASK"), ..Failure::new(to, format_args!("{text}{advice}")) }
    }

    /// The error of the crate `redis`.
    pub(crate) fn of(to: &Endpoint, error: &RedisError) -> Failure {
        match error.code() {
            _ if error.kind() == ErrorKind::AuthenticationFailed => {
                Failure::refused(to, "WRONGPASS it does not let this user in")
            }
            Some(code) => {
                let detail = error.detail().unwrap_or_default();
                Failure::refused(to, format!("{code} {detail}").trim_end())
            }
            None if error.is_connection_dropped() => Failure::closed(to),
            None if error.is_timeout() => Failure::silent(to),
            None => Failure::new(to, error),
        }
    }

    /// Returns the reason, for a status.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }
}
