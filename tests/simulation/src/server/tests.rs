//! Behavior that cannot be requested from a real server, or not precisely: time, compaction, snapshots, lagging watches, foreign
//! admission.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use super::{ChangeKind, Effect, Lag, Rule, Server};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const JSON: &str = "application/json";
const STREAM: &str = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

fn create(server: &Server, name: &str) -> Value {
    let secret = json!({ "metadata": { "name": name } });
    let (status, created) = server.request("alice", "POST", SECRETS, JSON, Some(&secret));
    assert_eq!(status, 201, "{created}");
    created
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    server.request("alice", "GET", path, JSON, None)
}

/// The events of a watch as short strings, until no more arrive.
async fn told(body: &mut super::ServerBody) -> Vec<String> {
    use http_body_util::BodyExt as _;
    let mut told = Vec::new();
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(1), body.frame()).await {
        let Some(frame) = frame else {
            told.push("end".to_owned());
            break;
        };
        let Ok(frame) = frame else {
            told.push("cut".to_owned());
            break;
        };
        let event: Value = serde_json::from_slice(&frame.into_data().unwrap()).unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        told.push(format!("{} {name}", event["type"].as_str().unwrap()));
    }
    told
}

async fn watch(server: &Server, query: &str) -> super::ServerBody {
    use tower::Service as _;
    let request = http::Request::get(format!("{SECRETS}?{query}")).body(kube::client::Body::empty()).unwrap();
    server.service("alice").call(request).await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn compacted_versions_are_gone() {
    let server = Server::new(1);
    let first = version(&create(&server, "a"));
    create(&server, "b");
    let (_, page) = get(&server, &format!("{SECRETS}?limit=1"));
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    create(&server, "c");
    let exact = format!("{SECRETS}?resourceVersion={first}&resourceVersionMatch=Exact");
    assert_eq!(get(&server, &exact).1["items"].as_array().unwrap().len(), 1);
    server.compact(server.version());
    assert_eq!(get(&server, &exact).0, 410);
    let (status, answer) = get(&server, &format!("{SECRETS}?limit=1&continue={token}"));
    assert_eq!((status, answer["reason"].as_str()), (410, Some("Expired")));
    let mut old = watch(&server, &format!("watch=true&resourceVersion={first}")).await;
    assert_eq!(told(&mut old).await, ["ERROR -", "end"]);
    let mut new = watch(&server, &format!("watch=true&resourceVersion={}", server.version())).await;
    create(&server, "d");
    assert_eq!(told(&mut new).await, ["ADDED d"]);
}

#[tokio::test(start_paused = true)]
async fn versions_are_compacted_after_five_minutes() {
    let server = Server::new(1);
    let background = tokio::spawn({
        let server = server.clone();
        async move { server.run().await }
    });
    let first = version(&create(&server, "a"));
    create(&server, "b");
    let exact = format!("{SECRETS}?resourceVersion={first}&resourceVersionMatch=Exact");
    sleep(Duration::from_secs(200)).await;
    assert_eq!(get(&server, &exact).0, 200);
    sleep(Duration::from_secs(700)).await;
    assert_eq!(get(&server, &exact).0, 410);
    background.abort();
}

#[tokio::test(start_paused = true)]
async fn a_watch_stays_silent_until_its_version_is_reached() {
    let server = Server::new(1);
    create(&server, "a");
    let snapshot = server.snapshot();
    create(&server, "b");
    let last = version(&create(&server, "c"));
    let mut broken = watch(&server, STREAM).await;
    assert_eq!(told(&mut broken).await, ["ADDED a", "ADDED b", "ADDED c", "BOOKMARK -"]);
    server.restore(&snapshot);
    assert_eq!(told(&mut broken).await, ["cut"]);
    assert_eq!(server.objects("secrets").len(), 1);
    let mut blind = watch(&server, &format!("watch=true&allowWatchBookmarks=true&resourceVersion={last}")).await;
    assert_eq!(version(&create(&server, "other")), last - 1, "versions are reused after a restore");
    create(&server, "another");
    advance(Duration::from_secs(61)).await;
    assert_eq!(told(&mut blind).await, ["BOOKMARK -"], "the watch skips events up to its version");
    create(&server, "seen");
    assert_eq!(told(&mut blind).await, ["ADDED seen"]);
    // A restarted server does not know earlier events.
    let mut old = watch(&server, "watch=true&resourceVersion=1").await;
    assert_eq!(told(&mut old).await, ["ERROR -", "end"]);
}

#[tokio::test(start_paused = true)]
async fn watches_can_lag_stop_break_and_expire() {
    let server = Server::new(1);
    let watches = server.watches();
    let mut body = watch(&server, STREAM).await;
    assert_eq!(told(&mut body).await, ["BOOKMARK -"]);
    watches.lag("alice", "secrets", Lag::Events(1));
    create(&server, "a");
    create(&server, "b");
    assert_eq!(told(&mut body).await, ["ADDED a"]);
    watches.lag("*", "secrets", Lag::Time(Duration::from_secs(5)));
    create(&server, "c");
    assert_eq!(told(&mut body).await, Vec::<String>::new());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(told(&mut body).await, ["ADDED b", "ADDED c"]);
    watches.calm();
    create(&server, "d");
    assert_eq!(told(&mut body).await, ["ADDED d"]);
    watches.expire("alice", "secrets");
    assert_eq!(told(&mut body).await, ["ERROR -", "end"]);
    drop(body);

    let mut body = watch(&server, "watch=true&timeoutSeconds=100&resourceVersion=1").await;
    assert_eq!(told(&mut body).await.len(), 4);
    watches.stop("bob", "*");
    create(&server, "e");
    assert_eq!(told(&mut body).await, ["ADDED e"], "only another user's watch is silent");
    watches.stop("alice", "*");
    create(&server, "f");
    sleep(Duration::from_secs(200)).await;
    assert_eq!(told(&mut body).await, Vec::<String>::new(), "a silent watch does not report its end");
    watches.cut("*", "*");
    assert_eq!(told(&mut body).await, ["cut"]);
    drop(body);
    assert_eq!(watches.open("*", "*"), 0);

    let mut body = watch(&server, "watch=true&timeoutSeconds=100&allowWatchBookmarks=true&resourceVersion=1").await;
    assert_eq!(told(&mut body).await.len(), 6);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(told(&mut body).await, ["BOOKMARK -", "end"]);
}

#[tokio::test(start_paused = true)]
async fn admission_can_rewrite_and_refuse() {
    let server = Server::new(1);
    let admission = server.admission();
    admission.add(Rule::on_secrets(Effect::SetLabel("owner".to_owned(), "policy".to_owned())));
    admission.add(Rule::on_secrets(Effect::RemoveOwnerReferences));
    admission.add(Rule::on_secrets(Effect::RemoveData("a".to_owned())));
    let secret = json!({
        "metadata": { "name": "a", "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "1" }] },
        "data": { "a": "YQ==", "b": "YQ==" }
    });
    let (_, made) = server.request("alice", "POST", SECRETS, JSON, Some(&secret));
    assert_eq!(made["metadata"]["labels"]["owner"], "policy");
    assert!(made["metadata"].get("ownerReferences").is_none());
    assert_eq!(made["data"], json!({ "b": "YQ==" }));
    admission.clear();
    for (effect, code, words) in [
        (Effect::Refuse("w".to_owned(), "no".to_owned()), 403, "admission webhook \"w\" denied the request: no"),
        (Effect::Invalid("p".to_owned(), "no".to_owned()), 422, "denied request: no"),
        (Effect::WebhookAway("w".to_owned()), 500, "failed calling webhook \"w\""),
        (Effect::Quota("q".to_owned(), 1), 403, "exceeded quota: q"),
    ] {
        admission.add(Rule::on_secrets(effect));
        let (status, answer) =
            server.request("alice", "POST", SECRETS, JSON, Some(&json!({ "metadata": { "name": "b" } })));
        assert_eq!(status, code, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
        admission.clear();
    }
    create(&server, "b");
}

#[tokio::test(start_paused = true)]
async fn observers_see_each_change_once() {
    let server = Server::new(1);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, handle) = (Arc::clone(&seen), server.clone());
    server.observe(move |change| {
        log.lock().unwrap().push(format!("{:?} {} by {}", change.kind, change.name, change.user));
        if change.kind == ChangeKind::Created && change.name == "a" {
            // An observer may read and change the state itself.
            assert!(handle.object("secrets", "default", "a").is_some());
            handle.request("bob", "DELETE", &format!("{SECRETS}/a"), JSON, None);
        }
    });
    create(&server, "a");
    create(&server, "b");
    assert_eq!(*seen.lock().unwrap(), ["Created a by alice", "Deleted a by bob", "Created b by alice"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_same_seed_repeats_everything() {
    let history = |seed: u64| {
        let server = Server::new(seed);
        let secret = json!({ "metadata": { "generateName": "a-" } });
        (0..3).map(|_| server.request("alice", "POST", SECRETS, JSON, Some(&secret))).collect::<Vec<_>>()
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

#[tokio::test(start_paused = true)]
async fn clocks_can_jump() {
    let server = Server::new(1);
    let before = server.now();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(server.now().duration_since(before).as_secs(), 10);
    server.jump(-60_000);
    assert_eq!(server.now().duration_since(before).as_secs(), -50);
}
