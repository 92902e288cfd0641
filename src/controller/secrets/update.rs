//! Changes of a Secret that is there, each guarded by the version that was decided about.

use http::header::ACCEPT;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
    core::Request,
};

use super::{METADATA_ONLY, RequestError, fetch, in_sight, shape, shape::Shaping, url, view};
use crate::{
    api::KeyPair,
    domain::{
        decide::{Belongs, ReadSecret},
        secret::SecretSettings,
    },
};

/// Makes the Secret of this name what the settings say, and this `KeyPair`'s where it is handed over, if it is still `version`. The
/// private key stays what it is; another name of its data key, or another encoding, is all that can happen to it. Nothing is done
/// to a Secret that has changed since it was decided about: that is only read.
///
/// # Errors
///
/// Whatever the API server answers; 409 if the Secret has changed meanwhile.
pub async fn update(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    version: &str,
) -> Result<Option<ReadSecret>, RequestError> {
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = view(&secret.0, key_pair, settings);
    if seen.version != version || seen.obstacle.is_some() {
        return Ok(Some(seen));
    }
    let shaping = Shaping { key_pair, settings, owned: seen.belongs == Belongs::Ours };
    let patch = seen.public_key.as_ref().and_then(|key| shape::changes(&secret.0, shaping, key));
    let Some(patch) = patch else { return Ok(Some(seen)) };
    // A large one would be there many times while the API server is asked.
    drop(secret);
    let patched = apply(client, key_pair, name, patch).await?;
    let version = patched.resource_version().unwrap_or_default();
    let in_sight = in_sight(&patched);
    Ok(Some(ReadSecret { belongs: Belongs::Ours, up_to_date: true, in_sight, version, ..seen }))
}

/// Gives the Secret of this name back to whoever handed it over, if it is still `version`: without our marks, and without what we
/// put into it. What is then known of it; `None`: it is gone.
///
/// # Errors
///
/// As [`update`].
pub async fn release(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    version: &str,
) -> Result<Option<ReadSecret>, RequestError> {
    let Some(secret) = fetch(client, key_pair, name).await? else { return Ok(None) };
    let seen = view(&secret.0, key_pair, settings);
    if seen.version != version {
        return Ok(Some(seen));
    }
    let shaping = Shaping { key_pair, settings, owned: seen.belongs == Belongs::Ours };
    let patch = shape::release(&secret.0, shaping);
    drop(secret);
    if let Some(patch) = patch {
        apply(client, key_pair, name, patch).await?;
    }
    Ok(Some(ReadSecret { belongs: Belongs::Foreign, ..seen }))
}

async fn apply(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    patch: serde_json::Value,
) -> Result<PartialObjectMeta<Secret>, RequestError> {
    let mut request = Request::new(url(key_pair, name)?).patch(name, &PatchParams::default(), &Patch::Merge(patch))?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    Ok(client.request(request).await?)
}
