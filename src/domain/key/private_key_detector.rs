//! Detects private keys anywhere in a text that should contain a public key.
//!
//! A private key that was pasted by mistake must not appear in a status, an event or a log, and the comment of a public key appears
//! there. So whole bodies and all comments are checked. The check may refuse an unusual comment, but must not miss a key.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::encoded::{self, Base64Text};

/// Words, in upper case, that occur only in private key files. They are matched in any case. The CRD refuses them, too.
pub const PRIVATE_KEY_MARKERS: &[&str] = &[
    "PRIVATE KEY-",            // PEM, OpenSSH, ssh.com
    "PRIVATE KEY -",           // ssh.com, with a space before its dashes
    "PRIVATE KEY BLOCK",       // PGP
    "PRIVATE KEY FILE FORMAT", // SSH protocol 1
    "PUTTY-USER-KEY-FILE",     // PuTTY
    "PRIVATE-LINES:",          // PuTTY
    "PRIVATE-MAC:",            // PuTTY
    "AGE-SECRET-KEY-",         // age
    "B3BLBNNZAC1RZXKTDJE",     // base64 of "openssh-key-v1", in upper case
];

/// The number of base64 characters that are checked for the beginning of a key.
const PROBE_CHARS: usize = 32;

/// The maximum number of nested encodings: the base64 in the data of a Secret, encoded again by the user, and once more.
const MAX_DECODINGS: usize = 3;

/// The first characters of every key blob in base64: its first bytes are a length. Blobs are not searched, because the identifier
/// of a certificate can be any text.
const BLOB_START: &str = "AAAA";

/// The prefixes of the object identifiers (DER, without tag and length) of encrypted PKCS#8 keys: PKCS#5 and PKCS#12.
const ENCRYPTION_OIDS: &[&[u8]] =
    &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05], &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c]];

/// The first bytes of private keys in OpenSSH format.
const OPENSSH_MAGIC: &str = "openssh-key-v1";

/// The first content bytes of a PKCS#12 file, after its tag and length: INTEGER 3, and a SEQUENCE.
const PKCS12: &[u8] = &[2, 1, 3, 0x30];

/// The first bytes of ssh.com private keys and of `gzip` files.
const OPAQUE_MAGICS: &[&[u8]] = &[&[0x3f, 0x6f, 0xf9, 0xeb], &[0x1f, 0x8b, 8]];

/// Whether the text contains a private key or the beginning of one, in plain or encoded form, even with nested encodings.
#[must_use]
pub fn holds_private_key(text: &str) -> bool {
    holds_at_depth(text, 0)
}

fn holds_at_depth(text: &str, decodings: usize) -> bool {
    // The copy may contain a private key, so it is zeroized.
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    if names_private_key(&upper) || begins_private_block(&upper) {
        return true;
    }
    let base64 = Base64Text::extract(text, BLOB_START);
    base64.prefixes(PROBE_CHARS).any(begins_private_bytes)
        || decodings < MAX_DECODINGS
            && base64
                .decoded()
                .chain(encoded::hex(text))
                .chain(encoded::percent(text))
                .any(|bytes| bytes_hold(&bytes, decodings + 1))
}

/// Whether the text, in upper case, contains words that only private keys have.
fn names_private_key(upper: &str) -> bool {
    PRIVATE_KEY_MARKERS.iter().any(|marker| upper.contains(marker))
        || upper.contains("\"KTY\"") && upper.contains("\"D\"")
}

/// Whether decoded bytes contain a private key.
fn bytes_hold(bytes: &[u8], decodings: usize) -> bool {
    if is_private_beginning(bytes) {
        return true;
    }
    let (text, is_text) = encoded::ascii(bytes);
    if text.contains(OPENSSH_MAGIC) {
        return true;
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    // A comment may mention a private key, but encoded text that does is treated as one.
    upper.contains("PRIVATE KEY") || names_private_key(&upper) || is_text && holds_at_depth(&text, decodings)
}

/// Whether a BEGIN line names a private key. Only its label, up to the dashes, counts: the comment in the block of a public key may
/// be, for example, "my private key at work".
fn begins_private_block(upper: &str) -> bool {
    let name = |rest: &str| rest.split('-').next().is_some_and(|name| name.contains("PRIVATE KEY"));
    ["-BEGIN ", "- BEGIN "].iter().any(|begin| upper.split(begin).skip(1).any(name))
}

/// Whether the base64 decodes to the beginning of a private key.
fn begins_private_bytes(probe: &str) -> bool {
    let mut bytes = Zeroizing::new([0; PROBE_CHARS / 4 * 3]);
    Base64::decode(probe, bytes.as_mut_slice()).is_ok_and(is_private_beginning)
}

/// Whether the bytes begin a private key in DER (PKCS#1, PKCS#8, SEC 1, encrypted PKCS#8, PKCS#12) or in the binary format of
/// ssh.com, or compressed data, which is not searched.
fn is_private_beginning(bytes: &[u8]) -> bool {
    if OPAQUE_MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
        return true;
    }
    let Some(inner) = sequence_content(bytes) else {
        return false;
    };
    // All private keys begin with a version, INTEGER 0 or 1. Public keys begin with a SEQUENCE or a
    // long INTEGER.
    if inner.starts_with(&[2, 1, 0]) || inner.starts_with(&[2, 1, 1]) || inner.starts_with(PKCS12) {
        return true;
    }
    sequence_content(inner)
        .and_then(|algorithm| algorithm.get(2..))
        .is_some_and(|oid| ENCRYPTION_OIDS.iter().any(|prefix| oid.starts_with(prefix)))
}

/// The bytes after the tag and length of a DER SEQUENCE. The length is ignored, because the content may be truncated.
fn sequence_content(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, length, content @ ..] if *length < 0x80 => Some(content),
        [0x30, length @ 0x81..=0x84, content @ ..] => content.get(usize::from(length & 0x7f)..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_private_key_is_recognised() {
        for text in [
            "-----BEGIN RSA PRIVATE KEY-----",
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----",
            "-----begin openssh private key",
            "PuTTY-User-Key-File-3: ssh-ed25519",
            "SSH PRIVATE KEY FILE FORMAT 1.1",
            "x b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ==",
            // PKCS#8 (Ed25519, RSA), PKCS#1, SEC 1 and encrypted PKCS#8 without armor: only their constant prefixes.
            "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAA",
            "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw",
            "MIIEowIBAAKCAQEAAAAAAAAAAAAAAAAAAAAA",
            "MHcCAQEEIAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3",
            r#"{"kty": "OKP", "crv": "Ed25519", "d": "AAAA"}"#,
            // Between delimiters of a value.
            "key:MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAA",
            "'MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAA'",
            "(MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAA)",
            // Base64 of a file, as in a Secret: OpenSSH, PKCS#8, ssh.com, and with other text before the key.
            "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0K",
            "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg==",
            "LS0tLSBCRUdJTiBTU0gyIEVOQ1JZUFRFRCBQUklWQVRFIEtFWSAtLS0tCg==",
            "LS0tLS1FTkQgRUMgUEFSQU1FVEVSUy0tLS0tCi0tLS0tQkVHSU4gRUMgUFJJVkFURSBLRVktLS0tLQo=",
        ] {
            assert!(holds_private_key(text), "{text}");
        }
    }

    #[test]
    fn public_keys_and_comments_are_not_private_keys() {
        for text in [
            "my private key is elsewhere",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAAAA",
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQ",
            "MIIBCgKCAQEA61BjmfXGEvWmegnBGSuS+rU9soUg",
            "AAAAC3NzaC1lZDI1NTE5AAAAIK9ks7jkua5YWIwByRnn",
            "-----BEGIN PUBLIC KEY-----",
            "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K",
            "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"my private key at work\"\nAAAAB3Nz\n---- END SSH2 PUBLIC KEY ----",
            // The identifier "PRIVATE KEY" in a certificate.
            "AAAAC1BSSVZBVEUgS0VZAAAA",
        ] {
            assert!(!holds_private_key(text), "{text}");
        }
    }
}
