//! `kubectl keypair rotate`.

use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    args::RotateArgs,
    cluster::{Cluster, FIELD_MANAGER, request},
    error::{Error, Kind},
    output,
    wait::{self, Progress},
};
use crate::{
    api::{KeyPair, KeyPairStatus, status::READY},
    domain::rotation::{Phase, ROTATE_ANNOTATION},
};

/// The condition that describes a rotation.
const ROTATING: &str = "Rotating";

/// Requests a rotation. With `--wait`, waits until the next key is current, and prints its public key.
pub async fn rotate(cluster: &Cluster, args: &RotateArgs) -> Result<(), Error> {
    let name = &args.name;
    let before = cluster.key_pair(name).await?;
    check(&before)?;
    // Unique, and sorts by time.
    let value = format!("{:.9}", Timestamp::now());
    let edit = json!({ "metadata": { "annotations": { ROTATE_ANNOTATION: value } } });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let pairs = cluster.key_pairs();
    let edit = Patch::Merge(&edit);
    let patched = pairs.patch(name, &params, &edit);
    request(cluster.subject("patch", Kind::KeyPair, name), patched).await?;
    let requested = format!("keypair.keypairs.dev/{name}: rotation requested ({ROTATE_ANNOTATION}={value})");
    if !args.wait.wait {
        return output::line(&requested);
    }
    output::note(&requested);
    let mut watch = Watch { request: value, first: revision(&before), target: None };
    let pair = wait::until(args.wait.timeout, async || watch.look(cluster.key_pair(name).await?)).await?;
    output::note(&format!("keypair/{name}: revision {} is the current key", revision(&pair)));
    output::line(&super::public::current(&pair)?)
}

/// Whether the operator would rotate this pair.
fn check(pair: &KeyPair) -> Result<(), Error> {
    let name = pair.name_any();
    if pair.spec.public_key.is_some() {
        return Err(Error::state(format!(
            "KeyPair {name:?} is an imported public key, which cannot be rotated: import the new key as another KeyPair"
        )));
    }
    if pair.spec.rotation.is_none() {
        return Err(Error::state(format!(
            "KeyPair {name:?} has no spec.rotation, which says how long keys are published: set it, for example with\n  \
             kubectl patch keypair {name} -n {} --type=merge -p '{{\"spec\": {{\"rotation\": {{\"publishBefore\": \"24h\", \"keepAfter\": \"24h\"}}}}}}'",
            pair.namespace().unwrap_or_default()
        )));
    }
    if pair.status.as_ref().is_none_or(|status| status.key_pair_id.is_none()) {
        return Err(wait::not_ready(pair));
    }
    Ok(())
}

fn revision(pair: &KeyPair) -> i64 {
    pair.status.as_ref().and_then(|status| status.revision).unwrap_or(1)
}

/// Follows one rotation.
struct Watch {
    request: String,
    /// The revision of the current key before the request.
    first: i64,
    /// The revision of the key of this rotation, once that is known.
    target: Option<i64>,
}

impl Watch {
    fn look(&mut self, pair: KeyPair) -> Result<Progress<KeyPair>, Error> {
        let name = pair.name_any();
        let status = pair.status.clone().unwrap_or_default();
        check(&pair)?;
        if status.condition(READY).is_some_and(|ready| ready.status == "False") {
            return Err(wait::not_ready(&pair));
        }
        if pair.annotations().get(ROTATE_ANNOTATION) != Some(&self.request) {
            return Err(Error::state(format!(
                "the annotation {ROTATE_ANNOTATION} of KeyPair {name:?} was changed meanwhile: follow the rotation with `kubectl get keypair {name} -o wide`"
            )));
        }
        let is_handled =
            status.rotation.as_ref().is_some_and(|rotation| rotation.handled_request.as_ref() == Some(&self.request));
        if is_handled && self.target.is_none() {
            // The next key may have become current between two looks.
            let next = status.key(Phase::Next).map(|key| key.revision);
            self.target = next.or_else(|| status.revision.filter(|revision| *revision > self.first));
        }
        let current = status.revision.unwrap_or(1);
        if self.target.is_some_and(|target| current >= target) {
            return Ok(Progress::Done(pair));
        }
        Ok(Progress::Waiting(described(&name, &status, self.target)))
    }
}

/// What a rotation waits for, in the operator's words.
fn described(name: &str, status: &KeyPairStatus, target: Option<i64>) -> String {
    let phase = match (target, status.key(Phase::Previous)) {
        (Some(revision), _) => format!("revision {revision} of keypair/{name} to become current"),
        (None, Some(_)) => format!("the previous key of keypair/{name} to be removed, after which the rotation begins"),
        (None, None) => format!("the operator to publish the next key of keypair/{name}"),
    };
    let rotating = status.condition(ROTATING).filter(|rotating| rotating.status == "True");
    rotating.map_or(phase.clone(), |rotating| format!("{phase} ({}: {})", rotating.reason, rotating.message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pair(spec: &Value, status: &Value) -> KeyPair {
        serde_json::from_value(json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": "web", "namespace": "shop", "annotations": { ROTATE_ANNOTATION: "now" } },
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn key(revision: u32, phase: &str) -> Value {
        json!({
            "revision": revision, "phase": phase, "publicKey": "", "algorithm": "RSA", "bits": 2048, "fingerprint": "",
            "fingerprints": { "md5": "", "sha256": "" }, "since": "2026-01-01T00:00:00Z",
        })
    }

    fn status(handled: &str, revision: u32, phases: &[(u32, &str)]) -> Value {
        let keys: Vec<Value> = phases.iter().map(|(revision, phase)| key(*revision, phase)).collect();
        json!({
            "keyPairID": "kp-a", "revision": revision, "keys": keys, "rotation": { "handledRequest": handled },
        })
    }

    #[test]
    fn a_pair_that_cannot_be_rotated_is_told_what_to_set() {
        let said = |spec: Value, status: Value| check(&pair(&spec, &status)).unwrap_err().to_string();
        let accepted = || status("", 1, &[]);
        assert!(said(json!({ "publicKey": "ssh-rsa A" }), accepted()).contains("imported public key"));
        let none = said(json!({}), accepted());
        assert!(none.contains("no spec.rotation") && none.contains("kubectl patch keypair web -n shop"), "{none}");
        assert!(said(json!({ "rotation": {} }), json!(null)).contains("has no key yet"));
        assert!(check(&pair(&json!({ "rotation": {} }), &accepted())).is_ok());
    }

    /// The states between request and switch, seen one by one.
    #[test]
    fn a_rotation_ends_when_its_own_key_is_current() {
        let seen = |states: &[Value]| -> Vec<bool> {
            let mut watch = Watch { request: "now".to_owned(), first: 3, target: None };
            let look = |status: &Value| watch.look(pair(&json!({ "rotation": {} }), status)).unwrap();
            states.iter().map(look).map(|progress| matches!(progress, Progress::Done(_))).collect()
        };
        let (next, current, previous) = ("Next", "Current", "Previous");
        // Each phase is seen.
        let all = [
            status("old", 3, &[(3, current)]),
            status("now", 3, &[(3, current), (4, next)]),
            status("now", 4, &[(3, previous), (4, current)]),
        ];
        assert_eq!(seen(&all), [false, false, true]);
        // The next key becomes current between two looks.
        assert_eq!(seen(&[all[0].clone(), all[2].clone()]), [false, true]);
        // Another rotation is under way, which must end before.
        let other = [
            status("old", 3, &[(3, current), (4, next)]),
            status("old", 4, &[(3, previous), (4, current)]),
            status("now", 4, &[(4, current), (5, next)]),
            status("now", 5, &[(4, previous), (5, current)]),
        ];
        assert_eq!(seen(&other), [false, false, false, true]);
    }
}
