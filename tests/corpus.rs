//! Reads the keys of other projects' test suites, if that corpus is present.
//!
//! The corpus is not part of this repository. Without it these tests check nothing: `tests/keys` covers the rules themselves
//! with its own vectors.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at the first surprise")]

use std::path::PathBuf;

use keypair_operator::domain::{
    key::{KeyType, PublicKey},
    profile::Profile,
};
use serde_json::Value;

/// The number of keys in the corpus that must be accepted, and that must be refused.
const VALID: usize = 277;
const MUST_REFUSE: usize = 54;
/// The one key of the second group that is accepted: the corpus was sorted by an OpenSSH before 10.4, which did not know its type.
const KNOWN_SINCE: &str = "0039-openssh-sshkey-mldsa44_ed25519_2.pub";

fn corpus(file: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("KEYPAIR_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(file)) else {
        println!("the corpus is not there ({file}); set KEYPAIR_CORPUS to test with it");
        return None;
    };
    Some(
        text.lines().map(|line| serde_json::from_str(line).expect("the corpus should consist of JSON lines")).collect(),
    )
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_default()
}

#[test]
fn valid_keys_are_read_as_ssh_keygen_reads_them() {
    let Some(entries) = corpus("valid.jsonl") else {
        return;
    };
    assert_eq!(entries.len(), VALID);
    for entry in &entries {
        let name = text(entry, "name");
        let key = PublicKey::parse(text(entry, "body")).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(key.key_type().name(), text(entry, "blobType"), "{name}");
        assert_eq!(key.bits().to_string(), text(entry, "bits"), "{name}");
        let fingerprints = key.fingerprints();
        for (field, ours) in [("md5", fingerprints.md5), ("sha256", fingerprints.sha256)] {
            let expected = text(entry, field);
            assert!(expected == "-" || expected == ours, "{name}: {field} is {ours}");
        }
        assert_eq!(PublicKey::parse(&key.to_openssh()).as_ref(), Ok(&key), "{name}");
    }
}

#[test]
fn invalid_keys_are_refused() {
    let Some(entries) = corpus("invalid.jsonl") else {
        return;
    };
    let must_refuse: Vec<_> = entries.iter().filter(|entry| entry["mustRefuse"] == true).collect();
    assert_eq!(must_refuse.len(), MUST_REFUSE);
    for entry in must_refuse {
        // A string field of a Kubernetes object can only hold UTF-8.
        let Some(body) = entry["body"].as_str() else {
            continue;
        };
        let name = text(entry, "name");
        match PublicKey::parse(body) {
            Ok(key) if name == KNOWN_SINCE => only_alibaba_refuses(&key),
            Err(error) if name == KNOWN_SINCE => panic!("{name}: {error:?}"),
            Ok(key) => panic!("{name} was accepted as {:?}", key.key_type()),
            Err(error) => println!("{name} [{}]: {error:?}", text(entry, "why")),
        }
    }
}

/// Checks a key type that OpenSSH 10.4 introduced. Alibaba has a fixed list of types; the other profiles accept what OpenSSH accepts.
fn only_alibaba_refuses(key: &PublicKey) {
    assert_eq!(key.key_type(), KeyType::MlDsa44Ed25519);
    let accepting = Profile::ALL.into_iter().filter(|profile| profile.rules().import_types.contains(&key.key_type()));
    assert_eq!(accepting.collect::<Vec<_>>(), [Profile::UCloud, Profile::Volcengine, Profile::OpenSSH]);
    assert_eq!(PublicKey::parse(&key.to_openssh()).as_ref(), Ok(key));
}
