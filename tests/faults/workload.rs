//! Creates, updates and deletes, drawn from a seed and sent directly to the API server.

use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keypair_test_harness::Dice;
use kube::{
    Api, Client, Error,
    api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    keys::IMPORTS,
    stage::{key_pairs, secrets},
};

/// An invalid public key that the schema accepts.
pub const INVALID: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";
/// The content of foreign Secrets.
pub const FOREIGN_VALUE: &str = "somebody else's";
/// Requests a rotation.
pub const ROTATE_ANNOTATION: &str = "keypairs.dev/rotate";
/// The number of foreign Secrets per namespace.
const FOREIGN: u64 = 3;

/// Creates foreign Secrets with names that some pairs request for theirs.
pub async fn foreign_secrets(client: &Client, namespace: &str) {
    for number in 0..FOREIGN {
        let secret = Secret {
            metadata: ObjectMeta { name: Some(format!("foreign-{number}")), ..ObjectMeta::default() },
            data: Some([("value".to_owned(), ByteString(FOREIGN_VALUE.as_bytes().to_vec()))].into()),
            ..Secret::default()
        };
        secrets(client, namespace).create(&PostParams::default(), &secret).await.unwrap();
    }
}

/// One of the concurrent tasks. Returns how many operations the API server accepted.
pub async fn work(client: Client, namespaces: Vec<String>, seed: u64, task: u64, operations: usize) -> usize {
    let mut dice = Dice::new(seed.wrapping_mul(1000) + task);
    let mut alive: Vec<(usize, String)> = Vec::new();
    let (mut done, mut made) = (0, 0);
    while done < operations {
        // Leaves time for faults: the API server could process everything in a few seconds.
        sleep(Duration::from_millis(dice.below(240))).await;
        let kind = dice.below(100);
        let at = usize::try_from(dice.below(1 << 20)).unwrap();
        if kind < 55 || alive.is_empty() {
            let namespace = at % namespaces.len();
            let name = format!("t{task}-{made}");
            made += 1;
            let spec = spec(&mut dice, &name);
            done += create(&key_pairs(&client, &namespaces[namespace]), &name, &spec).await;
            alive.push((namespace, name));
            continue;
        }
        let at = at % alive.len();
        let (namespace, name) = alive[at].clone();
        let api = key_pairs(&client, &namespaces[namespace]);
        if kind < 78 {
            let patch = match dice.below(7) {
                0 => json!({ "metadata": { "labels": { "round": dice.below(1000).to_string() } } }),
                1 => json!({ "spec": { "description": format!("Edit {}", dice.below(1000)) } }),
                // If the pair is accepted, its Secret follows.
                2 => {
                    json!({ "spec": { "secret": { "template": { "labels": { "round": dice.below(1000).to_string() } } } } })
                }
                3 => json!({ "spec": { "secret": { "name": format!("moved-{name}") } } }),
                // Has an effect on a pair with `spec.rotation` only.
                4..=5 => json!({ "metadata": { "annotations": { ROTATE_ANNOTATION: dice.below(1000).to_string() } } }),
                // Corrects an invalid key. For all others, it is refused, or changes a waiting request.
                _ => json!({ "spec": { "publicKey": IMPORTS[0].trim(), "generate": null } }),
            };
            done += count(
                persist(async || api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ()))
                    .await,
            );
            continue;
        }
        done += count(persist(async || api.delete(&name, &DeleteParams::default()).await.map(|_| ())).await);
        if kind < 85 {
            let spec = spec(&mut dice, &name);
            done += create(&api, &name, &spec).await;
        } else {
            alive.swap_remove(at);
        }
    }
    done
}

fn spec(dice: &mut Dice, name: &str) -> Value {
    let mut spec = json!({ "profile": "OpenSSH" });
    match dice.below(100) {
        0..35 => spec["publicKey"] = IMPORTS[usize::try_from(dice.below(3)).unwrap()].trim().into(),
        35..45 => spec["publicKey"] = INVALID.into(),
        45..80 => spec["generate"] = json!({ "algorithm": "Ed25519" }),
        80..99 => spec["generate"] = json!({ "algorithm": "ECDSA" }),
        _ => spec["generate"] = json!({ "algorithm": "RSA" }),
    }
    if dice.happens(150) {
        spec["keyPairName"] = format!("shared-{}", dice.below(8)).into();
    }
    if spec.get("generate").is_some() {
        match dice.below(20) {
            0 => spec["secret"] = json!({ "deletionPolicy": "Retain" }),
            1 => spec["secret"] = json!({ "name": format!("own-{name}") }),
            2 => spec["secret"] = json!({ "name": format!("foreign-{}", dice.below(FOREIGN)) }),
            _ => {}
        }
        if dice.happens(300) {
            spec["rotation"] = json!({ "publishBefore": "1s", "keepAfter": "1s" });
        }
    }
    spec
}

async fn create(api: &Api<DynamicObject>, name: &str, spec: &Value) -> usize {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec,
    }))
    .unwrap();
    count(persist(async || api.create(&PostParams::default(), &object).await.map(|_| ())).await)
}

fn count(taken: bool) -> usize {
    usize::from(taken)
}

/// Retries while the API server is unavailable. Returns whether it accepted the request; refusals are expected.
async fn persist(request: impl AsyncFn() -> Result<(), Error>) -> bool {
    for _ in 0..150 {
        match request().await {
            Ok(()) => return true,
            Err(Error::Api(status))
                if status.code < 500 && status.code != 429 && status.code != 401 && status.code != 403 =>
            {
                return false;
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("the API server did not come back");
}
