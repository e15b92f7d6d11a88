//! A serializer that writes JSON, with placeholders for bytes, into reusable buffers.
//!
//! serde_json's own serializer writes only to `std::io`, and does not exist without `std`. This one writes the same
//! text.

use super::string::{MAX_TWICE, is_plain, skip_plain};
use crate::copy::append;
use crate::reuse::Reuse;
use crate::socketio::error::EncodeError;
use crate::socketio::failure::{self, FAILURE};
use crate::socketio::parser::encoded::Binary;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};
use serde::ser::{Error as _, Impossible, Serialize, Serializer};

/// The name of the struct as which serde_json's `RawValue` serializes.
pub(super) const RAW_VALUE: &str = "$serde_json::private::RawValue";
/// The same for serde_json's `Number` with the feature `arbitrary_precision`.
const RAW_NUMBER: &str = "$serde_json::private::Number";
/// The length in bytes of the pieces of a long string.
const PIECE: usize = 8 << 10;

/// JSON text, and the attachments that were taken out of it.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) text: Vec<u8>,
    pub(super) binary: Binary,
    /// The number of attachments that the text is to stand behind, which placeholders count from.
    pub(super) attached_before: usize,
    /// The next string is JSON already.
    raw: bool,
    text_reuse: Reuse,
    binary_reuse: Reuse,
}

impl Sink {
    pub(super) const fn new() -> Sink {
        Sink {
            text: Vec::new(),
            binary: Binary::new(),
            attached_before: 0,
            raw: false,
            text_reuse: Reuse::new(),
            binary_reuse: Reuse::new(),
        }
    }

    /// Clears the buffers. A capacity above `kept` bytes is [kept](Reuse) only while it is needed.
    pub(super) fn clear(&mut self, kept: usize) {
        self.text_reuse.clear(&mut self.text, kept);
        // Most servers send no attachments.
        if self.binary.ends.capacity() > 0 {
            self.clear_binary(kept);
        }
        // Still set if writing the previous packet failed.
        self.raw = false;
    }

    #[inline(never)]
    fn clear_binary(&mut self, kept: usize) {
        self.binary_reuse.clear(&mut self.binary.bytes, kept);
        self.binary.ends.clear();
        if self.binary.ends.capacity() > kept / size_of::<usize>() {
            self.binary.ends.shrink_to(kept / size_of::<usize>());
        }
    }

    #[inline]
    pub(super) fn string(&mut self, text: &str) {
        self.text.push(b'"');
        match text.len() <= MAX_TWICE && is_plain(text.as_bytes()) {
            // Most strings: `benches/count ack`.
            true => self.text.extend_from_slice(text.as_bytes()),
            false => self.escaped(text),
        }
        self.text.push(b'"');
    }

    /// Writes the characters between the quotes of a string.
    #[inline(never)]
    fn escaped(&mut self, text: &str) {
        self.text.reserve(text.len());
        // Piece by piece, so that what was looked through is still in the processor's cache when it is copied:
        // `benches/compare`, text900k.
        for mut rest in text.as_bytes().chunks(PIECE) {
            loop {
                let special = skip_plain(rest);
                let plain = rest.get(..rest.len() - special.len());
                append(&mut self.text, plain.unwrap_or_default());
                let Some((&byte, behind)) = special.split_first() else { break };
                self.escape(byte);
                rest = behind;
            }
        }
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0A => b'n',
            0x0C => b'f',
            0x0D => b'r',
            _ => {
                // Never fails: it writes to memory.
                let _ = write!(Plain(&mut self.text), "\\u{byte:04x}");
                return;
            }
        };
        self.text.extend_from_slice(&[b'\\', short]);
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Writes a finite float, by the shortest digits that read back as the same number.
    fn float(&mut self, value: impl zmij::Float) {
        self.text.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }

    fn attachment(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(br#"{"_placeholder":true,"num":"#);
        self.integer(self.attached_before + self.binary.ends.len());
        self.text.push(b'}');
        self.binary.push(bytes);
    }

    fn compound(&mut self, open: &'static [u8], close: &'static [u8]) -> Compound<'_> {
        self.text.extend_from_slice(open);
        Compound { sink: self, first: true, close }
    }

    /// Writes `{"variant":` in front of the data of an enum's variant.
    fn variant(&mut self, name: &str) {
        self.text.push(b'{');
        self.string(name);
        self.text.push(b':');
    }
}

struct Plain<'a>(&'a mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Escaped<'a>(&'a mut Sink);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.escaped(text);
        Ok(())
    }
}

macro_rules! serialize_integer {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.integer(value);
            Ok(())
        }
    )*};
}

impl<'a> Serializer for &'a mut Sink {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    serialize_integer! {
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128); serialize_u8(u8); serialize_u16(u16); serialize_u32(u32);
        serialize_u64(u64); serialize_u128(u128);
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        self.float(value);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        self.float(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        if self.raw {
            self.text.extend_from_slice(value.as_bytes());
        } else {
            self.string(value);
        }
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        if self.raw {
            return write!(Plain(&mut self.text), "{value}").map_err(EncodeError::custom);
        }
        self.text.push(b'"');
        write!(Escaped(self), "{value}").map_err(EncodeError::custom)?;
        self.text.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.attachment(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.text.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, EncodeError> {
        Ok(self.compound(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, EncodeError> {
        Ok(self.compound(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, EncodeError> {
        Ok(self.compound(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        self.variant(variant);
        Ok(self.compound(b"[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, EncodeError> {
        Ok(self.compound(b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'a>, EncodeError> {
        if name == RAW_VALUE || name == RAW_NUMBER {
            self.raw = true;
            return Ok(self.compound(b"", b""));
        }
        Ok(self.compound(b"{", b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, EncodeError> {
        self.variant(variant);
        Ok(self.compound(b"{", b"}}"))
    }
}

/// An array or object that is being written, or the list of arguments.
pub(super) struct Compound<'a> {
    sink: &'a mut Sink,
    /// Set until an element is written: the first one has no comma in front.
    first: bool,
    close: &'static [u8],
}

impl Compound<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.comma();
        value.serialize(&mut *self.sink)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        if self.sink.raw {
            value.serialize(&mut *self.sink)?;
            self.sink.raw = false;
            return Ok(());
        }
        self.comma();
        self.sink.string(key);
        self.sink.text.push(b':');
        value.serialize(&mut *self.sink)
    }

    fn comma(&mut self) {
        if !self.first {
            self.sink.text.push(b',');
        }
        self.first = false;
    }

    fn close(self) -> Result<(), EncodeError> {
        self.sink.text.extend_from_slice(self.close);
        Ok(())
    }
}

/// The traits of compounds that differ only in their names.
macro_rules! compound {
    ($($trait:ident::$method:ident -> $write:ident($($key:ident: $type:ty)?);)*) => {$(
        impl serde::ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: $type,)?
                value: &T,
            ) -> Result<(), EncodeError> {
                self.$write($($key,)? value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        }
    )*};
}

compound! {
    SerializeSeq::serialize_element -> element();
    SerializeTuple::serialize_element -> element();
    SerializeTupleStruct::serialize_field -> element();
    SerializeTupleVariant::serialize_field -> element();
    SerializeStruct::serialize_field -> field(key: &'static str);
    SerializeStructVariant::serialize_field -> field(key: &'static str);
}

impl serde::ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.comma();
        key.serialize(Key { sink: self.sink })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.sink.text.push(b':');
        value.serialize(&mut *self.sink)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}

fn bad_key<T>() -> Result<T, EncodeError> {
    Err(EncodeError::custom("a key must be a string"))
}

/// A map's key: a string, or a number or boolean between quotes.
struct Key<'a> {
    sink: &'a mut Sink,
}

impl Key<'_> {
    fn float(self, value: impl zmij::Float) -> Result<(), EncodeError> {
        self.sink.text.push(b'"');
        self.sink.float(value);
        self.sink.text.push(b'"');
        Ok(())
    }
}

macro_rules! quoted {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.sink.text.push(b'"');
            (&mut *self.sink).$method(value)?;
            self.sink.text.push(b'"');
            Ok(())
        }
    )*};
}

impl Serializer for Key<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Impossible<(), EncodeError>;
    type SerializeTuple = Impossible<(), EncodeError>;
    type SerializeTupleStruct = Impossible<(), EncodeError>;
    type SerializeTupleVariant = Impossible<(), EncodeError>;
    type SerializeMap = Impossible<(), EncodeError>;
    type SerializeStruct = Impossible<(), EncodeError>;
    type SerializeStructVariant = Impossible<(), EncodeError>;

    quoted! {
        serialize_bool(bool);
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128); serialize_u8(u8); serialize_u16(u16); serialize_u32(u32);
        serialize_u64(u64); serialize_u128(u128);
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        if value.is_finite() { self.float(value) } else { bad_key() }
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        if value.is_finite() { self.float(value) } else { bad_key() }
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.sink.serialize_char(value)
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.sink.serialize_str(value)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.sink.collect_str(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), EncodeError> {
        bad_key()
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        bad_key()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        bad_key()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        bad_key()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), EncodeError> {
        bad_key()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, EncodeError> {
        bad_key()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, EncodeError> {
        bad_key()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, EncodeError> {
        bad_key()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, EncodeError> {
        bad_key()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, EncodeError> {
        bad_key()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, EncodeError> {
        bad_key()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, EncodeError> {
        bad_key()
    }
}

/// A serializer of the arguments of a packet into an array that is already open.
///
/// A tuple's elements are the arguments, `()` and a unit struct are none, a `Result` is what it holds, anything else is
/// one.
pub(super) struct ArgumentList<'a> {
    sink: &'a mut Sink,
    /// Set if the array holds an event's name already.
    named: bool,
    /// Set if the value has no size, so that its unit is `()`. A value with a size, such as `serde_json::Value`, means
    /// `null` if it serializes as unit.
    zero_sized: bool,
    /// Set if the value is a `Result`, which other enums may look like.
    is_result: bool,
    /// Set if the value is what an `Err` holds.
    is_error: bool,
    err: ErrIs,
}

/// The use of an `Err` whose error is for the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrIs {
    /// The arguments are the error.
    Sent,
    Refused,
    /// The error is wanted, and nothing of an `Ok`.
    Sought,
}

/// Returns the error of arguments that are an `Err`.
pub(crate) fn error_of<A: Serialize + ?Sized>(args: &A) -> Option<EncodeError> {
    match failure::is_result::<A>() {
        true => ArgumentList::write(&mut Sink::new(), false, ErrIs::Sought, args).err(),
        false => None,
    }
}

/// Returns the error for the value of an `Err` that is not sent.
#[cold]
fn refusal<E: Serialize + ?Sized>(error: &E) -> EncodeError {
    let mut sink = Sink::new();
    let list = ArgumentList { is_error: true, ..ArgumentList::new(&mut sink, false, ErrIs::Sent, error) };
    if let Err(refusal) = error.serialize(list) {
        return refusal;
    }
    sink.clear(0);
    match error.serialize(&mut sink) {
        Ok(()) => EncodeError::ErrValue(String::from_utf8_lossy(&sink.text).into()),
        Err(error) => error,
    }
}

impl<'a> ArgumentList<'a> {
    /// Writes `args`.
    pub(super) fn write<A: Serialize + ?Sized>(
        sink: &'a mut Sink,
        named: bool,
        err: ErrIs,
        args: &A,
    ) -> Result<(), EncodeError> {
        let list = ArgumentList::new(sink, named, err, args);
        args.serialize(ArgumentList { is_result: failure::is_result::<A>(), ..list })
    }

    /// Returns the serializer of a value that is not a `Result`, or is an ordinary enum in spite of it.
    fn new<A: ?Sized>(sink: &'a mut Sink, named: bool, err: ErrIs, value: &A) -> ArgumentList<'a> {
        let zero_sized = size_of_val(value) == 0;
        ArgumentList { sink, named, zero_sized, is_result: false, is_error: false, err }
    }

    fn unit(self) -> Result<(), EncodeError> {
        if self.zero_sized { Ok(()) } else { self.one().serialize_unit() }
    }

    fn one(self) -> &'a mut Sink {
        if self.named {
            self.sink.text.push(b',');
        }
        self.sink
    }

    fn list(self) -> Compound<'a> {
        Compound { sink: self.sink, first: !self.named, close: b"" }
    }
}

macro_rules! one_argument {
    ($($method:ident($($name:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $method(self, $($name: $type),*) -> Result<$result, EncodeError> {
            self.one().$method($($name),*)
        }
    )*};
}

impl<'a> Serializer for ArgumentList<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    one_argument! {
        serialize_bool(v: bool) -> ();
        serialize_i8(v: i8) -> ();
        serialize_i16(v: i16) -> ();
        serialize_i32(v: i32) -> ();
        serialize_i64(v: i64) -> ();
        serialize_i128(v: i128) -> ();
        serialize_u8(v: u8) -> ();
        serialize_u16(v: u16) -> ();
        serialize_u32(v: u32) -> ();
        serialize_u64(v: u64) -> ();
        serialize_u128(v: u128) -> ();
        serialize_f32(v: f32) -> ();
        serialize_f64(v: f64) -> ();
        serialize_char(v: char) -> ();
        serialize_str(v: &str) -> ();
        serialize_bytes(v: &[u8]) -> ();
        serialize_none() -> ();
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> ();
        serialize_seq(len: Option<usize>) -> Compound<'a>;
        serialize_map(len: Option<usize>) -> Compound<'a>;
        serialize_struct(name: &'static str, len: usize) -> Compound<'a>;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> Compound<'a>;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> Compound<'a>;
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.unit()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.unit()
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, EncodeError> {
        Ok(self.list())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, EncodeError> {
        Ok(self.list())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.one().collect_str(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self.one())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        if self.is_error && name == FAILURE {
            let mut text = Sink { raw: true, ..Sink::new() };
            value.serialize(&mut text)?;
            return Err(EncodeError::Failed(String::from_utf8_lossy(&text.text).into()));
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        if !self.is_result {
            return self.one().serialize_newtype_variant(name, index, variant, value);
        }
        let ArgumentList { sink, named, err, .. } = self;
        match (variant, err) {
            ("Ok", ErrIs::Sought) => Ok(()),
            ("Ok", _) => value.serialize(ArgumentList::new(sink, named, err, value)),
            (_, ErrIs::Sent) => {
                let list = ArgumentList::new(sink, named, err, value);
                value.serialize(ArgumentList { is_error: true, ..list })
            }
            _ => Err(refusal(value)),
        }
    }
}
