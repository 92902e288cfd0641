//! Checks the objects after the faults have ended and the operator has stopped writing.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Guarantees,
    facts::{
        accepted, annotation, effective_name, fingerprint, is_edited, is_import, keys_in, keys_of_status, name,
        namespace, owner, owners, ready, rotation, text, uid, waits_for_publication, wanted_secret,
    },
    publication,
};
use crate::Server;

/// How long after its scheduled time a key switch may happen.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The errors in the current objects.
#[must_use]
pub fn unsettled(server: &Server, guarantees: &Guarantees) -> Vec<String> {
    let (key_pairs, secrets) = (server.objects("keypairs"), server.objects("secrets"));
    let mut found = Vec::new();
    for key_pair in &key_pairs {
        let about = |text: String| format!("{}/{}: {text}", namespace(key_pair), name(key_pair));
        found.extend(of_key_pair(key_pair, (&key_pairs, &secrets), guarantees, server.now()).into_iter().map(about));
    }
    for namespace in server.objects("namespaces").iter().map(name) {
        let of = |key_pair: &&Value| self::namespace(key_pair) == namespace && accepted(key_pair).is_some();
        let (count, quota) = (key_pairs.iter().filter(of).count(), guarantees.greatest_quota(namespace));
        if count > quota {
            found.push(format!("{namespace}: {count} accepted pairs, and the quota was never more than {quota}"));
        }
    }
    for secret in &secrets {
        let about = |text: &str| format!("Secret {}/{}: {text}", namespace(secret), name(secret));
        found.extend(of_secret(secret, &key_pairs, guarantees).map(about));
    }
    for key_pair in &key_pairs {
        let about = |text: String| format!("{}/{}: {text}", namespace(key_pair), name(key_pair));
        found.extend(of_waiting_rotation(server, key_pair).map(about));
    }
    found.extend(publication::unsettled(server));
    found
}

fn of_key_pair(
    key_pair: &Value,
    (key_pairs, secrets): (&[Value], &[Value]),
    guarantees: &Guarantees,
    now: Timestamp,
) -> Vec<String> {
    let mut found = Vec::new();
    let (status, reason) = ready(key_pair);
    let generation = key_pair.pointer("/metadata/generation");
    if key_pair.pointer("/status/observedGeneration") != generation || reason.is_empty() {
        let observed = key_pair.pointer("/status/observedGeneration");
        found.push(format!("not settled: generation {generation:?}, observed {observed:?}, reason {reason:?}"));
        return found;
    }
    let is_untouched = !guarantees.is_modified_by_others(uid(key_pair));
    // A replay shows the reason of its original, whose Secret a user may have deleted.
    let repeats = |other: &&Value| {
        uid(other) != uid(key_pair)
            && accepted(other).is_some()
            && ready(other).1 == reason
            && namespace(other) == namespace(key_pair)
            && text(other, "/spec/clientToken") == text(key_pair, "/spec/clientToken")
    };
    let may_repeat = accepted(key_pair).is_none()
        && text(key_pair, "/spec/clientToken").is_some()
        && key_pairs.iter().any(|other| repeats(&other));
    // `spec.generate` was edited after the Secret was created and before the KeyPair was accepted. The operator never discards a key
    // that may be in use: the user has to delete the Secret.
    let is_of_an_earlier_kind = reason == "PrivateKeyMismatch" && accepted(key_pair).is_none() && is_edited(key_pair);
    if is_untouched
        && !may_repeat
        && !is_of_an_earlier_kind
        && matches!(reason, "PrivateKeyLost" | "PrivateKeyMismatch")
    {
        found.push(format!("{reason}, and nobody but the operator has touched its Secrets"));
    }
    if reason == "InternalError" {
        found.push(format!(
            "InternalError when nothing is wrong any more: {:?}",
            text(key_pair, "/status/error/message")
        ));
    }
    let of_this = |secret: &&Value| namespace(secret) == namespace(key_pair) && owner(secret) == Some(uid(key_pair));
    let mine: Vec<&Value> = secrets.iter().filter(of_this).collect();
    // A move continues when the spec is valid again, or when the KeyPair gets a slot.
    let is_held_up = status == "False" && !matches!(reason, "SecretConflict" | "PrivateKeyLost" | "PrivateKeyMismatch");
    if is_untouched && !is_held_up && mine.len() > 1 {
        let names: Vec<&str> = mine.iter().map(|secret| name(secret)).collect();
        found.push(format!("{} Secrets are its own: {names:?}", mine.len()));
    }
    if status == "True" && reason == "Generated" {
        let wanted = wanted_secret(key_pair);
        if text(key_pair, "/status/secretName") != Some(wanted) {
            found.push(format!("the Secret is {:?}, wanted {wanted}", text(key_pair, "/status/secretName")));
        }
        let secret = secrets.iter().find(|secret| namespace(secret) == namespace(key_pair) && name(secret) == wanted);
        let keys = secret.map(keys_in).unwrap_or_default();
        if !fingerprint(key_pair).is_some_and(|given| keys.contains(given)) {
            found.push(format!("Ready, but its key is not in the Secret {wanted}"));
        }
        if is_untouched && let Some(secret) = secret {
            found.extend(of_owners(key_pair, secret));
            found.extend(of_rotation(key_pair, secret, now));
        }
    }
    if status == "True" && is_import(key_pair) && reason != "Imported" && reason != "IdempotentReplay" {
        found.push(format!("imported, but {reason}"));
    }
    if let Some(id) = accepted(key_pair) {
        let same = key_pairs.iter().filter(|other| accepted(other) == Some(id)).count();
        let named = key_pairs.iter().filter(|other| {
            namespace(other) == namespace(key_pair)
                && accepted(other).is_some()
                && effective_name(other) == effective_name(key_pair)
        });
        if same > 1 {
            found.push(format!("{same} pairs have the identifier {id}"));
        }
        let named = named.count();
        if named > 1 {
            found.push(format!("{named} accepted pairs have the name {}", effective_name(key_pair)));
        }
    }
    found
}

/// Checks that the status shows the keys that the Secret holds, and that requests are carried out.
fn of_rotation(key_pair: &Value, secret: &Value, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let keys = keys_in(secret);
    let is_rotated = rotation(key_pair).is_some();
    let shown: Vec<(&str, &str)> = keys_of_status(key_pair).collect();
    // Without rotation, the previous key stays for a day.
    if shown.len() == usize::from(!is_rotated) {
        found.push(format!("status.keys has {} keys, and spec.rotation is set: {is_rotated}", shown.len()));
    }
    for (phase, key) in &shown {
        if !keys.contains(*key) {
            found.push(format!("the Secret lacks the key that the status shows as {phase}"));
        }
    }
    let entries = secret.get("data").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name);
    let applied = annotation(secret, "keypairs.dev/applied").unwrap_or_default();
    // Without rotation, somebody else may have entries of these names. With it, the operator refuses them.
    let entries = entries.filter(|name| is_rotated || applied.contains(&format!("\"{name}\"")));
    for (suffix, phase) in [(".next", "Next"), (".previous", "Previous")] {
        let is_shown = shown.iter().any(|(shown, _)| *shown == phase);
        if !is_shown && entries.clone().any(|name| name.ends_with(suffix)) {
            found.push(format!("the Secret holds entries {suffix}, and the status does not show the key"));
        }
    }
    let handled = text(key_pair, "/status/rotation/handledRequest");
    let request = annotation(key_pair, "keypairs.dev/rotate");
    if is_rotated && shown.len() == 1 && request.is_some() && request != handled {
        found.push(format!("the request {request:?} is not carried out, handled is {handled:?}"));
    }
    let switch: Option<Timestamp> =
        text(key_pair, "/status/rotation/nextSwitch").and_then(|next_switch| next_switch.parse().ok());
    if shown.iter().any(|(phase, _)| *phase == "Next")
        && switch.is_some_and(|switch| now.duration_since(switch) > GRACE)
        && key_pair.pointer("/status/rotation/waitingFor").is_none()
        && !waits_for_publication(key_pair)
    {
        found.push("the next key does not become current".to_owned());
    }
    found
}

/// Checks that a rotation waits only for publications that cannot publish the next key. While a `KeyPair` is refused, no publication
/// selects it, and its rotation stops where it is.
fn of_waiting_rotation(server: &Server, key_pair: &Value) -> Option<String> {
    let keys = key_pair.pointer("/status/keys").and_then(Value::as_array);
    let next = keys.into_iter().flatten().find(|key| text(key, "/phase") == Some("Next"))?;
    let key = text(next, "/publicKey")?.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let lacking = publication::unpublished(server, key_pair, &key);
    (waits_for_publication(key_pair) && !publication::published_keys(key_pair).is_empty() && lacking.is_empty())
        .then(|| "the rotation waits for publications, and all of them have the next key".to_owned())
}

/// Checks that the Secret has an owner reference if, and only if, the deletion policy is `Delete`. Adopted Secrets are not checked: they
/// have another default.
fn of_owners(key_pair: &Value, secret: &Value) -> Option<String> {
    if annotation(secret, "keypairs.dev/applied").is_some_and(|applied| applied.contains("\"adopted\"")) {
        return None;
    }
    let goes = text(key_pair, "/spec/secret/deletionPolicy") != Some("Retain");
    let is_owned = owners(secret).any(|owner| owner == uid(key_pair));
    (goes != is_owned).then(|| format!("its Secret has an owner: {is_owned}, and is to go with it: {goes}"))
}

/// Checks a Secret whose `KeyPair` no longer exists.
fn of_secret(secret: &Value, key_pairs: &[Value], guarantees: &Guarantees) -> Option<&'static str> {
    let uids: BTreeSet<&str> = key_pairs.iter().map(uid).collect();
    let of = owner(secret).filter(|of| !uids.contains(of))?;
    let owned: Vec<&str> = owners(secret).collect();
    if owned.iter().any(|owner| !uids.contains(owner)) {
        return Some("its owner is gone, and it was not collected");
    }
    // With `Retain`, it stays without owner references.
    (!owned.is_empty() && !guarantees.is_modified_by_others(of)).then_some("its owner is another than it says")
}
