//! Writes the initial corpus of cargo-fuzz: `fuzz-seeds FOLDER`. It consists of a folder for each target, with its seeds and
//! the inputs that once broke it, and of a dictionary of words that the parsers look for.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

use keypair_fuzzing::{TARGETS, seeds};
use keypair_operator::domain::key::{BARE_TOKENS, KeyType, PRIVATE_KEY_MARKERS};

/// Words that are in no table of the operator.
const WORDS: &[&str] = &[
    "---- BEGIN SSH2 PUBLIC KEY ----",
    "---- END SSH2 PUBLIC KEY ----",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN EC PARAMETERS-----",
    "Comment: ",
    "Proc-Type: 4,ENCRYPTED",
    "openssh-key-v1\0",
    "nistp256",
    "nistp384",
    "nistp521",
    "none",
    " in (",
    " notin (",
    "==",
    "!=",
    "\"oldObject\":",
    "\"subResource\":\"status\"",
    "\"operation\":\"UPDATE\"",
    "\"deletionTimestamp\":\"2030-01-01T00:00:00Z\"",
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: fuzz-seeds FOLDER")?;
    let folder = Path::new(&folder);
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        // Removes the seeds of an earlier run, and keeps what the fuzzer has found.
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) {
                fs::remove_file(path)?;
            }
        }
        for (number, seed) in (target.seeds)().into_iter().chain(seeds::regressions(target.name)).enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    let types = KeyType::ALL.iter().map(|key_type| key_type.name());
    let tokens = BARE_TOKENS.iter().map(|(token, _)| *token);
    let words = types.chain(tokens).chain(PRIVATE_KEY_MARKERS.iter().copied()).chain(WORDS.iter().copied());
    let mut dictionary = String::new();
    for word in words {
        let escaped = word.bytes().fold(String::new(), |mut escaped, byte| {
            let _ = write!(escaped, "\\x{byte:02x}");
            escaped
        });
        writeln!(dictionary, "\"{escaped}\"")?;
    }
    fs::write(folder.join("dictionary"), dictionary)?;
    Ok(())
}
