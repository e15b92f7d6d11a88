//! The bytes that clients send.

use sockeye_core::engineio::Part;
use sockeye_core::socketio::{Encoder, Parser};
use sockeye_core::websocket::{Opcode, write_frame};

/// Any mask will do, as long as the server has to unmask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns a masked frame, as clients send it.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, opcode, payload, Some(MASK));
    out
}

/// Returns a text message, as clients send it.
pub fn text(packet: &str) -> Vec<u8> {
    frame(Opcode::Text, packet.as_bytes())
}

/// Returns a packet in MessagePack, as clients send it; without an event, the one that connects to the main namespace.
pub fn packed(event: Option<(&str, Option<u64>, &serde_json::Value)>) -> Vec<u8> {
    let mut encoder = Encoder::with_parser(Parser::MessagePack);
    let encoded = match event {
        Some((name, id, data)) => encoder.event("/", id, name, data),
        None => encoder.connect("/", None),
    };
    match encoded.expect("a packet").parts().next() {
        Some(Part::Binary(data)) => frame(Opcode::Binary, data),
        other => panic!("{other:?}"),
    }
}

/// Returns an event with one attachment of `size` bytes. The benches have a handler for the event `bin`.
pub fn binary_event(event: &str, size: usize) -> Vec<u8> {
    let mut out = text(&format!(r#"451-["{event}",{{"_placeholder":true,"num":0}}]"#));
    out.extend(frame(Opcode::Binary, &vec![0xa5; size]));
    out
}

/// Returns the packet that connects to a namespace.
pub fn connect_packet(namespace: &str) -> String {
    if namespace == "/" { "40".into() } else { format!("40{namespace},") }
}

/// Returns a GET request.
pub fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Returns the request that opens a WebSocket, with additional headers, each of which ends with a line break.
pub fn upgrade(headers: &str) -> Vec<u8> {
    let upgrade = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}"
    );
    get("/socket.io/?EIO=4&transport=websocket", &upgrade)
}

/// Returns the request for a WebSocket connection of a client that asks for stateful reconnect.
pub fn resumable_upgrade() -> Vec<u8> {
    let request = String::from_utf8(upgrade("")).expect("the request is text");
    request.replacen("transport=websocket", "transport=websocket&resume=0", 1).into_bytes()
}

/// Returns the id in the answer to a handshake over polling.
pub fn session_of(answer: &[u8]) -> &str {
    let answer = std::str::from_utf8(answer).expect("a handshake is text");
    let session = answer.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
    session.unwrap_or_else(|| panic!("no session: {answer}"))
}

/// Returns the headers of a browser besides those that the protocol needs, from a page with a login and through a proxy:
/// 13 headers, 1 KB, of which about 500 bytes belong to this `client`.
pub fn browser_headers(client: usize) -> String {
    format!(
        "Pragma: no-cache\r\nCache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36\r\nOrigin: https://chat.example.com\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,en-US;q=0.6\r\n\
         Cookie: session={client:0>64x}; csrftoken={client:0>64x}; preferences={client:z<120}; \
         consent=analytics:0,ads:0,functional:1; _visits=GS2.1.s{client:0>10}$o12$g1$t1764000000$j60$l0$h0\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nDNT: 1\r\n\
         X-Forwarded-For: 203.0.{}.{}\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: chat.example.com\r\nX-Request-Id: {client:0>8x}-6f0c-4ab1-9d0e-{client:0>12x}\r\n",
        client / 250 % 250,
        client % 250,
    )
}

/// Returns the request of a poll.
pub fn poll_head(session: &str) -> Vec<u8> {
    get(&format!("/socket.io/?EIO=4&transport=polling&sid={session}"), "")
}

/// Returns the request by which a polling client sends data.
pub fn post(session: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
