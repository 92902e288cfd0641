//! Rights that users do not have, as RBAC denies them.

use super::{failure::Failure, request::ApiRequest, state::State, watches::is_meant};

/// Whether `user` may do what is asked.
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
        // What concerns one Namespace is in it.
        ("namespaces", _, "") | (_, "", _) if resource.plural != "namespaces" || request.name.is_empty() => {
            "at the cluster scope".to_owned()
        }
        ("namespaces", _, name) => format!("in the namespace \"{name}\""),
        (_, namespace, _) => format!("in the namespace \"{namespace}\""),
    };
    let words =
        format!("User \"{user}\" cannot {verb} resource \"{right}\" in API group \"{}\" {place}", resource.group);
    // A collection has no name, and neither has what is not there yet.
    Err(Failure::forbidden(resource, &request.name, &words))
}
