//! What Redis sends to a connection that reads streams.
//!
//! An entry is passed on once it is complete, so that no more than one is kept however many a reply has, and its parts are
//! parts of the input.

use super::frame::{Element, Frame, Malformed, Part, Skip, line, number, simple};
use bytes::{Buf, Bytes};

/// The memory that an element takes beside its content, about.
const OVERHEAD: usize = 16;

/// The most parts of an entry whose memory is used again.
const MAX_REUSED: usize = 64;

/// A piece of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A command without another answer has succeeded.
    Done,
    /// A command was refused.
    Refused(String),
    /// There are no entries.
    Nothing,
    /// Entries of this stream follow.
    Stream(&'a [u8]),
    Entry(Entry<'a>),
    /// An entry of this number of bytes was above the limit, and is passed.
    TooLong {
        id: Bytes,
        len: usize,
    },
}

/// An entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    bytes: &'a [u8],
    id: Part,
    /// Names and values in turn.
    parts: Vec<Part>,
}

impl<'a> Entry<'a> {
    pub(crate) fn id(&self) -> &'a [u8] {
        self.get(self.id)
    }

    /// Returns the fields. Those whose names are not text are left out.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.parts.chunks_exact(2).filter_map(|field| {
            let &[name, value] = field else { return None };
            Some((std::str::from_utf8(self.get(name)).ok()?, self.get(value)))
        })
    }

    /// Returns the number of bytes as which it came.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn get(&self, (start, end): Part) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// The parser of one connection.
#[derive(Debug)]
pub(crate) struct Entries {
    limit: usize,
    /// The streams of the reply that are to come.
    streams: usize,
    /// The entries of the current stream that are to come.
    entries: usize,
    open: Option<Open>,
    /// The memory for the parts of the next entry.
    parts: Vec<Part>,
    /// The entry that is being passed, by its id.
    skip: Option<(Bytes, Skip)>,
    missing: usize,
}

/// An entry that is not complete. It is at the beginning of the input.
#[derive(Debug)]
struct Open {
    id: Part,
    parts: Vec<Part>,
    /// The elements to come, and where the next one begins.
    left: usize,
    at: usize,
    /// The length of the content, with overhead.
    len: usize,
}

impl Entries {
    /// Creates a parser that passes entries with more than `limit` bytes of content.
    pub(crate) fn new(limit: usize) -> Entries {
        Entries { limit, streams: 0, entries: 0, open: None, parts: Vec::new(), skip: None, missing: 0 }
    }

    /// Takes the memory of an entry that was handled, so that the next one needs none.
    pub(crate) fn reuse(&mut self, entry: Entry<'_>) {
        if entry.parts.capacity() <= MAX_REUSED {
            self.parts = entry.parts;
        }
    }

    /// Returns whether the last reply is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.streams == 0 && self.entries == 0
    }

    /// Returns the number of bytes that are missing from the entry at the beginning of the input, if that is known.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Takes the next piece out of `input`. Returns `None` if it is not complete. `of_streams` says whether a reply that
    /// begins is that of `XREAD`, which lists streams, or that of `XRANGE`, which lists entries.
    pub(crate) fn take<'a>(
        &mut self,
        input: &mut &'a [u8],
        of_streams: bool,
    ) -> Result<Option<Piece<'a>>, Malformed> {
        self.missing = 0;
        if self.is_complete() {
            let Some((kind, line, next)) = line(input, 0)? else { return Ok(None) };
            let piece = match (simple(kind, line), kind) {
                (Some(Frame::Refused(text)), _) => Some(Piece::Refused(text)),
                (Some(_), _) => Some(Piece::Done),
                (None, b'*') if line == b"-1" => Some(Piece::Nothing),
                (None, b'*') => {
                    let count = number(line).ok_or(Malformed)?;
                    *(if of_streams { &mut self.streams } else { &mut self.entries }) = count;
                    (count == 0).then_some(Piece::Nothing)
                }
                _ => return Err(Malformed),
            };
            input.advance(next);
            if piece.is_some() {
                return Ok(piece);
            }
        }
        if self.entries == 0 { self.take_stream(input) } else { self.take_entry(input) }
    }

    /// Takes the name of a stream, and the number of its entries.
    fn take_stream<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Malformed> {
        let Some(at) = pair(input)? else { return Ok(None) };
        let Some(name) = Element::read(input, at)? else { return Ok(None) };
        if name.len() > self.limit {
            return Err(Malformed);
        }
        let Some((kind, entries, next)) = line(input, name.next)? else { return Ok(None) };
        let (b'*', Some(entries)) = (kind, number(entries)) else { return Err(Malformed) };
        let (start, end) = name.content(input)?;
        let name = input.get(start..end).unwrap_or_default();
        input.advance(next);
        self.streams = self.streams.saturating_sub(1);
        self.entries = entries;
        Ok(Some(Piece::Stream(name)))
    }

    fn take_entry<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Malformed> {
        if self.skip.is_none() {
            if self.open.is_none() {
                self.open = self.begin(input)?;
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            while let Some(left) = open.left.checked_sub(1) {
                let Some(element) = Element::read(input, open.at)? else { return Ok(None) };
                let len = open.len.saturating_add(element.len()).saturating_add(OVERHEAD);
                if len > self.limit {
                    break;
                }
                if element.next > input.len() {
                    self.missing = element.next - input.len();
                    return Ok(None);
                }
                open.parts.push(element.content(input)?);
                (open.at, open.left) = (element.next, left);
                open.len = len;
            }
            let Some(open) = self.open.take() else { return Ok(None) };
            if open.left == 0 {
                self.entries -= 1;
                let Open { id, parts, at, .. } = open;
                let bytes = input.get(..at).unwrap_or_default();
                input.advance(at);
                return Ok(Some(Piece::Entry(Entry { bytes, id, parts })));
            }
            let id = Bytes::copy_from_slice(input.get(open.id.0..open.id.1).unwrap_or_default());
            let len = open.len - open.parts.len() * OVERHEAD;
            self.skip = Some((id, Skip { bytes: open.at, elements: open.left, len }));
        }
        let Some((_, skip)) = &mut self.skip else { return Ok(None) };
        if !skip.pass(input)? {
            return Ok(None);
        }
        let len = skip.len;
        let id = self.skip.take().map_or(Bytes::new(), |(id, _)| id);
        self.entries -= 1;
        Ok(Some(Piece::TooLong { id, len }))
    }

    /// Begins an entry: its id, and the number of its names and values.
    fn begin(&mut self, input: &[u8]) -> Result<Option<Open>, Malformed> {
        let Some(at) = pair(input)? else { return Ok(None) };
        let Some(id) = Element::read(input, at)? else { return Ok(None) };
        if id.len() > self.limit {
            return Err(Malformed);
        }
        let Some((kind, count, at)) = line(input, id.next)? else { return Ok(None) };
        if kind != b'*' {
            return Err(Malformed);
        }
        // An entry that was deleted meanwhile has no fields.
        let left = if count == b"-1" { 0 } else { number(count).ok_or(Malformed)? };
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        parts.reserve(left.min(MAX_REUSED));
        Ok(Some(Open { id: id.content(input)?, parts, left, at, len: 0 }))
    }
}

/// Passes the beginning of a pair. Returns where its first element begins.
fn pair(input: &[u8]) -> Result<Option<usize>, Malformed> {
    match line(input, 0)? {
        Some((b'*', b"2", at)) => Ok(Some(at)),
        Some(_) => Err(Malformed),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Reads pieces that come in parts of this size, and shows them.
    fn pieces(bytes: &[u8], size: usize, limit: usize, of_streams: bool) -> Vec<String> {
        let (mut input, mut parser) = (Vec::new(), Entries::new(limit));
        let mut pieces = Vec::new();
        for part in bytes.chunks(size) {
            input.extend_from_slice(part);
            let mut rest = &input[..];
            while let Some(piece) = parser.take(&mut rest, of_streams).unwrap() {
                pieces.push(match piece {
                    Piece::Entry(entry) => {
                        let fields: Vec<_> = entry
                            .fields()
                            .map(|(name, value)| (name, value.escape_ascii().to_string()))
                            .collect();
                        let shown = format!("{} {fields:?}", String::from_utf8_lossy(entry.id()));
                        parser.reuse(entry);
                        shown
                    }
                    Piece::Stream(name) => format!("Stream {}", name.escape_ascii()),
                    other => format!("{other:?}"),
                });
            }
            input = rest.to_vec();
            assert!(input.len() < limit + size + 100, "{} bytes are kept", input.len());
        }
        assert!(input.is_empty() && parser.is_complete());
        pieces
    }

    #[test]
    fn replies_are_the_same_in_any_parts() {
        let bytes = b"+OK\r\n*2\r\n*2\r\n$1\r\na\r\n*2\r\n\
            *2\r\n$3\r\n1-0\r\n*4\r\n$1\r\nk\r\n$3\r\n\r\n*\r\n$1\r\nl\r\n$0\r\n\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n\
            *2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n5-5\r\n*2\r\n$2\r\n\xff\xff\r\n$1\r\nv\r\n\
            *-1\r\n-ERR no\r\n";
        let expected = [
            "Done",
            "Stream a",
            "1-0 [(\"k\", \"\\\\r\\\\n*\"), (\"l\", \"\")]",
            "1-1 []",
            "Stream b",
            "5-5 []",
            "Nothing",
            "Refused(\"ERR no\")",
        ];
        for size in 1..=bytes.len() {
            assert_eq!(pieces(bytes, size, 100, true), expected, "in parts of {size}");
        }
        let range = b"*0\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n*0\r\n";
        assert_eq!(pieces(range, 1, 100, false), ["Nothing", "1-0 [(\"k\", \"v\")]", "Nothing"]);
    }

    #[test]
    fn an_entry_above_the_limit_is_passed_and_reported() {
        let long = "x".repeat(1000);
        let bytes = format!(
            "*1\r\n*2\r\n$1\r\na\r\n*3\r\n*2\r\n$3\r\n1-0\r\n*4\r\n$1\r\nk\r\n$1000\r\n{long}\r\n$1\r\nl\r\n$2\r\nab\r\n\
             *2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\n1-2\r\n*8\r\n{}*-1\r\n",
            "$1\r\nk\r\n".repeat(8)
        );
        let expected = [
            "Stream a",
            "TooLong { id: b\"1-0\", len: 1004 }",
            "1-1 [(\"k\", \"v\")]",
            "TooLong { id: b\"1-2\", len: 8 }",
            "Nothing",
        ];
        for size in 1..=bytes.len() {
            assert_eq!(pieces(bytes.as_bytes(), size, 40, true), expected, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_no_list_of_entries_is_refused() {
        for input in [
            &b"$1\r\na\r\n"[..],
            b"*1\r\n$1\r\na\r\n",
            b"*1\r\n*3\r\n",
            b"*1\r\n*2\r\n*1\r\n",
            b"*1\r\n*2\r\n$1\r\na\r\n$1\r\n",
            b"*1\r\n*2\r\n$1\r\naXX*1\r\n",
            b"*1\r\n*2\r\n$1000\r\n",
        ] {
            assert_eq!(Entries::new(100).take(&mut &*input, true), Err(Malformed), "{input:?}");
        }
    }
}
