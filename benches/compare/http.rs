//! As much of HTTP as is needed to read the servers' responses.

use crate::Failure;

/// A response: its length in the input, and its body.
pub(crate) struct Answer {
    pub(crate) len: usize,
    pub(crate) body: String,
}

/// Parses a response if it has arrived completely.
///
/// # Errors
/// If its status is not 200, or if it cannot be parsed.
pub(crate) fn answer(input: &[u8]) -> Result<Option<Answer>, Failure> {
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = input.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(format!("refused: {head}{}", String::from_utf8_lossy(rest)).into());
    }
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if let Some(length) = header("content-length:") {
        let length = length.parse()?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        return Ok(Some(Answer { len: end + 4 + length, body: String::from_utf8(body.to_vec())? }));
    }
    if header("transfer-encoding:") != Some("chunked") {
        return Err(format!("a response without a length: {head}").into());
    }
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some(line) = rest[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let length = usize::from_str_radix(std::str::from_utf8(&rest[at..at + line])?, 16)?;
        at += line + 2;
        let Some(chunk) = rest.get(at..at + length + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..length]);
        at += length + 2;
        if length == 0 {
            return Ok(Some(Answer { len: end + 4 + at, body: String::from_utf8(body)? }));
        }
    }
}
