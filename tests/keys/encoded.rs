//! Encoded private keys: as the data of a Secret, in a URL, encoded twice.

use base64ct::{Base64, Base64Url, Encoding as _};
use keypair_operator::domain::key::{PublicKey, PublicKeyError as E, holds_private_key};

use crate::vectors::{list, path, public_vectors, read, unpem};

fn base64(text: impl AsRef<[u8]>) -> String {
    Base64::encode_string(text.as_ref())
}

fn wrapped(text: &str, width: usize, line_end: &str) -> String {
    let lines: Vec<&str> =
        text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    lines.join(line_end)
}

fn hex(bytes: &[u8], separator: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator)
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// The ways in which `file`, the text of a key, can be encoded.
fn encodings(file: &str) -> Vec<String> {
    let once = base64(file);
    let mut texts = vec![
        Base64Url::encode_string(file.as_bytes()),
        once.trim_end_matches('=').to_owned(),
        base64(&once),
        base64(wrapped(&once, 76, "\n")),
        base64(base64(&once)),
        base64(utf16(file)),
        base64(file.replace('\n', "\r\n")),
        base64(format!("kind: Secret\ndata:\n  key: {once}\n")),
        format!("data:application/x-pem-file;base64,{once}"),
        format!("data:application/x-pem-file,{}", percent(file)),
        format!("key={}", percent(file).replace("%20", "+")),
        percent(&once),
        hex(file.as_bytes(), ""),
        hex(file.as_bytes(), ":"),
        hex(file.as_bytes(), " "),
        format!("\\x{}", hex(file.as_bytes(), "\\x")),
        base64(hex(file.as_bytes(), "")),
        format!("ssh-privatekey: {once}"),
        format!("{{\"ssh-privatekey\":\"{once}\"}}"),
    ];
    if !file.contains("EC PARAMETERS") {
        // Only the beginning, as of a truncated line.
        texts.extend([once[..120].to_owned(), base64(&once)[..160].to_owned()]);
    }
    for width in [16, 19, 64, 76] {
        texts.push(wrapped(&once, width, "\n"));
        texts.push(wrapped(&once, width, "\r\n    "));
        texts.push(wrapped(&once, width, "\\n"));
        texts.push(wrapped(&base64(&once), width, "\n"));
    }
    texts
}

/// The same for the bytes of a key without its armor.
fn encodings_of_bytes(bytes: &[u8]) -> Vec<String> {
    let once = base64(bytes);
    vec![
        once.clone(),
        Base64Url::encode_string(bytes),
        base64(&once),
        base64(base64(&once)),
        wrapped(&once, 16, "\n"),
        wrapped(&once, 64, "\r\n"),
        wrapped(&once, 20, "\\n"),
        base64(wrapped(&once, 64, "\n")),
        hex(bytes, ""),
        hex(bytes, ":"),
        hex(bytes, ":").to_uppercase(),
        format!("0x{}", hex(bytes, ", 0x")),
        format!("data:;base64,{once}"),
        once[..48].to_owned(),
    ]
}

/// The text as the whole body, and in one of the places where a comment or another key can be.
fn bodies(number: usize, text: &str) -> [String; 2] {
    let line = read("public/ed25519.pub");
    let flat = text.replace(['\r', '\n'], " ");
    let within = match number % 4 {
        0 => format!("{} {flat}", line.trim()),
        1 => format!("ssh-rsa {flat}"),
        2 => format!("---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"{flat}\"\nAAAA\n---- END SSH2 PUBLIC KEY ----"),
        _ => format!("{line}{text}"),
    };
    [text.to_owned(), within]
}

fn private_files() -> Vec<(String, String)> {
    let ppk = |version: u8| {
        let text = format!(
            "PuTTY-User-Key-File-{version}: ssh-ed25519\nEncryption: none\nComment: me\nPublic-Lines: 2\nAAAAC3NzaC1lZDI1NTE5AAAAIHIjfaJwW4mKVGwm3drhlQ5KEsPEKjpJXUfuGANQ\nVTe0\nPrivate-Lines: 1\nAAAAIGZvciB0aGVzZSB0ZXN0cyBvbmx5LCBhbmQgbm8ga2V5ISE=\nPrivate-MAC: 0011223344556677\n"
        );
        (format!("PuTTY {version}"), text)
    };
    let files = [list("private/plain"), list("private/encrypted"), list("private")].concat();
    let mut files: Vec<(String, String)> =
        files.into_iter().filter(|file| path(file).is_file()).map(|file| (file.clone(), read(&file))).collect();
    files.extend([ppk(2), ppk(3)]);
    files.push(("age".into(), format!("# created: 2026-01-01\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58))));
    files.push(("ssh.com".into(), format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{}\n", base64([7; 100]))));
    files.push(("JWK".into(), format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"{}\"}}", "A".repeat(80))));
    files
}

#[test]
fn an_encoded_private_key_is_refused_in_every_position() {
    let mut seen = 0;
    for (name, file) in private_files() {
        let mut texts = encodings(&file);
        // Without its armor, OpenSSL's traditional encryption has no recognizable content.
        if file.starts_with("-----") && !file.contains("Proc-Type") && !file.contains("EC PARAMETERS") {
            texts.extend(encodings_of_bytes(&unpem(&file)));
        }
        for text in texts {
            for body in bodies(seen, &text) {
                assert_eq!(PublicKey::parse(&body), Err(E::PrivateKey), "{name}: {body}");
            }
            seen += 1;
        }
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn packed_data_counts_as_a_private_key() {
    // PKCS#12 (a version of 3, and a SEQUENCE), gzip, and the binary format of ssh.com.
    for beginning in
        [&[0x30, 0x82, 9, 0xd8, 2, 1, 3, 0x30, 0x82][..], &[0x1f, 0x8b, 8, 0, 0], &[0x3f, 0x6f, 0xf9, 0xeb]]
    {
        let bytes = [beginning, &[5; 60]].concat();
        for text in encodings_of_bytes(&bytes) {
            assert!(holds_private_key(&text), "{text}");
        }
    }
}

#[test]
fn an_encoded_public_key_is_not_a_private_key() {
    for vector in public_vectors() {
        for text in encodings(&vector.body) {
            assert!(!holds_private_key(&text), "{}: {text}", vector.file);
        }
    }
    for text in [
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "d41d8cd98f00b204e9800998ecf8427e d41d8cd98f00b204e9800998ecf8427e",
        "me+work@example.com 100%",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
    ] {
        assert!(!holds_private_key(text), "{text}");
    }
}
