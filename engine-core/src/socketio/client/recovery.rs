//! The state by which a server recovers a connection: its id, and the position of the last event.

use super::Incoming;
use alloc::boxed::Box;

/// Maximum length of an offset in bytes. A longer one is no offset.
const MAX_OFFSET: usize = 128;

/// The state that a server which supports recovery has sent.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The private id of the connection to recover.
    pub(super) pid: Box<str>,
    offset: Option<Box<str>>,
    /// The form of the server's offsets, as far as it is known.
    form: Option<Form>,
    /// The form of the last string that had another one: the known form may have been that of an argument.
    other: Option<Form>,
    /// The offset arrived after the last request to join.
    is_newer: bool,
}

impl Recovery {
    /// Creates the state for the answer of a server that recovered nothing. `before` is the state that it was sent:
    /// offsets that arrived after that belong to the new connection.
    pub(super) fn new(pid: Box<str>, before: Option<Recovery>) -> Recovery {
        let before = before.filter(|it| it.is_newer);
        let (form, offset) = before.map_or((None, None), |it| (it.form, it.offset));
        Recovery { pid, offset, form, other: None, is_newer: true }
    }

    pub(super) fn offset(&self) -> Option<&str> {
        self.offset.as_deref()
    }

    /// Notes that the state is sent to the server.
    pub(super) fn show(&mut self) {
        self.is_newer = false;
    }

    /// Keeps the offset of an event: a server that supports recovery appends it to the arguments.
    ///
    /// The server does so only for events that it stores, which excludes those that want an acknowledgement and volatile
    /// ones. The latter are recognized by the form of their last argument.
    pub(super) fn keep(&mut self, incoming: &Incoming) {
        if incoming.ack.is_none()
            && let Some(last) = incoming.args.as_args().iter().last()
            && let Ok(offset) = serde_json::from_str::<Box<str>>(last)
            && let Some(form) = Form::of(&offset)
            && self.accepts(form)
        {
            (self.offset, self.is_newer) = (Some(offset), true);
        }
    }

    fn accepts(&mut self, form: Form) -> bool {
        let is_known = form != Form::Token;
        let is_accepted = match self.form {
            None | Some(Form::Token) => true,
            Some(known) if known == form => true,
            // A form that comes twice in a row replaces the known one, which an argument had by chance.
            Some(_) => is_known && self.other == Some(form),
        };
        if is_accepted {
            self.form = Some(form);
        }
        self.other = Some(form).filter(|_| !is_accepted && is_known);
        is_accepted
    }
}

/// The form of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The reference's, in memory: a time in base 64, then `.` and a number if there are several in one millisecond.
    Time,
    /// An entry of a Redis stream: `1678463742834-0`.
    Entry,
    /// An id of MongoDB: 24 hexadecimal digits.
    Object,
    /// Any other text without white space.
    Token,
}

impl Form {
    fn of(text: &str) -> Option<Form> {
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let are_decimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || text.len() > MAX_OFFSET || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (time, number) = text.split_once('.').unwrap_or((text, "0"));
        // Seven digits from 1978 to 2109, the first one a capital letter until 2046.
        let begins_like_a_time = time.len() == 7 && time.starts_with(|it: char| it.is_ascii_uppercase());
        if begins_like_a_time && !number.is_empty() && time.bytes().chain(number.bytes()).all(is_digit) {
            return Some(Form::Time);
        }
        if let Some((time, number)) = text.split_once('-')
            && time.len() >= 13
            && are_decimal(time)
            && are_decimal(number)
        {
            return Some(Form::Entry);
        }
        let is_object = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(if is_object { Form::Object } else { Form::Token })
    }
}
