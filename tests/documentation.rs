//! The documentation holds together: every link leads somewhere, and every block of YAML is what it says.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use regex::Regex;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files, by their paths below the root.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "charts/keypair-operator", "tests/vectors"];
    let mut pages = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 10);
    pages
}

/// The text without its blocks of code, and these, each with what stands behind the fence.
fn split(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut block, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (Some((_, code)), None) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(block.is_none(), "a block of code without an end");
    (prose, blocks)
}

/// The anchors of a page, as they are made of its headings.
fn anchors(path: &Path) -> BTreeSet<String> {
    let (prose, _) = split(&fs::read_to_string(path).unwrap());
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut checked = 0;
    for page in pages() {
        let (prose, _) = split(&fs::read_to_string(&page).unwrap());
        for target in link.captures_iter(&prose).map(|found| found[1].to_owned()) {
            if target.contains("://") {
                assert!(target.starts_with("https://"), "{}: {target}", page.display());
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(path.exists(), "{}: {target} leads nowhere", page.display());
            assert!(
                anchor.is_empty() || anchors(&path).contains(anchor),
                "{}: {target} has no such heading",
                page.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// Whatever is YAML can be read, and whatever is a KeyPair is right by the operator's own rules.
#[test]
fn every_block_of_yaml_is_right() {
    let mut checked = 0;
    for page in pages() {
        let (_, blocks) = split(&fs::read_to_string(&page).unwrap());
        for (_, code) in blocks.iter().filter(|(kind, _)| kind == "yaml") {
            let documents: Vec<Value> = serde_saphyr::from_multiple(code)
                .unwrap_or_else(|error| panic!("{}: {error} in\n{code}", page.display()));
            assert!(!documents.is_empty());
            let mut lint = Command::new(BINARY)
                .args(["lint", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            lint.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
            let output = lint.wait_with_output().unwrap();
            assert!(output.status.success(), "{}: {}", page.display(), String::from_utf8_lossy(&output.stdout));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

/// What is to be typed is there: the targets of make, and the flags of the operator.
#[test]
fn what_is_to_be_typed_is_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let target = Regex::new(r"`make ([a-z]+)`|^make ([a-z]+)").unwrap();
    let help = Command::new(BINARY).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flag = Regex::new(r"`(--[a-z][a-z-]+)").unwrap();
    // Those of other programs.
    let foreign = ["--profile", "--server-side", "--take-ownership"];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for found in text.lines().flat_map(|line| target.captures_iter(line).collect::<Vec<_>>()) {
            let name = found.get(1).or(found.get(2)).unwrap().as_str();
            assert!(makefile.contains(&format!("\n{name}:")), "{}: make {name}", page.display());
        }
        for found in flag.captures_iter(&text) {
            let known = help.contains(&found[1]) || foreign.contains(&&found[1]);
            assert!(known, "{}: {} is no flag of run", page.display(), &found[1]);
        }
    }
}
