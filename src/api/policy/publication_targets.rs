//! The permissions that the author of a publication needs.
//!
//! The operator writes the ConfigMap or Secret with its own permissions. So an author who creates a publication, or changes its
//! target, needs the permission to create such objects in the namespace. An unchanged target needs no permission: anyone who may
//! write publications can still change, say, the entries.

use kube::Resource;

use super::secret_settings::{settings, stored, with_message_expression};
use crate::{
    api::{
        AuthorizedKeys, KnownHosts,
        cel::quote,
        policy::{
            Installation, Policy,
            build::{MatchedRequests, policy as build, validation, variable},
        },
    },
    domain::secret::RELEASE_NAME_PREFIX,
};

pub(super) fn policy(installation: &Installation) -> Policy {
    let (group, version) = (AuthorizedKeys::group(&()), AuthorizedKeys::version(&()));
    let plurals = [AuthorizedKeys::plural(&()), KnownHosts::plural(&())];
    // Without the status, which only the operator writes, and without deletions.
    let requests = MatchedRequests {
        group: &group,
        version: &version,
        resources: &plurals.each_ref().map(AsRef::as_ref),
        operations: &["CREATE", "UPDATE"],
    };
    let part = |kind: &str| {
        let field = format!("variables.target.{kind}");
        format!("(has({field}) && type({field}) == map ? {field} : {{}})")
    };
    let variables = vec![
        variable("target", &settings("object", "target", "{}")),
        variable("isUnchanged", &format!("oldObject != null && variables.target == ({})", stored("target", "{}"))),
        variable("isSecret", "has(variables.target.secret) && variables.target.secret != null"),
        variable("chosen", &format!("variables.isSecret ? {} : {}", part("secret"), part("configMap"))),
        variable(
            "name",
            "has(variables.chosen.name) && variables.chosen.name != null ? variables.chosen.name : object.metadata.name",
        ),
        variable("resource", "variables.isSecret ? 'secrets' : 'configmaps'"),
        variable(
            "mayCreate",
            "authorizer.group('').resource(variables.resource).namespace(request.namespace).check('create').allowed()",
        ),
    ];
    let (namespace, own) = (quote(&installation.namespace), &installation.webhook_configuration);
    let validations = vec![
        with_message_expression(
            validation(
                "variables.isUnchanged || variables.mayCreate",
                "spec.target: you have no permission to create this object in this namespace",
            ),
            "'spec.target: ' + request.userInfo.username + ' has no permission to create ' + variables.resource + ' in namespace ' + \
             request.namespace + ', which is required to publish keys there: ' + \
             (oldObject == null ? 'choose another target' : 'leave it unchanged') + ', or request that permission'",
        ),
        validation(
            &format!("variables.isUnchanged || !variables.name.startsWith({})", quote(RELEASE_NAME_PREFIX)),
            &format!(
                "spec.target: the name must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for its releases: set another name"
            ),
        ),
        validation(
            &format!(
                "variables.isUnchanged || request.namespace != {namespace} || \
                 !(variables.name == {} || variables.name.startsWith({}))",
                quote(own),
                quote(&format!("{own}-")),
            ),
            &format!(
                "spec.target: in the namespace of the operator, the name must not be {own} or begin with {own}-, which are the names of the operator's own objects: set another name"
            ),
        ),
    ];
    build(&format!("{}-publication-targets", installation.name), &requests, None, variables, validations)
}
