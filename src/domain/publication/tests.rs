//! Tests of the checks, the text and the report. `tests/publication_text.rs` shows the text to OpenSSH.

mod checks;
mod known_hosts;
mod parser;
mod reports;
mod texts;

use std::sync::Arc;

use super::*;

const UID: &str = "6f0c1c2e-0d3e-4f3c-9b52-3f1f3f9e9a11";
pub(super) const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf";

fn parameters(kind: PublicationKind, entries: Vec<EntryParameters>) -> PublicationParameters {
    PublicationParameters {
        kind,
        namespace: "shop".to_owned(),
        name: "servers".to_owned(),
        entries,
        target: TargetParameters::default(),
        layout: Layout::File,
        hash_hosts: false,
        is_too_large: false,
    }
}

fn key_pair(name: &str) -> EntryParameters {
    EntryParameters { key_pair: Some(name.to_owned()), ..EntryParameters::default() }
}

fn login(options: KeyOptions) -> EntryParameters {
    EntryParameters { options, ..key_pair("web") }
}

fn hosts(hosts: &[&str]) -> EntryParameters {
    EntryParameters { hosts: texts(hosts), ..key_pair("web") }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn checked(kind: PublicationKind, entry: EntryParameters) -> Publication {
    check(&parameters(kind, vec![entry]))
}

/// The fields that are invalid.
fn fields(publication: &Publication) -> Vec<&str> {
    publication.mistakes.iter().map(|mistake| mistake.field.as_str()).collect()
}

/// A pair with keys of these revisions. The base64 is that of no real key: the text does not depend on it.
fn pair(namespace: &str, name: &str, keys: &[(u32, &str)]) -> Arc<PublishedPair> {
    let keys = keys.iter().map(|(revision, base64)| {
        PublishedKey::from_line(*revision, &format!("ssh-ed25519 {base64} ignored")).unwrap()
    });
    Arc::new(PublishedPair { namespace: namespace.into(), name: name.into(), keys: keys.collect() })
}

fn certificate(namespace: &str, name: &str) -> Arc<PublishedPair> {
    let key = PublishedKey::from_line(1, "ssh-ed25519-cert-v01@openssh.com CERT").unwrap();
    Arc::new(PublishedPair { namespace: namespace.into(), name: name.into(), keys: vec![key] })
}

fn selected(pairs: &[Arc<PublishedPair>]) -> Resolved {
    Resolved { pairs: pairs.to_vec(), problem: None }
}

fn problem(problem: Problem) -> Resolved {
    Resolved { pairs: Vec::new(), problem: Some(problem) }
}
