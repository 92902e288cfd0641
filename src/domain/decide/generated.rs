//! The part of the decision that is about the Secret of a generated pair.

use super::{
    Belongs, Desired, Facts, Observed, Obstacle, Plan, ReadSecret, SecretView, accept, refusals, refuse_for_now,
    refuse_until_changed,
};
use crate::domain::{
    key::{KeySpec, PublicKey},
    reason::{Reason, Refusal},
    region::Region,
    secret::OnLoss,
};

pub(super) fn decide(desired: &Desired, observed: &Observed, region: &Region, spec: KeySpec) -> Plan {
    let settings = &desired.parameters.secret;
    let home = desired.secret_name(observed.recorded.as_ref(), observed.left.as_ref());
    if *home != settings.name {
        return decide_move(desired, observed, region, home, spec);
    }
    match (&observed.secret, &observed.recorded) {
        (SecretView::Unread(Some(cached)), Some(recorded))
            if observed.refused.is_none()
                && cached.owned
                && cached.sha256.as_ref() == Some(&recorded.fingerprints.sha256)
                && cached.settings.as_ref() == Some(&settings.digest(cached.adopted))
                && recorded.secret_version.as_ref() == Some(&cached.version)
                && let Ok(key) = PublicKey::parse(&recorded.public_key) =>
        {
            accept(desired, observed, region, &key, Some((home, &cached.version, true)))
        }
        // Another Secret was in the way: a look is cheaper than a key generated for nothing.
        (SecretView::Unread(None), None)
            if matches!(observed.refused, Some(Reason::SecretConflict | Reason::PrivateKeyMismatch)) =>
        {
            Plan::ReadSecret(home.clone())
        }
        (SecretView::Unread(None) | SecretView::Absent, None) => {
            Plan::CreateSecret { name: home.clone(), spec, replaces: None }
        }
        (SecretView::Unread(_), _) => Plan::ReadSecret(home.clone()),
        (SecretView::Absent, Some(recorded)) => lost(desired, observed, recorded, home, spec),
        (SecretView::Invalid(why), _) => refuse_for_now(observed, refusals::secret_invalid(home, why)),
        (SecretView::Forbidden(why), _) => refuse_for_now(observed, refusals::secret_forbidden(home, why)),
        (SecretView::Read(secret), recorded) if secret.belongs == Belongs::Ours => {
            let refuse = |refusal| refuse_until_changed(observed, home, refusal);
            let Some(key) = &secret.public_key else { return refuse(refusals::key_mismatch(home)) };
            match recorded {
                Some(recorded) if is_anothers(desired, recorded, secret, key) => {
                    return refuse(refusals::key_mismatch(home));
                }
                None if !fits(desired, spec, key) => return refuse(refusals::key_outdated(home)),
                _ => {}
            }
            if !secret.type_fits {
                return refuse(refusals::type_cannot_change(home));
            }
            if let Some(obstacle) = &secret.obstacle {
                return refuse(refusals::obstacle(home, obstacle));
            }
            if !secret.up_to_date {
                return update(home, secret);
            }
            accept(desired, observed, region, key, Some((home, &secret.version, secret.in_sight)))
        }
        (SecretView::Read(secret), recorded) => match consider_offer(desired, secret, recorded.as_ref(), home, spec) {
            Ok(()) => update(home, secret),
            Err(refusal) => refuse_until_changed(observed, home, refusal),
        },
    }
}

fn update(name: &str, secret: &ReadSecret) -> Plan {
    Plan::UpdateSecret { name: name.to_owned(), version: secret.version.clone() }
}

/// What is done about a Secret that is gone.
fn lost(desired: &Desired, observed: &Observed, recorded: &Facts, name: &str, spec: KeySpec) -> Plan {
    match desired.parameters.secret.on_loss {
        OnLoss::Report => refuse_until_changed(observed, name, refusals::key_lost(name)),
        OnLoss::Regenerate => Plan::CreateSecret {
            name: desired.parameters.secret.name.clone(),
            spec,
            replaces: Some(recorded.fingerprints.sha256.clone()).filter(|sha256| !sha256.is_empty()),
        },
    }
}

/// Whether the Secret of an accepted pair holds another key, and not one that was generated in the place of a lost one just
/// before a crash.
fn is_anothers(desired: &Desired, recorded: &Facts, secret: &ReadSecret, key: &PublicKey) -> bool {
    let is_in_its_place = desired.parameters.secret.on_loss == OnLoss::Regenerate
        && secret.replaces.as_ref() == Some(&recorded.fingerprints.sha256);
    recorded.is_of_another(key) && !is_in_its_place
}

/// Whether the key is of the kind that is asked for; where none is, of any kind that the profile has.
fn fits(desired: &Desired, spec: KeySpec, key: &PublicKey) -> bool {
    if desired.parameters.generate.is_some() {
        (key.algorithm(), key.bits()) == (spec.algorithm(), spec.bits())
    } else {
        desired.parameters.profile.rules().import_types.contains(&key.key_type())
    }
}

/// Whether the status tells which key the pair has.
fn knows_its_key(recorded: Option<&Facts>) -> bool {
    recorded.is_some_and(|recorded| !recorded.fingerprints.sha256.is_empty())
}

/// Whether a Secret that is not ours is handed over, with a key that this pair can take.
fn consider_offer(
    desired: &Desired,
    secret: &ReadSecret,
    recorded: Option<&Facts>,
    name: &str,
    spec: KeySpec,
) -> Result<(), Refusal> {
    if let Some(obstacle @ (Obstacle::Owner(_) | Obstacle::Key(_))) = &secret.obstacle {
        return Err(refusals::obstacle(name, obstacle));
    }
    let (Belongs::Offered, Some(key)) = (secret.belongs, &secret.public_key) else {
        return Err(refusals::secret_conflict(name));
    };
    match recorded {
        Some(recorded) if recorded.is_of_another(key) => Err(refusals::offer_of_another_key(name)),
        _ if !knows_its_key(recorded) && !fits(desired, spec, key) => {
            Err(refusals::offer_of_another_kind(name, key, spec))
        }
        _ if !secret.type_fits => Err(refusals::type_cannot_change(name)),
        _ => secret.obstacle.as_ref().map_or(Ok(()), |obstacle| Err(refusals::obstacle(name, obstacle))),
    }
}

/// The spec wants the Secret to have another name than it has. Copied first; the old one goes, or back to whoever handed it over,
/// only when the copy has been read, and the status is told last, so that a crash at any point leaves the key in one of the two.
fn decide_move(desired: &Desired, observed: &Observed, region: &Region, home: &str, spec: KeySpec) -> Plan {
    let target = &desired.parameters.secret.name;
    let is_right = |secret: &ReadSecret| {
        secret.belongs == Belongs::Ours
            && secret.public_key.as_ref().is_some_and(|key| match &observed.recorded {
                Some(recorded) => !is_anothers(desired, recorded, secret, key),
                None => fits(desired, spec, key),
            })
    };
    match (&observed.target, &observed.secret) {
        (SecretView::Unread(_), _) => Plan::ReadSecret(target.clone()),
        (SecretView::Invalid(why), _) => refuse_for_now(observed, refusals::secret_invalid(target, why)),
        (SecretView::Forbidden(why), _) => refuse_for_now(observed, refusals::secret_forbidden(target, why)),
        (SecretView::Read(copy), _) if !is_right(copy) => {
            refuse_until_changed(observed, target, refusals::secret_conflict(target))
        }
        (_, SecretView::Unread(_)) => Plan::ReadSecret(home.to_owned()),
        (SecretView::Absent, SecretView::Absent) => match &observed.recorded {
            Some(recorded) => lost(desired, observed, recorded, home, spec),
            // A create that was sent for this name may still be under way. Of two for the same name, one is refused.
            None => Plan::CreateSecret { name: home.to_owned(), spec, replaces: None },
        },
        (SecretView::Absent, SecretView::Read(secret)) if is_right(secret) => {
            Plan::CopySecret { from: home.to_owned(), to: target.clone() }
        }
        (SecretView::Absent, SecretView::Read(secret)) if secret.belongs == Belongs::Ours => {
            refuse_until_changed(observed, home, refusals::key_mismatch(home))
        }
        (SecretView::Absent, SecretView::Read(_)) => {
            refuse_until_changed(observed, home, refusals::secret_conflict(home))
        }
        (SecretView::Read(_), SecretView::Read(secret)) if is_right(secret) && secret.adopted => {
            Plan::ReleaseSecret(home.to_owned())
        }
        (SecretView::Read(_), SecretView::Read(secret)) if is_right(secret) => Plan::DeleteSecret(home.to_owned()),
        (_, SecretView::Invalid(why) | SecretView::Forbidden(why)) => {
            refuse_for_now(observed, refusals::secret_forbidden(home, why))
        }
        (SecretView::Read(copy), SecretView::Absent | SecretView::Read(_)) => match &copy.public_key {
            Some(_) if !copy.type_fits => refuse_until_changed(observed, target, refusals::type_cannot_change(target)),
            Some(_) if let Some(obstacle) = &copy.obstacle => {
                refuse_until_changed(observed, target, refusals::obstacle(target, obstacle))
            }
            Some(_) if !copy.up_to_date => update(target, copy),
            Some(key) => accept(desired, observed, region, key, Some((target, &copy.version, copy.in_sight))),
            None => refuse_until_changed(observed, target, refusals::key_mismatch(target)),
        },
    }
}
