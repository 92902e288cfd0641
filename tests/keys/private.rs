//! Private keys: every encoding can be read and written, and no output shows a secret.

use std::sync::OnceLock;

use keypair_operator::domain::key::{Encoding, KeySpec, PrivateKey, PrivateKeyError as E, PublicKey};
use keypair_operator::keygen::generate;

use crate::vectors::{list, pem, read, unpem};

/// One generated key of each kind. The tests share them, because RSA takes long without optimization.
fn generated() -> &'static [PrivateKey] {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    KEYS.get_or_init(|| KeySpec::ALL.iter().map(|&spec| generate(spec).expect("a key")).collect())
}

fn supported(key: &PrivateKey) -> impl Iterator<Item = Encoding> {
    let algorithm = key.algorithm();
    Encoding::ALL.iter().copied().filter(move |encoding| encoding.supports(algorithm))
}

#[test]
fn vectors_are_read_and_their_public_key_derived() {
    let files = list("private/plain");
    assert_eq!(files.len(), 18);
    for file in files {
        let key = PrivateKey::parse(&read(&file)).unwrap_or_else(|error| panic!("{file}: {error:?}"));
        let name = file.rsplit('/').next().and_then(|name| name.split('.').next()).expect("a name");
        let line = read(format!("public/{name}.pub"));
        let comment = line.splitn(3, ' ').nth(2).unwrap_or_default();
        assert_eq!(key.public_key(comment).map(|key| key.to_openssh()), Ok(line.trim().to_owned()), "{file}");
        let windows = read(&file).replace('\n', "\r\n  ");
        assert_eq!(PrivateKey::parse(&windows).expect("the same key").pkcs8_der(), key.pkcs8_der());
    }
}

/// A throwaway key as `PuTTYgen` exports it, with more padding than OpenSSH writes, but which OpenSSH accepts.
const PUTTYGEN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz
c2gtZWQyNTUxOQAAACDalVozIApABn/YpAtQLGjJjpf2k4fycjjKYX+iOiFYsgAA
AJCBFrJggRayYAAAAAtzc2gtZWQyNTUxOQAAACDalVozIApABn/YpAtQLGjJjpf2
k4fycjjKYX+iOiFYsgAAAEBDyAVM42X3WsVS65jihW3/PPrOzZ66z2n3DbTHOw6E
YdqVWjMgCkAGf9ikC1AsaMmOl/aTh/JyOMphf6I6IViyAAAAA2NjYwECAwQFBgcI
CQo=
-----END OPENSSH PRIVATE KEY-----
";

#[test]
fn padding_of_any_length_is_accepted() {
    let key = PrivateKey::parse(PUTTYGEN).expect("the key that ssh-keygen reads");
    assert_eq!((key.algorithm().to_string().as_str(), key.bits()), ("Ed25519", 256));
    assert!(key.is_written(PUTTYGEN, Encoding::OpenSsh), "the file is in OpenSSH format");
    assert!(!key.is_written(PUTTYGEN, Encoding::Pkcs8));
    // The padding is verified, so nothing can be hidden in it.
    let hidden = PUTTYGEN.replace("CQo=", "CQs=");
    assert_eq!(PrivateKey::parse(&hidden).map(|_| ()), Err(E::Malformed));
}

#[test]
fn encoding_reproduces_the_files_of_the_tools() {
    // Identical, except for PEM's line length in OpenSSH's format and its random check integers.
    for (file, encoding) in [
        ("rsa2048.pkcs8", Encoding::Pkcs8),
        ("rsa2048.traditional", Encoding::Pkcs1),
        ("rsa3070.pkcs8", Encoding::Pkcs8),
        ("ecdsa256.pkcs8", Encoding::Pkcs8),
        ("ecdsa256.traditional", Encoding::Sec1),
        ("ecdsa384.traditional", Encoding::Sec1),
        ("ecdsa521.pkcs8", Encoding::Pkcs8),
        ("ecdsa521.traditional", Encoding::Sec1),
        ("ed25519.pkcs8", Encoding::Pkcs8),
    ] {
        let text = read(format!("private/plain/{file}"));
        let key = PrivateKey::parse(&text).expect("a vector");
        assert!(*key.encode(encoding, "").expect("an encoding") == text, "{file}");
    }
    for name in ["rsa2048", "rsa3070", "ecdsa256", "ecdsa384", "ecdsa521", "ed25519"] {
        let theirs = read(format!("private/plain/{name}.openssh"));
        let key = PrivateKey::parse(&theirs).expect("a vector");
        let ours = key.encode(Encoding::OpenSsh, &format!("vector {name}")).expect("an encoding");
        let (ours, theirs) = (unpem(&ours), unpem(&theirs));
        let different = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
        assert!(ours.len() == theirs.len() && different <= 8, "{name}: {different} bytes differ");
    }
}

#[test]
fn an_encrypted_key_is_reported_as_encrypted() {
    let files = list("private/encrypted");
    assert_eq!(files.len(), 17);
    for file in files {
        assert_eq!(PrivateKey::parse(&read(&file)).err(), Some(E::Encrypted), "{file}");
    }
}

#[test]
fn texts_without_a_private_key_have_distinct_errors() {
    let key = read("private/plain/ed25519.pkcs8");
    let der = unpem(&key);
    for (text, expected) in [
        (String::new(), E::Empty),
        ("hello".into(), E::NotAKey),
        (read("public/ed25519.pub"), E::PublicKey),
        (read("public/ed25519.spki"), E::PublicKey),
        (read("public/ed25519.rfc4716"), E::PublicKey),
        (read("private/dsa.pem"), E::UnsupportedAlgorithm),
        (read("private/secp256k1.pem"), E::UnsupportedCurve),
        (read("private/rsa1024.pem"), E::RsaSize { bits: 1024 }),
        (read("private/three-primes.pem"), E::UnsupportedAlgorithm),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n".into(), E::UnsupportedFormat),
        (pem("PGP PRIVATE KEY BLOCK", &der), E::UnsupportedFormat),
        (format!("{key}{key}"), E::SeveralKeys),
        (format!("{key}hello"), E::TextAfterKey),
        (key.replace("-----END", ""), E::BrokenArmor),
        (key.replace('\n', " "), E::BrokenArmor),
        (key.replace("MC4", "M*4"), E::NotBase64),
        (pem("PRIVATE KEY", &[&der[..], &[0]].concat()), E::TrailingBytes),
        (pem("PRIVATE KEY", &der[..der.len() - 1]), E::Malformed),
        (pem("RSA PRIVATE KEY", &der), E::Malformed),
        (pem("EC PRIVATE KEY", &der), E::Malformed),
        (pem("OPENSSH PRIVATE KEY", &der), E::Malformed),
    ] {
        assert_eq!(PrivateKey::parse(&text).err(), Some(expected), "{text}");
    }
}

#[test]
fn every_encoding_round_trips() {
    for key in generated() {
        for encoding in supported(key) {
            let text = key.encode(encoding, "a comment").expect("a supported encoding");
            assert!(text.ends_with("-----\n") && text.lines().all(|line| line.len() <= 64));
            let again =
                PrivateKey::parse(&text).unwrap_or_else(|error| panic!("{encoding} {:?}: {error:?}", key.spec()));
            assert!(again.pkcs8_der() == key.pkcs8_der(), "{encoding} {:?}", key.spec());
            assert_eq!(again.public_key("x"), key.public_key("x"));
            assert!(*key.encode(encoding, "a comment").expect("again") == *text, "the same file each time");
        }
    }
}

#[test]
fn generated_keys_match_their_specification() {
    for (key, &spec) in generated().iter().zip(KeySpec::ALL) {
        assert_eq!(key.spec(), Some(spec));
        assert_eq!((key.algorithm(), key.bits()), (spec.algorithm(), spec.bits()));
        let public = key.public_key("me@example.com").expect("a public key");
        assert_eq!(PublicKey::parse(&public.to_openssh()), Ok(public));
    }
}

#[test]
fn unsupported_encodings_and_comments_are_refused() {
    for key in generated() {
        for &encoding in Encoding::ALL {
            let expected = E::UnsupportedEncoding { encoding, algorithm: key.algorithm() };
            if !encoding.supports(key.algorithm()) {
                assert_eq!(key.encode(encoding, "").err(), Some(expected));
            }
        }
        assert!(matches!(key.encode(Encoding::OpenSsh, "a\nb"), Err(E::Comment(_))));
        assert!(matches!(key.public_key("a\nb"), Err(E::Comment(_))));
    }
}

#[test]
fn debug_shows_no_private_byte() {
    for key in generated() {
        let shown = format!("{key:?}");
        assert!(shown.len() < 80 && shown.starts_with("PrivateKey { key_type: "), "{shown}");
    }
}
