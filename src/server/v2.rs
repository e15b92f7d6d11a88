//! Clients of Socket.IO 2, whose sessions speak version 3 of Engine.IO: what they know of themselves, and how they are told.

use super::App;
use super::namespace::Namespace;
use super::socket::Socket;
use crate::engine::{Id, Session, Version};
use crate::error::ConnectError;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use smol_str::{SmolStr, format_smolstr};
use sockeye_core::http;
use std::borrow::Cow;

/// Returns whether a session is that of a client of Socket.IO 2.
pub(super) fn is_v2(session: &Session<App>) -> bool {
    session.version() == Version::V3
}

/// Returns the id of the socket of a client in a namespace, if the client has its own idea of it: that of its session.
///
/// Returns `None` for a client of the current version. Also if the client has left the namespace and comes back before its
/// earlier socket was removed: the ids of sockets must differ, so that the client is wrong about the later one.
pub(super) fn id_for(session: &Session<App>, namespace: &Namespace) -> Option<Id> {
    let id = session.id();
    (is_v2(session) && namespace.0.members.read().find_any(&id).is_none()).then_some(id)
}

/// Returns the name by which a client calls its socket in a namespace other than `/`, and which is a room as its id is:
/// `/namespace#` and the id. `None` for a client of the current version.
pub(super) fn own_name(socket: &Socket) -> Option<SmolStr> {
    let namespace = socket.namespace();
    let is_named = is_v2(socket.session()) && namespace.name() != "/";
    is_named.then(|| format_smolstr!("{}#{}", namespace.name(), socket.id()))
}

/// Returns the query with which a client connects to a namespace as the text of its `auth` value: an object of strings, and
/// of lists of strings for names that are repeated. A query that cannot be read is none.
pub(super) fn auth_of(query: &str) -> Cow<'static, str> {
    if query.is_empty() {
        return Cow::Borrowed("");
    }
    let mut object = Map::new();
    let Ok(query) = http::Query::parse(query) else { return Cow::Borrowed("") };
    for (name, value) in query.decoded_pairs() {
        let value = Value::String(value.into_owned());
        match object.get_mut(name.as_ref()) {
            None => _ = object.insert(name.into_owned(), value),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Cow::Owned(Value::Object(object).to_string())
}

/// A refusal by middleware as the client is told of it: the details, or the message if there are none.
pub(super) struct Refusal<'a>(pub(super) &'a ConnectError);

impl Serialize for Refusal<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.details() {
            Some(data) => data.serialize(serializer),
            None => serializer.serialize_str(self.0.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_namespace_becomes_an_object() {
        for (query, auth) in [
            ("", ""),
            ("token=ok", r#"{"token":"ok"}"#),
            ("a=1&b=&c", r#"{"a":"1","b":"","c":""}"#),
            ("a=1&a=2&a=3", r#"{"a":["1","2","3"]}"#),
            ("a%22b=%F0%9F%8E%89+x", r#"{"a\"b":"🎉 x"}"#),
            ("a=%", ""),
        ] {
            assert_eq!(auth_of(query), auth, "{query}");
        }
    }
}
