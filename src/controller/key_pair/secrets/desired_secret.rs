//! The inputs for the desired state of a Secret.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::applied::Applied;
use crate::{
    api::KeyPair,
    domain::secret::{ADOPT_ANNOTATION, SecretSettings},
};

/// The inputs for the desired state of a Secret.
#[derive(Clone, Copy)]
pub(super) struct DesiredSecret<'a> {
    pub(super) key_pair: &'a KeyPair,
    pub(super) settings: &'a SecretSettings,
    /// Whether the Secret already belongs to this `KeyPair`.
    pub(super) owned: bool,
    /// The parts that admission recently changed.
    pub(super) admission_changes: &'a [String],
}

impl DesiredSecret<'_> {
    /// The record on the Secret, if it is ours.
    pub(super) fn record(self, secret: &Secret) -> Option<Applied> {
        Applied::of(secret).filter(|_| self.owned)
    }

    /// Whether the Secret is offered to this `KeyPair` for adoption.
    pub(super) fn is_offered(self, secret: &Secret) -> bool {
        secret.annotations().get(ADOPT_ANNOTATION).is_some_and(|name| *name == self.key_pair.name_any())
    }

    /// Whether the Secret was adopted or is about to be. A Secret that an older version adopted has no record; there the annotation on a
    /// Secret that is already ours shows it.
    pub(super) fn adopted(self, secret: &Secret) -> bool {
        !self.owned || self.is_offered(secret) || Applied::of(secret).is_some_and(|recorded| recorded.adopted)
    }
}
