//! `kubectl keypair public`.

use kube::ResourceExt as _;
use serde::Serialize;

use super::{
    args::{Format, PublicArgs},
    cluster::Cluster,
    error::Error,
    output, wait,
};
use crate::{
    api::{KeyPair, KeyPairStatus},
    domain::{key::PublicKey, rotation::Phase},
};

/// A public key of a pair, as `-o json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    phase: &'static str,
    revision: i64,
    public_key: String,
    fingerprint: String,
}

/// Prints the public keys in the phase that is asked for, as the status shows them.
pub async fn public(cluster: &Cluster, args: &PublicArgs) -> Result<(), Error> {
    let pair = cluster.key_pair(&args.name).await?;
    let lines = lines(&pair, args.phase.phase())?;
    match args.output {
        Some(Format::Json) => output::json(&lines),
        None => lines.iter().try_for_each(|line| output::line(&line.public_key)),
    }
}

/// The line of the current key.
pub fn current(pair: &KeyPair) -> Result<String, Error> {
    let lines = lines(pair, Some(Phase::Current))?;
    lines.into_iter().next().map(|line| line.public_key).ok_or_else(|| wait::not_ready(pair))
}

/// The keys in this phase, or all, in the order of their revisions; never empty.
fn lines(pair: &KeyPair, phase: Option<Phase>) -> Result<Vec<Line>, Error> {
    let status = pair.status.as_ref().ok_or_else(|| wait::not_ready(pair))?;
    let mut lines = Vec::new();
    for wanted in Phase::ALL.into_iter().filter(|known| phase.is_none_or(|phase| phase == *known)) {
        lines.extend(find(pair, status, wanted)?);
    }
    match phase {
        _ if !lines.is_empty() => Ok(lines),
        None | Some(Phase::Current) => Err(wait::not_ready(pair)),
        Some(phase) => {
            let name = pair.name_any();
            let why = match phase {
                Phase::Next => format!("no rotation is under way; request one with `kubectl keypair rotate {name}`"),
                _ => "it was not rotated, or its previous key is no longer kept".to_owned(),
            };
            Err(Error::state(format!("KeyPair {name:?} has no key in the phase {}: {why}", phase.as_str())))
        }
    }
}

fn find(pair: &KeyPair, status: &KeyPairStatus, phase: Phase) -> Result<Option<Line>, Error> {
    let (revision, text) = match (status.key(phase), &status.public_key) {
        (Some(key), _) => (key.revision, &key.public_key),
        // Without rotation, the status shows the current key only.
        (None, Some(key)) if phase == Phase::Current => (status.revision.unwrap_or(1), key),
        (None, _) => return Ok(None),
    };
    // The line may be appended to a file, so it must be one public key and nothing else.
    let key = PublicKey::parse(text).map_err(|error| {
        Error::state(format!(
            "the status of KeyPair {:?} does not show a public key ({error}): check who may write it",
            pair.name_any()
        ))
    })?;
    Ok(Some(Line {
        phase: phase.as_str(),
        revision,
        public_key: key.to_openssh(),
        fingerprint: key.fingerprints().sha256,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGckSDNiTRG1fzRwLWt1tKuQer4/gxeCaN1HxNA2oLsP me@example.com";

    fn pair(status: &Value) -> KeyPair {
        serde_json::from_value(json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "web" }, "spec": {},
            "status": status,
        }))
        .unwrap()
    }

    fn texts(pair: &KeyPair, phase: Option<Phase>) -> Result<Vec<String>, String> {
        let lines = lines(pair, phase).map_err(|error| error.to_string())?;
        Ok(lines.into_iter().map(|line| format!("{} {} {}", line.phase, line.revision, line.public_key)).collect())
    }

    #[test]
    fn a_pair_without_rotation_has_a_current_key_only() {
        let pair = pair(&json!({ "publicKey": TWO }));
        for phase in [None, Some(Phase::Current)] {
            assert_eq!(texts(&pair, phase), Ok(vec![format!("Current 1 {TWO}")]));
        }
        assert!(texts(&pair, Some(Phase::Next)).unwrap_err().contains("kubectl keypair rotate web"));
        assert!(texts(&pair, Some(Phase::Previous)).unwrap_err().contains("no longer kept"));
    }

    #[test]
    fn a_rotated_pair_has_its_keys_in_order() {
        let key = |revision: u32, phase: &str, key: &str| {
            let fingerprints = json!({ "md5": "", "sha256": "" });
            json!({
                "revision": revision, "phase": phase, "publicKey": key, "algorithm": "Ed25519", "bits": 256,
                "fingerprint": "", "fingerprints": fingerprints, "since": "2026-01-01T00:00:00Z",
            })
        };
        let keys = [key(4, "Next", TWO), key(3, "Current", ONE)];
        let pair = pair(&json!({ "publicKey": ONE, "revision": 3, "keys": keys }));
        assert_eq!(texts(&pair, None), Ok(vec![format!("Current 3 {ONE}"), format!("Next 4 {TWO}")]));
        assert_eq!(texts(&pair, Some(Phase::Next)), Ok(vec![format!("Next 4 {TWO}")]));
    }

    #[test]
    fn a_status_without_exactly_one_key_is_an_error() {
        assert!(texts(&pair(&json!({})), None).unwrap_err().contains("has no key yet"));
        let two = format!("{ONE}\n{TWO}");
        assert!(texts(&pair(&json!({ "publicKey": two })), None).unwrap_err().contains("does not show a public key"));
    }
}
