//! The Secrets of generated pairs: how they are made, told from foreign ones, and read.

mod applied;
mod comparison;
mod entries;
mod ownership;
mod shape;
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

use self::{applied::Applied, shape::Shaping};
pub use self::{
    ownership::Marks,
    update::{Attempt, end_move, release, update},
};
use super::answer::in_brief;
pub use crate::domain::secret::{KEYPAIR_UID_ANNOTATION, OPERATOR};
use crate::{
    api::KeyPair,
    domain::{
        decide::{Belongs, CachedSecret, Move, Obstacle, ReadSecret},
        key::{Encoding, PrivateKey, PrivateKeyError, PublicKey, is_sha256},
        rules::{SECRET_NAME, UID},
        secret::{ADOPT_ANNOTATION, MANAGED_BY_LABEL, OPAQUE_TYPE, SecretSettings},
    },
};

/// The annotation with the name of the `KeyPair`.
pub const KEYPAIR_ANNOTATION: &str = "keypairs.dev/keypair";
/// The annotation with the fingerprint (SHA256) of the key in the Secret.
pub const FINGERPRINT_ANNOTATION: &str = "keypairs.dev/fingerprint";

/// The annotation with the fingerprint (SHA256) of the lost key in whose place another was generated, so that a crash before
/// the status says so cannot make the new key look like one that somebody put there.
pub const REPLACES_ANNOTATION: &str = "keypairs.dev/replaces";

/// The annotation that a move of the key to this Secret has begun: the names of the Secret that it came from and of this one.
pub const MOVED_ANNOTATION: &str = "keypairs.dev/moved";

/// The label with the UID of the `KeyPair`, on a Secret whose label [`MANAGED_BY_LABEL`] is another tool's: by it the operator watches
/// such a Secret.
pub const KEYPAIR_UID_LABEL: &str = KEYPAIR_UID_ANNOTATION;

/// The comment of the public key of a generated pair: none, so that the line is what `ssh-keygen -y` derives.
pub const NO_COMMENT: &str = "";

/// Asks the API server to answer with the metadata alone: what was written, a private key, need not come back.
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

/// Whether the operator looks at this annotation.
#[must_use]
pub fn is_own_annotation(key: &str) -> bool {
    let own = [
        KEYPAIR_ANNOTATION,
        KEYPAIR_UID_ANNOTATION,
        FINGERPRINT_ANNOTATION,
        applied::APPLIED_ANNOTATION,
        ADOPT_ANNOTATION,
        MOVED_ANNOTATION,
    ];
    own.contains(&key)
}

/// What is kept of the value of such an annotation, which whoever may write Secrets may have written: nothing of what is longer
/// than what the operator writes.
#[must_use]
pub fn known_annotation(key: &str, value: String) -> Option<String> {
    if key == applied::APPLIED_ANNOTATION {
        return applied::in_brief(&value);
    }
    // The names of two objects are the longest of them, and that of one.
    let max = if key == MOVED_ANNOTATION { 2 * 253 + 1 } else { 253 };
    (value.len() <= max).then_some(value)
}

/// What the metadata of a Secret says about its relation to `key_pair`.
#[must_use]
pub fn cached(secret: &impl Resource, key_pair: &KeyPair) -> CachedSecret {
    let applied = applied::Brief::of(secret);
    CachedSecret {
        owned: Marks::of(secret).belongs(key_pair) == Belongs::Ours,
        sha256: fingerprint(secret, FINGERPRINT_ANNOTATION),
        adopted: applied.as_ref().is_some_and(|applied| applied.adopted),
        settings: applied.map(|applied| applied.digest),
        moved: moved(secret),
        version: secret.resource_version().unwrap_or_default(),
    }
}

/// Whether a watch of our Secrets shows this one.
fn in_sight(secret: &impl Resource) -> bool {
    secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR)
        || secret.labels().contains_key(KEYPAIR_UID_LABEL)
}

/// The move that `secret` says it is part of, if it can be one.
fn moved(secret: &impl Resource) -> Option<Move> {
    let (from, to) = secret.annotations().get(MOVED_ANNOTATION)?.split_once('/')?;
    let is_possible = SECRET_NAME.allows(from) && SECRET_NAME.allows(to);
    is_possible.then(|| Move { from: from.to_owned(), to: to.to_owned() })
}

/// The value of [`MOVED_ANNOTATION`].
fn moved_text(from: &str, to: &str) -> String {
    format!("{from}/{to}")
}

/// The fingerprint (SHA256) in an annotation of `secret`, if it is one.
fn fingerprint(secret: &impl Resource, annotation: &str) -> Option<String> {
    secret.annotations().get(annotation).filter(|text| is_sha256(text)).cloned()
}

/// The name of the `KeyPair` that a Secret says it was made for, if it is a name: anybody may have written it.
#[must_use]
pub fn key_pair_name(secret: &impl Resource) -> Option<&str> {
    let owner =
        secret.owner_references().iter().find(|owner| owner.kind == KeyPair::kind(&())).map(|owner| &owner.name);
    let annotation = secret.annotations().get(KEYPAIR_ANNOTATION);
    // The name of a KeyPair and that of a Secret obey the same rule.
    annotation.into_iter().chain(owner).find(|name| SECRET_NAME.allows(name)).map(String::as_str)
}

/// The UID of the `KeyPair` that a Secret says it was made for, if it can be one.
#[must_use]
pub fn key_pair_uid(secret: &impl Resource) -> Option<&str> {
    secret.annotations().get(KEYPAIR_UID_ANNOTATION).filter(|uid| UID.allows(uid)).map(String::as_str)
}

/// Why a request about a Secret failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No Secret can have the name, so it is not put into a URL.
    #[error("no Secret can have the name that is to be asked for: it must be {}", SECRET_NAME.words)]
    Name,
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

/// Reads the Secret of this name; `None`: there is none. `overruled` is what admission has changed lately when it was written: that
/// much is missing, and not to be written again.
///
/// # Errors
///
/// Whatever the API server answers but 404.
pub async fn read(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
    overruled: &[String],
) -> Result<Option<ReadSecret>, RequestError> {
    let secret = fetch(client, key_pair, name).await?;
    Ok(secret.map(|secret| view(&secret.0, key_pair, settings, overruled)))
}

/// The URL of the Secrets beside `key_pair`, of which one has this name. Everything that the operator asks about a Secret goes
/// through here: a name with a slash or two dots in it would ask for something else.
fn url(key_pair: &KeyPair, name: &str) -> Result<String, RequestError> {
    if SECRET_NAME.allows(name) {
        Ok(Secret::url_path(&(), key_pair.namespace().as_deref()))
    } else {
        Err(RequestError::Name)
    }
}

async fn fetch(client: &Client, key_pair: &KeyPair, name: &str) -> Result<Option<WipedSecret>, RequestError> {
    let request = Request::new(url(key_pair, name)?).get(name, &GetParams::default())?;
    // As text: the client logs an answer that it cannot read, and this one holds a private key.
    let text = match client.request_text(request).await {
        Ok(text) => Zeroizing::new(text),
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_str(&text).map(|secret| Some(WipedSecret(secret))).map_err(|_| RequestError::Unreadable)
}

/// What there is to know of a Secret. The data of one that is neither ours nor handed over is not looked at.
fn view(secret: &Secret, key_pair: &KeyPair, settings: &SecretSettings, overruled: &[String]) -> ReadSecret {
    let marks = Marks::of(secret);
    let belongs = marks.belongs(key_pair);
    let shaping = Shaping { key_pair, settings, owned: belongs == Belongs::Ours, overruled };
    let (key, mut obstacle) = match belongs {
        Belongs::Foreign => (None, marks.owner_in_the_way(key_pair).map(Obstacle::Owner)),
        Belongs::Ours | Belongs::Offered => match public_key(secret, shaping) {
            Ok(key) => (Some(key), None),
            Err(why) => (None, Some(Obstacle::Key(why))),
        },
    };
    if let Some(key) = &key {
        obstacle = entries::obstacle(secret, shaping, key);
    }
    let changes = key.as_ref().filter(|_| shaping.owned).and_then(|key| shape::changes(secret, shaping, key));
    let parts = changes.as_ref().map(comparison::parts).unwrap_or_default();
    let is_in_vain = !parts.is_empty() && parts.iter().all(|part| overruled.contains(part));
    ReadSecret {
        belongs,
        adopted: belongs != Belongs::Foreign && shaping.adopted(secret),
        in_sight: in_sight(secret),
        owner: marks.owner(key_pair).filter(|_| belongs != Belongs::Ours),
        moved: moved(secret),
        missing: if is_in_vain { parts } else { Vec::new() },
        up_to_date: shaping.owned && obstacle.is_none() && key.is_some() && (changes.is_none() || is_in_vain),
        public_key: key,
        obstacle,
        type_fits: settings.allows_type(secret.type_.as_deref().unwrap_or(OPAQUE_TYPE)),
        replaces: fingerprint(secret, REPLACES_ANNOTATION),
        version: secret.resource_version().unwrap_or_default(),
    }
}

fn public_key(secret: &Secret, shaping: Shaping<'_>) -> Result<PublicKey, String> {
    let key = entries::private_key(secret, shaping)?;
    key.public_key(NO_COMMENT).map_err(|error| error.to_string())
}

/// The key pair in the Secret of this name; `None` if it is not there, not ours, or holds none.
///
/// # Errors
///
/// Whatever the API server answers but 404.
pub async fn private_key(
    client: &Client,
    key_pair: &KeyPair,
    name: &str,
    settings: &SecretSettings,
) -> Result<Option<PrivateKey>, RequestError> {
    let secret = fetch(client, key_pair, name).await?;
    let ours = secret.filter(|secret| Marks::of(&secret.0).belongs(key_pair) == Belongs::Ours);
    let shaping = Shaping { key_pair, settings, owned: true, overruled: &[] };
    Ok(ours.and_then(|secret| entries::private_key(&secret.0, shaping).ok()))
}

/// Deletes the Secret of this name if it is still this version.
///
/// # Errors
///
/// Whatever the API server answers but 404; 409 if the Secret has changed meanwhile.
pub async fn delete(client: &Client, key_pair: &KeyPair, name: &str, version: &str) -> Result<(), RequestError> {
    let preconditions = Preconditions { resource_version: Some(version.to_owned()), uid: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let mut request = Request::new(url(key_pair, name)?).delete(name, &parameters)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    // The answer, a Secret or a Status, is of no interest.
    match client.request_text(request).await.map(Zeroizing::new) {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a Secret is made of.
pub struct Content {
    private_key: Zeroizing<String>,
    public_key: String,
    sha256: String,
    /// The fingerprint of the lost key in whose place this one is.
    replaces: Option<String>,
    /// The name of the Secret that it is copied from.
    moved_from: Option<String>,
}

/// A Secret that has been created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its resource version.
    pub version: String,
    /// Whose it is: admission may have taken away all that says so.
    pub belongs: Belongs,
    /// Whether a watch will show it.
    pub in_sight: bool,
    /// What was sent and did not come back.
    pub missing: Vec<String>,
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
            replaces: None,
            moved_from: None,
        })
    }

    /// The same, in the place of the lost key with this fingerprint (SHA256).
    #[must_use]
    pub fn replacing(self, replaces: Option<String>) -> Self {
        Self { replaces, ..self }
    }

    /// The same, copied from the Secret of this name.
    #[must_use]
    pub fn moved_from(self, moved_from: Option<String>) -> Self {
        Self { moved_from, ..self }
    }

    /// No key pair, for a create that is only rehearsed. The API server wants a private key that is not empty in a Secret of
    /// type [`SSH_AUTH_TYPE`](crate::domain::secret::SSH_AUTH_TYPE).
    #[must_use]
    pub fn placeholder() -> Self {
        let private_key = Zeroizing::new("placeholder".to_owned());
        Self { private_key, public_key: String::new(), sha256: String::new(), replaces: None, moved_from: None }
    }
}

/// Creates the Secret, which must not exist yet, and says what came back; with `dry_run` the API server only says whether it would be
/// taken.
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
) -> Result<Created, RequestError> {
    let secret = WipedSecret(build(key_pair, name, settings, content));
    let body = serde_json::to_vec(&secret.0).map_err(RequestError::Serialize)?;
    let parameters = PostParams { dry_run, ..PostParams::default() };
    let mut request = Request::new(url(key_pair, name)?).create(&parameters, body)?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    let created: PartialObjectMeta<Secret> = client.request(request).await?;
    Ok(Created {
        version: created.resource_version().unwrap_or_default(),
        belongs: Marks::of(&created).belongs(key_pair),
        in_sight: in_sight(&created),
        missing: comparison::missing(&json!(secret.0.metadata), &created),
    })
}

fn build(key_pair: &KeyPair, name: &str, settings: &SecretSettings, content: &Content) -> Secret {
    let applied = Applied::to_a_new_one(settings);
    let mut annotations = shape::annotations(key_pair, settings.annotations.clone(), &content.sha256, &applied);
    let moved = content.moved_from.as_ref().map(|from| (MOVED_ANNOTATION.to_owned(), moved_text(from, name)));
    annotations.extend(moved);
    annotations.extend(content.replaces.clone().map(|replaces| (REPLACES_ANNOTATION.to_owned(), replaces)));
    let mut data = shape::data(settings, &content.public_key);
    data.insert(settings.private_key.clone(), ByteString(content.private_key.as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: key_pair.namespace(),
            labels: Some(shape::labels(settings)),
            annotations: Some(annotations),
            owner_references: shape::owner_reference(key_pair, settings, false).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(settings.effective_type().to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests;
