//! Random scripts, determined by a seed.

use keypair_test_harness::Dice;
use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{KEY, KEY_PAIRS, SECRETS, at, key_pair, secret, with},
    script::{JSON, METADATA, METADATA_LIST, Script},
};

const STEPS: usize = 60;

struct Drawer(Dice);

impl Drawer {
    fn one<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.0.below(choices.len() as u64)).unwrap()].clone()
    }

    fn metadata(&mut self) -> Value {
        self.one(&[
            json!({}),
            json!({ "labels": { "l": "1" } }),
            json!({ "labels": { "l": "2", "m": "" } }),
            json!({ "labels": { "l": null } }),
            json!({ "labels": null, "annotations": { "a": "1" } }),
            json!({ "annotations": { "a": "2", "keypairs.dev/adopt": "x" } }),
            json!({ "annotations": null }),
            json!({ "finalizers": ["example.com/hold"] }),
            json!({ "finalizers": null }),
            json!({ "labels": { "l": "not valid" } }),
            json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": "{ns}", "uid": "{space.uid}" }] }),
        ])
    }

    fn spec(&mut self) -> Value {
        self.one(&[
            json!({}),
            json!({ "description": "one" }),
            json!({ "description": "two", "project": "shop" }),
            json!({ "description": null }),
            json!({ "description": " bad" }),
            json!({ "keyPairName": "name" }),
            json!({ "keyPairName": null }),
            json!({ "publicKey": KEY.trim(), "generate": null }),
            json!({ "publicKey": null }),
            json!({ "generate": { "bits": 3072 } }),
            json!({ "generate": null }),
            json!({ "tags": [{ "key": "a", "value": "b" }] }),
            json!({ "tags": [{ "key": "a" }, { "key": "a" }] }),
            json!({ "tags": null }),
            json!({ "secret": { "name": "other", "onLoss": "Regenerate" } }),
            json!({ "secret": { "name": null } }),
            json!({ "secret": null }),
            json!({ "unknown": { "a": 1 }, "clientToken": "t" }),
        ])
    }

    fn data(&mut self) -> Value {
        self.one(&[
            json!({ "data": { "a": "YQ==" } }),
            json!({ "data": { "a": null, "b": "Yg==" } }),
            json!({ "data": null }),
            json!({ "stringData": { "c": "text" } }),
            json!({ "type": "kubernetes.io/ssh-auth", "data": { "ssh-privatekey": "YQ==" } }),
            json!({ "data": { "ssh-privatekey": null } }),
            json!({ "immutable": true }),
            json!({ "immutable": false }),
            json!({}),
        ])
    }

    fn step(&mut self, script: &mut Script) {
        let name = self.one(&["aa", "bb", "cc"]);
        let is_secret = self.0.happens(500);
        let collection = if is_secret { SECRETS } else { KEY_PAIRS };
        let path = at(collection, name);
        let change = if is_secret { self.data() } else { json!({ "spec": self.spec() }) };
        let change = with(change, &json!({ "metadata": self.metadata() }));
        let mut whole = with(if is_secret { secret(name) } else { key_pair(name, &json!({})) }, &change);
        // In `data`, etcd distinguishes a null from an empty string, which shows at the next write that changes nothing.
        if let Some(data) = whole["data"].as_object_mut() {
            data.retain(|_, value| !value.is_null());
        }
        let accept = self.one(&[JSON, JSON, METADATA]);
        let dry = self.one(&["", "", "", "?dryRun=All"]);
        let seen = self.one(&["aa", "bb", "cc"]);
        match self.0.below(12) {
            0..=2 => script.post(seen, &format!("{collection}{dry}"), whole).accept(accept),
            3 => {
                script.get(&path).keep("now");
                script
                    .put(
                        &format!("{path}{dry}"),
                        with(whole, &json!({ "metadata": { "resourceVersion": "{now.version}" } })),
                    )
                    .accept(accept)
            }
            4 => script.put(&path, whole),
            5..=6 => script.patch(&format!("{path}{dry}"), change).accept(accept),
            7 => {
                let status = self.one(&[
                    json!({ "observedGeneration": 1 }),
                    json!({ "keyPairID": "kp-aaaaaaaaaaaaaaaaaaaa", "keyPairName": name }),
                    json!({ "keyPairID": null, "bits": 2048 }),
                    json!({ "bits": "wrong" }),
                    json!(null),
                ]);
                script.patch(
                    &format!("{}/status", at(KEY_PAIRS, name)),
                    json!({ "status": status, "metadata": self.metadata() }),
                )
            }
            8 => script.delete(&path).accept(accept),
            9 => {
                script.get(&path).keep("now");
                let preconditions = self.one(&[
                    json!({ "uid": "{now.uid}" }),
                    json!({ "resourceVersion": "{now.version}" }),
                    json!({ "uid": "other" }),
                ]);
                script.delete_with(&path, json!({ "preconditions": preconditions }))
            }
            10 => {
                let query = self.one(&[
                    "",
                    "?labelSelector=l%3D1",
                    "?limit=1",
                    "?labelSelector=%21l",
                    "?fieldSelector=metadata.name%3Daa",
                ]);
                let accept = self.one(&[JSON, METADATA_LIST]);
                script.get(&format!("{collection}{query}")).accept(accept)
            }
            _ => script.get(&path).accept(accept),
        };
    }
}

fn drawn(seed: u64) -> Script {
    let mut drawer = Drawer(Dice::new(seed));
    let mut script = Script::new();
    // The values of `{now.…}` if nothing was found.
    script.get("/api/v1/namespaces/{ns}").keep("now");
    let mut labels = Vec::new();
    for collection in [SECRETS, KEY_PAIRS] {
        for query in ["", "&labelSelector=l%3D1", "&labelSelector=l%21%3D1"] {
            let accept = drawer.one(&[JSON, METADATA]);
            let label = format!("watch-{}", labels.len());
            let begin = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
            script.watch(&label, &format!("{collection}?{begin}{query}"), accept);
            labels.push(label);
        }
    }
    for _ in 0..STEPS {
        drawer.step(&mut script);
    }
    for label in &labels {
        script.events(label);
    }
    script
}

/// `KEYPAIR_SCRIPTS` is the number of scripts, and `KEYPAIR_SEED` the first seed.
#[test]
fn random_scripts_match_a_real_api_server() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let begin: u64 = number("KEYPAIR_SEED", 1);
    for seed in begin..begin + number("KEYPAIR_SCRIPTS", 12) {
        conforms(&format!("drawn-{seed}"), &drawn(seed));
    }
}
