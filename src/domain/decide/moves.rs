//! The part of the decision that is about a Secret which is not where the spec wants it: where the key is, how it gets to where it is
//! wanted, and what is left behind.
//!
//! Names may be edited at any moment, there and back, and the operator may die at any. So it is not where a move began that counts,
//! but where the key is found. The copy comes first, then the status names it, and only then the Secret that the key came from is
//! deleted, or goes back to whoever handed it over. A note on the copy tells that this is still to be done.

use super::{
    Belongs, CachedSecret, Move, Plan, ReadSecret, SecretView,
    generated::{Case, update},
    refusals, refuse_for_answer, refuse_until_changed,
};

/// The name of the Secret that has the key, or is to have it; or else that of a Secret to read first.
pub(super) fn locate(case: Case<'_>) -> Result<&str, &str> {
    let observed = case.observed;
    let first = case.desired.secret_name(observed.recorded.as_ref(), &observed.noted).as_str();
    if !is_gone(case, first) {
        return Ok(first);
    }
    // A key that is not known yet is nowhere else.
    let wanted = observed.recorded.as_ref().map(|_| case.wanted());
    let others = wanted.into_iter().chain(observed.noted.iter().map(String::as_str));
    for name in others.filter(|name| *name != first) {
        match observed.secret(name) {
            SecretView::Unread(_) => return Err(name),
            SecretView::Read(secret) if case.is_right(secret) => return Ok(name),
            SecretView::Read(_)
            | SecretView::Absent
            | SecretView::Invalid(_)
            | SecretView::Forbidden(_)
            | SecretView::Failing(_) => {}
        }
    }
    Ok(first)
}

/// The spec wants the Secret to have another name than `home`.
pub(super) fn decide(case: Case<'_>, home: &str) -> Plan {
    let (observed, target) = (case.observed, case.wanted());
    for name in [target, home] {
        if let Some(refused) = refuse_for_answer(observed, name, observed.secret(name)) {
            return refused;
        }
    }
    // One move after the other: what is noted of the last one is to be followed before another is noted in its place.
    if !matches!(observed.secret(target), SecretView::Unread(_))
        && let SecretView::Read(secret) = observed.secret(home)
        && case.is_right(secret)
        && status_allows(case, home)
        && let Some(plan) = clear(case, home, secret)
        && !is_about(&plan, target)
    {
        return plan;
    }
    match (observed.secret(target), observed.secret(home)) {
        (SecretView::Unread(_), _) => Plan::ReadSecret(target.to_owned()),
        (_, SecretView::Unread(_)) => Plan::ReadSecret(home.to_owned()),
        (SecretView::Read(copy), found) if !case.is_right(copy) => in_the_way(case, home, found, target, copy),
        (SecretView::Absent, SecretView::Absent) => match &observed.recorded {
            Some(recorded) => case.lost(recorded, home),
            // A create that was sent for this name may still be under way. Of two for the same name, one is refused.
            None => Plan::CreateSecret { name: home.to_owned(), spec: case.spec, replaces: None },
        },
        (SecretView::Absent, SecretView::Read(secret)) if case.is_right(secret) => {
            Plan::CopySecret { from: home.to_owned(), to: target.to_owned() }
        }
        (SecretView::Absent, SecretView::Read(secret)) if secret.belongs == Belongs::Ours => {
            refuse_until_changed(observed, home, refusals::key_mismatch(home))
        }
        // It was thought to be this pair's when no answer came, and is not: nothing is lost where the spec says now.
        (SecretView::Absent, SecretView::Read(secret)) if observed.recorded.is_none() && secret.missing.is_empty() => {
            Plan::CreateSecret { name: target.to_owned(), spec: case.spec, replaces: None }
        }
        (SecretView::Absent, SecretView::Read(secret)) => {
            refuse_until_changed(observed, home, refusals::secret_conflict(home, secret.owner.as_deref(), true))
        }
        (SecretView::Read(copy), found) => {
            // Of a pair that is not accepted yet there can be two keys, of which the one in the place that the spec names counts.
            let is_there = matches!(found, SecretView::Read(secret) if has_same_key(case, secret, copy));
            let is_unfinished = is_there && source(copy.moved.as_ref(), target) == Some(home) && !copy.adopted;
            // The type that the spec wants was edited since the copy was made. Nobody goes by the copy yet.
            if is_unfinished && !copy.type_fits && status_allows(case, home) {
                return Plan::DeleteSecret(target.to_owned());
            }
            if is_there && source(copy.moved.as_ref(), target) != Some(home) {
                return match copy.missing.as_slice() {
                    [] => mark(home, target, copy),
                    missing => refuse_until_changed(observed, target, refusals::taken_away(target, missing)),
                };
            }
            match &copy.public_key {
                Some(key) => case.settle(target, copy, key),
                None => refuse_until_changed(observed, target, refusals::key_mismatch(target)),
            }
        }
        // What was answered otherwise has been told.
        (SecretView::Absent | SecretView::Invalid(_) | SecretView::Forbidden(_) | SecretView::Failing(_), _) => {
            Plan::Rest
        }
    }
}

/// Whether the step is one that is taken with the Secret of this name: that is where the key is wanted now.
fn is_about(plan: &Plan, name: &str) -> bool {
    matches!(plan, Plan::ReadSecret(other) | Plan::DeleteSecret(other) | Plan::ReleaseSecret(other) if other == name)
}

/// There is a Secret already where the key is to be moved to.
fn in_the_way(case: Case<'_>, home: &str, found: &SecretView, target: &str, copy: &ReadSecret) -> Plan {
    let refuse = |refusal| refuse_until_changed(case.observed, target, refusal);
    match copy.belongs {
        Belongs::Foreign if !copy.missing.is_empty() => case.disowned(target, copy),
        Belongs::Ours => refuse(refusals::key_mismatch(target)),
        // Handed over, with the same key: then it need not be copied.
        Belongs::Offered => match case.consider_offer(copy, target) {
            Ok(()) => match found {
                SecretView::Read(secret) if case.is_right(secret) && !has_same_key(case, secret, copy) => {
                    refuse(refusals::offer_of_another_key(target))
                }
                SecretView::Read(_) => mark(home, target, copy),
                _ => update(target, copy),
            },
            Err(refusal) => refuse(refusal),
        },
        // What was thought to be this pair's when no answer came, and is not, is not where its key stays.
        Belongs::Foreign if case.observed.recorded.is_none() && is_anothers(found) => {
            refuse(refusals::secret_conflict(target, copy.owner.as_deref(), false))
        }
        Belongs::Foreign => refuse(refusals::name_in_use(home, target, copy.owner.as_deref())),
    }
}

fn is_anothers(found: &SecretView) -> bool {
    matches!(found, SecretView::Read(secret) if secret.belongs != Belongs::Ours)
}

/// Whether the Secret holds the key of this pair, and it is the one in `other`.
fn has_same_key(case: Case<'_>, secret: &ReadSecret, other: &ReadSecret) -> bool {
    case.is_right(secret) && secret.public_key == other.public_key
}

/// Whether the status says that the key is in the Secret of this name, or does not say where it is.
fn status_allows(case: Case<'_>, name: &str) -> bool {
    case.recorded_name().is_none_or(|recorded| recorded == name)
}

/// Makes the Secret what the settings say, with the note that the key comes from `home`.
fn mark(home: &str, target: &str, copy: &ReadSecret) -> Plan {
    Plan::UpdateSecret { name: target.to_owned(), version: copy.version.clone(), moved_from: Some(home.to_owned()) }
}

/// What is to be done about the Secrets that moves to this one have left behind.
pub(super) fn clear(case: Case<'_>, name: &str, secret: &ReadSecret) -> Option<Plan> {
    // What the status names stays.
    if case.recorded_name().is_some_and(|recorded| recorded != name && !is_gone(case, recorded)) {
        return None;
    }
    for other in leftovers(case, name, secret.moved.as_ref()) {
        match case.observed.secret(other) {
            SecretView::Unread(_) => return Some(Plan::ReadSecret(other.to_owned())),
            SecretView::Read(left) if has_same_key(case, left, secret) => {
                let other = other.to_owned();
                return Some(if left.adopted { Plan::ReleaseSecret(other) } else { Plan::DeleteSecret(other) });
            }
            SecretView::Read(_) | SecretView::Absent => {}
            refused => return refuse_for_answer(case.observed, other, refused),
        }
    }
    secret.moved.is_some().then(|| Plan::EndMove { name: name.to_owned(), version: secret.version.clone() })
}

fn is_gone(case: Case<'_>, name: &str) -> bool {
    match case.observed.secret(name) {
        SecretView::Absent => true,
        SecretView::Read(secret) => !case.is_right(secret),
        SecretView::Unread(_) | SecretView::Invalid(_) | SecretView::Forbidden(_) | SecretView::Failing(_) => false,
    }
}

/// The Secrets that a move may have left behind: the one that the key in `current` came from, and copies. Others that say they are
/// ours were made by somebody else, as a backup perhaps.
pub(super) fn leftovers<'a>(case: Case<'a>, current: &str, moved: Option<&'a Move>) -> Vec<&'a str> {
    let from = source(moved, current);
    let noted = case.observed.noted.iter().map(String::as_str).filter(|name| *name != current && Some(*name) != from);
    let is_left = |name: &&str| match case.observed.secret(name) {
        SecretView::Unread(Some(CachedSecret { moved, .. })) | SecretView::Read(ReadSecret { moved, .. }) => {
            source(moved.as_ref(), name).is_some()
        }
        // Whether it is one is to be found out, or cannot be known, which is told.
        SecretView::Unread(None) | SecretView::Invalid(_) | SecretView::Forbidden(_) | SecretView::Failing(_) => true,
        SecretView::Absent => false,
    };
    from.into_iter().chain(noted.filter(is_left)).collect()
}

/// The name of the Secret that the key in the one of this name was copied from.
fn source<'a>(moved: Option<&'a Move>, name: &str) -> Option<&'a str> {
    moved.filter(|moved| moved.to == name && moved.from != name).map(|moved| moved.from.as_str())
}
