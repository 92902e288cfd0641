//! Checks of a key without the code of the operator.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use sha2::{Digest as _, Sha256};

/// Public keys to import, made by ssh-keygen.
pub const IMPORTS: [&str; 3] = [
    include_str!("../vectors/public/ed25519.pub"),
    include_str!("../vectors/public/ecdsa256.pub"),
    include_str!("../vectors/public/rsa2048.pub"),
];

/// The base64 of the key blob in an OpenSSH line.
pub fn blob(line: &str) -> &str {
    line.split_whitespace().nth(1).unwrap_or_default()
}

/// The fingerprint as `ssh-keygen -l` prints it.
pub fn fingerprint(line: &str) -> String {
    let bytes = Base64::decode_vec(blob(line)).unwrap_or_default();
    format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(bytes)))
}

/// What can be compared of a private key without keeping it.
pub fn digest(private_key: &[u8]) -> String {
    Base64Unpadded::encode_string(&Sha256::digest(private_key))
}

/// The public key that openssl derives from a private one, or nothing if it reads none.
pub fn derive(private_key: &[u8]) -> Option<Vec<u8>> {
    openssl(&["pkey", "-pubout", "-outform", "DER"], private_key)
}

/// Whether the OpenSSH line `line` is of the key that [`derive`] found: both forms hold the same numbers, and the end of
/// the blob is the point, or the modulus.
pub fn same_key(derived: &[u8], line: &str) -> bool {
    let blob = Base64::decode_vec(blob(line)).unwrap_or_default();
    blob.last_chunk::<32>().is_some_and(|end| derived.windows(32).any(|window| window == end))
}

fn openssl(args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(input).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}
