//! `PrivateKey::parse`, compared with a referee.
//!
//! The first byte selects the meaning of the rest: 0 is a PKCS#8 document, 1 a key in OpenSSH's own format, 2 an
//! `RSAPrivateKey`, and 3 an `ECPrivateKey`. Any other byte is part of the text, together with the rest.

use keypair_operator::domain::key::{Encoding, PrivateKey, PublicKey, PublicKeyError, holds_private_key};

use crate::{
    armor,
    referee::{self, REFUSED_PRIVATE, RefusedPrivate, UNREAD_PRIVATE, UnreadPrivate},
    seeds,
};

/// By the first byte of the data.
const LABELS: [&str; 4] = ["PRIVATE KEY", "OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const OPENSSH: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const COMMENT: &str = "me@example.com";

/// For any input: nothing panics, an accepted key is the same in every encoding and is detected as private, and the referee
/// agrees or the difference is known.
///
/// # Panics
///
/// If any of this does not hold.
pub fn check(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let ours = PrivateKey::parse(&text);
    if let Ok(key) = &ours {
        assert!(holds_private_key(&text), "a private key is not detected");
        assert_eq!(PublicKey::parse(&text), Err(PublicKeyError::PrivateKey));
        every_encoding_is_the_same_key(key);
    }
    if !text.trim().starts_with(OPENSSH) {
        return;
    }
    let Some(bytes) = armor::inner(&text) else { return };
    match (ours, referee::read_private(&bytes)) {
        (Ok(ours), Ok(theirs)) => same_key(&ours, &theirs),
        (Ok(ours), Err(theirs)) => unread(&ours, bytes, theirs),
        (Err(ours), Ok(theirs)) => {
            let difference = RefusedPrivate { ours, theirs };
            let is_known = referee::is_known(REFUSED_PRIVATE, &difference);
            // Only if the text around the bytes is valid, because this referee does not see it.
            let is_armored = PrivateKey::parse(&armor::pem("OPENSSH PRIVATE KEY", &bytes)).err();
            assert!(
                is_known || is_armored.as_ref() != Some(&difference.ours),
                "the referee accepts what is refused as {:?}: {:?}",
                difference.ours,
                difference.theirs
            );
        }
        (Err(_), Err(_)) => {}
    }
}

/// The text that the data represents.
#[must_use]
pub fn text(data: &[u8]) -> Option<String> {
    let (first, rest) = data.split_first()?;
    match LABELS.get(usize::from(*first)) {
        Some(label) => Some(armor::pem(label, rest)),
        None => String::from_utf8(data.to_vec()).ok(),
    }
}

/// In each encoding that the key supports, it parses as the same key, is detected as private, and is accepted by the referee
/// if the encoding is OpenSSH's.
fn every_encoding_is_the_same_key(key: &PrivateKey) {
    let public = key.public_key(COMMENT).expect("the comment is valid");
    for &encoding in Encoding::ALL.iter().filter(|encoding| encoding.supports(key.algorithm())) {
        let text = key.encode(encoding, COMMENT).expect("the encoding is supported");
        let again = PrivateKey::parse(&text).expect("the encoded key can be parsed");
        assert_eq!(again.pkcs8_der(), key.pkcs8_der(), "{encoding} is another key");
        assert_eq!(again.public_key(COMMENT).as_ref(), Ok(&public), "{encoding} is another key");
        assert!(holds_private_key(&text), "{encoding} is not detected");
        assert!(!format!("{again:?}").contains(&armor::base64(key.pkcs8_der())));
        if encoding == Encoding::OpenSsh {
            let file = armor::inner(&text).expect("it is PEM");
            match referee::read_private(&file) {
                Ok(theirs) => {
                    same_key(key, &theirs);
                    assert_eq!(theirs.comment().as_bytes(), COMMENT.as_bytes());
                }
                Err(theirs) => unread(key, file, theirs),
            }
        }
    }
}

fn same_key(ours: &PrivateKey, theirs: &ssh_key::PrivateKey) {
    let ours = ours.public_key("").expect("an empty comment is valid");
    assert_eq!(Some(ours.blob()), theirs.public_key().to_bytes().ok().as_deref(), "the referee reads another key");
}

fn unread(ours: &PrivateKey, file: Vec<u8>, theirs: ssh_key::Error) {
    let difference = UnreadPrivate { algorithm: ours.algorithm(), file, theirs };
    let is_known = referee::is_known(UNREAD_PRIVATE, &difference);
    assert!(is_known, "the referee refuses what is accepted: {ours:?}, {:?}", difference.theirs);
}

/// The texts, and the bytes within them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for text in seeds::private_texts() {
        let label = |label: &&str| text.contains(&format!("-----BEGIN {label}-----"));
        let mode = LABELS.iter().position(label).and_then(|place| u8::try_from(place).ok());
        if let (Some(mode), Some(inner)) = (mode, armor::inner(&text)) {
            seeds.push([&[mode], inner.as_slice()].concat());
        }
        seeds.push(text.into_bytes());
    }
    seeds
}
