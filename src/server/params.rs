//! The parameters in the name of a dynamic namespace, as values of any type.

use crate::extract::{Context, Extract, ExtractError, Params};
use serde::de::value::{Error, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

impl<T: de::DeserializeOwned> Extract for Params<T> {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        let namespace = context.socket.namespace();
        let missing = ExtractError::Unavailable("a parameter in the name of the namespace");
        let params = namespace.parent().and_then(|parent| parent.params(namespace.name())).ok_or(missing)?;
        let params = T::deserialize(Pairs(&params));
        params.map(Params).map_err(|error| ExtractError::Params(error.to_string()))
    }
}

/// All parameters: a map or a struct, a list or a tuple, or the value of the only one.
struct Pairs<'de>(&'de [(&'de str, &'de str)]);

impl<'de> Pairs<'de> {
    fn only(&self) -> Result<Value<'de>, Error> {
        match self.0 {
            [(_, value)] => Ok(Value(value)),
            several => Err(de::Error::custom(format_args!("one value for {} parameters", several.len()))),
        }
    }

    fn list(&self) -> impl Iterator<Item = Value<'de>> + use<'de> {
        self.0.iter().map(|(_, value)| Value(value))
    }
}

/// Deserializes the only parameter.
macro_rules! only {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Pairs<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(self.0.iter().map(|(name, value)| (*name, Value(value)))))
    }

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_identifier
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.list()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        match self.0.len() == len {
            true => self.deserialize_seq(visitor),
            false => Err(de::Error::custom(format_args!("{len} values for {} parameters", self.0.len()))),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { map struct unit unit_struct ignored_any }
}

/// The value of one parameter: a string, or what can be parsed from it.
struct Value<'de>(&'de str);

/// Deserializes what implements `FromStr`.
macro_rules! parse {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(error) => Err(de::Error::custom(format_args!("{:?}: {error}", self.0))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    parse! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_i128 visit_i128
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_u128 visit_u128
        deserialize_f32 visit_f32
        deserialize_f64 visit_f64
        deserialize_char visit_char
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(StrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    fn read<'a, T: Deserialize<'a>>(pairs: &'a [(&'a str, &'a str)]) -> Result<T, String> {
        T::deserialize(Pairs(pairs)).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Named {
        org: String,
        team: Option<u8>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Number(u32);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    #[test]
    fn the_only_parameter_is_a_value_of_any_simple_type() {
        assert_eq!(read(&[("id", "7")]), Ok(7_u8));
        assert_eq!(read(&[("id", "-7.5")]), Ok(-7.5_f64));
        assert_eq!(read(&[("id", "true")]), Ok(true));
        assert_eq!(read(&[("id", "7")]), Ok(String::from("7")));
        assert_eq!(read(&[("id", "7")]), Ok(Number(7)));
        assert_eq!(read(&[("id", "7")]), Ok((7_u64,)));
        assert_eq!(read(&[("id", "7")]), Ok(Some('7')));
        assert_eq!(read(&[("id", "red")]), Ok(Color::Red));
        assert!(read::<u8>(&[("id", "256")]).is_err() && read::<u8>(&[("id", "")]).is_err());
        assert!(read::<Color>(&[("id", "blue")]).is_err() && read::<()>(&[("id", "x")]).is_err());
    }

    #[test]
    fn several_parameters_are_a_tuple_a_struct_or_a_map() {
        let pairs = [("org", "acme"), ("team", "3")];
        assert_eq!(read(&pairs), Ok((String::from("acme"), 3_u8)));
        assert_eq!(read(&pairs), Ok(Named { org: "acme".into(), team: Some(3) }));
        assert_eq!(
            read(&pairs),
            Ok(pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>())
        );
        assert_eq!(read(&pairs), Ok(vec!["acme", "3"]));
        assert_eq!(read::<String>(&pairs), Err("one value for 2 parameters".into()));
        assert_eq!(read::<(String,)>(&pairs), Err("1 values for 2 parameters".into()));
        assert!(read::<(String, bool)>(&pairs).is_err());
    }
}
