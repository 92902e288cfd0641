//! Changes of a Secret that is there, each guarded by the version that was decided about.

use http::header::ACCEPT;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
    core::Request,
};
use serde_json::{Value, json};

use super::{
    KEYPAIR_UID_LABEL, METADATA_ONLY, MOVED_ANNOTATION, Marks, RequestError, comparison, fetch, in_sight, moved,
    moved_text, shape, shape::Shaping, url, view,
};
use crate::{
    api::KeyPair,
    domain::{
        decide::{Belongs, ReadSecret},
        secret::SecretSettings,
    },
};

/// What is to be done to a Secret.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The Secret's name.
    pub name: &'a str,
    /// What it shall be.
    pub settings: &'a SecretSettings,
    /// The version that was decided about.
    pub version: &'a str,
    /// What admission has changed lately when it was written.
    pub overruled: &'a [String],
}

/// Makes the Secret what the settings say, and this `KeyPair`'s where it is handed over, if it is still that version. The private key
/// stays what it is; another name of its data key, or another encoding, is all that can happen to it. Nothing is done to a Secret
/// that has changed since it was decided about: that is only read. `moved_from` is noted as the Secret that the key comes from.
///
/// # Errors
///
/// Whatever the API server answers; 409 if the Secret has changed meanwhile.
pub async fn update(
    client: &Client,
    key_pair: &KeyPair,
    attempt: Attempt<'_>,
    moved_from: Option<&str>,
) -> Result<Option<ReadSecret>, RequestError> {
    let Attempt { name, settings, version, overruled } = attempt;
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = view(&secret.0, key_pair, settings, overruled);
    if seen.version != version || seen.obstacle.is_some() || seen.belongs == Belongs::Foreign {
        return Ok(Some(seen));
    }
    let shaping = Shaping { key_pair, settings, owned: seen.belongs == Belongs::Ours, overruled };
    let changes = seen.public_key.as_ref().and_then(|key| shape::changes(&secret.0, shaping, key));
    if changes.is_none() && moved_from.is_none() && seen.in_sight {
        return Ok(Some(seen));
    }
    let mut patch = changes.unwrap_or_else(|| json!({ "metadata": { "resourceVersion": version } }));
    // A large one would be there many times while the API server is asked.
    drop(secret);
    if let Some(from) = moved_from {
        set(&mut patch, "annotations", MOVED_ANNOTATION, &moved_text(from, name));
    }
    let mut sent = json!({ "metadata": patch.get("metadata") });
    let mut patched = apply(client, key_pair, name, patch).await?;
    // Admission may have taken away all that says whose it is. Then it is nobody's to write to.
    let belongs = Marks::of(&patched).belongs(key_pair);
    if !in_sight(&patched)
        && belongs != Belongs::Foreign
        && let Some(uid) = key_pair.uid()
    {
        let mut label = json!({ "metadata": { "resourceVersion": patched.resource_version() } });
        set(&mut label, "labels", KEYPAIR_UID_LABEL, &uid);
        set(&mut sent, "labels", KEYPAIR_UID_LABEL, &uid);
        patched = apply(client, key_pair, name, label).await?;
    }
    let missing = comparison::missing(sent.get("metadata").unwrap_or(&Value::Null), &patched);
    let version = patched.resource_version().unwrap_or_default();
    let (in_sight, moved) = (in_sight(&patched), moved(&patched));
    // What did not come back is told, if anything; it is as good as ours as long as it is not nobody's.
    let belongs = if belongs == Belongs::Foreign { belongs } else { Belongs::Ours };
    Ok(Some(ReadSecret { belongs, up_to_date: true, in_sight, moved, missing, version, ..seen }))
}

/// Sets a label or an annotation in a patch.
fn set(patch: &mut Value, map: &str, key: &str, value: &str) {
    let metadata = patch.get_mut("metadata").and_then(Value::as_object_mut);
    let map = metadata.map(|metadata| metadata.entry(map).or_insert_with(|| json!({})));
    if let Some(map) = map.and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), json!(value));
    }
}

/// Gives the Secret back to whoever handed it over, if it is still that version: without our marks, and without what we put into it.
/// What is then known of it; `None`: it is gone.
///
/// # Errors
///
/// As [`update`].
pub async fn release(
    client: &Client,
    key_pair: &KeyPair,
    attempt: Attempt<'_>,
) -> Result<Option<ReadSecret>, RequestError> {
    let Attempt { name, settings, version, overruled } = attempt;
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = view(&secret.0, key_pair, settings, overruled);
    if seen.version != version {
        return Ok(Some(seen));
    }
    let shaping = Shaping { key_pair, settings, owned: seen.belongs == Belongs::Ours, overruled };
    let patch = shape::release(&secret.0, shaping);
    drop(secret);
    if let Some(patch) = patch {
        apply(client, key_pair, name, patch).await?;
    }
    Ok(Some(ReadSecret { belongs: Belongs::Foreign, ..seen }))
}

/// Takes the note of a move from the Secret of this name, if it is still `version`, and says which version it is then.
///
/// # Errors
///
/// As [`update`].
pub async fn end_move(client: &Client, key_pair: &KeyPair, name: &str, version: &str) -> Result<String, RequestError> {
    let patch = json!({ "metadata": { "resourceVersion": version, "annotations": { MOVED_ANNOTATION: null } } });
    Ok(apply(client, key_pair, name, patch).await?.resource_version().unwrap_or_default())
}

async fn apply(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    patch: Value,
) -> Result<PartialObjectMeta<Secret>, RequestError> {
    let mut request = Request::new(url(key_pair, name)?).patch(name, &PatchParams::default(), &Patch::Merge(patch))?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    Ok(client.request(request).await?)
}
