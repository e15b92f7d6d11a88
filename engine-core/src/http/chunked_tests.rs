use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::http::{Body, header_slots, parse_head};

/// A body, and the bytes after it.
type Decoded = (Vec<u8>, Vec<u8>);

/// Decodes the bytes that arrive in these reads.
fn decode<'a>(reads: impl IntoIterator<Item = &'a [u8]>, max: usize) -> Result<Option<Decoded>, Error> {
    let mut buffer = Vec::new();
    let mut chunked = Chunked::new(max);
    let mut done = None;
    for read in reads {
        buffer.extend_from_slice(read);
        if done.is_some() {
            continue;
        }
        match chunked.decode(&mut buffer)? {
            Progress::More { body } => buffer.truncate(body),
            Progress::Done { body, end } => done = Some((body, end)),
        }
    }
    Ok(done.map(|(body, end)| (buffer[..body].to_vec(), buffer[end..].to_vec())))
}

/// Decodes the input as a whole, byte by byte, and cut in two at each position, and asserts that the
/// result is the same.
fn every_way(input: &[u8], max: usize) -> Result<Option<Decoded>, Error> {
    let whole = decode([input], max);
    assert_eq!(decode(input.chunks(1), max), whole, "byte by byte");
    for at in 0..=input.len() {
        let (left, right) = input.split_at(at);
        assert_eq!(decode([left, right], max), whole, "cut at {at}");
    }
    whole
}

fn accepted(input: &str) -> (String, String) {
    let (body, rest) = every_way(input.as_bytes(), 1000).unwrap().expect("an end");
    (String::from_utf8(body).unwrap(), String::from_utf8(rest).unwrap())
}

fn refused(input: impl AsRef<[u8]>, expected: Error) {
    let input = input.as_ref();
    let text = String::from_utf8_lossy(input);
    assert_eq!(every_way(input, 1000), Err(expected), "{text:?}");
}

#[test]
fn chunks_become_one_body() {
    let input = "5\r\nhello\r\n1\r\n \r\n00a\r\nbig\r\nworld\r\n0\r\n\r\nGET /";
    let (body, rest) = accepted(input);
    assert_eq!(body, "hello big\r\nworld");
    assert_eq!(rest, "GET /");
}

#[test]
fn an_empty_body_is_one_last_chunk() {
    assert_eq!(accepted("0\r\n\r\n"), (String::new(), String::new()));
    assert_eq!(accepted("000\r\n\r\nx"), (String::new(), "x".into()));
}

#[test]
fn sizes_are_hexadecimal_in_any_case() {
    let data = "x".repeat(0x1b);
    assert_eq!(accepted(&format!("1b\r\n{data}\r\n0\r\n\r\n")).0, data);
    assert_eq!(accepted(&format!("1B\r\n{data}\r\n0\r\n\r\n")).0, data);
}

#[test]
fn an_incomplete_body_waits() {
    let input = b"5;a\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for end in 0..input.len() {
        assert_eq!(every_way(&input[..end], 1000), Ok(None), "{end}");
    }
}

#[test]
fn extensions_and_trailers_are_thrown_away() {
    let input = "3;a;b=c;d=\"e f\"\r\nabc\r\n2 \t; x\r\nde\r\n0;z\r\nT: u\r\nV:\r\n\r\nrest";
    assert_eq!(accepted(input), ("abcde".into(), "rest".into()));
}

#[test]
fn malformed_sizes_are_refused() {
    for input in [
        "\r\n",
        ";a\r\n",
        " 5\r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "g\r\n",
        "5g\r\n",
        "5 5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5,5\r\n",
        "5\0\r\n",
        "00000000000000001\r\n",
        "ffffffffffffffff0\r\n",
    ] {
        refused(input, Error::Chunk);
    }
}

#[test]
fn bare_line_ends_are_refused() {
    for input in [
        "5\nhello\r\n",
        "5\rhello",
        "5;a\nhello\r\n",
        "5;a\rb",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0",
        "0\r\n\n",
        "0\r\n\rX",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\rc",
        "\n",
    ] {
        refused(input, Error::Chunk);
    }
}

#[test]
fn data_has_to_end_where_its_size_says() {
    for input in ["5\r\nhello0\r\n\r\n", "4\r\nhello\r\n", "6\r\nhello\r\n0\r\n\r\n"] {
        refused(input, Error::Chunk);
    }
}

#[test]
fn control_characters_in_extensions_and_trailers_are_refused() {
    for input in ["5;\0\r\n", "5;\x7f\r\n", "0\r\nA: \0\r\n\r\n", "0\r\nA: \x08\r\n"] {
        refused(input, Error::Chunk);
    }
}

#[test]
fn a_trailer_is_a_header() {
    for input in ["0\r\n: b\r\n", "0\r\n A: b\r\n", "0\r\nA\r\n", "0\r\nA: b\r\n c\r\n"] {
        refused(input, Error::Chunk);
    }
    // A request after a missing blank line must not be discarded as trailers.
    refused("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Error::Chunk);
}

#[test]
fn a_chunk_that_would_not_fit_is_refused_before_its_data() {
    let max = |input: &str, max| every_way(input.as_bytes(), max);
    assert!(max("5\r\nhello\r\n0\r\n\r\n", 5).unwrap().is_some());
    assert_eq!(max("6\r", 5), Err(Error::BodyTooLarge));
    assert_eq!(max("6;", 5), Err(Error::BodyTooLarge));
    let second = "3\r\nabc\r\n3\r";
    assert_eq!(max(second, 5), Err(Error::BodyTooLarge));
    let fill = "ffffffffffffffff\r";
    assert_eq!(max(fill, usize::MAX - 1), Err(Error::BodyTooLarge));
    let overflow = "1\r\nx\r\nffffffffffffffff\r";
    assert_eq!(max(overflow, usize::MAX), Err(Error::BodyTooLarge));
    assert!(max("0\r\n\r\n", 0).unwrap().is_some());
}

#[test]
fn the_largest_size_overflows_nothing() {
    assert_eq!(decode([&b"ffffffffffffffff\r\nabc"[..]], usize::MAX), Ok(None));
}

#[test]
fn extensions_to_a_chunk_are_bounded() {
    let line = |len: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(len - 1));
    assert_eq!(accepted(&line(256)).0, "x");
    refused(line(257), Error::ChunkOverhead);
    refused(format!("1{}", " ".repeat(257)), Error::ChunkOverhead);
}

#[test]
fn extensions_to_a_body_are_bounded() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(255));
    let fits = chunk.repeat(16) + "0\r\n\r\n";
    assert_eq!(decode([fits.as_bytes()], 1000).unwrap().unwrap().0, [b'x'; 16]);
    let longer = chunk.repeat(16) + "0;\r\n\r\n";
    assert_eq!(decode([longer.as_bytes()], 1000), Err(Error::ChunkOverhead));
    assert_eq!(decode(longer.as_bytes().chunks(1), 1000), Err(Error::ChunkOverhead));
}

#[test]
fn trailers_are_bounded() {
    let body = |len: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(len - 4));
    assert!(decode([body(4096).as_bytes()], 0).unwrap().is_some());
    let longer = body(4097);
    assert_eq!(decode([longer.as_bytes()], 0), Err(Error::ChunkOverhead));
    assert_eq!(decode(longer.as_bytes().chunks(1), 0), Err(Error::ChunkOverhead));
    let many = "0\r\n".to_owned() + &"A:\r\n".repeat(1025);
    assert_eq!(decode([many.as_bytes()], 0), Err(Error::ChunkOverhead));
}

#[test]
fn spurious_calls_do_nothing() {
    let mut chunked = Chunked::new(10);
    assert_eq!(chunked.decode(&mut []), Ok(Progress::More { body: 0 }));
    let mut buffer = b"2\r\nab\r\n".to_vec();
    let more = Ok(Progress::More { body: 2 });
    assert_eq!(chunked.decode(&mut buffer), more);
    buffer.truncate(2);
    assert_eq!(chunked.decode(&mut buffer), more);
    // This holds even if the caller has dropped the body.
    assert_eq!(chunked.decode(&mut []), more);
    buffer.extend_from_slice(b"0\r\n\r\n");
    let done = Ok(Progress::Done { body: 2, end: 7 });
    assert_eq!(chunked.decode(&mut buffer), done);
    assert_eq!(chunked.decode(&mut buffer), done);
}

#[test]
fn an_error_stays() {
    let mut chunked = Chunked::new(10);
    assert_eq!(chunked.decode(&mut b"x".to_vec()), Err(Error::Chunk));
    assert_eq!(chunked.decode(&mut b"0\r\n\r\n".to_vec()), Err(Error::Chunk));
}

/// Reads requests as a connection with one growing buffer does: head, body, next request.
#[test]
fn a_connection_reads_pipelined_requests_from_one_buffer() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let wire = format!("{head}3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n{head}1\r\nz\r\n0\r\nT: u\r\n\r\n");
    for read in 1..=wire.len() {
        let mut buffer: Vec<u8> = Vec::new();
        let mut reading: Option<(usize, Chunked)> = None;
        let mut bodies = vec![];
        for bytes in wire.as_bytes().chunks(read) {
            buffer.extend_from_slice(bytes);
            loop {
                let (start, mut chunked) = match reading.take() {
                    Some(reading) => reading,
                    None => {
                        let mut slots = header_slots();
                        match parse_head(&buffer, &mut slots, 200).unwrap() {
                            None => break,
                            Some(head) => {
                                assert_eq!(head.body, Body::Chunked);
                                (head.len, Chunked::new(100))
                            }
                        }
                    }
                };
                match chunked.decode(&mut buffer[start..]).unwrap() {
                    Progress::More { body } => {
                        buffer.truncate(start + body);
                        reading = Some((start, chunked));
                        break;
                    }
                    Progress::Done { body, end } => {
                        bodies.push(buffer[start..start + body].to_vec());
                        buffer.drain(..start + end);
                    }
                }
            }
        }
        assert_eq!(bodies, [&b"abcde"[..], b"z"], "reads of {read}");
        assert!(buffer.is_empty());
    }
}

fn chunk() -> impl Strategy<Value = (Vec<u8>, String)> {
    let data = prop::collection::vec(any::<u8>(), 1..40);
    (data, "([ \t]{0,2};[ -~]{0,10})?")
}

proptest! {
    #[test]
    fn whatever_was_chunked_is_read_back(
        chunks in prop::collection::vec(chunk(), 0..8),
        zeros in 0..4usize,
        trailers in "([a-zA-Z-]{1,8}:[ -~]{0,12}\r\n){0,3}",
        rest in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut wire = Vec::new();
        let mut sent = Vec::new();
        for (data, extension) in &chunks {
            let size = format!("{}{:x}{extension}\r\n", "0".repeat(zeros), data.len());
            wire.extend_from_slice(size.as_bytes());
            wire.extend_from_slice(data);
            wire.extend_from_slice(b"\r\n");
            sent.extend_from_slice(data);
        }
        wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        wire.extend_from_slice(&rest);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let reads = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]);
        let expected = Ok(Some((sent, rest)));
        prop_assert_eq!(&decode(reads, 1000), &expected);
        prop_assert_eq!(&decode(wire.chunks(1), 1000), &expected);
    }

    #[test]
    fn any_input_ends_alike_however_it_is_cut(
        input in "[05af; \r\n:\tx\u{0}]{0,24}",
        max in 0..12usize,
    ) {
        let _ = every_way(input.as_bytes(), max);
    }
}
