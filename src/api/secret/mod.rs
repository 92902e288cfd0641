//! The metadata of a Secret: labels, annotations, and which `KeyPair` owns it.

mod ownership;

use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

pub use self::ownership::OwnershipMetadata;
use super::{FromObject, KeyPair};
pub use crate::domain::secret::{ADOPT_ANNOTATION, KEYPAIR_UID_ANNOTATION, MANAGED_BY_LABEL, OPERATOR};
use crate::domain::{
    decide::{CachedSecret, Move, Ownership},
    key::is_sha256,
    rotation::ROTATE_ANNOTATION,
    rules::{ROTATION_REQUEST, SECRET_NAME, UID},
};

/// The annotation with the name of the `KeyPair`.
pub const KEYPAIR_ANNOTATION: &str = "keypairs.dev/keypair";
/// The annotation with the fingerprint (SHA256) of the key in the Secret.
pub const FINGERPRINT_ANNOTATION: &str = "keypairs.dev/fingerprint";

/// The annotation with the fingerprint (SHA256) of the lost key that the key in the Secret replaces. After a crash before the
/// status write, it shows that the operator generated the new key.
pub const REPLACES_ANNOTATION: &str = "keypairs.dev/replaces";

/// The annotation that marks a move of the key to this Secret: the name of the source Secret and the name of this one.
pub const MOVED_ANNOTATION: &str = "keypairs.dev/moved";

/// The label with the UID of the `KeyPair`. The operator sets it if another tool owns the label [`MANAGED_BY_LABEL`], so that its
/// watch still selects the Secret.
pub const KEYPAIR_UID_LABEL: &str = KEYPAIR_UID_ANNOTATION;

/// The annotation that records what the operator applied to a Secret.
pub const APPLIED_ANNOTATION: &str = "keypairs.dev/applied";

/// The annotation with the revision of the key in the Secret, once it was rotated.
pub const REVISION_ANNOTATION: &str = "keypairs.dev/revision";

/// Whether the operator reads this annotation of a Secret or a `KeyPair`.
#[must_use]
pub fn is_own_annotation(key: &str) -> bool {
    let own = [
        KEYPAIR_ANNOTATION,
        KEYPAIR_UID_ANNOTATION,
        FINGERPRINT_ANNOTATION,
        APPLIED_ANNOTATION,
        ADOPT_ANNOTATION,
        MOVED_ANNOTATION,
        ROTATE_ANNOTATION,
    ];
    own.contains(&key)
}

/// The part of the value of such an annotation that is cached. Anyone who can write Secrets can set it, so a value that is longer
/// than any that the operator writes is dropped.
#[must_use]
pub fn known_annotation(key: &str, value: String) -> Option<String> {
    if key == APPLIED_ANNOTATION {
        return summarize(&value);
    }
    if key == ROTATE_ANNOTATION {
        // A value that is too long stays too long, so that it is reported.
        return Some(value.chars().take(ROTATION_REQUEST.max_chars + 1).collect());
    }
    // The longest values: the names of two objects with a slash between them, and the name of one.
    let max = if key == MOVED_ANNOTATION { 2 * 253 + 1 } else { 253 };
    (value.len() <= max).then_some(value)
}

/// The Secret as its metadata describes it to `key_pair`.
#[must_use]
pub fn cached(secret: &impl Resource, key_pair: &KeyPair) -> CachedSecret {
    let applied = AppliedSummary::of(secret);
    CachedSecret {
        owned: OwnershipMetadata::of(secret).ownership(key_pair) == Ownership::Ours,
        sha256: fingerprint(secret, FINGERPRINT_ANNOTATION),
        adopted: applied.as_ref().is_some_and(|applied| applied.adopted),
        settings: applied.map(|applied| applied.digest),
        moved: moved(secret),
        version: secret.resource_version().unwrap_or_default(),
    }
}

/// Whether the operator's watches select this Secret.
pub fn is_selected(secret: &impl Resource) -> bool {
    secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR)
        || secret.labels().contains_key(KEYPAIR_UID_LABEL)
}

/// The move that `secret` records, if its names are valid.
pub fn moved(secret: &impl Resource) -> Option<Move> {
    let (from, to) = secret.annotations().get(MOVED_ANNOTATION)?.split_once('/')?;
    let is_possible = SECRET_NAME.allows(from) && SECRET_NAME.allows(to);
    is_possible.then(|| Move { from: from.to_owned(), to: to.to_owned() })
}

/// The value of [`MOVED_ANNOTATION`].
#[must_use]
pub fn moved_text(from: &str, to: &str) -> String {
    format!("{from}/{to}")
}

/// The fingerprint (SHA256) in an annotation of `secret`, if it is well-formed.
pub fn fingerprint(secret: &impl Resource, annotation: &str) -> Option<String> {
    secret.annotations().get(annotation).filter(|text| is_sha256(text)).cloned()
}

/// The revision of the key in `secret`, if it says one.
pub fn revision(secret: &impl Resource) -> Option<u32> {
    secret.annotations().get(REVISION_ANNOTATION)?.parse().ok().filter(|revision| *revision > 0)
}

/// The name of the `KeyPair` that a Secret names as its owner, if it is a valid name: anyone may have written it.
#[must_use]
pub fn key_pair_name(secret: &impl Resource) -> Option<&str> {
    let owner =
        secret.owner_references().iter().find(|owner| owner.kind == KeyPair::kind(&())).map(|owner| &owner.name);
    let annotation = secret.annotations().get(KEYPAIR_ANNOTATION);
    // The same rule holds for the names of KeyPairs and Secrets.
    annotation.into_iter().chain(owner).find(|name| SECRET_NAME.allows(name)).map(String::as_str)
}

/// The UID of the `KeyPair` that a Secret names as its owner, if it is a valid UID.
#[must_use]
pub fn key_pair_uid(secret: &impl Resource) -> Option<&str> {
    secret.annotations().get(KEYPAIR_UID_ANNOTATION).filter(|uid| UID.allows(uid)).map(String::as_str)
}

/// The part of [`APPLIED_ANNOTATION`] that is cached for every Secret. It shows whether the current settings are applied.
#[derive(Debug, Serialize, Deserialize)]
struct AppliedSummary {
    digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    adopted: bool,
}

impl AppliedSummary {
    fn of(secret: &impl Resource) -> Option<Self> {
        Self::read(secret.annotations().get(APPLIED_ANNOTATION)?)
    }

    fn read(annotation: &str) -> Option<Self> {
        const MAX_DIGEST_BYTES: usize = 64;
        let FromObject(summary) = serde_json::from_str::<FromObject<Self>>(annotation).ok()?;
        (summary.digest.len() <= MAX_DIGEST_BYTES).then_some(summary)
    }
}

/// The annotation without the parts whose size depends on the template.
fn summarize(annotation: &str) -> Option<String> {
    serde_json::to_string(&AppliedSummary::read(annotation)?).ok()
}
