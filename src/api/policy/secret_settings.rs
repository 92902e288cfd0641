//! What whoever writes `spec.secret` of a `KeyPair` must be allowed to do themselves.
//!
//! The operator writes the Secret, with its own rights. By a name and a template, which has labels, annotations and further
//! data, other controllers are told what to do with a Secret: so whoever gives them must be allowed to create Secrets. And a
//! private key that is there goes where `spec.secret` says: so whoever changes it must be allowed to read that Secret.
//!
//! What was given before is nobody's doing now: labels of a KeyPair can be changed by whoever may write KeyPairs, whatever its
//! template says.

use k8s_openapi::api::admissionregistration::v1::Validation;
use kube::Resource;

use super::{
    Installation, Policy,
    build::{Requests, demand, policy as build, variable},
};
use crate::api::{KeyPair, cel::quote, key_pair::SecretSpec};

pub(super) fn policy(installation: &Installation) -> Policy {
    // Not the status, which only the operator writes, and no deletions.
    let (group, version, plural) = (KeyPair::group(&()), KeyPair::version(&()), KeyPair::plural(&()));
    let requests =
        Requests { group: &group, version: &version, resources: &[&plural], operations: &["CREATE", "UPDATE"] };
    let secrets = "authorizer.group('').resource('secrets').namespace(request.namespace)";
    let variables = vec![
        variable("secret", &settings("object")),
        // Of what was stored before there was a schema, nothing can be taken for granted.
        variable(
            "before",
            &format!(
                "oldObject != null && has(oldObject.spec) && type(oldObject.spec) == map ? {} : {}",
                settings("oldObject"),
                defaults()
            ),
        ),
        variable(
            "status",
            "oldObject != null && has(oldObject.status) && type(oldObject.status) == map ? oldObject.status : {}",
        ),
        variable("accepted", "has(variables.status.keyPairID)"),
        variable("hadName", "has(variables.before.name) && variables.before.name != null"),
        // Where the private key is, or is going to be.
        variable(
            "home",
            "has(variables.status.secretName) ? variables.status.secretName : \
             variables.hadName ? variables.before.name : \
             oldObject != null ? oldObject.metadata.name : ''",
        ),
        variable("mayCreate", &format!("{secrets}.check('create').allowed()")),
        variable("mayGet", &format!("{secrets}.name(variables.home).check('get').allowed()")),
    ];
    let given = |field: &str| {
        let (now, before) = (format!("variables.secret.{field}"), format!("variables.before.{field}"));
        tell(
            demand(
                &format!("!has({now}) || {now} == null || has({before}) && {before} == {now} || variables.mayCreate"),
                &format!("spec.secret.{field}: you have no right to create secrets in this namespace"),
            ),
            &format!(
                "'spec.secret.{field}: ' + request.userInfo.username + ' has no right to create secrets in namespace ' + \
                 request.namespace + ', which is needed to give or change this field: leave it ' + \
                 (oldObject == null ? 'out' : 'as it is') + ', or have that right granted'"
            ),
        )
    };
    let needs_get = |field: &str, expression: &str, what: &str, instead: &str| {
        tell(
            demand(expression, &format!("{field}: you have no right to get the Secret with the private key")),
            &format!(
                "'{field}: ' + request.userInfo.username + ' has no right to get the Secret ' + variables.home + \
                 ' in namespace ' + request.namespace + ', which is needed to {what}: {instead}, or have that right granted'"
            ),
        )
    };
    let validations = vec![
        given("name"),
        given("template"),
        // A pair that is not accepted yet may have its Secret already, for the moment between two writes: whoever takes the
        // name away has it moved to the default name.
        needs_get(
            "spec.secret.name",
            "oldObject == null || variables.accepted || !variables.hadName || \
             has(variables.secret.name) && variables.secret.name != null || \
             variables.before.name == object.metadata.name || variables.mayCreate || variables.mayGet",
            "take the name of the Secret away",
            "leave it as it is",
        ),
        needs_get(
            "spec.secret",
            "!variables.accepted || variables.secret == variables.before || variables.mayGet",
            "change where and how the private key of an accepted key pair is kept",
            "leave spec.secret as it is",
        ),
    ];
    build(&format!("{}-secret-settings", installation.name), &requests, None, variables, validations)
}

/// A demand whose refusal is told by an expression, which may not ask the authorizer.
fn tell(demand: Validation, message: &str) -> Validation {
    Validation { message_expression: Some(message.to_owned()), ..demand }
}

/// The CEL expression for `spec.secret` of `object`, or for what the API server makes of an empty one.
fn settings(object: &str) -> String {
    let secret = format!("{object}.spec.secret");
    format!("(has({secret}) && type({secret}) == map ? {secret} : {})", defaults())
}

/// `spec.secret` with the defaults of the schema and nothing else: to leave it out means the same.
fn defaults() -> String {
    let defaults = serde_json::to_value(SecretSpec::default()).unwrap_or_default();
    let fields = defaults.as_object().into_iter().flatten();
    let fields =
        fields.map(|(name, value)| format!("{}: {}", quote(name), value.as_str().map_or("null".to_owned(), quote)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The expression is about flat texts only, as long as the schema has no other defaults there.
    #[test]
    fn the_defaults_are_texts() {
        let defaults = serde_json::to_value(SecretSpec::default()).unwrap();
        assert!(defaults.as_object().unwrap().values().all(Value::is_string), "{defaults}");
    }
}
