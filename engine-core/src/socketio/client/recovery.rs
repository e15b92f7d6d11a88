//! What a client shows to a server that can recover: whose continuation it is, and how far the events came.

use super::Incoming;
use alloc::boxed::Box;

/// The longest offset that is kept.
const MAX_OFFSET: usize = 128;

/// What a server gives that can recover.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The id of what it recovers.
    pub(super) pid: Box<str>,
    offset: Option<Box<str>>,
    /// The form that its offsets have, as far as that is known.
    form: Option<Form>,
    /// Another form that came last: the known one may have been that of an argument.
    other: Option<Form>,
    /// The offset came since one was shown.
    is_newer: bool,
}

impl Recovery {
    /// What comes with the answer of a server that recovers nothing, `before` being what it was shown: offsets that
    /// came in front of that answer are its own.
    pub(super) fn new(pid: Box<str>, before: Option<Recovery>) -> Recovery {
        let before = before.filter(|it| it.is_newer);
        let (form, offset) = before.map_or((None, None), |it| (it.form, it.offset));
        Recovery { pid, offset, form, other: None, is_newer: true }
    }

    pub(super) fn offset(&self) -> Option<&str> {
        self.offset.as_deref()
    }

    /// The server is shown this.
    pub(super) fn show(&mut self) {
        self.is_newer = false;
    }

    /// Remembers how far the events have come: a server that can recover puts that behind their arguments.
    ///
    /// It does so only for what it keeps, which is no event that wants an acknowledgement, and none that is volatile.
    /// The latter look alike, and are told apart by the form of their last argument.
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
            // An argument had that form by chance.
            Some(_) => is_known && self.other == Some(form),
        };
        if is_accepted {
            self.form = Some(form);
        }
        self.other = Some(form).filter(|_| !is_accepted && is_known);
        is_accepted
    }
}

/// What offsets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// In memory: a time in 64 digits, `.` and a number where two are of one millisecond.
    Time,
    /// Of a stream in Redis: `1678463742834-0`.
    Entry,
    /// Of MongoDB: 24 hexadecimal digits.
    Object,
    /// Any other without white space.
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
