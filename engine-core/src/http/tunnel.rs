//! A tunnel through a proxy, by `CONNECT` (RFC 9110, section 9.3.6).

use super::client::parse_head;
use super::{Error, InvalidHeader, MAX_HEAD, header_slots, write_request};
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The handshake with a proxy.
///
/// It handles the proxy's response byte by byte, because the bytes after the response belong to the tunnel.
#[derive(Debug, Default)]
pub struct Tunnel {
    head: Vec<u8>,
    /// The number of bytes that the proxy has sent.
    received: usize,
}

/// The reason why no tunnel was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The proxy refused with this status. 407 means that it requires a user name and password, or other ones.
    #[error("the proxy answered with status {0}")]
    Refused(u16),
    /// The proxy's response is not valid HTTP, or exceeds a limit.
    #[error("the proxy's answer is not an http response: {0}")]
    Http(#[from] Error),
}

impl Tunnel {
    /// Creates a handshake for which no response has been received.
    pub const fn new() -> Tunnel {
        Tunnel { head: Vec::new(), received: 0 }
    }

    /// Appends the request for a tunnel to `authority`, which is a host and a port. `authorization` is the value of
    /// `Proxy-Authorization`, if the proxy requires one.
    ///
    /// # Errors
    /// If one of them contains characters that would break the request. `out` is then unchanged.
    pub fn write_request(
        out: &mut Vec<u8>,
        authority: &str,
        authorization: Option<&str>,
    ) -> Result<(), InvalidHeader> {
        let headers = authorization.map(|value| ("Proxy-Authorization", value));
        write_request(out, "CONNECT", authority, authority, headers, None)
    }

    /// Handles the next byte of the response. Returns whether it is the last one, after which the tunnel begins.
    ///
    /// # Errors
    /// If the proxy does not open a tunnel. The stream must then be closed.
    pub fn handle_byte(&mut self, byte: u8) -> Result<bool, TunnelError> {
        self.received += 1;
        if self.received > MAX_HEAD {
            return Err(Error::HeadTooLarge.into());
        }
        self.head.push(byte);
        // The head is parsed after each line, so that a response that is not HTTP is refused after its first line.
        if byte != b'\n' {
            return Ok(false);
        }
        if self.head.trim_ascii().is_empty() {
            return Err(Error::Syntax.into());
        }
        let mut slots = header_slots();
        let Some((head, _)) = parse_head(&self.head, &mut slots, MAX_HEAD)? else { return Ok(false) };
        match head.status {
            200..=299 => Ok(true),
            // Interim responses precede the final one. 101 is not interim: it would answer an upgrade.
            100 | 102..=199 => {
                self.head.clear();
                Ok(false)
            }
            status => Err(TunnelError::Refused(status)),
        }
    }
}

/// Returns the value of `Authorization` or `Proxy-Authorization` for a user name and a password (RFC 7617).
///
/// # Errors
/// If `user` contains a colon, which would end it, or one of them a control character.
pub fn basic_authorization(user: &str, password: &str) -> Result<String, InvalidHeader> {
    if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
        return Err(InvalidHeader);
    }
    let mut value = String::from("Basic ");
    STANDARD.encode_string(alloc::format!("{user}:{password}"), &mut value);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of bytes of `answer` that belong to the handshake.
    fn read(answer: &[u8]) -> Result<Option<usize>, TunnelError> {
        let mut tunnel = Tunnel::new();
        for (at, byte) in answer.iter().enumerate() {
            if tunnel.handle_byte(*byte)? {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_tunnel_is_asked_for_by_host_and_port() {
        let mut out = Vec::new();
        // The example of RFC 7617, section 2.
        let authorization = basic_authorization("Aladdin", "open sesame").unwrap();
        Tunnel::write_request(&mut out, "chat.example:443", Some(&authorization)).unwrap();
        let expected = "CONNECT chat.example:443 HTTP/1.1\r\nHost: chat.example:443\r\n\
                        Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_would_split_the_request_or_the_name_from_the_password_is_refused() {
        let mut out = Vec::new();
        assert_eq!(Tunnel::write_request(&mut out, "a b:1", None), Err(InvalidHeader));
        assert_eq!(Tunnel::write_request(&mut out, "a:1", Some("x\r\ny: z")), Err(InvalidHeader));
        assert!(out.is_empty());
        assert_eq!(basic_authorization("a:b", "c"), Err(InvalidHeader));
        assert_eq!(basic_authorization("a", "b\n"), Err(InvalidHeader));
        assert!(basic_authorization("a", "b:c").is_ok());
    }

    #[test]
    fn any_success_ends_the_handshake_and_nothing_behind_it_is_taken() {
        for head in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 204 X\r\nVia: 1.1 p\r\n\r\n",
            // Such a response has no body, even if its headers declare one.
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let answer = alloc::format!("{head}\r\nmore");
            assert_eq!(read(answer.as_bytes()), Ok(Some(head.len())), "{head}");
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n"), Ok(None));
    }

    #[test]
    fn a_refusal_tells_its_status() {
        for status in [101, 302, 407, 503] {
            let answer = alloc::format!("HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\n");
            assert_eq!(read(answer.as_bytes()), Err(TunnelError::Refused(status)));
        }
    }

    #[test]
    fn what_is_no_answer_ends_soon() {
        assert_eq!(read(b"SSH-2.0-OpenSSH_9.0\r\n"), Err(Error::Syntax.into()));
        assert_eq!(read(b"HTTP/2 200\r\n"), Err(Error::Version.into()));
        assert_eq!(read(b"\r\n"), Err(Error::Syntax.into()));
        assert_eq!(read(&[b'x'; MAX_HEAD + 1]), Err(Error::HeadTooLarge.into()));
        let endless = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_HEAD);
        assert_eq!(read(&endless), Err(Error::HeadTooLarge.into()));
    }
}
