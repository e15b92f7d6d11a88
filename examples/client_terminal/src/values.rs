//! Parses the arguments that are typed, and reads those that are received.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Number;
use sockeye::Args;
use std::fmt;

/// A JSON value whose objects keep the order of their keys. A value to send may contain bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
    Bytes(Vec<u8>),
}

/// The arguments of one event or acknowledgement to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arguments(pub(crate) Vec<Json>);

impl Arguments {
    /// Parses arguments that are separated by spaces. An error says which argument is wrong, counted from 1.
    pub(crate) fn parse(text: &str) -> Result<Arguments, String> {
        let mut arguments = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let parsed = argument(rest);
            let (value, behind) =
                parsed.map_err(|error| format!("argument {}: {error}", arguments.len() + 1))?;
            arguments.push(value);
            rest = behind.trim_start();
        }
        Ok(Arguments(arguments))
    }

    /// Returns the arguments to show: bytes are replaced by their number.
    pub(crate) fn shown(&self) -> Vec<Json> {
        let show = |argument: &Json| match argument {
            Json::Bytes(bytes) => Json::Text(format!("<{} bytes>", bytes.len())),
            other => other.clone(),
        };
        self.0.iter().map(show).collect()
    }
}

/// Splits a line into the name of an event and the text of its arguments.
pub(crate) fn event(line: &str) -> Result<(String, &str), String> {
    word(line).map_err(|error| format!("the event's name: {error}"))
}

/// Returns the name of a namespace with its slash.
pub(crate) fn namespace(name: &str) -> Result<String, &'static str> {
    match name.contains([',', '?', '\u{1e}']) {
        true => Err("a namespace has no comma and no question mark"),
        false if name.starts_with('/') => Ok(name.into()),
        false => Ok(format!("/{name}")),
    }
}

/// Splits off the first argument.
fn argument(text: &str) -> Result<(Json, &str), String> {
    match text.chars().next() {
        Some('@') => {
            let (path, behind) = word(text.get(1..).unwrap_or_default())?;
            let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
            Ok((Json::Bytes(bytes), behind))
        }
        Some('{' | '[') => json(text),
        Some('"' | '\'') => word(text).map(|(text, behind)| (Json::Text(text), behind)),
        _ => {
            let (word, behind) = word(text)?;
            Ok((serde_json::from_str(&word).unwrap_or(Json::Text(word)), behind))
        }
    }
}

/// Splits off the first word: a JSON string, a text between single quotes, or the text up to a space.
fn word(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        return json(text);
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let (word, behind) = quoted.split_once('\'').ok_or("the second ' is missing")?;
        return Ok((word.into(), separate(behind)?));
    }
    let (word, behind) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    Ok((word.into(), behind))
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<(T, &'a str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let value = values.next().ok_or("it is missing")?.map_err(|error| format!("not JSON: {error}"))?;
    Ok((value, separate(text.get(values.byte_offset()..).unwrap_or_default())?))
}

/// Checks that a space follows a value that was closed.
fn separate(behind: &str) -> Result<&str, String> {
    match behind.chars().next() {
        Some(next) if !next.is_whitespace() => Err(format!("a space is missing before {next:?}")),
        _ => Ok(behind),
    }
}

/// Returns the arguments that were received. Bytes are shown as the placeholders that stand for them on the wire.
pub(crate) fn received(args: &Args) -> Vec<Json> {
    match args.deserialize::<Received>() {
        Ok(Received(mut values)) => {
            values.truncate(args.len());
            values
        }
        Err(error) => vec![Json::Text(format!("arguments that cannot be shown: {error}"))],
    }
}

/// The first arguments, padded with null.
struct Received(Vec<Json>);

/// The maximum number of arguments that are shown.
const SHOWN: usize = 100;

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Received, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Received;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Received, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element::<Option<Json>>()? {
                    values.push(value.unwrap_or(Json::Null));
                }
                Ok(Received(values))
            }
        }
        deserializer.deserialize_tuple(SHOWN, List)
    }
}

impl Serialize for Arguments {
    /// Serializes a tuple, whose elements become the arguments; a sequence would become a single one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|argument| tuple.serialize_element(argument))?;
        tuple.end()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(value) => value.serialize(serializer),
            Json::Text(value) => serializer.serialize_str(value),
            Json::List(values) => serializer.collect_seq(values),
            Json::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, value))),
            Json::Bytes(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Arguments(arguments) = Arguments::parse(text).unwrap();
        serde_json::to_string(&arguments).unwrap()
    }

    fn refused(text: &str) -> String {
        Arguments::parse(text).unwrap_err()
    }

    #[test]
    fn bare_words_are_strings_and_json_is_json() {
        assert_eq!(
            shown("  hello 2 -1.5 true null tru 2026-11-29 a\"b"),
            r#"["hello",2,-1.5,true,null,"tru","2026-11-29","a\"b"]"#
        );
    }

    #[test]
    fn quotes_make_strings_of_anything() {
        assert_eq!(
            shown(r#""2" 'true' 'two words' "\u00e9\n" '@x' ''"#),
            r#"["2","true","two words","é\n","@x",""]"#
        );
    }

    #[test]
    fn objects_keep_the_order_of_their_keys() {
        assert_eq!(
            shown(r#"{"b":1,"a":{"z":[],"y":null}} [1, {"k":2, "j":3}]"#),
            r#"[{"b":1,"a":{"z":[],"y":null}},[1,{"k":2,"j":3}]]"#
        );
    }

    #[test]
    fn an_error_names_the_argument_that_is_wrong() {
        assert!(refused("1 {a:1} 2").starts_with("argument 2: not JSON: key must be a string"));
        assert!(refused("[1").starts_with("argument 1: not JSON: EOF"));
        assert_eq!(refused("[1][2]"), "argument 1: a space is missing before '['");
        assert_eq!(refused("a b 'c"), "argument 3: the second ' is missing");
        assert!(refused("1 @/no/such/file").starts_with("argument 2: /no/such/file: "));
        assert!(refused(&"[".repeat(100_000)).contains("recursion limit"));
    }

    #[test]
    fn an_event_with_spaces_is_quoted() {
        assert_eq!(event("chat hello").unwrap(), ("chat".into(), " hello"));
        assert_eq!(event(r#""chat message" 1"#).unwrap(), ("chat message".into(), " 1"));
        assert_eq!(event("'chat message'").unwrap(), ("chat message".into(), ""));
        assert!(event("\"chat").unwrap_err().starts_with("the event's name: not JSON"));
    }

    #[test]
    fn bytes_are_shown_by_their_number() {
        let Arguments(arguments) = Arguments::parse("@Cargo.toml").unwrap();
        let [Json::Bytes(bytes)] = &arguments[..] else { panic!("{arguments:?}") };
        let text = format!("<{} bytes>", bytes.len());
        assert_eq!(Arguments(arguments.clone()).shown(), [Json::Text(text)]);
    }
}
