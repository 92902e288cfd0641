//! Builds a policy and its binding.

use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec,
        Validation, Variable,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::Policy;

/// The requests that a policy matches: operations on resources of an API group, in this version. The API server converts requests
/// in other versions to it.
pub(super) struct MatchedRequests<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resources: &'a [&'a str],
    pub(super) operations: &'a [&'a str],
}

/// A CEL variable.
pub(super) fn variable(name: &str, expression: &str) -> Variable {
    Variable { name: name.to_owned(), expression: expression.to_owned() }
}

/// A validation: `expression` must be true; otherwise the request is denied with `message`.
///
/// The message must contain nothing of a Secret except its name, because the requester and logs receive it.
pub(super) fn validation(expression: &str, message: &str) -> Validation {
    Validation {
        expression: expression.to_owned(),
        message: Some(message.to_owned()),
        message_expression: None,
        reason: Some("Forbidden".to_owned()),
    }
}

/// A policy of this name and its binding. A request whose evaluation fails is denied.
pub(super) fn policy(
    name: &str,
    requests: &MatchedRequests<'_>,
    condition: Option<MatchCondition>,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
) -> Policy {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let texts = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    let rule = NamedRuleWithOperations {
        api_groups: texts(&[requests.group]),
        api_versions: texts(&[requests.version]),
        resources: texts(requests.resources),
        operations: texts(requests.operations),
        scope: Some("*".to_owned()),
        ..NamedRuleWithOperations::default()
    };
    // The defaults of the API server are written out, so that a diff between the manifest and the live object is empty.
    let constraints = MatchResources {
        resource_rules: Some(vec![rule]),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(LabelSelector::default()),
        object_selector: Some(LabelSelector::default()),
        ..MatchResources::default()
    };
    let spec = ValidatingAdmissionPolicySpec {
        failure_policy: Some("Fail".to_owned()),
        match_constraints: Some(constraints),
        match_conditions: condition.map(|condition| vec![condition]),
        variables: (!variables.is_empty()).then_some(variables),
        validations: Some(validations),
        ..ValidatingAdmissionPolicySpec::default()
    };
    let binding = ValidatingAdmissionPolicyBindingSpec {
        policy_name: name.to_owned(),
        validation_actions: vec!["Deny".to_owned()],
        ..ValidatingAdmissionPolicyBindingSpec::default()
    };
    Policy {
        policy: ValidatingAdmissionPolicy { metadata: metadata.clone(), spec: Some(spec), status: None },
        binding: ValidatingAdmissionPolicyBinding { metadata, spec: binding },
    }
}
