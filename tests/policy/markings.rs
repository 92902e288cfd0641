//! Labels and annotations that other controllers act on: through a template, a user of KeyPairs could put them on a Secret.

use serde_json::{Value, json};

use crate::stage::{Scene, WITH, WITHOUT, all_keypairs, pair};

const SYMPTOMS: &str = include_str!("../../docs/symptoms.md");

/// Templates that turn a Secret into input for a controller, with content from the attacker.
fn markings() -> Vec<(&'static str, Value)> {
    let labels = |labels: Value, data: Value| json!({ "labels": labels, "stringData": data });
    let annotations = |annotations: Value| json!({ "annotations": annotations });
    let argo = |kind: &str, data: Value| labels(json!({ "argocd.argoproj.io/secret-type": kind }), data);
    vec![
        ("argocd-cluster", argo("cluster", json!({ "name": "in", "server": "https://attacker", "config": "{}" }))),
        ("argocd-repository", argo("repository", json!({ "type": "git", "url": "https://attacker/repository" }))),
        ("argocd-repo-creds", argo("repo-creds", json!({ "type": "git", "url": "https://github.com" }))),
        ("argocd-write", argo("repository-write", json!({ "type": "git", "url": "https://attacker" }))),
        (
            "reflector",
            annotations(json!({
                "reflector.v1.k8s.emberstack.com/reflection-allowed": "true",
                "reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true",
                "reflector.v1.k8s.emberstack.com/reflection-auto-namespaces": "kube-system",
            })),
        ),
        ("kubed", annotations(json!({ "kubed.appscode.com/sync": "app=kubed" }))),
        ("replicator", annotations(json!({ "replicator.v1.mittwald.de/replicate-to": "kube-system" }))),
        ("replicator-pull", annotations(json!({ "replicator.v1.mittwald.de/replicate-from": "kube-system/admin" }))),
        (
            "sealed-secrets",
            labels(json!({ "sealedsecrets.bitnami.com/sealed-secrets-key": "active" }), json!({ "tls.crt": "mine" })),
        ),
        (
            "cluster-api",
            json!({ "type": "cluster.x-k8s.io/secret", "labels": { "cluster.x-k8s.io/cluster-name": "production" },
                    "stringData": { "value": "kubeconfig" } }),
        ),
        ("istio", labels(json!({ "istio/multiCluster": "true" }), json!({ "remote": "kubeconfig" }))),
        ("linkerd", json!({ "type": "mirror.linkerd.io/remote-kubeconfig", "stringData": { "kubeconfig": "mine" } })),
        ("submariner", labels(json!({ "submariner.io/clusterID": "mine" }), json!({ "token": "mine" }))),
        ("cert-manager", annotations(json!({ "cert-manager.io/allow-direct-injection": "true" }))),
        ("external-secrets", labels(json!({ "reconcile.external-secrets.io/managed": "true" }), json!({}))),
        ("external-secrets-push", labels(json!({ "external-secrets.io/type": "webhook" }), json!({ "token": "mine" }))),
        ("rancher", labels(json!({ "cattle.io/creator": "norman" }), json!({ "kubeconfig": "mine" }))),
        ("fleet", labels(json!({ "fleet.cattle.io/managed": "true" }), json!({ "kubeconfig": "mine" }))),
        ("flux", labels(json!({ "reconcile.fluxcd.io/watch": "Enabled" }), json!({ "values.yaml": "mine" }))),
        (
            "crossplane",
            json!({ "type": "connection.crossplane.io/v1alpha1", "stringData": { "endpoint": "attacker" } }),
        ),
        ("velero", labels(json!({ "velero.io/exclude-from-backup": "true" }), json!({ "cloud": "mine" }))),
        ("vault", annotations(json!({ "vault.security.banzaicloud.io/vault-addr": "https://attacker" }))),
        ("grafana", labels(json!({ "grafana_datasource": "1" }), json!({ "datasource.yaml": "mine" }))),
        ("prometheus", labels(json!({ "prometheus": "k8s" }), json!({ "scrape.yaml": "mine" }))),
        ("gatekeeper", labels(json!({ "externaldata.gatekeeper.sh/provider": "mine" }), json!({ "ca": "mine" }))),
    ]
}

/// Whether the Secret has everything that the template specifies.
fn bears(secret: &Value, template: &Value) -> bool {
    let is_within = |wanted: &Value, found: &Value| {
        wanted.as_object().into_iter().flatten().all(|(key, value)| found[key] == *value)
    };
    let data = template["stringData"].as_object().into_iter().flatten();
    is_within(&template["labels"], &secret["metadata"]["labels"])
        && is_within(&template["annotations"], &secret["metadata"]["annotations"])
        && (template["type"].is_null() || template["type"] == secret["type"])
        && data.into_iter().all(|(key, _)| secret["data"][key].is_string())
}

async fn try_all(scene: &Scene) -> Vec<(&'static str, Value)> {
    let tenant = scene.user("tenant", &[all_keypairs()]).await;
    let mut stored = Vec::new();
    for (name, template) in markings() {
        let answer = tenant.create(&scene.pairs(""), &pair(name, &json!({ "secret": { "template": template } }))).await;
        if scene.stage.has_policies {
            let namespace = format!("in namespace {}", scene.namespace);
            let words = [
                "spec.secret.template: ",
                &tenant.name,
                " has no permission to create secrets ",
                &namespace,
                "omit it",
            ];
            answer.refused_by("-secret-settings", &words);
            assert_eq!(scene.admin.get(&scene.pairs(name)).await.status, 404);
            let (_, said) = answer.message().split_once(" denied request: ").unwrap();
            let said = said.replace(&tenant.name, "alice").replace(&scene.namespace, "shop");
            assert!(SYMPTOMS.contains(&said), "the documentation does not quote: {said}");
        } else {
            answer.admitted();
            stored.push((name, template));
        }
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_label_secrets_for_other_controllers() {
    let scene = WITHOUT.scene("markings").await;
    let minted = try_all(&scene).await;
    assert!(minted.len() > 20, "{}", minted.len());
    for (name, template) in minted {
        let secret = scene.made(name).await;
        assert!(bears(&secret, &template), "the Secret lacks what the template {name} specifies: {secret}");
    }
    assert!(try_all(&WITH.scene("markings").await).await.is_empty());
}

/// Helm finds releases by label, not by type: at the next upgrade, it would run the hooks of such a release with an
/// administrator's rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_create_a_helm_release() {
    let template = json!({
        "labels": { "owner": "helm", "name": "app", "status": "deployed", "version": "2" },
        "stringData": { "release": "mine" },
    });
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("helm").await;
        let tenant = scene.user("tenant", &[all_keypairs()]).await;
        let secret = json!({ "secret": { "name": "sh.helm.release.v1.app.v2", "template": template } });
        let answer = tenant.create(&scene.pairs(""), &pair("release", &secret)).await;
        if answer.status == 422 {
            // The CRD refuses this before any policy, because nobody may do it, whatever their permissions.
            continue;
        }
        if scene.stage.has_policies {
            answer.refused_by("-secret-settings", &["spec.secret.name: "]);
        } else {
            answer.admitted();
            assert!(bears(&scene.made("sh.helm.release.v1.app.v2").await, &template));
        }
    }
}

/// An import has no Secret. But as long as it is not accepted, an edit that does not touch the template can turn it into a
/// generated pair.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_cannot_set_a_template_through_an_import() {
    let template = json!({ "annotations": { "replicator.v1.mittwald.de/replicate-to": "kube-system" } });
    for stage in [&WITHOUT, &WITH] {
        let scene = stage.scene("import").await;
        let tenant = scene.user("tenant", &[all_keypairs()]).await;
        let import = json!({ "publicKey": "ssh-rsa AAAA", "secret": { "template": template } });
        let answer = tenant.create(&scene.pairs(""), &pair("import", &import)).await;
        if scene.stage.has_policies {
            answer.refused_by("-secret-settings", &["spec.secret.template: "]);
            continue;
        }
        answer.admitted();
        let patch = json!({ "spec": { "publicKey": null, "generate": { "algorithm": "Ed25519" } } });
        tenant.merge(&scene.pairs("import"), &patch).await.admitted();
        assert!(bears(&scene.made("import").await, &template));
    }
}
