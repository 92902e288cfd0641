//! Deletes, and what the controllers of Kubernetes do after them.

use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{KEY_PAIRS, SECRETS, at, key_pair, secret, with},
    script::{JSON, METADATA, Script, Step},
};

#[test]
fn deletes_match_a_real_api_server() {
    let mut script = Script::new();
    for (collection, object) in [(SECRETS, secret("aa")), (KEY_PAIRS, key_pair("aa", &json!({})))] {
        let path = at(collection, "aa");
        script.delete(&path);
        script.post("made", collection, object.clone());
        for preconditions in [
            json!({ "uid": "another" }),
            json!({ "resourceVersion": "1" }),
            json!({ "uid": "{made.uid}", "resourceVersion": "1" }),
        ] {
            script.delete_with(&path, json!({ "preconditions": preconditions }));
        }
        script.delete(&format!("{path}?dryRun=All"));
        script.delete_with(
            &path,
            json!({ "preconditions": { "uid": "{made.uid}", "resourceVersion": "{made.version}" } }),
        );
        script.get(&path);
        script.post("", collection, object.clone());
        script.delete(&path).accept(METADATA);
        script.post("", collection, object.clone());
        script.delete_with(&path, json!({ "propagationPolicy": "Background" }));
        script.post(
            "",
            collection,
            with(object.clone(), &json!({ "metadata": { "finalizers": ["example.com/hold"] } })),
        );
        script.delete(&path);
        script.delete(&path);
        script.get(&path).keep("held");
        script.patch(&path, json!({ "metadata": { "finalizers": ["example.com/hold", "example.com/more"] } }));
        script.patch(&path, json!({ "metadata": { "labels": { "still": "here" } } }));
        script.patch(&path, json!({ "metadata": { "deletionTimestamp": null } }));
        script.post("", collection, object);
        script.patch(&path, json!({ "metadata": { "finalizers": null } }));
        script.get(&path);
    }
    conforms("deleting", &script);
}

fn owned(name: &str, owners: &[Value]) -> Value {
    with(secret(name), &json!({ "metadata": { "ownerReferences": owners } }))
}

fn owner(label: &str) -> Value {
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": label, "uid": format!("{{{label}.uid}}"), "blockOwnerDeletion": true })
}

#[test]
fn garbage_collection_matches_a_real_cluster() {
    let mut script = Script::new();
    for name in ["one", "two", "foreground", "orphaning"] {
        script.post(name, KEY_PAIRS, key_pair(name, &json!({})));
    }
    script.post("", SECRETS, owned("of-one", &[owner("one")]));
    script.post("", SECRETS, owned("of-both", &[owner("one"), owner("two")]));
    script.post("", SECRETS, owned("of-foreground", &[owner("foreground")]));
    script.post("", SECRETS, owned("of-orphaning", &[owner("orphaning")]));
    script.post(
        "",
        SECRETS,
        owned("of-nobody", &[with(owner("one"), &json!({ "uid": "00000000-0000-4000-8000-000000000000" }))]),
    );
    script.gone(&at(SECRETS, "of-nobody"));
    script.get(SECRETS);
    script.delete(&at(KEY_PAIRS, "one"));
    script.gone(&at(SECRETS, "of-one"));
    // The garbage collector removes the missing owner from an object that has another one.
    script.0.push(Step::Until(at(SECRETS, "of-both"), |secret| {
        secret["metadata"]["ownerReferences"].as_array().map(Vec::len) == Some(1)
    }));
    script.get(&at(SECRETS, "of-both"));
    script.delete_with(&at(KEY_PAIRS, "foreground"), json!({ "propagationPolicy": "Foreground" }));
    script.gone(&at(KEY_PAIRS, "foreground"));
    script.get(&at(SECRETS, "of-foreground"));
    script.delete_with(&at(KEY_PAIRS, "orphaning"), json!({ "propagationPolicy": "Orphan" }));
    script.gone(&at(KEY_PAIRS, "orphaning"));
    script.get(&at(SECRETS, "of-orphaning"));
    script.delete(&at(KEY_PAIRS, "two"));
    script.gone(&at(SECRETS, "of-both"));
    // A new object with the same name is a different owner.
    script.post("again", KEY_PAIRS, key_pair("one", &json!({})));
    script.post("", SECRETS, owned("late", &[owner("one")]));
    script.gone(&at(SECRETS, "late"));
    conforms("garbage", &script);
}

#[test]
fn namespace_deletion_matches_a_real_cluster() {
    let mut script = Script::new();
    let space = "/api/v1/namespaces/{ns}";
    script.post("pair", KEY_PAIRS, key_pair("pair", &json!({})));
    script.post("", SECRETS, with(secret("held"), &json!({ "metadata": { "finalizers": ["example.com/hold"] } })));
    // Kinds are deleted in an arbitrary order, so only one of them is watched.
    script.watch(
        "pairs",
        &format!(
            "{KEY_PAIRS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        ),
        JSON,
    );
    script.watch("spaces", "/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3D{ns}", METADATA);
    script.delete_with(space, json!({ "preconditions": { "uid": "another" } }));
    script.delete(space);
    script.gone(&at(KEY_PAIRS, "pair"));
    script.0.push(Step::Until(at(SECRETS, "held"), |secret| secret["metadata"]["deletionTimestamp"].is_string()));
    script.post("", SECRETS, secret("new"));
    script.post("", KEY_PAIRS, key_pair("pair", &json!({})));
    script.patch(&at(SECRETS, "held"), json!({ "metadata": { "labels": { "still": "here" } } }));
    script.patch(&at(SECRETS, "held"), json!({ "metadata": { "finalizers": null } }));
    script.gone(space);
    script.post("", SECRETS, secret("new"));
    script.delete(space);
    script.events("pairs");
    script.post("space", "/api/v1/namespaces", json!({ "metadata": { "name": "{ns}" } }));
    script.post("", SECRETS, secret("new"));
    script.post("pair", KEY_PAIRS, key_pair("pair", &json!({})));
    script.events("pairs");
    conforms("namespaces", &script);
}
