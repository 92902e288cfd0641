//! Denied permissions, with the errors of RBAC.

use super::{failure::Failure, request::ApiRequest, state::State, watches::is_meant};

/// Checks that `user` may send this request.
pub(super) fn authorize(state: &State, user: &str, request: &ApiRequest) -> Result<(), Failure> {
    let (verb, right) = (request.verb(), request.rbac_resource());
    let meant = |(who, denied, what): &(String, String, String)| {
        is_meant(who, user) && is_meant(denied, verb) && is_meant(what, &right)
    };
    if !state.denied.iter().any(meant) {
        return Ok(());
    }
    let resource = request.resource;
    let place = match (resource.plural, request.namespace.as_str(), request.name.as_str()) {
        // A request for a single Namespace counts as a request in that namespace.
        ("namespaces", _, "") | (_, "", _) if resource.plural != "namespaces" || request.name.is_empty() => {
            "at the cluster scope".to_owned()
        }
        ("namespaces", _, name) => format!("in the namespace \"{name}\""),
        (_, namespace, _) => format!("in the namespace \"{namespace}\""),
    };
    let words =
        format!("User \"{user}\" cannot {verb} resource \"{right}\" in API group \"{}\" {place}", resource.group);
    // A request for a collection has no name, and neither has a create.
    Err(Failure::forbidden(resource, &request.name, &words))
}
