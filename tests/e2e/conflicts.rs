//! Many KeyPairs name the same foreign Secret: checks how many requests they cause, and how soon they notice a change by its owner.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::{Mark, Requests, eventually};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{AGENT, PATIENCE, STRICT, Scene, condition, text};

const COUNT: usize = 500;
/// The documented time for noticing a handover, with room for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The number of the operator's requests about Secrets in this namespace, except lists and watches.
fn asked(scene: &Scene, since: Mark) -> usize {
    let audit = scene.stage.plane.audit().unwrap();
    let about = Requests::any().by_agent(AGENT).resource("secrets").namespace(&scene.namespace);
    let requests = audit.matching(since, &about).unwrap();
    requests.iter().filter(|request| !["watch", "list"].contains(&request.verb.as_str())).count()
}

fn watches(scene: &Scene, since: Mark) -> usize {
    let about = Requests::any().by_agent(AGENT).resource("secrets").namespace(&scene.namespace).verb("watch");
    scene.stage.plane.audit().unwrap().count(since, &about).unwrap()
}

fn in_conflict(scene: &Scene) -> usize {
    let is_in_conflict = |object: &&Value| text(&condition(object, "Ready")["reason"]) == "SecretConflict";
    scene.list("keypairs").iter().filter(is_in_conflict).count()
}

fn spec(secret: &str) -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "name": secret } })
}

async fn foreign(scene: &Scene, name: &str) -> Secret {
    let secret = json!({ "metadata": { "name": name }, "stringData": { "theirs": "x" } });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    scene.secrets.create(&PostParams::default(), &secret).await.unwrap()
}

async fn soon(scene: &Scene, name: &str, wanted: &str) {
    let begun = Instant::now();
    scene.settled(name, wanted).await;
    assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
}

#[tokio::test]
async fn many_key_pairs_wait_for_one_secret_with_one_watch() {
    let scene = STRICT.scene("conflicts-one").await;
    let audit = scene.stage.plane.audit().unwrap();
    let before = foreign(&scene, "theirs").await;
    let begun = audit.mark().unwrap();
    let items: Vec<Value> =
        (0..COUNT).map(|number| scene.manifest(&format!("pair-{number:03}"), &spec("theirs"))).collect();
    let manifest = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    scene.try_kubectl(&["create", "-f", "-"], &manifest).ok().unwrap();
    eventually(PATIENCE, "all to be told", async || Ok((in_conflict(&scene) == COUNT).then_some(()))).await.unwrap();
    // One create that conflicts and one read for each KeyPair that starts before the operator knows of the conflict.
    let first = asked(&scene, begun);
    println!("{COUNT} KeyPairs were told with {first} requests about Secrets");
    assert!(first <= COUNT, "{first} requests for the first answers");

    let quiet = audit.mark().unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (asked_again, watched) = (asked(&scene, quiet), watches(&scene, begun));
    println!("{asked_again} requests in 30 s of waiting, {watched} watches since the beginning");
    assert!(asked_again <= 5, "{asked_again} requests while nothing happened");
    assert!(watched <= 5, "{watched} watches of one Secret");
    assert_eq!(scene.secrets.get("theirs").await.unwrap(), before);

    // Handover: the message changes for the KeyPair that the annotation names.
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": "pair-123" } } });
    scene.secrets.patch("theirs", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let begun = Instant::now();
    eventually(PATIENCE, "the offer to be looked at", async || {
        let object = scene.key_pairs.get("pair-123").await?;
        let object = serde_json::to_value(object)?;
        Ok(text(&condition(&object, "Ready")["message"]).contains("offered for adoption").then_some(()))
    })
    .await
    .unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

    // Deletion: one KeyPair gets the name, the others keep waiting, and no unused key is generated.
    let mark = audit.mark().unwrap();
    scene.secrets.delete("theirs", &DeleteParams::default()).await.unwrap();
    let begun = Instant::now();
    let made = eventually(PATIENCE, "the name to be taken", async || Ok(scene.secrets.get_opt("theirs").await?))
        .await
        .unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let owner = made.annotations()["keypairs.dev/keypair"].clone();
    soon(&scene, &owner, "True/Generated").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(in_conflict(&scene), COUNT - 1);
    let requests = asked(&scene, mark);
    println!("{requests} requests when the Secret was deleted");
    assert!(requests <= 20, "{requests} requests for one free name");
}

#[tokio::test]
async fn the_end_of_a_conflict_is_an_event() {
    let scene = STRICT.scene("conflicts-end").await;
    for name in ["deleted", "handed", "released", "lost"] {
        if name != "lost" {
            foreign(&scene, name).await;
        }
        scene.create(name, &spec(name)).await;
    }
    let lost = {
        scene.settled("lost", "True/Generated").await;
        let lost = scene.secrets.get("lost").await.unwrap();
        scene.secrets.delete("lost", &DeleteParams::default()).await.unwrap();
        scene.settled("lost", "False/PrivateKeyLost").await;
        lost
    };
    for name in ["deleted", "handed", "released"] {
        scene.settled(name, "False/SecretConflict").await;
    }
    // Long enough that a poll with backoff would react late.
    tokio::time::sleep(Duration::from_secs(20)).await;
    scene.secrets.delete("deleted", &DeleteParams::default()).await.unwrap();
    soon(&scene, "deleted", "True/Generated").await;
    let key = json!({ "ssh-privatekey": lost.data.as_ref().unwrap()["ssh-privatekey"] });
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": "handed" } }, "data": key });
    scene.secrets.patch("handed", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    soon(&scene, "handed", "True/Generated").await;
    // Restored by hand, without the label that the operator watches.
    let restored = json!({
        "metadata": { "name": "lost", "annotations": { "keypairs.dev/adopt": "lost" } }, "data": key,
    });
    let restored: Secret = serde_json::from_value(restored).unwrap();
    scene.secrets.create(&PostParams::default(), &restored).await.unwrap();
    soon(&scene, "lost", "True/Generated").await;
    // Returned to the KeyPair by its UID.
    let uid = scene.key_pairs.get("released").await.unwrap().metadata.uid;
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/keypair-uid": uid } }, "data": key });
    scene.secrets.patch("released", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    soon(&scene, "released", "True/Generated").await;
}
