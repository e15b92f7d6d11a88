//! Our codec of Socket.IO packets for `parser.test.js`: a request a line, an answer a line, both JSON.
//!
//! `{"decode":"2[\"a\"]","attachments":["00ff"]}` and `{"encode":{"kind":"event","nsp":"/","id":1,"name":"a","args":[…]}}`,
//! where bytes are hexadecimal, in arguments as `{"$bytes":"00ff"}`.

use bytes::Bytes;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use sockeye_core::socketio::{Attached, Complete, Encoder, Limits, Packet, Reassembly};
use std::error::Error;
use std::io::{BufRead, Write};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Decode { text: String, attachments: Vec<String> },
    Encode { kind: String, nsp: String, id: Option<u64>, name: Option<String>, args: Vec<Value> },
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Decode { text, attachments } => decode(&text, &attachments),
            Request::Encode { kind, nsp, id, name, args } => encode(&kind, &nsp, id, name.as_deref(), &args),
        };
        let answer = answer.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// Reads a packet as a connection would: its attachments come after it.
fn decode(text: &str, attachments: &[String]) -> Result<Value, Box<dyn Error>> {
    let limits = Limits::default();
    let mut reassembly = Reassembly::new();
    reassembly.handle_text()?;
    let packet = Packet::decode(text, &limits)?;
    reassembly.begin(&packet)?;
    let attachments = attachments.iter().map(|it| from_hex(it)).collect::<Result<Vec<_>, _>>()?;
    let mut complete = None;
    for attachment in &attachments {
        complete = reassembly.add(attachment, &limits)?;
    }
    match &complete {
        // Of a query nothing is kept.
        Some(complete) => {
            let mut whole = complete.packet();
            whole.query = packet.query;
            Ok(describe(&whole, Complete::attachments(complete)))
        }
        None if reassembly.is_pending() => Err("attachments are missing".into()),
        None => Ok(describe(&packet, Attached::default())),
    }
}

/// The arguments as they are written: JSON that Rust could not hold is among them.
fn describe(packet: &Packet<'_>, attachments: Attached<'_>) -> Value {
    json!({
        "kind": format!("{:?}", packet.kind),
        "nsp": packet.namespace,
        "query": packet.query,
        "id": packet.id,
        "event": packet.event(),
        "data": packet.data,
        "args": packet.args(attachments).map(|args| args.iter().map(str::to_owned).collect::<Vec<_>>()),
        "attachments": attachments.iter().map(to_hex).collect::<Vec<_>>(),
    })
}

fn encode(
    kind: &str,
    nsp: &str,
    id: Option<u64>,
    name: Option<&str>,
    args: &[Value],
) -> Result<Value, Box<dyn Error>> {
    let args = Args(args);
    let mut encoder = Encoder::new();
    let encoded = match (kind, name) {
        ("event", Some(name)) => encoder.event(nsp, id, name, &args)?,
        ("ack", None) => encoder.ack(nsp, id.ok_or("no id")?, &args)?,
        ("connect", None) => encoder.connect(nsp, args.0.first().map(Value::to_string).as_deref())?,
        ("disconnect", None) => encoder.disconnect(nsp)?,
        _ => return Err("no such packet".into()),
    };
    let attachments: Vec<_> = encoded.attachments().map(to_hex).collect();
    Ok(json!({ "text": std::str::from_utf8(encoded.text)?, "attachments": attachments }))
}

/// A list of arguments: a tuple, whose length is not known before.
struct Args<'a>(&'a [Value]);

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut list = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|value| list.serialize_element(&Tree(value)))?;
        list.end()
    }
}

/// A value in which bytes stand as `{"$bytes":"00ff"}`.
struct Tree<'a>(&'a Value);

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Tree(item)))?;
                list.end()
            }
            Value::Object(fields) => {
                if let Some(Value::String(hex)) = fields.get("$bytes") {
                    return serializer.serialize_bytes(&from_hex(hex).map_err(serde::ser::Error::custom)?);
                }
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(key, value)| map.serialize_entry(key, &Tree(value)))?;
                map.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

fn to_hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Result<Bytes, &'static str> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.ok_or("not hexadecimal")?;
    let pairs = digits.chunks_exact(2);
    Ok(pairs.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}
