//! The Secrets of generated pairs: creating, reading and changing them, and detecting foreign ones.

mod applied;
mod comparison;
mod create;
mod desired_secret;
mod difference;
mod entries;
mod patch;
mod rotate;
mod update;

use http::header::ACCEPT;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource, ResourceExt,
    api::{DeleteParams, GetParams, Preconditions},
    core::Request,
};
use zeroize::{Zeroize, Zeroizing};

use self::desired_secret::DesiredSecret;
pub use self::{
    create::{Content, Created, create},
    rotate::{SecretRotation, rotate},
    update::{SecretUpdate, end_move, release, update},
};
pub(super) use crate::controller::METADATA_ONLY;
use crate::{
    api::{
        KeyPair,
        secret::{OwnershipMetadata, REPLACES_ANNOTATION, fingerprint, is_selected, moved, revision},
    },
    client::summarize,
    domain::{
        decide::{Incompatibility, Ownership, ReadSecret, RotationEntries},
        key::{PrivateKey, PrivateKeyError},
        rules::SECRET_NAME,
        secret::{OPAQUE_TYPE, SecretSettings},
    },
};

/// The comment of the public key of a generated pair: none, so that the line is what `ssh-keygen -y` derives.
pub const NO_COMMENT: &str = "";

/// A Secret whose data is wiped when it is dropped.
struct WipedSecret(Secret);

impl Drop for WipedSecret {
    fn drop(&mut self) {
        for value in self.0.data.iter_mut().flatten().map(|(_, value)| value) {
            value.0.zeroize();
        }
    }
}

/// Why a request about a Secret failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The name is invalid, so it must not become part of a URL.
    #[error("invalid Secret name: it must be {}", SECRET_NAME.words)]
    Name,
    /// The keys could not be written.
    #[error("cannot encode a key: {0}")]
    Encode(#[from] PrivateKeyError),
    /// The Secret could not be serialized.
    #[error("cannot serialize the Secret: {0}")]
    Serialize(#[source] serde_json::Error),
    /// The response is not a Secret. The parse error is dropped, because it may quote a private key.
    #[error("the API server's response is not a Secret")]
    Unreadable,
    /// The request could not be built.
    #[error("cannot build the request: {0}")]
    Build(#[from] kube::core::request::Error),
    /// The API server refused the request or did not answer.
    #[error("{}", summarize(.0))]
    Kube(#[from] kube::Error),
}

/// Reads the Secret with this name; `None` if it does not exist. `admission_changes` names the parts that admission recently changed: they are
/// reported and not written again.
///
/// # Errors
///
/// Any error of the API server but 404.
pub async fn read(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    admission_changes: &[String],
) -> Result<Option<ReadSecret>, RequestError> {
    let secret = fetch(client, key_pair, name).await?;
    Ok(secret.map(|secret| to_read_secret(&secret.0, key_pair, settings, admission_changes)))
}

/// The URL of the Secrets in the namespace of `key_pair`, for a request for the one with this name. All requests for Secrets use it: a name
/// with a slash or two dots would address another resource.
fn url(key_pair: &KeyPair, name: &str) -> Result<String, RequestError> {
    if SECRET_NAME.allows(name) {
        Ok(Secret::url_path(&(), key_pair.namespace().as_deref()))
    } else {
        Err(RequestError::Name)
    }
}

async fn fetch(client: &Client, key_pair: &KeyPair, name: &str) -> Result<Option<WipedSecret>, RequestError> {
    let request = Request::new(url(key_pair, name)?).get(name, &GetParams::default())?;
    // As text: the client would log a response that it cannot parse, and this one contains a private key.
    let text = match client.request_text(request).await {
        Ok(text) => Zeroizing::new(text),
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_str(&text).map(|secret| Some(WipedSecret(secret))).map_err(|_| RequestError::Unreadable)
}

/// The state of a Secret. The data of a foreign Secret is not read.
fn to_read_secret(
    secret: &Secret,
    key_pair: &KeyPair,
    settings: &SecretSettings,
    admission_changes: &[String],
) -> ReadSecret {
    let metadata = OwnershipMetadata::of(secret);
    let ownership = metadata.ownership(key_pair);
    let desired = DesiredSecret { key_pair, settings, owned: ownership == Ownership::Ours, admission_changes };
    let (key, mut incompatibility) = match ownership {
        Ownership::Foreign => (None, metadata.blocking_owner(key_pair).map(Incompatibility::Owner)),
        Ownership::Ours | Ownership::Offered => match entries::public_key(secret, desired) {
            Ok(key) => (Some(key), None),
            Err(why) => (None, Some(Incompatibility::Key(why))),
        },
    };
    if let Some(key) = &key {
        incompatibility = entries::incompatibility(secret, desired, key);
    }
    let changes = key.as_ref().filter(|_| desired.owned).and_then(|key| patch::changes(secret, desired, key));
    let parts = changes.as_ref().map(comparison::parts).unwrap_or_default();
    let is_in_vain = !parts.is_empty() && parts.iter().all(|part| admission_changes.contains(part));
    ReadSecret {
        ownership,
        adopted: ownership != Ownership::Foreign && desired.adopted(secret),
        is_selected: is_selected(secret),
        owner: metadata.owner(key_pair).filter(|_| ownership != Ownership::Ours),
        moved: moved(secret),
        admission_changes: if is_in_vain { parts } else { Vec::new() },
        up_to_date: desired.owned && incompatibility.is_none() && key.is_some() && (changes.is_none() || is_in_vain),
        public_key: key,
        incompatibility,
        is_type_allowed: settings.allows_type(secret.type_.as_deref().unwrap_or(OPAQUE_TYPE)),
        replaces: fingerprint(secret, REPLACES_ANNOTATION),
        rotation: match ownership {
            Ownership::Foreign => Box::default(),
            Ownership::Ours | Ownership::Offered => Box::new(entries::rotation(secret, desired)),
        },
        version: secret.resource_version().unwrap_or_default(),
    }
}

/// All keys in a Secret, to be copied.
pub struct HeldPrivateKeys {
    /// The key of the pair.
    pub current: PrivateKey,
    /// What it holds for a rotation.
    pub rotation: RotationKeys,
}

/// The keys of a rotation in a Secret besides the current one.
#[derive(Default)]
pub struct RotationKeys {
    /// The next key.
    pub next: Option<PrivateKey>,
    /// The previous key.
    pub previous: Option<PrivateKey>,
    /// The revision of the current key.
    pub revision: Option<u32>,
}

impl RotationKeys {
    /// What a Secret with these keys holds for a rotation.
    pub fn entries(&self) -> RotationEntries {
        let public_key = |key: &Option<PrivateKey>| key.as_ref()?.public_key(NO_COMMENT).ok();
        RotationEntries {
            next: public_key(&self.next),
            previous: public_key(&self.previous),
            is_previous_kept: self.previous.is_some(),
            revision: self.revision,
            foreign_entry: None,
        }
    }
}

/// The private keys in the Secret with this name; `None` if the Secret does not exist, is not ours, or contains none.
///
/// # Errors
///
/// Any error of the API server but 404.
pub async fn private_keys(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
) -> Result<Option<HeldPrivateKeys>, RequestError> {
    let secret = fetch(client, key_pair, name).await?;
    let ours = secret.filter(|secret| OwnershipMetadata::of(&secret.0).ownership(key_pair) == Ownership::Ours);
    let desired = DesiredSecret { key_pair, settings, owned: true, admission_changes: &[] };
    Ok(ours.and_then(|WipedSecret(ref secret)| {
        let record = desired.record(secret).unwrap_or_default();
        let rotation = RotationKeys {
            next: entries::rotated_key(secret, record.next.as_ref()),
            previous: entries::rotated_key(secret, record.previous.as_ref()),
            revision: revision(secret),
        };
        Some(HeldPrivateKeys { current: entries::private_key(secret, desired).ok()?, rotation })
    }))
}

/// Deletes the Secret with this name if it still has this version.
///
/// # Errors
///
/// Any error of the API server but 404; 409 if the Secret has changed.
pub async fn delete(client: &Client, key_pair: &KeyPair, name: &str, version: &str) -> Result<(), RequestError> {
    let preconditions = Preconditions { resource_version: Some(version.to_owned()), uid: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let mut request = Request::new(url(key_pair, name)?).delete(name, &parameters)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    // The response, a Secret or a Status, is not needed.
    match client.request_text(request).await.map(Zeroizing::new) {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
