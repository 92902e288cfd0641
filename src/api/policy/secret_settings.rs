//! The permissions that the author of `spec.secret` needs.
//!
//! The operator writes the Secret with its own permissions. The name, and the labels, annotations and data of the template, can
//! make other controllers act on the Secret: so an author who sets them needs the permission to create Secrets. An existing private
//! key moves to where `spec.secret` says: so an author who changes it needs the permission to get the current Secret. So does an
//! author who changes `spec.rotation`, because that replaces the key in it.
//!
//! Unchanged values need no permission: anyone who may write KeyPairs can still change, say, the labels of a KeyPair that has a
//! template.

use k8s_openapi::api::admissionregistration::v1::Validation;
use kube::Resource;

use crate::api::{
    KeyPair,
    cel::quote,
    key_pair::SecretSpec,
    policy::{
        Installation, Policy,
        build::{MatchedRequests, policy as build, validation, variable},
    },
};

pub(super) fn policy(installation: &Installation) -> Policy {
    // Without the status, which only the operator writes, and without deletions.
    let (group, version, plural) = (KeyPair::group(&()), KeyPair::version(&()), KeyPair::plural(&()));
    let requests =
        MatchedRequests { group: &group, version: &version, resources: &[&plural], operations: &["CREATE", "UPDATE"] };
    let secrets = "authorizer.group('').resource('secrets').namespace(request.namespace)";
    let variables = vec![
        variable("secret", &settings("object", "secret", &defaults())),
        variable("before", &stored("secret", &defaults())),
        variable("rotation", &settings("object", "rotation", "{}")),
        variable("rotationBefore", &stored("rotation", "{}")),
        variable(
            "status",
            "oldObject != null && has(oldObject.status) && type(oldObject.status) == map ? oldObject.status : {}",
        ),
        variable("accepted", "has(variables.status.keyPairID)"),
        variable("hadName", "has(variables.before.name) && variables.before.name != null"),
        // The Secret with the private key, or the one that will have it.
        variable(
            "secretName",
            "has(variables.status.secretName) ? variables.status.secretName : \
             variables.hadName ? variables.before.name : \
             oldObject != null ? oldObject.metadata.name : ''",
        ),
        variable("mayCreate", &format!("{secrets}.check('create').allowed()")),
        variable("mayGet", &format!("{secrets}.name(variables.secretName).check('get').allowed()")),
    ];
    let given = |field: &str| {
        let (now, before) = (format!("variables.secret.{field}"), format!("variables.before.{field}"));
        with_message_expression(
            validation(
                &format!("!has({now}) || {now} == null || has({before}) && {before} == {now} || variables.mayCreate"),
                &format!("spec.secret.{field}: you have no permission to create secrets in this namespace"),
            ),
            &format!(
                "'spec.secret.{field}: ' + request.userInfo.username + ' has no permission to create secrets in namespace ' + \
                 request.namespace + ', which is required to set or change this field: ' + \
                 (oldObject == null ? 'omit it' : 'leave it unchanged') + ', or request that permission'"
            ),
        )
    };
    let needs_get = |field: &str, expression: &str, what: &str, remedy: &str| {
        with_message_expression(
            validation(expression, &format!("{field}: you have no permission to get the Secret with the private key")),
            &format!(
                "'{field}: ' + request.userInfo.username + ' has no permission to get the Secret ' + variables.secretName + \
                 ' in namespace ' + request.namespace + ', which is required to {what}: {remedy}, or request that permission'"
            ),
        )
    };
    let validations = vec![
        given("name"),
        given("template"),
        // Between two writes of the operator, a key pair can have a Secret before it is accepted. If the name is removed then, the
        // Secret moves to the default name.
        needs_get(
            "spec.secret.name",
            "oldObject == null || variables.accepted || !variables.hadName || \
             has(variables.secret.name) && variables.secret.name != null || \
             variables.before.name == object.metadata.name || variables.mayCreate || variables.mayGet",
            "remove the name of the Secret",
            "leave it unchanged",
        ),
        needs_get(
            "spec.secret",
            "!variables.accepted || variables.secret == variables.before || variables.mayGet",
            "change where and how the private key of an accepted key pair is stored",
            "leave spec.secret unchanged",
        ),
        needs_get(
            "spec.rotation",
            "!variables.accepted || variables.rotation == variables.rotationBefore || variables.mayGet",
            "change when the private key of an accepted key pair is replaced",
            "leave spec.rotation unchanged",
        ),
    ];
    build(&format!("{}-secret-settings", installation.name), &requests, None, variables, validations)
}

/// Adds a message expression, which must not use the authorizer.
pub(super) fn with_message_expression(validation: Validation, message: &str) -> Validation {
    Validation { message_expression: Some(message.to_owned()), ..validation }
}

/// The CEL expression for a field of the spec of `object` that is an object itself, or for `absent`.
pub(super) fn settings(object: &str, field: &str, absent: &str) -> String {
    let field = format!("{object}.spec.{field}");
    format!("(has({field}) && type({field}) == map ? {field} : {absent})")
}

/// The same for the stored object. An object that is older than the schema can have any form.
pub(super) fn stored(field: &str, absent: &str) -> String {
    let settings = settings("oldObject", field, absent);
    format!("oldObject != null && has(oldObject.spec) && type(oldObject.spec) == map ? {settings} : {absent}")
}

/// The CEL expression for an empty `spec.secret` with the defaults of the schema, which means the same as an absent one.
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

    /// The expression supports only strings at the top level, and the schema has no other defaults there.
    #[test]
    fn schema_defaults_are_strings() {
        let defaults = serde_json::to_value(SecretSpec::default()).unwrap();
        assert!(defaults.as_object().unwrap().values().all(Value::is_string), "{defaults}");
    }
}
