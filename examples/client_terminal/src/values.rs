//! Parses the arguments that are typed.

use serde::de::{Deserialize, IgnoredAny};
use sockeye::Args;
use std::fmt::Write;

/// Parses arguments that are separated by spaces. An error says which argument is wrong, counted from 1.
pub(crate) fn arguments(text: &str) -> Result<Args, String> {
    let (mut json, mut files) = (String::from("["), Vec::new());
    let mut rest = text.trim_start();
    for number in 1.. {
        if rest.is_empty() {
            break;
        }
        if number > 1 {
            json.push(',');
        }
        let parsed = argument(rest, &mut json, &mut files);
        rest = parsed.map_err(|error| format!("argument {number}: {error}"))?.trim_start();
    }
    Args::from_json(&(json + "]"), files.into_iter().map(Into::into)).map_err(|error| error.to_string())
}

/// Splits a line into the name of an event and the text of its arguments.
pub(crate) fn event(line: &str) -> Result<(String, &str), String> {
    word(line).map_err(|error| format!("the event's name: {error}"))
}

/// Returns the name of a namespace with its slash.
pub(crate) fn namespace(name: &str) -> Result<String, &'static str> {
    match name.contains([',', '?', '\u{1e}']) {
        true => Err("a namespace has no comma and no question mark"),
        false if name.starts_with('/') => Ok(name.into()),
        false => Ok(format!("/{name}")),
    }
}

/// Appends the first argument to `json`, or to `files` if it names one. Returns the text behind it.
fn argument<'a>(text: &'a str, json: &mut String, files: &mut Vec<Vec<u8>>) -> Result<&'a str, String> {
    let (value, behind) = match text.chars().next() {
        Some('@') => {
            let (path, behind) = word(text.get(1..).unwrap_or_default())?;
            let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
            let _ = write!(json, r#"{{"_placeholder":true,"num":{}}}"#, files.len());
            files.push(bytes);
            return Ok(behind);
        }
        Some('{' | '[') => {
            let (IgnoredAny, behind) = first(text)?;
            json.push_str(text.strip_suffix(behind).unwrap_or_default());
            return Ok(behind);
        }
        Some('"' | '\'') => word(text)?,
        _ => {
            let (word, behind) = word(text)?;
            if serde_json::from_str::<IgnoredAny>(&word).is_ok() {
                json.push_str(&word);
                return Ok(behind);
            }
            (word, behind)
        }
    };
    json.push_str(&serde_json::Value::from(value).to_string());
    Ok(behind)
}

/// Splits off the first word: a JSON string, a text between single quotes, or the text up to a space.
fn word(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        return first(text);
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let (word, behind) = quoted.split_once('\'').ok_or("the second ' is missing")?;
        return Ok((word.into(), separate(behind)?));
    }
    let (word, behind) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    Ok((word.into(), behind))
}

/// Splits off the first JSON value.
fn first<'a, T: Deserialize<'a>>(text: &'a str) -> Result<(T, &'a str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let value = values.next().ok_or("it is missing")?.map_err(|error| format!("not JSON: {error}"))?;
    Ok((value, separate(text.get(values.byte_offset()..).unwrap_or_default())?))
}

/// Checks that a space follows a value that was closed.
fn separate(behind: &str) -> Result<&str, String> {
    match behind.chars().next() {
        Some(next) if !next.is_whitespace() => Err(format!("a space is missing before {next:?}")),
        _ => Ok(behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        arguments(text).unwrap().to_json()
    }

    fn refused(text: &str) -> String {
        arguments(text).unwrap_err()
    }

    #[test]
    fn bare_words_are_strings_and_json_is_json() {
        assert_eq!(
            json("  hello 2 -1.5 true null tru 2026-11-29 a\"b"),
            r#"["hello",2,-1.5,true,null,"tru","2026-11-29","a\"b"]"#
        );
    }

    #[test]
    fn quotes_make_strings_of_anything() {
        assert_eq!(
            json(r#""2" 'true' 'two words' "\u00e9\n" '@x' ''"#),
            r#"["2","true","two words","é\n","@x",""]"#
        );
    }

    #[test]
    fn objects_keep_the_order_of_their_keys() {
        assert_eq!(
            json(r#"{"b":1,"a":{"z":[],"y":null}} [1, {"k":2, "j":3}]"#),
            r#"[{"b":1,"a":{"z":[],"y":null}},[1, {"k":2, "j":3}]]"#
        );
    }

    #[test]
    fn an_error_names_the_argument_that_is_wrong() {
        assert!(refused("1 {a:1} 2").starts_with("argument 2: not JSON: key must be a string"));
        assert!(refused("[1").starts_with("argument 1: not JSON: EOF"));
        assert_eq!(refused("[1][2]"), "argument 1: a space is missing before '['");
        assert_eq!(refused("a b 'c"), "argument 3: the second ' is missing");
        assert!(refused("1 @/no/such/file").starts_with("argument 2: /no/such/file: "));
        assert!(refused(&"[".repeat(100_000)).starts_with("argument 1: not JSON: EOF"));
        let deep = format!("1 {}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(refused(&deep), "invalid arguments: json too deep");
    }

    #[test]
    fn an_event_with_spaces_is_quoted() {
        assert_eq!(event("chat hello").unwrap(), ("chat".into(), " hello"));
        assert_eq!(event(r#""chat message" 1"#).unwrap(), ("chat message".into(), " 1"));
        assert_eq!(event("'chat message'").unwrap(), ("chat message".into(), ""));
        assert!(event("\"chat").unwrap_err().starts_with("the event's name: not JSON"));
    }

    #[test]
    fn a_file_is_bytes() {
        let args = arguments("1 @Cargo.toml @README.md").unwrap();
        let files = [std::fs::read("Cargo.toml").unwrap(), std::fs::read("README.md").unwrap()];
        assert_eq!(args.attachments(), files);
        assert_eq!(args.get(2).unwrap().bytes(), Some(&files[1][..]));
    }
}
