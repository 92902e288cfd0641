//! The messages about a pair whose request is valid: what is wrong, and what to do.

use crate::domain::{
    decide::Incompatibility,
    display,
    key::{KeySpec, PublicKey},
    reason::{Parameter, Reason, Refusal},
    request::Parameters,
    secret::ADOPT_ANNOTATION,
};

pub(super) fn name_taken(parameters: &Parameters) -> Refusal {
    Refusal::new(
        Reason::KeyPairNameConflict,
        Parameter::KeyPairName,
        format!(
            "another KeyPair in this namespace has the key pair name {:?}: choose another name, or delete that KeyPair",
            parameters.key_pair_name
        ),
    )
}

/// `owner` is the owner that the Secret names, if any. `has_key`: whether the pair already has a key; then only a Secret with that key can
/// be adopted.
pub(super) fn secret_conflict(name: &str, owner: Option<&str>, has_key: bool) -> Refusal {
    let whose = owner.map(|owner| format!(" but to {owner}")).unwrap_or_default();
    let detail = if has_key {
        format!(
            "Secret {name:?} exists and does not belong to this KeyPair{whose}: set spec.secret.name to another name, delete that Secret, or, if it holds the private key of this KeyPair, annotate it with {ADOPT_ANNOTATION} and this KeyPair's name"
        )
    } else {
        format!(
            "Secret {name:?} exists and does not belong to this KeyPair{whose}: set spec.secret.name to another name, delete that Secret, or, to have its private key adopted, annotate it with {ADOPT_ANNOTATION} and this KeyPair's name"
        )
    };
    Refusal::new(Reason::SecretConflict, Parameter::Secret, detail)
}

/// The Secret that the key is to be moved to is foreign.
pub(super) fn name_in_use(current: &str, target: &str, owner: Option<&str>) -> Refusal {
    let whose = owner.map(|owner| format!(", and belongs to {owner}")).unwrap_or_default();
    // Never advise deleting the private key of another pair. If two pairs want each other's names, neither can move first.
    let remedy = if owner.is_some_and(|owner| owner.starts_with("KeyPair ")) {
        format!(
            "the operator moves it when that KeyPair gives up the name; if that KeyPair waits for {current:?}, first set spec.secret.name of one of the two to a third name"
        )
    } else {
        format!(
            "delete Secret {target:?} to have the key moved there, or set spec.secret.name to another name or back to {current:?}"
        )
    };
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {target:?}, which spec.secret.name now names, already exists{whose}; the private key stays in Secret {current:?}: {remedy}"
        ),
    )
}

/// Admission changed what the operator wrote.
pub(super) fn changed_by_admission(name: &str, changes: &[String]) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} holds the private key, but an admission policy or webhook changed what the operator wrote to it: {}; exempt this Secret from that policy or webhook; the operator tries again",
            display::listed(changes.iter().map(String::as_str))
        ),
    )
}

pub(super) fn secret_invalid(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "the API server refused Secret {name:?} with {why}: change spec.secret, or the policy that refuses it; the message of the API server is omitted because it may quote the private key"
    );
    Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
}

pub(super) fn secret_forbidden(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "the API server does not let the operator create, read or change Secret {name:?}: it answered {why}; change the permission, quota or policy that forbids it; the operator tries again within five minutes"
    );
    Refusal::new(Reason::InternalError, Parameter::Secret, detail)
}

pub(super) fn secret_failing(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "the operator's requests for Secret {name:?} keep failing: {why}; check the API server and its admission webhooks; the operator tries again within a minute"
    );
    Refusal::new(Reason::InternalError, Parameter::Secret, detail)
}

pub(super) fn key_lost(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyLost,
        Parameter::Secret,
        format!(
            "Secret {name:?} with the private key is gone, and no replacement key was generated: restore it from a backup, set spec.secret.onLoss to Regenerate to generate a new key, or delete and recreate this KeyPair"
        ),
    )
}

pub(super) fn key_outdated(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} holds a key of another kind, generated before spec.generate changed: delete that Secret to have a new key generated"
        ),
    )
}

pub(super) fn key_mismatch(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} does not hold the private key of this KeyPair: restore the key from a backup, or delete the Secret and this KeyPair, and recreate the KeyPair"
        ),
    )
}

/// What prevents an adoption, or applying the settings to an adopted Secret.
pub(super) fn incompatibility(name: &str, incompatibility: &Incompatibility) -> Refusal {
    let detail = match incompatibility {
        Incompatibility::Key(why) => format!(
            "Secret {name:?} is offered for adoption, but the data key that spec.secret.keys.privateKey names holds no usable private key: {why}; put an unencrypted private key there, or remove the annotation {ADOPT_ANNOTATION}"
        ),
        Incompatibility::Owner(owner) => format!(
            "Secret {name:?} is owned by {owner} and cannot be adopted, because that controller would revert the changes: set spec.secret.name to another name, or have that controller release the Secret"
        ),
        Incompatibility::Entry(entry) => format!(
            "Secret {name:?} is adopted, and the operator keeps the entries of its owner: the Secret's entry {entry:?} does not hold this key; name another data key in spec.secret.keys, or remove that entry"
        ),
    };
    Refusal::new(Reason::SecretConflict, Parameter::Secret, detail)
}

/// A rotation needs an entry that somebody else has put into the Secret.
pub(super) fn rotation_entry_in_use(name: &str, entry: &str) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} has an entry {entry:?} that does not belong to the operator, and the rotation needs it: remove that entry, or name another data key in spec.secret.keys"
        ),
    )
}

pub(super) fn offer_of_another_kind(name: &str, key: &PublicKey, spec: KeySpec) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} is offered for adoption with a key of {} {}, and this KeyPair asks for {} {}: set spec.generate to match the key, if the profile supports it, or offer another Secret",
            key.algorithm(),
            key.bits(),
            spec.algorithm(),
            spec.bits()
        ),
    )
}

pub(super) fn offer_of_another_key(name: &str) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} is offered for adoption but does not hold the private key of this KeyPair: restore that key from a backup, or create another KeyPair for this Secret"
        ),
    )
}

pub(super) fn type_cannot_change(name: &str) -> Refusal {
    Refusal::new(
        Reason::InvalidSecret,
        Parameter::Secret,
        format!(
            "Secret {name:?} has a type that spec.secret does not allow, and the type of a Secret is immutable: also set spec.secret.name to another name to have the key moved there"
        ),
    )
}

pub(super) fn in_process(original: &str) -> Refusal {
    Refusal::new(
        Reason::IdempotentProcessing,
        Parameter::ClientToken,
        format!(
            "KeyPair {original:?} has the same client token and is not accepted yet: when it is accepted, this KeyPair shows its result"
        ),
    )
}

/// The original is not Ready.
pub(super) fn original_not_ready(original: &str, reason: Reason, words: &str) -> Refusal {
    Refusal::new(
        reason,
        Parameter::ClientToken,
        format!(
            "this KeyPair repeats the request of KeyPair {original:?}, which has the same client token and is not Ready: {words}"
        ),
    )
}

pub(super) fn token_reused(original: &str) -> Refusal {
    Refusal::new(
        Reason::IdempotentParameterMismatch,
        Parameter::ClientToken,
        format!(
            "KeyPair {original:?} has the same client token but makes a different request: use another token, or make both requests identical"
        ),
    )
}
