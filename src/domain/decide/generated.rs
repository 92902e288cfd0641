//! The part of the decision that is about the Secret of a generated pair.

use super::{
    Belongs, CachedSecret, Desired, Facts, Observed, Obstacle, Plan, ReadSecret, Report, SecretView, accept, facts,
    moves, refusals, refuse_for_answer, refuse_until_changed,
};
use crate::domain::{
    immutable::ImmutableField,
    key::{KeySpec, PublicKey},
    reason::{Reason, Refusal},
    region::Region,
    secret::OnLoss,
};

/// One decision about the Secret of a generated pair.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) region: &'a Region,
    /// What to generate.
    pub(super) spec: KeySpec,
}

pub(super) fn decide(desired: &Desired, observed: &Observed, region: &Region, spec: KeySpec) -> Plan {
    let case = Case { desired, observed, region, spec };
    let home = match moves::locate(case) {
        Ok(home) => home,
        Err(unread) => return Plan::ReadSecret(unread.to_owned()),
    };
    if home == case.wanted() { case.decide_there(home) } else { moves::decide(case, home) }
}

impl<'a> Case<'a> {
    /// The name that the spec wants for the Secret.
    pub(super) fn wanted(self) -> &'a str {
        &self.desired.parameters.secret.name
    }

    /// The name of the Secret that the status records.
    pub(super) fn recorded_name(self) -> Option<&'a str> {
        self.observed.recorded.as_ref()?.secret_name.as_deref()
    }

    /// Whether the Secret is ours and holds the key of the pair, or, where that is not known yet, one that it could have.
    pub(super) fn is_right(self, secret: &ReadSecret) -> bool {
        secret.belongs == Belongs::Ours && secret.public_key.as_ref().is_some_and(|key| self.is_key(secret, key))
    }

    fn is_key(self, secret: &ReadSecret, key: &PublicKey) -> bool {
        match &self.observed.recorded {
            Some(recorded) => !self.is_anothers(recorded, secret, key),
            None => self.fits(key),
        }
    }

    /// The Secret is where the spec wants it, or is to be made there.
    fn decide_there(self, home: &str) -> Plan {
        let Self { desired, observed, region, spec } = self;
        if let Some(refused) = refuse_for_answer(observed, home, observed.secret(home)) {
            return refused;
        }
        match (observed.secret(home), &observed.recorded) {
            (SecretView::Unread(Some(cached)), Some(recorded)) if self.is_settled(cached, recorded) => {
                match PublicKey::parse(&recorded.public_key) {
                    Ok(key) => accept(desired, observed, region, &key, Some((home, &cached.version))),
                    Err(_) => Plan::ReadSecret(home.to_owned()),
                }
            }
            // Another Secret was in the way: a look is cheaper than a key generated for nothing.
            (SecretView::Unread(None), None)
                if matches!(observed.refused, Some(Reason::SecretConflict | Reason::PrivateKeyMismatch)) =>
            {
                Plan::ReadSecret(home.to_owned())
            }
            (SecretView::Unread(None) | SecretView::Absent, None) => {
                Plan::CreateSecret { name: home.to_owned(), spec, replaces: None }
            }
            (SecretView::Unread(_), _) => Plan::ReadSecret(home.to_owned()),
            (SecretView::Absent, Some(recorded)) => self.lost(recorded, home),
            (SecretView::Read(secret), recorded) if secret.belongs == Belongs::Ours => {
                let refuse = |refusal| refuse_until_changed(observed, home, refusal);
                let Some(key) = &secret.public_key else { return refuse(refusals::key_mismatch(home)) };
                match recorded {
                    Some(recorded) if self.is_anothers(recorded, secret, key) => {
                        return refuse(refusals::key_mismatch(home));
                    }
                    None if !self.fits(key) => return refuse(refusals::key_outdated(home)),
                    _ => {}
                }
                self.settle(home, secret, key)
            }
            // What was answered otherwise has been told.
            (SecretView::Invalid(_) | SecretView::Forbidden(_) | SecretView::Failing(_), _) => Plan::Rest,
            (SecretView::Read(secret), _) if !secret.missing.is_empty() => self.disowned(home, secret),
            (SecretView::Read(secret), _) => match self.consider_offer(secret, home) {
                Ok(()) => update(home, secret),
                Err(refusal) => refuse_until_changed(observed, home, refusal),
            },
        }
    }

    /// Whether the metadata alone tells that there is nothing to do.
    fn is_settled(self, cached: &CachedSecret, recorded: &Facts) -> bool {
        self.observed.refused.is_none()
            && cached.owned
            && cached.moved.is_none()
            && moves::leftovers(self, self.wanted(), None).is_empty()
            && recorded.secret_name.as_deref() == Some(self.wanted())
            && cached.sha256.as_ref() == Some(&recorded.fingerprints.sha256)
            && cached.settings.as_ref() == Some(&self.desired.parameters.secret.digest(cached.adopted))
            && recorded.secret_version.as_ref() == Some(&cached.version)
    }

    /// The Secret of this name, which is where the spec wants it, holds the key: it is made what the settings say, and what moves
    /// have left behind is taken away.
    pub(super) fn settle(self, name: &str, secret: &ReadSecret, key: &PublicKey) -> Plan {
        let Self { desired, observed, region, .. } = self;
        let refuse = |refusal| refuse_until_changed(observed, name, refusal);
        let refusal = if secret.type_fits {
            secret.obstacle.as_ref().map(|obstacle| refusals::obstacle(name, obstacle))
        } else {
            Some(refusals::type_cannot_change(name))
        };
        if let Some(refusal) = refusal {
            // What moves have left behind has nothing to do with it.
            return moves::clear(self, name, secret).unwrap_or_else(|| refuse(refusal));
        }
        // Where admission lets nothing more be written, it is no use to try: that is told.
        if secret.missing.is_empty() && !(secret.up_to_date && secret.in_sight) {
            return update(name, secret);
        }
        // While the key is in the old one as well; where it is not, there is nothing to wait for.
        let is_still_there = |old: &str| matches!(observed.secret(old), SecretView::Read(old) if self.is_right(old));
        if self.recorded_name().is_some_and(|recorded| recorded != name && is_still_there(recorded)) {
            return Plan::RecordMove { name: name.to_owned(), version: secret.version.clone() };
        }
        if let Some(plan) = moves::clear(self, name, secret) {
            return plan;
        }
        let facts = facts(desired, observed, region, key, Some((name, &secret.version)));
        let out_of_sight = (!secret.in_sight || !secret.missing.is_empty()).then(|| name.to_owned());
        let mut report = Report { facts: Some(facts), out_of_sight, ..Report::default() };
        if !secret.missing.is_empty() {
            report.refusals.push(refusals::taken_away(name, &secret.missing));
            (report.look_again, report.overruled) = (true, true);
        }
        Plan::Report(Box::new(report))
    }

    /// What is done about a Secret that is gone.
    pub(super) fn lost(self, recorded: &Facts, name: &str) -> Plan {
        // It may be in a Secret of which nothing can be known at present.
        for (name, view) in &self.observed.secrets {
            if let Some(refused) = refuse_for_answer(self.observed, name, view) {
                return refused;
            }
        }
        // A pair that had no Secret was imported, and no key takes the place of that.
        if recorded.secret_name.is_none() && !recorded.public_key.is_empty() && self.observed.noted.is_empty() {
            return refuse_until_changed(self.observed, name, ImmutableField::PublicKey.refusal());
        }
        match self.desired.parameters.secret.on_loss {
            OnLoss::Regenerate => Plan::CreateSecret {
                name: self.wanted().to_owned(),
                spec: self.spec,
                replaces: Some(recorded.fingerprints.sha256.clone()).filter(|sha256| !sha256.is_empty()),
            },
            OnLoss::Report => refuse_until_changed(self.observed, name, refusals::key_lost(name)),
        }
    }

    /// Admission has taken away all that says whose the Secret is that was just written: it is nobody's now. That is told; nothing is
    /// accepted, or taken away elsewhere, on the strength of such a one.
    pub(super) fn disowned(self, name: &str, secret: &ReadSecret) -> Plan {
        let report = Report {
            facts: self.observed.recorded.clone(),
            refusals: vec![refusals::taken_away(name, &secret.missing)],
            look_again: true,
            overruled: true,
            out_of_sight: Some(name.to_owned()),
            ..Report::default()
        };
        Plan::Report(Box::new(report))
    }

    /// Whether the Secret of an accepted pair holds another key, and not one that was generated in the place of a lost one just
    /// before a crash.
    fn is_anothers(self, recorded: &Facts, secret: &ReadSecret, key: &PublicKey) -> bool {
        let is_in_its_place = self.desired.parameters.secret.on_loss == OnLoss::Regenerate
            && secret.replaces.as_ref() == Some(&recorded.fingerprints.sha256);
        recorded.is_of_another(key) && !is_in_its_place
    }

    /// Whether the key is of the kind that is asked for; where none is, of any kind that the profile has.
    fn fits(self, key: &PublicKey) -> bool {
        let parameters = &self.desired.parameters;
        if parameters.generate.is_some() {
            (key.algorithm(), key.bits()) == (self.spec.algorithm(), self.spec.bits())
        } else {
            parameters.profile.rules().import_types.contains(&key.key_type())
        }
    }

    /// Whether a Secret that is not ours is handed over, with a key that this pair can take.
    pub(super) fn consider_offer(self, secret: &ReadSecret, name: &str) -> Result<(), Refusal> {
        if let Some(obstacle @ (Obstacle::Owner(_) | Obstacle::Key(_))) = &secret.obstacle {
            return Err(refusals::obstacle(name, obstacle));
        }
        let recorded = self.observed.recorded.as_ref();
        let (Belongs::Offered, Some(key)) = (secret.belongs, &secret.public_key) else {
            return Err(refusals::secret_conflict(name, secret.owner.as_deref(), knows_its_key(recorded)));
        };
        match recorded {
            Some(recorded) if recorded.is_of_another(key) => Err(refusals::offer_of_another_key(name)),
            _ if !knows_its_key(recorded) && !self.fits(key) => {
                Err(refusals::offer_of_another_kind(name, key, self.spec))
            }
            _ if !secret.type_fits => Err(refusals::type_cannot_change(name)),
            _ => secret.obstacle.as_ref().map_or(Ok(()), |obstacle| Err(refusals::obstacle(name, obstacle))),
        }
    }
}

pub(super) fn update(name: &str, secret: &ReadSecret) -> Plan {
    Plan::UpdateSecret { name: name.to_owned(), version: secret.version.clone(), moved_from: None }
}

/// Whether the status tells which key the pair has.
fn knows_its_key(recorded: Option<&Facts>) -> bool {
    recorded.is_some_and(|recorded| !recorded.fingerprints.sha256.is_empty())
}
