//! Reads of objects and lists.

use serde_json::json;

use crate::{
    conforms,
    objects::{KEY_PAIRS, LEASES, SECRETS, at, key_pair, secret, with},
    script::{METADATA, METADATA_LIST, Script},
};

#[test]
fn gets_and_lists_match_a_real_api_server() {
    let mut script = Script::new();
    for name in ["b", "a", "c"] {
        script.post(
            name,
            SECRETS,
            with(secret(name), &json!({ "metadata": { "labels": { "name": name, "all": "yes" } } })),
        );
    }
    script.post("pair", KEY_PAIRS, key_pair("pair", &json!({})));
    for (collection, name) in [(SECRETS, "a"), (KEY_PAIRS, "pair")] {
        for accept in [crate::script::JSON, METADATA] {
            script.get(&at(collection, name)).accept(accept);
            script.get(&at(collection, "missing")).accept(accept);
        }
        for accept in [crate::script::JSON, METADATA_LIST] {
            script.get(collection).accept(accept);
        }
    }
    script.get("/api/v1/secrets?fieldSelector=metadata.namespace%3D{ns}");
    script.get("/apis/keypairs.dev/v1alpha1/keypairs?fieldSelector=metadata.namespace%3D{ns}");
    script.get(
        "/apis/keypairs.dev/v1alpha1/keypairs?fieldSelector=metadata.name%3Dpair,metadata.namespace%3D{ns}&limit=500",
    );
    script.get(LEASES);
    script.get("/api/v1/namespaces/{ns}");
    script.get("/api/v1/namespaces?labelSelector=script%3D{ns}");
    script.get("/api/v1/namespaces?fieldSelector=metadata.name%3D{ns}").accept(METADATA_LIST);
    script.get("/api/v1/namespaces/missing-one");
    script.get("/api/v1/namespaces/missing-one/secrets");
    script.get("/api/v1/namespaces/missing-one/secrets/a");
    script.get("/apis/keypairs.dev/v1alpha1/nothing");
    script.get("/apis/keypairs.dev/v1alpha2/keypairs");
    conforms("reading", &script);
}

#[test]
fn selectors_match_a_real_api_server() {
    let mut script = Script::new();
    for (name, labels) in [
        ("a", json!({ "x": "1", "y": "1" })),
        ("bb", json!({ "x": "2" })),
        ("cc", json!({})),
        ("dd", json!({ "y": "" })),
    ] {
        script.post("", SECRETS, with(secret(name), &json!({ "metadata": { "labels": labels } })));
        script.post("", KEY_PAIRS, with(key_pair(name, &json!({})), &json!({ "metadata": { "labels": labels } })));
    }
    for selector in [
        "x=1",
        "x==1",
        "x!=1",
        "x",
        "!x",
        "x in (1,2)",
        "x notin (1)",
        "x,y",
        "x=1,y=1",
        "x=3",
        "y=",
        "x in (1), !y",
        "a b",
        "x=a b",
        "=",
        "-x",
    ] {
        let selector: String = form(selector);
        script.get(&format!("{SECRETS}?labelSelector={selector}"));
        script.get(&format!("{KEY_PAIRS}?labelSelector={selector}&limit=1"));
    }
    for selector in [
        "metadata.name=aa",
        "metadata.name==aa",
        "metadata.name!=aa",
        "metadata.namespace={ns}",
        "spec.x=1",
        "type=Opaque",
        "x",
    ] {
        let selector = form(selector);
        script.get(&format!("{SECRETS}?fieldSelector={selector}"));
        script.get(&format!("{KEY_PAIRS}?fieldSelector={selector}"));
    }
    conforms("selectors", &script);
}

fn form(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            ' ' => "+".to_owned(),
            '=' => "%3D".to_owned(),
            ',' => "%2C".to_owned(),
            '!' => "%21".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[test]
fn list_pages_match_a_real_api_server() {
    let mut script = Script::new();
    for name in ["aa", "bb", "cc", "dd", "ee"] {
        script.post(name, SECRETS, secret(name));
        script.post(
            name,
            KEY_PAIRS,
            with(key_pair(name, &json!({})), &json!({ "metadata": { "labels": { "l": "1" } } })),
        );
    }
    for collection in [SECRETS, KEY_PAIRS] {
        script.get(&format!("{collection}?limit=2")).keep("first");
        // Changes between two pages must not appear on either page.
        script.delete(&at(collection, "dd"));
        script.patch(&at(collection, "cc"), json!({ "metadata": { "labels": { "new": "yes" } } }));
        script.get(&format!("{collection}?limit=2&continue={{first.continue}}")).keep("second");
        script.get(&format!("{collection}?limit=2&continue={{second.continue}}"));
        script.get(&format!("{collection}?limit=5"));
        script.get(&format!("{collection}?limit=4"));
        script.get(&format!("{collection}?limit=2&labelSelector=l%3D1"));
        script.get(&format!("{collection}?continue={{first.continue}}")).accept(METADATA_LIST);
        script.get(&format!("{collection}?limit=2&continue={{first.continue}}&resourceVersion=0"));
        script.get(&format!("{collection}?limit=2&continue={{first.continue}}&resourceVersion={{aa.version}}"));
        script.get(&format!("{collection}?limit=2&continue=nonsense"));
        script.get(&format!("{collection}?limit=0"));
    }
    conforms("pages", &script);
}

#[test]
fn list_versions_match_a_real_api_server() {
    let mut script = Script::new();
    script.post("one", SECRETS, secret("a"));
    script.post("two", SECRETS, secret("b"));
    script.delete(&at(SECRETS, "a"));
    script.post("three", SECRETS, secret("c"));
    for query in [
        // This one comes first: after it, the server's cache is up to date.
        "resourceVersion={three.version}",
        "resourceVersion=0",
        "resourceVersion={two.version}",
        "resourceVersion={two.version}&resourceVersionMatch=NotOlderThan",
        "resourceVersion={two.version}&resourceVersionMatch=Exact",
        "resourceVersion={one.version}&resourceVersionMatch=Exact&limit=1",
        "resourceVersion={two.version}&limit=5",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Nonsense",
        "resourceVersion=nonsense",
        "resourceVersion={three.future}",
        "resourceVersion={three.future}&resourceVersionMatch=Exact",
        "resourceVersion={three.future}&resourceVersionMatch=NotOlderThan",
        "resourceVersion=0&limit=1",
    ] {
        script.get(&format!("{SECRETS}?{query}"));
    }
    conforms("versions", &script);
}

#[test]
fn forbidden_requests_match_a_real_api_server() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("a"));
    for collection in [SECRETS, KEY_PAIRS, LEASES] {
        script.get(collection).by_alice();
        script.get(&format!("{collection}?watch=true")).by_alice();
        script.get(&at(collection, "a")).by_alice();
        script.post("", collection, secret("b")).by_alice();
        script.put(&at(collection, "a"), secret("a")).by_alice();
        script.patch(&at(collection, "a"), json!({})).by_alice();
        script.delete(&at(collection, "a")).by_alice();
    }
    script.put(&format!("{KEY_PAIRS}/a/status"), key_pair("aa", &json!({}))).by_alice();
    script.get("/api/v1/namespaces").by_alice();
    script.get("/api/v1/namespaces/{ns}").by_alice();
    script.get("/api/v1/namespaces?watch=1").by_alice();
    script.get("/api/v1/secrets").by_alice();
    script.get("/apis/keypairs.dev/v1alpha1/keypairs?watch=1").by_alice();
    script.delete("/api/v1/namespaces/{ns}").by_alice();
    script.post("", "/api/v1/namespaces", json!({ "metadata": { "name": "other" } })).by_alice();
    conforms("rights", &script);
}
