//! Changes of existing Secrets, each guarded by the resource version on which the decision was based.

use http::header::ACCEPT;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
    core::Request,
};
use serde_json::{Value, json};

use super::{
    METADATA_ONLY, RequestError, comparison, desired_secret::DesiredSecret, fetch, patch, to_read_secret, url,
};
use crate::{
    api::{
        KeyPair,
        secret::{KEYPAIR_UID_LABEL, MOVED_ANNOTATION, OwnershipMetadata, is_selected, moved, moved_text},
    },
    domain::{
        decide::{Ownership, ReadSecret},
        secret::SecretSettings,
    },
};

/// A change of a Secret.
#[derive(Debug, Clone, Copy)]
pub struct SecretUpdate<'a> {
    /// The name of the Secret.
    pub name: &'a str,
    /// Its settings.
    pub settings: &'a SecretSettings,
    /// The version on which the decision was based.
    pub version: &'a str,
    /// The parts that admission recently changed.
    pub admission_changes: &'a [String],
}

/// Brings the Secret into the state that the settings describe, and adopts it if it is offered. The private key stays the same; only its data
/// key or its encoding may change. A Secret that no longer has the expected version is only read. `moved_from` is recorded as the Secret from
/// which the key comes.
///
/// # Errors
///
/// Any error of the API server; 409 if the Secret has changed.
pub async fn update(
    client: &Client,
    key_pair: &KeyPair,
    secret_update: SecretUpdate<'_>,
    moved_from: Option<&str>,
) -> Result<Option<ReadSecret>, RequestError> {
    let SecretUpdate { name, settings, version, admission_changes } = secret_update;
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = to_read_secret(&secret.0, key_pair, settings, admission_changes);
    if seen.version != version || seen.incompatibility.is_some() || seen.ownership == Ownership::Foreign {
        return Ok(Some(seen));
    }
    let desired = DesiredSecret { key_pair, settings, owned: seen.ownership == Ownership::Ours, admission_changes };
    let changes = seen.public_key.as_ref().and_then(|key| patch::changes(&secret.0, desired, key));
    if changes.is_none() && moved_from.is_none() && seen.is_selected {
        return Ok(Some(seen));
    }
    let mut patch = changes.unwrap_or_else(|| json!({ "metadata": { "resourceVersion": version } }));
    // Free the memory before the request: the Secret may be large, and many requests may run at once.
    drop(secret);
    if let Some(from) = moved_from {
        set(&mut patch, "annotations", MOVED_ANNOTATION, &moved_text(from, name));
    }
    let mut sent = json!({ "metadata": patch.get("metadata") });
    let mut patched = apply(client, key_pair, name, patch).await?;
    // Admission may have removed all marks of ownership. Then the operator must not write to the Secret.
    let ownership = OwnershipMetadata::of(&patched).ownership(key_pair);
    if !is_selected(&patched)
        && ownership != Ownership::Foreign
        && let Some(uid) = key_pair.uid()
    {
        let mut label = json!({ "metadata": { "resourceVersion": patched.resource_version() } });
        set(&mut label, "labels", KEYPAIR_UID_LABEL, &uid);
        set(&mut sent, "labels", KEYPAIR_UID_LABEL, &uid);
        patched = apply(client, key_pair, name, label).await?;
    }
    let admission_changes = comparison::changed_by_admission(sent.get("metadata").unwrap_or(&Value::Null), &patched);
    let version = patched.resource_version().unwrap_or_default();
    let (is_selected, moved) = (is_selected(&patched), moved(&patched));
    // What was not stored is reported. The Secret is ours unless all marks of ownership are gone.
    let ownership = if ownership == Ownership::Foreign { ownership } else { Ownership::Ours };
    Ok(Some(ReadSecret { ownership, up_to_date: true, is_selected, moved, admission_changes, version, ..seen }))
}

/// Sets a label or an annotation in a patch.
fn set(patch: &mut Value, map: &str, key: &str, value: &str) {
    let metadata = patch.get_mut("metadata").and_then(Value::as_object_mut);
    let map = metadata.map(|metadata| metadata.entry(map).or_insert_with(|| json!({})));
    if let Some(map) = map.and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), json!(value));
    }
}

/// Returns an adopted Secret to its owner, if it still has the expected version: removes the marks of ownership and everything the operator
/// added. Returns the new state of the Secret; `None` if it does not exist.
///
/// # Errors
///
/// As [`update`].
pub async fn release(
    client: &Client,
    key_pair: &KeyPair,
    secret_update: SecretUpdate<'_>,
) -> Result<Option<ReadSecret>, RequestError> {
    let SecretUpdate { name, settings, version, admission_changes } = secret_update;
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = to_read_secret(&secret.0, key_pair, settings, admission_changes);
    if seen.version != version {
        return Ok(Some(seen));
    }
    let desired = DesiredSecret { key_pair, settings, owned: seen.ownership == Ownership::Ours, admission_changes };
    let patch = patch::release(&secret.0, desired);
    drop(secret);
    if let Some(patch) = patch {
        apply(client, key_pair, name, patch).await?;
    }
    Ok(Some(ReadSecret { ownership: Ownership::Foreign, ..seen }))
}

/// Removes the record of a move from the Secret with this name, if it still has this version, and returns the new version.
///
/// # Errors
///
/// As [`update`].
pub async fn end_move(client: &Client, key_pair: &KeyPair, name: &str, version: &str) -> Result<String, RequestError> {
    let patch = json!({ "metadata": { "resourceVersion": version, "annotations": { MOVED_ANNOTATION: null } } });
    Ok(apply(client, key_pair, name, patch).await?.resource_version().unwrap_or_default())
}

pub(super) async fn apply(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    patch: Value,
) -> Result<PartialObjectMeta<Secret>, RequestError> {
    let mut request = Request::new(url(key_pair, name)?).patch(name, &PatchParams::default(), &Patch::Merge(patch))?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    Ok(client.request(request).await?)
}
