//! Deletes: immediately, or by a deletion timestamp if the object has finalizers.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    object,
    request::{ApiRequest, json},
    resource::Resource,
    state::State,
};

/// The garbage collector's finalizer for deletion in the foreground.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The garbage collector's finalizer for orphaning the dependents.
pub(super) const ORPHAN: &str = "orphan";

/// Deletes an object, and returns the response.
pub(super) fn delete(state: &mut State, user: &str, request: &ApiRequest, body: &[u8]) -> Result<Value, Failure> {
    let resource = request.resource;
    let options = if body.is_empty() { Value::Null } else { json(body)? };
    let there = state.get(resource, &request.namespace, &request.name);
    let there = there.ok_or_else(|| Failure::not_found(resource, &request.name))?;
    check_preconditions(resource, &request.name, &options, &there)?;
    let dry_run = request.is_dry_run() || object::list(&options, "/dryRun").iter().any(|word| word == "All");
    let policy = match object::text(&options, "/propagationPolicy") {
        "" => request.parameter("propagationPolicy"),
        policy => policy,
    };
    let mut after = Value::clone(&there);
    let mut finalizers: Vec<String> = object::finalizers(&there).map(str::to_owned).collect();
    finalizers.retain(|finalizer| policy.is_empty() || finalizer != FOREGROUND && finalizer != ORPHAN);
    match policy {
        "Foreground" => finalizers.push(FOREGROUND.to_owned()),
        "Orphan" => finalizers.push(ORPHAN.to_owned()),
        _ => {}
    }
    let key = (resource.plural, request.namespace.clone(), request.name.clone());
    let is_namespace = resource.plural == "namespaces";
    if finalizers.is_empty() && !is_namespace {
        if !dry_run {
            state.commit(key, user, None);
        }
        return Ok(success(resource, &there));
    }
    if !object::is_deleting(&there) {
        let now = state.timestamp();
        object::set_metadata(&mut after, "deletionTimestamp", now);
        if is_namespace {
            object::set_entry(&mut after, &["status"], "phase", json!("Terminating"));
        } else {
            object::set_metadata(&mut after, "deletionGracePeriodSeconds", json!(0));
        }
        if let Some(generation) = there.pointer("/metadata/generation").and_then(Value::as_u64) {
            object::set_metadata(&mut after, "generation", json!(generation + 1));
        }
    }
    if !finalizers.is_empty() {
        object::set_metadata(&mut after, "finalizers", json!(finalizers));
    }
    if dry_run || after == *there {
        return Ok(after);
    }
    Ok(state.commit(key, user, Some(after)).map(|after| Value::clone(&after)).unwrap_or_default())
}

fn check_preconditions(resource: &Resource, name: &str, options: &Value, there: &Value) -> Result<(), Failure> {
    let (uid, version) =
        (object::text(options, "/preconditions/uid"), object::text(options, "/preconditions/resourceVersion"));
    let now = object::uid(there);
    if !uid.is_empty() && uid != now && resource.plural == "namespaces" {
        let words = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {now}");
        return Err(Failure::conflict(resource, name, &words));
    }
    if !uid.is_empty() && uid != now {
        let words = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({now}). The object might have been deleted and then recreated"
        );
        return Err(conflict(resource, name, &words));
    }
    let now = object::text(there, "/metadata/resourceVersion");
    if !version.is_empty() && version != now {
        let words = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({now}). The object might have been modified"
        );
        return Err(conflict(resource, name, &words));
    }
    Ok(())
}

/// Like every other conflict, but with the kind in place of the resource.
fn conflict(resource: &Resource, name: &str, words: &str) -> Failure {
    let message = format!("Operation cannot be fulfilled on {} \"{name}\": {words}", resource.qualified_kind());
    Failure::new(409, "Conflict", message).about(resource.kind, resource.group, name)
}

fn success(resource: &Resource, gone: &Value) -> Value {
    let mut details = json!({ "name": object::name(gone), "kind": resource.plural, "uid": object::uid(gone) });
    if !resource.group.is_empty() {
        object::set_entry(&mut details, &[], "group", json!(resource.group));
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}
