//! A namespace as the region of its key pairs, with its quota and its projects.

use std::io::Error;

use k8s_openapi::api::core::v1::Namespace;
use keypair_test_harness::eventually;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    expected::{PROFILES, status_error},
    mistakes::valid,
    support::{PATIENCE, QUIET, STRICT, Scene, condition, text, to_json},
};

/// Merges into the metadata of the test's Namespace.
async fn annotate(scene: &Scene, metadata: Value) {
    let client = scene.stage.plane.client().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    namespaces.patch(&scene.namespace, &PatchParams::default(), &patch).await.unwrap();
}

async fn quota(scene: &Scene, quota: Value) {
    annotate(scene, json!({ "annotations": { "keypairs.dev/quota": quota } })).await;
}

/// Waits until the message of this KeyPair contains `words`.
async fn told(scene: &Scene, name: &str, words: &str) {
    eventually(PATIENCE, &format!("{name} to be told: {words}"), async || {
        let object = to_json(&scene.key_pairs.get(name).await?);
        let message = text(&condition(&object, "Ready")["message"]).to_owned();
        if message.contains(words) { Ok(Some(())) } else { Err(Error::other(message).into()) }
    })
    .await
    .unwrap();
}

/// Runs with a watch of all namespaces, and with a watch of one namespace.
#[tokio::test]
async fn a_namespace_annotation_sets_its_quota() {
    let scenes = [STRICT.scene("region-quota").await, QUIET.scene("region-quota").await];
    let args = ["--namespace", &scenes[1].namespace];
    let _operator = QUIET.spawn(&args, "info");
    for scene in &scenes {
        quota(scene, json!("1")).await;
        scene.create("a", &valid("OpenSSH")).await;
        scene.settled("a", "True/Imported").await;
        for name in ["b", "c"] {
            scene.create(name, &valid("OpenSSH")).await;
            scene.settled(name, "False/QuotaExceeded").await;
        }
        // A higher quota: the oldest waiting pair is accepted without an edit.
        quota(scene, json!("2")).await;
        scene.settled("b", "True/Imported").await;
        scene.settled("c", "False/QuotaExceeded").await;
        // A lower quota: accepted pairs stay accepted, and no other pair is accepted until there is room. Namespaces and KeyPairs have
        // separate watches: the refused project shows that the operator has seen the new annotations before the next change.
        let mut other = valid("OpenSSH");
        other["project"] = json!("other");
        scene.create("probe", &other).await;
        scene.settled("probe", "False/QuotaExceeded").await;
        let less = json!({ "keypairs.dev/quota": "0", "keypairs.dev/projects": "known" });
        annotate(scene, json!({ "annotations": less })).await;
        scene.settled("probe", "False/ProjectNotFound").await;
        scene.delete("a").await;
        scene.create("d", &valid("OpenSSH")).await;
        scene.settled("d", "False/QuotaExceeded").await;
        scene.settled("b", "True/Imported").await;
        scene.settled("c", "False/QuotaExceeded").await;
        // An invalid quota: no new pair is accepted, waiting pairs report the error, and accepted pairs stay accepted.
        for mistake in ["many", "", "500.0", "-1"] {
            quota(scene, json!("0")).await;
            told(scene, "d", "its quota allows").await;
            quota(scene, json!(mistake)).await;
            for name in ["c", "d"] {
                told(scene, name, "annotation keypairs.dev/quota is not a whole number").await;
                scene.settled(name, "False/QuotaExceeded").await;
            }
            scene.settled("b", "True/Imported").await;
        }
        // Without the annotation, the operator's own quota applies.
        quota(scene, json!(null)).await;
        scene.settled("c", "True/Imported").await;
        scene.settled("d", "True/Imported").await;
    }
}

#[tokio::test]
async fn a_project_must_be_allowed_by_the_namespace() {
    let scene = STRICT.scene("region-projects").await;
    annotate(&scene, json!({ "annotations": { "keypairs.dev/projects": "shop, web" } })).await;
    for profile in *PROFILES {
        let name = profile.to_lowercase();
        let mut spec = valid(profile);
        scene.create(&format!("{name}-none"), &spec).await;
        scene.settled(&format!("{name}-none"), "True/Imported").await;
        spec["project"] = json!("web");
        scene.create(&format!("{name}-web"), &spec).await;
        scene.settled(&format!("{name}-web"), "True/Imported").await;
        spec["project"] = json!("other");
        scene.create(&name, &spec).await;
        let object = scene.settled(&name, "False/ProjectNotFound").await;
        assert_eq!(object["status"]["error"], status_error(profile, "ProjectNotFound"));
        assert_eq!(object["status"]["keyPairID"], Value::Null);
    }
    annotate(&scene, json!({ "annotations": { "keypairs.dev/projects": "shop,web,other" } })).await;
    for profile in *PROFILES {
        scene.settled(&profile.to_lowercase(), "True/Imported").await;
    }
}

/// Checks UCloud's fingerprint, because it covers the project.
#[tokio::test]
async fn a_namespace_annotation_sets_the_default_project() {
    let scene = STRICT.scene("region-default").await;
    annotate(&scene, json!({ "annotations": { "keypairs.dev/default-project": "shop" } })).await;
    let spec = valid("UCloud");
    scene.create("pair", &spec).await;
    let object = scene.settled("pair", "True/Imported").await;
    let body = spec["publicKey"].as_str().unwrap().trim();
    let id = object["status"]["keyPairID"].as_str().unwrap();
    let expected = crate::tools::openssl_md5(format!("shop{id}|{body}").as_bytes());
    assert_eq!(object["status"]["fingerprint"], json!(expected));
}

#[tokio::test]
async fn namespaces_outside_the_region_selector_are_refused() {
    let scene = QUIET.scene("region-selector").await;
    let args = ["--namespace", &scene.namespace, "--region-selector", "region in (north, south),!closed"];
    let _operator = QUIET.spawn(&args, "info");
    for profile in *PROFILES {
        let name = profile.to_lowercase();
        scene.create(&name, &valid(profile)).await;
        let object = scene.settled(&name, "False/RegionNotFound").await;
        assert_eq!(object["status"]["error"], status_error(profile, "RegionNotFound"));
        assert_eq!(condition(&object, "Stalled"), Value::Null);
    }
    annotate(&scene, json!({ "labels": { "region": "south" } })).await;
    let mut accepted = Value::Null;
    for profile in *PROFILES {
        accepted = scene.settled(&profile.to_lowercase(), "True/Imported").await;
    }
    // An accepted pair keeps its values and reports the problem.
    annotate(&scene, json!({ "labels": { "closed": "yes" } })).await;
    let object = scene.settled("openssh", "False/RegionNotFound").await;
    for field in ["keyPairID", "fingerprint", "publicKey"] {
        assert_eq!(object["status"][field], accepted["status"][field], "{field}");
    }
}
