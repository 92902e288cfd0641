//! Objects that were created before the rules existed: unchanged values that violate a rule are tolerated.

use std::{fs, path::Path, time::Duration};

use keypair_operator::{
    api::{self, KeyPair},
    app,
};
use keypair_test_harness::{ControlPlane, Options, eventually, without_rules};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::objects::{PUBLIC_KEY, key_pair};

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_break_a_rule_can_still_be_written() {
    let crd = without_rules(serde_json::to_value(api::crd()).unwrap());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("older.crd.yaml");
    fs::write(&path, crd.to_string()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![path], ..Options::default() })
        .expect("the control plane should start");
    let api: Api<KeyPair> = Api::default_namespaced(plane.client().await.unwrap());
    let create = async |name: &str, spec: &Value| {
        let object = serde_json::from_value(key_pair(name, spec)).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    };
    create("text", &json!({ "profile": "OpenSSH", "publicKey": PUBLIC_KEY, "description": "1" })).await;
    create("a", &json!({ "profile": "Alibaba", "publicKey": PUBLIC_KEY })).await;
    create("sh.helm.release.v1.a", &json!({ "profile": "OpenSSH" })).await;
    create("accepted", &json!({ "profile": "OpenSSH", "publicKey": PUBLIC_KEY, "project": "?" })).await;
    let change =
        async |name: &str, change: Value| api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
    let status = json!({ "status": { "keyPairID": "kp-0123456789abcdefghij" } });
    api.patch_status("accepted", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();

    plane
        .kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &app::crd_yaml().unwrap())
        .unwrap()
        .ok()
        .unwrap();
    eventually(Duration::from_secs(30), "the rules to be enforced", async || {
        let broken = serde_json::from_value(key_pair("new", &json!({ "description": "1" })))?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        Ok(api.create(&dry_run, &broken).await.err())
    })
    .await
    .unwrap();

    for name in ["text", "a", "sh.helm.release.v1.a", "accepted"] {
        change(name, json!({ "metadata": { "labels": { "a": "b" }, "finalizers": ["example.com/a"] } })).await.unwrap();
        change(name, json!({ "metadata": { "finalizers": null } })).await.unwrap();
        for region in ["one", "two"] {
            let status = json!({ "status": { "region": region } });
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
    }
    // Other fields of an object whose default name is no longer allowed can change.
    for name in ["a", "sh.helm.release.v1.a"] {
        change(name, json!({ "spec": { "description": "described" } })).await.unwrap();
    }
    // A changed spec must satisfy all other rules, and immutable fields stay immutable.
    for (name, spec, words) in [
        ("text", json!({ "project": "other" }), "(spec.description)"),
        ("a", json!({ "profile": "Volcengine" }), "(spec.keyPairName)"),
        (
            "accepted",
            json!({ "profile": "Volcengine", "project": null }),
            "once the key pair is accepted: create another KeyPair instead. (spec.profile)",
        ),
    ] {
        let error = change(name, json!({ "spec": spec })).await.unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    change("text", json!({ "spec": { "description": null } })).await.unwrap();
}

/// The API server reports all errors of a request, each with its field.
#[tokio::test(flavor = "multi_thread")]
async fn all_errors_are_reported_at_once() {
    let api: Api<KeyPair> = Api::default_namespaced(crate::client().await);
    let spec = json!({
        "profile": "UCloud", "keyPairName": "a b", "description": "1", "tags": [{ "key": "aliyun" }],
        "secret": { "template": { "labels": { "owner": "helm" } } },
    });
    let object = serde_json::from_value(key_pair("mistakes", &spec)).unwrap();
    let error = api.create(&PostParams::default(), &object).await.unwrap_err().to_string();
    for words in [
        "spec: Invalid value: 230: Params [KeyPairName] not available. The name must be",
        "control characters. (spec.keyPairName) 230: Params [Description] not available. It must be",
        "(spec.description) 230: Params [Tag] not available. Each key must be",
        "would make another tool treat the Secret as its own. (spec.secret.template.labels)",
    ] {
        assert!(error.contains(words), "{words:?} not found in {error}");
    }
}
