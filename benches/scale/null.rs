//! The baselines, as separate processes: the minimal work of an operator and of a reader of the same objects.

use std::{collections::BTreeMap, pin::pin};

use futures::{Stream, StreamExt, future};
use http::header::{HeaderValue, USER_AGENT};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use keypair_operator::api::KeyPair;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;

/// The user agent of the null operator.
pub const AGENT: &str = "null-operator";
/// What the processes print when they have listed everything.
pub const LISTED: &str = "listed";
/// The same concurrency as the operator's.
const CONCURRENCY: usize = 32;
const MD5: &str = "00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00";
const SHA256: &str = "SHA256:0000000000000000000000000000000000000000000";
const PUBLIC_KEY: &str = include_str!("../../tests/vectors/public/rsa2048.pub");
const PRIVATE_KEY: &str = include_str!("../../tests/vectors/private/plain/rsa2048.pkcs8");

async fn client() -> Client {
    let mut config = Config::infer().await.unwrap();
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config).unwrap()
}

/// The null operator: watches and, for each new object, creates a Secret with fixed bytes, unless it has a public key, and
/// patches its status with fixed text: a short one, or one as long as the operator's.
pub async fn operate(many: bool) {
    let client = client().await;
    watcher(Api::<KeyPair>::all(client.clone()), watcher::Config::default())
        .filter_map(|event| {
            let new = match event.unwrap() {
                Event::InitApply(key_pair) | Event::Apply(key_pair) if is_new(&key_pair) => Some(key_pair),
                Event::InitDone => {
                    println!("{LISTED}");
                    None
                }
                _ => None,
            };
            future::ready(new)
        })
        .for_each_concurrent(CONCURRENCY, |key_pair| answer(&client, key_pair, many))
        .await;
}

fn is_new(key_pair: &KeyPair) -> bool {
    key_pair.status.as_ref().is_none_or(|status| status.conditions.is_empty())
}

async fn answer(client: &Client, key_pair: KeyPair, many: bool) {
    let (namespace, name) = (key_pair.namespace().unwrap(), key_pair.name_any());
    let generated = key_pair.spec.public_key.is_none();
    if generated {
        let mut secret = Secret { type_: Some("kubernetes.io/ssh-auth".to_owned()), ..Secret::default() };
        secret.metadata.name = Some(name.clone());
        let data = [("ssh-privatekey", PRIVATE_KEY), ("ssh-publickey", PUBLIC_KEY)];
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
        secret.data = Some(BTreeMap::from(data));
        Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &secret).await.unwrap();
    }
    let mut status = json!({
        "observedGeneration": 1,
        "publicKey": PUBLIC_KEY,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Null", "message": "Nothing was looked at.",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    if many {
        let words = json!({
            "keyPairID": "kp-00000000000000000000",
            "keyPairName": name,
            "region": namespace,
            "algorithm": "RSA",
            "bits": 2048,
            "fingerprint": MD5,
            "fingerprints": { "md5": MD5, "sha256": SHA256 },
            "secretName": generated.then(|| name.clone()),
            "secretVersion": generated.then_some("0"),
        });
        status.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
    }
    let status = json!({ "status": status });
    let api: Api<KeyPair> = Api::namespaced(client.clone(), &namespace);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// Lists what the operator lists, into the same types, and keeps nothing. `config` selects the protocol.
pub async fn list(config: watcher::Config) {
    let client = client().await;
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    listed(watcher(namespaces, config.clone())).await;
    let key_pairs: Api<DeserializeGuard<KeyPair>> = Api::all(client.clone());
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(client);
    let ours = config.clone().labels("app.kubernetes.io/managed-by=keypair-operator");
    future::join(listed(watcher(key_pairs, config)), listed(watcher(secrets, ours))).await;
    println!("{LISTED}");
    // The benchmark still has to measure this process.
    future::pending::<()>().await;
}

async fn listed<K>(events: impl Stream<Item = Result<Event<K>, watcher::Error>>) {
    let mut events = pin!(events);
    while !matches!(events.next().await.unwrap().unwrap(), Event::InitDone) {}
}
