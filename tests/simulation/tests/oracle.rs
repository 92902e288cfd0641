//! Each test breaks one guarantee as a faulty operator would, and checks that the oracle reports it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a panic fails them")]

use std::{sync::Arc, task::Poll, time::Duration};

use base64ct::{Base64, Encoding as _};
use http_body::Body as _;
use keypair_operator::{
    api::KeyPair,
    cache::{Index, ScopeCache, ScopeCaches},
    domain::{
        key::{Encoding, KeySpec},
        region::Region,
    },
};
use keypair_simulation::{
    Server,
    history::{History, Setup},
    keys::key,
    oracle::{Guarantees, wrong_answers},
    replica::user,
};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tower::Service as _;

const NAMESPACE: &str = "shop";

struct World {
    server: Server,
    guarantees: Guarantees,
}

impl World {
    /// A namespace with two KeyPairs of the same key pair name.
    fn new(quota: usize) -> Self {
        let setup = Setup { replicas: 2, quota, lease: 15, answers_reviews: false, concurrency: 1 };
        let server = Server::new(0);
        let guarantees = Guarantees::new(&History { seed: 0, setup, steps: Vec::new() }, server.sightings());
        let seeing = guarantees.clone();
        server.observe(move |change| seeing.see(change));
        let world = Self { server, guarantees };
        world.ask("admin", "POST", "/api/v1/namespaces", &json!({ "metadata": { "name": NAMESPACE } }));
        let spec = json!({ "profile": "OpenSSH", "keyPairName": "same", "generate": { "algorithm": "Ed25519" } });
        for name in ["web", "api"] {
            let object = json!({
                "apiVersion": "keypairs.dev/v1alpha1",
                "kind": "KeyPair",
                "metadata": { "name": name },
                "spec": spec,
            });
            world.ask("admin", "POST", &Self::key_pairs(""), &object);
        }
        world
    }

    fn key_pairs(rest: &str) -> String {
        format!("/apis/keypairs.dev/v1alpha1/namespaces/{NAMESPACE}/keypairs{rest}")
    }

    fn secrets(rest: &str) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/secrets{rest}")
    }

    fn ask(&self, user: &str, method: &str, path: &str, body: &Value) {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let (code, answer) = self.server.request(user, method, path, content, Some(body));
        assert!(code < 300, "{method} {path}: {answer}");
    }

    fn as_operator(&self, method: &str, path: &str, body: &Value) {
        self.ask(&user(0), method, path, body);
    }

    fn status(&self, name: &str, status: &Value) {
        self.as_operator("PATCH", &Self::key_pairs(&format!("/{name}/status")), &json!({ "status": status }));
    }

    fn uid(&self, name: &str) -> Value {
        self.server.object("keypairs", NAMESPACE, name).unwrap()["metadata"]["uid"].clone()
    }

    /// Creates the Secret of a KeyPair, with this key.
    fn secret(&self, of: &str, name: &str, number: usize) {
        let text = key(KeySpec::Ed25519, number).encode(Encoding::Pkcs8, "").unwrap();
        let object = json!({
            "metadata": { "name": name, "annotations": { "keypairs.dev/keypair-uid": self.uid(of) } },
            "data": { "ssh-privatekey": Base64::encode_string(text.as_bytes()) },
        });
        self.as_operator("POST", &Self::secrets(""), &object);
    }

    #[track_caller]
    fn is_violated(&self, words: &str) {
        let found = self.guarantees.violations();
        assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}");
    }
}

fn accepted(id: &str) -> Value {
    json!({ "keyPairID": id })
}

fn given(id: &str, number: usize) -> Value {
    let public_key = key(KeySpec::Ed25519, number).public_key("").unwrap();
    let prints = public_key.fingerprints();
    json!({ "keyPairID": id, "fingerprints": { "md5": prints.md5, "sha256": prints.sha256 } })
}

#[test]
fn the_oracle_reports_more_pairs_than_the_quota() {
    let world = World::new(1);
    world.ask("admin", "PATCH", &World::key_pairs("/api"), &json!({ "spec": { "keyPairName": "other" } }));
    world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
    assert!(world.guarantees.violations().is_empty());
    world.status("api", &accepted("kp-bbbbbbbbbbbbbbbbbbbb"));
    world.is_violated("2 accepted pairs, the quota is 1");
}

#[test]
fn the_oracle_reports_two_pairs_of_one_name() {
    let world = World::new(5);
    world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
    world.status("api", &accepted("kp-bbbbbbbbbbbbbbbbbbbb"));
    world.is_violated("2 accepted pairs of the name same");
}

#[test]
fn the_oracle_reports_a_changed_or_removed_identifier() {
    for (after, words) in [(json!("kp-bbbbbbbbbbbbbbbbbbbb"), "keyPairID was"), (Value::Null, "not accepted any more")]
    {
        let world = World::new(5);
        world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
        world.status("web", &json!({ "keyPairID": after }));
        world.is_violated(words);
    }
}

#[test]
fn the_oracle_reports_a_changed_foreign_secret() {
    let world = World::new(5);
    world.ask("admin", "POST", &World::secrets(""), &json!({ "metadata": { "name": "web" } }));
    world.as_operator("PATCH", &World::secrets("/web"), &json!({ "metadata": { "labels": { "a": "b" } } }));
    world.is_violated("a foreign Secret was changed");
}

#[test]
fn the_oracle_reports_a_lost_key() {
    let world = World::new(5);
    world.secret("web", "web", 0);
    world.status("web", &given("kp-aaaaaaaaaaaaaaaaaaaa", 0));
    world.secret("web", "s1", 0);
    world.as_operator("DELETE", &World::secrets("/web"), &json!({}));
    assert!(world.guarantees.violations().is_empty(), "a moved key is not lost");
    world.as_operator("DELETE", &World::secrets("/s1"), &json!({}));
    world.is_violated("the last copy of a private key");
}

#[test]
fn the_oracle_reports_a_second_key() {
    let world = World::new(5);
    world.secret("web", "web", 0);
    world.secret("web", "s1", 1);
    world.is_violated("a second key for web");
}

#[test]
fn the_oracle_reports_another_key_in_a_status() {
    let world = World::new(5);
    world.status("web", &given("kp-aaaaaaaaaaaaaaaaaaaa", 0));
    world.status("web", &given("kp-aaaaaaaaaaaaaaaaaaaa", 1));
    world.is_violated("the status gave out the key");
}

/// The KeyPair `web`, whose status shows key 0 as the current one and key 1 as the next one, which waits for a gate.
fn rotating(settings: &Value) -> World {
    let world = World::new(5);
    let annotations = json!({ "keypairs.dev/rotate": "1" });
    let patch = json!({ "metadata": { "annotations": annotations }, "spec": { "rotation": settings } });
    world.ask("admin", "PATCH", &World::key_pairs("/web"), &patch);
    let mut secret = rotated(&world, &[("ssh-privatekey", 0), ("ssh-privatekey.next", 1)]);
    secret["metadata"]["name"] = json!("web");
    world.as_operator("POST", &World::secrets(""), &secret);
    world.status("web", &shown(&[("Current", 0), ("Next", 1)]));
    world
}

/// A Secret with these entries; as a patch, it leaves the others unchanged.
fn rotated(world: &World, entries: &[(&str, usize)]) -> Value {
    let data = entries.iter().map(|(name, number)| {
        let text = key(KeySpec::Ed25519, *number).encode(Encoding::Pkcs8, "").unwrap();
        ((*name).to_owned(), json!(Base64::encode_string(text.as_bytes())))
    });
    let data: serde_json::Map<String, Value> = data.collect();
    let annotations = json!({
        "keypairs.dev/keypair-uid": world.uid("web"),
        "keypairs.dev/applied": json!({ "privateKey": "ssh-privatekey" }).to_string(),
    });
    json!({ "metadata": { "annotations": annotations }, "data": data })
}

/// A status with keys in these phases.
fn shown(keys: &[(&str, usize)]) -> Value {
    let shown = keys.iter().map(|(phase, number)| {
        let public_key = key(KeySpec::Ed25519, *number).public_key("").unwrap();
        let prints = public_key.fingerprints();
        json!({
            "revision": number + 1,
            "phase": phase,
            "publicKey": public_key.to_openssh(),
            "algorithm": "Ed25519",
            "bits": 256,
            "fingerprint": prints.sha256.clone(),
            "fingerprints": { "md5": prints.md5, "sha256": prints.sha256 },
            "since": "2027-01-15T08:00:00Z",
        })
    });
    let current = keys.iter().find(|(phase, _)| *phase == "Current").unwrap();
    let mut status = given("kp-aaaaaaaaaaaaaaaaaaaa", current.1);
    status["keys"] = shown.collect();
    status
}

/// The switch of the KeyPair from [`rotating`].
fn switch(world: &World) {
    let mut patch = rotated(world, &[("ssh-privatekey", 1), ("ssh-privatekey.previous", 0)]);
    patch["data"]["ssh-privatekey.next"] = Value::Null;
    world.as_operator("PATCH", &World::secrets("/web"), &patch);
}

#[tokio::test(start_paused = true)]
async fn the_oracle_allows_a_rotation() {
    let gate = "example.com/registered";
    let world = rotating(&json!({ "publishBefore": "1h", "keepAfter": "1h", "gates": [gate] }));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let condition = json!({
        "type": gate, "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2027-01-15T09:00:00Z",
    });
    world.ask("admin", "PATCH", &World::key_pairs("/web/status"), &json!({ "status": { "conditions": [condition] } }));
    switch(&world);
    world.status("web", &shown(&[("Previous", 0), ("Current", 1)]));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let removal = json!({ "data": { "ssh-privatekey.previous": null } });
    world.as_operator("PATCH", &World::secrets("/web"), &removal);
    assert_eq!(world.guarantees.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_switch_to_a_key_that_was_published_for_too_short_a_time() {
    let world = rotating(&json!({ "publishBefore": "1h" }));
    tokio::time::sleep(Duration::from_secs(3590)).await;
    switch(&world);
    world.is_violated("a key became current that was published");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_switch_while_a_gate_is_closed() {
    let world = rotating(&json!({ "publishBefore": "0s", "gates": ["example.com/registered"] }));
    switch(&world);
    world.is_violated("while the gate example.com/registered was closed");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_switch_to_a_key_that_was_not_published() {
    let world = rotating(&json!({ "publishBefore": "0s" }));
    let patch = rotated(&world, &[("ssh-privatekey", 2), ("ssh-privatekey.previous", 0)]);
    world.as_operator("PATCH", &World::secrets("/web"), &patch);
    world.is_violated("a key became current that no status has shown before");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_previous_key_that_is_removed_too_early() {
    let world = rotating(&json!({ "publishBefore": "0s", "keepAfter": "1h" }));
    switch(&world);
    world.status("web", &shown(&[("Previous", 0), ("Current", 1)]));
    tokio::time::sleep(Duration::from_secs(3590)).await;
    let removal = json!({ "data": { "ssh-privatekey.previous": null } });
    world.as_operator("PATCH", &World::secrets("/web"), &removal);
    world.is_violated("a previous key was removed before keepAfter was over");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_rotation_that_nobody_asked_for() {
    let world = World::new(5);
    world.ask("admin", "PATCH", &World::key_pairs("/web"), &json!({ "spec": { "rotation": {} } }));
    world.secret("web", "web", 0);
    world.status("web", &shown(&[("Current", 0)]));
    let next = rotated(&world, &[("ssh-privatekey.next", 1)]);
    world.as_operator("PATCH", &World::secrets("/web"), &next);
    world.is_violated("a rotation that nobody asked for");
}

#[test]
fn the_oracle_reports_a_write_by_another_replica() {
    let world = World::new(5);
    let lease = json!({ "metadata": { "name": "lease" }, "spec": { "holderIdentity": "other" } });
    world.ask(&user(1), "POST", &format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"), &lease);
    world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
    world.is_violated("led");
}

#[test]
fn the_oracle_reports_a_private_key_in_a_status() {
    let world = World::new(5);
    world.secret("web", "web", 0);
    let text = key(KeySpec::Ed25519, 0).encode(Encoding::Pkcs8, "").unwrap();
    let text = text.lines().nth(1).unwrap();
    let error = json!({ "reason": "InvalidPublicKey", "code": "c", "message": text, "httpStatus": 400 });
    world.status("web", &json!({ "error": error }));
    world.is_violated("a private key in keypairs/web");
}

/// Opens the operator's watch of Namespaces, and reads the events of one second.
async fn look(world: &World) {
    let path = "/api/v1/namespaces?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let request = http::Request::get(path).body(kube::client::Body::empty()).unwrap();
    let answer = world.server.service(&user(0)).call(request).await.unwrap();
    let mut body = Box::pin(answer.into_body());
    let told = std::future::poll_fn(|context| {
        while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(context) {}
        Poll::<()>::Pending
    });
    tokio::time::timeout(Duration::from_secs(1), told).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn the_oracle_allows_the_last_quota_the_operator_saw() {
    let quota = |quota: &str| json!({ "metadata": { "annotations": { "keypairs.dev/quota": quota } } });
    for has_seen in [false, true] {
        let world = World::new(1);
        look(&world).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.ask("admin", "PATCH", &format!("/api/v1/namespaces/{NAMESPACE}"), &quota("0"));
        if has_seen {
            look(&world).await;
        }
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
        if has_seen {
            world.is_violated("1 accepted pairs, the quota is 0");
        } else {
            assert!(world.guarantees.violations().is_empty());
        }
    }
}

/// The wrong answers of a replica that knows only these KeyPairs.
fn wrong_with(world: &World, quota: usize, names: &[&str]) -> Vec<String> {
    let index = Index::tracking_duplicate_keys();
    for namespace in ["default", "kube-system"] {
        index.set_region(namespace, Region::with_quota(quota), |_| None);
    }
    index.set_region(NAMESPACE, Region::with_quota(quota), |_| None);
    for name in names {
        let object = world.server.object("keypairs", NAMESPACE, name).unwrap();
        index.apply::<KeyPair>(&Event::Apply(serde_json::from_value(object).unwrap()));
    }
    let caches = ScopeCaches::default();
    caches.publish(None, Arc::new(ScopeCache::new(index)));
    let setup = Setup { replicas: 1, quota: 2, lease: 15, answers_reviews: true, concurrency: 1 };
    wrong_answers(&world.server, &setup, &caches)
}

#[test]
fn the_oracle_reports_a_review_based_on_outdated_state() {
    let world = World::new(2);
    world.ask("admin", "PATCH", &World::key_pairs("/api"), &json!({ "spec": { "keyPairName": "other" } }));
    world.status("web", &accepted("kp-aaaaaaaaaaaaaaaaaaaa"));
    assert_eq!(wrong_with(&world, 2, &["web", "api"]), [""; 0]);
    assert!(!wrong_with(&world, 2, &[]).is_empty(), "a replica that allows a taken name must be reported");
    world.status("api", &accepted("kp-bbbbbbbbbbbbbbbbbbbb"));
    assert_eq!(wrong_with(&world, 2, &["web", "api"]), [""; 0]);
    assert!(!wrong_with(&world, 2, &["web"]).is_empty(), "a replica that exceeds the quota must be reported");
    world.ask("admin", "DELETE", &World::key_pairs("/api"), &Value::Null);
    assert!(
        wrong_with(&world, 1, &["web"]).iter().any(|text| text.contains("QuotaExceeded")),
        "a replica that refuses despite a free slot must be reported"
    );
}
