//! AuthorizedKeys and KnownHosts: the operator writes ConfigMaps and Secrets for their authors.

use keypair_test_harness::eventually;
use serde_json::{Value, json};

use crate::{
    fence::{judge, owner},
    stage::{PATIENCE, Scene, WITH, WITHOUT, publications, secret_rights},
};

const POLICY: &str = "-publication-targets";
const PLURALS: [&str; 2] = ["authorizedkeys", "knownhosts"];

fn publication(plural: &str, name: &str, target: &Value) -> Value {
    let kind = if plural == "authorizedkeys" { "AuthorizedKeys" } else { "KnownHosts" };
    json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": { "target": target },
    })
}

fn config_map_rights(verbs: &[&str]) -> Value {
    json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs })
}

/// Asserts that the policy refuses the request, or that nothing does where there is none.
#[track_caller]
fn judged(scene: &Scene, answer: &crate::stage::Answer, words: &[&str]) {
    if scene.stage.has_policies {
        answer.refused_by(POLICY, words);
    } else {
        assert!((200..300).contains(&answer.status), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_needs_the_right_to_create_the_target() {
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("publish").await;
        let verbs = ["get", "create", "update", "patch"];
        let nobody = scene.user("nobody", &[publications(&verbs)]).await;
        let with_maps = scene.user("maps", &[config_map_rights(&["create"]), publications(&verbs)]).await;
        let with_secrets = scene.user("secrets", &[secret_rights(&["create"], &[]), publications(&verbs)]).await;
        for plural in PLURALS {
            let path = |name: &str| scene.publications(plural, name);
            let needs = |resource: &str| format!(" has no permission to create {resource} in namespace ");
            let maps = [json!({}), json!(null), json!({ "configMap": {} }), json!({ "configMap": { "name": "a" } })];
            let secrets = [json!({ "secret": {} }), json!({ "secret": { "name": "a", "key": "b" } })];
            for (targets, resource, able, unable) in
                [(&maps[..], "configmaps", &with_maps, &with_secrets), (&secrets, "secrets", &with_secrets, &with_maps)]
            {
                for target in targets {
                    let (dry, object) = (format!("{}?dryRun=All", path("")), publication(plural, "dry", target));
                    able.create(&dry, &object).await.admitted();
                    for user in [unable, &nobody] {
                        let words = ["spec.target: ", &user.name, &needs(resource)];
                        judged(&scene, &user.create(&dry, &object).await, &words);
                    }
                }
            }

            // Whoever may write publications can change everything but the target.
            let stored = publication(plural, "stored", &json!({ "secret": { "name": "a" } }));
            with_secrets.create(&path(""), &stored).await.admitted();
            let dry = format!("{}?dryRun=All", path("stored"));
            let label = json!({ "metadata": { "labels": { "a": "b" } } });
            for edit in [
                label,
                json!({ "spec": { "entries": [] } }),
                json!({ "spec": { "target": { "secret": { "name": "a" } } } }),
            ] {
                nobody.merge(&dry, &edit).await.admitted();
            }
            for (target, resource) in [
                (json!({ "secret": { "name": "b" } }), "secrets"),
                (json!({ "secret": { "key": "b" } }), "secrets"),
                (json!({ "secret": null, "configMap": { "name": "a" } }), "configmaps"),
                (json!(null), "configmaps"),
            ] {
                let answer = nobody.merge(&dry, &json!({ "spec": { "target": target } })).await;
                judged(&scene, &answer, &["spec.target: ", &nobody.name, &needs(resource), "leave it unchanged"]);
            }
        }
    }
}

/// Not even an administrator can publish to an object that Helm or the operator itself uses.
#[tokio::test(flavor = "multi_thread")]
async fn reserved_names_are_refused() {
    let scene = WITH.scene("reserved").await;
    let refused = async |namespace: &str, name: &str, target: Value, words: &str| {
        for plural in PLURALS {
            let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/{namespace}/{plural}?dryRun=All");
            let answer = scene.admin.create(&path, &publication(plural, name, &target)).await;
            answer.refused_by(POLICY, &["spec.target: ", words]);
        }
    };
    let own = "fenced-keypair-operator";
    let words = "the names of the operator's own objects";
    for name in [own.to_owned(), format!("{own}-webhook"), format!("{own}-webhook-tls")] {
        for kind in ["secret", "configMap"] {
            refused("fenced-system", "other", json!({ kind: { "name": name } }), words).await;
        }
        refused("fenced-system", &name, json!({ "secret": { "key": "a" } }), words).await;
        refused("fenced-system", &name, Value::Null, words).await;
        // Elsewhere, and under a name that only begins alike, it is an ordinary name.
        for (namespace, name) in [(scene.namespace.as_str(), name.clone()), ("fenced-system", format!("{own}s"))] {
            let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/{namespace}/authorizedkeys?dryRun=All");
            let object = publication("authorizedkeys", "other", &json!({ "secret": { "name": name } }));
            scene.admin.create(&path, &object).await.admitted();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_writes_only_the_config_maps_of_publications() {
    const CONFIG_MAPS: &str = "fenced-keypair-operator-fence-configmaps";
    let label = json!({ "app.kubernetes.io/managed-by": "keypair-operator" });
    for stage in [&WITHOUT, &WITH] {
        let (scene, thief) = (stage.scene("maps").await, stage.thief().await);
        let path = |name: &str| {
            format!("/api/v1/namespaces/{}/configmaps/{name}", scene.namespace).trim_end_matches('/').to_owned()
        };
        let map = |name: &str, metadata: &Value| {
            let mut map = json!({ "metadata": metadata, "data": { "authorized_keys": "" } });
            map["metadata"]["name"] = json!(name);
            map
        };
        let words = "write a ConfigMap without its label and an owner reference";
        for (name, metadata) in [
            ("unmarked", json!({})),
            ("label", json!({ "labels": label })),
            ("owner", json!({ "ownerReferences": owner("keypairs.dev", "AuthorizedKeys") })),
            ("group", json!({ "labels": label, "ownerReferences": owner("example.com", "KnownHosts") })),
            ("kind", json!({ "labels": label, "ownerReferences": owner("keypairs.dev", "KeyPair") })),
        ] {
            judge(&scene, name, CONFIG_MAPS, words, &thief.create(&path(""), &map(name, &metadata)).await);
        }
        let release = map(
            "sh.helm.release.v1.app.v2",
            &json!({ "labels": label, "ownerReferences": owner("keypairs.dev", "KnownHosts") }),
        );
        judge(
            &scene,
            "release",
            CONFIG_MAPS,
            "that Helm treats as a release",
            &thief.create(&path(""), &release).await,
        );

        scene.admin.create(&path(""), &map("foreign", &json!({}))).await.admitted();
        let taken = json!({ "metadata": { "labels": label, "ownerReferences": owner("keypairs.dev", "KnownHosts") } });
        let words = "change or delete a ConfigMap that was not created for an AuthorizedKeys or KnownHosts";
        let dry = format!("{}?dryRun=All", path("foreign"));
        judge(&scene, "taken", CONFIG_MAPS, words, &thief.merge(&dry, &taken).await);
        judge(&scene, "deleted", CONFIG_MAPS, words, &thief.delete(&path("foreign")).await);
    }
}

/// Every write of the operator to the targets of publications. What the operator has written shows that it may create them.
#[tokio::test(flavor = "multi_thread")]
async fn the_policies_allow_everything_the_operator_does_for_publications() {
    let (scene, thief) = (WITH.scene("published").await, WITH.thief().await);
    for plural in PLURALS {
        for (kind, target) in [("configMap", "configmaps"), ("secret", "secrets")] {
            let name = format!("{plural}-{target}");
            let owning = publication(plural, &name, &json!({ kind: {} }));
            let owning = scene.admin.create(&scene.publications(plural, ""), &owning).await.admitted();
            let all = format!("/api/v1/namespaces/{}/{target}", scene.namespace);
            let path = format!("{all}/{name}");
            let mut written = eventually(PATIENCE, "the target", async || {
                let answer = scene.admin.get(&path).await;
                Ok((answer.status == 200).then_some(answer.body))
            })
            .await
            .unwrap();
            assert_eq!(written["metadata"]["ownerReferences"][0]["uid"], owning["metadata"]["uid"]);
            let data = if target == "secrets" { "YQ==" } else { "a" };
            written["data"] = json!({ "key": data });
            let dry = format!("{path}?dryRun=All");
            thief.replace(&dry, &written).await.admitted();
            thief.merge(&dry, &json!({ "data": { "other": data } })).await.admitted();
            thief.delete(&dry).await.admitted();
            let mut copy = written.clone();
            copy["metadata"] = json!({
                "name": "copy", "labels": written["metadata"]["labels"], "ownerReferences": written["metadata"]["ownerReferences"],
            });
            thief.create(&format!("{all}?dryRun=All"), &copy).await.admitted();
        }
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", scene.namespace);
        let kind = if plural == "authorizedkeys" { "AuthorizedKeys" } else { "KnownHosts" };
        let event = json!({
            "metadata": { "name": plural }, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Published",
            "action": "Publish", "reportingController": "keypair-operator", "reportingInstance": "a",
            "regarding": { "kind": kind, "apiVersion": "keypairs.dev/v1alpha1", "name": "owning", "namespace": scene.namespace },
        });
        thief.create(&path, &event).await.admitted();
    }
}
