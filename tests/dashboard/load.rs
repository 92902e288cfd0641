//! A load of typical use in a short time: valid requests, user errors and API server failures.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use keypair_operator::api::{AuthorizedKeys, KeyPair, KeyPairSpec};
use keypair_test_harness::{ControlPlane, Fault, FaultProxy, Write, eventually, namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::PATIENCE;

/// The public key of a valid import.
const PUBLIC_KEY: &str = include_str!("../vectors/public/ed25519.pub");
/// The number of key pairs in the namespace with its own quota: more than nine tenths of that quota.
const PAIRS: usize = 19;
const QUOTA: usize = 20;
/// The number of rounds after which the objects of a round are deleted.
const KEPT: usize = 40;
/// How long the API server is unreachable during an outage.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The namespaces, and a proxy that injects API server failures.
pub struct Load {
    client: Client,
    proxy: FaultProxy,
    web: String,
    /// The webhook does not check this namespace, so the operator itself reports the errors.
    unasked: String,
}

impl Load {
    /// Creates the namespaces and nearly uses up the quota of one of them.
    pub async fn new(plane: &ControlPlane, client: Client, proxy: FaultProxy) -> Self {
        let web = namespace(&client, "web").await.unwrap();
        let full = namespace(&client, "payments").await.unwrap();
        let unasked = namespace(&client, "staging").await.unwrap();
        let selector = json!({ "matchExpressions": [
            { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [unasked] },
        ] });
        let patch =
            json!([{ "op": "replace", "path": "/webhooks/0/namespaceSelector", "value": selector }]).to_string();
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let patched = plane.kubectl(&["patch", kind, "keypair-operator", "--type=json", "-p", &patch]);
            patched.unwrap().ok().unwrap();
        }
        let annotation = json!({ "metadata": { "annotations": { "keypairs.dev/quota": QUOTA.to_string() } } });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.patch(&full, &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
        let load = Self { client, proxy, web, unasked };
        for number in 0..PAIRS {
            load.create(&full, &format!("pair-{number}"), &import()).await.unwrap();
        }
        // A text that follows the pairs of a namespace, and one without keys.
        for (name, labels) in [("all", json!({})), ("nobody", json!({ "team": "none" }))] {
            let entry = json!({ "selector": { "matchLabels": labels } });
            let spec = serde_json::from_value(json!({ "entries": [entry] })).unwrap();
            let api: Api<AuthorizedKeys> = Api::namespaced(load.client.clone(), &load.web);
            api.create(&PostParams::default(), &AuthorizedKeys::new(name, spec)).await.unwrap();
        }
        // One rotation after another, and one that waits for a gate that nobody opens until its key is overdue.
        for (name, rotation) in [
            ("rotated", json!({ "every": "4s", "publishBefore": "1s", "keepAfter": "1s" })),
            ("waiting", json!({ "every": "1s", "publishBefore": "0s", "gates": ["example.com/registered"] })),
        ] {
            let generate = json!({ "algorithm": "Ed25519" });
            let spec = json!({ "profile": "OpenSSH", "generate": generate, "rotation": rotation });
            load.create(&load.web, name, &spec).await.unwrap();
        }
        load
    }

    /// Runs until it is aborted. The pause between two rounds alternates between `rest` and twice as long, so that the load varies.
    pub async fn run(self, rest: Duration) {
        for round in 0.. {
            self.round(round).await;
            sleep(if round / 25 % 2 == 0 { rest } else { rest * 2 }).await;
        }
    }

    async fn round(&self, round: usize) {
        let generate = match round % 5 {
            0 | 3 => json!({}),
            1 => json!({ "algorithm": "ECDSA" }),
            2 => json!({ "algorithm": "RSA", "bits": 3072 }),
            _ => json!({ "algorithm": "Ed25519" }),
        };
        let generated = format!("generated-{round}");
        self.create(&self.web, &generated, &json!({ "profile": "OpenSSH", "generate": generate })).await.unwrap();
        self.create(&self.web, &format!("imported-{round}"), &import()).await.unwrap();
        // The webhook refuses this one.
        let mistake =
            if round.is_multiple_of(2) { changed("keyPairName", "") } else { changed("publicKey", "ssh-ed25519 AAAA") };
        self.create(&self.web, "refused", &mistake).await.unwrap_err();
        // The operator refuses this one.
        if round.is_multiple_of(3) {
            let mistake = if round.is_multiple_of(2) {
                changed("keyPairName", "taken")
            } else {
                changed("publicKey", "ssh-ed25519 AAAA")
            };
            self.create(&self.unasked, &format!("mistake-{round}"), &mistake).await.unwrap();
        }
        // This write fails, and the operator retries it.
        if round % 4 == 1 {
            self.proxy.fail_next(Write::Status, Fault::ServerError);
        }
        if round % 6 == 4 {
            self.lose(&generated).await;
        }
        if round >= KEPT {
            let old = round - KEPT;
            for name in [format!("generated-{old}"), format!("imported-{old}")] {
                self.key_pairs(&self.web).delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
        if round % 30 == 10 {
            self.proxy.cut_off();
            sleep(CUT_OFF).await;
            self.proxy.restore();
        }
    }

    fn key_pairs(&self, namespace: &str) -> Api<KeyPair> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn create(&self, namespace: &str, name: &str, spec: &Value) -> kube::Result<KeyPair> {
        let spec: KeyPairSpec = serde_json::from_value(spec.clone()).unwrap();
        self.key_pairs(namespace).create(&PostParams::default(), &KeyPair::new(name, spec)).await
    }

    /// Waits until a generated pair is ready, then deletes the Secret with its private key.
    async fn lose(&self, name: &str) {
        eventually(PATIENCE, &format!("{name} to be ready"), async || {
            let status = self.key_pairs(&self.web).get(name).await?.status;
            Ok(status.and_then(|status| status.key_pair_id))
        })
        .await
        .unwrap();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.web);
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

fn import() -> Value {
    json!({ "profile": "OpenSSH", "publicKey": PUBLIC_KEY.trim_end() })
}

/// An import with one changed field.
fn changed(field: &str, value: &str) -> Value {
    let mut spec = import();
    spec[field] = value.into();
    spec
}
