//! Checks that all links in the documentation resolve and that all YAML blocks are valid.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod markdown;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::CommandFactory as _;
use keypair_operator::{
    domain::{publication::PublicationReason, reason::Reason, region, secret},
    plugin,
};
use regex::Regex;
use serde_json::Value;

use self::markdown::split;

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files, by their path relative to the root.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/tutorials", "charts/keypair-operator", "examples/policies", "tests/vectors"];
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

/// The anchors that Markdown derives from the headings of a page.
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
fn every_link_has_a_target() {
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
            assert!(path.exists(), "{}: the target of {target} does not exist", page.display());
            assert!(
                anchor.is_empty() || anchors(&path).contains(anchor),
                "{}: the page of {target} has no such heading",
                page.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// The index of the documentation links to every page.
#[test]
fn the_index_is_complete() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages() {
        let Ok(page) = page.strip_prefix(root().join("docs")) else { continue };
        let link = format!("]({}", page.display());
        assert!(
            page == Path::new("README.md") || index.contains(&link),
            "docs/README.md does not link to {}",
            page.display()
        );
    }
}

/// Pages stay short enough to read, not counting generated blocks.
#[test]
fn no_page_is_too_long() {
    const MAX_LINES: usize = 400;
    for page in pages() {
        let mut is_generated = false;
        let text = fs::read_to_string(&page).unwrap();
        let written = text.lines().filter(|line| {
            is_generated = line.starts_with("<!-- generated") || is_generated && *line != "<!-- end -->";
            !is_generated
        });
        let count = written.count();
        // A changelog keeps growing.
        assert!(count <= MAX_LINES || page.ends_with("CHANGELOG.md"), "{}: {count} lines", page.display());
    }
}

/// Every YAML block can be parsed, and every KeyPair in one is valid by the operator's rules.
#[test]
fn every_yaml_block_is_valid() {
    let mut checked = 0;
    for page in pages() {
        let (_, blocks) = split(&fs::read_to_string(&page).unwrap());
        for (_, code) in blocks.iter().filter(|(kind, _)| kind == "yaml") {
            let documents: Vec<Value> = serde_saphyr::from_multiple(code)
                .unwrap_or_else(|error| panic!("{}: {error} in\n{code}", page.display()));
            assert!(!documents.is_empty());
            // `lint` does not accept chart values or parts of an object.
            if !documents.iter().all(|document| document.get("kind").is_some()) {
                continue;
            }
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

/// The documented targets of make and flags of the operator exist.
#[test]
fn documented_commands_and_flags_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let target = Regex::new(r"`make ([a-z]+)`|^make ([a-z]+)").unwrap();
    let help = |command| {
        let output = Command::new(BINARY).args([command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let plugin = plugin::Args::command();
    let plugin = plugin.get_subcommands().chain([&plugin]).flat_map(clap::Command::get_arguments);
    let plugin: String = plugin.filter_map(|flag| Some(format!("--{}\n", flag.get_long()?))).collect();
    let help = help("run") + &help("fingerprint") + &help("policy") + &plugin;
    let flag = Regex::new(r"`(--[a-z][a-z-]+)").unwrap();
    // Flags of other programs.
    let foreign = ["--server-side", "--take-ownership"];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for found in text.lines().flat_map(|line| target.captures_iter(line).collect::<Vec<_>>()) {
            let name = found.get(1).or(found.get(2)).unwrap().as_str();
            assert!(makefile.contains(&format!("\n{name}:")), "{}: make {name}", page.display());
        }
        for found in flag.captures_iter(&text) {
            let known = help.contains(&found[1]) || foreign.contains(&&found[1]);
            assert!(known, "{}: {} is not a flag of the operator", page.display(), &found[1]);
        }
    }
}

/// Each reason has a section on the troubleshooting page, which quotes the operator's messages correctly.
#[test]
fn every_reason_has_a_troubleshooting_section() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (page, reference, words) = (read("docs/troubleshooting.md"), read("docs/reference.md"), words());
    let rules: Vec<&str> = reference.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next()).collect();
    // Placeholders: names, and the code and reason of a response.
    let what_varies = Regex::new(r#""[^"]*"|\b[0-9]{3} [A-Za-z]+|[:;()]"#).unwrap();
    for reason in Reason::ALL {
        let sections = page.split("\n### ").filter_map(|section| section.split_once('\n'));
        let mut section = sections.filter(|(heading, _)| *heading == reason.as_str());
        let (_, text) = section.next().unwrap_or_else(|| panic!("{reason} has no section"));
        let mut quoted = 0;
        for line in text.lines() {
            if line.contains(" is invalid: ") {
                assert!(rules.iter().any(|rule| line.ends_with(rule)), "{reason}: no rule has the message of {line}");
            } else if let Some(message) = line.trim_start().strip_prefix("Message: ") {
                // Shorter parts may be names or text of the API server.
                for part in what_varies.split(message).map(str::trim).filter(|part| part.len() > 25) {
                    assert!(words.contains(part), "{reason}: no message contains {part:?}");
                }
            } else {
                continue;
            }
            quoted += 1;
        }
        assert!(quoted > 0, "{reason}: the section quotes no message");
    }
}

/// The same for the reasons of publications.
#[test]
fn every_reason_of_a_publication_has_a_troubleshooting_section() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (_, page) = page.split_once("\n## Reasons of AuthorizedKeys and KnownHosts\n").unwrap();
    let words = words();
    // The names in the quoted messages: those of the own namespace, and those of another one.
    let quoted = |name: &str, namespace: &str, own: &str| {
        words
            .replace("{name}", name)
            .replace("{namespace}", namespace)
            .replace("{own}", own)
            .replace("{target}", "ConfigMap admins")
            .replace("{TARGET_MAX_BYTES}", "1000000")
    };
    let words = quoted("bob", "shop", "shop") + &quoted("git-host", "infra", "shop");
    let separators = Regex::new(r#""[^"]*"|[:;()]|\b[0-9]{3} [A-Za-z]+"#).unwrap();
    let sections: Vec<(&str, &str)> = page
        .split("\n### ")
        .filter_map(|section| section.split_once('\n'))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let reasons = PublicationReason::ALL.into_iter().filter(|reason| *reason != PublicationReason::Published);
    assert_eq!(names, reasons.map(PublicationReason::as_str).collect::<Vec<_>>());
    for (name, text) in sections {
        let mut messages = text.lines().filter_map(|line| line.trim_start().strip_prefix("Message: ")).peekable();
        assert!(messages.peek().is_some(), "{name}: the section quotes no message");
        for message in messages {
            // The field.
            let message = if message.trim_start().starts_with("spec.") {
                message.trim_start().split_once(' ').unwrap().1
            } else {
                message
            };
            for part in separators.split(message).map(str::trim).filter(|part| part.len() > 25) {
                assert!(words.contains(part), "{name}: no message contains {part:?}");
            }
        }
    }
}

/// Every test that the security model names exists.
#[test]
fn tests_named_in_the_security_model_exist() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut sources = String::new();
    let mut pending = vec![root().join("src"), root().join("tests")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let name = Regex::new("`([a-z0-9]+(?:_[a-z0-9]+){2,})`").unwrap();
    let named: BTreeSet<&str> = name.captures_iter(&page).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "test {name} does not exist");
    }
    let path = Regex::new("`(tests/[a-z0-9_/.]+)`").unwrap();
    for found in path.captures_iter(&page) {
        assert!(root().join(&found[1]).exists(), "{} does not exist", &found[1]);
    }
}

/// The source of the domain, which contains the messages, with placeholders replaced as on the troubleshooting page.
fn words() -> String {
    let mut words = String::new();
    let mut pending = vec![root().join("src/domain")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            words.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let placeholders = [
        ("{QUOTA_ANNOTATION}", region::QUOTA_ANNOTATION),
        ("{PROJECTS_ANNOTATION}", region::PROJECTS_ANNOTATION),
        ("{ADOPT_ANNOTATION}", secret::ADOPT_ANNOTATION),
        ("{which}", "this project"),
        ("use one of {}", "use one of api, web"),
    ];
    placeholders.into_iter().fold(words, |words, (placeholder, value)| words.replace(placeholder, value))
}
