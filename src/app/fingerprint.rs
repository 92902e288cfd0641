//! `keypair-operator fingerprint`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{Error, args::FingerprintArgs, escaped_path, read_input};
use crate::domain::{key::PublicKey, key_pair_id::KeyPairId};

/// Prints the fingerprint of one public key.
pub fn fingerprint(args: &FingerprintArgs) -> Result<ExitCode, Error> {
    let body = read_input(&args.file)?;
    let key = match PublicKey::parse(&body) {
        Ok(key) => key,
        Err(error) => {
            writeln!(io::stderr(), "error: {}: {error}", escaped_path(&args.file))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut output = io::stdout().lock();
    if let Some(profile) = args.profile {
        let id = KeyPairId::from_text(&args.key_pair_id);
        writeln!(output, "{}", profile.fingerprint(&key, &body, &args.project, &id))?;
    } else {
        let fingerprints = key.fingerprints();
        // `ssh-keygen -l` takes a comment that begins with '#' as a comment on the line, not on the key.
        let has_no_comment = key.comment().is_empty() || key.comment().starts_with('#');
        let comment = if has_no_comment { "no comment" } else { key.comment() };
        for fingerprint in [fingerprints.sha256, format!("MD5:{}", fingerprints.md5)] {
            writeln!(output, "{} {fingerprint} {comment} ({})", key.bits(), key.algorithm())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
