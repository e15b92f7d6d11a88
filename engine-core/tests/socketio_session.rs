//! The namespaces of one client, and its packets with attachments.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use sockeye_core::engineio::Message;
use sockeye_core::socketio::{DecodeError, Joining, Kind, Limits, Parser, ProtocolError, Received, server};
use std::sync::Arc;
use std::time::Duration;
use support::at;

const TIMEOUT: Duration = Duration::from_secs(45);

struct Client {
    session: server::Session<u32>,
    limits: Limits,
}

/// A [`Received`] that borrows nothing.
#[derive(Debug, PartialEq)]
enum Meant {
    Connect(String),
    Packet(u32, Kind, String),
    Complete(u32, String, Vec<Vec<u8>>),
    Disconnect(u32),
    Nothing,
}

use Meant::*;

fn meant(received: Received<'_, u32>) -> Meant {
    match received {
        Received::Connect(packet) => Connect(packet.namespace.into()),
        Received::Packet(socket, packet) => Packet(socket, packet.kind, packet.data.into()),
        Received::ConnectWhole(_) => panic!("a text does not own itself"),
        Received::Complete(socket, complete) => Complete(
            socket,
            complete.packet().data.into(),
            complete.attachments().iter().map(|data| data.to_vec()).collect(),
        ),
        Received::Disconnect(socket) => Disconnect(socket),
        Received::Nothing => Nothing,
    }
}

impl Client {
    fn new() -> Client {
        let mut session = server::Session::default();
        session.open(at(0), TIMEOUT);
        Client { session, limits: Limits::default() }
    }

    /// Creates a client that has joined `/` as 1 and `/admin` as 2.
    fn joined() -> Client {
        let mut client = Client::new();
        client.join("/", 1);
        client.join("/admin", 2);
        client
    }

    fn join(&mut self, name: &str, socket: u32) {
        assert_eq!(self.text(&format!("0{name},")), Ok(Connect(name.into())));
        assert_eq!(self.begin(name, socket), Ok(Joining::Begun));
        assert!(self.session.accept(name, &socket));
    }

    /// Begins to join, for a client that has received every answer to earlier attempts.
    fn begin(&mut self, name: &str, socket: u32) -> Result<Joining, ProtocolError> {
        self.session.begin_connect(name.into(), &socket, true, &self.limits)
    }

    fn text(&mut self, text: &str) -> Result<Meant, ProtocolError> {
        self.message(&Message::Text(text))
    }

    fn binary(&mut self, data: &[u8]) -> Result<Meant, ProtocolError> {
        self.message(&Message::Binary(data.into()))
    }

    fn message(&mut self, message: &Message<'_>) -> Result<Meant, ProtocolError> {
        let decoded = Parser::Text.decode(message, &self.limits);
        if let Some(packet) = decoded.plain() {
            let socket = self.session.socket_for(packet)?;
            return Ok(meant(socket.map_or(Received::Nothing, |socket| Received::Packet(socket, *packet))));
        }
        self.session.handle_message(at(0), decoded, &self.limits).map(meant)
    }

    fn sockets(&self) -> Vec<u32> {
        self.session.sockets().copied().collect()
    }
}

fn event(socket: u32, data: &str) -> Result<Meant, ProtocolError> {
    Ok(Packet(socket, Kind::Event, data.into()))
}

#[test]
fn packets_go_to_the_namespace_that_they_name() {
    let mut client = Client::joined();
    assert_eq!(client.text(r#"2["a"]"#), event(1, r#"["a"]"#));
    assert_eq!(client.text(r#"2/admin,["a"]"#), event(2, r#"["a"]"#));
    assert_eq!(client.text(r#"3/admin,7["ok"]"#), Ok(Packet(2, Kind::Ack, r#"["ok"]"#.into())));
    assert_eq!(client.sockets(), [1, 2]);
}

#[test]
fn a_plain_packet_may_also_be_handled_like_any_other_message() {
    let mut client = Client::joined();
    let message = Message::Text(r#"2/admin,["a"]"#);
    let decoded = Parser::Text.decode(&message, &client.limits);
    assert!(decoded.plain().is_some());
    assert_eq!(
        client.session.handle_message(at(0), decoded, &client.limits).map(meant),
        event(2, r#"["a"]"#)
    );
}

#[test]
fn a_packet_for_a_namespace_that_is_not_joined_is_an_error() {
    for packet in [
        r#"2/other,["a"]"#,
        "1/other,",
        r#"3/other,1["a"]"#,
        r#"51-/other,["a",{"_placeholder":true,"num":0}]"#,
    ] {
        let mut client = Client::joined();
        assert_eq!(client.text(packet), Err(ProtocolError::NotConnected), "{packet}");
        assert_eq!(client.binary(b"x"), Err(DecodeError::UnexpectedBinary.into()), "no packet is pending");
    }
}

#[test]
fn an_event_before_the_application_has_decided_is_an_error() {
    let mut client = Client::new();
    assert_eq!(client.text("0"), Ok(Connect("/".into())));
    assert_eq!(client.text(r#"2["a"]"#), Err(ProtocolError::NotConnected), "it does not exist yet");
    assert_eq!(client.text("1"), Err(ProtocolError::NotConnected));
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert_eq!(client.text(r#"2["a"]"#), Err(ProtocolError::NotConnected));
}

#[test]
fn a_second_connect_is_an_error_once_the_client_knows_that_it_has_joined() {
    let mut client = Client::joined();
    assert_eq!(client.begin("/", 9), Err(ProtocolError::ConnectedTwice));
    assert_eq!(client.begin("/admin", 9), Err(ProtocolError::ConnectedTwice));
    let begun = client.session.begin_connect("/admin".into(), &9, false, &client.limits);
    assert_eq!(begun, Ok(Joining::Pending), "the answer is still on its way");
    assert_eq!(client.sockets(), [1, 2]);
}

#[test]
fn a_second_connect_while_the_first_is_pending_changes_nothing() {
    let mut client = Client::new();
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert_eq!(client.begin("/", 2), Ok(Joining::Pending));
    assert!(!client.session.refuse("/", &2) && !client.session.accept("/", &2));
    assert!(client.session.accept("/", &1));
    assert_eq!(client.sockets(), [1]);
}

#[test]
fn two_connections_that_ask_at_the_same_instant_make_one_socket() {
    // Both packets were read before the application was asked about either.
    for is_told in [false, true] {
        let mut client = Client::new();
        assert_eq!(client.text("0/b,"), Ok(Connect("/b".into())));
        assert_eq!(client.text("0/b,"), Ok(Connect("/b".into())));
        assert_eq!(client.begin("/b", 1), Ok(Joining::Begun));
        assert!(client.session.accept("/b", &1));
        let second = client.session.begin_connect("/b".into(), &2, is_told, &client.limits);
        assert_eq!(second.is_ok(), !is_told, "{second:?}");
        assert!(!client.session.accept("/b", &2));
        assert_eq!(client.sockets(), [1]);
        assert_eq!(client.session.take_all().collect::<Vec<_>>(), [1], "the first socket is still known");
    }
}

#[test]
fn a_namespace_that_is_left_while_it_is_being_joined_is_not_joined_by_a_late_answer() {
    let mut client = Client::new();
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert_eq!(client.text("1"), Ok(Disconnect(1)));
    assert!(!client.session.accept("/", &1));
    assert_eq!(client.text("1"), Err(ProtocolError::NotConnected), "there is nothing to leave");
    // The late answer does not answer the next attempt either.
    assert_eq!(client.begin("/", 2), Ok(Joining::Begun));
    assert!(!client.session.accept("/", &1) && !client.session.refuse("/", &1));
    assert!(client.session.accept("/", &2));
    assert_eq!(client.sockets(), [2]);
}

#[test]
fn a_connect_error_from_a_client_is_an_error() {
    let mut client = Client::joined();
    assert_eq!(client.text(r#"4{"message":"x"}"#), Err(ProtocolError::ConnectErrorFromClient));
    assert!(client.text(r#"4["some","data"]"#).is_err());
}

#[test]
fn a_refused_client_may_try_again() {
    let mut client = Client::new();
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert!(client.session.refuse("/", &1));
    assert!(!client.session.refuse("/", &1));
    assert!(!client.session.accept("/", &1), "it was refused");
    assert!(client.sockets().is_empty());
    assert_eq!(client.session.next_deadline(), Some(at(45_000)), "no namespace is joined");
    client.join("/", 2);
    assert!(!client.session.refuse("/", &2), "it is joined by now");
    assert_eq!(client.sockets(), [2]);
}

#[test]
fn a_client_that_leaves_may_come_back() {
    let mut client = Client::joined();
    assert_eq!(client.text("1/admin,"), Ok(Disconnect(2)));
    assert_eq!(client.text(r#"2/admin,["a"]"#), Err(ProtocolError::NotConnected));
    client.join("/admin", 3);
    assert_eq!(client.text(r#"2/admin,["a"]"#), event(3, r#"["a"]"#));
}

#[test]
fn packets_that_cross_the_servers_disconnect_are_ignored() {
    let mut client = Client::joined();
    assert_eq!(client.text(r#"51-["a",{"_placeholder":true,"num":0}]"#), Ok(Nothing));
    assert_eq!(client.session.leave("/", true), Some(1));
    assert_eq!(client.session.leave("/", true), None);
    assert_eq!(client.binary(b"x"), Ok(Nothing));
    assert_eq!(client.text(r#"2["a"]"#), Ok(Nothing));
    assert_eq!(client.text(r#"51-["a",{"_placeholder":true,"num":0}]"#), Ok(Nothing));
    assert_eq!(client.binary(b"x"), Ok(Nothing));
    assert_eq!(client.text("1"), Ok(Nothing));
    assert_eq!(client.text(r#"2/admin,["a"]"#), event(2, r#"["a"]"#));
    client.join("/", 4);
    assert_eq!(client.text(r#"2["a"]"#), event(4, r#"["a"]"#));
}

#[test]
fn a_connect_that_the_server_ends_cannot_be_accepted() {
    let mut client = Client::new();
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert_eq!(client.session.leave("/", true), Some(1));
    assert!(!client.session.accept("/", &1));
    assert!(client.sockets().is_empty());
}

#[test]
fn a_client_must_join_a_namespace_in_time() {
    let mut client = Client::new();
    assert_eq!(client.session.next_deadline(), Some(at(45_000)));
    assert_eq!(client.begin("/", 1), Ok(Joining::Begun));
    assert_eq!(client.session.handle_timeout(at(44_999)), Ok(()));
    assert_eq!(client.session.handle_timeout(at(45_000)), Err(ProtocolError::ConnectTimeout));
    assert_eq!(client.session.next_deadline(), None);
    assert_eq!(client.session.handle_timeout(at(99_000)), Ok(()), "reported once");
    assert_eq!(Client::joined().session.next_deadline(), None);
}

#[test]
fn a_packet_waits_for_all_its_attachments() {
    let mut client = Client::joined();
    let packet = r#"52-/admin,["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    assert_eq!(client.text(packet), Ok(Nothing));
    assert_eq!(client.session.next_deadline(), Some(at(60_000)));
    assert_eq!(client.binary(b"first"), Ok(Nothing));
    assert_eq!(client.session.next_deadline(), Some(at(60_000)), "the deadline stays");
    let data = packet.strip_prefix("52-/admin,").unwrap();
    assert_eq!(client.binary(b""), Ok(Complete(2, data.into(), vec![b"first".to_vec(), vec![]])));
    assert_eq!(client.session.next_deadline(), None);
}

#[test]
fn text_in_place_of_an_attachment_is_an_error_and_drops_the_packet() {
    for text in [r#"2["b"]"#, r#"51-["a",{"_placeholder":true,"num":0}]"#, "1", "junk", ""] {
        let mut client = Client::joined();
        client.text(r#"51-["a",{"_placeholder":true,"num":0}]"#).unwrap();
        assert_eq!(client.text(text), Err(DecodeError::UnexpectedText.into()), "{text}");
        assert_eq!(client.session.next_deadline(), None);
        assert_eq!(client.binary(b"x"), Err(DecodeError::UnexpectedBinary.into()));
    }
}

#[test]
fn an_unannounced_attachment_is_an_error() {
    for client in [&mut Client::joined(), &mut Client::new()] {
        assert_eq!(client.binary(b"x"), Err(DecodeError::UnexpectedBinary.into()));
    }
}

#[test]
fn missing_attachments_are_an_error_at_their_deadline_and_drop_the_packet() {
    let mut client = Client::joined();
    client.text(r#"53-["a",{"_placeholder":true,"num":0}]"#).unwrap();
    client.binary(b"1").unwrap();
    client.binary(b"2").unwrap();
    assert_eq!(client.session.handle_timeout(at(59_999)), Ok(()));
    assert_eq!(client.session.handle_timeout(at(60_000)), Err(ProtocolError::AttachmentsTooLate));
    assert_eq!(client.session.next_deadline(), None);
    assert_eq!(client.binary(b"3"), Err(DecodeError::UnexpectedBinary.into()));
}

#[test]
fn of_several_errors_the_first_is_reported() {
    let wrong = r#"["a",{"_placeholder":true,"num":1}]"#;
    assert_eq!(Client::joined().text(&format!("51-/other,{wrong}")), Err(ProtocolError::NotConnected));
    let mut client = Client::joined();
    assert_eq!(client.text(&format!("51-{wrong}")), Err(DecodeError::Attachment.into()));
    assert_eq!(client.session.next_deadline(), None);
    for second in ["x", "40/admin,", &format!("51-/other,{wrong}")] {
        let mut client = Client::joined();
        client.text(r#"51-["a"]"#).unwrap();
        assert_eq!(client.text(second), Err(DecodeError::UnexpectedText.into()), "{second}");
    }
}

#[test]
fn attachments_beyond_the_limit_are_an_error_and_drop_the_packet() {
    let mut client = Client::joined();
    client.limits.max_attachment_bytes = 10;
    client.text(r#"53-["a"]"#).unwrap();
    client.binary(&[0; 5]).unwrap();
    client.binary(&[0; 5]).unwrap();
    assert_eq!(client.binary(&[0]), Err(DecodeError::AttachmentBytes.into()));
    assert_eq!(client.session.next_deadline(), None);
}

#[test]
fn the_number_of_namespaces_of_a_client_is_limited() {
    let mut client = Client::new();
    assert_eq!(client.limits.max_namespaces, 100);
    client.limits.max_namespaces = 20;
    for i in 0..20 {
        client.join(&format!("/{i}"), i);
    }
    assert_eq!(client.begin("/more", 20), Ok(Joining::TooMany));
    client.text("1/7,").unwrap();
    client.join("/more", 20);
    assert_eq!(client.sockets().len(), 20);
}

#[test]
fn only_the_namespaces_that_the_server_closed_last_are_remembered() {
    let mut client = Client::new();
    client.join("/", 0);
    for i in 1..1000 {
        let name = format!("/{i}");
        client.join(&name, i);
        assert_eq!(client.session.leave(&name, true), Some(i));
    }
    assert_eq!(client.sockets(), [0]);
    assert_eq!(client.text(r#"2/999,["a"]"#), Ok(Nothing), "the last ones are remembered");
    assert_eq!(client.text(r#"2/1,["a"]"#), Err(ProtocolError::NotConnected), "the first ones are forgotten");
    assert_eq!(client.text(r#"2["a"]"#), event(0, r#"["a"]"#));
}

#[test]
fn at_the_end_each_socket_is_returned_once_and_nothing_is_pending() {
    let mut client = Client::joined();
    assert_eq!(client.begin("/joining", 9), Ok(Joining::Begun));
    client.join("/left", 3);
    client.session.leave("/left", true);
    client.text(r#"51-["a",{"_placeholder":true,"num":0}]"#).unwrap();
    assert_eq!(
        client.session.take_all().collect::<Vec<_>>(),
        [1, 2, 9],
        "also the one that is not let in yet"
    );
    assert_eq!(client.session.take_all().count(), 0);
    assert_eq!(client.session.next_deadline(), None);
    assert!(!client.session.accept("/joining", &9));
    assert_eq!(client.binary(b"x"), Err(DecodeError::UnexpectedBinary.into()));
}

#[test]
fn a_namespaces_name_is_shared_and_excludes_the_query() {
    let mut client = Client::new();
    let name: Arc<str> = "/admin".into();
    assert_eq!(client.text("0/admin?token=1,{}"), Ok(Connect("/admin".into())));
    assert!(client.session.begin_connect(name.clone(), &1, true, &client.limits).is_ok());
    assert_eq!(Arc::strong_count(&name), 2);
    client.session.accept("/admin", &1);
    assert_eq!(client.text(r#"2/admin?token=1,["a"]"#), event(1, r#"["a"]"#));
}

#[test]
fn a_client_that_has_joined_no_namespace_cannot_begin_a_packet_instead() {
    let mut client = Client::new();
    assert_eq!(client.text("0/admin,"), Ok(Connect("/admin".into())));
    assert_eq!(client.begin("/admin", 1), Ok(Joining::Begun));
    // The server closes the namespace before it has decided.
    assert_eq!(client.session.leave("/admin", true), Some(1));
    let packet = r#"51-/admin,["event",{"_placeholder":true,"num":0}]"#;
    assert_eq!(client.text(packet), Err(ProtocolError::NotConnected));
    assert_eq!(client.session.next_deadline(), Some(at(0) + TIMEOUT));
    assert_eq!(client.session.handle_timeout(at(0) + TIMEOUT), Err(ProtocolError::ConnectTimeout));
}

#[test]
fn the_attachments_of_a_packet_have_to_come_in_time_even_if_a_namespace_is_joined_meanwhile() {
    let mut client = Client::new();
    client.join("/", 1);
    assert_eq!(client.text("0/admin,"), Ok(Connect("/admin".into())));
    assert_eq!(client.begin("/admin", 2), Ok(Joining::Begun));
    assert_eq!(client.session.next_deadline(), None);
    assert_eq!(client.text(r#"51-["event",{"_placeholder":true,"num":0}]"#), Ok(Nothing));
    let deadline = client.session.next_deadline();
    assert!(deadline.is_some() && client.session.accept("/admin", &2));
    assert_eq!(client.session.next_deadline(), deadline);
    assert_eq!(client.session.handle_timeout(deadline.unwrap()), Err(ProtocolError::AttachmentsTooLate));
    assert_eq!(client.session.next_deadline(), None);
}
