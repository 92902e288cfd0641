//! AuthorizedKeys, KnownHosts, and the ConfigMaps with their texts.

use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{AUTHORIZED_KEYS, CONFIG_MAPS, KNOWN_HOSTS, SECRETS, at, authorized_keys, config_map, known_hosts, with},
    script::{JSON, METADATA, METADATA_LIST, Script},
};

const STREAM: &str = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
const MANAGED: &str = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dkeypair-operator";

fn owner(uid: &str) -> Value {
    json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "name": "admins", "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

#[test]
fn config_map_writes_match_a_real_api_server() {
    let mut script = Script::new();
    for data in [
        json!({}),
        json!(null),
        json!([]),
        json!({ "a": "text\n" }),
        json!({ "a": "" }),
        json!({ "a": null }),
        json!({ "a": 1 }),
        json!({ "a b": "" }),
        json!({ "..": "" }),
        json!({ "..a": "" }),
        json!({ "a".repeat(254): "" }),
        json!({ "a": "x".repeat(1024 * 1024) }),
        json!({ "a": "x".repeat(1024 * 1024 + 1) }),
        json!({ "a": "ü".repeat(512 * 1024 + 1) }),
    ] {
        script.post("", &format!("{CONFIG_MAPS}?dryRun=All"), with(config_map("a"), &json!({ "data": data })));
    }
    for change in [
        json!({ "binaryData": { "b": "YQ==" } }),
        json!({ "binaryData": { "a": "YQ==", "b c": "YQ==" }, "unknown": 1 }),
        json!({ "binaryData": { "b": "no base64!" } }),
        json!({ "binaryData": {}, "immutable": false }),
    ] {
        script.post("", &format!("{CONFIG_MAPS}?dryRun=All"), with(config_map("a"), &change));
    }
    let path = at(CONFIG_MAPS, "own");
    script.post("made", CONFIG_MAPS, config_map("own"));
    script.post("", CONFIG_MAPS, config_map("own"));
    // The operator replaces what it has read.
    let whole = |change: Value| with(config_map("own"), &change);
    script.put(&path, whole(json!({ "metadata": { "uid": "{made.uid}", "resourceVersion": "{made.version}" }, "data": { "a": "2" } }))).keep("second");
    script.put(
        &path,
        whole(
            json!({ "metadata": { "uid": "{made.uid}", "resourceVersion": "{made.version}" }, "data": { "a": "3" } }),
        ),
    );
    script.put(
        &path,
        whole(
            json!({ "metadata": { "uid": "{made.uid}", "resourceVersion": "{second.version}" }, "data": { "a": "2" } }),
        ),
    );
    script.put(&path, whole(json!({ "metadata": { "uid": "another", "resourceVersion": "{second.version}" } })));
    script.put(
        &at(CONFIG_MAPS, "none"),
        with(config_map("none"), &json!({ "metadata": { "uid": "{made.uid}", "resourceVersion": "{made.version}" } })),
    );
    script.put(&path, whole(json!({ "data": null })));
    script.patch(&path, json!({ "data": { "a": "by hand" } }));
    script.patch(&path, json!({ "data": { "a": null } }));
    script.patch(&path, json!({ "immutable": true, "data": { "b": "1" } }));
    script.patch(&path, json!({ "data": { "b": "2" } }));
    script.patch(&path, json!({ "binaryData": { "c": "YQ==" } }));
    script.patch(&path, json!({ "immutable": null }));
    script.patch(&path, json!({ "metadata": { "labels": { "still": "editable" } } }));
    script.get(&path).accept(METADATA).keep("now");
    script.delete_with(&path, json!({ "preconditions": { "uid": "{now.uid}", "resourceVersion": "{made.version}" } }));
    script
        .delete_with(&path, json!({ "preconditions": { "uid": "{now.uid}", "resourceVersion": "{now.version}" } }))
        .accept(METADATA);
    script.get(&path);
    script.get(&path).accept(METADATA);
    conforms("config-maps", &script);
}

#[test]
fn watches_of_targets_match_a_real_api_server() {
    let mut script = Script::new();
    let labels = |by: Value| json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": by } } });
    script.post("owner", AUTHORIZED_KEYS, authorized_keys("admins", &json!({})));
    script.post("", CONFIG_MAPS, config_map("foreign"));
    script.post("first", CONFIG_MAPS, with(config_map("first"), &labels(json!("keypair-operator"))));
    let mut names = Vec::new();
    for collection in [CONFIG_MAPS, AUTHORIZED_KEYS, KNOWN_HOSTS] {
        for query in [STREAM.to_owned(), format!("{STREAM}&{MANAGED}"), format!("watch=true&{MANAGED}")] {
            // Kubernetes adds a ConfigMap to each namespace.
            if collection == CONFIG_MAPS && query == STREAM {
                continue;
            }
            for accept in [JSON, METADATA] {
                let name = format!("w{}", names.len());
                script.watch(&name, &format!("{collection}?{query}"), accept);
                names.push(name);
            }
        }
    }
    let owned = json!({ "metadata": { "ownerReferences": [owner("{owner.uid}")] } });
    let target = with(with(config_map("target"), &labels(json!("keypair-operator"))), &owned);
    let path = at(CONFIG_MAPS, "target");
    script.post("", CONFIG_MAPS, target.clone());
    script.post("", CONFIG_MAPS, target);
    for change in [
        json!({ "data": { "a": "by hand" } }),
        labels(json!("Helm")),
        json!({ "data": { "a": "unseen" } }),
        labels(json!("keypair-operator")),
        labels(json!(null)),
        labels(json!("keypair-operator")),
        json!({ "metadata": { "ownerReferences": null } }),
        owned,
    ] {
        script.patch(&path, change);
    }
    script.post("", KNOWN_HOSTS, known_hosts("hosts", &json!({})));
    script.patch(&at(AUTHORIZED_KEYS, "admins"), labels(json!("keypair-operator")));
    script.patch(&at(KNOWN_HOSTS, "hosts"), json!({ "spec": { "hashHosts": true } }));
    script.get(&format!("{CONFIG_MAPS}?{MANAGED}")).accept(METADATA_LIST);
    script.get(&format!("{CONFIG_MAPS}?{MANAGED}&limit=1"));
    // The target is collected with its publication; others stay.
    script.delete(&at(AUTHORIZED_KEYS, "admins"));
    script.gone(&path);
    script.get(&at(CONFIG_MAPS, "first"));
    script.delete(&at(KNOWN_HOSTS, "hosts"));
    for name in &names {
        script.events(name);
    }
    conforms("targets", &script);
}

#[test]
fn publications_match_a_real_api_server() {
    let mut script = Script::new();
    let entries = |entries: Value| json!({ "entries": entries });
    for spec in [
        json!({}),
        json!(null),
        json!("text"),
        json!({ "unknown": 1, "target": { "unknown": 1 }, "layout": null }),
        json!({ "layout": "EntryPerKey", "hashHosts": true }),
        json!({ "layout": "Nothing" }),
        entries(json!(null)),
        entries(json!([{ "keyPair": "web" }])),
        entries(json!([{ "keyPair": "web", "unknown": 1, "options": null, "namespace": null }])),
        entries(json!([{ "selector": {} }])),
        entries(json!([{ "selector": { "matchLabels": { "team": "red" } }, "namespace": "bank" }])),
        entries(
            json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["red"] }] } }]),
        ),
        entries(
            json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "Exists", "values": null }] } }]),
        ),
        entries(json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "In" }] } }])),
        entries(
            json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "Exists", "values": ["red"] }] } }]),
        ),
        entries(json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "Near" }] } }])),
        entries(json!([{}])),
        entries(json!([{ "keyPair": "web", "selector": {} }])),
        entries(json!([{ "keyPair": "Bad Name" }])),
        entries(
            json!([{ "keyPair": "web", "options": { "restrict": true, "pty": true, "from": ["10.0.0.0/8", "!10.0.0.1"] } }]),
        ),
        entries(json!([{ "keyPair": "web", "options": { "from": ["!10.0.0.1"] } }])),
        entries(json!([{ "keyPair": "web", "options": { "principals": ["alice"] } }])),
        entries(json!([{ "keyPair": "web", "options": { "principals": ["alice"], "certAuthority": true } }])),
        entries(json!([{ "keyPair": "web", "options": { "restrict": "yes" } }])),
        entries(json!((0..65).map(|n| json!({ "keyPair": format!("k{n}") })).collect::<Vec<_>>())),
        json!({ "target": { "configMap": { "name": "a", "key": "b" } } }),
        json!({ "target": { "secret": {} } }),
        json!({ "target": { "secret": {}, "configMap": {} } }),
        json!({ "target": { "secret": null, "configMap": {} } }),
        json!({ "target": { "configMap": { "name": "sh.helm.release.v1" } } }),
        json!({ "target": { "secret": { "name": "sh.helm.release.v1" } } }),
    ] {
        for (collection, object) in
            [(AUTHORIZED_KEYS, authorized_keys("aa", &spec)), (KNOWN_HOSTS, known_hosts("aa", &spec))]
        {
            script.post("", &format!("{collection}?dryRun=All"), object);
        }
    }
    for spec in [
        entries(json!([{ "hosts": ["git.example.com"], "keyPair": "web" }])),
        entries(json!([{ "hosts": ["git.example.com"], "publicKeys": ["ssh-ed25519 nonsense"], "marker": "Revoked" }])),
        entries(json!([{ "hosts": ["git.example.com"], "publicKeys": ["ssh-ed25519 nonsense"], "namespace": "bank" }])),
        entries(json!([{ "hosts": ["git.example.com"], "publicKeys": [] }])),
        entries(json!([{ "hosts": ["git.example.com"], "publicKeys": ["a"], "selector": {} }])),
        entries(json!([{ "hosts": [], "keyPair": "web" }])),
        entries(json!([{ "hosts": ["!a"], "keyPair": "web" }])),
        entries(json!([{ "hosts": ["a b"], "keyPair": "web" }])),
        entries(json!([{ "hosts": ["a"], "keyPair": "web", "marker": "None" }])),
        json!({ "hashHosts": true, "entries": [{ "hosts": ["*.example.com"], "keyPair": "web" }] }),
        json!({ "hashHosts": false, "entries": [{ "hosts": ["*.example.com"], "keyPair": "web" }] }),
    ] {
        script.post("", &format!("{KNOWN_HOSTS}?dryRun=All"), known_hosts("aa", &spec));
    }
    script.post("", AUTHORIZED_KEYS, authorized_keys("sh.helm.release.v1", &json!({})));
    let path = at(AUTHORIZED_KEYS, "aa");
    let status = format!("{path}/status");
    script.post("made", AUTHORIZED_KEYS, with(authorized_keys("aa", &json!({})), &json!({ "status": { "keys": 1 } })));
    let condition = json!({ "type": "Ready", "status": "True", "reason": "Published", "message": "m", "lastTransitionTime": "2020-01-01T00:00:00Z" });
    let bare = |status: Value| {
        with(
            authorized_keys("aa", &json!({})),
            &json!({ "metadata": { "namespace": "{ns}", "uid": "{made.uid}", "resourceVersion": "{now.version}" }, "status": status }),
        )
    };
    for change in [
        json!({ "observedGeneration": 1, "keys": 2, "keyPairs": 1, "conditions": [condition], "target": { "kind": "ConfigMap", "name": "aa", "key": "authorized_keys" } }),
        json!({ "observedGeneration": 1, "keys": 2, "keyPairs": 1, "conditions": [condition], "target": { "kind": "ConfigMap", "name": "aa", "key": "authorized_keys" } }),
        json!({ "conditions": [condition, condition] }),
        json!({ "target": { "kind": "ConfigMap" } }),
        json!({ "keys": "2" }),
        json!({ "keys": null, "unknown": 1 }),
    ] {
        script.get(&path).keep("now");
        script.put(&status, bare(change)).accept(METADATA);
    }
    script.patch(&path, json!({ "spec": { "entries": [{ "keyPair": "web" }] }, "status": { "keys": 7 } }));
    script.patch(&path, json!({ "spec": { "entries": [{ "keyPair": "web", "selector": {} }] } }));
    script.patch(&path, json!({ "spec": { "target": { "secret": { "name": "s" } } } }));
    script.patch(&path, json!({ "spec": { "target": { "configMap": {} } } }));
    script.patch(&path, json!({ "spec": { "target": { "secret": null, "configMap": {} } } }));
    script.patch(&path, json!({ "spec": null }));
    script.get(&path);
    // A Secret as the target.
    let secret = json!({ "metadata": { "name": "text", "ownerReferences": [owner("{made.uid}")] }, "type": "Opaque", "data": { "authorized_keys": "" } });
    script.post("text", SECRETS, secret.clone());
    script.put(&at(SECRETS, "text"), with(secret, &json!({ "metadata": { "uid": "{text.uid}", "resourceVersion": "{text.version}" }, "data": { "authorized_keys": "YQ==" } })));
    script.delete(&path);
    script.gone(&at(SECRETS, "text"));
    conforms("publications", &script);
}
