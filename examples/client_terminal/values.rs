//! Parses the arguments that are typed, and formats those that are shown.

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Value;
use sockeye::Args;
use std::fmt;

/// Any number of arguments to send.
pub(crate) struct Arguments(Vec<Argument>);

enum Argument {
    Json(Value),
    File(Vec<u8>),
}

type Error = Box<dyn std::error::Error>;

/// Splits a line into the name of an event and its arguments.
pub(crate) fn event(line: &str) -> Result<(String, Arguments), Error> {
    if !line.starts_with('"') {
        let (event, args) = line.split_once(' ').unwrap_or((line, ""));
        return Ok((event.into(), Arguments::parse(args)?));
    }
    let mut values = serde_json::Deserializer::from_str(line).into_iter::<String>();
    let event = values.next().ok_or("the event's name is missing")??;
    let args = line.get(values.byte_offset()..).unwrap_or_default();
    Ok((event, Arguments::parse(args)?))
}

impl Arguments {
    pub(crate) fn parse(text: &str) -> Result<Arguments, Error> {
        let mut arguments = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            if let Some(path) = rest.strip_prefix('@') {
                let (path, behind) = path.split_once(' ').unwrap_or((path, ""));
                let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                arguments.push(Argument::File(bytes));
                rest = behind.trim_start();
                continue;
            }
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let value = values.next().ok_or("an argument is missing")?;
            arguments.push(Argument::Json(value.map_err(|error| format!("not JSON: {error}"))?));
            rest = rest.get(values.byte_offset()..).unwrap_or_default().trim_start();
        }
        Ok(Arguments(arguments))
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

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Argument::Json(value) => value.serialize(serializer),
            Argument::File(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

/// Returns the arguments to show. Bytes are shown as the placeholders that stand for them on the wire.
pub(crate) fn shown(args: &Args) -> Vec<Value> {
    match args.deserialize::<Shown>() {
        Ok(Shown(mut values)) => {
            values.truncate(args.len());
            values
        }
        Err(error) => vec![Value::from(format!("arguments that cannot be shown: {error}"))],
    }
}

/// The first arguments, padded with null.
struct Shown(Vec<Value>);

/// The maximum number of arguments that are shown.
const SHOWN: usize = 100;

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shown, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Shown;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shown, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element::<Option<Value>>()? {
                    values.push(value.unwrap_or_default());
                }
                Ok(Shown(values))
            }
        }
        deserializer.deserialize_tuple(SHOWN, List)
    }
}
