//! Arguments with attachments: a placeholder is read as its attachment if a type asks for bytes.

use super::placeholder;
use crate::socketio::attached::Attached;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The text that is read, and the attachments that it refers to.
#[derive(Clone, Copy)]
pub(super) struct Context<'a, 'b> {
    pub(super) attachments: Attached<'a>,
    /// The text of the arguments.
    pub(super) json: &'a str,
    /// A copy of the same length that is read instead, in which halves of surrogate pairs are replaced.
    pub(super) copy: Option<&'b str>,
    /// Set if a type that accepts anything is to read a placeholder as bytes.
    pub(super) guessed: Option<&'b Cell<Guess>>,
}

impl<'a: 'b, 'b> Context<'a, 'b> {
    pub(super) fn text(&self) -> &'b str {
        self.copy.unwrap_or(self.json)
    }

    /// Returns the part of the arguments' text that `part`, a part of the text that is read, stands for. A string that
    /// can be borrowed has no escapes, so it is the same in both.
    fn original(&self, part: &str) -> Option<&'a str> {
        let start = self.position(part)?;
        self.json.get(start..start.checked_add(part.len())?)
    }

    /// Returns the position of `part`, a part of the text that is read.
    fn position(&self, part: &str) -> Option<usize> {
        part.as_ptr().addr().checked_sub(self.text().as_ptr().addr())
    }

    /// Returns the number of the attachment that an object stands for, given its first key.
    fn placeholder(&self, first_key: &str) -> Option<usize> {
        let quote = self.position(first_key)?.checked_sub(1)?;
        placeholder::fields(self.text().get(quote..)?).map(|(num, _)| num)
    }
}

/// The outcome of reading placeholders as bytes for types that accept anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// There was no placeholder.
    None,
    /// The types took the bytes.
    Accepted,
    /// A type did not take bytes, which is why the attempt failed.
    Refused,
}

/// A wrapper around a deserializer, a visitor or an access, and around everything that these pass on.
///
/// It forwards all calls to `inner`, with two differences: a placeholder is read as its attachment if bytes are asked
/// for, and strings are borrowed from the arguments' own text.
pub(super) struct Wrapped<'a, 'b, T> {
    pub(super) inner: T,
    pub(super) context: Context<'a, 'b>,
}

/// A visitor of a type that accepts anything: as [`Wrapped`], but a placeholder is bytes.
struct AnyVisitor<'a, 'b, V> {
    visitor: Wrapped<'a, 'b, V>,
    guessed: &'b Cell<Guess>,
}

impl<'a, 'b, T> Wrapped<'a, 'b, T> {
    fn wrap<U>(&self, inner: U) -> Wrapped<'a, 'b, U> {
        Wrapped { inner, context: self.context }
    }
}

macro_rules! pass_on {
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

impl<'a: 'b, 'b, D: Deserializer<'b>> Deserializer<'a> for Wrapped<'a, 'b, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_bool(); deserialize_char();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64();
        deserialize_str(); deserialize_string(); deserialize_unit(); deserialize_identifier();
        deserialize_ignored_any();
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

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        match self.context.guessed {
            Some(guessed) => self.inner.deserialize_any(AnyVisitor { visitor, guessed }),
            None => self.inner.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = BytesVisitor { visitor, context: self.context };
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }
}

/// A visitor that reads bytes from what serde_json accepts for them, or from a placeholder.
struct BytesVisitor<'a, 'b, V> {
    visitor: V,
    context: Context<'a, 'b>,
}

impl<'a: 'b, 'b, V: Visitor<'a>> Visitor<'b> for BytesVisitor<'a, 'b, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<V::Value, A::Error> {
        let num = placeholder::read(map)?;
        let attachment =
            self.context.attachments.get(num).ok_or_else(|| A::Error::custom("no such attachment"))?;
        self.visitor.visit_borrowed_bytes(attachment)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Wrapped { inner: seq, context: self.context })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_bytes(text.as_bytes())
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'b str) -> Result<V::Value, E> {
        match self.context.original(text) {
            Some(text) => self.visitor.visit_borrowed_bytes(text.as_bytes()),
            None => self.visitor.visit_bytes(text.as_bytes()),
        }
    }
}

macro_rules! visit_scalar {
    ($inner:ident $($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.$inner.$method(value)
        }
    )*};
}

impl<'a: 'b, 'b, V: Visitor<'a>> Visitor<'b> for AnyVisitor<'a, 'b, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<V::Value, A::Error> {
        let AnyVisitor { visitor, guessed } = self;
        let context = visitor.context;
        let key = map.next_key::<FirstKey<'b>>()?;
        let num = match &key {
            Some(FirstKey(Cow::Borrowed(key))) => context.placeholder(key),
            _ => None,
        };
        let Some(attachment) = num.and_then(|num| context.attachments.get(num)) else {
            return visitor.visit_map(Replayed { key, map });
        };
        map.next_value::<IgnoredAny>()?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        let value = visitor.inner.visit_borrowed_bytes(attachment);
        if guessed.get() != Guess::Refused {
            guessed.set(if value.is_ok() { Guess::Accepted } else { Guess::Refused });
        }
        value
    }

    fn visit_seq<A: SeqAccess<'b>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(seq)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'b str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_str(text)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    // The other scalars of JSON.
    visit_scalar! { visitor
        visit_bool(bool); visit_i64(i64); visit_u64(u64); visit_f64(f64);
        visit_i128(i128); visit_u128(u128); visit_str(&str); visit_string(String);
    }
}

/// The first key of an object.
struct FirstKey<'b>(Cow<'b, str>);

impl<'de> Deserialize<'de> for FirstKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FirstKey<'de>, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = FirstKey<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<FirstKey<'de>, E> {
                Ok(FirstKey(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<FirstKey<'de>, E> {
                Ok(FirstKey(Cow::Owned(key.into())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// An object whose first key was read already.
struct Replayed<'b, A> {
    key: Option<FirstKey<'b>>,
    map: A,
}

impl<'b, A: MapAccess<'b>> MapAccess<'b> for Replayed<'b, A> {
    type Error = A::Error;

    fn next_key_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        match self.key.take() {
            Some(FirstKey(Cow::Borrowed(key))) => {
                seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
            }
            Some(FirstKey(Cow::Owned(key))) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<'a: 'b, 'b, V: Visitor<'a>> Visitor<'b> for Wrapped<'a, 'b, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit_scalar! { inner
        visit_bool(bool); visit_char(char);
        visit_i8(i8); visit_i16(i16); visit_i32(i32); visit_i64(i64); visit_i128(i128);
        visit_u8(u8); visit_u16(u16); visit_u32(u32); visit_u64(u64); visit_u128(u128);
        visit_f32(f32); visit_f64(f64);
        visit_str(&str); visit_string(String);
        visit_bytes(&[u8]); visit_byte_buf(Vec<u8>);
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'b str) -> Result<V::Value, E> {
        match self.context.original(text) {
            Some(text) => self.inner.visit_borrowed_str(text),
            None => self.inner.visit_str(text),
        }
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'b>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.wrap(value);
        self.inner.visit_some(value)
    }

    fn visit_newtype_struct<D: Deserializer<'b>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.wrap(value);
        self.inner.visit_newtype_struct(value)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, seq: A) -> Result<V::Value, A::Error> {
        let seq = self.wrap(seq);
        self.inner.visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<V::Value, A::Error> {
        let map = self.wrap(map);
        self.inner.visit_map(map)
    }

    fn visit_enum<A: EnumAccess<'b>>(self, data: A) -> Result<V::Value, A::Error> {
        let data = self.wrap(data);
        self.inner.visit_enum(data)
    }
}

impl<'a: 'b, 'b, T: DeserializeSeed<'a>> DeserializeSeed<'b> for Wrapped<'a, 'b, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'a: 'b, 'b, A: SeqAccess<'b>> SeqAccess<'a> for Wrapped<'a, 'b, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a: 'b, 'b, A: MapAccess<'b>> MapAccess<'a> for Wrapped<'a, 'b, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let seed = self.wrap(seed);
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

impl<'a: 'b, 'b, A: EnumAccess<'b>> EnumAccess<'a> for Wrapped<'a, 'b, A> {
    type Error = A::Error;
    type Variant = Wrapped<'a, 'b, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let seed = self.wrap(seed);
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Wrapped { inner, context: self.context }))
    }
}

impl<'a: 'b, 'b, A: VariantAccess<'b>> VariantAccess<'a> for Wrapped<'a, 'b, A> {
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
