//! The seeds: the keys of `tests/vectors` and, if present, of the corpus.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the corpus, with one JSON object per line; `None` without the corpus, as in most clones.
///
/// # Panics
///
/// If it exists, and is not JSON.
#[must_use]
pub fn corpus(file: &str) -> Option<Vec<Value>> {
    let beside = || root().join("../shared/corpus");
    let folder = std::env::var_os("KEYPAIR_CORPUS").map_or_else(beside, PathBuf::from);
    let text = fs::read_to_string(folder.join(file)).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).expect("the corpus is JSON lines")).collect())
}

/// The texts of the files in a folder of `tests/vectors`, by name.
///
/// # Panics
///
/// If the folder does not exist.
#[must_use]
pub fn vectors(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/vectors").join(folder)).expect("the vectors exist");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    paths.sort();
    paths.iter().filter(|path| path.is_file()).map(|path| fs::read_to_string(path).expect("vectors are text")).collect()
}

/// Every public key body, valid or not.
#[must_use]
pub fn public_bodies() -> Vec<String> {
    let corpus = ["valid.jsonl", "invalid.jsonl"].into_iter().filter_map(corpus).flatten();
    let bodies = corpus.filter_map(|entry| entry["body"].as_str().map(str::to_owned));
    vectors("public").into_iter().chain(bodies).collect()
}

/// Every private key of the vectors: plain, encrypted, and of unsupported kinds.
#[must_use]
pub fn private_texts() -> Vec<String> {
    ["private/plain", "private/encrypted", "private"].into_iter().flat_map(vectors).collect()
}

/// The inputs that once broke a target.
///
/// # Panics
///
/// If their folder exists, but cannot be read.
#[must_use]
pub fn regressions(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| fs::read(path).expect("a regression can be read");
    entries.map(|entry| read(entry.expect("a folder can be read").path())).collect()
}
