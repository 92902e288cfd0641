//! The Secrets of generated pairs: creating, reading and changing them, and detecting foreign ones.

mod applied;
mod comparison;
mod desired_secret;
mod difference;
mod entries;
mod patch;
mod rotate;
mod update;

use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Client, Resource, ResourceExt,
    api::{DeleteParams, GetParams, PartialObjectMeta, PostParams, Preconditions},
    core::Request,
};
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use self::{applied::Applied, desired_secret::DesiredSecret};
pub use self::{
    rotate::{SecretRotation, rotate},
    update::{SecretUpdate, end_move, release, update},
};
use crate::{
    api::{
        KeyPair,
        secret::{
            MOVED_ANNOTATION, OwnershipMetadata, REPLACES_ANNOTATION, REVISION_ANNOTATION, fingerprint, is_selected,
            moved, moved_text, revision,
        },
    },
    client::summarize,
    domain::{
        decide::{Incompatibility, Ownership, ReadSecret, RotationEntries},
        key::{Encoding, PrivateKey, PrivateKeyError, PublicKey},
        rotation::Phase,
        rules::SECRET_NAME,
        secret::{OPAQUE_TYPE, SecretSettings},
    },
};

/// The comment of the public key of a generated pair: none, so that the line is what `ssh-keygen -y` derives.
pub const NO_COMMENT: &str = "";

/// Requests a response with metadata only, so that the private key is not sent back.
pub(super) const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

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

/// The content of a new Secret.
pub struct Content {
    private_key: Zeroizing<String>,
    public_key: String,
    sha256: String,
    /// The fingerprint of the lost key that this one replaces.
    replaces: Option<String>,
    /// The name of the Secret from which the key is copied.
    moved_from: Option<String>,
    /// The other keys of a rotation.
    rotation: RotationKeys,
}

/// A created Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its resource version.
    pub version: String,
    /// Its owner: admission may have removed all marks of ownership.
    pub ownership: Ownership,
    /// Whether a watch will show it.
    pub is_selected: bool,
    /// The names of the labels, annotations and owner references that admission changed.
    pub admission_changes: Vec<String>,
}

impl Content {
    /// A key pair with its private key in this encoding.
    ///
    /// # Errors
    ///
    /// If the encoding does not support the algorithm.
    pub fn new(private_key: &PrivateKey, public_key: &PublicKey, encoding: Encoding) -> Result<Self, PrivateKeyError> {
        Ok(Self {
            private_key: private_key.encode(encoding, NO_COMMENT)?,
            public_key: public_key.to_openssh(),
            sha256: public_key.fingerprints().sha256,
            replaces: None,
            moved_from: None,
            rotation: RotationKeys::default(),
        })
    }

    /// Records that the key replaces the lost one with this SHA256 fingerprint.
    #[must_use]
    pub fn replacing(self, replaces: Option<String>) -> Self {
        Self { replaces, ..self }
    }

    /// Records that the key is copied from the Secret with this name.
    #[must_use]
    pub fn moved_from(self, moved_from: Option<String>) -> Self {
        Self { moved_from, ..self }
    }

    /// Adds the other keys of a rotation.
    #[must_use]
    pub fn with_rotation(self, rotation: RotationKeys) -> Self {
        Self { rotation, ..self }
    }

    /// A placeholder for a dry run. The API server requires a non-empty private key in a Secret of type
    /// [`SSH_AUTH_TYPE`](crate::domain::secret::SSH_AUTH_TYPE).
    #[must_use]
    pub fn placeholder() -> Self {
        let private_key = Zeroizing::new("placeholder".to_owned());
        let rotation = RotationKeys::default();
        Self {
            private_key,
            public_key: String::new(),
            sha256: String::new(),
            replaces: None,
            moved_from: None,
            rotation,
        }
    }
}

/// Creates the Secret, which must not exist yet. With `dry_run` the API server only checks whether it would accept it.
///
/// # Errors
///
/// [`RequestError`]; 409 (`AlreadyExists`) from the API server if a Secret with that name exists.
pub async fn create(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    content: &Content,
    dry_run: bool,
) -> Result<Created, RequestError> {
    let secret = WipedSecret(build(key_pair, name, settings, content)?);
    let body = serde_json::to_vec(&secret.0).map_err(RequestError::Serialize)?;
    let parameters = PostParams { dry_run, ..PostParams::default() };
    let mut request = Request::new(url(key_pair, name)?).create(&parameters, body)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    let created: PartialObjectMeta<Secret> = client.request(request).await?;
    Ok(Created {
        version: created.resource_version().unwrap_or_default(),
        ownership: OwnershipMetadata::of(&created).ownership(key_pair),
        is_selected: is_selected(&created),
        admission_changes: comparison::changed_by_admission(&json!(secret.0.metadata), &created),
    })
}

fn build(
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    content: &Content,
) -> Result<Secret, PrivateKeyError> {
    let RotationKeys { next, previous, revision } = &content.rotation;
    let mut data = difference::data(settings, &content.public_key);
    data.insert(settings.private_key.clone(), ByteString(content.private_key.as_bytes().to_vec()));
    let mut add = |phase, key: &Option<PrivateKey>| {
        let Some(key) = key else { return Ok(None) };
        let (names, mut entries) = entries::rotated_data(settings, phase, key)?;
        data.append(&mut entries);
        Ok::<_, PrivateKeyError>(Some(names))
    };
    let (next, previous) = (add(Phase::Next, next)?, add(Phase::Previous, previous)?);
    let applied = Applied { next, previous, ..Applied::for_new_secret(settings) };
    let mut annotations = patch::annotations(key_pair, settings.annotations.clone(), &content.sha256, &applied);
    let moved = content.moved_from.as_ref().map(|from| (MOVED_ANNOTATION.to_owned(), moved_text(from, name)));
    annotations.extend(moved);
    annotations.extend(content.replaces.clone().map(|replaces| (REPLACES_ANNOTATION.to_owned(), replaces)));
    annotations.extend(revision.map(|revision| (REVISION_ANNOTATION.to_owned(), revision.to_string())));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: key_pair.namespace(),
            labels: Some(patch::labels(settings)),
            annotations: Some(annotations),
            owner_references: patch::owner_reference(key_pair, settings, false).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(settings.effective_type().to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests;
