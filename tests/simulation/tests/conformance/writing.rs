//! Creates, replaces and patches.

use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{EVENTS, KEY_PAIRS, LEASES, SECRETS, at, key_pair, secret, with},
    script::{METADATA, Script},
};

#[test]
fn creates_match_a_real_api_server() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("a"));
    script.post("", SECRETS, secret("a"));
    script.post("", SECRETS, secret("b")).accept(METADATA);
    script.post("", &format!("{SECRETS}?dryRun=All"), secret("dry"));
    script.post("", &format!("{SECRETS}?dryRun=All"), secret("a"));
    script.get(&at(SECRETS, "dry"));
    script.post("", SECRETS, json!({ "metadata": { "name": "bare" } }));
    script.post("", SECRETS, json!({ "metadata": { "generateName": "made-" }, "stringData": { "a": "text" }, "data": { "a": "YQ==", "b": "" } }));
    script.post("", SECRETS, json!({ "metadata": {} }));
    script.post("", SECRETS, json!({}));
    script.post("", SECRETS, with(secret("elsewhere"), &json!({ "metadata": { "namespace": "default" } })));
    script.post("", SECRETS, with(secret("versioned"), &json!({ "metadata": { "resourceVersion": "5" } })));
    script.post("", SECRETS, with(secret("kind"), &json!({ "kind": "ConfigMap" })));
    script.post("", SECRETS, with(secret("api"), &json!({ "apiVersion": "v2" })));
    script.post("", SECRETS, with(secret("full"), &json!({ "unknown": 1, "metadata": {
        "unknown": 1, "uid": "my-own", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z",
        "labels": {}, "annotations": {}, "ownerReferences": [], "finalizers": [] } })));
    script.post("", "/api/v1/namespaces/missing-one/secrets", secret("a"));
    script.post("", "/apis/keypairs.dev/v1alpha1/namespaces/missing-one/keypairs", key_pair("aa", &json!({})));
    script.post("", KEY_PAIRS, key_pair("aa", &json!({})));
    script.post("", KEY_PAIRS, key_pair("aa", &json!({})));
    script.post("", KEY_PAIRS, key_pair("bb", &json!({}))).accept(METADATA);
    script.post("", &format!("{KEY_PAIRS}?dryRun=All"), key_pair("dry", &json!({})));
    script.post("", KEY_PAIRS, json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "generateName": "made-" }, "spec": {} }));
    script.post(
        "",
        KEY_PAIRS,
        with(key_pair("versioned", &json!({})), &json!({ "metadata": { "resourceVersion": "5" } })),
    );
    script.post(
        "",
        KEY_PAIRS,
        with(
            key_pair("status", &json!({})),
            &json!({ "status": { "keyPairID": "kp-1" }, "metadata": { "generation": 9 } }),
        ),
    );
    script.post("", KEY_PAIRS, key_pair("bad name", &json!({})));
    script.post("", SECRETS, secret("Bad_Name"));
    script.post("", "/api/v1/namespaces", json!({ "metadata": { "name": "a.b" } }));
    script.post("", "/api/v1/namespaces", json!({ "metadata": { "name": "{ns}" } }));
    conforms("creating", &script);
}

#[test]
fn metadata_matches_a_real_api_server() {
    let mut script = Script::new();
    let changes = [
        json!({ "labels": { "-a": "b" } }),
        json!({ "labels": { "a": "b c" } }),
        json!({ "labels": { "a/b/c": "" } }),
        json!({ "labels": { "Example.com/a": "" } }),
        json!({ "labels": { "/a": "" } }),
        json!({ "labels": { "a": "x".repeat(64) } }),
        json!({ "labels": { "x".repeat(64): "" } }),
        json!({ "labels": { "": "" } }),
        json!({ "labels": { "a": 1 } }),
        json!({ "annotations": { "-a": "b" } }),
        json!({ "annotations": { "a/b/c": "" } }),
        json!({ "annotations": { "Example.com/a": "any\n" } }),
        json!({ "annotations": { "a": "x".repeat(256 * 1024) } }),
        json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Secret", "name": "a", "uid": "" }] }),
        json!({ "ownerReferences": [{ "apiVersion": "", "kind": "", "name": "", "uid": "" }] }),
        json!({ "ownerReferences": [
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1", "controller": true },
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "2", "controller": true }] }),
        json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Event", "name": "a", "uid": "1" }] }),
        json!({ "finalizers": ["example.com/a", "b"] }),
        json!({ "finalizers": ["a b"] }),
    ];
    for change in changes {
        let change = json!({ "metadata": change });
        script.post("", &format!("{SECRETS}?dryRun=All"), with(secret("a"), &change));
        script.post("", &format!("{KEY_PAIRS}?dryRun=All"), with(key_pair("aa", &json!({})), &change));
    }
    conforms("metadata", &script);
}

#[test]
fn secret_writes_match_a_real_api_server() {
    let mut script = Script::new();
    let of_type =
        |name: &str, kind: &str, data: Value| json!({ "metadata": { "name": name }, "type": kind, "data": data });
    for (kind, data) in [
        ("kubernetes.io/ssh-auth", json!({})),
        ("kubernetes.io/ssh-auth", json!({ "ssh-privatekey": "" })),
        ("kubernetes.io/ssh-auth", json!({ "ssh-privatekey": "YQ==", "more": "YQ==" })),
        ("kubernetes.io/basic-auth", json!({})),
        ("kubernetes.io/basic-auth", json!({ "password": "" })),
        ("kubernetes.io/tls", json!({ "tls.crt": "YQ==" })),
        ("kubernetes.io/service-account-token", json!({})),
        ("kubernetes.io/any", json!({})),
        ("Opaque", json!({ "a b": "YQ==" })),
        ("Opaque", json!({ "..": "YQ==" })),
        ("Opaque", json!({ "..a": "YQ==" })),
        ("Opaque", json!({ "a": "no base64!" })),
        ("Opaque", json!({ "a": 1 })),
        ("Opaque", json!({ "a": null })),
        ("Opaque", json!([])),
    ] {
        script.post("", &format!("{SECRETS}?dryRun=All"), of_type("a", kind, data));
    }
    script.post("", SECRETS, of_type("ssh", "kubernetes.io/ssh-auth", json!({ "ssh-privatekey": "YQ==" })));
    script.post("", SECRETS, secret("open"));
    script.put(&at(SECRETS, "ssh"), secret("ssh"));
    script.put(&at(SECRETS, "open"), of_type("open", "kubernetes.io/ssh-auth", json!({ "ssh-privatekey": "YQ==" })));
    script.patch(&at(SECRETS, "ssh"), json!({ "data": { "ssh-privatekey": null } }));
    script.patch(&at(SECRETS, "ssh"), json!({ "type": null }));
    script.patch(&at(SECRETS, "ssh"), json!({ "type": "Opaque", "data": null }));
    script.patch(&at(SECRETS, "ssh"), json!({ "stringData": { "ssh-privatekey": "new", "other": "b" } }));
    script.patch(&at(SECRETS, "open"), json!({ "data": { "a": null } }));
    script.patch(&at(SECRETS, "open"), json!({ "immutable": true, "data": { "a": "Yg==" } }));
    script.patch(&at(SECRETS, "open"), json!({ "data": { "a": "YQ==" } }));
    script.patch(&at(SECRETS, "open"), json!({ "immutable": null }));
    script.patch(&at(SECRETS, "open"), json!({ "metadata": { "labels": { "a": "b" } } }));
    script.delete(&at(SECRETS, "open"));
    conforms("secrets", &script);
}

#[test]
fn updates_match_a_real_api_server() {
    let mut script = Script::new();
    for (collection, object) in [(SECRETS, secret("aa")), (KEY_PAIRS, key_pair("aa", &json!({ "description": "one" })))]
    {
        let path = at(collection, "aa");
        let change = |metadata: Value| with(object.clone(), &json!({ "metadata": metadata }));
        script.put(&path, object.clone());
        script.post("made", collection, object.clone());
        // Nothing changes, except what etcd stores of a custom resource: the status that responses show by default.
        script.put(&path, change(json!({ "resourceVersion": "{made.version}" }))).keep("made");
        script.put(&path, change(json!({ "resourceVersion": "{made.version}" }))).keep("made");
        script
            .put(&path, change(json!({ "resourceVersion": "{made.version}", "labels": { "a": "1" } })))
            .keep("second");
        script.put(&path, change(json!({ "resourceVersion": "{made.version}", "labels": { "a": "2" } })));
        script.put(&path, change(json!({ "labels": { "a": "3" } })));
        script
            .put(
                &path,
                change(json!({ "uid": "{made.uid}", "resourceVersion": "{second.version}", "labels": { "a": "4" } })),
            )
            .accept(METADATA);
        script.put(&path, change(json!({ "uid": "another" })));
        script.put(&path, change(json!({ "uid": "another", "resourceVersion": "{made.version}" })));
        script.put(&path, change(json!({ "name": "b" })));
        script.put(&path, change(json!({ "namespace": "default" })));
        script.put(&path, change(json!({ "name": null })));
        script.put(&at(collection, "b"), change(json!({ "name": "b", "uid": "another" })));
        script.put(&path, change(json!({ "resourceVersion": "nonsense" })));
        script.put(&path, change(json!({ "resourceVersion": "{made.future}" })));
        script.get(&path).keep("now");
        script.put(&path, change(json!({ "resourceVersion": "{now.version}", "generation": 50, "creationTimestamp": "2001-01-01T00:00:00Z" })));
        script.get(&path).keep("now");
        script.put(
            &format!("{path}?dryRun=All"),
            change(json!({ "resourceVersion": "{now.version}", "labels": { "dry": "run" } })),
        );
        script.get(&path);
    }
    conforms("replacing", &script);
}

#[test]
fn patches_match_a_real_api_server() {
    let mut script = Script::new();
    for (collection, object) in [(SECRETS, secret("aa")), (KEY_PAIRS, key_pair("aa", &json!({ "description": "one" })))]
    {
        let path = at(collection, "aa");
        script.patch(&path, json!({}));
        script.post("made", collection, object);
        script.patch(&path, json!({}));
        script.patch(&path, json!({ "metadata": { "labels": { "a": "1", "b": "2" }, "annotations": { "x": "y" } } }));
        script.patch(&path, json!({ "metadata": { "labels": { "a": null, "none": null } } })).accept(METADATA);
        script.patch(&path, json!({ "metadata": { "labels": null } }));
        script.patch(&path, json!({ "metadata": { "uid": "{made.uid}", "annotations": { "x": "z" } } }));
        script.patch(&path, json!({ "metadata": { "uid": "another" } }));
        script
            .patch(&path, json!({ "metadata": { "resourceVersion": "{made.version}", "annotations": { "x": "1" } } }));
        script.get(&path).keep("now");
        script.patch(&path, json!({ "metadata": { "resourceVersion": "{now.version}", "annotations": { "x": "2" } } }));
        script.patch(&path, json!({ "metadata": { "resourceVersion": null, "annotations": { "x": "3" } } }));
        script.patch(&path, json!({ "metadata": { "name": "b" } }));
        script.patch(&path, json!({ "metadata": { "creationTimestamp": null, "uid": null } }));
        script.patch(&path, json!({ "metadata": null }));
        script.patch(&path, json!([]));
        script.patch(&path, json!({ "unknown": 1 }));
        script.patch(&path, json!({ "status": { "x": 1 } }));
        script.patch(&path, json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": "{ns}", "uid": "{space.uid}" }] } }));
        script.patch(&path, json!({ "metadata": { "ownerReferences": null } }));
        script.patch(&path, json!({ "spec": { "description": "two", "unknown": 1 } }));
        script.patch(&format!("{path}?dryRun=All"), json!({ "metadata": { "labels": { "dry": "run" } } }));
        script.get(&path);
    }
    conforms("patching", &script);
}

#[test]
fn other_kinds_match_a_real_api_server() {
    let mut script = Script::new();
    let space = "/api/v1/namespaces/{ns}";
    script
        .patch(space, json!({ "metadata": { "annotations": { "keypairs.dev/quota": "1" }, "labels": { "a": "b" } } }))
        .accept(METADATA);
    script.patch(space, json!({ "metadata": { "labels": { "kubernetes.io/metadata.name": "other" } } }));
    script.patch(space, json!({ "metadata": { "labels": { "kubernetes.io/metadata.name": null } } }));
    script.patch(space, json!({ "status": { "phase": "Terminating" }, "spec": { "finalizers": [] } }));
    let lease = |spec: Value| json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lead" }, "spec": spec });
    let path = at(LEASES, "lead");
    let held = json!({ "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000001Z", "renewTime": "2026-01-01T00:00:00.000000Z" });
    script.get(&path);
    script.put(&path, with(lease(held.clone()), &json!({ "metadata": { "uid": "gone", "resourceVersion": "5" } })));
    script.put(&path, with(lease(held.clone()), &json!({ "metadata": { "resourceVersion": "5" } })));
    script.delete(&path);
    script.post("lead", LEASES, lease(held.clone()));
    script.post("", LEASES, lease(held.clone()));
    script.put(&path, lease(held.clone()));
    script.put(&path, with(lease(held.clone()), &json!({ "metadata": { "resourceVersion": "{lead.version}" }, "spec": { "renewTime": "2026-01-01T00:00:05.123456Z" } }))).keep("renewed");
    script.put(&path, with(lease(held.clone()), &json!({ "metadata": { "resourceVersion": "{lead.version}" } })));
    script
        .put(
            &path,
            with(
                lease(held.clone()),
                &json!({ "metadata": { "resourceVersion": "{renewed.version}" }, "spec": { "holderIdentity": "" } }),
            ),
        )
        .keep("released");
    script.put(&path, with(lease(held), &json!({ "metadata": { "resourceVersion": "{released.version}" }, "spec": { "leaseDurationSeconds": 0, "leaseTransitions": -1 } })));
    script.delete(&path);
    script.put(
        &path,
        with(
            lease(json!({})),
            &json!({ "metadata": { "uid": "{lead.uid}", "resourceVersion": "{released.version}" } }),
        ),
    );
    script.put(&path, lease(json!({})));
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "generateName": "pair-" }, "action": "Reconcile", "reason": "Imported", "note": "a note",
        "type": "Normal", "eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "keypair-operator", "reportingInstance": "one",
        "regarding": { "kind": "KeyPair", "name": "pair", "namespace": "{ns}", "apiVersion": "keypairs.dev/v1alpha1" }
    });
    script.post("", EVENTS, event.clone());
    script.post(
        "",
        EVENTS,
        with(
            event.clone(),
            &json!({ "metadata": { "name": "odd", "generateName": null }, "type": "Odd", "reason": "", "action": "", "reportingController": "", "reportingInstance": "" }),
        ),
    );
    script.post(
        "",
        EVENTS,
        with(event, &json!({ "metadata": { "name": "odd", "generateName": null }, "eventTime": null })),
    );
    conforms("built-in", &script);
}
