//! Warnings about settings that are valid but discouraged.

use super::key::{Algorithm, CertificateVersion, PublicKey};

/// RSA keys with fewer bits produce a warning (NIST SP 800-131A).
const RSA_RECOMMENDED_BITS: u32 = 2048;

/// Warnings about an import of `key` at the time `now`, in seconds since 1970. Each says what to do.
#[must_use]
pub fn on_key(key: &PublicKey, now: u64) -> Vec<String> {
    let mut advice = Vec::new();
    let mut warn = |message: String| advice.push(format!("spec.publicKey: {message}"));
    match key.algorithm() {
        Algorithm::Dsa => warn(
            "this is a DSA key, which OpenSSH disabled in version 7.0 and removed in 10.0: use Ed25519 or ECDSA"
                .to_owned(),
        ),
        Algorithm::Rsa if key.bits() < RSA_RECOMMENDED_BITS => warn(format!(
            "this RSA key has {} bits, and fewer than {RSA_RECOMMENDED_BITS} are no longer secure: use a longer key, or Ed25519",
            key.bits()
        )),
        Algorithm::MlDsa44Ed25519 => warn(
            "this is an ML-DSA-44 and Ed25519 key, which is experimental and needs OpenSSH 10.4 or later: check that your servers support it, or use Ed25519"
                .to_owned(),
        ),
        _ => {}
    }
    if key.key_type().certificate_version() == Some(CertificateVersion::V00) {
        warn("this is a certificate of version 00, which OpenSSH does not support since version 7.0: have the key signed again".to_owned());
    }
    if key.valid_before().is_some_and(|end| end <= now) {
        warn("this certificate has expired, and servers reject it: have the key signed again".to_owned());
    }
    advice
}

/// The warning that another `KeyPair` in the namespace has the same key.
#[must_use]
pub fn on_duplicate_key(name: &str) -> String {
    format!(
        "spec.publicKey: KeyPair {name:?} in this namespace has the same key: anyone with the private key can use both"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(file: &str, now: u64) -> Vec<String> {
        let path = format!("{}/tests/vectors/public/{file}", env!("CARGO_MANIFEST_DIR"));
        on_key(&PublicKey::parse(&std::fs::read_to_string(path).unwrap()).unwrap(), now)
    }

    #[test]
    fn warns_about_obsolete_weak_and_experimental_keys() {
        for (file, words) in [
            ("dsa.pub", &["DSA"] as &[&str]),
            ("rsa1024.pub", &["1024 bits"]),
            ("rsa2048-v00.cert", &["version 00"]),
            ("dsa-v00.cert", &["DSA", "version 00"]),
            ("ed25519-by-ed25519.cert", &[]),
            ("rsa2048.pub", &[]),
            ("sk-ed25519.pub", &[]),
            ("mldsa44-ed25519.pub", &["experimental"]),
            ("mldsa44-ed25519-by-ed25519.cert", &["experimental"]),
        ] {
            let advice = advice(file, 0);
            assert_eq!(advice.len(), words.len(), "{file}: {advice:?}");
            for (advice, words) in advice.iter().zip(words) {
                assert!(advice.contains(words), "{file}: {advice}");
                assert!(advice.len() <= 256, "the API server may cut longer warnings: {advice}");
            }
        }
    }

    #[test]
    fn a_certificate_expires_at_the_end_of_its_validity() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/public/ed25519-by-rsa2048.cert");
        let key = PublicKey::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let end = key.valid_before().unwrap();
        assert_eq!(on_key(&key, end - 1), Vec::<String>::new());
        if end < u64::MAX {
            assert!(on_key(&key, end)[0].contains("expired"));
        }
    }
}
