//! Chunked bodies (RFC 9112, section 7.1), decoded in place.

use super::{Error, is_token_byte, is_value_byte};

/// The most hexadecimal digits of a chunk's size: what fits into 64 bits.
const MAX_DIGITS: u8 = 16;
/// The most bytes of extensions to one chunk.
const MAX_LINE_EXTENSIONS: u16 = 256;
/// The most bytes of extensions to all chunks of a body.
const MAX_EXTENSIONS: u16 = 4096;
/// The most bytes of trailers.
const MAX_TRAILERS: u16 = 4096;

/// Decodes a chunked body where it lies.
///
/// Give [`Chunked::decode`] the bytes from the end of the head on. It moves the data of the chunks
/// to their front and looks at each byte once. On [`Progress::More`] it has used everything:
/// truncate to the body and append what comes next, so the buffer never holds more than the body
/// and one read. Extensions and trailers are checked, bounded and thrown away.
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
    /// Bytes of decoded body at the front of the buffer.
    body: usize,
    /// The most that `body` may become.
    max: usize,
    /// The size that is being read, then what is left of the chunk.
    left: u64,
    digits: u8,
    line_extensions: u16,
    extensions: u16,
    trailers: u16,
}

/// How far a body is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed. All that were given are used: the first `body` are the body so far,
    /// the rest is spent and has to be cut off before more are appended.
    More {
        /// Bytes of decoded body at the front.
        body: usize,
    },
    /// The body is complete.
    Done {
        /// The length of the body, which begins at the front.
        body: usize,
        /// Where the next request begins. What lies between is spent.
        end: usize,
    },
}

/// What the next byte has to be.
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
    /// A decoder for one body of at most `max` bytes, chunk heads not counted.
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

    /// Decodes what has come. `buffer` begins where the body begins: first what is decoded already,
    /// then the bytes that are new. With nothing new, nothing happens.
    ///
    /// # Errors
    ///
    /// [`Error::Chunk`], [`Error::ChunkOverhead`], or [`Error::BodyTooLarge`] as soon as a chunk
    /// says that it would not fit. Every later call gives the same error.
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

    /// Moves what is there of the chunk behind the body. `None` when nothing is.
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

    /// What one byte that is not data does.
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
            // White space has to lead to an extension: `5 6` must not pass.
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
            // A name has to come first, so that a request after a forgotten blank line is not
            // swallowed as a trailer.
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
        // Sixteen digits fit, and the last chunk left zero behind.
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// The size is complete: refuse a chunk that will not fit before any of it is read.
    fn size_read(&self, next: State) -> Result<State, Error> {
        let room = self.max.saturating_sub(self.body);
        match usize::try_from(self.left) {
            Ok(size) if size <= room => Ok(next),
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
