//! Decides how a key moves to the Secret name in the spec, and what happens to the Secrets that moves leave behind.
//!
//! The name can be edited, and the operator can crash, at any moment. So a decision depends on where the key is, not on where a move
//! began. The operator copies the key first, then updates the status, and only then deletes the old Secret or releases it to its
//! owner. An annotation on the copy records that this cleanup is pending.

use super::{
    CachedSecret, Move, NextStep, ObservedSecret, Ownership, ReadSecret,
    case::{Case, update},
    refusals, refuse_failed_request, refuse_until_changed,
};
use crate::domain::{key::PublicKey, secret::OnLoss};

/// The name of the Secret that holds the key, or will hold it; `Err`: the name of a Secret to read first.
pub(super) fn find_current_name(case: Case<'_>) -> Result<&str, &str> {
    let observed = case.observed;
    let first = case.desired.secret_name(observed.recorded.as_ref(), &observed.created_secrets).as_str();
    if !lacks_key(case, first) {
        return Ok(first);
    }
    // A key that the status does not record is in no other Secret.
    let wanted = observed.recorded.as_ref().map(|_| case.target_name());
    let others = wanted.into_iter().chain(observed.created_secrets.iter().map(String::as_str));
    for name in others.filter(|name| *name != first) {
        match observed.secret(name) {
            ObservedSecret::Unread(_) => return Err(name),
            ObservedSecret::Read(secret) if case.holds_right_key(secret) => return Ok(name),
            ObservedSecret::Read(_)
            | ObservedSecret::Absent
            | ObservedSecret::Invalid(_)
            | ObservedSecret::Forbidden(_)
            | ObservedSecret::Failing(_) => {}
        }
    }
    Ok(first)
}

/// The spec names another Secret than `current`, which holds the key.
pub(super) fn decide(case: Case<'_>, current: &str) -> NextStep {
    let (observed, target) = (case.observed, case.target_name());
    for name in [target, current] {
        if let Some(refused) = refuse_failed_request(observed, name, observed.secret(name)) {
            return refused;
        }
    }
    // One move at a time: finish the recorded move before another one overwrites the record.
    if !matches!(observed.secret(target), ObservedSecret::Unread(_))
        && let ObservedSecret::Read(secret) = observed.secret(current)
        && case.holds_right_key(secret)
        && status_allows(case, current)
        && let Some(step) = clean_up(case, current, secret)
        && !is_about(&step, target)
    {
        return step;
    }
    match (observed.secret(target), observed.secret(current)) {
        (ObservedSecret::Unread(_), _) => NextStep::ReadSecret(target.to_owned()),
        (_, ObservedSecret::Unread(_)) => NextStep::ReadSecret(current.to_owned()),
        (ObservedSecret::Read(copy), found) if !case.holds_right_key(copy) => {
            resolve_conflict(case, current, found, target, copy)
        }
        (ObservedSecret::Absent, ObservedSecret::Absent) => match &observed.recorded {
            Some(recorded) => case.report_or_replace(recorded, current),
            // A create request for this name may still be in flight. The API server refuses one of two with the same name.
            None => NextStep::CreateSecret { name: current.to_owned(), spec: case.spec, replaces: None },
        },
        (ObservedSecret::Absent, ObservedSecret::Read(secret)) if case.holds_right_key(secret) => {
            let algorithm = secret.public_key.as_ref().map(PublicKey::algorithm);
            match algorithm.and_then(|algorithm| case.desired.parameters.secret.encoding_refusal(algorithm)) {
                Some(refusal) => refuse_until_changed(observed, current, refusal),
                None => NextStep::CopySecret { from: current.to_owned(), to: target.to_owned() },
            }
        }
        (ObservedSecret::Absent, ObservedSecret::Read(secret)) if secret.ownership == Ownership::Ours => {
            refuse_until_changed(observed, current, case.wrong_key(current, secret))
        }
        // A create request without a response made this name a candidate, but the Secret is foreign: create one with the name in the spec.
        (ObservedSecret::Absent, ObservedSecret::Read(secret))
            if observed.recorded.is_none() && secret.admission_changes.is_empty() =>
        {
            NextStep::CreateSecret { name: target.to_owned(), spec: case.spec, replaces: None }
        }
        (ObservedSecret::Absent, ObservedSecret::Read(secret)) => {
            refuse_until_changed(observed, current, refusals::secret_conflict(current, secret.owner.as_deref(), true))
        }
        (ObservedSecret::Read(copy), found) => {
            // A pair that is not accepted yet can have two keys; the one in the Secret that the spec names counts.
            let current_has_same_key =
                matches!(found, ObservedSecret::Read(secret) if has_same_key(case, secret, copy));
            let source = copied_from(copy.moved.as_ref(), target);
            if current_has_same_key && !copy.is_type_allowed {
                // A type is immutable. Nobody relies on an unfinished copy, or on what a move has left behind.
                let is_leftover = matches!(found, ObservedSecret::Read(secret) if copied_from(secret.moved.as_ref(), current) == Some(target));
                let is_dispensable = is_leftover || source.is_some() && !copy.adopted;
                return if !is_dispensable || !status_allows(case, current) {
                    refuse_until_changed(observed, target, refusals::type_cannot_change(target))
                } else if copy.adopted {
                    NextStep::ReleaseSecret(target.to_owned())
                } else {
                    NextStep::DeleteSecret(target.to_owned())
                };
            }
            if current_has_same_key && source != Some(current) {
                return match copy.admission_changes.as_slice() {
                    [] => record_source(current, target, copy),
                    changes => refuse_until_changed(observed, target, refusals::changed_by_admission(target, changes)),
                };
            }
            case.apply_settings_to_own(target, copy)
        }
        // `refuse_failed_request` has reported every other answer above.
        (
            ObservedSecret::Absent
            | ObservedSecret::Invalid(_)
            | ObservedSecret::Forbidden(_)
            | ObservedSecret::Failing(_),
            _,
        ) => NextStep::Rest,
    }
}

/// Whether the step reads, deletes or releases the Secret of this name.
fn is_about(step: &NextStep, name: &str) -> bool {
    matches!(step, NextStep::ReadSecret(other) | NextStep::DeleteSecret(other) | NextStep::ReleaseSecret(other) if other == name)
}

/// A Secret with the target name exists that is not ours, or does not hold the right key.
fn resolve_conflict(
    case: Case<'_>,
    current: &str,
    found: &ObservedSecret,
    target: &str,
    copy: &ReadSecret,
) -> NextStep {
    let refuse = |refusal| refuse_until_changed(case.observed, target, refusal);
    match copy.ownership {
        Ownership::Foreign if !copy.admission_changes.is_empty() => case.refuse_changed_by_admission(target, copy),
        Ownership::Ours => refuse(case.wrong_key(target, copy)),
        // Offered with the same key: no copy is needed.
        Ownership::Offered => match case.check_offer(copy, target) {
            Ok(()) => match found {
                ObservedSecret::Read(secret) if case.holds_right_key(secret) && !has_same_key(case, secret, copy) => {
                    refuse(refusals::offer_of_another_key(target))
                }
                ObservedSecret::Read(_) => record_source(current, target, copy),
                _ => update(target, copy),
            },
            Err(refusal) => refuse(refusal),
        },
        Ownership::Foreign => match (found, &case.observed.recorded) {
            (ObservedSecret::Read(secret), _) if case.holds_right_key(secret) => {
                refuse(refusals::name_in_use(current, target, copy.owner.as_deref()))
            }
            // What matters is that the key is lost. To replace it, the name must be free first.
            (ObservedSecret::Absent, Some(recorded)) if case.desired.parameters.secret.on_loss == OnLoss::Report => {
                case.report_or_replace(recorded, current)
            }
            // Neither Secret holds the key, so the message must not say that the key stays in one of them.
            _ => refuse(refusals::secret_conflict(target, copy.owner.as_deref(), case.knows_its_key())),
        },
    }
}

/// Whether both Secrets hold the same key, and it is the key of this pair.
fn has_same_key(case: Case<'_>, secret: &ReadSecret, other: &ReadSecret) -> bool {
    case.holds_right_key(secret) && secret.public_key == other.public_key
}

/// Whether the status names this Secret, or none.
fn status_allows(case: Case<'_>, name: &str) -> bool {
    case.recorded_name().is_none_or(|recorded| recorded == name)
}

/// Applies the settings to the Secret, and records on it that the key comes from `current`.
fn record_source(current: &str, target: &str, copy: &ReadSecret) -> NextStep {
    NextStep::UpdateSecret {
        name: target.to_owned(),
        version: copy.version.clone(),
        moved_from: Some(current.to_owned()),
    }
}

/// The next step to clean up the Secrets that moves to this one left behind.
pub(super) fn clean_up(case: Case<'_>, name: &str, secret: &ReadSecret) -> Option<NextStep> {
    // The Secret that the status names must stay.
    if case.recorded_name().is_some_and(|recorded| recorded != name && !lacks_key(case, recorded)) {
        return None;
    }
    for other in leftovers(case, name, secret.moved.as_ref()) {
        match case.observed.secret(other) {
            ObservedSecret::Unread(_) => return Some(NextStep::ReadSecret(other.to_owned())),
            ObservedSecret::Read(leftover) if has_same_key(case, leftover, secret) => {
                let other = other.to_owned();
                return Some(if leftover.adopted {
                    NextStep::ReleaseSecret(other)
                } else {
                    NextStep::DeleteSecret(other)
                });
            }
            ObservedSecret::Read(_) | ObservedSecret::Absent => {}
            refused => return refuse_failed_request(case.observed, other, refused),
        }
    }
    secret.moved.is_some().then(|| NextStep::EndMove { name: name.to_owned(), version: secret.version.clone() })
}

fn lacks_key(case: Case<'_>, name: &str) -> bool {
    match case.observed.secret(name) {
        ObservedSecret::Absent => true,
        ObservedSecret::Read(secret) => !case.holds_right_key(secret),
        ObservedSecret::Unread(_)
        | ObservedSecret::Invalid(_)
        | ObservedSecret::Forbidden(_)
        | ObservedSecret::Failing(_) => false,
    }
}

/// The Secrets that moves may have left behind: the source of the key in `current`, and copies. Somebody else created any other
/// Secret that carries our UID, for example as a backup.
pub(super) fn leftovers<'a>(case: Case<'a>, current: &str, moved: Option<&'a Move>) -> Vec<&'a str> {
    let from = copied_from(moved, current);
    let created_secrets =
        case.observed.created_secrets.iter().map(String::as_str).filter(|name| *name != current && Some(*name) != from);
    let may_be_leftover = |name: &&str| match case.observed.secret(name) {
        ObservedSecret::Unread(Some(CachedSecret { moved, .. })) | ObservedSecret::Read(ReadSecret { moved, .. }) => {
            copied_from(moved.as_ref(), name).is_some()
        }
        // To be read first; where it cannot be read, that is reported.
        ObservedSecret::Unread(None)
        | ObservedSecret::Invalid(_)
        | ObservedSecret::Forbidden(_)
        | ObservedSecret::Failing(_) => true,
        ObservedSecret::Absent => false,
    };
    from.into_iter().chain(created_secrets.filter(may_be_leftover)).collect()
}

/// The name of the Secret from which the key in the Secret of this name was copied.
fn copied_from<'a>(moved: Option<&'a Move>, name: &str) -> Option<&'a str> {
    moved.filter(|moved| moved.to == name && moved.from != name).map(|moved| moved.from.as_str())
}
