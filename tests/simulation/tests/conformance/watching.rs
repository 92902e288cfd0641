//! Watches.

use serde_json::json;

use crate::{
    RESTARTED, WITHOUT_STREAMS, conforms, conforms_on,
    objects::{KEY_PAIRS, SECRETS, at, key_pair, secret, with},
    script::{JSON, METADATA, Script, Step},
};

const BEGIN: &str = "watch=true&allowWatchBookmarks=true";
const STREAM: &str = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

/// Creates, changes and deletes some objects.
fn life(script: &mut Script) {
    for (collection, object) in [(SECRETS, secret("live")), (KEY_PAIRS, key_pair("live", &json!({})))] {
        let path = at(collection, "live");
        script.post("", collection, object.clone());
        script.patch(&path, json!({ "metadata": { "labels": { "seen": "yes" } } }));
        script.patch(&path, json!({}));
        script.patch(&path, json!({ "metadata": { "annotations": { "a": "b" } } }));
        script.patch(&path, json!({ "metadata": { "labels": null } }));
        script.patch(&path, json!({ "metadata": { "labels": { "seen": "yes" }, "finalizers": ["example.com/hold"] } }));
        script.delete(&path);
        script.patch(&path, json!({ "metadata": { "finalizers": null } }));
        script.post("", &format!("{collection}?dryRun=All"), object.clone());
        script.post("", collection, with(object, &json!({ "metadata": { "labels": { "seen": "yes" } } })));
        script.delete(&path);
    }
}

#[test]
fn watch_events_match_a_real_api_server() {
    let mut script = Script::new();
    for name in ["one", "two"] {
        script.post(name, SECRETS, with(secret(name), &json!({ "metadata": { "labels": { "seen": "yes" } } })));
        script.post(&format!("pair-{name}"), KEY_PAIRS, key_pair(name, &json!({})));
    }
    script.get(SECRETS).keep("list");
    let mut labels = Vec::new();
    for collection in [SECRETS, KEY_PAIRS] {
        for query in [
            BEGIN.to_owned(),
            format!("{BEGIN}&resourceVersion=0"),
            format!("{BEGIN}&resourceVersion={{one.version}}"),
            format!("{BEGIN}&resourceVersion={{list.version}}"),
            STREAM.to_owned(),
            format!("{STREAM}&resourceVersion=0"),
            format!("{STREAM}&resourceVersion={{list.version}}"),
            format!("{STREAM}&labelSelector=seen%3Dyes"),
            format!("{STREAM}&labelSelector=seen%21%3Dyes"),
            format!("{STREAM}&fieldSelector=metadata.name%3Dlive"),
            "watch=1".to_owned(),
            "watch=true&resourceVersion={list.future}".to_owned(),
            "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
            "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true".to_owned(),
            "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={one.version}"
                .to_owned(),
        ] {
            for accept in [JSON, METADATA] {
                let label = format!("w{}", labels.len());
                script.watch(&label, &format!("{collection}?{query}"), accept);
                labels.push(label);
            }
        }
    }
    script.watch("named", &format!("{SECRETS}?watch=true&fieldSelector=metadata.name%3Done"), JSON);
    labels.push("named".to_owned());
    script.watch("all", "/api/v1/secrets?watch=true&fieldSelector=metadata.namespace%3D{ns}", JSON);
    labels.push("all".to_owned());
    life(&mut script);
    for label in &labels {
        script.events(label);
    }
    conforms("events", &script);
}

#[test]
fn refused_watches_match_a_real_api_server() {
    let mut script = Script::new();
    script.post("one", SECRETS, secret("one"));
    for query in [
        "watch=true&sendInitialEvents=true",
        "watch=true&sendInitialEvents=true&resourceVersionMatch=Exact",
        "watch=true&resourceVersionMatch=NotOlderThan",
        "watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=0",
        "watch=true&resourceVersion=nonsense",
        "watch=true&labelSelector=a+b",
        "watch=true&fieldSelector=a",
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={one.future}",
    ] {
        script.get(&format!("{SECRETS}?{query}"));
    }
    conforms("refused-watches", &script);
}

#[test]
fn watch_timeouts_match_a_real_api_server() {
    let mut script = Script::new();
    script.post("one", SECRETS, secret("one"));
    script.watch("short", &format!("{SECRETS}?watch=true&timeoutSeconds=1"), JSON);
    script.watch("marked", &format!("{SECRETS}?{BEGIN}&timeoutSeconds=2&resourceVersion={{one.version}}"), JSON);
    script.watch("marked-metadata", &format!("{KEY_PAIRS}?{STREAM}&timeoutSeconds=2"), METADATA);
    for label in ["short", "marked", "marked-metadata"] {
        script.events(label);
    }
    conforms("ends", &script);
}

/// A restarted API server does not know earlier events.
#[test]
fn watches_after_a_restart_match_a_real_api_server() {
    if RESTARTED.ready().is_none() {
        println!("skipped: somebody else's API server is not restarted");
        return;
    }
    let mut script = Script::new();
    for name in ["one", "two"] {
        script.post(name, SECRETS, secret(name));
        script.post(&format!("pair-{name}"), KEY_PAIRS, key_pair(name, &json!({})));
    }
    script.watch("broken", &format!("{SECRETS}?{STREAM}"), JSON);
    script.events("broken");
    script.restart();
    script.events("broken");
    script.get(SECRETS).keep("list");
    for (label, collection) in [("secrets", SECRETS), ("pairs", KEY_PAIRS)] {
        script.get(collection).keep("list");
        for query in ["resourceVersion={one.version}", "resourceVersion={list.version}"] {
            script.watch(&format!("{label}-{query}"), &format!("{collection}?watch=true&{query}"), JSON);
        }
        for query in [
            "resourceVersion={pair-two.version}&resourceVersionMatch=Exact",
            "resourceVersion={one.version}&resourceVersionMatch=Exact",
            "resourceVersion={one.version}",
        ] {
            script.get(&format!("{collection}?{query}"));
        }
        script.patch(&at(collection, "one"), json!({ "metadata": { "labels": { "a": "b" } } }));
        for query in ["resourceVersion={one.version}", "resourceVersion={list.version}"] {
            script.events(&format!("{label}-{query}"));
        }
    }
    conforms_on(&RESTARTED, "restart", &script);
}

#[test]
fn watches_without_streaming_lists_match_a_real_api_server() {
    if WITHOUT_STREAMS.ready().is_none() {
        println!("skipped: the features of somebody else's API server are not changed");
        return;
    }
    let mut script = Script::new();
    script.0.push(Step::Setup {
        real: Vec::new(),
        simulated: |server| server.stream_lists(false),
        path: SECRETS.to_owned(),
        tried: secret("one"),
        status: 201,
        has: "one",
    });
    for collection in [SECRETS, KEY_PAIRS] {
        script.get(&format!("{collection}?{STREAM}"));
        script.get(&format!("{collection}?{STREAM}&resourceVersion=0")).accept(METADATA);
        script.get(&format!("{collection}?watch=true&sendInitialEvents=false"));
        script.get(collection).keep("list");
        script.watch("usual", &format!("{collection}?{BEGIN}&resourceVersion={{list.version}}"), JSON);
        script.post("", collection, if collection == SECRETS { secret("two") } else { key_pair("two", &json!({})) });
        script.events("usual");
    }
    conforms_on(&WITHOUT_STREAMS, "streams", &script);
}
