//! Passes every generated key in every encoding to `ssh-keygen` and `openssl`, which must accept it and derive the same public key.
//!
//! If a tool is missing, its checks are skipped with a message.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use keypair_operator::domain::key::{Algorithm, Encoding, KeySpec, PrivateKey, PublicKey};
use keypair_operator::keygen::generate;

const COMMENT: &str = "me@example.com";

/// A directory that only the current user can read, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("keypair-operator-key-tools-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).expect("the directory should be created");
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .expect("the file should be created");
        file.write_all(content.as_bytes()).expect("the file should be written");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool that must succeed; `None` if it is not installed.
fn run(program: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let output = match Command::new(program).args(arguments).arg(file).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("{program} is not installed, so it was not asked");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?} {}: {out}{err}", file.display());
    Some(out.trim().to_owned())
}

/// No version in use today reads every encoding: `ssh-keygen` 9 cannot read Ed25519 in PKCS#8, and openssl cannot read the
/// OpenSSH format.
fn ssh_keygen_reads(key: &PrivateKey, encoding: Encoding) -> bool {
    !(encoding == Encoding::Pkcs8 && key.algorithm() == Algorithm::Ed25519)
}

fn first_two_words(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn ssh_keygen_and_openssl_accept_generated_keys() {
    let directory = Directory::new();
    for &spec in KeySpec::ALL {
        let key = generate(spec).expect("key generation should succeed");
        let public = key.public_key(COMMENT).expect("the key should have a public key");
        let line = public.to_openssh();

        let file = directory.write(&format!("{spec:?}.pub"), &format!("{line}\n"));
        let name = spec.algorithm().name().to_uppercase();
        let fingerprints = public.fingerprints();
        let md5 = format!("MD5:{}", fingerprints.md5);
        for (digest, fingerprint) in [("md5", md5), ("sha256", fingerprints.sha256)] {
            let expected = format!("{} {fingerprint} {COMMENT} ({name})", spec.bits());
            if let Some(printed) = run("ssh-keygen", &["-l", "-E", digest, "-f"], &file) {
                assert_eq!(printed, expected);
            }
        }

        for &encoding in Encoding::ALL.iter().filter(|encoding| encoding.supports(spec.algorithm())) {
            let text = key.encode(encoding, COMMENT).expect("encoding should succeed");
            let file = directory.write(&format!("{spec:?}.{encoding}"), &text);
            if ssh_keygen_reads(&key, encoding)
                && let Some(derived) = run("ssh-keygen", &["-y", "-P", "", "-f"], &file)
            {
                // Only the OpenSSH format stores a comment.
                if encoding == Encoding::OpenSsh {
                    assert_eq!(derived, line, "{spec:?}");
                }
                assert_eq!(first_two_words(&derived), first_two_words(&line), "{spec:?} {encoding}");
            }
            if encoding != Encoding::OpenSsh {
                openssl(&directory, &key, encoding, &file);
            }
        }
    }
}

/// openssl must accept the key and derive the same public key.
fn openssl(directory: &Directory, key: &PrivateKey, encoding: Encoding, file: &Path) {
    run("openssl", &["pkey", "-check", "-noout", "-in"], file);
    if let Some(spki) = run("openssl", &["pkey", "-pubout", "-in"], file) {
        let theirs = PublicKey::parse(&spki).expect("openssl's public key should be valid");
        assert_eq!(Ok(theirs), key.public_key(""), "{encoding}");
    }
    // openssl converts the key to PKCS#8, and the operator's code must read the result.
    if let Some(again) = run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in"], file) {
        let file = directory.write(&format!("{:?}.{encoding}.again", key.spec()), &again);
        let again = fs::read_to_string(file).expect("the file should be readable");
        let again = PrivateKey::parse(&again).expect("openssl's PKCS#8 key should be valid");
        assert!(again.pkcs8_der() == key.pkcs8_der(), "{encoding}");
    }
}
