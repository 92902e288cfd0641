//! The Secrets of generated pairs: how they are made, told from foreign ones, and read.

use std::collections::BTreeMap;

use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{PartialObjectMeta, PostParams},
    core::Request,
};
use zeroize::Zeroize;

use super::error::in_brief;
use crate::{
    api::KeyPair,
    domain::{
        decide::{CachedSecret, ReadSecret},
        key::{PrivateKey, PrivateKeyError, PublicKey},
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
#[must_use]
pub fn cached(secret: &impl Resource, key_pair: &KeyPair) -> CachedSecret {
    CachedSecret { owned: owned(secret, key_pair), sha256: secret.annotations().get(FINGERPRINT_ANNOTATION).cloned() }
}

/// Whether a Secret was made for `key_pair`, the very object and not another of the same name.
fn owned(secret: &impl Resource, key_pair: &KeyPair) -> bool {
    let Some(uid) = key_pair.metadata.uid.as_deref() else { return false };
    secret.owner_references().iter().any(|owner| owner.uid == uid)
        || secret.annotations().get(KEYPAIR_UID_ANNOTATION).is_some_and(|annotation| annotation == uid)
}

/// Reads the Secret of this name; `None`: there is none.
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
) -> kube::Result<Option<ReadSecret>> {
    let namespace = key_pair.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let Some(secret) = secrets.get_opt(name).await?.map(WipedSecret) else { return Ok(None) };
    let owned = owned(&secret.0, key_pair);
    let public_key = if owned { public_key(&secret.0, &settings.private_key) } else { None };
    Ok(Some(ReadSecret { owned, public_key }))
}

/// The public key that belongs to the private key in `secret`.
fn public_key(secret: &Secret, data_key: &str) -> Option<PublicKey> {
    let value = secret.data.as_ref()?.get(data_key)?;
    let text = std::str::from_utf8(&value.0).ok()?;
    PrivateKey::parse(text).ok()?.public_key(NO_COMMENT).ok()
}

/// Why no Secret was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The key could not be encoded as the settings ask.
    #[error("cannot encode the private key: {0}")]
    Encoding(#[from] PrivateKeyError),
    /// The Secret could not be written as JSON.
    #[error("cannot serialize the Secret: {0}")]
    Serialize(#[from] serde_json::Error),
    /// The request could not be built.
    #[error("cannot build the request: {0}")]
    Request(#[from] kube::core::request::Error),
    /// The API server refused it, or could not be reached.
    #[error("{}", in_brief(.0))]
    Kube(#[from] kube::Error),
}

/// Creates the Secret with `private_key`, which must not exist yet.
///
/// # Errors
///
/// [`CreateError`]; 409 (`AlreadyExists`) from the API server if there is a Secret of that name.
pub async fn create(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    private_key: &PrivateKey,
    public_key: &PublicKey,
) -> Result<(), CreateError> {
    let namespace = key_pair.namespace().unwrap_or_default();
    let secret = WipedSecret(build(key_pair, name, settings, private_key, public_key)?);
    let url = Secret::url_path(&(), Some(&namespace));
    let mut request = Request::new(url).create(&PostParams::default(), serde_json::to_vec(&secret.0)?)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    client.request::<PartialObjectMeta<Secret>>(request).await?;
    Ok(())
}

fn build(
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    private_key: &PrivateKey,
    public_key: &PublicKey,
) -> Result<Secret, PrivateKeyError> {
    let mut labels = settings.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned());
    let mut annotations = settings.annotations.clone();
    annotations.insert(KEYPAIR_ANNOTATION.to_owned(), key_pair.name_any());
    annotations.insert(KEYPAIR_UID_ANNOTATION.to_owned(), key_pair.uid().unwrap_or_default());
    annotations.insert(FINGERPRINT_ANNOTATION.to_owned(), public_key.fingerprints().sha256);
    let private_key = private_key.encode(settings.encoding, public_key.comment())?;
    let mut data: BTreeMap<String, ByteString> =
        settings.string_data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect();
    data.insert(settings.public_key.clone(), ByteString(format!("{}\n", public_key.to_openssh()).into_bytes()));
    data.insert(settings.private_key.clone(), ByteString(private_key.as_bytes().to_vec()));
    Ok(Secret {
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
    })
}

/// The reference by which the garbage collector finds the Secret when `key_pair` is deleted.
fn owner_reference(key_pair: &KeyPair, settings: &SecretSettings) -> Option<OwnerReference> {
    match settings.deletion_policy {
        DeletionPolicy::Delete => key_pair.controller_owner_ref(&()),
        DeletionPolicy::Retain => None,
    }
}
