//! The messages of the compiler about mistakes in handlers, which are in the folder `mistakes`.

use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes/cases.rs");
const DATA_TWICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes/data_twice.rs");

/// An error of the compiler: its whole text, and its line in the file.
struct Message {
    text: String,
    line: u64,
}

/// A function with a mistake: the texts that the messages about it contain.
struct Case<'a> {
    name: &'a str,
    expected: Vec<&'a str>,
    lines: std::ops::Range<u64>,
}

#[test]
fn the_compiler_names_what_is_wrong_with_a_handler() {
    let source = fs::read_to_string(CASES).expect("the file is part of the package");
    let messages = compile(CASES, "metadata");
    let cases = cases(&source);
    assert!(cases.len() > 20, "the cases were not found");
    let mut failures = String::new();
    for Case { name, expected, lines } in &cases {
        let texts: Vec<_> = messages.iter().filter(|message| lines.contains(&message.line)).collect();
        let found = texts.iter().map(|message| message.text.as_str()).collect::<String>();
        // Depends on what else the file imports.
        let found = found.replace("sockeye::", "");
        for missing in expected.iter().filter(|text| !found.contains(**text)) {
            failures += &format!("\n== {name} lacks: {missing}\n{found}");
        }
    }
    let outside =
        messages.iter().filter(|message| !cases.iter().any(|case| case.lines.contains(&message.line)));
    outside.for_each(|message| failures += &format!("\n== unexpected\n{}", message.text));
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn a_handler_that_takes_the_arguments_twice_does_not_compile() {
    let messages = compile(DATA_TWICE, "obj");
    let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
    let all = texts.join("\n");
    assert_eq!(texts.len(), 4, "{all}");
    for text in texts {
        assert!(text.contains("a handler has two parameters of the arguments of its event"), "{text}");
    }
    for handler in ["{say}", "data_twice.rs:14:", "data_twice.rs:15:", "data_twice.rs:17:"] {
        assert!(all.contains(handler), "{handler} is missing: {all}");
    }
}

/// Compiles a file as far as what it is to emit needs. Returns the errors.
fn compile(file: &str, emit: &str) -> Vec<Message> {
    let libraries = libraries();
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--error-format=json", "--cap-lints=allow", file, "--emit", emit, "-o"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes").with_extension(emit))
        .arg("-L")
        .arg(format!("dependency={}", libraries.display()))
        .arg("--extern")
        .arg(format!("sockeye={}", newest(&libraries).display()))
        .output()
        .expect("the compiler is there");
    let lines = String::from_utf8(output.stderr).expect("JSON is UTF-8");
    let messages: Vec<Message> = lines.lines().filter_map(parse).collect();
    assert!(!messages.is_empty(), "the compiler reports no error: {lines}");
    messages
}

/// Returns an error with a place. The summary at the end has none.
fn parse(line: &str) -> Option<Message> {
    let message: Value =
        serde_json::from_str(line).ok().filter(|message: &Value| message["level"] == "error")?;
    let span = message["spans"].as_array()?.iter().find(|span| span["is_primary"] == true)?;
    Some(Message { text: message["rendered"].as_str()?.to_owned(), line: span["line_start"].as_u64()? })
}

/// Returns the folder of the libraries that this test was built with.
fn libraries() -> PathBuf {
    let test = env::current_exe().expect("the system knows the program");
    test.parent().expect("a program is in a folder").to_owned()
}

/// Returns the library. There may be several builds with different features, of which the newest has the present source.
fn newest(libraries: &Path) -> PathBuf {
    let files = fs::read_dir(libraries).expect("the folder is that of this program");
    let builds = files.filter_map(Result::ok).filter(|file| {
        let name = file.file_name();
        name.to_str().is_some_and(|name| name.starts_with("libsockeye-") && name.ends_with(".rlib"))
    });
    let newest = builds.max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok());
    newest.expect("the library was built before its test").path()
}

/// Finds the cases: comments that begin with `//~`, and the function below them.
fn cases(source: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut expected = Vec::new();
    for (line, number) in source.lines().zip(1..) {
        if let Some(text) = line.strip_prefix("//~ ") {
            expected.push(text);
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split('(').next().unwrap_or(rest);
            cases.push(Case { name, expected: std::mem::take(&mut expected), lines: number..number });
        } else if let Some(case) = cases.last_mut().filter(|_| line == "}") {
            case.lines.end = number;
        }
    }
    cases.retain(|case| case.name != "main");
    cases
}
