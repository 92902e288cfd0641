//! The Secrets of generated pairs: how they are made, told from foreign ones, and read.

use std::collections::BTreeMap;

use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Client, Resource, ResourceExt,
    api::{GetParams, PartialObjectMeta, PostParams},
    core::Request,
};
use zeroize::{Zeroize, Zeroizing};

use super::{context::Versions, error::in_brief};
use crate::{
    api::KeyPair,
    domain::{
        decide::{CachedSecret, ReadSecret},
        key::{Encoding, PrivateKey, PrivateKeyError, PublicKey},
        secret::{DeletionPolicy, MANAGED_BY_LABEL, SecretSettings},
    },
};

/// The value of [`MANAGED_BY_LABEL`], and the name of the operator everywhere else.
pub const OPERATOR: &str = "keypair-operator";
/// The annotation with the name of the `KeyPair`.
pub const KEYPAIR_ANNOTATION: &str = "keypairs.dev/keypair";
/// The annotation with the UID of the `KeyPair`: what makes a Secret ours, also where it outlives its `KeyPair` and so
/// has no owner reference.
pub const KEYPAIR_UID_ANNOTATION: &str = "keypairs.dev/keypair-uid";
/// The annotation with the fingerprint (SHA256) of the key in the Secret.
pub const FINGERPRINT_ANNOTATION: &str = "keypairs.dev/fingerprint";

/// The comment of the public key of a generated pair: none, so that the line is what `ssh-keygen -y` derives.
pub const NO_COMMENT: &str = "";

/// Asks the API server to answer with the metadata alone: what was written, a private key, need not come back.
const METADATA_ONLY: HeaderValue =
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

/// What the metadata of a Secret says about its relation to `key_pair`.
///
/// The first version that is seen after a start is taken for right if its annotation is: reading every Secret at every
/// start would cost more than it is worth. From then on each change is noticed.
#[must_use]
pub fn cached(secret: &impl Resource, key_pair: &KeyPair, verified: &Versions) -> CachedSecret {
    let uid = key_pair.uid().unwrap_or_default();
    let version = secret.resource_version().unwrap_or_default();
    let changed = verified.get(&uid).is_some_and(|verified| verified != version);
    if !changed {
        verified.note(&uid, &version);
    }
    CachedSecret {
        owned: owned(secret, key_pair),
        sha256: secret.annotations().get(FINGERPRINT_ANNOTATION).cloned(),
        changed,
    }
}

/// Whether a Secret was made for `key_pair`, the very object and not another of the same name.
fn owned(secret: &impl Resource, key_pair: &KeyPair) -> bool {
    let Some(uid) = key_pair.metadata.uid.as_deref() else { return false };
    secret.owner_references().iter().any(|owner| owner.uid == uid)
        || secret.annotations().get(KEYPAIR_UID_ANNOTATION).is_some_and(|annotation| annotation == uid)
}

/// Why a request about a Secret failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The Secret could not be written as JSON.
    #[error("cannot serialize the Secret: {0}")]
    Serialize(#[source] serde_json::Error),
    /// The answer is no Secret. What it is instead is not said: a private key may be in it.
    #[error("the API server's answer is no Secret")]
    Unreadable,
    /// The request could not be built.
    #[error("cannot build the request: {0}")]
    Build(#[from] kube::core::request::Error),
    /// The API server refused it, or could not be reached.
    #[error("{}", in_brief(.0))]
    Kube(#[from] kube::Error),
}

/// Reads the Secret of this name, and says which version it is; `None`: there is none.
///
/// The data of a Secret that is not ours is wiped without a look at it.
///
/// # Errors
///
/// Whatever the API server answers but 404.
pub async fn read(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
) -> Result<Option<(ReadSecret, String)>, RequestError> {
    let url = Secret::url_path(&(), key_pair.namespace().as_deref());
    let request = Request::new(url).get(name, &GetParams::default())?;
    // As text: the client logs an answer that it cannot read, and this one holds a private key.
    let text = match client.request_text(request).await {
        Ok(text) => Zeroizing::new(text),
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let secret = WipedSecret(serde_json::from_str(&text).map_err(|_| RequestError::Unreadable)?);
    let owned = owned(&secret.0, key_pair);
    let public_key = if owned { public_key(&secret.0, &settings.private_key) } else { None };
    Ok(Some((ReadSecret { owned, public_key }, secret.0.resource_version().unwrap_or_default())))
}

/// The public key that belongs to the private key in `secret`.
fn public_key(secret: &Secret, data_key: &str) -> Option<PublicKey> {
    let value = secret.data.as_ref()?.get(data_key)?;
    let text = std::str::from_utf8(&value.0).ok()?;
    PrivateKey::parse(text).ok()?.public_key(NO_COMMENT).ok()
}

/// What a Secret is made of.
pub struct Content {
    private_key: Zeroizing<String>,
    public_key: String,
    sha256: String,
}

impl Content {
    /// A key pair, its private key in this encoding.
    ///
    /// # Errors
    ///
    /// If the encoding cannot hold such a key.
    pub fn new(private_key: &PrivateKey, public_key: &PublicKey, encoding: Encoding) -> Result<Self, PrivateKeyError> {
        Ok(Self {
            private_key: private_key.encode(encoding, NO_COMMENT)?,
            public_key: public_key.to_openssh(),
            sha256: public_key.fingerprints().sha256,
        })
    }

    /// No key pair, for a create that is only rehearsed. The API server wants a private key that is not empty in a Secret of
    /// type [`SSH_AUTH_TYPE`](crate::domain::secret::SSH_AUTH_TYPE).
    #[must_use]
    pub fn placeholder() -> Self {
        let private_key = Zeroizing::new("placeholder".to_owned());
        Self { private_key, public_key: String::new(), sha256: String::new() }
    }
}

/// Creates the Secret, which must not exist yet, and says which version it is; with `dry_run` the API server only says
/// whether it would be taken.
///
/// # Errors
///
/// [`RequestError`]; 409 (`AlreadyExists`) from the API server if there is a Secret of that name.
pub async fn create(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    content: &Content,
    dry_run: bool,
) -> Result<String, RequestError> {
    let secret = WipedSecret(build(key_pair, name, settings, content));
    let body = serde_json::to_vec(&secret.0).map_err(RequestError::Serialize)?;
    let parameters = PostParams { dry_run, ..PostParams::default() };
    let url = Secret::url_path(&(), key_pair.namespace().as_deref());
    let mut request = Request::new(url).create(&parameters, body)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    let created: PartialObjectMeta<Secret> = client.request(request).await?;
    Ok(created.resource_version().unwrap_or_default())
}

fn build(key_pair: &KeyPair, name: &str, settings: &SecretSettings, content: &Content) -> Secret {
    let mut labels = settings.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned());
    let mut annotations = settings.annotations.clone();
    annotations.insert(KEYPAIR_ANNOTATION.to_owned(), key_pair.name_any());
    annotations.insert(KEYPAIR_UID_ANNOTATION.to_owned(), key_pair.uid().unwrap_or_default());
    annotations.insert(FINGERPRINT_ANNOTATION.to_owned(), content.sha256.clone());
    let mut data: BTreeMap<String, ByteString> =
        settings.string_data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect();
    data.insert(settings.public_key.clone(), ByteString(format!("{}\n", content.public_key).into_bytes()));
    data.insert(settings.private_key.clone(), ByteString(content.private_key.as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: key_pair.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: owner_reference(key_pair, settings).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(settings.effective_type().to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// The reference by which the garbage collector finds the Secret when `key_pair` is deleted.
fn owner_reference(key_pair: &KeyPair, settings: &SecretSettings) -> Option<OwnerReference> {
    match settings.deletion_policy {
        DeletionPolicy::Delete => key_pair.controller_owner_ref(&()),
        DeletionPolicy::Retain => None,
    }
}
