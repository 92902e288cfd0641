//! Translation of the `KeyPair` resource to the domain.

mod report;

use jiff::Timestamp;
use kube::{ResourceExt, core::ObjectMeta};

use super::{
    key_pair::{GenerateAlgorithm, GenerateSpec, KeyPair, RotationSpec, SecretEncoding, SecretKeys, SecretTemplate},
    status::{Fingerprints, READY},
};
use crate::domain::{
    decide::{AcceptedKeyPair, Desired, Original},
    key::{Algorithm, Encoding, PublicKey},
    reason::Reason,
    request::{Generate, Parameters},
    rotation::{ROTATE_ANNOTATION, RotationTexts},
    secret::SecretSettings,
};

/// The request in `key_pair`, with the defaults from `metadata.name` filled in.
#[must_use]
pub fn parameters(key_pair: &KeyPair) -> Parameters {
    let spec = &key_pair.spec;
    let name = key_pair.name_any();
    Parameters {
        profile: spec.profile,
        key_pair_name: spec.key_pair_name.clone().unwrap_or_else(|| name.clone()),
        is_named: spec.key_pair_name.is_some(),
        public_key: spec.public_key.clone(),
        generate: spec.generate.as_ref().map(generate),
        description: spec.description.clone(),
        project: spec.project.clone().unwrap_or_default(),
        tags: spec.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone().unwrap_or_default())).collect(),
        client_token: spec.client_token.clone().unwrap_or_default(),
        secret: secret_settings(key_pair, name),
        rotation: spec.rotation.as_ref().map(|rotation| rotation_texts(key_pair, rotation)),
        share_with: spec.share_with.clone(),
    }
}

fn rotation_texts(key_pair: &KeyPair, rotation: &RotationSpec) -> RotationTexts {
    let RotationSpec { every, publish_before, keep_after, gates } = rotation.clone();
    RotationTexts {
        every,
        publish_before,
        keep_after,
        gates,
        request: key_pair.annotations().get(ROTATE_ANNOTATION).cloned(),
    }
}

/// Gives an object with `generateName` a name of the same form, so that the name rules can be checked. Returns whether the object has
/// a name.
pub fn assume_name(metadata: &mut ObjectMeta) -> bool {
    if metadata.name.is_none()
        && let Some(prefix) = &metadata.generate_name
    {
        // The API server appends five characters.
        metadata.name = Some(format!("{prefix}xxxxx"));
    }
    metadata.name.is_some()
}

/// The desired state in `key_pair`.
#[must_use]
pub fn desired(key_pair: &KeyPair) -> Desired {
    Desired {
        uid: key_pair.uid().unwrap_or_default(),
        deleting: key_pair.metadata.deletion_timestamp.is_some(),
        parameters: parameters(key_pair),
        created: key_pair.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |created| created.0),
    }
}

/// The SHA256 fingerprint of the key of `key_pair`, if it has a key of its own; a replay has none.
#[must_use]
pub fn fingerprint(key_pair: &KeyPair) -> Option<String> {
    if let Some(status) = &key_pair.status
        && let Some(sha256) = status.fingerprints.as_ref().and_then(Fingerprints::checked_sha256)
    {
        return (!status.is_replay()).then(|| sha256.to_owned());
    }
    PublicKey::parse(key_pair.spec.public_key.as_deref()?).ok().map(|key| key.fingerprints().sha256)
}

/// What the status of `key_pair` records, if it has been accepted; for a replay, that of the original.
#[must_use]
pub fn accepted_key_pair(key_pair: &KeyPair) -> Option<AcceptedKeyPair> {
    key_pair.status.as_ref()?.accepted_key_pair(key_pair.metadata.uid.as_deref().unwrap_or_default())
}

/// `key_pair` as the original of replays, if it has been accepted.
#[must_use]
pub fn original(key_pair: &KeyPair) -> Option<Original> {
    let status = key_pair.status.as_ref()?;
    let ready = status.condition(READY)?;
    let reason = status.error.as_ref().and_then(|error| Reason::from_name(&error.reason));
    let refused = (ready.status != "True").then(|| (reason.unwrap_or(Reason::InternalError), ready.message.clone()));
    Some(Original { accepted: accepted_key_pair(key_pair)?, refused })
}

fn generate(spec: &GenerateSpec) -> Generate {
    Generate {
        algorithm: match spec.algorithm {
            GenerateAlgorithm::RSA => Algorithm::Rsa,
            GenerateAlgorithm::ECDSA => Algorithm::Ecdsa,
            GenerateAlgorithm::Ed25519 => Algorithm::Ed25519,
        },
        // 0 bits, for a negative size, is a size that no algorithm supports.
        bits: spec.bits.map(|bits| u32::try_from(bits).unwrap_or_default()),
    }
}

fn secret_settings(key_pair: &KeyPair, default_name: String) -> SecretSettings {
    let spec = key_pair.spec.secret.clone().unwrap_or_default();
    let SecretKeys { private_key, public_key } = spec.keys.unwrap_or_default();
    let SecretTemplate { secret_type, labels, annotations, string_data } = spec.template.unwrap_or_default();
    let defaults = SecretSettings::named(spec.name.unwrap_or(default_name));
    SecretSettings {
        name: defaults.name,
        secret_type,
        private_key: private_key.unwrap_or(defaults.private_key),
        public_key: public_key.unwrap_or(defaults.public_key),
        encoding: spec.encoding.map(|encoding| match encoding {
            SecretEncoding::PKCS8 => Encoding::Pkcs8,
            SecretEncoding::OpenSSH => Encoding::OpenSsh,
            SecretEncoding::PKCS1 => Encoding::Pkcs1,
            SecretEncoding::SEC1 => Encoding::Sec1,
        }),
        deletion_policy: spec.deletion_policy,
        on_loss: spec.on_loss,
        labels,
        annotations,
        string_data,
    }
}
