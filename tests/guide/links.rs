//! Tests that the pages of the guide can be found, and that their links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of the pages in the folder.
fn pages() -> BTreeSet<String> {
    let names = fs::read_dir(guide()).expect("the guide can be read").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("names are UTF-8")
    });
    names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect()
}

/// Returns the text without blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Returns the targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let targets = prose(text);
    let targets = targets.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Returns the anchors of the headings of a page, as mdBook and repository hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let to_anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(to_anchor).collect()
}

#[test]
fn the_summary_lists_every_page() {
    let listed: BTreeSet<_> = links(&read(&guide().join("SUMMARY.md"))).into_iter().collect();
    assert_eq!(listed, pages());
}

#[test]
fn the_first_page_names_every_other() {
    let mut named: BTreeSet<_> = links(&read(&guide().join("README.md"))).into_iter().collect();
    named.insert("README.md".to_owned());
    assert_eq!(named, pages());
}

#[test]
fn the_code_of_every_page_is_tested() {
    let tested = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("lib.rs"));
    let (_, list) = tested.split_once("pages! {").expect("the list of pages");
    let tested: BTreeSet<_> = list.trim_end_matches(['}', '\n']).split_whitespace().collect();
    let with_code: Vec<_> =
        pages().into_iter().filter(|name| read(&guide().join(name)).contains("```rust")).collect();
    let with_code: BTreeSet<_> = with_code.iter().map(|name| name.trim_end_matches(".md")).collect();
    assert_eq!(tested, with_code);
}

#[test]
fn every_block_of_code_names_its_language() {
    // Without a language, a block would be taken for Rust.
    for page in pages() {
        let text = read(&guide().join(&page));
        let fences = text.lines().filter(|line| line.starts_with("```"));
        let unnamed: Vec<_> = fences.step_by(2).filter(|fence| *fence == "```").collect();
        assert_eq!(unnamed, Vec::<&str>::new(), "{page}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&guide().join(&page));
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) =
                link.split_once('#').map_or((&*link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { text.clone() } else { read(&guide().join(file)) };
            if let Some(anchor) = anchor {
                assert!(
                    anchors(&target).contains(anchor),
                    "{page} links to {link}, which has no such heading"
                );
            }
        }
    }
}

#[test]
fn every_page_begins_with_its_use() {
    for page in pages() {
        let text = read(&guide().join(&page));
        let mut paragraphs = text.split("\n\n");
        let title = paragraphs.next().unwrap_or_default();
        assert!(title.starts_with("# "), "{page} begins with {title:?}");
        let first = paragraphs.next().unwrap_or_default();
        assert!(first.starts_with("After reading this page"), "{page} says {first:?}");
    }
}

/// The configurations of proxies are tested from these files, by `tests/proxies`.
#[test]
fn the_proxy_configurations_on_the_page_are_the_files_that_are_tested() {
    let page = read(&guide().join("deployment.md"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxies");
    let files =
        fs::read_dir(&folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "conf")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert!(page.contains(&format!("\n{}```", read(&file))), "{} is not on the page", file.display());
    }
}
