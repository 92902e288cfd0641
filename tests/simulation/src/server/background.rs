//! The background work of Kubernetes' controllers and etcd: garbage collection, namespace deletion, compaction.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Server, object,
    removal::{FOREGROUND, ORPHAN},
    resource::{RESOURCES, Resource},
    state::{Key, State},
};

/// The user name of the controllers.
pub(super) const CONTROLLERS: &str = "system:kube-controller-manager";
/// How often the history is compacted, and how much of it is kept.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);
/// The maximum time until a controller reacts to a change, in milliseconds.
const MAX_DELAY: u64 = 1000;

pub(super) async fn run(server: &Server) {
    let mut compacted = Instant::now();
    loop {
        let due = COMPACTION_INTERVAL.saturating_sub(compacted.elapsed());
        if timeout(due, server.0.changed.notified()).await.is_err() {
            compacted = Instant::now();
            server.with(|state| {
                let version = state.version_before(COMPACTION_INTERVAL);
                state.compact(version);
            });
            continue;
        }
        let delay = server.with(|state| state.dice.below(MAX_DELAY));
        sleep(Duration::from_millis(delay)).await;
        server.with(|state| {
            // The controllers depend on the API server.
            if !state.is_down {
                collect(state);
            }
        });
    }
}

/// Runs the controllers until there is nothing left to do.
pub(super) fn collect(state: &mut State) {
    while collect_once(state) {}
}

fn collect_once(state: &mut State) -> bool {
    let uids: BTreeSet<(String, String)> = state
        .store
        .objects
        .iter()
        .map(|((_, namespace, _), object)| (namespace.clone(), object::uid(object).to_owned()))
        .collect();
    let keys: Vec<Key> = state.store.objects.keys().cloned().collect();
    let mut has_changed = false;
    for key in keys {
        let Some(object) = state.store.objects.get(&key).cloned() else { continue };
        has_changed |= match key.0 {
            "namespaces" => end_namespace(state, &key, &object),
            _ => collect_object(state, &uids, &key, &object),
        };
    }
    has_changed
}

/// Deletes an object whose owners no longer exist, and handles the garbage collector's finalizers.
fn collect_object(state: &mut State, uids: &BTreeSet<(String, String)>, key: &Key, object: &Value) -> bool {
    let owners = object::list(object, "/metadata/ownerReferences");
    let is_there = |owner: &&Value| {
        let known = Resource::of_kind(object::text(owner, "/apiVersion"), object::text(owner, "/kind"));
        let scope = known.is_some_and(|resource| !resource.is_namespaced);
        let place = if scope { String::new() } else { key.1.clone() };
        // For kinds that are not served, nothing shows whether the owner still exists.
        known.is_none() || uids.contains(&(place, object::text(owner, "/uid").to_owned()))
    };
    let left: Vec<Value> = owners.iter().filter(is_there).cloned().collect();
    if !owners.is_empty() && left.is_empty() && !object::is_deleting(object) {
        remove(state, key, object);
        return true;
    }
    if left.len() < owners.len() && !left.is_empty() {
        let mut after = object.clone();
        object::set_metadata(&mut after, "ownerReferences", json!(left));
        state.commit(key.clone(), CONTROLLERS, Some(after));
        return true;
    }
    if object::is_deleting(object) {
        if object::finalizers(object).any(|finalizer| finalizer == ORPHAN) {
            return orphan(state, key, object);
        }
        if object::finalizers(object).any(|finalizer| finalizer == FOREGROUND) {
            return delete_dependents(state, key, object);
        }
    }
    false
}

/// Deletes an object, or sets its deletion timestamp if it has finalizers.
fn remove(state: &mut State, key: &Key, object: &Value) {
    if object::finalizers(object).next().is_none() {
        state.commit(key.clone(), CONTROLLERS, None);
        return;
    }
    if !object::is_deleting(object) {
        let mut after = object.clone();
        let now = state.timestamp();
        object::set_metadata(&mut after, "deletionTimestamp", now);
        object::set_metadata(&mut after, "deletionGracePeriodSeconds", json!(0));
        if let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_u64) {
            object::set_metadata(&mut after, "generation", json!(generation + 1));
        }
        state.commit(key.clone(), CONTROLLERS, Some(after));
    }
}

fn dependents(state: &State, key: &Key, uid: &str) -> Vec<Key> {
    let owned = |object: &Value| {
        object::list(object, "/metadata/ownerReferences").iter().any(|owner| object::text(owner, "/uid") == uid)
    };
    let all = state.store.objects.iter();
    all.filter(|((_, namespace, _), object)| *namespace == key.1 && owned(object)).map(|(key, _)| key.clone()).collect()
}

fn without_finalizer(object: &Value, done: &str) -> Value {
    let mut after = object.clone();
    let left: Vec<&str> = object::finalizers(object).filter(|finalizer| *finalizer != done).collect();
    if left.is_empty() {
        object::remove_entry(&mut after, &["metadata"], "finalizers");
    } else {
        object::set_metadata(&mut after, "finalizers", json!(left));
    }
    after
}

/// Removes a finalizer, and deletes the object with the last one.
fn finalize(state: &mut State, key: &Key, object: &Value, done: &str) -> bool {
    let after = without_finalizer(object, done);
    let is_last = object::finalizers(&after).next().is_none();
    state.commit(key.clone(), CONTROLLERS, (!is_last).then_some(after));
    true
}

fn orphan(state: &mut State, key: &Key, object: &Value) -> bool {
    let uid = object::uid(object).to_owned();
    for dependent in dependents(state, key, &uid) {
        let Some(there) = state.store.objects.get(&dependent).cloned() else { continue };
        let mut after = Value::clone(&there);
        let left: Vec<Value> = object::list(&there, "/metadata/ownerReferences")
            .iter()
            .filter(|owner| object::text(owner, "/uid") != uid)
            .cloned()
            .collect();
        if left.is_empty() {
            object::remove_entry(&mut after, &["metadata"], "ownerReferences");
        } else {
            object::set_metadata(&mut after, "ownerReferences", json!(left));
        }
        state.commit(dependent, CONTROLLERS, Some(after));
    }
    finalize(state, key, object, ORPHAN)
}

fn delete_dependents(state: &mut State, key: &Key, object: &Value) -> bool {
    let mut has_changed = false;
    for dependent in dependents(state, key, object::uid(object)) {
        let Some(there) = state.store.objects.get(&dependent).cloned() else { continue };
        if !object::is_deleting(&there) {
            remove(state, &dependent, &there);
            has_changed = true;
        }
    }
    let waits = dependents(state, key, object::uid(object)).iter().any(|dependent| {
        let there = state.store.objects.get(dependent);
        there.is_some_and(|there| {
            object::list(there, "/metadata/ownerReferences").iter().any(|owner| {
                object::text(owner, "/uid") == object::uid(object)
                    && owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))
            })
        })
    });
    if waits { has_changed } else { finalize(state, key, object, FOREGROUND) }
}

/// Empties a namespace that is being deleted, one kind at a time in random order, and deletes it when it is empty.
fn end_namespace(state: &mut State, key: &Key, namespace: &Value) -> bool {
    if !object::is_deleting(namespace) {
        return false;
    }
    let kinds: Vec<&Resource> = RESOURCES.iter().filter(|resource| resource.is_namespaced).collect();
    let first = usize::try_from(state.dice.below(kinds.len() as u64)).unwrap_or_default();
    let mut is_empty = true;
    for resource in kinds.iter().cycle().skip(first).take(kinds.len()) {
        let content: Vec<Key> = state.of(resource, Some(&key.2)).map(|(key, _)| key.clone()).collect();
        is_empty &= content.is_empty();
        let mut has_changed = false;
        for key in content {
            let Some(there) = state.store.objects.get(&key).cloned() else { continue };
            if object::finalizers(&there).next().is_none() || !object::is_deleting(&there) {
                remove(state, &key, &there);
                has_changed = true;
            }
        }
        if has_changed {
            // The next kind follows a while later, so that a half-empty namespace can be observed.
            return false;
        }
    }
    if is_empty && object::finalizers(namespace).next().is_none() {
        state.commit(key.clone(), CONTROLLERS, None);
        return true;
    }
    false
}
