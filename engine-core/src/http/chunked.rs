//! Chunked bodies (RFC 9112, section 7.1), decoded in place.

use super::{Error, is_token_byte, is_value_byte};

/// Maximum number of hexadecimal digits in a chunk's size, which then fits into 64 bits.
const MAX_DIGITS: u8 = 16;
/// Maximum size in bytes of a chunk's extensions.
const MAX_LINE_EXTENSIONS: u16 = 256;
/// Maximum size in bytes of the extensions of all chunks of a body.
const MAX_EXTENSIONS: u16 = 4096;
/// Maximum size in bytes of the trailers.
const MAX_TRAILERS: u16 = 4096;

/// A decoder of one chunked body, which works in place.
///
/// Pass the bytes after the head to [`Chunked::decode`]. It moves the data of the chunks to the front
/// and reads each byte once. On [`Progress::More`] it has consumed all bytes: truncate the buffer to
/// the body and append the next bytes, so that it never holds more than the body and one read.
/// Extensions and trailers are checked, bounded and discarded.
///
/// ```
/// # use sockeye_core::http::{Chunked, Progress};
/// let mut buffer = b"5\r\nhel".to_vec();
/// let mut chunked = Chunked::new(1_000_000);
/// assert_eq!(chunked.decode(&mut buffer), Ok(Progress::More { body: 3 }));
///
/// buffer.truncate(3);
/// buffer.extend_from_slice(b"lo\r\n0\r\n\r\nGET /next");
/// let Ok(Progress::Done { body, end }) = chunked.decode(&mut buffer) else { panic!() };
/// assert_eq!(&buffer[..body], b"hello");
/// assert_eq!(&buffer[end..], b"GET /next");
/// ```
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    /// The number of decoded bytes at the front of the buffer.
    body: usize,
    /// The limit of `body`.
    max: usize,
    /// The size that is being read, then the number of bytes left of the chunk.
    left: u64,
    digits: u8,
    line_extensions: u16,
    extensions: u16,
    trailers: u16,
}

/// The progress of decoding a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed. All bytes are consumed: the first `body` are the body so far, and the
    /// buffer must be truncated to them before more are appended.
    More {
        /// The number of decoded bytes at the front of the buffer.
        body: usize,
    },
    /// The body is complete.
    Done {
        /// The length of the body, which is at the front of the buffer.
        body: usize,
        /// The offset at which the next request begins.
        end: usize,
    },
}

/// The kind of byte that is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done { end: usize },
    Failed(Error),
}

impl Chunked {
    /// Creates a decoder for one body of at most `max` bytes, not counting the heads of chunks.
    pub const fn new(max: usize) -> Self {
        Chunked {
            state: State::Size,
            body: 0,
            max,
            left: 0,
            digits: 0,
            line_extensions: 0,
            extensions: 0,
            trailers: 0,
        }
    }

    /// Decodes the bytes that have arrived. `buffer` begins with the part of the body that is
    /// already decoded, followed by the new bytes. Without new bytes the call does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Chunk`] or [`Error::ChunkOverhead`]; or [`Error::BodyTooLarge`] as soon as a chunk
    /// declares a size that would exceed the limit. All later calls return the same error.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Result<Progress, Error> {
        let mut at = self.body;
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Done { end } => {
                    return Ok(Progress::Done { body: self.body, end });
                }
                State::Data => {
                    let Some(used) = self.take_data(buffer, at) else {
                        break;
                    };
                    at += used;
                }
                state => {
                    let Some(&byte) = buffer.get(at) else { break };
                    at += 1;
                    self.state = match self.step(state, byte) {
                        Ok(State::Done { .. }) => State::Done { end: at },
                        Ok(next) => next,
                        Err(error) => State::Failed(error),
                    };
                }
            }
        }
        Ok(Progress::More { body: self.body })
    }

    /// Moves the available data of the chunk to the end of the body, and returns its length. Returns
    /// `None` if none is available.
    fn take_data(&mut self, buffer: &mut [u8], at: usize) -> Option<usize> {
        let there = buffer.len().checked_sub(at).filter(|&there| there > 0)?;
        let used = usize::try_from(self.left).map_or(there, |left| left.min(there));
        // In bounds: `body <= at`, and `at + used <= buffer.len()`.
        buffer.copy_within(at..at + used, self.body);
        self.body += used;
        self.left -= used as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        Some(used)
    }

    /// Returns the state after a byte that is not data.
    fn step(&mut self, state: State, byte: u8) -> Result<State, Error> {
        match (state, byte) {
            (State::Size, b'\r') if self.digits > 0 => self.size_read(State::SizeLf),
            (State::Size, b';') if self.digits > 0 => {
                self.count_extension()?;
                self.size_read(State::Extension)
            }
            (State::Size | State::SizeSpace, b' ' | b'\t') if self.digits > 0 => {
                self.count_extension()?;
                Ok(State::SizeSpace)
            }
            (State::Size, _) => self.digit(byte),
            // After whitespace only an extension may follow, so that `5 6` is refused.
            (State::SizeSpace, b';') => {
                self.count_extension()?;
                self.size_read(State::Extension)
            }
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, _) if is_value_byte(byte) => {
                self.count_extension()?;
                Ok(State::Extension)
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                self.line_extensions = 0;
                match self.left {
                    0 => Ok(State::TrailerStart),
                    _ => Ok(State::Data),
                }
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done { end: 0 }),
            (State::TrailerName, b':') => self.count_trailer(State::TrailerValue),
            // A trailer must begin with a name, so that a request after a missing blank line is not
            // discarded as a trailer.
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                self.count_trailer(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => self.count_trailer(State::TrailerLf),
            (State::TrailerValue, _) if is_value_byte(byte) => self.count_trailer(State::TrailerValue),
            (State::TrailerLf, b'\n') => self.count_trailer(State::TrailerStart),
            _ => Err(Error::Chunk),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, Error> {
        let digit = char::from(byte).to_digit(16).ok_or(Error::Chunk)?;
        if self.digits == MAX_DIGITS {
            return Err(Error::Chunk);
        }
        self.digits += 1;
        // Sixteen digits fit into 64 bits, and `left` is zero after the previous chunk.
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// Checks the complete size, so that a chunk that does not fit is refused before its data is read.
    fn size_read(&self, next: State) -> Result<State, Error> {
        let left = self.max.saturating_sub(self.body);
        match usize::try_from(self.left) {
            Ok(size) if size <= left => Ok(next),
            _ => Err(Error::BodyTooLarge),
        }
    }

    fn count_extension(&mut self) -> Result<(), Error> {
        self.line_extensions += 1;
        self.extensions += 1;
        if self.line_extensions > MAX_LINE_EXTENSIONS || self.extensions > MAX_EXTENSIONS {
            return Err(Error::ChunkOverhead);
        }
        Ok(())
    }

    fn count_trailer(&mut self, next: State) -> Result<State, Error> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(Error::ChunkOverhead);
        }
        Ok(next)
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
