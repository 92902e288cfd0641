//! Private keys of other users: by editing `spec.secret`, an editor of KeyPairs could have a key moved, copied or replaced.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Scene, Stage, WITH, WITHOUT, all_keypairs, keypairs, pair, secret_rights};

const POLICY: &str = "-secret-settings";
/// The Secret that the attacker can read.
const MINE: &str = "mine";

/// A pair of another user, whose Secret has a name and a template.
async fn victim(scene: &Scene, name: &str) -> Value {
    let secret = json!({ "name": format!("key-of-{name}"), "template": { "labels": { "team": "a" } } });
    scene.admin.create(&scene.pairs(""), &pair(name, &json!({ "secret": secret }))).await.admitted();
    scene.accepted(name).await
}

/// Performs the whole attack, until the attacker has the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_move_a_key_to_a_readable_secret() {
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("move").await;
        let attacker =
            scene.user("attacker", &[secret_rights(&["get"], &[MINE]), keypairs(&["update", "patch"])]).await;
        let status = victim(&scene, "victim").await["status"].clone();
        assert_eq!(attacker.get(&scene.secrets("key-of-victim")).await.status, 403);
        let moved = attacker.merge(&scene.pairs("victim"), &json!({ "spec": { "secret": { "name": MINE } } })).await;
        if scene.stage.has_policies {
            moved.refused_by(POLICY, &["spec.secret.name: ", &attacker.name, " has no permission to create secrets "]);
            scene.made("key-of-victim").await;
        } else {
            moved.admitted();
            scene.made(MINE).await;
            let stolen = attacker.get(&scene.secrets(MINE)).await.admitted();
            assert_eq!(stolen["metadata"]["annotations"]["keypairs.dev/fingerprint"], status["fingerprints"]["sha256"]);
            assert!(stolen["data"]["ssh-privatekey"].is_string());
        }
    }
}

/// Edits every field, with every kind of request.
#[tokio::test(flavor = "multi_thread")]
async fn changing_secret_settings_requires_get_on_the_secret() {
    let edits = [
        json!({ "name": MINE }),
        json!({ "name": null }),
        json!({ "template": { "annotations": { "replicator.v1.mittwald.de/replicate-to": "mine" } } }),
        json!({ "template": null }),
        json!({ "template": {} , "name": "victim" }),
        json!({ "keys": { "privateKey": "tls.key" } }),
        json!({ "keys": {} }),
        json!({ "encoding": "OpenSSH" }),
        json!({ "deletionPolicy": "Retain" }),
        json!({ "onLoss": "Regenerate" }),
        Value::Null,
    ];
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("edit").await;
        // Can create Secrets, which is not enough, and can read one that does not contain the key.
        let rules = [secret_rights(&["create"], &[]), secret_rights(&["get"], &[MINE, "victim"]), all_keypairs()];
        let attacker = scene.user("attacker", &rules).await;
        let tenant = scene.user("tenant", &[all_keypairs()]).await;
        let object = victim(&scene, "victim").await;
        let path = scene.pairs("victim");
        for edit in &edits {
            let mut wanted = object.clone();
            if edit.is_null() {
                wanted["spec"].as_object_mut().unwrap().remove("secret");
            }
            for (field, value) in edit.as_object().into_iter().flatten() {
                let secret = wanted["spec"]["secret"].as_object_mut().unwrap();
                if value.is_null() {
                    secret.remove(field)
                } else {
                    secret.insert(field.clone(), value.clone())
                };
            }
            let dry = format!("{path}?dryRun=All");
            let apply = format!("{dry}&fieldManager=kubectl&force=true");
            let mut applied = wanted.clone();
            applied["metadata"] = json!({ "name": "victim" });
            let json_patch = json!([
                { "op": if edit.is_null() { "remove" } else { "replace" }, "path": "/spec/secret", "value": wanted["spec"]["secret"] },
            ]);
            for user in [&attacker, &tenant] {
                let merge = json!({ "spec": { "secret": edit } });
                let mut answers = vec![
                    user.merge(&dry, &merge).await,
                    user.send(Method::PATCH, &dry, "application/json-patch+json", &json_patch).await,
                    user.replace(&dry, &wanted).await,
                ];
                // A field that an apply omits stays, unless it was applied before.
                if !edit.is_null() && edit.as_object().unwrap().values().all(|value| !value.is_null()) {
                    answers.push(user.send(Method::PATCH, &apply, "application/apply-patch+yaml", &applied).await);
                }
                for answer in answers {
                    if scene.stage.has_policies {
                        answer.refused_by(POLICY, &["spec.secret", &user.name, " has no permission to "]);
                    } else {
                        answer.admitted();
                    }
                }
            }
        }
        if scene.stage.has_policies {
            let answer = attacker.merge(&path, &json!({ "spec": { "secret": { "encoding": "OpenSSH" } } })).await;
            answer.refused_by(POLICY, &["get the Secret key-of-victim in namespace ", "leave spec.secret unchanged"]);
        }
    }
}

/// A rotation replaces the key, and whatever trusts the previous one alone is locked out.
#[tokio::test(flavor = "multi_thread")]
async fn rotating_the_key_of_another_requires_get_on_its_secret() {
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("rotate").await;
        let attacker = scene.user("attacker", &[secret_rights(&["get"], &[MINE]), all_keypairs()]).await;
        let status = victim(&scene, "victim").await["status"].clone();
        let path = scene.pairs("victim");
        let at_once = json!({ "every": "1s", "publishBefore": "0s", "keepAfter": "0s" });
        let attack = json!({ "spec": { "rotation": at_once } });
        let rotated = attacker.merge(&path, &attack).await;
        if scene.stage.has_policies {
            let words =
                ["spec.rotation: ", &attacker.name, "get the Secret key-of-victim ", "leave spec.rotation unchanged"];
            rotated.refused_by(POLICY, &words);
            // Nor is the rotation changed or taken away that is there.
            scene.admin.merge(&path, &json!({ "spec": { "rotation": { "every": "2160h" } } })).await.admitted();
            for rotation in [at_once, json!({ "gates": ["example.com/never"] }), Value::Null] {
                let answer = attacker.merge(&path, &json!({ "spec": { "rotation": rotation } })).await;
                answer.refused_by(POLICY, &["spec.rotation: "]);
            }
            attacker.merge(&path, &json!({ "spec": { "description": "described" } })).await.admitted();
            assert_eq!(scene.accepted("victim").await["status"]["fingerprints"], status["fingerprints"]);
            // Whoever may read the key may rotate it.
            let reader = scene.user("reader", &[secret_rights(&["get"], &["key-of-victim"]), all_keypairs()]).await;
            reader.merge(&path, &json!({ "spec": { "rotation": null } })).await.admitted();
        } else {
            rotated.admitted();
            keypair_test_harness::eventually(crate::stage::PATIENCE, "the key to be replaced", async || {
                let object = scene.admin.get(&path).await.admitted();
                Ok((object["status"]["fingerprints"] != status["fingerprints"]).then_some(()))
            })
            .await
            .unwrap();
            // It would go on every second.
            scene.admin.merge(&path, &json!({ "spec": { "rotation": null } })).await.admitted();
        }
        // To create a pair takes no such right.
        let own = pair("own", &json!({ "rotation": { "every": "48h" } }));
        attacker.create(&scene.pairs(""), &own).await.admitted();
    }
}

/// The current Secret is the one in the status, not one with a former name.
#[tokio::test(flavor = "multi_thread")]
async fn get_is_required_on_the_current_secret() {
    let scene = WITH.scene("home").await;
    victim(&scene, "victim").await;
    let was = scene
        .user("was", &[secret_rights(&["create"], &[]), secret_rights(&["get"], &["key-of-victim"]), all_keypairs()])
        .await;
    let is = scene.user("is", &[secret_rights(&["get"], &["moved"]), all_keypairs()]).await;
    let edit = |secret: Value| json!({ "spec": { "secret": secret } });
    let path = scene.pairs("victim");
    was.merge(&path, &edit(json!({ "encoding": "OpenSSH" }))).await.admitted();
    scene.admin.merge(&path, &edit(json!({ "name": "moved" }))).await.admitted();
    assert_eq!(scene.accepted("victim").await["status"]["secretName"], "moved");
    was.merge(&path, &edit(json!({ "encoding": "PKCS8" }))).await.refused_by(POLICY, &["get the Secret moved "]);
    is.merge(&path, &edit(json!({ "encoding": "PKCS8" }))).await.admitted();
    // The permission for this one Secret does not include choosing another place for the key.
    let elsewhere = is.merge(&path, &edit(json!({ "name": "elsewhere" }))).await;
    elsewhere.refused_by(POLICY, &["spec.secret.name: ", "create secrets"]);
    // Removing the name also chooses one, that of the KeyPair.
    is.merge(&path, &edit(json!({ "name": null }))).await.admitted();
    assert_eq!(scene.accepted("victim").await["status"]["secretName"], "victim");
    is.merge(&path, &edit(json!({ "encoding": "OpenSSH" }))).await.refused_by(POLICY, &["get the Secret victim "]);
}

/// The Secret may exist before the KeyPair is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_redirect_a_pending_pair() {
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("waits").await;
        let full = json!({ "metadata": { "annotations": { "keypairs.dev/quota": "0" } } });
        scene.admin.merge(&format!("/api/v1/namespaces/{}", scene.namespace), &full).await.admitted();
        let secret = json!({ "name": "other", "template": { "labels": { "team": "a" } } });
        let wanted = pair("waiting", &json!({ "secret": secret }));
        scene.admin.create(&scene.pairs(""), &wanted).await.admitted();
        let rules = [secret_rights(&["get"], &["waiting"]), all_keypairs()];
        let attacker = scene.user("attacker", &rules).await;
        let dry = format!("{}?dryRun=All", scene.pairs("waiting"));
        for edit in [
            json!({ "name": "waiting" }),
            json!({ "name": null }),
            json!({ "template": { "labels": { "a": "b" } } }),
            Value::Null,
        ] {
            let answer = attacker.merge(&dry, &json!({ "spec": { "secret": edit } })).await;
            if scene.stage.has_policies {
                answer.refused_by(POLICY, &["spec.secret.", " has no permission to "]);
            } else {
                answer.admitted();
            }
        }
        // Corrections that do not send a key anywhere need only the permission to edit KeyPairs.
        for edit in
            [json!({ "template": null }), json!({ "encoding": "OpenSSH" }), json!({ "keys": { "privateKey": "id" } })]
        {
            attacker.merge(&dry, &json!({ "spec": { "secret": edit } })).await.admitted();
        }
    }
}

/// Edits that do not concern the Secret need no permission for it, for every user and every kind of request.
#[tokio::test(flavor = "multi_thread")]
async fn other_edits_require_no_right_to_secrets() {
    async fn with(stage: &'static Stage) {
        let scene = stage.scene("others").await;
        let tenant = scene.user("tenant", &[all_keypairs()]).await;
        victim(&scene, "victim").await;
        let path = scene.pairs("victim");
        let label = json!({ "metadata": { "labels": { "team": "b" } } });
        tenant.merge(&path, &label).await.admitted();
        tenant
            .merge(&path, &json!({ "spec": { "description": "A key", "tags": [{ "key": "a", "value": "b" }] } }))
            .await
            .admitted();
        let mut object = scene.accepted("victim").await;
        object["metadata"]["annotations"] = json!({ "note": "b" });
        tenant.replace(&path, &object).await.admitted();
        let mut applied = json!({ "apiVersion": object["apiVersion"], "kind": "KeyPair", "metadata": { "name": "victim" }, "spec": object["spec"] });
        applied["metadata"]["labels"] = json!({ "team": "c" });
        let apply = format!("{path}?fieldManager=argocd&force=true");
        tenant.send(Method::PATCH, &apply, "application/apply-patch+yaml", &applied).await.admitted();

        // Without a name and a template, no permission for Secrets is needed.
        let plain = json!({ "secret": { "encoding": "OpenSSH", "deletionPolicy": "Retain", "onLoss": "Regenerate", "keys": { "privateKey": "id" } } });
        tenant.create(&scene.pairs(""), &pair("plain", &plain)).await.admitted();
        tenant.create(&scene.pairs(""), &pair("bare", &json!({}))).await.admitted();
        scene.accepted("bare").await;
        // Omitted and empty are the same.
        for secret in [json!({}), Value::Null] {
            tenant.merge(&scene.pairs("bare"), &json!({ "spec": { "secret": secret } })).await.admitted();
        }
        let mut bare = scene.accepted("bare").await;
        bare["spec"]["secret"] = Value::Null;
        tenant.replace(&scene.pairs("bare"), &bare).await.admitted();
        for name in ["victim", "plain", "bare"] {
            tenant.delete(&scene.pairs(name)).await.admitted();
        }
    }
    with(&WITH).await;
}
