//! Checks the layout of the source: dependencies point one way, the domain is pure, and the source map matches the files.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::Visit;

/// The modules of the crate, each with the modules that it may use.
const ARROWS: [(&str, &[&str]); 12] = [
    ("domain", &[]),
    ("keygen", &["domain"]),
    ("api", &["domain"]),
    ("client", &["domain"]),
    ("observe", &["domain"]),
    ("leader", &["client", "observe"]),
    ("cache", &["api", "client", "domain", "observe"]),
    ("controller", &["api", "cache", "client", "domain", "keygen", "leader", "observe"]),
    ("server", &[]),
    ("webhook", &["api", "cache", "client", "domain", "observe", "server"]),
    ("plugin", &["api", "client", "domain"]),
    ("app", &["api", "cache", "client", "controller", "domain", "keygen", "leader", "observe", "server", "webhook"]),
];

/// What the domain must not use: clients, runtimes, clocks, randomness, files, network, environment, output.
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

/// The module of a file, as path segments relative to the crate root.
fn module_of(path: &Path) -> Vec<String> {
    let path = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut module: Vec<String> = path.iter().map(|segment| segment.to_str().unwrap().to_owned()).collect();
    module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    module
}

/// Collects the paths that a file uses, except in test code.
struct Paths(Vec<Vec<String>>);

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut pending = vec![(Vec::new(), &item.tree)];
        while let Some((mut path, tree)) = pending.pop() {
            match tree {
                syn::UseTree::Path(step) => {
                    path.push(step.ident.to_string());
                    pending.push((path, &step.tree));
                }
                syn::UseTree::Group(group) => pending.extend(group.items.iter().map(|tree| (path.clone(), tree))),
                syn::UseTree::Name(name) => self.0.push([path, vec![name.ident.to_string()]].concat()),
                syn::UseTree::Rename(name) => self.0.push([path, vec![name.ident.to_string()]].concat()),
                syn::UseTree::Glob(_) => self.0.push(path),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

/// The crate paths that a file uses, relative to the crate root.
fn used(path: &Path) -> Vec<Vec<String>> {
    let module = module_of(path);
    let mut paths = Paths(Vec::new());
    paths.visit_file(&syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap());
    let absolute = |path: Vec<String>| {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        match path.first().map(String::as_str) {
            Some("crate") => Some(path[1..].to_vec()),
            Some("self") => Some([&module[..], &path[1..]].concat()),
            Some("super") if ups <= module.len() => Some([&module[..module.len() - ups], &path[ups..]].concat()),
            _ => None,
        }
    };
    paths.0.into_iter().filter_map(absolute).collect()
}

/// All source files except test code.
fn source_files() -> Vec<PathBuf> {
    let is_for_tests = |path: &PathBuf| path.iter().any(|segment| segment == "tests" || segment == "tests.rs");
    rust_files(&root().join("src")).into_iter().filter(|path| !is_for_tests(path)).collect()
}

/// The files of these modules, with their text without comments and test code.
fn code_of(modules: &[&str]) -> Vec<(PathBuf, String)> {
    let files = source_files().into_iter();
    let files = files.filter(|path| module_of(path).first().is_some_and(|first| modules.contains(&first.as_str())));
    let code: Vec<_> = files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.split("#[cfg(test)]").next().unwrap().lines();
            let code: Vec<&str> = lines.filter(|line| !line.trim_start().starts_with("//")).collect();
            (path, code.join("\n"))
        })
        .collect();
    assert!(!code.is_empty(), "none of the modules {modules:?} exists");
    code
}

#[test]
fn modules_depend_in_one_direction() {
    for path in source_files() {
        let module = module_of(&path);
        let Some((room, allowed)) = ARROWS.iter().find(|(room, _)| module.first().is_some_and(|first| first == room))
        else {
            continue;
        };
        for used in used(&path).iter().filter_map(|used| used.first()) {
            let is_room = ARROWS.iter().any(|(other, _)| other == used);
            let is_allowed = used == room || allowed.contains(&used.as_str());
            assert!(!is_room || is_allowed, "{}: {room} must not use {used}", path.display());
        }
    }
}

/// A file may use files below and beside it, but no two files may use each other, directly or indirectly.
#[test]
fn files_have_no_circular_dependencies() {
    let files: BTreeMap<Vec<String>, PathBuf> =
        source_files().into_iter().map(|path| (module_of(&path), path)).collect();
    // A module may use the files in its folder, and they may use it.
    let related = |one: &[String], other: &[String]| one.starts_with(other) || other.starts_with(one);
    let uses: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = files
        .iter()
        .map(|(module, path)| {
            let target = |used: Vec<String>| {
                (1..=used.len()).rev().find_map(|length| files.get_key_value(&used[..length]).map(|(found, _)| found))
            };
            let targets = used(path).into_iter().filter_map(target).filter(|target| !related(target, module));
            (module, targets.collect())
        })
        .collect();
    // A module that uses no remaining module is not part of a cycle.
    let mut left: BTreeSet<&Vec<String>> = uses.keys().copied().collect();
    loop {
        let free: Vec<&Vec<String>> = left.iter().copied().filter(|module| uses[module].is_disjoint(&left)).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    // Neither is a module that no remaining module uses.
    loop {
        let targets: BTreeSet<&Vec<String>> = left.iter().flat_map(|module| uses[module].iter().copied()).collect();
        let before = left.len();
        left.retain(|module| targets.contains(module));
        if left.len() == before {
            break;
        }
    }
    let told: Vec<String> = left
        .iter()
        .map(|module| {
            let targets: Vec<String> = uses[module].intersection(&left).map(|target| target.join("::")).collect();
            format!("{} uses {}", module.join("::"), targets.join(", "))
        })
        .collect();
    assert!(left.is_empty(), "circular dependencies:\n{}", told.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    for (path, code) in code_of(&["domain"]) {
        for word in IMPURE {
            assert!(!code.contains(word), "{}: the domain must not use {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for path in source_files() {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        assert!(lines <= 300, "{}: {lines} lines without tests", path.display());
    }
}

/// The only file that may contain unsafe code.
const UNSAFE: &str = "src/keygen/bignum.rs";

/// The operator always generates RSA keys with the generator that `--rsa-generator` selects.
#[test]
fn only_the_configured_generator_generates_rsa_keys() {
    let mut calls = 0;
    for (path, code) in code_of(&["api", "controller", "webhook", "app"]) {
        assert!(!code.contains("keygen::generate("), "{}: call generate_with instead", path.display());
        calls += code.matches("keygen::generate_with(").count();
    }
    assert_eq!(calls, 2, "expected one call for requested keys and one for the pool");
}

/// All Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The compiler denies `unsafe` as long as no other file allows it.
#[test]
fn only_one_file_may_be_unsafe() {
    // Assembled from two parts, because the search covers this file as well.
    let word = ["un", "safe"].concat();
    let lint = format!("{word}_code");
    let files = ["src", "tests", "benches"].into_iter().flat_map(|folder| rust_files(&root().join(folder)));
    let allowing = files.filter(|path| fs::read_to_string(path).unwrap().contains(&lint));
    let allowing: Vec<PathBuf> = allowing.map(|path| path.strip_prefix(root()).unwrap().to_owned()).collect();
    assert_eq!(allowing, [PathBuf::from(UNSAFE)]);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("{lint} = \"deny\"")));
    // In that file, clippy requires a safety comment on each unsafe block, and one operation per block.
    let text = fs::read_to_string(root().join(UNSAFE)).unwrap();
    for rule in ["undocumented", "multiple"] {
        assert!(text.contains(&format!("#![deny(clippy::{rule}_{word}")), "{rule}");
    }
}

/// The source map in docs/architecture.md names every module of the first two levels, and no missing file.
#[test]
fn the_source_map_matches_the_files() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let map =
        page.split("<!-- map -->").nth(1).expect("docs/architecture.md should have a map between <!-- map --> marks");
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.split('`').nth(1))
        .filter(|path| path.starts_with("src/"))
        .map(str::to_owned)
        .collect();
    for path in &named {
        assert!(root().join(path).exists(), "the map of docs/architecture.md names {path}, which does not exist");
    }
    let mut there = BTreeSet::new();
    let rooms = ARROWS.iter().map(|(module, _)| format!("src/{module}"));
    for folder in std::iter::once("src".to_owned()).chain(rooms) {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let directory = entry.path().is_dir();
            // If a folder has a module file beside it, the map names that file.
            let has_file = root().join(&folder).join(format!("{name}.rs")).exists();
            if name != "mod.rs" && !(directory && has_file) {
                there.insert(format!("{folder}/{name}{}", if directory { "/" } else { "" }));
            }
        }
    }
    let missing: Vec<&String> = there.difference(&named).collect();
    assert!(missing.is_empty(), "the map of docs/architecture.md does not name {missing:?}");
}
