//! `ssh-keygen` and `openssl`, which check the operator's results independently.

use std::{
    io::{ErrorKind, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::Directory;

/// Runs a program that must succeed, and returns its standard output.
pub fn run(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    try_run(program, args, input).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a program; the error is its whole output.
pub fn try_run(program: &str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{program} is not installed: run hack/test-tools.sh"),
        _ => panic!("{program}: {error}"),
    });
    // A program that exits before it has read everything breaks the pipe; its own output explains why.
    child.stdin.take().unwrap().write_all(input).ok();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{program} {args:?} ({}): {out}{err}", output.status))
}

fn run_text(program: &str, args: &[&str]) -> String {
    String::from_utf8(run(program, args, b"")).unwrap().trim_end().to_owned()
}

/// The output of `ssh-keygen -l` for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    pub bits: u64,
    pub md5: String,
    pub sha256: String,
}

/// Reads an OpenSSH line with `ssh-keygen`, or another form given by `format` (`RFC4716`, `PKCS8`, `PEM`); the error is the output
/// of `ssh-keygen`.
pub fn ssh_keygen_l(body: &str, format: Option<&str>) -> Result<Printed, String> {
    let dir = Directory::new("ssh-keygen");
    let mut file = dir.write("key", body.as_bytes());
    if let Some(format) = format {
        let line = try_run("ssh-keygen", &["-i", "-m", format, "-f", path(&file)], b"")?;
        file = dir.write("line", &line);
    }
    let print = |digest: &str| -> Result<(u64, String), String> {
        let printed = try_run("ssh-keygen", &["-l", "-E", digest, "-f", path(&file)], b"")?;
        let printed = String::from_utf8(printed).unwrap();
        let mut words = printed.split(' ');
        Ok((words.next().unwrap().parse().unwrap(), words.next().unwrap().to_owned()))
    };
    let ((bits, md5), (_, sha256)) = (print("md5")?, print("sha256")?);
    Ok(Printed { bits, md5: md5.strip_prefix("MD5:").unwrap().to_owned(), sha256 })
}

/// The public key (type and base64) that `ssh-keygen` derives from a private key.
pub fn ssh_keygen_y(file: &Path) -> String {
    first_two_words(&run_text("ssh-keygen", &["-y", "-P", "", "-f", path(file)]))
}

/// Checks a private key with `openssl`.
pub fn openssl_check(file: &Path) {
    let printed = run_text("openssl", &["pkey", "-check", "-noout", "-in", path(file)]);
    assert!(printed.contains("Key is valid"), "openssl pkey -check printed {printed:?}");
}

/// The OpenSSH line, without comment, of an Ed25519 private key, built from the public key that `openssl` derives: `ssh-keygen` 9
/// does not read Ed25519 in PKCS#8.
pub fn openssl_ed25519_line(file: &Path) -> String {
    let spki = run("openssl", &["pkey", "-pubout", "-outform", "DER", "-in", path(file)], b"");
    let mut blob = Vec::new();
    for field in [b"ssh-ed25519".as_slice(), &spki[spki.len() - 32..]] {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    let base64 = run("openssl", &["base64", "-A"], &blob);
    format!("ssh-ed25519 {}", String::from_utf8(base64).unwrap())
}

/// The MD5 hash from `openssl`, in lower-case hexadecimal with colons.
pub fn openssl_md5(bytes: &[u8]) -> String {
    let printed = String::from_utf8(run("openssl", &["md5", "-c"], bytes)).unwrap();
    printed.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// The type and base64 of an OpenSSH line, without its comment.
pub fn first_two_words(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A path as a command-line argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("the path should be UTF-8")
}
