//! Key blobs and DER with invalid fields, and the error for each of them.

use keypair_operator::domain::key::{PublicKey, PublicKeyError as E};

use crate::vectors::{blob, line, public_vectors, read, string, strings};

/// Changes one number of an RSA key and expects an error.
#[test]
fn invalid_rsa_numbers_are_refused() {
    let parts = strings(&blob(&read("public/rsa2048.pub")));
    let (e, n) = (&parts[1], &parts[2]);
    let even = [&n[..n.len() - 1], &[n[n.len() - 1] & 0xfe]].concat();
    let short = [&[0x7f], &n[130..]].concat();
    let check = |e: &[u8], n: &[u8], expected: E| {
        let body = line("ssh-rsa", &[string("ssh-rsa"), string(e), string(n)]);
        assert_eq!(PublicKey::parse(&body), Err(expected));
    };
    check(e, &short, E::RsaTooShort { bits: 1023 });
    check(e, &even, E::RsaEvenModulus);
    check(&[4], n, E::RsaExponent);
    check(&[1], n, E::RsaExponent);
    check(&[], n, E::NotPositive);
    check(&[0x80], n, E::NotPositive);
    check(&[0, 3], n, E::NotMinimal);
    check(e, &n[1..], E::NotPositive);
    check(e, &[&[0], &n[..]].concat(), E::NotMinimal);
    check(e, &[1; 2049], E::NumberTooLong);
    let longest = line("ssh-rsa", &[string("ssh-rsa"), string(e), string([&[0], &[0xff; 2048][..]].concat())]);
    assert_eq!(PublicKey::parse(&longest).map(|key| key.bits()), Ok(16384));
}

#[test]
fn points_must_be_uncompressed_and_on_the_curve() {
    for (name, length) in [("256", 32), ("384", 48), ("521", 66)] {
        let parts = strings(&blob(&read(format!("public/ecdsa{name}.pub"))));
        let (key_type, curve, point) = (&parts[0], &parts[1], &parts[2]);
        assert_eq!(point.len(), 1 + 2 * length);
        let parse = |curve: &[u8], point: &[u8]| {
            let token = String::from_utf8(key_type.clone()).expect("a name");
            PublicKey::parse(&line(&token, &[string(key_type), string(curve), string(point)])).map(|_| ())
        };
        assert_eq!(parse(curve, point), Ok(()));
        let sign = 2 + (point[2 * length] & 1);
        assert_eq!(parse(curve, &[&[sign], &point[1..=length]].concat()), Err(E::CompressedPoint));
        let hybrid = [&[sign | 4], &point[1..]].concat();
        assert_eq!(parse(curve, &hybrid), Err(E::Malformed));
        let mut off = point.clone();
        off[2 * length] ^= 1;
        assert_eq!(parse(curve, &off), Err(E::PointNotOnCurve));
        assert_eq!(parse(curve, &[&[4][..], &vec![0xff; 2 * length]].concat()), Err(E::PointNotOnCurve));
        assert_eq!(parse(curve, &[0]), Err(E::Malformed), "the point at infinity");
        assert_eq!(parse(b"nistp224", point), Err(E::TypeMismatch));
    }
}

#[test]
fn data_after_the_last_field_is_refused() {
    for vector in public_vectors().iter().filter(|vector| vector.is_line()) {
        let longer = line(&vector.key_type, &[blob(&vector.body), vec![0]]);
        assert_eq!(PublicKey::parse(&longer), Err(E::TrailingBytes), "{}", vector.file);
        let whole = blob(&vector.body);
        let shorter = line(&vector.key_type, &[whole[..whole.len() - 1].to_vec()]);
        assert!(PublicKey::parse(&shorter).is_err(), "{}", vector.file);
    }
}

/// A v01 certificate for the Ed25519 vector, in which one field at a time is damaged.
#[test]
fn every_field_of_a_certificate_is_checked() {
    const TYPE: &str = "ssh-ed25519-cert-v01@openssh.com";
    let plain = blob(&read("public/ed25519.pub"));
    let good: Vec<Vec<u8>> = vec![
        string(TYPE),
        string([7; 32]),
        plain[15..].to_vec(),
        vec![0; 8],
        vec![0, 0, 0, 1],
        string("key id"),
        string([string("alice"), string("bob")].concat()),
        vec![0; 8],
        vec![0xff; 8],
        string([string("force-command"), string(string("true"))].concat()),
        string([string("permit-pty"), string("")].concat()),
        string(""),
        string(&plain),
        string([string("ssh-ed25519"), string([1; 64])].concat()),
    ];
    assert!(PublicKey::parse(&line(TYPE, &good)).is_ok());
    let authority_certificate = string(blob(&read("public/ed25519-by-ed25519.cert")));
    let short_rsa = string([string("ssh-rsa"), string([3]), string([0x7f; 64])].concat());
    for (field, spoilt, expected) in [
        (2, string([1; 31]), E::Malformed),
        (4, vec![0, 0, 0, 0], E::CertificateType),
        (4, vec![0, 0, 0, 3], E::CertificateType),
        (6, string("alice"), E::CertificateList),
        (9, string(string("force-command")), E::CertificateList),
        (10, string([0]), E::CertificateList),
        (12, string(""), E::CertificateAuthority),
        (12, authority_certificate, E::CertificateAuthority),
        (12, string([&plain[..], &[0]].concat()), E::CertificateAuthority),
        (12, short_rsa, E::CertificateAuthority),
        (13, string(""), E::CertificateSignature),
        (13, string([string("ssh-rsa"), string([1; 64])].concat()), E::CertificateSignature),
        (13, string([string("ssh-ed25519"), string([1; 63])].concat()), E::CertificateSignature),
        (13, string([string("ssh-ed25519"), string([1; 64]), vec![0]].concat()), E::CertificateSignature),
    ] {
        let mut parts = good.clone();
        parts[field] = spoilt;
        assert_eq!(PublicKey::parse(&line(TYPE, &parts)), Err(expected), "field {field}");
    }
}

#[test]
fn der_is_read_strictly() {
    use base64ct::{Base64, Encoding as _};
    let pem =
        |der: &[u8]| format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", Base64::encode_string(der));
    for vector in public_vectors().iter().filter(|vector| vector.form() == "spki") {
        let content: String = vector.body.lines().filter(|line| !line.starts_with('-')).collect();
        let der = Base64::decode_vec(&content).expect("base64");
        assert!(PublicKey::parse(&pem(&der)).is_ok(), "{}", vector.file);
        assert_eq!(PublicKey::parse(&pem(&[&der[..], &[0]].concat())), Err(E::TrailingBytes), "{}", vector.file);
        assert_eq!(PublicKey::parse(&pem(&der[..der.len() - 1])), Err(E::Malformed), "{}", vector.file);
    }
}
