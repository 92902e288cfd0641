//! The admission policies, which restrict the authors of KeyPairs and the operator itself.
//!
//! The CEL of a `ValidatingAdmissionPolicy` can check two things that the CRD's rules and RBAC cannot: whether the requester has
//! another permission (`authorizer`), and what an object was before. With these, a KeyPair gives its author no more than the
//! author's own permissions ([`secret_settings`]), nor does a publication ([`publication_targets`]), and a stolen token of the
//! operator does not give control of the cluster ([`fence`]).

mod build;
mod fence;
mod publication_targets;
mod secret_settings;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};

/// The names in an installation of the operator that the policies refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The prefix of the names of the policies.
    pub name: String,
    /// The namespace of the operator.
    pub namespace: String,
    /// The name of its service account.
    pub service_account: String,
    /// The name of the Lease for its leader election.
    pub lease: String,
    /// The name of the webhook configurations.
    pub webhook_configuration: String,
    /// The name of the webhook Service.
    pub webhook_service: String,
    /// The URL of the webhook, if the operator registers it itself.
    pub webhook_url: Option<String>,
}

impl Installation {
    /// The user name of the operator's service account.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }
}

/// A policy, and the binding that enforces it in the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The policy.
    pub policy: ValidatingAdmissionPolicy,
    /// The binding.
    pub binding: ValidatingAdmissionPolicyBinding,
}

/// All policies of an installation.
#[must_use]
pub fn policies(installation: &Installation) -> Vec<Policy> {
    let mut policies = vec![secret_settings::policy(installation), publication_targets::policy(installation)];
    policies.extend(fence::policies(installation));
    policies
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn installation() -> Installation {
        Installation {
            name: "keys".to_owned(),
            namespace: "system".to_owned(),
            service_account: "robot".to_owned(),
            lease: "lease".to_owned(),
            webhook_configuration: "configuration".to_owned(),
            webhook_service: "service".to_owned(),
            webhook_url: None,
        }
    }

    #[test]
    fn every_policy_is_bound_and_fails_closed() {
        let policies = policies(&installation());
        let names: BTreeSet<_> = policies.iter().map(|policy| policy.policy.metadata.name.clone()).collect();
        assert_eq!(names.len(), policies.len());
        for Policy { policy, binding } in policies {
            let name = policy.metadata.name.unwrap();
            assert!(name.starts_with("keys-"), "{name}");
            let (spec, bound) = (policy.spec.unwrap(), binding.spec);
            assert_eq!((&bound.policy_name, bound.validation_actions), (&name, vec!["Deny".to_owned()]));
            assert_eq!((bound.match_resources, spec.failure_policy.as_deref()), (None, Some("Fail")));
            for validation in spec.validations.unwrap() {
                assert_eq!(validation.reason.as_deref(), Some("Forbidden"));
                assert!(validation.message.is_some());
            }
        }
    }

    /// Other clients that write Secrets, Leases and webhook configurations must not be affected.
    #[test]
    fn the_fence_applies_only_to_the_operator() {
        for Policy { policy, .. } in policies(&installation()).into_iter().skip(2) {
            let conditions = policy.spec.unwrap().match_conditions.unwrap();
            let expressions: Vec<_> = conditions.into_iter().map(|condition| condition.expression).collect();
            assert_eq!(expressions, ["request.userInfo.username == 'system:serviceaccount:system:robot'"]);
        }
    }

    #[test]
    fn the_webhook_policy_allows_a_configured_url() {
        let text = |url: Option<&str>| {
            let installation = Installation { webhook_url: url.map(str::to_owned), ..installation() };
            format!("{:?}", policies(&installation))
        };
        assert!(!text(None).contains("https://"));
        assert!(text(Some("https://[::1]:9443/")).contains("https://[::1]:9443/"));
    }
}
