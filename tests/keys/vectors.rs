//! What the key tests share: the vectors, and functions to build key blobs.

use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};

/// The directory of the vectors, or a file in it.
pub fn path(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path)
}

/// The text of a vector.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = self::path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of `public.tsv`, as `ssh-keygen -l` printed it.
pub struct Vector {
    pub file: String,
    pub key_type: String,
    pub bits: u32,
    pub md5: String,
    pub sha256: String,
    pub body: String,
}

impl Vector {
    /// The form of the key, by the suffix of the file: `pub`, `rfc4716`, `spki`, `pkcs1` or `cert`.
    pub fn form(&self) -> &str {
        self.file.rsplit('.').next().unwrap_or_default()
    }

    /// Whether the key is written as an OpenSSH line.
    pub fn is_line(&self) -> bool {
        matches!(self.form(), "pub" | "cert")
    }
}

/// All rows of `public.tsv`, with their bodies.
pub fn public_vectors() -> Vec<Vector> {
    let table = read("public.tsv");
    let rows: Vec<_> = table
        .lines()
        .map(|row| {
            let [file, key_type, bits, md5, sha256] =
                row.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().expect("five columns");
            let bits = bits.parse().expect("a number");
            Vector { body: read(&file), file, key_type, bits, md5, sha256 }
        })
        .collect();
    assert!(rows.len() >= 45, "the table of vectors is incomplete");
    rows
}

/// A `string` of RFC 4251.
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u32::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// An OpenSSH line whose blob consists of these parts.
pub fn line(key_type: &str, parts: &[Vec<u8>]) -> String {
    format!("{key_type} {}", Base64::encode_string(&parts.concat()))
}

/// The parts of a blob whose fields are all strings or mpints, without their lengths.
pub fn strings(mut blob: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = blob.split_first_chunk() {
        let (part, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        parts.push(part.to_vec());
        blob = rest;
    }
    parts
}

/// The blob of an OpenSSH line.
pub fn blob(line: &str) -> Vec<u8> {
    Base64::decode_vec(line.split_whitespace().nth(1).expect("a line")).expect("base64")
}

/// The files of a directory of vectors, as paths below it.
pub fn list(directory: &str) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(path(directory))
        .expect("a directory of vectors")
        .map(|entry| format!("{directory}/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .collect();
    files.sort();
    files
}

/// A PEM block around DER, in one long line.
pub fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(der))
}

/// The bytes of a PEM block.
pub fn unpem(text: &str) -> Vec<u8> {
    let content: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    Base64::decode_vec(&content).expect("base64")
}
