//! Arguments as text for people.

use super::{Arg, Args};
use crate::socketio::parser::text;
use core::fmt::{self, Write};

/// The maximum length in bytes of what `Debug` writes.
const LIMIT: usize = 1000;

/// Writes an argument.
pub(super) fn write(out: &mut dyn Write, arg: Arg<'_>) -> fmt::Result {
    text::show(out, arg.json, arg.attachments)
}

/// Writes arguments as an array.
pub(super) fn write_all(out: &mut dyn Write, args: Args<'_>) -> fmt::Result {
    out.write_char('[')?;
    for (index, arg) in args.values().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write(out, arg)?;
    }
    out.write_char(']')
}

/// Writes the beginning of what `all` writes, and `…` if that is not everything.
pub(super) fn cut(
    f: &mut fmt::Formatter<'_>,
    all: impl FnOnce(&mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    let mut out = Cut { f, left: LIMIT, is_full: false };
    let result = all(&mut out);
    if out.is_full { f.write_char('…') } else { result }
}

/// Passes on a limited number of bytes, and then fails.
struct Cut<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    left: usize,
    is_full: bool,
}

impl Write for Cut<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(self.left);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (fits, rest) = text.split_at(end);
        self.f.write_str(fits)?;
        self.left -= fits.len();
        self.is_full = !rest.is_empty();
        if self.is_full { Err(fmt::Error) } else { Ok(()) }
    }
}
