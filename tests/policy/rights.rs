//! The policies do not affect users whose own permissions for Secrets cover what they tell the operator to do.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Scene, User, WITH, all_keypairs, pair, secret_rights};

/// Sets a name and a template, changes everything, and moves the key, as people and tools do.
async fn does_everything(scene: &Scene, user: &User, name: &str) {
    let path = scene.pairs(name);
    let secret = json!({
        "name": format!("{name}-a"),
        "template": { "labels": { "argocd.argoproj.io/secret-type": "repository" }, "stringData": { "type": "git" } },
    });
    let mut wanted = pair(name, &json!({ "secret": secret }));
    wanted["metadata"]["namespace"] = json!(scene.namespace);
    let apply = format!("{path}?fieldManager=argocd&force=true");
    user.send(Method::PATCH, &apply, "application/apply-patch+yaml", &wanted).await.admitted();
    scene.accepted(name).await;
    for edit in [
        json!({ "encoding": "OpenSSH", "keys": { "publicKey": "public" } }),
        json!({ "template": { "annotations": { "a": "b" } } }),
        json!({ "name": format!("{name}-b") }),
        json!({ "name": null, "template": null, "keys": null, "deletionPolicy": "Retain", "onLoss": "Regenerate" }),
    ] {
        user.merge(&path, &json!({ "spec": { "secret": edit } })).await.admitted();
        scene.accepted(name).await;
    }
    // Applies the original again.
    user.send(Method::PATCH, &apply, "application/apply-patch+yaml", &wanted).await.admitted();
    assert_eq!(scene.accepted(name).await["status"]["secretName"], json!(format!("{name}-a")));
    scene.made(&format!("{name}-a")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_do_not_affect_editors_and_administrators() {
    let scene = WITH.scene("edit-role").await;
    let editor = scene.editor().await;
    does_everything(&scene, &editor, "by-edit").await;
    does_everything(&scene, &scene.admin.clone(), "by-admin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_suffices_for_its_own_edits() {
    let scene = WITH.scene("enough").await;
    let both = [secret_rights(&["create", "get"], &[]), all_keypairs()];
    let both = scene.user("both", &both).await;
    does_everything(&scene, &both, "by-both").await;
    // Creating a pair, and correcting it before it is accepted, takes no permission to read.
    let creator = scene.user("creator", &[secret_rights(&["create"], &[]), all_keypairs()]).await;
    let import =
        json!({ "publicKey": "ssh-rsa AAAA", "secret": { "name": "a", "template": { "labels": { "a": "b" } } } });
    creator.create(&scene.pairs(""), &pair("created", &import)).await.admitted();
    for secret in [
        json!({ "name": "b" }),
        json!({ "template": { "labels": { "c": "d" } } }),
        json!({ "name": null }),
        Value::Null,
    ] {
        creator.merge(&scene.pairs("created"), &json!({ "spec": { "secret": secret } })).await.admitted();
    }
}

/// The policies do not block the garbage collector or the deletion of a namespace.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_work_with_the_policies() {
    let scene = WITH.scene("deleted").await;
    let secret = json!({ "secret": { "name": "key", "template": { "labels": { "a": "b" } } } });
    for name in ["one", "two"] {
        let mut secret = secret.clone();
        secret["secret"]["name"] = json!(format!("key-{name}"));
        scene.admin.create(&scene.pairs(""), &pair(name, &secret)).await.admitted();
        scene.accepted(name).await;
    }
    scene.admin.delete(&scene.pairs("one")).await.admitted();
    gone(&scene, &scene.secrets("key-one")).await;
    scene.admin.delete(&format!("/api/v1/namespaces/{}", scene.namespace)).await.admitted();
    gone(&scene, &format!("/api/v1/namespaces/{}", scene.namespace)).await;
}

async fn gone(scene: &Scene, path: &str) {
    keypair_test_harness::eventually(crate::stage::PATIENCE, &format!("{path} to be gone"), async || {
        Ok((scene.admin.get(path).await.status == 404).then_some(()))
    })
    .await
    .unwrap();
}
