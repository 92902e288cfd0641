//! Valid public key bodies, and how they are parsed.

use std::collections::BTreeSet;

use keypair_operator::domain::key::{BARE_TOKENS, KeyType, PublicKey, PublicKeyError as E};

use crate::vectors::{public_vectors, read};

#[test]
fn vectors_are_read_as_ssh_keygen_reads_them() {
    for vector in public_vectors() {
        let key = PublicKey::parse(&vector.body).unwrap_or_else(|error| panic!("{}: {error:?}", vector.file));
        assert_eq!(key.key_type().name(), vector.key_type, "{}", vector.file);
        assert_eq!(key.bits(), vector.bits, "{}", vector.file);
        assert_eq!(key.fingerprints().md5, vector.md5, "{}", vector.file);
        assert_eq!(key.fingerprints().sha256, vector.sha256, "{}", vector.file);
        assert_eq!(key.key_type().is_certificate(), key.blob() != key.plain_blob());
        assert_eq!(PublicKey::parse(&key.to_openssh()), Ok(key), "{}", vector.file);
    }
}

#[test]
fn every_key_type_has_a_vector() {
    let types: BTreeSet<_> = public_vectors().into_iter().map(|vector| vector.key_type).collect();
    let all: BTreeSet<_> = KeyType::ALL.iter().map(|key_type| key_type.name().to_owned()).collect();
    assert_eq!(types, all);
}

#[test]
fn all_forms_of_a_key_are_the_same_key() {
    for vector in public_vectors().iter().filter(|vector| vector.form() != "cert") {
        let stem = vector.file.rsplit_once('.').expect("a suffix").0;
        let plain = PublicKey::parse(&read(format!("{stem}.pub"))).expect("a vector");
        let key = PublicKey::parse(&vector.body).expect("a vector");
        assert_eq!(key.blob(), plain.blob(), "{}", vector.file);
    }
}

#[test]
fn lines_are_normalised() {
    let original = read("public/ed25519.pub");
    let (key_type, rest) = original.trim().split_once(' ').expect("a line");
    let (base64, comment) = rest.split_once(' ').expect("a comment");
    for body in [
        format!("\u{feff}{original}").trim_start_matches('\u{feff}').to_owned(),
        format!(" \r\n{key_type} \t {base64}\t {comment} \r\n\r\n"),
        original.replace('\n', "\r\n"),
    ] {
        assert_eq!(PublicKey::parse(&body).map(|key| key.to_openssh()), Ok(original.trim().to_owned()));
    }
    let bare = PublicKey::parse(&format!("{key_type} {base64}")).expect("a key without comment");
    assert_eq!((bare.comment(), bare.to_openssh()), ("", format!("{key_type} {base64}")));
}

#[test]
fn comments_come_from_lines_and_rfc4716_headers() {
    assert_eq!(PublicKey::parse(&read("public/dsa.pub")).expect("a vector").comment(), "vector dsa");
    let block = read("public/ed25519.rfc4716");
    let comment = PublicKey::parse(&block).expect("a vector").comment().to_owned();
    assert!(comment.starts_with("256-bit ED25519, converted by "), "{comment}");
    let indented = block.replace('\n', "\r\n    ");
    assert_eq!(PublicKey::parse(&indented).expect("an indented block").comment(), comment);
    let hostile = block.replace("Comment: \"", "Comment: \"a\u{7}b");
    assert_eq!(PublicKey::parse(&hostile), Err(E::ControlCharacter));
}

/// A tab is part of a comment, as `ssh-keygen -l` prints it, in a line and in a block.
#[test]
fn a_tab_in_a_comment_is_kept() {
    let line = read("public/ed25519.pub");
    let (key, _) = line.trim().rsplit_once(" vector").expect("a comment");
    let parsed = PublicKey::parse(&format!("{key}\t ops\tlab\t\n")).expect("a key");
    assert_eq!((parsed.comment(), parsed.to_openssh()), ("ops\tlab", format!("{key} ops\tlab")));
    let block = read("public/ed25519.rfc4716").replace("Comment: \"", "Comment: \"ops\tlab ");
    let comment = PublicKey::parse(&block).expect("a block").comment().to_owned();
    assert!(comment.starts_with("ops\tlab 256-bit"), "{comment:?}");
}

#[test]
fn bare_tokens_represent_their_family() {
    for vector in public_vectors().iter().filter(|vector| vector.form() == "pub") {
        let rest = vector.body.split_once(' ').expect("a line").1;
        for (token, types) in BARE_TOKENS {
            let expected = types.iter().any(|key_type| key_type.name() == vector.key_type);
            let key = PublicKey::parse(&format!("{token} {rest}"));
            assert_eq!(key.is_ok(), expected, "{token} {}", vector.file);
            match key {
                Ok(key) => assert_eq!(key.to_openssh(), vector.body.trim()),
                Err(error) => assert_eq!(error, E::TypeMismatch),
            }
        }
    }
}
