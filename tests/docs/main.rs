//! Generates the tables of the documentation, and the parts of the chart that depend on the rules, from the tables in the code.
//! `make docs` writes them.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod errors;
mod flags;
mod resource;

use std::{collections::BTreeSet, fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keypair_operator::api;
use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generated_tables_match_the_code() {
    let [key_pair, authorized_keys, known_hosts] = ["KeyPair", "AuthorizedKeys", "KnownHosts"].map(resource::crd);
    let both = |table: fn(&CustomResourceDefinition) -> String| {
        let tables = [&authorized_keys, &known_hosts].map(table);
        assert_eq!(tables[0], tables[1], "the reference has one table for both");
        table(&authorized_keys)
    };
    check(
        "docs/reference.md",
        &[
            ("resource", resource::names(&key_pair)),
            ("spec", resource::spec(&key_pair)),
            ("rules", resource::rules()),
            ("status", resource::status(&key_pair)),
            ("columns", resource::columns(&key_pair)),
            ("selectable fields", resource::selectable(&key_pair)),
            ("AuthorizedKeys", resource::names(&authorized_keys)),
            ("AuthorizedKeys spec", resource::spec(&authorized_keys)),
            ("KnownHosts", resource::names(&known_hosts)),
            ("KnownHosts spec", resource::spec(&known_hosts)),
            ("publication status", both(resource::status)),
            ("publication columns", both(resource::columns)),
            ("publication reasons", resource::publication_reasons()),
            ("reasons", errors::reasons()),
            ("errors", errors::table()),
            ("run", flags::of("run")),
            ("policy", flags::of("policy")),
            ("fingerprint", flags::of("fingerprint")),
        ],
    );
    check("docs/kubectl.md", &[("commands", flags::plugin_commands()), ("globals", flags::plugin_globals())]);
    check("docs/mapping.md", &[("profiles", errors::profiles())]);
}

#[test]
fn chart_match_conditions_equal_those_of_the_code() {
    let path = root().join("charts/keypair-operator/files/breaks-a-rule.cel");
    let expected = format!("{}\n", api::cel::refused_condition());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(fs::read_to_string(&path).unwrap() == expected, "{} is outdated: run `make docs`", path.display());
    }
}

/// The reference lists exactly the labels and annotations of the operator.
#[test]
fn the_reference_names_every_annotation() {
    let name = Regex::new("keypairs[.]dev/[a-z-]*[a-z]").unwrap();
    let names = |text: &str| name.find_iter(text).map(|found| found.as_str().to_owned()).collect::<BTreeSet<_>>();
    let mut known = BTreeSet::new();
    let mut pending = vec![root().join("src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let constants = text.lines().filter(|line| line.contains("const ") && line.contains("_ANNOTATION: &str"));
            known.extend(constants.flat_map(names));
        }
    }
    assert!(known.len() > 5, "{known:?}");
    let reference = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let section = reference.split("\n## ").find(|section| section.starts_with("Labels and annotations")).unwrap();
    assert_eq!(names(section), known);
}

/// Compares each block `<!-- generated: NAME -->` … `<!-- end -->` of a file with the generated table, or writes it.
fn check(file: &str, blocks: &[(&str, String)]) {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let mut expected = text.clone();
    for (name, table) in blocks {
        let begin = format!("<!-- generated: {name} -->\n");
        let start = expected.find(&begin).unwrap_or_else(|| panic!("{file} has no block {name}")) + begin.len();
        let end = start + expected[start..].find("<!-- end -->").unwrap();
        expected.replace_range(start..end, table);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(text == expected, "the tables in {file} are outdated: run `make docs`");
    }
}
