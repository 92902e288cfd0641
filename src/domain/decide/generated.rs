//! Decides about the Secret of a generated pair.

use super::{
    AcceptedKeyPair, CachedSecret, Desired, NextStep, Observed, ObservedSecret, Obstacle, Ownership, ReadSecret,
    Report, accept, accepted_key_pair,
    case::{Case, update},
    moves, refusals, refuse_for_answer, refuse_until_changed, refused_until_changed,
};
use crate::domain::{
    immutable::ImmutableField,
    key::{KeySpec, PublicKey},
    reason::{Reason, Refusal},
    region::Region,
    secret::OnLoss,
};

pub(super) fn decide(desired: &Desired, observed: &Observed, region: &Region, spec: KeySpec) -> NextStep {
    let case = Case { desired, observed, region, spec };
    let current_name = match moves::find_current_name(case) {
        Ok(name) => name,
        Err(unread_name) => return NextStep::ReadSecret(unread_name.to_owned()),
    };
    if current_name == case.target_name() {
        case.decide_in_place(current_name)
    } else {
        moves::decide(case, current_name)
    }
}

impl<'a> Case<'a> {
    /// The Secret has the name in the spec, or is to be created with it. The first step that applies is taken.
    fn decide_in_place(self, name: &str) -> NextStep {
        let steps: [fn(Self, &str) -> Option<NextStep>; 9] = [
            Self::report_failed_request,
            Self::accept_by_metadata,
            Self::read_after_conflict,
            Self::create,
            Self::read,
            Self::report_or_replace_lost,
            Self::settle_own,
            Self::report_disowned,
            Self::adopt,
        ];
        // `report_failed_request` reports every other answer of the API server.
        steps.into_iter().find_map(|step| step(self, name)).unwrap_or(NextStep::Rest)
    }

    fn report_failed_request(self, name: &str) -> Option<NextStep> {
        refuse_for_answer(self.observed, name, self.observed.secret(name))
    }

    /// Skips reading the Secret if its cached metadata shows no change since the status was written.
    fn accept_by_metadata(self, name: &str) -> Option<NextStep> {
        let ObservedSecret::Unread(Some(cached)) = self.observed.secret(name) else { return None };
        let recorded = self.observed.recorded.as_ref().filter(|recorded| self.is_settled(cached, recorded))?;
        Some(match PublicKey::parse(&recorded.public_key) {
            Ok(key) => accept(self.desired, self.observed, self.region, &key, Some((name, &cached.version))),
            Err(_) => NextStep::ReadSecret(name.to_owned()),
        })
    }

    /// Another Secret had the name: reading it is cheaper than generating a key for nothing.
    fn read_after_conflict(self, name: &str) -> Option<NextStep> {
        let was_refused = matches!(self.observed.refused, Some(Reason::SecretConflict | Reason::PrivateKeyMismatch));
        let is_unknown = matches!(self.observed.secret(name), ObservedSecret::Unread(None));
        (is_unknown && was_refused && self.observed.recorded.is_none()).then(|| NextStep::ReadSecret(name.to_owned()))
    }

    fn create(self, name: &str) -> Option<NextStep> {
        let is_new = matches!(self.observed.secret(name), ObservedSecret::Unread(None) | ObservedSecret::Absent)
            && self.observed.recorded.is_none();
        is_new.then(|| NextStep::CreateSecret { name: name.to_owned(), spec: self.spec, replaces: None })
    }

    fn read(self, name: &str) -> Option<NextStep> {
        matches!(self.observed.secret(name), ObservedSecret::Unread(_)).then(|| NextStep::ReadSecret(name.to_owned()))
    }

    fn report_or_replace_lost(self, name: &str) -> Option<NextStep> {
        let recorded = self.observed.recorded.as_ref()?;
        matches!(self.observed.secret(name), ObservedSecret::Absent).then(|| self.lost(recorded, name))
    }

    /// The Secret belongs to this pair: it must hold the key that the status records, or one that matches the spec.
    fn settle_own(self, name: &str) -> Option<NextStep> {
        let secret = self.found(name).filter(|secret| secret.belongs == Ownership::Ours)?;
        let refuse = |refusal| Some(refuse_until_changed(self.observed, name, refusal));
        let Some(key) = &secret.public_key else { return refuse(refusals::key_mismatch(name)) };
        match &self.observed.recorded {
            Some(recorded) if self.holds_other_key(recorded, secret, key) => refuse(refusals::key_mismatch(name)),
            None if !self.matches_spec(key) => refuse(refusals::key_outdated(name)),
            _ => Some(self.settle(name, secret, key)),
        }
    }

    fn report_disowned(self, name: &str) -> Option<NextStep> {
        self.found(name).filter(|secret| !secret.missing.is_empty()).map(|secret| self.disowned(name, secret))
    }

    /// The Secret is foreign, but its owner may have offered it for adoption.
    fn adopt(self, name: &str) -> Option<NextStep> {
        let secret = self.found(name)?;
        Some(match self.check_offer(secret, name) {
            Ok(()) => update(name, secret),
            Err(refusal) => refuse_until_changed(self.observed, name, refusal),
        })
    }

    /// The Secret of this name, if it has been read.
    fn found(self, name: &str) -> Option<&'a ReadSecret> {
        match self.observed.secret(name) {
            ObservedSecret::Read(secret) => Some(secret),
            _ => None,
        }
    }

    /// Whether the cached metadata shows that there is nothing to do.
    fn is_settled(self, cached: &CachedSecret, recorded: &AcceptedKeyPair) -> bool {
        self.observed.refused.is_none()
            && cached.owned
            && cached.moved.is_none()
            && moves::leftovers(self, self.target_name(), None).is_empty()
            && recorded.secret_name.as_deref() == Some(self.target_name())
            && cached.sha256.as_ref() == Some(&recorded.fingerprints.sha256)
            && cached.settings.as_ref() == Some(&self.desired.parameters.secret.digest(cached.adopted))
            && recorded.secret_version.as_ref() == Some(&cached.version)
    }

    /// The Secret has the name in the spec and holds the key: applies the settings to it and cleans up after moves.
    pub(super) fn settle(self, name: &str, secret: &ReadSecret, key: &PublicKey) -> NextStep {
        let Self { desired, observed, region, .. } = self;
        let refuse = |refusal| refuse_until_changed(observed, name, refusal);
        let refusal = if secret.type_fits {
            secret.obstacle.as_ref().map(|obstacle| refusals::obstacle(name, obstacle))
        } else {
            Some(refusals::type_cannot_change(name))
        };
        if let Some(refusal) = refusal {
            // The cleanup does not depend on it.
            return moves::clean_up(self, name, secret).unwrap_or_else(|| refuse(refusal));
        }
        // If admission removes what the operator writes, writing again does not help: the report says so.
        if secret.missing.is_empty() && !(secret.up_to_date && secret.in_sight) {
            return update(name, secret);
        }
        // Only while the old Secret holds the key too; otherwise there is nothing to clean up first.
        let still_holds_key =
            |old: &str| matches!(observed.secret(old), ObservedSecret::Read(old) if self.holds_right_key(old));
        if self.recorded_name().is_some_and(|recorded| recorded != name && still_holds_key(recorded)) {
            return NextStep::RecordMove { name: name.to_owned(), version: secret.version.clone() };
        }
        if let Some(step) = moves::clean_up(self, name, secret) {
            return step;
        }
        let accepted = accepted_key_pair(desired, observed, region, key, Some((name, &secret.version)));
        let unwatched_secret = (!secret.in_sight || !secret.missing.is_empty()).then(|| name.to_owned());
        let mut report = Report { accepted: Some(accepted), unwatched_secret, ..Report::default() };
        if !secret.missing.is_empty() {
            report.refusals.push(refusals::taken_away(name, &secret.missing));
            (report.requeue, report.overruled) = (true, true);
        }
        NextStep::Report(Box::new(report))
    }

    /// The Secret is gone: reports that, or replaces the key.
    pub(super) fn lost(self, recorded: &AcceptedKeyPair, name: &str) -> NextStep {
        // The key may be in a Secret that cannot be read at present.
        for (name, view) in &self.observed.secrets {
            if let Some(refused) = refuse_for_answer(self.observed, name, view) {
                return refused;
            }
        }
        // A pair without a Secret was imported, and no generated key may replace an imported one.
        if recorded.secret_name.is_none() && !recorded.public_key.is_empty() && self.observed.noted.is_empty() {
            return refuse_until_changed(self.observed, name, ImmutableField::PublicKey.refusal());
        }
        match self.desired.parameters.secret.on_loss {
            OnLoss::Regenerate => NextStep::CreateSecret {
                name: self.target_name().to_owned(),
                spec: self.spec,
                replaces: Some(recorded.fingerprints.sha256.clone()).filter(|sha256| !sha256.is_empty()),
            },
            OnLoss::Report => refuse_until_changed(self.observed, name, refusals::key_lost(name)),
        }
    }

    /// Admission removed every mark of ownership from the Secret that was just written. Reports that, and neither accepts the pair nor
    /// deletes another Secret because of it.
    pub(super) fn disowned(self, name: &str, secret: &ReadSecret) -> NextStep {
        let report = refused_until_changed(self.observed, name, refusals::taken_away(name, &secret.missing));
        NextStep::Report(Box::new(Report { overruled: true, ..report }))
    }

    /// Checks that a Secret that is not ours is offered for adoption, with a key that this pair can take.
    pub(super) fn check_offer(self, secret: &ReadSecret, name: &str) -> Result<(), Refusal> {
        if let Some(obstacle @ (Obstacle::Owner(_) | Obstacle::Key(_))) = &secret.obstacle {
            return Err(refusals::obstacle(name, obstacle));
        }
        let recorded = self.observed.recorded.as_ref();
        let (Ownership::Offered, Some(key)) = (secret.belongs, &secret.public_key) else {
            return Err(refusals::secret_conflict(name, secret.owner.as_deref(), knows_its_key(recorded)));
        };
        match recorded {
            Some(recorded) if recorded.contradicts(key) => Err(refusals::offer_of_another_key(name)),
            _ if !knows_its_key(recorded) && !self.matches_spec(key) => {
                Err(refusals::offer_of_another_kind(name, key, self.spec))
            }
            _ if !secret.type_fits => Err(refusals::type_cannot_change(name)),
            _ => secret.obstacle.as_ref().map_or(Ok(()), |obstacle| Err(refusals::obstacle(name, obstacle))),
        }
    }
}

/// Whether the status records the key of the pair.
fn knows_its_key(recorded: Option<&AcceptedKeyPair>) -> bool {
    recorded.is_some_and(|recorded| !recorded.fingerprints.sha256.is_empty())
}
