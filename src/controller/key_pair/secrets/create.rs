//! Creating a Secret.

use http::header::ACCEPT;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Client, ResourceExt,
    api::{PartialObjectMeta, PostParams},
    core::Request,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    METADATA_ONLY, NO_COMMENT, RequestError, RotationKeys, WipedSecret, applied::Applied, comparison, difference,
    entries, patch, url,
};
use crate::{
    api::{
        KeyPair,
        secret::{
            MOVED_ANNOTATION, OwnershipMetadata, REPLACES_ANNOTATION, REVISION_ANNOTATION, is_selected, moved_text,
        },
    },
    domain::{
        decide::Ownership,
        key::{Encoding, PrivateKey, PrivateKeyError, PublicKey},
        rotation::Phase,
        secret::SecretSettings,
    },
};

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
        let (names, mut entries) = entries::rotated_data(settings, phase, key, settings.encoding(None))?;
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
