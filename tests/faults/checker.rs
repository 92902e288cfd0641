//! Checks the final state by the stored objects alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt as _,
    api::{DynamicObject, ListParams},
};

use super::{
    keys::{derive, fingerprint, same_key},
    recorder::REVISION_ANNOTATION,
    stage::{KEYPAIR_UID_ANNOTATION, key_pairs, secrets},
    workload::{FOREIGN_VALUE, INVALID, ROTATE_ANNOTATION},
};

/// How many private keys per namespace openssl reads in each check.
const SAMPLE: usize = 8;

/// Returns the violations in a namespace. `collected` says whether the garbage collector of Kubernetes must have removed
/// orphaned objects: after its API server had been killed, it was seen to miss some of them for good. The operator's part,
/// that such a Secret names its owner, is checked in any case.
pub async fn check(
    client: &Client,
    namespace: &str,
    quota: usize,
    collected: bool,
) -> Result<Vec<String>, kube::Error> {
    let objects = key_pairs(client, namespace).list(&ListParams::default()).await?.items;
    let secrets = secrets(client, namespace).list(&ListParams::default()).await?.items;
    let state = State { objects: &objects, secrets: &secrets, quota, collected };
    Ok(state.violations().into_iter().map(|text| format!("{namespace}: {text}")).collect())
}

struct State<'a> {
    objects: &'a [DynamicObject],
    secrets: &'a [Secret],
    quota: usize,
    collected: bool,
}

/// The string at `path` of an object.
fn text<'a>(object: &'a DynamicObject, path: &str) -> Option<&'a str> {
    object.data.pointer(path).and_then(serde_json::Value::as_str)
}

fn accepted(object: &DynamicObject) -> bool {
    text(object, "/status/keyPairID").is_some()
}

fn reason(object: &DynamicObject) -> &str {
    let conditions = object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    ready.and_then(|condition| condition["reason"].as_str()).unwrap_or("none")
}

fn effective_name(object: &DynamicObject) -> String {
    text(object, "/spec/keyPairName").map_or_else(|| object.name_any(), str::to_owned)
}

fn owner(secret: &Secret) -> Option<&str> {
    secret.annotations().get(KEYPAIR_UID_ANNOTATION).map(String::as_str)
}

/// What is wrong with the rotations of an accepted pair: at the end, each has ended.
fn rotation(object: &DynamicObject, secret: &Secret) -> Option<String> {
    let Some(keys) = object.data.pointer("/spec/rotation").map(|_| object.data.pointer("/status/keys")) else {
        let is_rotated = secret.annotations().contains_key(REVISION_ANNOTATION);
        return is_rotated.then(|| "rotated without spec.rotation".to_owned());
    };
    let count = keys.and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    if count != 1 {
        return Some(format!("status.keys has {count} keys"));
    }
    let request = object.annotations().get(ROTATE_ANNOTATION).map(String::as_str);
    let handled = text(object, "/status/rotation/handledRequest");
    (request.is_some() && request != handled).then(|| format!("the request {request:?} was not carried out"))
}

impl State<'_> {
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut names = BTreeMap::<String, Vec<&DynamicObject>>::new();
        for object in self.objects {
            names.entry(effective_name(object)).or_default().push(object);
        }
        // A pair with a conflicting Secret keeps its slot: it is accepted as soon as that Secret is deleted.
        let holding = |object: &DynamicObject| accepted(object) || reason(object) == "SecretConflict";
        let held = self.objects.iter().filter(|object| holding(object)).count();
        if held > self.quota {
            found.push(format!("{held} slots held, the quota is {}", self.quota));
        }
        for (name, objects) in &names {
            if objects.iter().filter(|object| accepted(object)).count() > 1 {
                found.push(format!("two accepted pairs of the name {name}"));
            }
        }
        let mut sampled = 0;
        for object in self.objects {
            let name = object.name_any();
            if object.data.pointer("/status/observedGeneration").and_then(serde_json::Value::as_i64)
                != object.metadata.generation
            {
                found.push(format!("{name}: the status is not about the newest generation"));
                continue;
            }
            if accepted(object) {
                let look = sampled < SAMPLE;
                sampled += usize::from(look);
                found.extend(self.accepted(object, look).into_iter().map(|text| format!("{name}: {text}")));
                continue;
            }
            let age = |object: &DynamicObject| (object.creation_timestamp().map(|time| time.0), object.name_any());
            // A name belongs to the accepted pair, or else to the oldest one that requests it, even while that one waits for
            // a slot.
            let claims = |rival: &DynamicObject| {
                holding(rival) || (text(rival, "/spec/publicKey") != Some(INVALID) && age(rival) < age(object))
            };
            let rivals =
                names[&effective_name(object)].iter().filter(|rival| rival.uid() != object.uid() && claims(rival));
            let secret_name = text(object, "/spec/secret/name").unwrap_or(&name);
            let taken = self
                .secrets
                .iter()
                .any(|secret| secret.name_any() == secret_name && owner(secret) != object.uid().as_deref());
            let wanted = match text(object, "/spec/publicKey") {
                Some(INVALID) => "InvalidPublicKey",
                _ if rivals.count() > 0 => "KeyPairNameConflict",
                None if taken && reason(object) == "SecretConflict" => "SecretConflict",
                _ if held >= self.quota => "QuotaExceeded",
                None if taken => "SecretConflict",
                _ => "acceptance",
            };
            if reason(object) != wanted {
                found.push(format!("{name}: the reason is {}, wanted {wanted}", reason(object)));
            }
        }
        found.extend(self.secrets());
        found
    }

    fn accepted(&self, object: &DynamicObject, look: bool) -> Vec<String> {
        let mut found = Vec::new();
        let line = text(object, "/status/publicKey").unwrap_or_default();
        if text(object, "/status/fingerprint") != Some(&fingerprint(line)) {
            found.push("the fingerprint is not that of status.publicKey".to_owned());
        }
        if let Some(imported) = text(object, "/spec/publicKey") {
            if fingerprint(imported) != fingerprint(line) || reason(object) != "Imported" {
                found.push(format!("an import with another key, or the reason {}", reason(object)));
            }
            return found;
        }
        if reason(object) != "Generated" {
            found.push(format!("accepted, but the reason is {}", reason(object)));
        }
        let mine: Vec<_> = self.secrets.iter().filter(|secret| owner(secret) == object.uid().as_deref()).collect();
        let &[secret] = mine.as_slice() else {
            found.push(format!("{} Secrets instead of one", mine.len()));
            return found;
        };
        if text(object, "/status/secretName") != Some(&secret.name_any()) {
            found.push("status.secretName names another Secret".to_owned());
        }
        let data = secret.data.as_ref();
        let Some(key) = data.and_then(|data| data.get("ssh-privatekey")) else {
            found.push("no private key in the Secret".to_owned());
            return found;
        };
        found.extend(rotation(object, secret));
        if look && derive(&key.0).is_none_or(|derived| !same_key(&derived, line)) {
            found.push("the private key does not give status.publicKey".to_owned());
        }
        found
    }

    /// Checks that each Secret has its KeyPair, unless it was to be retained, and that no foreign Secret was changed.
    fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for secret in self.secrets {
            let name = secret.name_any();
            if name.starts_with("foreign-") {
                let value = secret.data.as_ref().and_then(|data| data.get("value"));
                if owner(secret).is_some() || value.is_none_or(|value| value.0 != FOREIGN_VALUE.as_bytes()) {
                    found.push(format!("the foreign Secret {name} was changed"));
                }
                continue;
            }
            let retained = secret.owner_references().is_empty();
            let names_it = secret.owner_references().iter().any(|by| Some(by.uid.as_str()) == owner(secret));
            if !retained && !names_it {
                found.push(format!("the Secret {name} has another owner than its KeyPair"));
            }
            let alive = self.objects.iter().any(|object| object.uid().as_deref() == owner(secret));
            if !alive && !retained && self.collected {
                found.push(format!("the Secret {name} has lost its KeyPair"));
            }
        }
        found
    }
}
