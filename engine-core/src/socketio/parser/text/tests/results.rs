//! `Result`s as the arguments of a packet, and inside of them.

use crate::socketio::server::EmitError;
use crate::socketio::{EncodeError, Encoder, error_of, serialize_failure};
use serde::{Serialize, Serializer};
use std::boxed::Box;
use std::string::String;

type Nested = Result<Result<u8, &'static str>, &'static str>;

/// An error that is not for the peer.
struct Private;

impl Serialize for Private {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_failure(&"a \"bug\"", serializer)
    }
}

/// Enums that look like `Result` to serde.
mod own {
    #[derive(serde::Serialize)]
    pub(super) enum Result<T, E> {
        Ok(T),
        Err(E),
    }
}

fn text(encoded: Result<crate::socketio::Encoded<'_>, EncodeError>) -> Result<String, EncodeError> {
    encoded.map(|encoded| String::from_utf8(encoded.text.to_vec()).unwrap())
}

/// Encodes an acknowledgement, and returns the JSON behind its type and id.
fn ack<A: Serialize + ?Sized>(args: &A) -> Result<String, EncodeError> {
    text(Encoder::new().ack("/", 1, args)).map(|text| text.strip_prefix("31").unwrap().into())
}

fn event<A: Serialize + ?Sized>(args: &A) -> Result<String, EncodeError> {
    text(Encoder::new().event("/", None, "e", args))
}

fn private<T>() -> Result<T, EncodeError> {
    Err(EncodeError::Failed("a \"bug\"".into()))
}

#[test]
fn a_result_is_acknowledged_with_what_it_holds() {
    assert_eq!(ack(&Ok::<_, u8>(5)).unwrap(), "[5]");
    assert_eq!(ack(&Ok::<_, u8>(())).unwrap(), "[]");
    assert_eq!(ack(&Ok::<_, u8>((1, "a"))).unwrap(), r#"[1,"a"]"#);
    assert_eq!(ack(&Err::<u8, _>("no")).unwrap(), r#"["no"]"#);
    assert_eq!(ack(&Err::<u8, _>((404, "no"))).unwrap(), r#"[404,"no"]"#);
    assert_eq!(ack(&Err::<u8, _>(())).unwrap(), "[]");
    assert_eq!(ack(&Err::<u8, _>(None::<u8>)).unwrap(), "[null]");
    assert_eq!(ack(&&Err::<u8, _>("no")).unwrap(), r#"["no"]"#);
}

#[test]
fn a_result_inside_of_another_value_is_an_ordinary_enum() {
    let nested: [(Nested, &str); 3] =
        [(Ok(Ok(1)), r#"[{"Ok":1}]"#), (Ok(Err("x")), r#"[{"Err":"x"}]"#), (Err("y"), r#"["y"]"#)];
    for (value, expected) in nested {
        assert_eq!(ack(&value).unwrap(), expected);
    }
    assert_eq!(ack(&Err::<u8, Result<u8, u8>>(Err(1))).unwrap(), r#"[{"Err":1}]"#);
    assert_eq!(ack(&(Err::<u8, _>(1), 2)).unwrap(), r#"[{"Err":1},2]"#);
    assert_eq!(event(&(Err::<u8, _>(1), 2)).unwrap(), r#"2["e",{"Err":1},2]"#);
    assert_eq!(ack(&Some(Err::<u8, _>(1))).unwrap(), r#"[{"Err":1}]"#);
    assert_eq!(event(&std::vec![Ok::<u8, u8>(1), Err(2)]).unwrap(), r#"2["e",[{"Ok":1},{"Err":2}]]"#);
}

#[test]
fn an_own_enum_named_result_is_ordinary_data() {
    assert_eq!(ack(&own::Result::Ok::<u8, u8>(1)).unwrap(), r#"[{"Ok":1}]"#);
    assert_eq!(ack(&own::Result::Err::<u8, u8>(1)).unwrap(), r#"[{"Err":1}]"#);
    assert_eq!(event(&own::Result::Err::<u8, u8>(1)).unwrap(), r#"2["e",{"Err":1}]"#);
    assert_eq!(ack(&Err::<u8, _>(own::Result::Err::<u8, u8>(1))).unwrap(), r#"[{"Err":1}]"#);
    assert_eq!(error_of(&own::Result::Err::<u8, u8>(1)), None);
}

#[test]
fn an_error_that_is_not_for_the_peer_is_not_acknowledged() {
    assert_eq!(ack(&Err::<u8, _>(Private)), private());
    assert_eq!(ack(&Err::<u8, _>(Box::new(Private))), private());
    let disconnected = Err(EncodeError::Failed("the socket is not connected".into()));
    assert_eq!(ack(&Err::<u8, _>(EmitError::Disconnected)), disconnected);
    assert_eq!(ack(&Ok::<_, Private>(1)).unwrap(), "[1]");
    // As a part of data it is a text.
    assert_eq!(ack(&(1, Private)).unwrap(), r#"[1,"a \"bug\""]"#);
    assert_eq!(ack(&Private).unwrap(), r#"["a \"bug\""]"#);
    assert_eq!(ack(&Err::<u8, _>((Private, 1))).unwrap(), r#"["a \"bug\"",1]"#);
}

#[test]
fn an_err_is_not_sent_as_an_event() {
    assert_eq!(event(&Ok::<_, u8>(5)).unwrap(), r#"2["e",5]"#);
    assert_eq!(event(&Err::<u8, _>("no")), Err(EncodeError::ErrValue("\"no\"".into())));
    assert_eq!(event(&Err::<u8, _>((1, 2))), Err(EncodeError::ErrValue("[1,2]".into())));
    assert_eq!(event(&Err::<u8, _>(Private)), private());
}

#[test]
fn the_error_is_found_without_encoding_the_value() {
    /// Cannot be serialized.
    struct Never;
    impl Serialize for Never {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("serialized")
        }
    }
    assert_eq!(error_of(&Ok::<_, Private>(Never)), None);
    assert_eq!(error_of(&Never), None);
    assert_eq!(error_of(&Err::<Never, _>("no")), Some(EncodeError::ErrValue("\"no\"".into())));
    assert_eq!(error_of(&Err::<Never, _>(())), Some(EncodeError::ErrValue("null".into())));
    assert_eq!(error_of(&Err::<Never, _>(Private)), private::<()>().err());
}
