//! The steps of a reconciliation that rotate the keys in a Secret.

use kube::runtime::reflector::ObjectRef;

use super::{
    Reconciliation,
    error::Error,
    requests::to_observed,
    secrets::{self, RequestError, SecretRotation},
};
use crate::{
    controller::deadline::Unanswered,
    domain::{
        decide::ObservedSecret,
        rotation::{Change, RotationOutcome},
    },
};

impl Reconciliation<'_> {
    /// Makes one change of a rotation. `None`: the next key is being generated, or the `KeyPair` has changed, and either triggers
    /// another reconciliation.
    pub(super) async fn rotate_secret(
        &self,
        name: &str,
        version: &str,
        change: Change,
    ) -> Result<Option<ObservedSecret>, Error> {
        let rotated = self.try_to_rotate(name, version, change).await;
        if is_failure(&rotated) {
            self.context.metrics.record_rotation(RotationOutcome::RotationFailed);
        }
        rotated
    }

    async fn try_to_rotate(&self, name: &str, version: &str, change: Change) -> Result<Option<ObservedSecret>, Error> {
        let key;
        let change = match change {
            Change::AddNext(spec) => {
                let keys = &self.context.pending_keys;
                let uid = self.desired.uid.as_str();
                let mut generated = keys.take_ready(uid, spec);
                if generated.is_none() {
                    if !self.context.is_current(self.key_pair) {
                        return Ok(None);
                    }
                    generated = keys.get_or_start(&ObjectRef::from_obj(self.key_pair), uid, spec);
                }
                let Some(generated) = generated else { return Ok(None) };
                key = generated?;
                SecretRotation::AddNext(&key)
            }
            Change::Switch { revision } => SecretRotation::Switch(revision),
            Change::RemoveNext => SecretRotation::RemoveNext,
            Change::RemovePrevious => SecretRotation::RemovePrevious,
        };
        let admission_changes = self.admission_changes(name);
        let update = self.secret_update(name, version, &admission_changes);
        let rotate = Box::pin(secrets::rotate(&self.context.client, self.key_pair, update, change));
        let rotated = to_observed(self.with_read_permit(rotate).await?).map_err(Error::UpdateSecret)?;
        if let ObservedSecret::Read(secret) = &rotated {
            self.record_admission_changes(name, &secret.admission_changes);
        }
        Ok(Some(rotated))
    }
}

/// Whether a step failed. The loss of the lead is no failure, and a step whose Secret has changed meanwhile is decided again.
fn is_failure(rotated: &Result<Option<ObservedSecret>, Error>) -> bool {
    match rotated {
        Ok(Some(ObservedSecret::Forbidden(_) | ObservedSecret::Invalid(_))) => true,
        Ok(_) | Err(Error::Unanswered(Unanswered::NotLeading)) => false,
        Err(Error::UpdateSecret(RequestError::Kube(kube::Error::Api(status)))) => !status.is_conflict(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn refusals_and_errors_are_failures_but_outdated_decisions_are_not() {
        let answered = |reason: &str, code| {
            let status = Status::failure("", reason).with_code(code);
            Err(Error::UpdateSecret(RequestError::Kube(kube::Error::Api(Box::new(status)))))
        };
        for (rotated, expected) in [
            (Ok(None), false),
            (Ok(Some(ObservedSecret::Absent)), false),
            (Ok(Some(ObservedSecret::Forbidden(String::new()))), true),
            (Ok(Some(ObservedSecret::Invalid(String::new()))), true),
            (Err(Error::Unanswered(Unanswered::NotLeading)), false),
            (answered("Conflict", 409), false),
            (answered("InternalError", 500), true),
            (Err(Unanswered::Timeout(std::time::Duration::from_secs(30)).into()), true),
        ] {
            assert_eq!(is_failure(&rotated), expected, "{rotated:?}");
        }
    }
}
