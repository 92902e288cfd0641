//! Compares with a fresh operator: it must change none of the current objects, and from the same specs, it must create the same objects in
//! an empty cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{
    Guarantees,
    facts::{
        accepted, annotation, is_edited, is_import, name, namespace, owner, owners, ready, rotation, text, uid,
        waits_for_publication, wanted_secret,
    },
};
use crate::{Server, history::Setup, keys::Keys, replica::Host, trace::Trace};

/// How long the fresh operator runs. There are no faults to wait for.
const TIME: Duration = Duration::from_secs(12);

/// Runs an operator without any state against a server.
async fn run(server: &Server, setup: &Setup, seed: u64, time: Duration) {
    let setup = Setup { replicas: 1, answers_reviews: false, ..setup.clone() };
    let working = {
        let server = server.clone();
        tokio::spawn(async move { server.run().await })
    };
    let mut host = Host::new(0, seed, &setup, server, &Arc::new(Keys::new(seed)), &Trace::new(false));
    host.start();
    sleep(time).await;
    host.crash(0);
    tokio::task::yield_now().await;
    working.abort();
}

/// The changes that a fresh operator makes to the current objects. There should be none.
pub async fn changes_of_a_fresh_operator(
    server: &Server,
    setup: &Setup,
    seed: u64,
    guarantees: &Guarantees,
) -> Vec<String> {
    let copy = Server::new(seed ^ 1);
    copy.restore(&server.snapshot());
    let ahead = server.now().duration_since(copy.now()).as_millis();
    copy.jump(i64::try_from(ahead).unwrap_or_default());
    let before = state(&copy);
    run(&copy, setup, seed, TIME).await;
    let after = state(&copy);
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let key_pairs = server.objects("keypairs");
    let now = server.now();
    // A fresh operator has to verify each target first, and until then the status of a rotation that waits names all publications.
    let is_open = |key_pair: &&Value| {
        is_open(key_pair, &key_pairs, guarantees)
            || is_about_to_rotate(key_pair, now)
            || waits_for_publication(key_pair)
    };
    let open: BTreeSet<&str> = key_pairs.iter().filter(is_open).map(uid).collect();
    let is_about = |object: &Value| open.contains(uid(object)) || owner(object).is_some_and(|of| open.contains(of));
    let belongs_to_open = |state: &BTreeMap<String, Value>, key: &str| state.get(key).is_some_and(is_about);
    // The message about a conflict depends on the owner of the Secret, which can be such a KeyPair.
    let describes_owner = |state: &BTreeMap<String, Value>, key: &str| {
        state.get(key).is_some_and(|object| {
            let secret = format!("secrets {}/{}", namespace(object), wanted_secret(object));
            ready(object).1 == "SecretConflict" && belongs_to_open(&after, &secret)
        })
    };
    let states = [&before, &after];
    // What is published depends on the KeyPairs.
    let is_published = |object: &Value| {
        let kind = |owner: &Value| matches!(text(owner, "/kind"), Some("AuthorizedKeys" | "KnownHosts"));
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        kind(object) || owners.into_iter().flatten().any(kind)
    };
    let may_change = |key: &str| {
        !open.is_empty() && states.iter().any(|state| state.get(key).is_some_and(is_published))
            || states.iter().any(|state| belongs_to_open(state, key))
            || states.iter().all(|state| describes_owner(state, key))
    };
    let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key) && !may_change(key));
    changed
        .map(|key| {
            let told = |state: &BTreeMap<String, Value>| state.get(key).map_or("nothing".to_owned(), brief);
            format!("a fresh operator changes {key}: from {} to {}", told(&before), told(&after))
        })
        .collect()
}

/// Whether a fresh operator may decide differently about a `KeyPair` that is not accepted: if a policy removed the owner from its Secret,
/// or if an older one, or one created in the same second, waits for the slot, name or token that this one was granted. If a policy removed
/// the owner, it may also describe a conflict about the Secret of an accepted one differently, because nothing leads it to the other
/// Secrets.
fn is_open(key_pair: &Value, key_pairs: &[Value], guarantees: &Guarantees) -> bool {
    let waits = |of: &Value| {
        let reason = ready(of).1;
        matches!(reason, "QuotaExceeded" | "KeyPairNameConflict") || reason.starts_with("Idempotent")
    };
    let created = |of: &Value| text(of, "/metadata/creationTimestamp").map(str::to_owned);
    let is_passed_over = |waiting: &Value, other: &Value| waits(waiting) && created(waiting) <= created(other);
    let is_rival = |other: &Value| {
        uid(other) != uid(key_pair)
            && namespace(other) == namespace(key_pair)
            && accepted(other).is_none()
            && (is_passed_over(key_pair, other) || is_passed_over(other, key_pair))
    };
    let is_accepted = accepted(key_pair).is_some();
    let lacks_owner = guarantees.may_have_lost_owner(uid(key_pair));
    lacks_owner && (!is_accepted || ready(key_pair).1 == "SecretConflict")
        || !is_accepted && key_pairs.iter().any(is_rival)
}

/// Whether a step of a rotation is due while the fresh operator runs.
fn is_about_to_rotate(key_pair: &Value, now: Timestamp) -> bool {
    let soon = |time: Timestamp| {
        (-TIME.as_secs_f64()..2.0 * TIME.as_secs_f64()).contains(&(time.duration_since(now).as_secs_f64()))
    };
    let duration = |field: &str| {
        let text = text(key_pair, &format!("/spec/rotation/{field}")).unwrap_or("24h");
        text.parse::<SignedDuration>().unwrap_or_default()
    };
    let keys = key_pair.pointer("/status/keys").and_then(Value::as_array);
    let mut previous = keys.into_iter().flatten().filter(|key| text(key, "/phase") == Some("Previous"));
    let replaced: Option<Timestamp> = previous.next().and_then(|key| text(key, "/since")?.parse().ok());
    let switch: Option<Timestamp> =
        text(key_pair, "/status/rotation/nextSwitch").and_then(|next_switch| next_switch.parse().ok());
    let end = replaced.and_then(|since| since.checked_add(duration("keepAfter")).ok());
    let begin = switch.and_then(|switch| switch.checked_sub(duration("publishBefore")).ok());
    [end, switch, begin].into_iter().flatten().any(soon)
}

/// The objects that the operator writes, without `managedFields`.
fn state(server: &Server) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for resource in ["keypairs", "secrets", "configmaps", "authorizedkeys", "knownhosts"] {
        for mut object in server.objects(resource) {
            let key = format!("{resource} {}/{}", namespace(&object), name(&object));
            if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            all.insert(key, object);
        }
    }
    all
}

/// An object as text, without private keys.
fn brief(object: &Value) -> String {
    let mut shown = object.clone();
    if let Some(data) = shown.get_mut("data").and_then(Value::as_object_mut) {
        data.values_mut().for_each(|value| *value = json!("…"));
    }
    shown.to_string()
}

/// The differences, except permitted ones, between the current objects and those that the same specs produce in an empty cluster.
pub async fn differences_from_an_empty_cluster(
    server: &Server,
    setup: &Setup,
    seed: u64,
    guarantees: &Guarantees,
) -> Vec<String> {
    let empty = Server::new(seed ^ 2);
    let create = |resource: &str, object: &Value| {
        let (path, body) = creation(resource, object);
        empty.request("admin", "POST", &path, "application/json", Some(&body));
    };
    server.objects("namespaces").iter().for_each(|object| create("namespaces", object));
    let mut key_pairs = server.objects("keypairs");
    let uids: BTreeSet<&str> = key_pairs.iter().map(uid).collect();
    let secrets = server.objects("secrets");
    // A Secret whose KeyPair was deleted counts as foreign, too.
    let foreign =
        secrets.iter().filter(|secret| !owner(secret).into_iter().chain(owners(secret)).any(|of| uids.contains(of)));
    foreign.for_each(|object| create("secrets", object));
    key_pairs.sort_by_key(|object| {
        (text(object, "/metadata/creationTimestamp").unwrap_or_default().to_owned(), name(object).to_owned())
    });
    for object in &key_pairs {
        create("keypairs", object);
        // Creation timestamps have a resolution of one second, and the oldest KeyPair has priority.
        empty.jump(1000);
    }
    run(&empty, setup, seed, TIME).await;
    let mut found = Vec::new();
    let mut namespaces: BTreeMap<&str, Vec<(&Value, Value)>> = BTreeMap::new();
    for object in &key_pairs {
        if let Some(fresh) = empty.object("keypairs", namespace(object), name(object)) {
            namespaces.entry(namespace(object)).or_default().push((object, fresh));
        }
    }
    for (namespace, pairs) in namespaces {
        let is_same = |(object, fresh): &(&Value, Value)| accepted(object).is_some() == accepted(fresh).is_some();
        let untouched = |(object, _): &(&Value, Value)| !guarantees.is_modified_by_others(uid(object));
        // The KeyPair that was accepted first may hold a slot that an older one gets in the empty cluster.
        if !pairs.iter().all(is_same) || !pairs.iter().all(untouched) {
            continue;
        }
        let may_differ = |object: &Value, fresh: &Value| {
            is_open(object, &key_pairs, guarantees)
                || has_another_type(server, &empty, object, fresh)
                || is_offered_another_key(server, object)
                || has_another_kind(object, fresh)
                || both_wait_for_a_secret(object, fresh)
                || is_in_the_way(server, object)
                || repeats_what_was_edited(server, object)
        };
        for (object, fresh) in &pairs {
            let shown = |object: &Value| comparable(object).to_string();
            // A replay shows the result of its original.
            let repeats_what_may_differ =
                || pairs.iter().any(|(other, fresh)| is_replay(object, other) && may_differ(other, fresh));
            if shown(object) != shown(fresh) && !may_differ(object, fresh) && !repeats_what_may_differ() {
                let (now, fresh) = (shown(object), shown(fresh));
                found.push(format!("{namespace}/{}: {now}; in an empty cluster: {fresh}", name(object)));
            }
            found.extend(of_secrets(server, &empty, object));
        }
    }
    found
}

fn creation(resource: &str, object: &Value) -> (String, Value) {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = object.pointer("/metadata").and_then(|metadata| metadata.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut body = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    for field in ["apiVersion", "kind", "spec", "data", "type", "immutable"] {
        if let Some(value) = object.get(field).filter(|_| resource != "namespaces") {
            body.insert(field.to_owned(), value.clone());
        }
    }
    let path = match resource {
        "namespaces" => "/api/v1/namespaces".to_owned(),
        "secrets" => format!("/api/v1/namespaces/{}/secrets", namespace(object)),
        _ => format!("/apis/keypairs.dev/v1alpha1/namespaces/{}/keypairs", namespace(object)),
    };
    (path, Value::Object(body))
}

/// The part of a status that depends only on the specs.
fn comparable(key_pair: &Value) -> Value {
    let (status, reason) = ready(key_pair);
    let field = |name: &str| key_pair.pointer("/status").and_then(|status| status.get(name)).cloned();
    // Without `spec.generate`, a KeyPair may have adopted a key of any type, and may have moved it since.
    // A rotation may have changed it to the type in the spec, or may still have to.
    let is_any = !is_import(key_pair) && (key_pair.pointer("/spec/generate").is_none() || rotation(key_pair).is_some());
    let kind = |name: &str| field(name).filter(|_| !is_any);
    json!({
        "ready": status,
        "reason": reason,
        "name": field("keyPairName"),
        "secret": field("secretName"),
        "algorithm": kind("algorithm"),
        "bits": kind("bits"),
        "error": field("error"),
    })
}

/// Whether a `KeyPair` is refused because its Secret needs another type, which cannot be changed in place.
fn has_another_type(server: &Server, empty: &Server, key_pair: &Value, fresh: &Value) -> bool {
    let type_of = |server: &Server, key_pair: &Value| {
        let secret = server.object("secrets", namespace(key_pair), text(key_pair, "/status/secretName")?)?;
        text(&secret, "/type").map(str::to_owned)
    };
    ready(key_pair).1 == "InvalidSecret" && type_of(server, key_pair) != type_of(empty, fresh)
}

/// Whether the Secret that an accepted `KeyPair` conflicts with is offered to it for adoption: in the empty cluster, it adopts that key.
fn is_offered_another_key(server: &Server, key_pair: &Value) -> bool {
    let secret = server.object("secrets", namespace(key_pair), wanted_secret(key_pair));
    let is_offered = |secret: &Value| annotation(secret, "keypairs.dev/adopt") == Some(name(key_pair));
    ready(key_pair).1 == "SecretConflict" && accepted(key_pair).is_some() && secret.as_ref().is_some_and(is_offered)
}

/// Whether the spec of a `KeyPair` requests another type of key than the one that it adopted, or has since its rotation ended before the
/// switch to that type: in the empty cluster, it generates one.
fn has_another_kind(key_pair: &Value, fresh: &Value) -> bool {
    // Or its encoding is one for the kind that the spec asks for.
    matches!(ready(key_pair).1, "InvalidPublicKey" | "InvalidSecret")
        && accepted(key_pair).is_some()
        && !is_import(key_pair)
        && ["/status/algorithm", "/status/bits"].iter().any(|field| key_pair.pointer(field) != fresh.pointer(field))
}

/// Whether a Secret prevents the acceptance in both clusters. The message depends on the other Secrets.
fn both_wait_for_a_secret(key_pair: &Value, fresh: &Value) -> bool {
    // The Secret in its way can be one that it created itself, with a type that the spec no longer allows.
    let waits = |of: &Value| matches!(ready(of).1, "SecretConflict" | "InvalidSecret") && accepted(of).is_none();
    waits(key_pair) && waits(fresh)
}

/// Whether a `KeyPair` has the client token of `original`, which is accepted.
fn has_token_of(key_pair: &Value, original: &Value) -> bool {
    let token = |of| text(of, "/spec/clientToken");
    accepted(original).is_some()
        && namespace(original) == namespace(key_pair)
        && token(key_pair).is_some()
        && token(key_pair) == token(original)
}

/// Whether a `KeyPair` is not accepted and has the client token of `original`.
fn is_replay(key_pair: &Value, original: &Value) -> bool {
    accepted(key_pair).is_none() && has_token_of(key_pair, original)
}

/// Whether a `KeyPair` has the client token of another, and one of the two was edited: it is compared with the request as it was accepted,
/// and in the empty cluster with the present spec.
fn repeats_what_was_edited(server: &Server, key_pair: &Value) -> bool {
    let is_edited_original = |other: &Value| has_token_of(key_pair, other) && (is_edited(other) || is_edited(key_pair));
    matches!(ready(key_pair).1, "IdempotentReplay" | "IdempotentParameterMismatch" | "IdempotentProcessing")
        && server.objects("keypairs").iter().any(is_edited_original)
}

/// Whether the Secret of another `KeyPair` has the name that this one wants: each of two may want the name of the other's Secret.
fn is_in_the_way(server: &Server, key_pair: &Value) -> bool {
    let secret = server.object("secrets", namespace(key_pair), wanted_secret(key_pair));
    let of = secret.as_ref().and_then(owner).filter(|of| *of != uid(key_pair));
    let is_there = |of: &str| server.objects("keypairs").iter().any(|other| uid(other) == of);
    ready(key_pair).1 == "SecretConflict" && of.is_some_and(is_there)
}

/// Compares the Secrets of a `KeyPair` in both clusters, except the key.
fn of_secrets(server: &Server, empty: &Server, key_pair: &Value) -> Option<String> {
    let secret = text(key_pair, "/status/secretName").filter(|_| ready(key_pair).1 == "Generated")?;
    let (now, fresh) =
        (server.object("secrets", namespace(key_pair), secret)?, empty.object("secrets", namespace(key_pair), secret)?);
    // An adopted Secret keeps its owner's data, and in the empty cluster there is none to adopt.
    let is_adopted = |applied: &str| applied.contains(r#""adopted":true"#);
    if annotation(&now, "keypairs.dev/adopt").is_some()
        || annotation(&now, "keypairs.dev/applied").is_some_and(is_adopted)
    {
        return None;
    }
    let (mut now, mut fresh) = (shape(&now), shape(&fresh));
    // If the spec sets no type, the Secret keeps the one with which it was created.
    if text(key_pair, "/spec/secret/template/type").is_none() {
        [&mut now, &mut fresh].into_iter().filter_map(Value::as_object_mut).for_each(|shape| {
            shape.remove("type");
        });
    }
    (now != fresh).then(|| format!("Secret {}/{secret}: {now}; in an empty cluster: {fresh}", namespace(key_pair)))
}

fn shape(secret: &Value) -> Value {
    let data = secret.get("data").and_then(Value::as_object);
    let is_rotated = |name: &&String| [".next", ".previous"].iter().any(|suffix| name.ends_with(suffix));
    let entries: Vec<&String> =
        data.into_iter().flatten().map(|(name, _)| name).filter(|name| !is_rotated(name)).collect();
    let mut annotations = secret.pointer("/metadata/annotations").cloned().unwrap_or_default();
    if let Some(annotations) = annotations.as_object_mut() {
        for of_the_object in ["keypairs.dev/keypair-uid", "keypairs.dev/fingerprint", "keypairs.dev/revision"] {
            annotations.remove(of_the_object);
        }
        if let Some(applied) = annotations.get_mut("keypairs.dev/applied") {
            let mut record: Value =
                applied.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            for of_a_rotation in ["next", "previous"] {
                record.as_object_mut().and_then(|record| record.remove(of_a_rotation));
            }
            *applied = record;
        }
    }
    json!({
        "entries": entries,
        "type": secret.get("type"),
        "labels": secret.pointer("/metadata/labels"),
        "annotations": annotations,
        "owners": owners(secret).count(),
    })
}
