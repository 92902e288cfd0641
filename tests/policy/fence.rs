//! The holder of the operator's token can write only what the operator writes, even with all permissions in RBAC.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Answer, Scene, User, WITH, WITHOUT, pair, secret};

const SECRETS: &str = "fenced-keypair-operator-fence-secrets";
/// The marks of a Secret that the operator manages.
fn marks() -> Value {
    json!({ "labels": { "app.kubernetes.io/managed-by": "keypair-operator" }, "annotations": { "keypairs.dev/keypair": "pair", "keypairs.dev/keypair-uid": "0" } })
}

pub fn owner(group: &str, kind: &str) -> Value {
    json!([{ "apiVersion": format!("{group}/v1alpha1"), "kind": kind, "name": "pair", "uid": "0", "controller": true }])
}

/// Without policies, the attack succeeds; with policies, `policy` refuses it.
#[track_caller]
pub fn judge(scene: &Scene, what: &str, policy: &str, words: &str, answer: &Answer) {
    if scene.stage.has_policies {
        answer.refused_by(policy, &["the operator never does this", words]);
    } else {
        assert!((200..300).contains(&answer.status), "{what} fails even without policies: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_cannot_create_tokens_or_helm_releases() {
    for stage in [&WITHOUT, &WITH] {
        let (scene, thief) = (stage.scene("made").await, stage.thief().await);
        let marked = |more: Value| {
            let mut metadata = marks();
            for (map, values) in more.as_object().unwrap() {
                for (key, value) in values.as_object().unwrap() {
                    metadata[map][key] = value.clone();
                }
            }
            metadata
        };
        let account = marked(json!({ "annotations": { "kubernetes.io/service-account.name": "default" } }));
        let helm =
            marked(json!({ "labels": { "owner": "helm", "name": "app", "status": "deployed", "version": "2" } }));
        let (acted_on, release) = ("of a type that Kubernetes or Helm acts on", "that Helm treats as a release");
        let attacks = [
            (secret("token", "kubernetes.io/service-account-token", &account), acted_on),
            (secret("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", &marks()), acted_on),
            (secret("app", "helm.sh/release.v1", &marks()), acted_on),
            (with_data("fenced-keypair-operator-webhook", "kubernetes.io/tls", &["tls.crt", "tls.key"]), acted_on),
            (with_data("docker", "kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]), acted_on),
            (secret("labelled-release", "Opaque", &helm), release),
            (secret("sh.helm.release.v1.app.v2", "Opaque", &marks()), release),
            (secret("unmarked", "Opaque", &json!({})), "without the operator's annotation, owner reference or label"),
            (
                secret("managed", "Opaque", &json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } })),
                "without the operator's annotation",
            ),
            (
                secret("foreign-owner", "Opaque", &json!({ "ownerReferences": owner("example.com", "KeyPair") })),
                "without the operator's annotation",
            ),
            (
                secret("named-owner", "Opaque", &json!({ "ownerReferences": owner("keypairs.dev", "Other") })),
                "without the operator's annotation",
            ),
        ];
        for (object, words) in attacks {
            judge(&scene, &object.to_string(), SECRETS, words, &thief.create(&scene.secrets(""), &object).await);
        }
    }
}

/// A Secret with the data keys that its type requires.
fn with_data(name: &str, secret_type: &str, keys: &[&str]) -> Value {
    let mut object = secret(name, secret_type, &marks());
    object["stringData"] =
        keys.iter().map(|key| ((*key).to_owned(), json!("{}"))).collect::<serde_json::Map<_, _>>().into();
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_cannot_change_or_delete_foreign_secrets() {
    for stage in [&WITHOUT, &WITH] {
        let (scene, thief) = (stage.scene("foreign").await, stage.thief().await);
        let foreign = async |name: &str, metadata: &Value| {
            scene.admin.create(&scene.secrets(""), &secret(name, "Opaque", metadata)).await.admitted();
            scene.secrets(name)
        };
        let words = "that was neither created for a KeyPair or a publication nor handed over to a KeyPair";
        let (labels, annotations) = (marks()["labels"].clone(), marks()["annotations"].clone());
        for (name, metadata) in [
            ("overwritten", json!({})),
            ("labelled", json!({ "labels": labels })),
            ("annotated", json!({ "annotations": annotations })),
            ("owned", json!({ "ownerReferences": owner("keypairs.dev", "KeyPair") })),
            ("offered", json!({ "annotations": { "keypairs.dev/adopt": "pair" }, "labels": labels })),
        ] {
            let path = foreign(name, &json!({})).await;
            let edit = json!({ "metadata": metadata, "stringData": { "ssh-privatekey": "mine" } });
            // The policy first requires the marks on the new object.
            let words = if name == "overwritten" {
                "without the operator's annotation, owner reference or label"
            } else {
                words
            };
            judge(&scene, name, SECRETS, words, &thief.merge(&path, &edit).await);
        }
        let words = "delete a Secret that was not created for a KeyPair or a publication";
        for (name, metadata) in [("deleted", json!({})), ("deleted-label", json!({ "labels": labels }))] {
            let path = foreign(name, &metadata).await;
            judge(&scene, name, SECRETS, words, &thief.delete(&path).await);
        }
        let all = thief.send(Method::DELETE, &scene.secrets(""), "application/json", &json!({})).await;
        judge(&scene, "all", SECRETS, words, &all);
        // A Secret of the operator cannot become a Helm release.
        let path = foreign("ours", &marks()).await;
        let helm = json!({ "metadata": { "labels": { "owner": "helm" } } });
        if scene.stage.has_policies {
            thief.merge(&path, &helm).await.refused_by(SECRETS, &["that Helm treats as a release"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_writes_only_its_lease_and_key_pair_events() {
    let policy = |kind: &str| format!("fenced-keypair-operator-fence-{kind}");
    for stage in [&WITHOUT, &WITH] {
        let (scene, thief) = (stage.scene("leases").await, stage.thief().await);
        let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let lease = |name: &str| json!({ "metadata": { "name": name }, "spec": { "holderIdentity": "thief" } });
        let words = "write a Lease other than the one of its leader election";
        for (namespace, name) in [(scene.namespace.as_str(), "keypair-operator"), ("fenced-system", "other")] {
            let answer = thief.create(&leases(namespace), &lease(name)).await;
            judge(&scene, name, &policy("leases"), words, &answer);
        }
        scene.admin.create(&leases(&scene.namespace), &lease("scheduler")).await.admitted();
        let path = format!("{}/scheduler", leases(&scene.namespace));
        let edit = json!({ "spec": { "holderIdentity": "thief" } });
        judge(&scene, "scheduler", &policy("leases"), words, &thief.merge(&path, &edit).await);
        thief.create(&leases("fenced-system"), &lease("keypair-operator")).await.admitted();
        thief.merge(&format!("{}/keypair-operator", leases("fenced-system")), &edit).await.admitted();

        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", scene.namespace);
        let event = |name: &str, regarding: Value| {
            json!({
                "metadata": { "name": name }, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Forged",
                "action": "Forge", "reportingController": "keypair-operator", "reportingInstance": "a", "regarding": regarding,
            })
        };
        let pod = json!({ "kind": "Pod", "apiVersion": "v1", "name": "a", "namespace": scene.namespace });
        let words = "write an Event that is not about a KeyPair, AuthorizedKeys or KnownHosts";
        judge(&scene, "event", &policy("events"), words, &thief.create(&path, &event("pod", pod)).await);
        let about = json!({ "kind": "KeyPair", "apiVersion": "keypairs.dev/v1alpha1", "name": "a", "namespace": scene.namespace });
        thief.create(&path, &event("pair", about)).await.admitted();
    }
}

/// Covers every write of the operator to Secrets, with each single mark that another admission plugin may leave.
#[tokio::test(flavor = "multi_thread")]
async fn the_policies_allow_everything_the_operator_does() {
    let (scene, thief) = (WITH.scene("work").await, WITH.thief().await);
    let label = json!({ "labels": { "app.kubernetes.io/managed-by": "keypair-operator" } });
    // The garbage collector would delete a Secret whose owner does not exist.
    let owning = scene.admin.create(&scene.pairs(""), &pair("pair", &json!({}))).await.admitted();
    let mut owned = json!({ "ownerReferences": owner("keypairs.dev", "KeyPair") });
    owned["ownerReferences"][0]["uid"] = owning["metadata"]["uid"].clone();
    for (name, metadata) in [
        ("all", marks()),
        ("label", label.clone()),
        ("annotation", json!({ "annotations": { "keypairs.dev/keypair-uid": "0" } })),
        ("owner", owned),
    ] {
        for secret_type in ["kubernetes.io/ssh-auth", "Opaque", "example.com/key"] {
            let name = format!("{name}-{}", secret_type.to_lowercase().replace('/', "-"));
            thief.create(&scene.secrets(""), &secret(&name, secret_type, &metadata)).await.admitted();
            let edit = json!({ "metadata": { "labels": { "a": "b" } }, "data": { "ssh-privatekey": "Yg==" } });
            thief.merge(&scene.secrets(&name), &edit).await.admitted();
            if metadata != label {
                thief.delete(&scene.secrets(&name)).await.admitted();
            }
        }
    }
    // Secrets that are offered to a KeyPair, whatever their type.
    let offered = json!({ "annotations": { "keypairs.dev/adopt": "pair" } });
    let mut tls = with_data("offered", "kubernetes.io/tls", &["tls.crt", "tls.key"]);
    tls["metadata"] = json!({ "name": "offered-tls", "annotations": offered["annotations"] });
    for object in [secret("offered", "Opaque", &offered), tls] {
        scene.admin.create(&scene.secrets(""), &object).await.admitted();
        let path = scene.secrets(object["metadata"]["name"].as_str().unwrap());
        let mut edit = json!({ "metadata": marks() });
        edit["metadata"]["annotations"]["keypairs.dev/adopt"] = Value::Null;
        thief.merge(&path, &edit).await.admitted();
    }
    certificate(&thief).await;
}

/// The certificate of the webhook, which belongs to no KeyPair.
async fn certificate(thief: &User) {
    let secrets = "/api/v1/namespaces/fenced-system/secrets";
    let mut object = with_data("fenced-keypair-operator-webhook", "kubernetes.io/tls", &["tls.crt", "tls.key"]);
    object["metadata"] = json!({ "name": object["metadata"]["name"] });
    let mut made = thief.create(secrets, &object).await.admitted();
    made["data"]["ca.crt"] = json!("Yg==");
    thief.replace(&format!("{secrets}/fenced-keypair-operator-webhook"), &made).await.admitted();
    // A certificate is admitted only under this name.
    object["metadata"]["name"] = json!("other");
    thief.create(secrets, &object).await.refused_by(SECRETS, &["of a type that Kubernetes or Helm acts on"]);
}
