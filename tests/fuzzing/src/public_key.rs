//! `PublicKey::parse`, compared with a referee.
//!
//! The first byte selects the meaning of the rest, so that a fuzzer can change the bytes within the base64:
//!
//! | byte | the rest |
//! |---|---|
//! | 0 | a key blob, which becomes a line |
//! | 1 | a key blob, which becomes an RFC 4716 block |
//! | 2 | a `SubjectPublicKeyInfo` in DER |
//! | 3 | an `RSAPublicKey` in DER |
//! | any other | part of the text, together with the rest |

use keypair_operator::domain::key::{PublicKey, PublicKeyError, holds_private_key};

use crate::{
    armor,
    referee::{self, REFUSED_PUBLIC, Refused, UNREAD_PUBLIC, Unread},
    seeds,
};

/// For any input: nothing panics, an accepted key can be parsed again from every form, and the referee agrees or the
/// difference is known.
///
/// # Panics
///
/// If any of this does not hold.
pub fn check(data: &[u8]) {
    let Some(body) = body(data) else { return };
    let ours = PublicKey::parse(&body);
    if let Ok(key) = &ours {
        every_form_is_the_same_key(key);
        same_as_the_referee(key);
    }
    if let Ok(theirs) = referee::read_public(body.trim()) {
        match ours {
            Ok(key) => {
                assert_eq!(key.blob(), theirs.blob, "the referee reads another key");
                assert_eq!(key.comment(), theirs.comment.trim(), "the referee reads another comment");
            }
            Err(ours) => {
                let difference = Refused { ours, theirs };
                assert!(
                    referee::is_known(REFUSED_PUBLIC, &difference),
                    "the referee accepts what is refused as {:?}: {:?}",
                    difference.ours,
                    difference.theirs
                );
            }
        }
    }
}

/// The text that the data represents.
#[must_use]
pub fn body(data: &[u8]) -> Option<String> {
    let (first, rest) = data.split_first()?;
    match first {
        0 => Some(armor::line(rest)),
        1 => Some(armor::rfc4716("", rest)),
        2 => Some(armor::pem("PUBLIC KEY", rest)),
        3 => Some(armor::pem("RSA PUBLIC KEY", rest)),
        _ => String::from_utf8(data.to_vec()).ok(),
    }
}

/// What is published in a status parses as the same key.
fn every_form_is_the_same_key(key: &PublicKey) {
    let line = key.to_openssh();
    assert_eq!(PublicKey::parse(&line).as_ref(), Ok(key), "the normalised line is another key");
    assert!(!line.contains(['\n', '\r']), "the normalised line has line breaks");
    assert!(!holds_private_key(&line), "a public key is mistaken for a private one");
    let bare = armor::line(key.blob());
    for form in [armor::rfc4716("", key.blob()), bare.clone(), format!("  {bare}\r\n"), bare.replace(' ', "\t ")] {
        let again = match PublicKey::parse(&form) {
            // These words do not occur in a key by chance. A key that contains them on purpose is refused in some forms, and
            // should be.
            Err(PublicKeyError::PrivateKey) if speaks_of_a_private_key(key.blob()) => continue,
            again => again.expect("every form of a key can be parsed"),
        };
        assert_eq!(again.blob(), key.blob());
        assert_eq!(again.fingerprints(), key.fingerprints());
        assert_eq!((again.key_type(), again.bits(), again.comment()), (key.key_type(), key.bits(), ""));
    }
    assert!(line.starts_with(&bare));
}

fn speaks_of_a_private_key(blob: &[u8]) -> bool {
    let text = String::from_utf8_lossy(blob).to_ascii_uppercase();
    ["PRIVATE", "OPENSSH-KEY-V1", "PUTTY"].iter().any(|word| text.contains(word))
}

fn same_as_the_referee(key: &PublicKey) {
    match referee::read_public(&armor::line(key.blob())) {
        Ok(theirs) => {
            assert_eq!(key.blob(), theirs.blob, "the referee reads another key");
            let fingerprint = theirs.key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
            assert_eq!(key.fingerprints().sha256, fingerprint, "the referee has another fingerprint");
        }
        Err(theirs) => {
            let difference = Unread { ours: key.clone(), theirs };
            assert!(
                referee::is_known(UNREAD_PUBLIC, &difference),
                "the referee refuses what is accepted: {:?}, {:?}",
                difference.ours,
                difference.theirs
            );
        }
    }
}

/// The texts, and their blobs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for body in seeds::public_bodies() {
        let mode = |mode: u8, rest: &[u8]| [&[mode], rest].concat();
        if let Ok(key) = PublicKey::parse(&body) {
            seeds.extend([mode(0, key.blob()), mode(1, key.blob())]);
        }
        if let Some(inner) = armor::inner(&body) {
            let kind = if body.contains("RSA PUBLIC") { 3 } else { 2 };
            seeds.push(mode(if body.contains("SSH2") { 1 } else { kind }, &inner));
        }
        seeds.push(body.into_bytes());
    }
    seeds
}
