//! Decides about the Secret of a generated pair.

use super::{
    AcceptedKeyPair, CachedSecret, Desired, Incompatibility, NextStep, Observed, ObservedSecret, Ownership, ReadSecret,
    Report,
    case::{Case, update},
    moves, refusals, refuse_failed_request, refuse_until_changed, report_of,
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
            Self::check_own_secret,
            Self::report_changed_by_admission,
            Self::adopt,
        ];
        // `report_failed_request` reports every other answer of the API server.
        steps.into_iter().find_map(|step| step(self, name)).unwrap_or(NextStep::Rest)
    }

    fn report_failed_request(self, name: &str) -> Option<NextStep> {
        refuse_failed_request(self.observed, name, self.observed.secret(name))
    }

    /// Skips reading the Secret if its cached metadata shows no change since the status was written.
    fn accept_by_metadata(self, name: &str) -> Option<NextStep> {
        let ObservedSecret::Unread(Some(cached)) = self.observed.secret(name) else { return None };
        let recorded = self.observed.recorded.as_ref().filter(|recorded| self.is_up_to_date(cached, recorded))?;
        Some(match PublicKey::parse(&recorded.public_key) {
            Ok(key) => {
                let plan = self.plan_rotation(&key, None);
                if plan.change.is_some() {
                    return Some(NextStep::ReadSecret(name.to_owned()));
                }
                NextStep::Report(Box::new(self.accepted_report(&key, (name, &cached.version), plan)))
            }
            Err(_) => NextStep::ReadSecret(name.to_owned()),
        })
    }

    /// Another Secret has or had the name: reading it is cheaper than generating a key for nothing.
    fn read_after_conflict(self, name: &str) -> Option<NextStep> {
        let Observed { refused, is_contended, recorded, .. } = self.observed;
        let is_taken = *is_contended || matches!(refused, Some(Reason::SecretConflict | Reason::PrivateKeyMismatch));
        let is_unknown = matches!(self.observed.secret(name), ObservedSecret::Unread(None));
        (is_unknown && is_taken && recorded.is_none()).then(|| NextStep::ReadSecret(name.to_owned()))
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
        matches!(self.observed.secret(name), ObservedSecret::Absent).then(|| self.report_or_replace(recorded, name))
    }

    /// The Secret belongs to this pair: it must hold the key that the status records, or one that matches the spec.
    fn check_own_secret(self, name: &str) -> Option<NextStep> {
        let secret = self.read_secret(name).filter(|secret| secret.ownership == Ownership::Ours)?;
        Some(self.apply_settings_to_own(name, secret))
    }

    /// Applies the settings to a Secret that is ours, if it holds the right key.
    pub(super) fn apply_settings_to_own(self, name: &str, secret: &ReadSecret) -> NextStep {
        match &secret.public_key {
            Some(key) if self.holds_right_key(secret) => self.apply_settings(name, secret, key),
            _ => refuse_until_changed(self.observed, name, self.wrong_key(name, secret)),
        }
    }

    fn report_changed_by_admission(self, name: &str) -> Option<NextStep> {
        self.read_secret(name)
            .filter(|secret| !secret.admission_changes.is_empty())
            .map(|secret| self.refuse_changed_by_admission(name, secret))
    }

    /// The Secret is foreign, but its owner may have offered it for adoption.
    fn adopt(self, name: &str) -> Option<NextStep> {
        let secret = self.read_secret(name)?;
        Some(match self.check_offer(secret, name) {
            Ok(()) => update(name, secret),
            Err(refusal) => refuse_until_changed(self.observed, name, refusal),
        })
    }

    /// The Secret of this name, if it has been read.
    fn read_secret(self, name: &str) -> Option<&'a ReadSecret> {
        match self.observed.secret(name) {
            ObservedSecret::Read(secret) => Some(secret),
            _ => None,
        }
    }

    /// Whether the cached metadata shows that there is nothing to do.
    fn is_up_to_date(self, cached: &CachedSecret, recorded: &AcceptedKeyPair) -> bool {
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
    fn apply_settings(self, name: &str, secret: &ReadSecret, key: &PublicKey) -> NextStep {
        let observed = self.observed;
        let refuse = |refusal| refuse_until_changed(observed, name, refusal);
        if let Some(refusal) = self.settings_refusal(name, secret, key) {
            // The cleanup does not depend on it.
            return moves::clean_up(self, name, secret).unwrap_or_else(|| refuse(refusal));
        }
        // If admission removes what the operator writes, writing again does not help: the report says so.
        if secret.admission_changes.is_empty() && !(secret.up_to_date && secret.is_selected) {
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
        let plan = self.plan_rotation(key, Some(secret.rotation.held_keys()));
        if let Some(step) = self.rotate(name, secret, &plan) {
            return step;
        }
        let mut report = self.accepted_report(key, (name, &secret.version), plan);
        report.awaited_secret = (!secret.is_selected || !secret.admission_changes.is_empty()).then(|| name.to_owned());
        if !secret.admission_changes.is_empty() {
            report.refusals.push(refusals::changed_by_admission(name, &secret.admission_changes));
            (report.requeue, report.changed_by_admission) = (true, true);
        }
        NextStep::Report(Box::new(report))
    }

    /// The Secret is gone: reports that, or replaces the key.
    pub(super) fn report_or_replace(self, recorded: &AcceptedKeyPair, name: &str) -> NextStep {
        // The key may be in a Secret that cannot be read at present.
        for (name, secret) in &self.observed.secrets {
            if let Some(refused) = refuse_failed_request(self.observed, name, secret) {
                return refused;
            }
        }
        // A pair without a Secret was imported, and no generated key may replace an imported one.
        if recorded.secret_name.is_none() && !recorded.public_key.is_empty() && self.observed.created_secrets.is_empty()
        {
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
    pub(super) fn refuse_changed_by_admission(self, name: &str, secret: &ReadSecret) -> NextStep {
        let refusal = refusals::changed_by_admission(name, &secret.admission_changes);
        NextStep::Report(Box::new(Report {
            requeue: true,
            changed_by_admission: true,
            awaited_secret: Some(name.to_owned()),
            ..report_of(self.observed, vec![refusal])
        }))
    }

    /// Why the settings cannot be applied to this Secret, which holds `key`.
    fn settings_refusal(self, name: &str, secret: &ReadSecret, key: &PublicKey) -> Option<Refusal> {
        if !secret.is_type_allowed {
            return Some(refusals::type_cannot_change(name));
        }
        let incompatibility = secret.incompatibility.as_ref();
        incompatibility
            .map(|incompatibility| refusals::incompatibility(name, incompatibility))
            .or_else(|| self.desired.parameters.secret.encoding_refusal(key.algorithm()))
    }

    /// Checks that a Secret that is not ours is offered for adoption, with a key that this pair can take.
    pub(super) fn check_offer(self, secret: &ReadSecret, name: &str) -> Result<(), Refusal> {
        if let Some(incompatibility @ (Incompatibility::Owner(_) | Incompatibility::Key(_))) = &secret.incompatibility {
            return Err(refusals::incompatibility(name, incompatibility));
        }
        let recorded = self.observed.recorded.as_ref();
        let (Ownership::Offered, Some(key)) = (secret.ownership, &secret.public_key) else {
            return Err(refusals::secret_conflict(name, secret.owner.as_deref(), self.knows_its_key()));
        };
        match recorded {
            Some(recorded) if recorded.contradicts(key) => Err(refusals::offer_of_another_key(name)),
            _ if !self.knows_its_key() && !self.matches_spec(key) => {
                Err(refusals::offer_of_another_kind(name, key, self.spec))
            }
            _ => self.settings_refusal(name, secret, key).map_or(Ok(()), Err),
        }
    }
}
