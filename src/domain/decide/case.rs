//! The input of one decision about the Secret of a generated pair.

use super::{AcceptedKeyPair, Desired, NextStep, Observed, Ownership, ReadSecret, refusals};
use crate::domain::{
    key::{KeySpec, PublicKey},
    reason::Refusal,
    region::Region,
    secret::OnLoss,
};

/// The input of one decision about the Secret of a generated pair.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) region: &'a Region,
    /// What to generate.
    pub(super) spec: KeySpec,
}

impl<'a> Case<'a> {
    /// The Secret name in the spec.
    pub(super) fn target_name(self) -> &'a str {
        &self.desired.parameters.secret.name
    }

    /// The name of the Secret that the status records.
    pub(super) fn recorded_name(self) -> Option<&'a str> {
        self.observed.recorded.as_ref()?.secret_name.as_deref()
    }

    /// Whether the status records the key of the pair.
    pub(super) fn knows_its_key(self) -> bool {
        self.observed.recorded.as_ref().is_some_and(|recorded| !recorded.fingerprints.sha256.is_empty())
    }

    /// Whether the Secret is ours and holds the key of the pair or, if the key is not known yet, one that matches the spec.
    pub(super) fn holds_right_key(self, secret: &ReadSecret) -> bool {
        secret.ownership == Ownership::Ours
            && secret.public_key.as_ref().is_some_and(|key| self.is_expected_key(secret, key))
    }

    fn is_expected_key(self, secret: &ReadSecret, key: &PublicKey) -> bool {
        match &self.observed.recorded {
            Some(recorded) => !self.holds_other_key(recorded, secret, key),
            None => self.matches_spec(key),
        }
    }

    /// Whether the Secret of an accepted pair holds another key, except one that replaced a lost key just before a crash.
    fn holds_other_key(self, recorded: &AcceptedKeyPair, secret: &ReadSecret, key: &PublicKey) -> bool {
        let is_replacement = self.desired.parameters.secret.on_loss == OnLoss::Regenerate
            && secret.replaces.as_ref() == Some(&recorded.fingerprints.sha256);
        recorded.contradicts(key) && !is_replacement && !self.is_switched(secret, key)
    }

    /// What is wrong with a Secret that is ours and does not hold the right key.
    pub(super) fn wrong_key(self, name: &str, secret: &ReadSecret) -> Refusal {
        if self.observed.recorded.is_none() && secret.public_key.is_some() {
            refusals::key_outdated(name)
        } else {
            refusals::key_mismatch(name)
        }
    }

    /// Whether the key has the kind that the spec asks for or, if it asks for none, any kind that the profile accepts.
    pub(super) fn matches_spec(self, key: &PublicKey) -> bool {
        let parameters = &self.desired.parameters;
        if parameters.generate.is_some() {
            (key.algorithm(), key.bits()) == (self.spec.algorithm(), self.spec.bits())
        } else {
            parameters.profile.rules().import_types.contains(&key.key_type())
        }
    }
}

pub(super) fn update(name: &str, secret: &ReadSecret) -> NextStep {
    NextStep::UpdateSecret { name: name.to_owned(), version: secret.version.clone(), moved_from: None }
}
