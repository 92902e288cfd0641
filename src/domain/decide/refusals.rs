//! What is wrong with a pair that has a valid request, in sentences that say what to do.

use super::Obstacle;
use crate::domain::{
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
            "another KeyPair of this namespace has the key pair name {:?}: choose another, or delete that KeyPair",
            parameters.key_pair_name
        ),
    )
}

/// `owner` is who has the Secret, if it says so. `has_key`: whether the pair has a key already, which only that Secret may hold that is
/// adopted.
pub(super) fn secret_conflict(name: &str, owner: Option<&str>, has_key: bool) -> Refusal {
    let of = owner.map(|owner| format!(" but to {owner}")).unwrap_or_default();
    let detail = if has_key {
        format!(
            "Secret {name:?} exists and does not belong to this KeyPair{of}: set spec.secret.name to another name, delete that Secret, or, if it holds the private key of this KeyPair, annotate it with {ADOPT_ANNOTATION} and this KeyPair's name"
        )
    } else {
        format!(
            "Secret {name:?} exists and does not belong to this KeyPair{of}: set spec.secret.name to another name, delete that Secret, or, to have its private key adopted, annotate it with {ADOPT_ANNOTATION} and this KeyPair's name"
        )
    };
    Refusal::new(Reason::SecretConflict, Parameter::Secret, detail)
}

/// The Secret that the key is to be moved to is somebody else's.
pub(super) fn name_in_use(home: &str, target: &str, owner: Option<&str>) -> Refusal {
    let of = owner.map(|owner| format!(", and belongs to {owner}")).unwrap_or_default();
    // Nobody is told to delete what holds the private key of another pair. Of two that want each other's names neither can go first.
    let remedy = if owner.is_some_and(|owner| owner.starts_with("KeyPair ")) {
        format!(
            "it is moved when that KeyPair has given the name up; if that one waits for {home:?}, set spec.secret.name of one of the two to a third name first"
        )
    } else {
        format!(
            "delete Secret {target:?}, and the key is moved there, or set spec.secret.name to another name or back to {home:?}"
        )
    };
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {target:?}, which spec.secret.name names now, exists already{of}; the private key stays in Secret {home:?}: {remedy}"
        ),
    )
}

/// Admission has changed what was written.
pub(super) fn taken_away(name: &str, missing: &[String]) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} holds the private key, but what was written to it did not come back: {}; have the admission policy or webhook that changes it make an exception for this Secret; the operator tries again",
            display::listed(missing.iter().map(String::as_str))
        ),
    )
}

pub(super) fn secret_invalid(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "the API server refused Secret {name:?} with {why}: change spec.secret, or what refuses it; its message is not repeated here, since it may quote the private key"
    );
    Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
}

pub(super) fn secret_forbidden(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "the API server does not let the operator create, read or change Secret {name:?}: it answered {why}; the operator tries again"
    );
    Refusal::new(Reason::InternalError, Parameter::Secret, detail)
}

pub(super) fn secret_failing(name: &str, why: &str) -> Refusal {
    let detail = format!(
        "requests of the operator about Secret {name:?} go on failing: {why}; put right what is named there; the operator tries again within a minute"
    );
    Refusal::new(Reason::InternalError, Parameter::Secret, detail)
}

pub(super) fn key_lost(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyLost,
        Parameter::Secret,
        format!(
            "Secret {name:?} with the private key is gone, and no other key is generated in its place: restore it from a backup, set spec.secret.onLoss to Regenerate for a new key, or delete this KeyPair and create it anew"
        ),
    )
}

pub(super) fn key_outdated(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} holds a key of another kind, made before spec.generate was changed: delete that Secret, and a new one is made"
        ),
    )
}

pub(super) fn key_mismatch(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} does not hold the private key of this KeyPair: restore the key from a backup, or delete the Secret and this KeyPair and create it anew"
        ),
    )
}

/// What speaks against an adoption, or against what the settings want of a Secret that was adopted.
pub(super) fn obstacle(name: &str, obstacle: &Obstacle) -> Refusal {
    let detail = match obstacle {
        Obstacle::Key(why) => format!(
            "Secret {name:?} is offered for adoption but holds no private key that can be used under the data key that spec.secret.keys.privateKey names: {why}; put an unencrypted one there, or take the annotation {ADOPT_ANNOTATION} away"
        ),
        Obstacle::Owner(owner) => format!(
            "Secret {name:?} is owned by {owner} and cannot be adopted, since that controller would change it back: set spec.secret.name to another name, or have that controller give the Secret up"
        ),
        Obstacle::Entry(entry) => format!(
            "Secret {name:?} is adopted, and what its owner put there stays: its entry {entry:?} is not this key; name another data key in spec.secret.keys, or take that entry away"
        ),
    };
    Refusal::new(Reason::SecretConflict, Parameter::Secret, detail)
}

pub(super) fn offer_of_another_kind(name: &str, key: &PublicKey, spec: KeySpec) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} is offered for adoption with a key of {} {}, and this KeyPair asks for {} {}: set spec.generate to the key's kind, if the profile has it, or offer another Secret",
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
            "Secret {name:?} is offered for adoption but does not hold the private key of this KeyPair: restore that key from a backup, or create another KeyPair for this one"
        ),
    )
}

pub(super) fn type_cannot_change(name: &str) -> Refusal {
    Refusal::new(
        Reason::InvalidSecret,
        Parameter::Secret,
        format!(
            "Secret {name:?} has a type that spec.secret does not allow, and Kubernetes does not let it be changed: set spec.secret.name to another name as well, and the key is moved there"
        ),
    )
}

pub(super) fn in_process(original: &str) -> Refusal {
    Refusal::new(
        Reason::IdempotentProcessing,
        Parameter::ClientToken,
        format!(
            "KeyPair {original:?} has the same client token and is not accepted yet: when it is, this one answers as that does"
        ),
    )
}

/// The pair whose request this one repeats is not Ready.
pub(super) fn original_not_ready(original: &str, reason: Reason, words: &str) -> Refusal {
    Refusal::new(
        reason,
        Parameter::ClientToken,
        format!(
            "this repeats the request of KeyPair {original:?}, which has the same client token and is not Ready: {words}"
        ),
    )
}

pub(super) fn token_reused(original: &str) -> Refusal {
    Refusal::new(
        Reason::IdempotentParameterMismatch,
        Parameter::ClientToken,
        format!(
            "KeyPair {original:?} has the same client token and asks for something else: use another token, or make the request the same"
        ),
    )
}
