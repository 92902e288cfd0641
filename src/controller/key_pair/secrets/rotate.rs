//! The changes of a Secret for a rotation: each is one patch, guarded by the resource version on which the decision was based.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value, json};

use super::{
    NO_COMMENT, RequestError, SecretUpdate,
    applied::{Applied, KeyEntries},
    comparison,
    desired_secret::DesiredSecret,
    entries, fetch, to_read_secret,
    update::apply,
};
use crate::{
    api::{
        KeyPair,
        secret::{APPLIED_ANNOTATION, FINGERPRINT_ANNOTATION, OwnershipMetadata, REVISION_ANNOTATION},
    },
    domain::{
        decide::{Ownership, ReadSecret, RotationEntries},
        key::{PrivateKey, PublicKey},
        rotation::Phase,
    },
};

/// A change of a Secret for a rotation.
#[derive(Clone, Copy)]
pub enum SecretRotation<'a> {
    /// Add this key as the next one.
    AddNext(&'a PrivateKey),
    /// Make the next key, which has this revision, the current one, and the current one the previous one.
    Switch(u32),
    /// Remove the next key.
    RemoveNext,
    /// Remove the previous key.
    RemovePrevious,
}

/// What a patch sets, and what is known afterwards.
struct Rotated {
    data: BTreeMap<String, Option<ByteString>>,
    annotations: Map<String, Value>,
    record: Applied,
    current: Option<PublicKey>,
    rotation: Box<RotationEntries>,
}

/// Changes the Secret, if it still has the expected version and is ours. Returns its new state; `None` if it does not exist.
///
/// # Errors
///
/// As [`update`](super::update()).
pub async fn rotate(
    client: &Client,
    key_pair: &KeyPair,
    secret_update: SecretUpdate<'_>,
    change: SecretRotation<'_>,
) -> Result<Option<ReadSecret>, RequestError> {
    let SecretUpdate { name, settings, version, admission_changes } = secret_update;
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = to_read_secret(&secret.0, key_pair, settings, admission_changes);
    let desired = DesiredSecret { key_pair, settings, owned: true, admission_changes };
    if seen.version != version || seen.ownership != Ownership::Ours || !seen.up_to_date {
        return Ok(Some(seen));
    }
    let Some(rotated) = rotated(&secret.0, desired, &seen, change) else { return Ok(Some(seen)) };
    drop(secret);
    let Rotated { data, mut annotations, record, current, rotation } = rotated;
    annotations.insert(APPLIED_ANNOTATION.to_owned(), json!(record.to_text()));
    let metadata = json!({ "resourceVersion": version, "annotations": annotations });
    let patched = apply(client, key_pair, name, json!({ "metadata": metadata, "data": data })).await?;
    let ownership = OwnershipMetadata::of(&patched).ownership(key_pair);
    Ok(Some(ReadSecret {
        ownership: if ownership == Ownership::Foreign { ownership } else { Ownership::Ours },
        admission_changes: comparison::changed_by_admission(&metadata, &patched),
        public_key: current.or(seen.public_key),
        rotation,
        version: patched.resource_version().unwrap_or_default(),
        ..seen
    }))
}

/// What the change sets; `None`: the Secret does not hold what it needs.
fn rotated(
    secret: &Secret,
    desired: DesiredSecret<'_>,
    seen: &ReadSecret,
    change: SecretRotation<'_>,
) -> Option<Rotated> {
    let data = |phase, key: &PrivateKey| {
        let encoding = entries::rotated_encoding(secret, desired, key);
        entries::rotated_data(desired.settings, phase, key, encoding).ok()
    };
    let mut rotated = Rotated {
        data: BTreeMap::new(),
        annotations: Map::new(),
        record: desired.record(secret)?,
        current: None,
        rotation: seen.rotation.clone(),
    };
    match change {
        SecretRotation::AddNext(key) => {
            rotated.remove(rotated.record.next.clone());
            let public_key = key.public_key(NO_COMMENT).ok()?;
            rotated.record.next = Some(rotated.add(data(Phase::Next, key)?));
            rotated.rotation.next = Some(public_key);
        }
        SecretRotation::Switch(revision) => {
            let next = entries::rotated_key(secret, rotated.record.next.as_ref())?;
            let old = entries::private_key(secret, desired).ok()?;
            let (next_public, old_public) = (next.public_key(NO_COMMENT).ok()?, seen.public_key.clone()?);
            let (next_entries, previous_entries) = (rotated.record.next.take(), rotated.record.previous.take());
            rotated.remove(next_entries);
            rotated.remove(previous_entries);
            rotated.record.previous = Some(rotated.add(data(Phase::Previous, &old)?));
            rotated.add(data(Phase::Current, &next)?);
            let set = [
                (FINGERPRINT_ANNOTATION, next_public.fingerprints().sha256),
                (REVISION_ANNOTATION, revision.to_string()),
            ];
            rotated.annotations.extend(set.map(|(name, value)| (name.to_owned(), json!(value))));
            rotated.rotation = Box::new(RotationEntries {
                next: None,
                previous: Some(old_public),
                is_previous_kept: true,
                revision: Some(revision),
                ..*rotated.rotation
            });
            rotated.current = Some(next_public);
        }
        SecretRotation::RemoveNext => {
            let next = rotated.record.next.take();
            rotated.remove(next);
            rotated.rotation.next = None;
        }
        SecretRotation::RemovePrevious => {
            let previous = rotated.record.previous.take();
            rotated.remove(previous);
            (rotated.rotation.previous, rotated.rotation.is_previous_kept) = (None, false);
        }
    }
    Some(rotated)
}

impl Rotated {
    fn add(&mut self, (names, data): (KeyEntries, BTreeMap<String, ByteString>)) -> KeyEntries {
        self.data.extend(data.into_iter().map(|(name, value)| (name, Some(value))));
        names
    }

    fn remove(&mut self, entries: Option<KeyEntries>) {
        let names = entries.into_iter().flat_map(|entries| [entries.private_key, entries.public_key]);
        self.data.extend(names.map(|name| (name, None)));
    }
}
