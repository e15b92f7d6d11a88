//! Arguments read as the types that a handler asks for.

use super::json::{Elements, replace_lone_surrogates};
use super::string::plain_string;
use super::wrapped::{Context, Guess, Wrapped};
use crate::socketio::args::{Args, ArgsError};
use crate::socketio::attached::Attached;
use alloc::string::ToString;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
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
    read::<_, T>(json, attachments, ReadOne { index, json })
}

/// A way to read a text as a value.
trait Read<'a> {
    /// Without a context, serde_json can read the text alone: there are no placeholders, and no copy is read, from which
    /// nothing may be borrowed.
    fn read<'b, T: Deserialize<'a>>(
        &'b self,
        context: Option<&'b Context<'a, 'b>>,
    ) -> Result<T, serde_json::Error>
    where
        'a: 'b;
}

/// Reads the list of arguments as one value.
struct ReadList<'a, 'b>(&'b Args<'a>);

impl<'a> Read<'a> for ReadList<'a, '_> {
    #[inline]
    fn read<'b, T: Deserialize<'a>>(
        &'b self,
        context: Option<&'b Context<'a, 'b>>,
    ) -> Result<T, serde_json::Error>
    where
        'a: 'b,
    {
        T::deserialize(ArgsDeserializer { args: self.0, context })
    }
}

/// Reads the text of one argument, which has this index.
struct ReadOne<'a> {
    index: usize,
    json: &'a str,
}

impl<'a> Read<'a> for ReadOne<'a> {
    fn read<'b, T: Deserialize<'a>>(
        &'b self,
        context: Option<&'b Context<'a, 'b>>,
    ) -> Result<T, serde_json::Error>
    where
        'a: 'b,
    {
        let ReadOne { index, json } = *self;
        match context {
            None => T::deserialize(Plain { index, text: json, is_string: false }),
            Some(&context) => {
                read_value(index, context.text(), |inner| T::deserialize(Wrapped { inner, context }))
            }
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
        true => match how.read(None) {
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
    let result = how.read(Some(&Context { guessed: Some(&guessed), ..plain }));
    match (result, guessed.get()) {
        (Ok(value), _) => Ok(value),
        (Err(error), Guess::None) => Err(error),
        (Err(error), Guess::Accepted) => how.read(Some(&plain)).map_err(|_| error),
        (Err(_), Guess::Refused) => how.read(Some(&plain)),
    }
}

/// A deserializer that reads the list of arguments as one value.
struct ArgsDeserializer<'a, 'b> {
    args: &'b Args<'a>,
    context: Option<&'b Context<'a, 'b>>,
}

impl<'a: 'b, 'b> ArgsDeserializer<'a, 'b> {
    fn elements(&self) -> Elements<'b> {
        self.args.elements_of(self.context.map_or(self.args.json(), Context::text))
    }

    fn list<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, serde_json::Error> {
        let json = self.args.json();
        visitor.visit_seq(List { elements: self.elements(), index: 0, len, json, context: self.context })
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
            let Some(&context) = self.context else {
                return match self.args.first() {
                    Some(first) => {
                        let is_string = self.args.is_string();
                        Plain { index: 0, text: first, is_string }.$method($($name,)* visitor)
                    }
                    None => Missing::new(0).$method($($name,)* visitor),
                };
            };
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
    /// The text of the arguments.
    json: &'a str,
    context: Option<&'b Context<'a, 'b>>,
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
        let value = match self.context {
            None => {
                // Both reach to the end of the array.
                let start = self.json.len().checked_sub(text.len());
                let text = start.and_then(|start| self.json.get(start..)).unwrap_or_default();
                seed.deserialize(Plain { index, text, is_string: false })
            }
            Some(&context) => read_value(index, text, |inner| seed.deserialize(Wrapped { inner, context })),
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
