//! Each test breaks one guarantee of AuthorizedKeys and KnownHosts as a faulty operator would, and checks that the oracle reports it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a panic fails them")]

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use keypair_operator::domain::key::{Encoding, KeySpec};
use keypair_simulation::{
    Server,
    history::{History, Setup},
    keys::key,
    oracle::{Guarantees, unsettled},
    replica::user,
};
use serde_json::{Value, json};

const LONG_ENOUGH: Duration = Duration::from_secs(10);

struct World {
    server: Server,
    guarantees: Guarantees,
}

/// The public key of this number, without a comment.
fn line(number: usize) -> String {
    key(KeySpec::Ed25519, number).public_key("").unwrap().to_openssh().trim().to_owned()
}

fn path(namespace: &str, plural: &str, rest: &str) -> String {
    let group = if ["secrets", "configmaps"].contains(&plural) { "api/v1" } else { "apis/keypairs.dev/v1alpha1" };
    format!("/{group}/namespaces/{namespace}/{plural}{rest}")
}

impl World {
    /// The namespaces `shop` and `bank`; in `shop`, the KeyPair `web` with the label `team: red` and key 0, and AuthorizedKeys that select
    /// it.
    fn new() -> Self {
        let setup = Setup { replicas: 1, quota: 5, lease: 15, answers_reviews: false, concurrency: 1 };
        let server = Server::new(0);
        let guarantees = Guarantees::new(&History { seed: 0, setup, steps: Vec::new() }, server.sightings());
        let seeing = guarantees.clone();
        server.observe(move |change| seeing.see(change));
        let world = Self { server, guarantees };
        for namespace in ["shop", "bank"] {
            world.ask("admin", "POST", "/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
        }
        let spec = json!({ "profile": "OpenSSH", "publicKey": line(0) });
        let metadata = json!({ "name": "web", "labels": { "team": "red" } });
        world.create("KeyPair", "shop", &json!({ "metadata": metadata, "spec": spec }));
        world.status(
            &json!({ "keyPairID": "kp-aaaaaaaaaaaaaaaaaaaa", "publicKey": line(0), "conditions": [ready("Imported")] }),
        );
        let entries = json!([{ "selector": { "matchLabels": { "team": "red" } } }]);
        world.create(
            "AuthorizedKeys",
            "shop",
            &json!({ "metadata": { "name": "admins" }, "spec": { "entries": entries } }),
        );
        world
    }

    fn ask(&self, user: &str, method: &str, path: &str, body: &Value) {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let (code, answer) = self.server.request(user, method, path, content, Some(body));
        assert!(code < 300, "{method} {path}: {answer}");
    }

    fn create(&self, kind: &str, namespace: &str, object: &Value) {
        let mut object = object.clone();
        (object["apiVersion"], object["kind"]) = (json!("keypairs.dev/v1alpha1"), json!(kind));
        let plural = match kind {
            "KeyPair" => "keypairs",
            "AuthorizedKeys" => "authorizedkeys",
            _ => "knownhosts",
        };
        self.ask("admin", "POST", &path(namespace, plural, ""), &object);
    }

    fn status(&self, status: &Value) {
        self.ask(&user(0), "PATCH", &path("shop", "keypairs", "/web/status"), &json!({ "status": status }));
    }

    fn uid(&self, plural: &str, name: &str) -> Value {
        self.server.object(plural, "shop", name).unwrap()["metadata"]["uid"].clone()
    }

    /// The target of `admins`, or another object that belongs to it, with these lines.
    fn target(&self, name: &str, lines: &[String]) -> Value {
        let owner = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "name": "admins",
            "uid": self.uid("authorizedkeys", "admins"), "controller": true,
        });
        let labels = json!({ "app.kubernetes.io/managed-by": "keypair-operator" });
        let metadata = json!({ "name": name, "labels": labels, "ownerReferences": [owner] });
        json!({ "metadata": metadata, "data": { "authorized_keys": lines.concat() } })
    }

    fn publish(&self, method: &str, lines: &[String]) {
        let rest = if method == "POST" { "" } else { "/admins" };
        self.ask(&user(0), method, &path("shop", "configmaps", rest), &self.target("admins", lines));
    }

    fn publication_status(&self, reason: &str, keys: u64, key_pairs: u64) {
        let mut ready = ready(reason);
        ready["status"] = json!(if reason == "Published" { "True" } else { "False" });
        let target = json!({ "kind": "ConfigMap", "name": "admins", "key": "authorized_keys" });
        let status = json!({
            "observedGeneration": 1, "keys": keys, "keyPairs": key_pairs, "target": target, "conditions": [ready],
        });
        self.ask(&user(0), "PATCH", &path("shop", "authorizedkeys", "/admins/status"), &json!({ "status": status }));
    }

    /// The errors about publications.
    fn unsettled(&self) -> Vec<String> {
        let found = unsettled(&self.server, &self.guarantees);
        found.into_iter().filter(|text| text.starts_with("AuthorizedKeys") || text.starts_with("configmaps")).collect()
    }

    #[track_caller]
    fn is_violated(&self, words: &str) {
        let found = self.guarantees.violations();
        assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}");
    }

    #[track_caller]
    fn is_unsettled(&self, words: &str) {
        let found = self.unsettled();
        assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}");
    }
}

fn ready(reason: &str) -> Value {
    json!({
        "type": "Ready", "status": "True", "reason": reason, "message": "words", "lastTransitionTime": "2027-01-15T08:00:00Z",
    })
}

fn written(number: usize) -> String {
    format!("{} shop/web\n", line(number))
}

#[tokio::test(start_paused = true)]
async fn the_oracle_allows_a_publication() {
    let world = World::new();
    world.publish("POST", &[written(0)]);
    world.publication_status("Published", 1, 1);
    assert_eq!(world.unsettled(), [""; 0]);
    world.ask("admin", "PATCH", &path("shop", "keypairs", "/web"), &json!({ "metadata": { "labels": null } }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.publish("PUT", &[]);
    world.publication_status("NothingSelected", 0, 0);
    assert_eq!(world.unsettled(), [""; 0]);
    assert_eq!(world.guarantees.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_changed_foreign_config_map() {
    let world = World::new();
    world.ask("admin", "POST", &path("shop", "configmaps", ""), &json!({ "metadata": { "name": "admins" } }));
    world.publish("PUT", &[]);
    world.is_violated("a foreign ConfigMap was changed");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_config_map_of_no_publication() {
    let world = World::new();
    world.ask(&user(0), "POST", &path("shop", "configmaps", ""), &json!({ "metadata": { "name": "admins" } }));
    world.is_violated("a ConfigMap of no publication was created");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_key_that_was_never_accepted_or_shared() {
    let world = World::new();
    world.publish("POST", &[written(0), written(1)]);
    world.is_violated("publishes a key that was never accepted");
    let world = World::new();
    world.create("AuthorizedKeys", "bank", &json!({ "metadata": { "name": "admins" }, "spec": {} }));
    let mut target = world.target("admins", &[written(0)]);
    let of_bank = world.server.object("authorizedkeys", "bank", "admins").unwrap()["metadata"]["uid"].clone();
    target["metadata"]["ownerReferences"][0]["uid"] = of_bank;
    world.ask(&user(0), "POST", &path("bank", "configmaps", ""), &target);
    world.is_violated("publishes a key that was never accepted and shared");
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_key_that_stays() {
    let unlabelled = json!({ "metadata": { "labels": { "team": "blue" } } });
    for (method, body) in [("PATCH", unlabelled), ("DELETE", Value::Null)] {
        let world = World::new();
        world.publish("POST", &[written(0)]);
        world.ask("admin", method, &path("shop", "keypairs", "/web"), &body);
        tokio::time::sleep(LONG_ENOUGH).await;
        world.is_unsettled_besides_status("and this is right: []");
        world.publish("PUT", &[]);
        world.is_violated("a key stayed for 10");
    }
}

impl World {
    #[track_caller]
    fn is_unsettled_besides_status(&self, words: &str) {
        self.publication_status("NothingSelected", 0, 0);
        self.is_unsettled(words);
    }
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_wrong_status_or_text() {
    type Change = fn(&World);
    let changes: [(Change, &str); 7] = [
        (
            |world| world.publication_status("KeyPairNotFound", 1, 1),
            "is told False KeyPairNotFound, and Published is right",
        ),
        (|world| world.publication_status("Published", 2, 1), "status.keys is Some(2)"),
        (|world| world.publish("PUT", &[format!("{} shop/web#1\n", line(0))]), "and this is right"),
        (|world| world.publish("PUT", &[format!("restrict {} shop/web\n", line(0))]), "and this is right"),
        (|world| world.publish("PUT", &[written(0), written(0)]), "and this is right"),
        (
            |world| {
                let patch = json!({ "data": { "more": "" } });
                world.ask(&user(0), "PATCH", &path("shop", "configmaps", "/admins"), &patch);
            },
            "and not only authorized_keys",
        ),
        (
            |world| world.ask(&user(0), "POST", &path("shop", "configmaps", ""), &world.target("old", &[written(0)])),
            "its former target remains",
        ),
    ];
    for (change, words) in changes {
        let world = World::new();
        world.publish("POST", &[written(0)]);
        world.publication_status("Published", 1, 1);
        change(&world);
        world.is_unsettled(words);
    }
}

/// Starts a rotation of `web` to key 1, and switches to it. The publication has the key in its target, or not.
async fn switch(is_published: bool) -> World {
    let world = World::new();
    let patch = json!({
        "metadata": { "annotations": { "keypairs.dev/rotate": "1" } },
        "spec": { "publicKey": null, "rotation": { "publishBefore": "0s" } },
    });
    world.status(&json!({ "keyPairID": null }));
    world.ask("admin", "PATCH", &path("shop", "keypairs", "/web"), &patch);
    let world = World { guarantees: observed(&world), ..world };
    let secret = |current: usize, other: &str, number: usize| {
        let text = |number| {
            Base64::encode_string(key(KeySpec::Ed25519, number).encode(Encoding::Pkcs8, "").unwrap().as_bytes())
        };
        let annotations = json!({
            "keypairs.dev/keypair-uid": world.uid("keypairs", "web"),
            "keypairs.dev/applied": json!({ "privateKey": "ssh-privatekey" }).to_string(),
        });
        let data = json!({ "ssh-privatekey": text(current), other: text(number) });
        json!({ "metadata": { "name": "web", "annotations": annotations }, "data": data })
    };
    world.ask(&user(0), "POST", &path("shop", "secrets", ""), &secret(0, "ssh-privatekey.next", 1));
    let keys = [("Current", 0), ("Next", 1)].map(|(phase, number)| {
        let prints = key(KeySpec::Ed25519, number).public_key("").unwrap().fingerprints();
        json!({
            "revision": number + 1, "phase": phase, "publicKey": line(number), "algorithm": "Ed25519", "bits": 256,
            "fingerprint": prints.sha256.clone(), "fingerprints": { "md5": prints.md5, "sha256": prints.sha256 },
            "since": "2027-01-15T08:00:00Z",
        })
    });
    let prints = key(KeySpec::Ed25519, 0).public_key("").unwrap().fingerprints();
    world.status(&json!({
        "keyPairID": "kp-aaaaaaaaaaaaaaaaaaaa", "keys": keys, "conditions": [ready("Generated")],
        "fingerprints": { "md5": prints.md5, "sha256": prints.sha256 },
    }));
    let lines = [format!("{} shop/web#1\n", line(0)), format!("{} shop/web#2\n", line(1))];
    world.publish("POST", if is_published { &lines } else { &lines[..1] });
    tokio::time::sleep(LONG_ENOUGH).await;
    world.ask(&user(0), "PUT", &path("shop", "secrets", "/web"), &secret(1, "ssh-privatekey.previous", 0));
    world
}

/// Guarantees that begin to observe a server now.
fn observed(world: &World) -> Guarantees {
    let setup = Setup { replicas: 1, quota: 5, lease: 15, answers_reviews: false, concurrency: 1 };
    let guarantees = Guarantees::new(&History { seed: 0, setup, steps: Vec::new() }, world.server.sightings());
    let seeing = guarantees.clone();
    world.server.observe(move |change| seeing.see(change));
    // It learns of what exists.
    for (plural, name) in [("keypairs", "web"), ("authorizedkeys", "admins")] {
        let patch = json!({ "metadata": { "annotations": { "seen": "yes" } } });
        world.ask("admin", "PATCH", &path("shop", plural, &format!("/{name}")), &patch);
    }
    guarantees
}

#[tokio::test(start_paused = true)]
async fn the_oracle_reports_a_switch_that_does_not_wait_for_publication() {
    assert_eq!(switch(true).await.guarantees.violations(), [""; 0]);
    switch(false).await.is_violated("a key became current that is not published by shop/admins");
}
