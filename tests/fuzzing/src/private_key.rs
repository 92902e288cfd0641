//! `PrivateKey::parse`, with a referee.
//!
//! The first byte says what the rest is: 0 a PKCS#8 document, 1 a key in OpenSSH's own format, 2 an `RSAPrivateKey`, 3 an
//! `ECPrivateKey`; with any other it is the text, together with the rest.

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

/// Whatever comes in: nothing panics, a key that is read is the same in every encoding and is known for a private one, and
/// the referee agrees or is known not to.
///
/// # Panics
///
/// If one of that is not so.
pub fn check(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let ours = PrivateKey::parse(&text);
    if let Ok(key) = &ours {
        assert!(holds_private_key(&text), "a private key is not recognised");
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
            // Only where the text around the bytes is right: what is wrong there is not for this referee to see.
            let is_armored = PrivateKey::parse(&armor::pem("OPENSSH PRIVATE KEY", &bytes)).err();
            assert!(
                is_known || is_armored.as_ref() != Some(&difference.ours),
                "the referee reads what is refused as {:?}: {:?}",
                difference.ours,
                difference.theirs
            );
        }
        (Err(_), Err(_)) => {}
    }
}

/// The text that the data stands for.
#[must_use]
pub fn text(data: &[u8]) -> Option<String> {
    let (first, rest) = data.split_first()?;
    match LABELS.get(usize::from(*first)) {
        Some(label) => Some(armor::pem(label, rest)),
        None => String::from_utf8(data.to_vec()).ok(),
    }
}

/// Each encoding that fits the key is read as the same key, as a private key, and by the referee if it is OpenSSH's.
fn every_encoding_is_the_same_key(key: &PrivateKey) {
    let public = key.public_key(COMMENT).expect("the comment is an ordinary one");
    for &encoding in Encoding::ALL.iter().filter(|encoding| encoding.supports(key.algorithm())) {
        let text = key.encode(encoding, COMMENT).expect("what is supported can be written");
        let again = PrivateKey::parse(&text).expect("what is written can be read");
        assert_eq!(again.pkcs8_der(), key.pkcs8_der(), "{encoding} is another key");
        assert_eq!(again.public_key(COMMENT).as_ref(), Ok(&public), "{encoding} is another key");
        assert!(holds_private_key(&text), "{encoding} is not recognised");
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
    let ours = ours.public_key("").expect("there is no comment");
    assert_eq!(Some(ours.blob()), theirs.public_key().to_bytes().ok().as_deref(), "the referee reads another key");
}

fn unread(ours: &PrivateKey, file: Vec<u8>, theirs: ssh_key::Error) {
    let difference = UnreadPrivate { algorithm: ours.algorithm(), file, theirs };
    let is_known = referee::is_known(UNREAD_PRIVATE, &difference);
    assert!(is_known, "the referee cannot read what is accepted: {ours:?}, {:?}", difference.theirs);
}

/// Texts as they are, and the bytes within.
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
