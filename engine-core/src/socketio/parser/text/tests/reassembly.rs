use crate::socketio::{Complete, DecodeError, Limits, Packet, Reassembly};
use bytes::Bytes;
use std::format;

const HELLO: &str = r#"51-["hello",{"_placeholder":true,"num":0}]"#;

fn begin(reassembly: &mut Reassembly, text: &str) -> Result<(), DecodeError> {
    reassembly.begin(&Packet::decode(text, &Limits::default()).unwrap())
}

fn started(text: &str) -> Reassembly {
    let mut reassembly = Reassembly::new();
    begin(&mut reassembly, text).unwrap();
    reassembly
}

#[test]
fn idle_reassembly_is_one_pointer() {
    assert_eq!(size_of::<Reassembly>(), size_of::<usize>());
}

#[test]
fn a_packet_is_complete_with_its_last_attachment() {
    let text = r#"52-/adm?q=1,12["up",{"a":{"_placeholder":true,"num":1}},{"num":0,"_placeholder":true}]"#;
    let mut reassembly = started(text);
    assert!(reassembly.is_pending());
    assert_eq!(reassembly.add(b"zero", &Limits::default()), Ok(None));
    let one = b"one";
    let complete = reassembly.add(one, &Limits::default()).unwrap().unwrap();
    assert!(!reassembly.is_pending());
    let packet = complete.packet();
    assert_eq!((packet.namespace, packet.id, packet.attachments), ("/adm", Some(12), 2));
    assert_eq!(packet.event().as_deref(), Some("up"));
    assert_eq!(complete.attachments().get(1).map(<[u8]>::as_ptr), Some(one.as_ptr()), "not copied");
    assert_eq!((complete.attachments().len(), complete.attachments().get(2)), (2, None));
    let args = packet.args(complete.attachments()).unwrap();
    let (object, zero): (std::collections::HashMap<&str, Bytes>, Bytes) = args.deserialize().unwrap();
    assert_eq!((&object["a"][..], &zero[..]), (&b"one"[..], &b"zero"[..]));
    let kept = args.into_owned();
    assert_eq!(kept.as_args(), args);
}

#[test]
fn the_kept_packet_equals_the_decoded_one() {
    for text in [HELLO, "61-/adm,0[1,{}]", "51-[7]", "51-[ \"\\u0061\" ]"] {
        let decoded = Packet::decode(text, &Limits::default()).unwrap();
        let complete = started(text).add(b"", &Limits::default()).unwrap().unwrap();
        assert_eq!(complete.packet(), decoded);
    }
}

#[test]
fn text_before_the_last_attachment_is_an_error_and_drops_the_packet() {
    let mut reassembly = started(HELLO);
    assert_eq!(reassembly.handle_text(), Err(DecodeError::UnexpectedText));
    assert!(!reassembly.is_pending());
    assert_eq!(reassembly.handle_text(), Ok(()));
    let mut reassembly = started(HELLO);
    assert_eq!(begin(&mut reassembly, HELLO), Err(DecodeError::UnexpectedText));
    assert!(!reassembly.is_pending());
}

#[test]
fn an_unannounced_attachment_is_an_error() {
    let mut reassembly = Reassembly::new();
    let unexpected: Result<Option<Complete<'_>>, _> = Err(DecodeError::UnexpectedBinary);
    assert_eq!(reassembly.add(b"x", &Limits::default()), unexpected);
    begin(&mut reassembly, "2[\"a\"]").unwrap();
    assert!(!reassembly.is_pending());
    let mut reassembly = started(HELLO);
    assert!(reassembly.add(b"x", &Limits::default()).unwrap().is_some());
    assert_eq!(reassembly.add(b"x", &Limits::default()), unexpected);
}

#[test]
fn a_cleared_reassembly_can_be_reused() {
    let mut reassembly = started("52-[\"old\"]");
    reassembly.add(b"old", &Limits::default()).unwrap();
    reassembly.clear();
    begin(&mut reassembly, HELLO).unwrap();
    let complete = reassembly.add(b"new", &Limits::default()).unwrap().unwrap();
    assert!(complete.attachments().iter().eq([b"new"]));
}

#[test]
fn a_placeholder_must_refer_to_an_attachment() {
    let placeholders = [
        r#"{"_placeholder":true,"num":"splice"}"#,
        r#"{"_placeholder":true,"num":1}"#,
        r#"{"_placeholder":true,"num":-1}"#,
        r#"{"_placeholder":true,"num":0.5}"#,
        r#"{"_placeholder":true,"num":1e9}"#,
        r#"{"_placeholder":true,"num":99999999999999999999}"#,
        r#"{"_placeholder":true}"#,
        r#"{"_placeholder":true,"num":null}"#,
        r#"{"_placeholder":true,"num":"0"}"#,
        r#"{"_placeholder":true,"num":[0]}"#,
        r#"{"_placeholder":true,"num":true}"#,
        r#"{"num":7,"_placeholder":true}"#,
        r#"{"_place\u0068older":true,"num":7}"#,
        r#"{"num":0,"_placeholder":true,"num":7}"#,
        r#"{"_placeholder":true,"num":{"_placeholder":true,"num":0}}"#,
    ];
    for placeholder in placeholders {
        for text in [
            format!("51-[\"a\",{placeholder}]"),
            format!("61-1[{placeholder}]"),
            format!("51-[\"a\",{{\"b\":[1,{{\"c\":{placeholder}}}]}}]"),
            format!("51-[\"a\",{{\"_placeholder\":true,\"num\":0}},{placeholder}]"),
        ] {
            let mut reassembly = Reassembly::new();
            assert_eq!(begin(&mut reassembly, &text), Err(DecodeError::Attachment), "{text}");
            assert!(!reassembly.is_pending());
        }
    }
}

#[test]
fn placeholders_may_be_repeated_or_absent_and_lookalikes_are_data() {
    for json in [
        r#"["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"["a"]"#,
        r#"["a",{"_placeholder":false,"num":9},{"_placeholder":1,"num":9},{"num":9}]"#,
        r#"["a","_placeholder",true,"{\"_placeholder\":true,\"num\":9}"]"#,
        r#"["a",{"_placeholder":{"_placeholder":true,"num":0},"num":9},[[{"b" : 1e999}]]]"#,
        r#"["a",{"\\":"\"","_placeholder":true,"_placeholder":"true","num":9}]"#,
    ] {
        started(&format!("51-{json}"));
    }
}

#[test]
fn an_unpaired_surrogate_is_allowed_beside_attachments() {
    // JavaScript writes this for text that was cut in the middle of a character.
    let packet = r#"51-["a","\ud83d",{"\udc00":1},{"num":0,"_placeholder":true}]"#;
    started(packet);
    let wrong = packet.replace(":0", ":1");
    assert_eq!(begin(&mut Reassembly::new(), &wrong), Err(DecodeError::Attachment));
}

#[test]
fn the_total_size_of_attachments_is_limited() {
    let limits = Limits { max_attachment_bytes: 10, ..Limits::default() };
    let mut reassembly = started("53-[\"a\"]");
    assert_eq!(reassembly.add(&[0; 4], &limits), Ok(None));
    assert_eq!(reassembly.add(&[0; 6], &limits), Ok(None));
    assert_eq!(reassembly.add(&[0; 1], &limits), Err(DecodeError::AttachmentBytes));
    assert!(!reassembly.is_pending());
    let mut reassembly = started(HELLO);
    let whole = reassembly.add(&[0; 10], &limits).unwrap();
    assert_eq!(whole.unwrap().attachments().get(0), Some(&[0; 10][..]));
}

#[test]
fn empty_attachments_count() {
    let mut reassembly = started("52-[\"a\"]");
    assert_eq!(reassembly.add(b"", &Limits::default()), Ok(None));
    let complete = reassembly.add(b"", &Limits::default()).unwrap().unwrap();
    assert!(complete.attachments().iter().eq([b"", b""]));
}
