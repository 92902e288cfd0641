//! Admission plugins that change the Secrets of the operator: policies that set or remove labels, and webhooks that are
//! unavailable.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::{Mark, Requests, eventually};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{AGENT, PATIENCE, QUIET, STRICT, Scene, condition, data, text};

/// The documented limit is a few seconds; this leaves room for a busy machine.
const SOON: Duration = Duration::from_secs(15);
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

fn ed25519() -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } })
}

/// A mutating policy for all Secrets of the namespace, with the objects to delete at the end.
struct Policy<'a> {
    scene: &'a Scene,
    kinds: &'static [&'static str],
    is_changed: fn(&Secret) -> bool,
}

impl<'a> Policy<'a> {
    /// Installs a policy with these JSON patches in CEL, and waits until `is_changed` is true for a probe Secret.
    async fn patching(scene: &'a Scene, patches: &str, is_changed: fn(&Secret) -> bool) -> Self {
        let kinds = &["mutatingadmissionpolicy", "mutatingadmissionpolicybinding"];
        let name = &scene.namespace;
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "resourceRules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE", "UPDATE"],
                    }],
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                },
                "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": patches } }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": { "name": name }, "spec": { "policyName": name },
        });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [policy, binding] });
        scene.try_kubectl(&["create", "-f", "-"], &list.to_string()).ok().unwrap();
        let policy = Self { scene, kinds, is_changed };
        policy.in_force(true).await;
        policy
    }

    /// Waits until the policy changes Secrets, or stops doing so: the API server applies both with a delay.
    async fn in_force(&self, wanted: bool) {
        let probe = json!({ "metadata": {
            "name": "probe",
            "labels": { MANAGED_BY: "probe", "team": "probe", "keypairs.dev/keypair-uid": "probe" },
            "annotations": { "keypairs.dev/fingerprint": "probe" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Probe", "name": "probe", "uid": "probe" }],
        } });
        let probe: Secret = serde_json::from_value(probe).unwrap();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        eventually(PATIENCE, &format!("the policy to be in force: {wanted}"), async || {
            let secret = self.scene.secrets.create(&dry_run, &probe).await?;
            Ok(((self.is_changed)(&secret) == wanted).then_some(()))
        })
        .await
        .unwrap();
    }

    fn delete(&self) {
        for kind in self.kinds {
            drop(self.scene.try_kubectl(&["delete", "--ignore-not-found", kind, &self.scene.namespace], ""));
        }
    }

    async fn lift(self) {
        self.delete();
        self.in_force(false).await;
    }

    /// A policy that overwrites the `managed-by` label, as in the bug report.
    async fn of_another_manager(scene: &'a Scene) -> Self {
        let patch = r#"[has(object.metadata.labels)
            ? JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("app.kubernetes.io/managed-by"), value: "policy-engine"}
            : JSONPatch{op: "add", path: "/metadata/labels", value: {"app.kubernetes.io/managed-by": "policy-engine"}}]"#;
        Self::patching(scene, patch, |secret| secret.labels()[MANAGED_BY] == "policy-engine").await
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        self.delete();
    }
}

async fn soon(scene: &Scene, name: &str, wanted: &str) -> Value {
    let begun = Instant::now();
    let object = scene.settled(name, wanted).await;
    assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
    object
}

fn message(object: &Value) -> String {
    text(&condition(object, "Ready")["message"]).to_owned()
}

/// The number of requests from operators about Secrets in this namespace, except lists and watches.
fn asked(scene: &Scene, since: Mark) -> usize {
    let audit = scene.stage.plane.audit().unwrap();
    let about = Requests::any().by_agent(AGENT).resource("secrets").namespace(&scene.namespace);
    let requests = audit.matching(since, &about).unwrap();
    requests.iter().filter(|request| !["watch", "list"].contains(&request.verb.as_str())).count()
}

/// More Secrets than the operator watches individually.
const COUNT: usize = 40;

async fn replace_key(scene: &Scene, name: &str, by: &Secret) {
    let patch = json!({ "data": { "ssh-privatekey": by.data.as_ref().unwrap()["ssh-privatekey"] } });
    scene.secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn a_secret_relabelled_by_another_tool_stays_watched() {
    let scene = QUIET.scene("admission-label").await;
    let policy = Policy::of_another_manager(&scene).await;
    let operator = QUIET.spawn(&["--namespace", &scene.namespace], "info");
    let names: Vec<String> = (0..COUNT).map(|number| format!("pair-{number:02}")).collect();
    for name in &names {
        let mut spec = ed25519();
        spec["secret"] = json!({ "onLoss": if name.ends_with('1') { "Regenerate" } else { "Report" } });
        scene.create(name, &spec).await;
    }
    for name in &names {
        scene.settled(name, "True/Generated").await;
        let secret = scene.secrets.get(name).await.unwrap();
        assert_eq!(secret.labels()[MANAGED_BY], "policy-engine", "the policy should have changed the label");
    }
    let lose_and_change = async |lost: &str, regenerated: &str, changed: &str| {
        let other = scene.secrets.get("pair-00").await.unwrap();
        let before = scene.secrets.get(regenerated).await.unwrap();
        for name in [lost, regenerated] {
            scene.secrets.delete(name, &DeleteParams::default()).await.unwrap();
        }
        replace_key(&scene, changed, &other).await;
        soon(&scene, lost, "False/PrivateKeyLost").await;
        soon(&scene, changed, "False/PrivateKeyMismatch").await;
        let is_new = |secret: &Secret| data(secret, "ssh-privatekey") != data(&before, "ssh-privatekey");
        eventually(SOON, "another key", async || Ok(scene.secrets.get_opt(regenerated).await?.filter(is_new)))
            .await
            .unwrap();
        soon(&scene, regenerated, "True/Generated").await;
    };
    lose_and_change("pair-20", "pair-21", "pair-22").await;
    // A restarted operator needs few requests and watches the Secrets as well.
    drop(operator);
    let mark = scene.stage.plane.audit().unwrap().mark().unwrap();
    let _operator = QUIET.spawn(&["--namespace", &scene.namespace], "info");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let requests = asked(&scene, mark);
    assert!(requests <= 10, "{requests} requests about {COUNT} correct Secrets");
    lose_and_change("pair-30", "pair-31", "pair-32").await;
    // A label that was changed by hand, without a policy.
    policy.lift().await;
    let patch = json!({ "metadata": { "labels": { MANAGED_BY: "somebody" } } });
    scene.secrets.patch("pair-10", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    scene.secrets.delete("pair-10", &DeleteParams::default()).await.unwrap();
    soon(&scene, "pair-10", "False/PrivateKeyLost").await;
}

/// A policy that removes something from a Secret: the words of the message, the JSON patches, and how to detect the removal.
struct Taken {
    topic: &'static str,
    words: &'static str,
    patches: &'static str,
    is_gone: fn(&Secret) -> bool,
}

impl Taken {
    async fn is_told_and_given_back(&self) {
        let Self { topic, words, patches, is_gone } = *self;
        let scene = STRICT.scene(&format!("admission-{topic}")).await;
        let policy = Policy::patching(&scene, patches, is_gone).await;
        let mut spec = ed25519();
        spec["secret"] = json!({ "template": { "labels": { "team": "ours" } } });
        scene.create("pair", &spec).await;
        let object = scene.settled("pair", "False/SecretConflict").await;
        let told = message(&object);
        assert!(told.contains(words) && told.contains("\"pair\""), "{told}");
        // The pair and its key exist, and the operator does not keep rewriting the Secret.
        let secret = scene.secrets.get("pair").await.unwrap();
        assert!(data(&secret, "ssh-privatekey").starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(text(&object["status"]["keyPairID"]).starts_with("kp-"), "{object}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mark = scene.stage.plane.audit().unwrap().mark().unwrap();
        tokio::time::sleep(Duration::from_secs(15)).await;
        let requests = asked(&scene, mark);
        assert!(requests <= 12, "{topic}: {requests} requests in 15 s");
        assert_eq!(
            scene.settled("pair", "False/SecretConflict").await["status"]["keyPairID"],
            object["status"]["keyPairID"]
        );
        // Once the policy is gone, the next reconciliation resolves the conflict.
        policy.lift().await;
        scene.patch("pair", &json!({ "spec": { "secret": { "template": { "labels": { "team": "anew" } } } } })).await;
        let object = scene.settled("pair", "True/Generated").await;
        let now = scene.secrets.get("pair").await.unwrap();
        assert_eq!(now.labels()["team"], "anew", "{object}");
        assert_eq!(data(&now, "ssh-privatekey"), data(&secret, "ssh-privatekey"), "{topic}");
        assert_eq!(now.owner_references().len(), 1, "{topic}");
    }
}

#[tokio::test]
async fn fields_removed_by_admission_are_reported() {
    let taken = [
        Taken {
            topic: "label",
            words: "label team",
            patches: r#"has(object.metadata.labels) && "team" in object.metadata.labels
                ? [JSONPatch{op: "remove", path: "/metadata/labels/team"}] : []"#,
            is_gone: |secret| !secret.labels().contains_key("team"),
        },
        Taken {
            topic: "annotation",
            words: "annotation keypairs.dev/fingerprint",
            patches: r#"has(object.metadata.annotations) && "keypairs.dev/fingerprint" in object.metadata.annotations
                ? [JSONPatch{op: "remove", path: "/metadata/annotations/" + jsonpatch.escapeKey("keypairs.dev/fingerprint")}] : []"#,
            is_gone: |secret| !secret.annotations().contains_key("keypairs.dev/fingerprint"),
        },
        Taken {
            topic: "owner",
            words: "the owner reference to the KeyPair",
            patches: r#"has(object.metadata.ownerReferences) ? [JSONPatch{op: "remove", path: "/metadata/ownerReferences"}] : []"#,
            is_gone: |secret| secret.owner_references().is_empty(),
        },
        Taken {
            topic: "labels",
            words: "label app.kubernetes.io/managed-by",
            patches: r#"has(object.metadata.labels) ? [JSONPatch{op: "remove", path: "/metadata/labels"}] : []"#,
            is_gone: |secret| secret.labels().is_empty(),
        },
    ];
    futures::future::join_all(taken.iter().map(Taken::is_told_and_given_back)).await;
}

/// An admission webhook that does not respond.
fn webhook(scene: &Scene, seconds: u8) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": scene.namespace },
        "webhooks": [{
            "name": "nobody.example.com", "clientConfig": { "url": "https://127.0.0.1:9/x" },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE", "UPDATE", "DELETE"] }],
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": seconds,
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": scene.namespace } },
        }],
    })
}

#[tokio::test]
async fn an_unavailable_webhook_is_reported_until_it_responds() {
    let scene = STRICT.scene("admission-away").await;
    scene.create("made", &ed25519()).await;
    scene.settled("made", "True/Generated").await;
    scene.try_kubectl(&["create", "-f", "-"], &webhook(&scene, 2).to_string()).ok().unwrap();
    let probe: Secret = serde_json::from_value(json!({ "metadata": { "name": "probe" } })).unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually(PATIENCE, "the webhook to be asked", async || {
        Ok(scene.secrets.create(&dry_run, &probe).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    let rsa = json!({ "profile": "OpenSSH" });
    scene.create("ed25519", &ed25519()).await;
    scene.create("rsa", &rsa).await;
    // A create, an update and a move, to cover all kinds of writes.
    scene.create("moving", &ed25519()).await;
    scene.patch("made", &json!({ "spec": { "secret": { "template": { "labels": { "team": "a" } } } } })).await;
    let begun = Instant::now();
    for name in ["ed25519", "rsa", "made"] {
        let told = message(&scene.settled(name, "False/InternalError").await);
        assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
        assert!(told.contains("nobody.example.com") && told.contains("does not answer"), "{told}");
        assert!(told.contains(&format!("Secret {name:?}")), "{told}");
    }
    scene.wait_for_events("ed25519", &["Warning/InternalError"]).await;
    scene.kubectl(&["delete", "validatingwebhookconfiguration", &scene.namespace]);
    for name in ["ed25519", "rsa", "made", "moving"] {
        let object = scene.settled(name, "True/Generated").await;
        assert_eq!(object["status"]["error"], Value::Null);
    }
    scene.wait_for_events("ed25519", &["Normal/Generated", "Warning/InternalError"]).await;
}
