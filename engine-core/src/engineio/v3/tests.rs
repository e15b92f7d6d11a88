use super::*;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

/// Returns the packets of a payload up to its first error, and whether there was one.
fn read(mut payload: Payload<'_>) -> (Vec<Packet<'_>>, Option<PacketError>) {
    let mut packets = Vec::new();
    loop {
        let before = payload.len();
        match payload.split_first() {
            Ok((packet, rest)) => {
                assert!(rest.len() < before, "no progress");
                packets.extend(packet);
                payload = rest;
            }
            Err(error) => return (packets, Some(error)),
        }
        if payload.is_empty() {
            return (packets, None);
        }
    }
}

fn text(text: &str) -> Packet<'_> {
    Packet::Message(Message::Text(text))
}

fn binary(data: &[u8]) -> Packet<'_> {
    Packet::Message(Message::Binary(Cow::Borrowed(data)))
}

fn flat(mut out: Outbound) -> Vec<u8> {
    out.copy_to_bytes(out.len()).to_vec()
}

/// Encodes packets that stand as in a payload of version 4.
fn written(packets: &[&str], form: BinaryForm) -> Vec<u8> {
    let queue = |packet: &&str| {
        let mut out = Outbound::new();
        // Pieces that end within characters.
        packet.as_bytes().chunks(3).for_each(|piece| out.push(piece.to_vec().into()));
        out
    };
    flat(write_payload(packets.iter().map(queue).collect(), form))
}

#[test]
fn a_text_payload_is_packets_behind_their_lengths() {
    let (packets, error) = read(Payload::Text("6:4hello2:4€1:210:b4AQIDBA=="));
    let expected = [text("hello"), text("€"), Packet::Ping(""), binary(&[1, 2, 3, 4])];
    assert_eq!((&packets[..], error), (&expected[..], None));
}

#[test]
fn the_length_of_text_is_in_utf16_code_units() {
    assert_eq!(read(Payload::Text("13:42[\"a\",\"€😀\"]1:2")).0.len(), 2);
    assert_eq!(read(Payload::Text("3:4🎉")), (vec![text("🎉")], None));
    for wrong in ["2:4🎉", "5:4🎉", "4:4🎉", "3:4€"] {
        assert_eq!(read(Payload::Text(wrong)), (vec![], Some(PacketError::Length)), "{wrong}");
    }
}

#[test]
fn malformed_lengths_of_text_are_refused() {
    let long = format!("{}:40", "9".repeat(400));
    let wrong =
        ["99:40", "-1:40", ":40", "abc", "02:40", "2 :40", " 2:40", "+2:40", "0x2:40", "2", "2e0:40", "٢:40"];
    for wrong in wrong.into_iter().chain([&*long, "18446744073709551618:40", "9999999999:40"]) {
        assert_eq!(read(Payload::Text(wrong)), (vec![], Some(PacketError::Length)), "{wrong}");
    }
    assert_eq!(read(Payload::Text("2:4a1:x")), (vec![text("a")], Some(PacketError::UnknownType)));
    assert_eq!(read(Payload::Text("2:4a3")), (vec![text("a")], Some(PacketError::Length)));
}

#[test]
fn a_body_without_packets_is_an_error_and_an_empty_packet_is_none() {
    assert_eq!(Payload::Text("").split_first(), Err(PacketError::Empty));
    assert_eq!(Payload::Binary(&[]).split_first(), Err(PacketError::Empty));
    // As the reference writes a payload without packets.
    assert_eq!(read(Payload::Text("0:")), (vec![], None));
    assert_eq!(read(Payload::Text("0:2:4a0:")), (vec![text("a")], None));
}

#[test]
fn a_binary_payload_has_its_lengths_in_bytes() {
    let body = [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4];
    assert_eq!(read(Payload::Binary(&body)), (vec![text("hello"), binary(&[1, 2, 3, 4])], None));
    let mut body = vec![0, 1, 0, 255];
    body.extend("4🎉é€".as_bytes());
    assert_eq!(read(Payload::Binary(&body)), (vec![text("🎉é€")], None));
    // A byte order mark is a character like any other.
    let body = [&[0, 5, 255][..], "4\u{feff}a".as_bytes()].concat();
    assert_eq!(read(Payload::Binary(&body)), (vec![text("\u{feff}a")], None));
    assert_eq!(read(Payload::Text("3:4\u{feff}a")), (vec![text("\u{feff}a")], None));
}

#[test]
fn malformed_binary_payloads_are_refused() {
    let long = [&[0][..], &[9; 400], &[255, 52]].concat();
    let cases: [(&[u8], PacketError); 14] = [
        // The reference reads what is there.
        (&[0, 9, 9, 255, 52], PacketError::Length),
        (&long, PacketError::Length),
        (&[2, 1, 255, 52], PacketError::Length),
        (&[0, 255, 52], PacketError::Length),
        (&[0, 1], PacketError::Length),
        (&[0], PacketError::Length),
        (&[0, 10, 255, 52], PacketError::Length),
        (&[0, 0, 1, 255, 52], PacketError::Length),
        (&[0, 0, 255], PacketError::Empty),
        (&[1, 0, 255], PacketError::Empty),
        (&[1, 2, 255, 2, 1], PacketError::UnknownType),
        // Half of a surrogate pair, as no encoder of UTF-8 writes it.
        (&[0, 4, 255, 52, 0xed, 0xa0, 0xbd], PacketError::Utf8),
        // The two halves, as old versions of the JavaScript parser wrote a character.
        (&[0, 7, 255, 52, 0xed, 0xa0, 0xbc, 0xed, 0xbe, 0x89], PacketError::Utf8),
        (&[0, 2, 255, 52, 0xff], PacketError::Utf8),
    ];
    for (body, expected) in cases {
        assert_eq!(read(Payload::Binary(body)), (vec![], Some(expected)), "{body:?}");
    }
}

#[test]
fn a_binary_message_has_its_type_in_every_form() {
    assert_eq!(decode_text("b4AQIDBA=="), Ok(binary(&[1, 2, 3, 4])));
    assert_eq!(decode_text("b4BAEC"), Ok(binary(&[4, 1, 2])), "data that begins with the type");
    assert_eq!(decode_text("bAQIDBA=="), Err(PacketError::UnknownType));
    assert_eq!(decode_text("b2AQIDBA=="), Err(PacketError::UnknownType));
    assert_eq!(decode_text("b4!"), Err(PacketError::Base64));
    assert_eq!(decode_text(""), Err(PacketError::Empty));
    assert_eq!(decode_binary(&[4]), Ok(binary(&[])));
    assert_eq!(decode_binary(&[4, 4, 1]), Ok(binary(&[4, 1])));
    assert_eq!(decode_binary(&[]), Err(PacketError::Empty));
    assert_eq!(decode_binary(&[1, 2]), Err(PacketError::UnknownType));
}

#[test]
fn a_payload_is_binary_only_if_a_packet_is_and_the_client_reads_bytes() {
    let texts = ["4hello", "3", "4€🎉"];
    for form in [BinaryForm::Typed, BinaryForm::Base64] {
        assert_eq!(written(&texts, form), "6:4hello1:34:4€🎉".as_bytes());
    }
    let mixed = ["4€", "bAQIDBA=="];
    assert_eq!(written(&mixed, BinaryForm::Base64), "2:4€10:b4AQIDBA==".as_bytes());
    let bytes = written(&mixed, BinaryForm::Typed);
    assert_eq!(bytes, [&[0, 4, 255, 52][..], "€".as_bytes(), &[1, 5, 255, 4, 1, 2, 3, 4]].concat());
    let queue = |bytes: Vec<u8>| {
        let mut out = Outbound::new();
        out.push(bytes.into());
        out
    };
    assert!(is_binary(&queue(bytes)) && !is_binary(&queue(written(&mixed, BinaryForm::Base64))));
}

proptest! {
    /// What is written can be read, in both forms.
    #[test]
    fn a_written_payload_is_read_again(
        messages in proptest::collection::vec(
            prop_oneof![
                "\\PC{0,20}".prop_map(Ok),
                proptest::collection::vec(any::<u8>(), 0..20).prop_map(Err::<String, Vec<u8>>),
            ],
            1..8,
        ),
    ) {
        let packets: Vec<String> = messages.iter().map(|message| match message {
            Ok(text) => format!("4{text}"),
            Err(data) => {
                let mut out = vec![];
                packet::write_base64(&mut out, data);
                String::from_utf8(out).unwrap()
            }
        }).collect();
        let packets: Vec<&str> = packets.iter().map(String::as_str).collect();
        let expected: Vec<_> = messages.iter().map(|message| match message {
            Ok(message) => text(message),
            Err(data) => binary(data),
        }).collect();
        for form in [BinaryForm::Typed, BinaryForm::Base64] {
            let body = written(&packets, form);
            let payload = match body.first() {
                Some(0 | 1) => Payload::Binary(&body),
                _ => Payload::Text(core::str::from_utf8(&body).unwrap()),
            };
            let (read, error) = read(payload);
            prop_assert_eq!(error, None);
            prop_assert_eq!(&read, &expected);
        }
    }

    /// Any body ends, and its packets are within it.
    #[test]
    fn any_body_is_read_to_its_end_or_its_first_error(body in proptest::collection::vec(0u8..12, 0..60)) {
        read(Payload::Binary(&body));
        let text: String = body.iter().map(|byte| char::from(b'/' + byte)).collect();
        read(Payload::Text(&text.to_owned()));
    }
}
