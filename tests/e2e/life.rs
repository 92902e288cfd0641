//! The life cycle of a Secret: adopted, edited, renamed, lost, deleted.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::eventually;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    support::{Directory, PATIENCE, QUIET, STRICT, Scene, condition, data, keys, text},
    tools::{run, ssh_keygen_y},
};

fn ed25519() -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "encoding": "OpenSSH" } })
}

/// The public key line that `ssh-keygen` derives from the private key in a Secret.
fn derived(secret: &Secret, key: &str) -> String {
    let dir = Directory::new("life");
    ssh_keygen_y(&dir.write("key", data(secret, key).as_bytes()))
}

async fn accepted(scene: &Scene, name: &str, spec: &Value) -> (Value, Secret) {
    scene.create(name, spec).await;
    let object = scene.settled(name, "True/Generated").await;
    let secret = scene.secrets.get(text(&object["status"]["secretName"])).await.unwrap();
    (object, secret)
}

/// Checks that the pair is unchanged, wherever its Secret is now.
fn check_same(now: &Value, before: &Value) {
    for field in ["keyPairID", "fingerprint", "fingerprints", "publicKey"] {
        assert_eq!(now["status"][field], before["status"][field], "{field}");
    }
}

async fn secret_when(scene: &Scene, name: &str, what: &str, is_so: impl Fn(&Secret) -> bool) -> Secret {
    eventually(PATIENCE, what, async || Ok(Some(scene.secrets.get(name).await?).filter(|secret| is_so(secret))))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_template_edit_changes_only_templated_metadata() {
    let scene = STRICT.scene("life-template").await;
    let mut spec = ed25519();
    spec["secret"]["template"] = json!({
        "labels": { "a": "1", "b": "1" }, "annotations": { "c": "1" }, "stringData": { "known_hosts": "one", "url": "u" },
    });
    let (before, secret) = accepted(&scene, "pair", &spec).await;
    // The operator keeps what others add.
    let others = json!({ "metadata": { "labels": { "theirs": "1" } }, "stringData": { "theirs": "x" } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(others)).await.unwrap();

    let template = json!({
        "labels": { "a": "2", "b": null, "d": "1" }, "annotations": null, "stringData": { "known_hosts": "two", "url": null },
    });
    scene.patch("pair", &json!({ "spec": { "secret": { "template": template } } })).await;
    let now = secret_when(&scene, "pair", "the template to be followed", |secret| secret.labels()["a"] == "2").await;
    let labels = json!({ "a": "2", "d": "1", "theirs": "1", "app.kubernetes.io/managed-by": "keypair-operator" });
    assert_eq!(json!(now.labels()), labels);
    assert!(!now.annotations().contains_key("c"));
    assert_eq!(keys(&now), ["known_hosts", "ssh-privatekey", "ssh-publickey", "theirs"]);
    assert_eq!((data(&now, "known_hosts"), data(&now, "theirs")), ("two".to_owned(), "x".to_owned()));
    assert_eq!(data(&now, "ssh-privatekey"), data(&secret, "ssh-privatekey"));
    check_same(&scene.settled("pair", "True/Generated").await, &before);

    // The operator restores its own labels and entries.
    let taken = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null, "d": null } }, "data": { "ssh-publickey": null } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let is_whole = |secret: &Secret| secret.labels().contains_key("d") && keys(secret).contains(&"ssh-publickey");
    let now = secret_when(&scene, "pair", "what was taken away to come back", is_whole).await;
    assert_eq!(json!(now.labels()), labels);
}

#[tokio::test]
async fn data_keys_and_encoding_can_be_changed_in_place() {
    let scene = STRICT.scene("life-keys").await;
    let spec = json!({
        "profile": "OpenSSH", "generate": { "algorithm": "ECDSA" },
        "secret": { "template": { "type": "Opaque" } },
    });
    let (before, secret) = accepted(&scene, "pair", &spec).await;
    assert!(data(&secret, "ssh-privatekey").starts_with("-----BEGIN PRIVATE KEY-----"));
    let edit = json!({ "encoding": "SEC1", "keys": { "privateKey": "identity", "publicKey": "identity.pub" } });
    scene.patch("pair", &json!({ "spec": { "secret": edit } })).await;
    let is_renamed = |secret: &Secret| keys(secret).contains(&"identity");
    let now = secret_when(&scene, "pair", "the data keys to be renamed", is_renamed).await;
    assert_eq!(keys(&now), ["identity", "identity.pub"]);
    assert!(data(&now, "identity").starts_with("-----BEGIN EC PRIVATE KEY-----"));
    assert_eq!(derived(&now, "identity"), derived(&secret, "ssh-privatekey"));
    check_same(&scene.settled("pair", "True/Generated").await, &before);
}

/// The type of a Secret is immutable in Kubernetes; moving the key to another Secret can change it.
#[tokio::test]
async fn a_rename_moves_the_key_without_leftovers() {
    let scene = STRICT.scene("life-rename").await;
    let (before, secret) = accepted(&scene, "pair", &ed25519()).await;
    let identity = json!({ "keys": { "privateKey": "identity" } });
    scene.patch("pair", &json!({ "spec": { "secret": identity } })).await;
    let object = scene.settled("pair", "False/InvalidSecret").await;
    assert!(text(&condition(&object, "Ready")["message"]).contains("spec.secret.name"), "{object}");
    assert_eq!(scene.secrets.get("pair").await.unwrap(), secret);

    scene.patch("pair", &json!({ "spec": { "secret": { "name": "moved" } } })).await;
    let object = scene.settled("pair", "True/Generated").await;
    assert_eq!(object["status"]["secretName"], "moved");
    check_same(&object, &before);
    let moved = scene.secrets.get("moved").await.unwrap();
    assert_eq!(moved.type_.as_deref(), Some("Opaque"));
    assert_eq!(derived(&moved, "identity"), derived(&secret, "ssh-privatekey"));
    assert!(scene.secrets.get_opt("pair").await.unwrap().is_none());

    // The key does not move into a foreign Secret.
    let foreign: Secret = serde_json::from_value(json!({ "metadata": { "name": "foreign" } })).unwrap();
    let foreign = scene.secrets.create(&PostParams::default(), &foreign).await.unwrap();
    scene.patch("pair", &json!({ "spec": { "secret": { "name": "foreign" } } })).await;
    let object = scene.settled("pair", "False/SecretConflict").await;
    assert_eq!(object["status"]["secretName"], "moved");
    let told = text(&condition(&object, "Ready")["message"]).to_owned();
    for words in ["Secret \"foreign\"", "stays in Secret \"moved\"", "delete Secret \"foreign\"", "back to \"moved\""] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(scene.secrets.get("foreign").await.unwrap(), foreign);
    assert_eq!(scene.secrets.get("moved").await.unwrap(), moved);
    scene.patch("pair", &json!({ "spec": { "secret": { "name": "moved" } } })).await;
    check_same(&scene.settled("pair", "True/Generated").await, &before);
}

/// Changes the name back and forth, faster than the operator can move the key.
#[tokio::test]
async fn a_rename_there_and_back_keeps_the_key() {
    let scene = STRICT.scene("life-back").await;
    for (name, on_loss) in [("report", "Report"), ("regenerate", "Regenerate")] {
        let mut spec = ed25519();
        spec["secret"]["onLoss"] = json!(on_loss);
        let (before, secret) = accepted(&scene, name, &spec).await;
        let mut last = String::new();
        for round in 0..40 {
            last = match round % 4 {
                1 | 3 => name.to_owned(),
                even => format!("{name}-{even}"),
            };
            scene.patch(name, &json!({ "spec": { "secret": { "name": last } } })).await;
            // Interrupt the move at different points.
            tokio::time::sleep(std::time::Duration::from_millis(round * 7 % 60)).await;
        }
        let object = scene.settled(name, "True/Generated").await;
        assert_eq!(text(&object["status"]["secretName"]), last);
        check_same(&object, &before);
        let now = scene.secrets.get(&last).await.unwrap();
        assert_eq!(data(&now, "ssh-privatekey"), data(&secret, "ssh-privatekey"), "{on_loss}");
        let others = scene.list("secrets").into_iter().filter(|secret| {
            let other = text(&secret["metadata"]["name"]);
            other.starts_with(name) && other != last
        });
        assert_eq!(others.count(), 0, "{on_loss}: a Secret was left over");
        assert!(!now.annotations().contains_key("keypairs.dev/moved"), "the move should be complete");
    }
}

/// A Secret that blocks a move can be offered for adoption if it holds the same key.
#[tokio::test]
async fn a_move_adopts_an_offered_secret() {
    let scene = STRICT.scene("life-onto").await;
    let (before, secret) = accepted(&scene, "pair", &ed25519()).await;
    let key = json!({ "ssh-privatekey": secret.data.as_ref().unwrap()["ssh-privatekey"] });
    let theirs = json!({ "metadata": { "name": "theirs" }, "data": key });
    let theirs: Secret = serde_json::from_value(theirs).unwrap();
    scene.secrets.create(&PostParams::default(), &theirs).await.unwrap();
    scene.patch("pair", &json!({ "spec": { "secret": { "name": "theirs" } } })).await;
    scene.settled("pair", "False/SecretConflict").await;
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": "pair" } } });
    scene.secrets.patch("theirs", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let object = scene.settled("pair", "True/Generated").await;
    assert_eq!(object["status"]["secretName"], "theirs");
    check_same(&object, &before);
    assert!(scene.secrets.get_opt("pair").await.unwrap().is_none());
}

#[tokio::test]
async fn only_offered_secrets_are_adopted() {
    let scene = STRICT.scene("life-adopt").await;
    let dir = Directory::new("life-adopt");
    let file = dir.0.join("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", file.to_str().unwrap()], b"");
    let private = std::fs::read_to_string(&file).unwrap();
    let offer = async |name: &str, adopter: &str, content: &str| {
        let secret = json!({
            "metadata": { "name": name, "annotations": { "keypairs.dev/adopt": adopter }, "labels": { "theirs": "1" } },
            "type": "kubernetes.io/ssh-auth",
            "stringData": { "ssh-privatekey": content, "note": "kept" },
        });
        let secret: Secret = serde_json::from_value(secret).unwrap();
        scene.secrets.create(&PostParams::default(), &secret).await.unwrap()
    };
    offer("pair", "pair", &private).await;
    scene.create("pair", &ed25519()).await;
    let object = scene.settled("pair", "True/Generated").await;
    assert_eq!(text(&object["status"]["publicKey"]).trim(), ssh_keygen_y(&file).trim());
    let adopted = scene.secrets.get("pair").await.unwrap();
    assert_eq!(data(&adopted, "ssh-privatekey"), private);
    assert_eq!(data(&adopted, "note"), "kept");
    assert_eq!(adopted.labels()["theirs"], "1");
    assert_eq!(adopted.owner_references(), [], "the Secret should outlive the KeyPair");
    assert!(!adopted.annotations().contains_key("keypairs.dev/adopt"));

    let refused =
        [("other", "somebody", private.as_str()), ("no-key", "no-key", "nothing"), ("kind", "kind", &private)];
    for (name, adopter, content) in refused {
        let before = offer(name, adopter, content).await;
        let mut spec = ed25519();
        if name == "kind" {
            spec["generate"] = json!({ "algorithm": "ECDSA" });
        }
        scene.create(name, &spec).await;
        let object = scene.settled(name, "False/SecretConflict").await;
        assert!(!object.to_string().contains("PRIVATE KEY--"), "{object}");
        assert_eq!(scene.secrets.get(name).await.unwrap(), before, "the operator changed {name}");
    }
    // The operator notices the offer even though the Secret does not have its label.
    let consent = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": "other" } } });
    scene.secrets.patch("other", &PatchParams::default(), &Patch::Merge(consent)).await.unwrap();
    scene.settled("other", "True/Generated").await;
}

/// A retained Secret restores a deleted KeyPair.
#[tokio::test]
async fn a_retained_secret_can_be_adopted_by_a_new_key_pair() {
    let scene = STRICT.scene("life-retain").await;
    let (before, secret) = accepted(&scene, "pair", &ed25519()).await;
    // The deletion policy of an accepted pair can change in both directions.
    for (policy, owners) in [("Retain", 0), ("Delete", 1), ("Retain", 0)] {
        scene.patch("pair", &json!({ "spec": { "secret": { "deletionPolicy": policy } } })).await;
        let is_so = |secret: &Secret| secret.owner_references().len() == owners;
        secret_when(&scene, "pair", &format!("the policy {policy} to be in force"), is_so).await;
    }
    scene.delete("pair").await;
    scene.create("pair", &ed25519()).await;
    scene.settled("pair", "False/SecretConflict").await;
    let consent = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": "pair" } } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(consent)).await.unwrap();
    let object = scene.settled("pair", "True/Generated").await;
    assert_eq!(object["status"]["publicKey"], before["status"]["publicKey"]);
    assert_eq!(data(&scene.secrets.get("pair").await.unwrap(), "ssh-privatekey"), data(&secret, "ssh-privatekey"));
}

#[tokio::test]
async fn a_lost_key_is_regenerated_on_request() {
    let scene = STRICT.scene("life-regenerate").await;
    let mut spec = ed25519();
    spec["secret"]["onLoss"] = json!("Regenerate");
    let (before, secret) = accepted(&scene, "pair", &spec).await;
    scene.secrets.delete("pair", &DeleteParams::default()).await.unwrap();
    let object = eventually(PATIENCE, "another key", async || {
        let object = serde_json::to_value(scene.key_pairs.get("pair").await?)?;
        Ok((object["status"]["publicKey"] != before["status"]["publicKey"]).then_some(object))
    })
    .await
    .unwrap();
    assert_eq!(object["status"]["keyPairID"], before["status"]["keyPairID"]);
    let now = scene.secrets.get("pair").await.unwrap();
    assert_ne!(data(&now, "ssh-privatekey"), data(&secret, "ssh-privatekey"));
    assert!(text(&object["status"]["publicKey"]).starts_with(derived(&now, "ssh-privatekey").trim()));
    scene.wait_for_events("pair", &["Warning/PrivateKeyRegenerated"]).await;

    // A key that was changed by hand is not lost, so it is reported as a mismatch.
    let other = json!({ "stringData": { "ssh-privatekey": data(&secret, "ssh-privatekey") } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(other)).await.unwrap();
    scene.settled("pair", "False/PrivateKeyMismatch").await;
}

#[tokio::test]
async fn a_deleted_secret_is_noticed_at_once() {
    let scene = STRICT.scene("life-noticed").await;
    accepted(&scene, "pair", &ed25519()).await;
    scene.secrets.delete("pair", &DeleteParams::default()).await.unwrap();
    let deleted = Instant::now();
    scene.settled("pair", "False/PrivateKeyLost").await;
    // The documented limit is one second; the rest is for a busy machine.
    assert!(deleted.elapsed() < Duration::from_secs(5), "{:?}", deleted.elapsed());
}

/// The key changes while the operator is stopped.
#[tokio::test]
async fn a_restarted_operator_notices_a_changed_key() {
    let scene = QUIET.scene("life-meanwhile").await;
    let args = ["--namespace", &scene.namespace];
    let mut operator = QUIET.spawn(&args, "info");
    for name in ["one", "two"] {
        accepted(&scene, name, &ed25519()).await;
    }
    operator.stop().await.unwrap();
    let two = data(&scene.secrets.get("two").await.unwrap(), "ssh-privatekey");
    let patch = json!({ "stringData": { "ssh-privatekey": two } });
    scene.secrets.patch("one", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let _operator = QUIET.spawn(&args, "info");
    scene.settled("one", "False/PrivateKeyMismatch").await;
    scene.settled("two", "True/Generated").await;
}

#[tokio::test]
async fn deleting_a_key_pair_deletes_its_secret() {
    let scene = STRICT.scene("life-deletion").await;
    for cascade in ["background", "foreground"] {
        accepted(&scene, cascade, &ed25519()).await;
        scene.kubectl(&["delete", "kp", cascade, &format!("--cascade={cascade}")]);
        eventually(PATIENCE, "the Secret to be collected", async || {
            Ok(scene.secrets.get_opt(cascade).await?.is_none().then_some(()))
        })
        .await
        .unwrap();
        assert!(scene.key_pairs.get_opt(cascade).await.unwrap().is_none());
    }
    // With orphaning, the Secret stays.
    accepted(&scene, "orphan", &ed25519()).await;
    scene.kubectl(&["delete", "kp", "orphan", "--cascade=orphan"]);
    assert!(scene.secrets.get_opt("orphan").await.unwrap().is_some());
}
