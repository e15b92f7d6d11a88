//! The arguments of an event or an acknowledgement, read as the types that a handler asks for.

use super::json::Elements;
use super::placeholder;
use crate::socketio::attached::Attached;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// The arguments of an event or an acknowledgement: JSON until a type is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args<'a> {
    /// The whole array.
    json: &'a str,
    /// Elements in front of the arguments: 1 for an event's name.
    skip: usize,
    attachments: Attached<'a>,
}

impl<'a> Args<'a> {
    /// The arguments of an event. `json` is an array whose first element is the name.
    pub fn new_event(json: &'a str, attachments: impl Into<Attached<'a>>) -> Args<'a> {
        Args { json, skip: 1, attachments: attachments.into() }
    }

    /// The arguments of an acknowledgement. `json` is an array.
    pub fn new_ack(json: &'a str, attachments: impl Into<Attached<'a>>) -> Args<'a> {
        Args { json, skip: 0, attachments: attachments.into() }
    }

    /// The array as it came, an event's name included.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// The attachments that placeholders in the array stand for.
    pub fn attachments(&self) -> Attached<'a> {
        self.attachments
    }

    /// The arguments one by one, each as JSON.
    pub fn iter(&self) -> RawArgs<'a> {
        let mut elements = Elements::new(self.json);
        elements.by_ref().take(self.skip).for_each(drop);
        RawArgs { elements }
    }

    /// How many arguments there are. Counts them in the JSON.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no argument.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Reads the arguments as `T`.
    ///
    /// A tuple or tuple struct takes the arguments in their order, `()` takes none, and any other
    /// type takes the first one: `Vec<T>` is one argument that is an array. Rust's arrays are
    /// tuples to serde, so `[u8; 3]` is three arguments. A missing argument is `None` where an
    /// `Option` stands and an error elsewhere; further arguments are ignored.
    ///
    /// Where `T` holds bytes (`bytes::Bytes` with its feature `serde`, `serde_bytes`), a
    /// placeholder gives the attachment; `&[u8]` and `&serde_bytes::Bytes` borrow it. A `Vec<u8>`
    /// is a list of numbers to serde, and bytes inside of `#[serde(flatten)]` or an untagged or
    /// internally tagged enum do not find their attachment, because serde reads those into a
    /// buffer first. A type that takes anything, like `serde_json::Value`, gets the placeholder
    /// as the object that it is.
    ///
    /// # Errors
    /// If an argument is missing, is not what `T` wants, or is nested deeper than serde_json
    /// follows (127 levels).
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, ArgsError> {
        T::deserialize(ArgsDeserializer { args: *self }).map_err(ArgsError)
    }

    /// A copy of the JSON, with the attachments shared where they can be.
    pub fn into_owned(self) -> OwnedArgs {
        OwnedArgs { json: self.json.into(), skip: self.skip, attachments: self.attachments.to_vec() }
    }

    /// The text from the first argument on.
    fn first(&self) -> Option<&'a str> {
        self.iter().elements.seek()
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a str;
    type IntoIter = RawArgs<'a>;

    fn into_iter(self) -> RawArgs<'a> {
        self.iter()
    }
}

/// Arguments one by one, each as JSON: [`Args::iter`].
#[derive(Debug, Clone)]
pub struct RawArgs<'a> {
    elements: Elements<'a>,
}

impl<'a> Iterator for RawArgs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.elements.next()
    }
}

/// Arguments to keep after their packet's text is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedArgs {
    json: Box<str>,
    skip: usize,
    attachments: Vec<Bytes>,
}

impl OwnedArgs {
    /// The same arguments, borrowed.
    pub fn as_args(&self) -> Args<'_> {
        Args { json: &self.json, skip: self.skip, attachments: (&self.attachments).into() }
    }
}

/// The arguments are not of the type that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("invalid arguments: {0}")]
pub struct ArgsError(serde_json::Error);

/// Reads the list of arguments as one value.
struct ArgsDeserializer<'a> {
    args: Args<'a>,
}

impl<'a> ArgsDeserializer<'a> {
    fn list<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, serde_json::Error> {
        let elements = self.args.iter().elements;
        visitor.visit_seq(List { elements, index: 0, len, attachments: self.args.attachments })
    }
}

/// Methods that read the first argument, straight from serde_json if nothing can be a placeholder.
macro_rules! read_first {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'a>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, serde_json::Error> {
            let Some(first) = self.args.first() else {
                return Missing::new(0).$method($($name,)* visitor);
            };
            let mut inner = serde_json::Deserializer::from_str(first);
            let attachments = self.args.attachments;
            match attachments.is_empty() {
                true => inner.$method($($name,)* visitor),
                false => WithAttachments { inner: &mut inner, attachments }.$method($($name,)* visitor),
            }
        }
    )*};
}

impl<'a> Deserializer<'a> for ArgsDeserializer<'a> {
    type Error = serde_json::Error;

    read_first! {
        deserialize_any(); deserialize_bool(); deserialize_char();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_option(); deserialize_seq(); deserialize_map(); deserialize_identifier();
        deserialize_ignored_any();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        // serde_json knows its RawValue by this name, and then reads the text as it is.
        if name == super::serialize::RAW_VALUE
            && let Some(first) = self.args.first()
        {
            return serde_json::Deserializer::from_str(first).deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'a>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        self.list(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        self.list(len, visitor)
    }
}

/// The arguments as a tuple asks for them. What it does not ask for is not looked at.
struct List<'a> {
    elements: Elements<'a>,
    index: usize,
    /// How many the tuple has: without an end, missing ones could be read as `None` for ever.
    len: usize,
    attachments: Attached<'a>,
}

impl<'a> SeqAccess<'a> for List<'a> {
    type Error = serde_json::Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, serde_json::Error> {
        let index = self.index;
        if index >= self.len {
            return Ok(None);
        }
        self.index += 1;
        let Some(text) = self.elements.seek() else {
            return seed.deserialize(Missing::new(index)).map(Some);
        };
        let mut inner = serde_json::Deserializer::from_str(text);
        let attachments = self.attachments;
        let value = match attachments.is_empty() {
            true => seed.deserialize(&mut inner),
            false => seed.deserialize(WithAttachments { inner: &mut inner, attachments }),
        };
        value.map(Some)
    }
}

/// An argument that is not there.
struct Missing<E> {
    index: usize,
    error: PhantomData<E>,
}

impl<E> Missing<E> {
    fn new(index: usize) -> Missing<E> {
        Missing { index, error: PhantomData }
    }
}

impl<'de, E: serde::de::Error> Deserializer<'de> for Missing<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, E> {
        Err(E::custom(format_args!("argument {} is missing", self.index + 1)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Passes all on to `inner`, but where bytes are asked for, a placeholder gives its attachment.
///
/// Being wrapped around a deserializer, a visitor or an access, it wraps whatever those hand out.
struct WithAttachments<'a, T> {
    inner: T,
    attachments: Attached<'a>,
}

impl<'a, T> WithAttachments<'a, T> {
    fn wrap<U>(&self, inner: U) -> WithAttachments<'a, U> {
        WithAttachments { inner, attachments: self.attachments }
    }
}

/// Methods of scalars: nothing inside can be a placeholder.
macro_rules! pass_on {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! pass_on_wrapped {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'a>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            let visitor = self.wrap(visitor);
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'a, D: Deserializer<'a>> Deserializer<'a> for WithAttachments<'a, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_bool deserialize_char deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_str
        deserialize_string deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    pass_on_wrapped! {
        deserialize_any();
        deserialize_option();
        deserialize_seq();
        deserialize_map();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = BytesVisitor { visitor, attachments: self.attachments };
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }
}

/// Takes what serde_json would take for bytes, and placeholders.
struct BytesVisitor<'a, V> {
    visitor: V,
    attachments: Attached<'a>,
}

impl<'a, V: Visitor<'a>> Visitor<'a> for BytesVisitor<'a, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<V::Value, A::Error> {
        let num = placeholder::read(map)?;
        let attachment = self.attachments.get(num).ok_or_else(|| A::Error::custom("no such attachment"))?;
        self.visitor.visit_borrowed_bytes(attachment)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(seq)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_bytes(text.as_bytes())
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_bytes(text.as_bytes())
    }
}

macro_rules! visit_scalar {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'a, V: Visitor<'a>> Visitor<'a> for WithAttachments<'a, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit_scalar! {
        visit_bool(bool); visit_char(char);
        visit_i8(i8); visit_i16(i16); visit_i32(i32); visit_i64(i64); visit_i128(i128);
        visit_u8(u8); visit_u16(u16); visit_u32(u32); visit_u64(u64); visit_u128(u128);
        visit_f32(f32); visit_f64(f64);
        visit_str(&str); visit_borrowed_str(&'a str); visit_string(String);
        visit_bytes(&[u8]); visit_borrowed_bytes(&'a [u8]); visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'a>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.wrap(value);
        self.inner.visit_some(value)
    }

    fn visit_newtype_struct<D: Deserializer<'a>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.wrap(value);
        self.inner.visit_newtype_struct(value)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, seq: A) -> Result<V::Value, A::Error> {
        let seq = self.wrap(seq);
        self.inner.visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<V::Value, A::Error> {
        let map = self.wrap(map);
        self.inner.visit_map(map)
    }

    fn visit_enum<A: EnumAccess<'a>>(self, data: A) -> Result<V::Value, A::Error> {
        let data = self.wrap(data);
        self.inner.visit_enum(data)
    }
}

impl<'a, T: DeserializeSeed<'a>> DeserializeSeed<'a> for WithAttachments<'a, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'a, A: SeqAccess<'a>> SeqAccess<'a> for WithAttachments<'a, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, A: MapAccess<'a>> MapAccess<'a> for WithAttachments<'a, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, A: EnumAccess<'a>> EnumAccess<'a> for WithAttachments<'a, A> {
    type Error = A::Error;
    type Variant = WithAttachments<'a, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, WithAttachments { inner, attachments: self.attachments }))
    }
}

impl<'a, A: VariantAccess<'a>> VariantAccess<'a> for WithAttachments<'a, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
