//! Compression of the bodies of responses (RFC 9110, section 8.4).

use super::{Error, Request, list};
use crate::outbound::Outbound;
use crate::websocket::{DeflatePool, clamp_level};
use alloc::vec::Vec;
use flate2::Crc;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use std::io::Read;

/// The settings by which a server compresses the bodies of its responses, for clients that accept gzip or deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCompression {
    threshold: u32,
    level: u8,
}

/// A coding that a body can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// The format of gzip (RFC 1952).
    Gzip,
    /// The format of zlib (RFC 1950), which HTTP calls deflate.
    Deflate,
}

/// A weight in thousandths, as `q` gives it.
type Weight = u16;

impl HttpCompression {
    /// Creates the default settings: bodies of 1024 bytes and more are compressed at level 6.
    pub const fn new() -> Self {
        Self { threshold: 1024, level: 6 }
    }

    /// Sets the size in bytes from which on a body is compressed. Default: 1024.
    pub const fn threshold(mut self, bytes: u32) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the compression level, from 1 (fastest) to 9 (smallest); other values are clamped. Default: 6.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = clamp_level(level);
        self
    }

    /// Returns the coding for the response to a request: the one that the client prefers, or gzip if both are equal.
    /// Returns `None` if the client accepts neither, or prefers a body without a coding.
    pub fn agree(&self, request: &Request<'_>) -> Option<Coding> {
        let accepted = |name| weight(request, name);
        let gzip = accepted("gzip").or_else(|| accepted("x-gzip"));
        let any = accepted("*").unwrap_or(0);
        let (gzip, deflate) = (gzip.unwrap_or(any), accepted("deflate").unwrap_or(any));
        let (coding, weight) = match gzip >= deflate {
            true => (Coding::Gzip, gzip),
            false => (Coding::Deflate, deflate),
        };
        (weight > 0 && weight >= accepted("identity").unwrap_or(0)).then_some(coding)
    }

    /// Returns the compressed body. Returns `None` if the body is shorter than the threshold or would not become
    /// shorter. The state of compression comes from `pool`.
    pub fn compress(&self, coding: Coding, body: &Outbound, pool: &DeflatePool) -> Option<Vec<u8>> {
        if body.len() < usize::try_from(self.threshold).unwrap_or(usize::MAX) {
            return None;
        }
        let pieces: Vec<&[u8]> = body.chunks().collect();
        let compressed =
            pool.with(|state| state.compress(self.level, &pieces, |data| coding.wrap(data, &pieces)))?;
        (compressed.len() < body.len()).then_some(compressed)
    }
}

impl Default for HttpCompression {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the coding of the body of a request, or `None` if it has none.
///
/// # Errors
/// [`Error::ContentCoding`] if it is neither gzip nor deflate, or there are several.
pub(crate) fn coding_of(request: &Request<'_>) -> Result<Option<Coding>, Error> {
    let is_named = |header: &&super::Header<'_>| header.name.eq_ignore_ascii_case("content-encoding");
    let mut fields = request.headers().iter().filter(is_named);
    let value = match (fields.next(), fields.next()) {
        (None, _) => return Ok(None),
        (Some(field), None) => field.value,
        (Some(_), Some(_)) => return Err(Error::ContentCoding),
    };
    let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("gzip") || is("x-gzip") => Ok(Some(Coding::Gzip)),
        () if is("deflate") => Ok(Some(Coding::Deflate)),
        () if is("identity") => Ok(None),
        () => Err(Error::ContentCoding),
    }
}

/// The weight of a coding that is named without one.
const WHOLE: Weight = 1000;

/// Returns the weight that the client gives to a coding, or `None` if it does not name it (RFC 9110, section 12.5.3).
fn weight(request: &Request<'_>, coding: &str) -> Option<Weight> {
    let fields =
        request.headers().iter().filter(|header| header.name.eq_ignore_ascii_case("accept-encoding"));
    fields.flat_map(|field| list(field.value)).find_map(|element| {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let is_this = parts.next()?.eq_ignore_ascii_case(coding.as_bytes());
        is_this.then(|| parts.next().map_or(WHOLE, |parameter| parse_weight(parameter).unwrap_or(0)))
    })
}

/// Parses `q=0.5` (RFC 9110, section 12.4.2).
fn parse_weight(parameter: &[u8]) -> Option<Weight> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let digits =
        [b'0'; 3].into_iter().enumerate().map(|(at, zero)| decimals.get(at).copied().unwrap_or(zero));
    let weight = [*whole].into_iter().chain(digits).try_fold(0, |weight: Weight, digit| {
        digit.is_ascii_digit().then(|| weight.saturating_mul(10).saturating_add((digit - b'0').into()))
    })?;
    (weight <= WHOLE).then_some(weight)
}

/// No file name or time, and an unknown system (RFC 1952, section 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A window of 32 KiB and no dictionary (RFC 1950, section 2.2).
const ZLIB_HEAD: [u8; 2] = [0x78, 0x9c];

impl Coding {
    /// Returns the inflated body.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] if it is longer than `limit`, of which no more than one byte is inflated;
    /// [`Error::ContentCoding`] if it is malformed, incomplete, or has bytes behind its end.
    pub fn inflate(self, body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let mut inflated = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let rest = match self {
            Coding::Gzip => {
                let mut decoder = GzDecoder::new(body);
                decoder.by_ref().take(most).read_to_end(&mut inflated).map(|_| decoder.into_inner())
            }
            Coding::Deflate => {
                let mut decoder = ZlibDecoder::new(body);
                decoder.by_ref().take(most).read_to_end(&mut inflated).map(|_| decoder.into_inner())
            }
        };
        match rest {
            Ok(_) if inflated.len() > limit => Err(Error::BodyTooLarge),
            Ok([]) => Ok(inflated),
            _ => Err(Error::ContentCoding),
        }
    }

    /// Returns the name of the coding in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    /// Returns a deflate stream in the format of the coding, with the checksum of what was compressed.
    fn wrap(self, stream: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::with_capacity(stream.len() + GZIP_HEAD.len() + 8);
        match self {
            Coding::Gzip => {
                let mut crc = Crc::new();
                pieces.iter().for_each(|piece| crc.update(piece));
                body.extend_from_slice(&GZIP_HEAD);
                body.extend_from_slice(stream);
                body.extend_from_slice(&crc.sum().to_le_bytes());
                // The length modulo 2^32.
                body.extend_from_slice(&crc.amount().to_le_bytes());
            }
            Coding::Deflate => {
                body.extend_from_slice(&ZLIB_HEAD);
                body.extend_from_slice(stream);
                body.extend_from_slice(&adler32(pieces).to_be_bytes());
            }
        }
        body
    }
}

/// Returns the checksum of zlib (RFC 1950, section 8.2).
fn adler32(pieces: &[&[u8]]) -> u32 {
    /// The largest prime below 2^16.
    const MODULUS: u32 = 65521;
    /// The number of bytes whose sums fit into 32 bits.
    const RUN: usize = 5552;
    let (mut low, mut high) = (1, 0);
    for run in pieces.iter().flat_map(|piece| piece.chunks(RUN)) {
        for &byte in run {
            low += u32::from(byte);
            high += low;
        }
        (low, high) = (low % MODULUS, high % MODULUS);
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;
    use alloc::vec;
    use bytes::Bytes;
    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;
    use std::io::Read;

    fn agreed(values: &[&str]) -> Option<Coding> {
        let headers: Vec<Header<'_>> =
            values.iter().map(|value| Header { name: "Accept-Encoding", value: value.as_bytes() }).collect();
        HttpCompression::new().agree(&Request::new("GET", "/", &headers))
    }

    #[test]
    fn the_client_chooses_the_coding_by_its_weights() {
        use Coding::{Deflate, Gzip};
        for (value, expected) in [
            ("gzip", Some(Gzip)),
            ("deflate", Some(Deflate)),
            ("gzip, deflate, br, zstd", Some(Gzip)),
            ("deflate, gzip", Some(Gzip)),
            ("GZip ; q=0.5 , DEFLATE;q=0.51", Some(Deflate)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Gzip)),
            ("gzip;q=0, *", Some(Deflate)),
            ("gzip;q=0, *;q=0", None),
            ("gzip;q=0.000", None),
            ("identity", None),
            ("identity, gzip;q=0.9", None),
            ("identity;q=0.5, gzip;q=0.9", Some(Gzip)),
            ("br", None),
            ("", None),
            (" , ,", None),
            ("gzip;q=1.000", Some(Gzip)),
        ] {
            assert_eq!(agreed(&[value]), expected, "{value}");
        }
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&["br", "deflate"]), Some(Deflate));
    }

    #[test]
    fn a_coding_with_a_malformed_weight_is_not_used() {
        for value in ["1.001", "2", "0.5555", "-1", ".5", "", "a", "0.a", "99999999999999999999"] {
            assert_eq!(agreed(&[&std::format!("deflate;q={value}")]), None, "{value}");
        }
        assert_eq!(agreed(&["gzip;level=9"]), None);
    }

    fn inflated(coding: Coding, data: &[u8]) -> Vec<u8> {
        let mut inflated = Vec::new();
        match coding {
            Coding::Gzip => GzDecoder::new(data).read_to_end(&mut inflated).unwrap(),
            Coding::Deflate => ZlibDecoder::new(data).read_to_end(&mut inflated).unwrap(),
        };
        inflated
    }

    #[test]
    fn a_body_below_the_threshold_or_that_would_grow_is_left_as_it_is() {
        let compression = HttpCompression::new().threshold(100);
        let compress = |data: &[u8]| {
            let mut body = Outbound::new();
            body.push(Bytes::copy_from_slice(data));
            compression.compress(Coding::Gzip, &body, &DeflatePool::default())
        };
        assert_eq!(compress(&[b'x'; 99]), None);
        assert!(compress(&[b'x'; 100]).is_some());
        let noise: Vec<u8> = (0..=255).collect();
        assert_eq!(compress(&noise), None);
        assert_eq!(
            HttpCompression::new().threshold(0).compress(
                Coding::Deflate,
                &Outbound::new(),
                &DeflatePool::default()
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn a_compressed_body_is_inflated_to_what_it_was(
            pieces in proptest::collection::vec((any::<u8>(), 0usize..9000), 1..6),
            level in 0u8..12,
        ) {
            let (mut body, mut expected) = (Outbound::new(), Vec::new());
            for (byte, len) in pieces {
                let mut piece = vec![byte; len];
                piece.extend(0..byte);
                expected.extend_from_slice(&piece);
                body.push(piece.into());
            }
            let compression = HttpCompression::new().threshold(0).level(level);
            for coding in [Coding::Gzip, Coding::Deflate] {
                if let Some(data) = compression.compress(coding, &body, &DeflatePool::default()) {
                    prop_assert!(data.len() < expected.len());
                    prop_assert_eq!(&inflated(coding, &data), &expected);
                }
            }
        }
    }
}
