//! The Secret of a rotated pair when somebody changes it, when the pair goes, and when an operator of an earlier version writes the status.

use keypair_test_harness::eventually;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    rotation::{phases, request, shown, spec},
    support::{PATIENCE, STRICT, Scene, data, keys, text, to_json},
};

const SWITCHED: [&str; 2] = ["1 Previous", "2 Current"];

/// A pair that has a next and a current key, and the object.
async fn published(topic: &str) -> (Scene, Value) {
    let scene = STRICT.scene(topic).await;
    scene.create("web", &spec(&json!({ "publishBefore": "1h", "keepAfter": "1h" }))).await;
    shown(&scene, "web", &["1 Current"]).await;
    scene.patch("web", &request("1")).await;
    let (object, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    (scene, object)
}

/// The switch happens at once.
async fn switch(scene: &Scene) -> Value {
    scene.patch("web", &json!({ "spec": { "rotation": { "publishBefore": "0s" } } })).await;
    shown(scene, "web", &SWITCHED).await.0
}

async fn edit_secret(scene: &Scene, data: Value) {
    let patch = Patch::Merge(json!({ "stringData": data }));
    scene.secrets.patch("web", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_next_key_that_somebody_spoils_is_replaced_and_published_anew() {
    let (scene, before) = published("rotated-spoilt").await;
    edit_secret(&scene, json!({ "ssh-privatekey.next": "spoilt" })).await;
    eventually(PATIENCE, "another next key", async || {
        let object = to_json(&scene.key_pairs.get("web").await?);
        Ok((object["status"]["keys"][1]["publicKey"] != before["status"]["keys"][1]["publicKey"]).then_some(()))
    })
    .await
    .unwrap();
    let (after, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    assert_eq!(after["status"]["keys"][0], before["status"]["keys"][0], "the current key is another matter");
    let since = |object: &Value| text(&object["status"]["keys"][1]["since"]).to_owned();
    assert!(since(&after) >= since(&before));
}

/// The others are not lost with it, and not exchanged for it.
#[tokio::test]
async fn a_current_key_that_somebody_spoils_is_reported_in_a_rotation_as_well() {
    let (scene, before) = published("rotated-mismatch").await;
    edit_secret(&scene, json!({ "ssh-privatekey": "spoilt" })).await;
    let reported = scene.settled("web", "False/PrivateKeyMismatch").await;
    assert_eq!(reported["status"]["keys"], before["status"]["keys"]);
    let secret = scene.secrets.get("web").await.unwrap();
    assert_eq!(data(&secret, "ssh-privatekey"), "spoilt", "it is not overwritten");
    assert!(data(&secret, "ssh-privatekey.next").starts_with("-----BEGIN"));
}

#[tokio::test]
async fn a_retained_secret_keeps_all_keys() {
    let (scene, _) = published("rotated-retained").await;
    scene.patch("web", &json!({ "spec": { "secret": { "deletionPolicy": "Retain" } } })).await;
    let switched = switch(&scene).await;
    scene.delete("web").await;
    eventually(PATIENCE, "the pair to be gone", async || {
        Ok(scene.key_pairs.get_opt("web").await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    let secret = scene.secrets.get("web").await.unwrap();
    let entries = ["ssh-privatekey", "ssh-privatekey.previous", "ssh-publickey", "ssh-publickey.previous"];
    assert_eq!(keys(&secret), entries);
    assert_eq!(data(&secret, "ssh-publickey").trim(), text(&switched["status"]["publicKey"]));
}

/// An earlier version replaces the status by one without keys.
#[tokio::test]
async fn a_rotation_continues_after_a_downgrade_and_an_upgrade() {
    let (scene, before) = published("rotated-downgrade").await;
    let conditions: Vec<&Value> = before["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|condition| condition["type"] != "Rotating")
        .collect();
    let forget = json!({ "status": { "keys": null, "revision": null, "rotation": null, "conditions": conditions } });
    scene.key_pairs.patch_status("web", &PatchParams::default(), &Patch::Merge(&forget)).await.unwrap();
    let (after, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    let lines = |object: &Value| -> Vec<String> {
        let keys = object["status"]["keys"].as_array().unwrap().iter();
        keys.map(|key| text(&key["publicKey"]).to_owned()).collect()
    };
    assert_eq!(lines(&after), lines(&before), "no key is made twice");
    let switched = switch(&scene).await;
    scene.key_pairs.patch_status("web", &PatchParams::default(), &Patch::Merge(&forget)).await.unwrap();
    let (again, _) = shown(&scene, "web", &SWITCHED).await;
    assert_eq!(lines(&again), lines(&switched));
    assert_eq!(phases(&again), SWITCHED);
}
