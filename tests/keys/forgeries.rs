//! Private keys whose parts do not belong together, and damaged ones: every part is verified, and nothing panics.

use std::sync::OnceLock;

use keypair_operator::domain::key::{PrivateKey, PrivateKeyError as E, PublicKey};
use proptest::prelude::*;

use crate::vectors::{list, pem, read, string, strings, unpem};

/// The public key in an OpenSSH file belongs to another key, in each position where the format contains it.
#[test]
fn a_mismatched_public_part_is_refused() {
    let mine = unpem(&read("private/plain/ed25519.openssh"));
    let public = PublicKey::parse(&read("public/ed25519.pub")).expect("a vector");
    let public = strings(public.blob()).pop().expect("a key");
    let places: Vec<usize> = (0..mine.len() - 32).filter(|&at| mine[at..at + 32] == public[..]).collect();
    assert_eq!(places.len(), 3);
    for subset in 1_u32..8 {
        let mut forged = mine.clone();
        for (bit, place) in places.iter().enumerate() {
            if subset >> bit & 1 == 1 {
                forged[*place] ^= 1;
            }
        }
        assert_eq!(PrivateKey::parse(&pem("OPENSSH PRIVATE KEY", &forged)).err(), Some(E::Inconsistent));
    }
}

#[test]
fn version_2_documents_are_converted_to_version_1() {
    let key = PrivateKey::parse(&read("private/plain/ed25519.pkcs8")).expect("a vector");
    let public = key.public_key("").expect("a public key");
    let public = &public.blob()[19..];
    // OneAsymmetricKey: version 1 instead of 0, and the public key as [1] IMPLICIT BIT STRING.
    let v2 = |public: &[u8]| {
        let mut der = key.pkcs8_der().to_vec();
        der[4] = 1;
        der[1] += 35;
        [&der[..], &[0x81, 33, 0], public].concat()
    };
    let again = PrivateKey::from_pkcs8_der(&v2(public)).expect("version 2");
    assert!(again.pkcs8_der() == key.pkcs8_der());
    assert_eq!(PrivateKey::from_pkcs8_der(&v2(&[9; 32])).err(), Some(E::Inconsistent));
}

#[test]
fn an_elliptic_key_needs_a_matching_point() {
    for name in ["ecdsa256", "ecdsa384", "ecdsa521"] {
        let der = unpem(&read(format!("private/plain/{name}.pkcs8")));
        let mut forged = der.clone();
        *forged.last_mut().expect("a byte") ^= 1;
        assert_eq!(PrivateKey::from_pkcs8_der(&forged).err(), Some(E::Inconsistent), "{name}");
    }
    // A SEC 1 key on nistp256 without its point: the scalar 1 is valid; 0 and numbers above the order of the group are not.
    let sec1 = |scalar: &[u8]| {
        let curve = [0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let der = [&[0x30, 0x31, 2, 1, 1, 4, 32], scalar, &curve].concat();
        PrivateKey::parse(&pem("EC PRIVATE KEY", &der)).map(|key| key.bits())
    };
    let mut one = [0; 32];
    one[31] = 1;
    assert_eq!(sec1(&one), Ok(256));
    assert_eq!(sec1(&[0; 32]), Err(E::Inconsistent));
    assert_eq!(sec1(&[0xff; 32]), Err(E::Inconsistent));
}

#[test]
fn numbers_of_another_rsa_key_are_refused() {
    let der = unpem(&read("private/plain/rsa2048.traditional"));
    let mut refused = 0;
    // A changed bit in any number makes the key inconsistent, or its DER invalid.
    for place in (4..der.len()).step_by(7) {
        let mut forged = der.clone();
        forged[place] ^= 2;
        let result = PrivateKey::parse(&pem("RSA PRIVATE KEY", &forged));
        assert!(result.is_err(), "byte {place}");
        refused += usize::from(result.err() == Some(E::Inconsistent));
    }
    assert!(refused > 100);
}

#[test]
fn openssh_files_are_read_strictly() {
    let mine = unpem(&read("private/plain/ed25519.openssh"));
    let parse = |bytes: &[u8]| PrivateKey::parse(&pem("OPENSSH PRIVATE KEY", bytes)).map(|_| ());
    assert_eq!(parse(&mine), Ok(()));
    assert_eq!(parse(&[&mine[..], &[0]].concat()), Err(E::TrailingBytes));
    let section = string(&mine[mine.len() - 0x98..]);
    let head = &mine[..mine.len() - section.len()];
    assert_eq!(parse(&[head, &section].concat()), Ok(()), "head and section are split correctly");
    let spoil = |place: usize, value: u8| {
        let mut section = section.clone();
        section[place] ^= value;
        parse(&[head, &section].concat())
    };
    assert_eq!(spoil(4, 1), Err(E::Malformed), "check integers differ");
    assert_eq!(spoil(section.len() - 1, 1), Err(E::Malformed), "padding");
    let fill = |more: std::ops::Range<u8>| {
        let longer = string([&section[4..], &more.collect::<Vec<u8>>()].concat());
        parse(&[head, &longer].concat())
    };
    // PuTTYgen writes up to 16 bytes of padding; OpenSSH reads any multiple of eight.
    let filling = section.last().copied().unwrap_or_default() + 1;
    assert_eq!(fill(filling..filling + 8), Ok(()), "longer padding");
    assert_eq!(fill(filling..filling + 200), Ok(()), "very long padding");
    assert_eq!(fill(filling..filling + 7), Err(E::Malformed), "not a multiple of eight");
    assert_eq!(fill(filling + 1..filling + 9), Err(E::Malformed), "wrong padding bytes");
    let mut two = mine.clone();
    two[38] = 2;
    assert_eq!(parse(&two), Err(E::SeveralKeys));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_keys_never_panic(
        row in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte: u8, cut: bool,
    ) {
        static FILES: OnceLock<Vec<String>> = OnceLock::new();
        let is_small = |file: &String| !file.contains("rsa");
        let files = FILES.get_or_init(|| list("private/plain").into_iter().filter(is_small).map(read).collect());
        let text = &files[row.index(files.len())];
        let label = text.lines().rev().find_map(|line| line.strip_prefix("-----END ")?.strip_suffix("-----"));
        let mut der = unpem(text.rsplit("-----BEGIN ").next().and_then(|text| text.split_once('\n')).expect("a block").1);
        let place = place.index(der.len());
        if cut { der.truncate(place) } else { der[place] = byte }
        if let Ok(key) = PrivateKey::parse(&pem(label.expect("a label"), &der)) {
            prop_assert!(PrivateKey::from_pkcs8_der(key.pkcs8_der()).is_ok());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text: String, bytes: Vec<u8>) {
        prop_assert!(PrivateKey::parse(&text).is_err());
        for label in ["PRIVATE KEY", "OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            prop_assert!(PrivateKey::parse(&pem(label, &bytes)).is_err());
        }
    }
}
