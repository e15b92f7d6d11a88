//! Long-polling by scripts and forms (JSONP), for browsers that cannot send requests to another origin in another way.

use crate::http::Error;
use crate::outbound::Outbound;
use alloc::vec::Vec;
use bytes::Buf;
use core::fmt::Write;

/// A function of the page, which a response calls with its payload: `j` in the query.
///
/// It is a number, so a request cannot choose which script it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback(u32);

impl Callback {
    /// Reads a number of digits only. Returns `None` for anything else, and for a number of more than 32 bits.
    pub fn parse(text: &str) -> Option<Callback> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Callback)
    }

    /// Replaces a payload of text by the script that calls the function with it. It is at most six times as long, and 24
    /// bytes.
    pub fn wrap(self, payload: &mut Outbound) {
        // In one piece, because a piece may end within a character.
        let text = payload.copy_to_bytes(payload.len());
        payload.clear();
        let mut script = Script(Vec::with_capacity(text.len() + text.len() / 8 + 24));
        // Writing to memory cannot fail.
        let _ = write!(script, "___eio[{}](\"", self.0);
        script.escape(&text);
        script.0.extend_from_slice(b"\");");
        payload.push(script.0.into());
    }
}

/// A script that is being written.
struct Script(Vec<u8>);

impl Script {
    /// Appends text as it stands in a string of JavaScript. `<` is escaped, too, so that the text is no markup whatever
    /// reads it, and so are the two characters that ended a line within a string before ECMAScript 2019.
    fn escape(&mut self, mut text: &[u8]) {
        while let Some(at) = text.iter().position(|&byte| may_need_escape(byte)) {
            let (plain, rest) = text.split_at(at);
            self.0.extend_from_slice(plain);
            text = match rest {
                [0xe2, 0x80, last @ 0xa8..=0xa9, rest @ ..] => {
                    self.0.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    rest
                }
                [0xe2, rest @ ..] => {
                    self.0.push(0xe2);
                    rest
                }
                [byte @ (b'"' | b'\\'), rest @ ..] => {
                    self.0.extend_from_slice(&[b'\\', *byte]);
                    rest
                }
                [byte, rest @ ..] => {
                    let _ = write!(self, "\\u{byte:04x}");
                    rest
                }
                [] => return,
            };
        }
        self.0.extend_from_slice(text);
    }
}

impl Write for Script {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn may_need_escape(byte: u8) -> bool {
    matches!(byte, 0..b' ' | b'"' | b'\\' | b'<' | 0x7f | 0xe2)
}

/// Returns the payload in the body of a form (`application/x-www-form-urlencoded`): its field `d`, of which the first counts.
/// It is never longer than the body. Whether it is UTF-8 is not checked.
///
/// Browsers send a line feed of a form as two characters. The client therefore writes it as `\n`, and puts one more backslash
/// in front of an `n` that has one already.
///
/// # Errors
/// [`Error::Form`] if there is no such field, or if it has a malformed escape.
pub fn decode_form(body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut fields = body.split(|&byte| byte == b'&');
    let field = fields.find_map(|field| field.strip_prefix(b"d=")).ok_or(Error::Form)?;
    let mut payload = Vec::with_capacity(field.len());
    let mut rest = field;
    // The number of backslashes at the end of the payload.
    let mut slashes = 0;
    loop {
        let byte;
        (byte, rest) = match rest {
            [] => return Ok(payload),
            [b'%', high, low, rest @ ..] => (hex(*high)? << 4 | hex(*low)?, rest),
            [b'%', ..] => return Err(Error::Form),
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        let byte = match byte {
            b'n' if slashes > 0 => {
                payload.pop();
                if slashes == 1 { b'\n' } else { b'n' }
            }
            byte => byte,
        };
        slashes = if byte == b'\\' { slashes + 1 } else { 0 };
        payload.push(byte);
    }
}

fn hex(digit: u8) -> Result<u8, Error> {
    Ok(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => return Err(Error::Form),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn wrapped(j: &str, payload: &str) -> String {
        let mut out = Outbound::new();
        // Pieces that end within characters.
        payload.as_bytes().chunks(2).for_each(|piece| out.push(bytes::Bytes::copy_from_slice(piece)));
        Callback::parse(j).unwrap().wrap(&mut out);
        String::from_utf8(out.copy_to_bytes(out.len()).to_vec()).unwrap()
    }

    #[test]
    fn a_script_calls_the_function_with_the_payload() {
        assert_eq!(wrapped("0", r#"0{"sid":"a"}"#), r#"___eio[0]("0{\"sid\":\"a\"}");"#);
        assert_eq!(wrapped("12", "2\u{1e}4a"), r#"___eio[12]("2\u001e4a");"#);
        assert_eq!(wrapped("4294967295", ""), r#"___eio[4294967295]("");"#);
    }

    #[test]
    fn nothing_in_a_payload_ends_the_string_or_the_script() {
        assert_eq!(
            wrapped("1", "\");alert(1)//\\\u{2028}\u{2029}\u{2030}</script><!--\r\n\u{7f}"),
            r#"___eio[1]("\");alert(1)//\\\u2028\u2029‰\u003c/script>\u003c!--\u000d\u000a\u007f");"#
        );
    }

    #[test]
    fn only_a_number_of_32_bits_names_a_function() {
        for j in ["", "a", "0]=alert;//", "-1", "+1", " 1", "1.0", "1e3", "0x1", "4294967296", "１"] {
            assert_eq!(Callback::parse(j), None, "{j}");
        }
    }

    #[test]
    fn a_form_has_its_payload_in_the_field_d() {
        let decoded = |body: &str| decode_form(body.as_bytes()).map(|it| String::from_utf8(it).unwrap());
        assert_eq!(decoded("d=40").as_deref(), Ok("40"));
        assert_eq!(decoded("a=1&d=4a+b%20%2b%2B&d=x").as_deref(), Ok("4a b ++"));
        assert_eq!(decoded("d=%e2%82%AC%1e%00").as_deref(), Ok("€\u{1e}\0"));
        assert_eq!(decoded("d=").as_deref(), Ok(""));
        for body in ["", "d", "dd=1", "40", "e=1&D=1", "d=%", "d=%2", "d=%zz", "d=%+1"] {
            assert_eq!(decoded(body), Err(Error::Form), "{body}");
        }
        assert_eq!(decode_form(b"d=%ff").as_deref(), Ok(&[0xff][..]), "the payload is checked later");
    }

    #[test]
    fn an_escaped_line_feed_is_told_from_an_escaped_backslash() {
        let decoded = |body: &str| String::from_utf8(decode_form(body.as_bytes()).unwrap()).unwrap();
        for (sent, meant) in [
            (r"a\nb", "a\nb"),
            (r"a\\nb", r"a\nb"),
            (r"a\\\nb", r"a\\nb"),
            (r"\\\\n", r"\\\n"),
            (r"\n\n\\n", "\n\n\\n"),
            (r"\a\\b\", r"\a\\b\"),
        ] {
            assert_eq!(decoded(&format!("d={sent}")), meant, "{sent}");
        }
    }

    /// Escapes as the JavaScript client does, with the same two replacements.
    fn encode_form(payload: &str) -> String {
        let escaped = payload.replace("\\n", "\\\n").replace('\n', "\\n");
        format!("d={}", utf8_percent_encode(&escaped, NON_ALPHANUMERIC))
    }

    proptest! {
        #[test]
        fn a_form_of_the_client_is_read_as_it_was_meant(payload in "([\\\\n\n]|.){0,40}") {
            // The client cannot tell a backslash in front of a line feed from one in front of an `n`.
            prop_assume!(!payload.contains("\\\n"));
            let decoded = decode_form(encode_form(&payload).as_bytes()).unwrap();
            prop_assert_eq!(String::from_utf8(decoded).unwrap(), payload);
        }

        #[test]
        fn a_script_has_the_payload_as_one_string(payload in "([\"\\\\<\u{2028}\u{2029}\u{1}-\u{1f}]|.){0,40}", j: u32) {
            let script = wrapped(&format!("{j}"), &payload);
            prop_assert!(script.len() <= payload.len() * 6 + 24);
            let string = script.strip_prefix(&format!("___eio[{j}](")).unwrap().strip_suffix(");").unwrap();
            let ends = string.contains(['<', '\u{2028}', '\u{2029}', '\n']);
            prop_assert!(!ends);
            prop_assert_eq!(serde_json::from_str::<String>(string).unwrap(), payload);
        }
    }
}
