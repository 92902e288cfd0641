//! What a fresh operator makes of the same objects: of these very ones, nothing; of the last specs in an empty cluster, the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{
    Guarantees,
    facts::{
        accepted, annotation, is_edited, is_import, name, namespace, owner, owners, ready, text, uid, wanted_secret,
    },
};
use crate::{Server, history::Setup, keys::Keys, replica::Host, trace::Trace};

/// How long a fresh operator is given, which has no faults to wait for.
const TIME: Duration = Duration::from_secs(12);

/// Runs an operator that knows of nothing before against a server.
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

/// What a fresh operator changes of what there is. It should find nothing to do.
pub async fn changes_of_a_fresh_operator(
    server: &Server,
    setup: &Setup,
    seed: u64,
    guarantees: &Guarantees,
) -> Vec<String> {
    let copy = Server::new(seed ^ 1);
    copy.restore(&server.snapshot());
    let before = state(&copy);
    run(&copy, setup, seed, TIME).await;
    let after = state(&copy);
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let key_pairs = server.objects("keypairs");
    let open: BTreeSet<&str> =
        key_pairs.iter().filter(|key_pair| is_open(key_pair, &key_pairs, guarantees)).map(uid).collect();
    let is_about = |object: &Value| open.contains(uid(object)) || owner(object).is_some_and(|of| open.contains(of));
    let may_change = |key: &str| [&before, &after].iter().any(|state| state.get(key).is_some_and(is_about));
    let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key) && !may_change(key));
    changed
        .map(|key| {
            let told = |state: &BTreeMap<String, Value>| state.get(key).map_or("nothing".to_owned(), brief);
            format!("a fresh operator changes {key}: from {} to {}", told(&before), told(&after))
        })
        .collect()
}

/// Whether the next operator may decide otherwise about a pair that is not accepted: where a policy took from its Secret what says whose it
/// is, and where an older one, or one of the same second, wants the slot, name or token that it has been given.
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
    accepted(key_pair).is_none() && (guarantees.may_have_lost_owner(uid(key_pair)) || key_pairs.iter().any(is_rival))
}

/// The objects that the operator writes, without what is no part of what they say.
fn state(server: &Server) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for resource in ["keypairs", "secrets"] {
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

/// An object without private keys.
fn brief(object: &Value) -> String {
    let mut shown = object.clone();
    if let Some(data) = shown.get_mut("data").and_then(Value::as_object_mut) {
        data.values_mut().for_each(|value| *value = json!("…"));
    }
    shown.to_string()
}

/// How what there is differs from what the same specs give in an empty cluster, as far as it may not.
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
    // One that a pair has left behind is nobody's, either.
    let foreign =
        secrets.iter().filter(|secret| !owner(secret).into_iter().chain(owners(secret)).any(|of| uids.contains(of)));
    foreign.for_each(|object| create("secrets", object));
    key_pairs.sort_by_key(|object| {
        (text(object, "/metadata/creationTimestamp").unwrap_or_default().to_owned(), name(object).to_owned())
    });
    for object in &key_pairs {
        create("keypairs", object);
        // Who is the oldest is told by the second.
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
        // Who came first may have a slot that an older one would have.
        if !pairs.iter().all(is_same) || !pairs.iter().all(untouched) {
            continue;
        }
        let may_differ = |object: &Value, fresh: &Value| {
            is_open(object, &key_pairs, guarantees)
                || has_another_type(server, &empty, object, fresh)
                || is_offered_another_key(server, object)
                || has_adopted_another_kind(object, fresh)
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

/// What of a status is decided by the specs alone.
fn comparable(key_pair: &Value) -> Value {
    let (status, reason) = ready(key_pair);
    let field = |name: &str| key_pair.pointer("/status").and_then(|status| status.get(name)).cloned();
    // One that says nothing of its key may have adopted any, and have moved it since.
    let is_any = !is_import(key_pair) && key_pair.pointer("/spec/generate").is_none();
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

/// Whether a pair is refused because its Secret would have to have another type, which cannot be changed in place.
fn has_another_type(server: &Server, empty: &Server, key_pair: &Value, fresh: &Value) -> bool {
    let type_of = |server: &Server, key_pair: &Value| {
        let secret = server.object("secrets", namespace(key_pair), text(key_pair, "/status/secretName")?)?;
        text(&secret, "/type").map(str::to_owned)
    };
    ready(key_pair).1 == "InvalidSecret" && type_of(server, key_pair) != type_of(empty, fresh)
}

/// Whether a pair that has a key waits for a name whose Secret is offered to it: a pair that has none would take that one.
fn is_offered_another_key(server: &Server, key_pair: &Value) -> bool {
    let secret = server.object("secrets", namespace(key_pair), wanted_secret(key_pair));
    let is_offered = |secret: &Value| annotation(secret, "keypairs.dev/adopt") == Some(name(key_pair));
    ready(key_pair).1 == "SecretConflict" && accepted(key_pair).is_some() && secret.as_ref().is_some_and(is_offered)
}

/// Whether a pair adopted a key of a kind that the spec, which named none, asks for no longer: in the empty cluster it generates one.
fn has_adopted_another_kind(key_pair: &Value, fresh: &Value) -> bool {
    ready(key_pair).1 == "InvalidPublicKey"
        && accepted(key_pair).is_some()
        && !is_import(key_pair)
        && text(key_pair, "/status/algorithm") != text(fresh, "/status/algorithm")
}

/// Whether a pair is not accepted in either cluster, for a Secret in its way. What it is told to do depends on what it and others have.
fn both_wait_for_a_secret(key_pair: &Value, fresh: &Value) -> bool {
    [key_pair, fresh].iter().all(|of| ready(of).1 == "SecretConflict" && accepted(of).is_none())
}

/// Whether a pair has the client token of another that is accepted.
fn has_token_of(key_pair: &Value, original: &Value) -> bool {
    let token = |of| text(of, "/spec/clientToken");
    accepted(original).is_some()
        && namespace(original) == namespace(key_pair)
        && token(key_pair).is_some()
        && token(key_pair) == token(original)
}

/// Whether a pair repeats the request of `original`.
fn is_replay(key_pair: &Value, original: &Value) -> bool {
    accepted(key_pair).is_none() && has_token_of(key_pair, original)
}

/// Whether a pair repeats the request of another, which has been edited since it was accepted: it is compared with what was asked for then,
/// and in the empty cluster with what stands there now.
fn repeats_what_was_edited(server: &Server, key_pair: &Value) -> bool {
    let is_edited_original = |other: &Value| has_token_of(key_pair, other) && (is_edited(other) || is_edited(key_pair));
    matches!(ready(key_pair).1, "IdempotentReplay" | "IdempotentParameterMismatch" | "IdempotentProcessing")
        && server.objects("keypairs").iter().any(is_edited_original)
}

/// Whether a pair waits for a name that the Secret of another pair has: two may each want what the other has.
fn is_in_the_way(server: &Server, key_pair: &Value) -> bool {
    let secret = server.object("secrets", namespace(key_pair), wanted_secret(key_pair));
    let of = secret.as_ref().and_then(owner).filter(|of| *of != uid(key_pair));
    let is_there = |of: &str| server.objects("keypairs").iter().any(|other| uid(other) == of);
    ready(key_pair).1 == "SecretConflict" && of.is_some_and(is_there)
}

/// What the Secret of a pair is like, but for its key.
fn of_secrets(server: &Server, empty: &Server, key_pair: &Value) -> Option<String> {
    let secret = text(key_pair, "/status/secretName").filter(|_| ready(key_pair).1 == "Generated")?;
    let (now, fresh) =
        (server.object("secrets", namespace(key_pair), secret)?, empty.object("secrets", namespace(key_pair), secret)?);
    // One that was handed over is its owner's still, and in the empty cluster nobody hands one over.
    let is_adopted = |applied: &str| applied.contains(r#""adopted":true"#);
    if annotation(&now, "keypairs.dev/adopt").is_some()
        || annotation(&now, "keypairs.dev/applied").is_some_and(is_adopted)
    {
        return None;
    }
    let (mut now, mut fresh) = (shape(&now), shape(&fresh));
    // A type that the spec does not name is that which the Secret was made with: it cannot be changed, and any will do.
    if text(key_pair, "/spec/secret/template/type").is_none() {
        [&mut now, &mut fresh].into_iter().filter_map(Value::as_object_mut).for_each(|shape| {
            shape.remove("type");
        });
    }
    (now != fresh).then(|| format!("Secret {}/{secret}: {now}; in an empty cluster: {fresh}", namespace(key_pair)))
}

fn shape(secret: &Value) -> Value {
    let data = secret.get("data").and_then(Value::as_object);
    let entries: Vec<&String> = data.into_iter().flatten().map(|(name, _)| name).collect();
    let mut annotations = secret.pointer("/metadata/annotations").cloned().unwrap_or_default();
    for of_the_object in ["keypairs.dev/keypair-uid", "keypairs.dev/fingerprint"] {
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(of_the_object);
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
