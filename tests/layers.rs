//! The folders of the source depend on each other one way, and no file is too long.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The names of a module and of the modules around it, from the crate down.
type Module = Vec<String>;

/// The imports that may close a circle: a module, and the name that it imports. They apply to the parts of the module, too.
const EXCEPTIONS: [(&str, &str); 6] = [
    // The default of a type parameter has to be named where the trait is.
    ("extract", "Socket"),
    ("failed_event", "Socket"),
    ("handler", "Socket"),
    // The results of a parser are read by the parser that made them, because `Parser` is a closed enum.
    ("socketio::args", "text"),
    ("socketio::packet", "event_name"),
    ("socketio::parser::decoded", "Reassembly"),
];

/// Collects the modules of a crate, each with the text of its file without comments and tests.
fn modules(folder: &Path, at: &Module, modules: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        let is_facade = ["lib", "mod"].contains(&&*name);
        let module: Module = at.iter().cloned().chain((!is_facade).then_some(name)).collect();
        if path.is_dir() {
            self::modules(&path, &module, modules);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let length = text.lines().count();
        assert!(length <= 800, "{} has {length} lines", path.display());
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        modules.insert(module, code.collect::<Vec<_>>().join("\n"));
    }
}

/// Returns the words of a text, and the marks that paths consist of. Any other character is one space.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (token, length) = match first {
            _ if rest.starts_with("::") => ("::", 2),
            '{' | '}' | ',' | ';' => (&rest[..1], 1),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (&rest[..length], length)
            }
            c if c.is_whitespace() => ("", c.len_utf8()),
            c => (" ", c.len_utf8()),
        };
        tokens.extend(Some(token).filter(|token| !token.is_empty()));
        rest = &rest[length..];
    }
    tokens
}

/// Reads a path, or a tree of paths in braces, and adds each with the name that it is imported as.
fn tree(tokens: &mut &[&str], prefix: &[String], paths: &mut Vec<(Module, String)>) {
    let mut path = prefix.to_vec();
    while let [first, rest @ ..] = tokens {
        *tokens = rest;
        if *first == "{" {
            while !matches!(tokens, [] | ["}", ..]) {
                tree(tokens, &path, paths);
                if let [",", rest @ ..] = tokens {
                    *tokens = rest;
                }
            }
            *tokens = tokens.get(1..).unwrap_or_default();
            return;
        }
        if *first != "self" || path.is_empty() {
            path.push((*first).to_owned());
        }
        let ["::", rest @ ..] = tokens else { break };
        *tokens = rest;
    }
    let name = match tokens {
        ["as", name, rest @ ..] => {
            *tokens = rest;
            (*name).to_owned()
        }
        _ => path.last().cloned().unwrap_or_default(),
    };
    paths.push((path, name));
}

/// Returns the paths of a file's imports, and those in its code that begin with `crate`, `super` or `self`. All of them
/// are made absolute, and have the name that they are imported as.
fn paths(module: &Module, text: &str) -> Vec<(Module, String)> {
    let tokens = tokens(text);
    let (mut rest, mut before, mut paths) = (&tokens[..], "", Vec::new());
    while let [first, after @ ..] = rest {
        let is_import = before == "use";
        let is_path = ["crate", "super", "self"].contains(first) && after.first() == Some(&"::");
        if is_import || (is_path && before != "::") {
            tree(&mut rest, &[], &mut paths);
            before = "";
        } else {
            (before, rest) = (first, after);
        }
    }
    let absolute = |path: Module| match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("super") => {
            let levels = path.iter().take_while(|name| *name == "super").count();
            let above = module.len().saturating_sub(levels);
            [&module[..above], &path[levels..]].concat()
        }
        Some("self") => [&module[..], &path[1..]].concat(),
        _ => [&module[..], &path[..]].concat(),
    };
    paths.into_iter().map(|(path, name)| (absolute(path), name)).collect()
}

/// Returns the module that an absolute path leads to, through the imports on the way.
fn resolve(path: &Module, imports: &BTreeMap<Module, Vec<(Module, String)>>, steps: usize) -> Option<Module> {
    let length = (0..=path.len()).rev().find(|length| imports.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    let imported = rest.first().and_then(|name| imports[module].iter().find(|(_, known)| known == name));
    match imported {
        Some((target, _)) if steps > 0 && target != path => {
            resolve(&[&target[..], &rest[1..]].concat(), imports, steps - 1)
        }
        _ => Some(module.to_vec()),
    }
}

/// Returns the steps of all circles that cross a folder.
fn circles(source: &str) -> BTreeSet<String> {
    let mut files = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    modules(&root, &Module::new(), &mut files);
    assert!(files.len() > 20, "the source is not in {source}");
    let imports: BTreeMap<_, _> =
        files.iter().map(|(module, text)| (module.clone(), paths(module, text))).collect();
    // Each module with the modules beside it that it depends on.
    let mut needs = BTreeMap::<Module, BTreeSet<Module>>::new();
    for (module, paths) in &imports {
        for (path, name) in paths {
            let module_path = module.join("::") + "::";
            let is_exception = |(module, known): &(&str, &str)| {
                module_path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::")) && known == name
            };
            if EXCEPTIONS.iter().any(is_exception) {
                continue;
            }
            let Some(target) = resolve(path, &imports, 8) else { continue };
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if common < module.len().min(target.len()) {
                let needed = target[..=common].to_vec();
                needs.entry(module[..=common].to_vec()).or_default().insert(needed);
            }
        }
    }
    let reach = |from: &Module| -> BTreeSet<Module> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            let needed = needs.get(&module).into_iter().flatten();
            next.extend(needed.filter(|needed| seen.insert((*needed).clone())).cloned());
        }
        seen
    };
    let reached: BTreeMap<_, _> = needs.keys().map(|module| (module, reach(module))).collect();
    // The folder beside a file of its name holds parts of that file, and is no layer of its own.
    let is_folder = |module: &Module| root.join(module.join("/")).join("mod.rs").exists();
    let mut circles = BTreeSet::new();
    for (a, needed) in &needs {
        for b in needed.iter().filter(|b| is_folder(a) || is_folder(b)) {
            if reached.get(b).is_some_and(|back| back.contains(a)) {
                circles.insert(format!("{} needs {}", a.join("::"), b.join("::")));
            }
        }
    }
    circles
}

#[test]
fn no_circle_of_imports_crosses_a_folder() {
    for source in ["src", "engine-core/src"] {
        let circles = circles(source);
        assert!(circles.is_empty(), "circles in {source}: {circles:#?}");
    }
}

#[test]
fn paths_are_read_from_imports_and_from_code() {
    let text = "pub use super::{a::{self, B as C}, d}; fn f() { crate::g::h() } use child::Item; x::crate_";
    let module = ["m", "n"].map(String::from).to_vec();
    let read: Vec<_> = paths(&module, text).into_iter().map(|(path, name)| (path.join("::"), name)).collect();
    let expected =
        [("m::a", "a"), ("m::a::B", "C"), ("m::d", "d"), ("g::h", "h"), ("m::n::child::Item", "Item")];
    let expected = expected.map(|(path, name)| (path.to_owned(), name.to_owned()));
    assert_eq!(read, expected);
}
