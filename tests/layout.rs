//! The layout of the source: its arrows go one way only, the domain is pure, and the README's map is true.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The modules of the crate, each with what it may use.
const ARROWS: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("keygen", &["domain"]),
    ("api", &["domain"]),
    ("controller", &["api", "domain", "keygen"]),
    ("server", &[]),
    ("webhook", &["api", "controller", "domain", "server"]),
    ("app", &["api", "controller", "domain", "server", "webhook"]),
];

/// What would make the domain impure: clients, runtimes, clocks, randomness, files, network, environment, output.
const IMPURE: [&str; 20] = [
    "kube::",
    "use kube",
    "k8s_openapi",
    "tokio",
    "futures",
    "http::",
    "axum",
    "tracing",
    "rand::",
    "SystemRandom",
    "RandomState",
    "getrandom",
    "SystemTime",
    "Instant",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "println!",
    "eprintln!",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a module, with their text without comments and without what only tests see.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut pending = vec![root().join("src").join(module), root().join("src").join(format!("{module}.rs"))];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            files.push((path, code.join("\n")));
        }
    }
    assert!(!files.is_empty(), "there is no module {module}");
    files
}

#[test]
fn arrows_go_one_way() {
    for (module, allowed) in ARROWS {
        for (path, code) in sources(module) {
            for (other, _) in ARROWS.iter().filter(|(other, _)| *other != module && !allowed.contains(other)) {
                let uses = [format!("crate::{other}"), format!("    {other}::{{")];
                assert!(
                    !uses.iter().any(|used| code.contains(used.as_str())),
                    "{}: {module} must not use {other}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_domain_is_pure() {
    for (path, code) in sources("domain") {
        for word in IMPURE {
            assert!(!code.contains(word), "{}: {word} has no place in the domain", path.display());
        }
    }
}

#[test]
fn every_file_can_be_held_in_the_head() {
    for (module, _) in ARROWS {
        for (path, _) in sources(module) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 450, "{}: {lines} lines", path.display());
        }
    }
}

/// The one file that may call what the compiler cannot check.
const UNSAFE: &str = "src/keygen/bignum.rs";

/// The generator of RSA keys is the one that `--rsa-generator` names, wherever the operator makes keys.
#[test]
fn no_key_is_made_by_a_generator_that_was_not_asked_for() {
    let mut calls = 0;
    for module in ["api", "controller", "webhook", "app"] {
        for (path, code) in sources(module) {
            assert!(!code.contains("keygen::generate("), "{}: it must call generate_with", path.display());
            calls += code.matches("keygen::generate_with(").count();
        }
    }
    assert_eq!(calls, 2, "one for keys that are asked for, one for the pool");
}

/// All files of Rust below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The compiler denies it everywhere else, as long as no other file allows it.
#[test]
fn one_file_may_be_unsafe() {
    // Put together, since this file is searched as well.
    let word = ["un", "safe"].concat();
    let lint = format!("{word}_code");
    let files = ["src", "tests", "benches"].into_iter().flat_map(|folder| rust_files(&root().join(folder)));
    let allowing = files.filter(|path| fs::read_to_string(path).unwrap().contains(&lint));
    let allowing: Vec<PathBuf> = allowing.map(|path| path.strip_prefix(root()).unwrap().to_owned()).collect();
    assert_eq!(allowing, [PathBuf::from(UNSAFE)]);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("{lint} = \"deny\"")));
    // There clippy sees to it that each call is one by itself and has its argument before it.
    let text = fs::read_to_string(root().join(UNSAFE)).unwrap();
    for rule in ["undocumented", "multiple"] {
        assert!(text.contains(&format!("#![deny(clippy::{rule}_{word}")), "{rule}");
    }
}

/// The map in the README names every module of two levels, and nothing that is not there.
#[test]
fn the_map_in_the_readme_is_true() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let map = readme.split("<!-- map -->").nth(1).expect("the README has a map between <!-- map --> marks");
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.split('`').nth(1))
        .filter(|path| path.starts_with("src/"))
        .map(str::to_owned)
        .collect();
    for path in &named {
        assert!(root().join(path).exists(), "the README's map names {path}, which is not there");
    }
    let mut there = BTreeSet::new();
    for folder in
        ["src", "src/domain", "src/keygen", "src/api", "src/controller", "src/server", "src/webhook", "src/app"]
    {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let directory = entry.path().is_dir();
            // A module's folder is named by its file, if it has one beside it.
            let has_file = root().join(folder).join(format!("{name}.rs")).exists();
            if name != "mod.rs" && !(directory && has_file) {
                there.insert(format!("{folder}/{name}{}", if directory { "/" } else { "" }));
            }
        }
    }
    let missing: Vec<&String> = there.difference(&named).collect();
    assert!(missing.is_empty(), "the README's map does not name {missing:?}");
}
