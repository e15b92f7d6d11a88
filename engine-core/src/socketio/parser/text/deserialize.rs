//! Arguments read as the types that a handler asks for.

use super::json::{Elements, replace_lone_surrogates};
use super::placeholder;
use super::string::plain_string;
use crate::socketio::args::{Args, ArgsError};
use crate::socketio::attached::Attached;
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::de::StrRead;

/// Reads arguments as `T`: see [`Args::deserialize`].
#[inline(always)]
pub(crate) fn deserialize<'a, T: Deserialize<'a>>(args: &Args<'a>) -> Result<T, ArgsError> {
    read::<_, T>(args.json(), args.attachments(), ReadList(args))
}

/// Reads one argument as `T`: see [`Arg::deserialize`](crate::socketio::Arg::deserialize).
pub(crate) fn deserialize_one<'a, T: Deserialize<'a>>(
    json: &'a str,
    index: usize,
    attachments: Attached<'a>,
) -> Result<T, ArgsError> {
    read::<_, T>(json, attachments, ReadOne(index))
}

/// A way to read a text as a value.
trait Read<'a> {
    fn read<'b, T: Deserialize<'a>>(&'b self, context: Context<'a, 'b>) -> Result<T, serde_json::Error>
    where
        'a: 'b;
}

/// Reads the list of arguments as one value.
struct ReadList<'a, 'b>(&'b Args<'a>);

impl<'a> Read<'a> for ReadList<'a, '_> {
    #[inline]
    fn read<'b, T: Deserialize<'a>>(&'b self, context: Context<'a, 'b>) -> Result<T, serde_json::Error>
    where
        'a: 'b,
    {
        T::deserialize(ArgsDeserializer { args: self.0, context })
    }
}

/// Reads the text of one argument, which has this index.
struct ReadOne(usize);

impl<'a> Read<'a> for ReadOne {
    fn read<'b, T: Deserialize<'a>>(&'b self, context: Context<'a, 'b>) -> Result<T, serde_json::Error>
    where
        'a: 'b,
    {
        match context.is_plain() {
            true => T::deserialize(Plain { index: self.0, text: context.json, is_string: false }),
            false => read_value(self.0, context.text(), |inner| T::deserialize(Wrapped { inner, context })),
        }
    }
}

/// Reads a text, again if a type asks for it.
///
/// A type that accepts anything reads a placeholder as bytes first. If that fails, it has no bytes, as
/// `serde_json::Value`, and reads the object. serde_json refuses half of a surrogate pair, so only a text that it has
/// refused is searched for one.
#[inline(always)]
fn read<'a, R: Read<'a>, T: Deserialize<'a>>(
    json: &'a str,
    attachments: Attached<'a>,
    how: R,
) -> Result<T, ArgsError> {
    let error = match attachments.is_empty() {
        // By far the most frequent, so it calls nothing but the type's own code.
        true => match how.read(Context { attachments, json, copy: None, guessed: None }) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        },
        false => match read_placeholders(&how, json, attachments, None) {
            Ok(value) => return Ok(value),
            Err(error) => explain(error),
        },
    };
    read_repaired(&how, json, attachments, error)
}

/// Says how bytes are read, if a type met an object that may be a placeholder.
#[cold]
fn explain(error: serde_json::Error) -> serde_json::Error {
    match error.to_string().contains("invalid type: map") {
        true => serde_json::Error::custom(format_args!("{error} (bytes are read as `bytes::Bytes`)")),
        false => error,
    }
}

#[cold]
fn read_repaired<'a, R: Read<'a>, T: Deserialize<'a>>(
    how: &R,
    json: &'a str,
    attachments: Attached<'a>,
    error: serde_json::Error,
) -> Result<T, ArgsError> {
    let Some(replaced) = replace_lone_surrogates(json) else { return Err(ArgsError::new(&error)) };
    read_placeholders(how, json, attachments, Some(&replaced)).map_err(|error| ArgsError::new(&error))
}

fn read_placeholders<'a: 'b, 'b, R: Read<'a>, T: Deserialize<'a>>(
    how: &'b R,
    json: &'a str,
    attachments: Attached<'a>,
    copy: Option<&'b str>,
) -> Result<T, serde_json::Error> {
    let plain = Context { attachments, json, copy, guessed: None };
    let guessed = Cell::new(Guess::None);
    let result = how.read(Context { guessed: Some(&guessed), ..plain });
    match (result, guessed.get()) {
        (Ok(value), _) => Ok(value),
        (Err(error), Guess::None) => Err(error),
        (Err(error), Guess::Accepted) => how.read(plain).map_err(|_| error),
        (Err(_), Guess::Refused) => how.read(plain),
    }
}

/// The outcome of reading placeholders as bytes for types that accept anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// There was no placeholder.
    None,
    /// The types took the bytes.
    Accepted,
    /// A type did not take bytes, which is why the attempt failed.
    Refused,
}

/// A deserializer that reads the list of arguments as one value.
struct ArgsDeserializer<'a, 'b> {
    args: &'b Args<'a>,
    context: Context<'a, 'b>,
}

impl<'a: 'b, 'b> ArgsDeserializer<'a, 'b> {
    fn elements(&self) -> Elements<'b> {
        self.args.elements_of(self.context.text())
    }

    fn list<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, serde_json::Error> {
        visitor.visit_seq(List { elements: self.elements(), index: 0, len, context: self.context })
    }
}

/// Reads the value at the start of `text`, after which a comma or the end of an array or of the text follows. `index` is the number of
/// arguments before it.
///
/// serde_json stops reading a 128-bit integer at its last digit: without a check of what follows, `1e3` would be 1.
fn read_value<'b, T>(
    index: usize,
    text: &'b str,
    read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'b>>) -> Result<T, serde_json::Error>,
) -> Result<T, serde_json::Error> {
    let mut inner = serde_json::Deserializer::from_str(text);
    let value = read(&mut inner).map_err(|error| in_argument(index, &error))?;
    let end = inner.into_iter::<IgnoredAny>().byte_offset();
    let behind = text.as_bytes().get(end..).unwrap_or_default();
    match behind.trim_ascii_start().first() {
        None | Some(b',' | b']') => Ok(value),
        Some(_) => Err(in_argument(index, &"trailing characters")),
    }
}

/// Returns the error with the argument's number in front, counted from 1.
#[cold]
fn in_argument(index: usize, error: &dyn fmt::Display) -> serde_json::Error {
    serde_json::Error::custom(format_args!("argument {}: {error}", index + 1))
}

/// A deserializer of one argument, if no placeholder has to be read: by serde_json, except for strings.
struct Plain<'a> {
    index: usize,
    /// Begins with the argument. It was scanned when it arrived.
    text: &'a str,
    /// It is known that the text is a string without escapes, and `]`.
    is_string: bool,
}

impl<'a> Plain<'a> {
    /// Returns the string, if it is one without escapes.
    #[inline]
    fn string(&self) -> Option<&'a str> {
        match self.is_string {
            true => self.text.strip_prefix('"')?.strip_suffix("\"]"),
            false => plain_string(self.text),
        }
    }
}

macro_rules! read_plain {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'a>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, serde_json::Error> {
            read_value(self.index, self.text, |inner| inner.$method($($name,)* visitor))
        }
    )*};
}

impl<'a> Deserializer<'a> for Plain<'a> {
    type Error = serde_json::Error;

    read_plain! {
        deserialize_bool(); deserialize_char();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64();
        deserialize_bytes(); deserialize_byte_buf(); deserialize_option(); deserialize_unit();
        deserialize_seq(); deserialize_map(); deserialize_identifier(); deserialize_ignored_any();
        deserialize_tuple(len: usize);
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    /// Reads a string without escapes where it is: serde_json would search for its end byte by byte
    /// (`benches/count echo`).
    #[inline]
    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        match self.string() {
            Some(string) => {
                let read: Result<_, serde_json::Error> = visitor.visit_borrowed_str(string);
                read.map_err(|error| in_argument(self.index, &error))
            }
            None => read_value(self.index, self.text, |inner| inner.deserialize_str(visitor)),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        match self.text.starts_with('"') {
            true => self.deserialize_str(visitor),
            false => read_value(self.index, self.text, |inner| inner.deserialize_any(visitor)),
        }
    }
}

/// Defines methods that read the first argument, without [`Wrapped`] if it is not needed.
macro_rules! read_first {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'a>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, serde_json::Error> {
            let context = self.context;
            if context.is_plain() {
                return match self.args.first() {
                    Some(first) => {
                        let is_string = self.args.is_string();
                        Plain { index: 0, text: first, is_string }.$method($($name,)* visitor)
                    }
                    None => Missing::new(0).$method($($name,)* visitor),
                };
            }
            match self.elements().seek() {
                Some(first) => {
                    read_value(0, first, |inner| Wrapped { inner, context }.$method($($name,)* visitor))
                }
                None => Missing::new(0).$method($($name,)* visitor),
            }
        }
    )*};
}

impl<'a: 'b, 'b> Deserializer<'a> for ArgsDeserializer<'a, 'b> {
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
        // serde_json recognizes its RawValue by this name, and reads the text unchanged.
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

/// The arguments as the elements of a tuple. Arguments behind its last element are not read.
struct List<'a, 'b> {
    elements: Elements<'b>,
    index: usize,
    /// The length of the tuple. Without it, missing arguments could be read as `None` without end.
    len: usize,
    context: Context<'a, 'b>,
}

impl<'a> SeqAccess<'a> for List<'a, '_> {
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
        let context = self.context;
        let plain = if context.is_plain() { context.original(text) } else { None };
        let value = match plain {
            Some(text) => seed.deserialize(Plain { index, text, is_string: false }),
            None => read_value(index, text, |inner| seed.deserialize(Wrapped { inner, context })),
        };
        value.map(Some)
    }
}

/// A deserializer for a missing argument.
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

/// The text that is read, and the attachments that it refers to.
#[derive(Clone, Copy)]
struct Context<'a, 'b> {
    attachments: Attached<'a>,
    /// The text of the arguments.
    json: &'a str,
    /// A copy of the same length that is read instead, in which halves of surrogate pairs are replaced.
    copy: Option<&'b str>,
    /// Set if a type that accepts anything is to read a placeholder as bytes.
    guessed: Option<&'b Cell<Guess>>,
}

impl<'a: 'b, 'b> Context<'a, 'b> {
    fn text(&self) -> &'b str {
        self.copy.unwrap_or(self.json)
    }

    /// Returns whether serde_json can read the text alone: there are no placeholders, and no copy is read, from which
    /// nothing may be borrowed.
    fn is_plain(&self) -> bool {
        self.attachments.is_empty() && self.copy.is_none()
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

/// A wrapper around a deserializer, a visitor or an access, and around everything that these pass on.
///
/// It forwards all calls to `inner`, with two differences: a placeholder is read as its attachment if bytes are asked
/// for, and strings are borrowed from the arguments' own text.
struct Wrapped<'a, 'b, T> {
    inner: T,
    context: Context<'a, 'b>,
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
