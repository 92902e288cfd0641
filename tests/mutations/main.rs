//! Every mutation of `make mutations` applies, and docs/reliability.md lists which check finds it.

#![allow(missing_docs, clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A mutation is a few lines: with a larger change, it would be unclear which part a check has found.
const MAX_LINES: usize = 20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The patches, in their order.
fn patches() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/mutations")).unwrap().map(|entry| entry.unwrap().path());
    let mut patches: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    patches.sort();
    patches
}

fn name(patch: &Path) -> &str {
    patch.file_stem().and_then(|name| name.to_str()).unwrap()
}

#[test]
fn every_mutation_applies() {
    let patches = patches();
    assert!(patches.len() >= 30, "there are only {}", patches.len());
    for (number, patch) in (1..).zip(&patches) {
        assert!(name(patch).starts_with(&format!("{number:02}-")), "{}: expected number {number}", name(patch));
        let text = fs::read_to_string(patch).unwrap();
        let (sentence, diff) = text.split_once("\n\n").unwrap();
        assert!(sentence.ends_with('.') && !sentence.contains(['\n', '|']), "{}: {sentence}", name(patch));
        let changed = diff
            .lines()
            .filter(|line| line.starts_with(['+', '-']) && !(line.starts_with("+++") || line.starts_with("---")));
        assert!(changed.count() <= MAX_LINES, "{} is too large", name(patch));
        let check =
            Command::new("git").args(["apply", "--check", "-C1"]).arg(patch).current_dir(root()).output().unwrap();
        let why = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{} no longer applies: {why}", name(patch));
    }
}

#[test]
fn the_record_lists_every_mutation() {
    let page = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let record = page.split("\n## Mutation record\n").nth(1).expect("docs/reliability.md has the record");
    let rows = record.lines().take_while(|line| !line.starts_with("## ")).filter_map(|line| line.strip_prefix("| "));
    let told: Vec<(&str, &str)> = rows
        .filter(|row| row.starts_with(|c: char| c.is_ascii_digit()))
        .map(|row| {
            let mut cells = row.split(" | ");
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let patches = patches();
    let texts: Vec<String> = patches.iter().map(|patch| fs::read_to_string(patch).unwrap()).collect();
    let there: Vec<(&str, &str)> =
        patches.iter().map(|patch| name(patch)).zip(texts.iter().map(|text| text.lines().next().unwrap())).collect();
    assert_eq!(told, there);
}
