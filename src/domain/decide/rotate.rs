//! The rotation of a pair whose Secret is as it should be.

use super::{
    AcceptedKeyPair, NextStep, ReadSecret, Report, accepted_key_pair, case::Case, fingerprint, refusals,
    refuse_until_changed,
};
use crate::domain::{
    key::{KeySpec, PublicKey},
    rotation::{self, Change, HeldKeys, Input, Phase, Plan},
};

impl Case<'_> {
    /// What is to happen about the rotation. `held`: what the Secret holds besides `key`; `None`: it was not read.
    pub(super) fn plan_rotation(self, key: &PublicKey, held: Option<HeldKeys<'_>>) -> Plan {
        let Self { desired, observed, .. } = self;
        // Without `spec.generate`, the next key is of the kind of the current one: an adopted key may be of any kind.
        let kind = desired.parameters.generate.map(|_| self.spec);
        let kind = kind.or_else(|| KeySpec::from_parts(key.algorithm(), Some(key.bits())));
        // The settings were checked with the rest of the request.
        let settings = rotation::check(&desired.parameters).ok().flatten();
        rotation::plan(&Input {
            uid: &desired.uid,
            settings: settings.as_ref(),
            recorded: observed.recorded.as_ref().map(|recorded| &recorded.rotation),
            current: key,
            held,
            wanted: (kind.unwrap_or(self.spec), desired.parameters.generate.is_some()),
            open_gates: &observed.open_gates,
            publication: &observed.publication,
            created: desired.created,
            now: observed.now,
        })
    }

    /// The next change that a rotation makes to the Secret, if there is one.
    pub(super) fn rotate(self, name: &str, secret: &ReadSecret, plan: &Plan) -> Option<NextStep> {
        let change = plan.change.filter(|_| secret.admission_changes.is_empty())?;
        let adds = matches!(change, Change::AddNext(_) | Change::Switch { .. });
        Some(match &secret.rotation.foreign_entry {
            Some(entry) if adds => {
                refuse_until_changed(self.observed, name, refusals::rotation_entry_in_use(name, entry))
            }
            _ => NextStep::RotateSecret { name: name.to_owned(), version: secret.version.clone(), change },
        })
    }

    /// The report of a pair that is accepted with `key` in the Secret of this name and version.
    pub(super) fn accepted_report(self, key: &PublicKey, secret: (&str, &str), mut plan: Plan) -> Report {
        let Self { desired, observed, region, .. } = self;
        let recorded = observed.recorded.as_ref().map(|recorded| &recorded.rotation);
        let is_new = |next: &PublicKey| {
            recorded.and_then(|recorded| recorded.key(Phase::Next)).is_none_or(|before| before.key != *next)
        };
        let publishes = plan.state.key(Phase::Next).is_some_and(|next| is_new(&next.key));
        let gates = desired.parameters.rotation.as_ref().map(|texts| texts.gates.clone());
        let accepted = accepted_key_pair(desired, observed, region, key, Some(secret));
        for phased in &mut plan.state.keys {
            phased.fingerprint = fingerprint(&desired.parameters, region, &phased.key, &accepted.id);
        }
        Report {
            accepted: Some(AcceptedKeyPair { rotation: plan.state, ..accepted }),
            reset_gates: gates.filter(|_| publishes).unwrap_or_default(),
            publication: plan.publication,
            due: plan.due,
            ..Report::default()
        }
    }

    /// Whether the Secret holds the next key that the status records: it was switched, and the status does not say so yet.
    pub(super) fn is_switched(self, secret: &ReadSecret, key: &PublicKey) -> bool {
        let next = self.observed.recorded.as_ref().and_then(|recorded| recorded.rotation.key(Phase::Next));
        next.is_some_and(|next| next.key == *key && secret.rotation.revision == Some(next.revision))
    }
}
