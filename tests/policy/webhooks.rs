//! The webhook configurations: a client that can update one could receive the writes of others from the API server.

use keypair_operator::{api::policy::Installation, app};
use keypair_test_harness::eventually;
use serde_json::{Value, json};

use crate::stage::{Answer, PATIENCE, Stage, User, WITH, WITHOUT, secret};

const NAME: &str = "fenced-keypair-operator";
const POLICY: &str = "fenced-keypair-operator-fence-webhooks";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const KINDS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// Tries to replace the configuration with what `change` makes of it, in a dry run.
async fn try_change(user: &User, kind: &str, change: impl Fn(&mut Value)) -> Answer {
    let path = format!("{GROUP}/{kind}/{NAME}");
    let mut object = user.get(&path).await.admitted();
    change(&mut object);
    user.replace(&format!("{path}?dryRun=All"), &object).await
}

async fn attack(stage: &'static Stage, kind: &str) {
    let scene = stage.scene("webhooks").await;
    let thief = stage.thief().await;
    let judge = |words: &str, answer: Answer| {
        if scene.stage.has_policies {
            answer.refused_by(POLICY, &["the operator never does this", words]);
        } else {
            answer.admitted();
        }
    };
    let groups = "register a webhook for API groups other than its own";
    for rule in [
        json!({ "apiGroups": ["*"] }),
        json!({ "apiGroups": [""], "resources": ["secrets"] }),
        json!({ "apiGroups": ["keypairs.dev", ""], "resources": ["*"] }),
    ] {
        let answer = try_change(&thief, kind, |object| {
            for (field, value) in rule.as_object().unwrap() {
                object["webhooks"][0]["rules"][0][field] = value.clone();
            }
        });
        judge(groups, answer.await);
    }
    let added = try_change(&thief, kind, |object| {
        let mut webhook = object["webhooks"][0].clone();
        webhook["name"] = json!("more.keypairs.dev");
        webhook["rules"][0]["apiGroups"] = json!([""]);
        webhook["rules"][0]["resources"] = json!(["secrets"]);
        object["webhooks"].as_array_mut().unwrap().push(webhook);
    });
    judge(groups, added.await);
    let elsewhere = "register a webhook other than its own";
    for client in [
        json!({ "url": "https://attacker/" }),
        json!({ "service": { "name": "attacker", "namespace": "fenced-system" } }),
        json!({ "service": { "name": "fenced-keypair-operator-webhook", "namespace": "attacker" } }),
    ] {
        let answer = try_change(&thief, kind, |object| object["webhooks"][0]["clientConfig"] = client.clone());
        judge(elsewhere, answer.await);
    }
    let mut other = thief.get(&format!("{GROUP}/{kind}/{NAME}")).await.admitted();
    other["metadata"] = json!({ "name": "other" });
    judge("configuration other than its own", thief.create(&format!("{GROUP}/{kind}?dryRun=All"), &other).await);

    // What the operator does itself is admitted.
    let trusts = |object: &mut Value| object["webhooks"][0]["clientConfig"]["caBundle"] = json!("bWluZQ==");
    try_change(&thief, kind, trusts).await.admitted();
    // An administrator can choose another way to call the webhook, which the operator keeps.
    let path = format!("{GROUP}/{kind}/{NAME}");
    let mut object = scene.admin.get(&path).await.admitted();
    let own = object["webhooks"][0]["clientConfig"].clone();
    object["webhooks"][0]["clientConfig"] = json!({ "url": "https://127.0.0.1:1/" });
    let mut changed = scene.admin.replace(&path, &object).await.admitted();
    try_change(&thief, kind, trusts).await.admitted();
    let back = |object: &mut Value| object["webhooks"][0]["clientConfig"] = own.clone();
    try_change(&thief, kind, back).await.admitted();
    back(&mut changed);
    scene.admin.replace(&path, &changed).await.admitted();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_register_only_its_own_webhook() {
    for kind in KINDS {
        attack(&WITHOUT, kind).await;
        attack(&WITH, kind).await;
    }
}

/// Without the chart, the operator registers its webhook itself, and only with the URL in the policy.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_register_only_the_configured_url() {
    let scene = WITH.scene("url").await;
    let url = "https://[::1]:9443/";
    let installation = Installation {
        name: "own".to_owned(),
        namespace: scene.namespace.clone(),
        service_account: "own".to_owned(),
        lease: "keypair-operator".to_owned(),
        webhook_configuration: "own".to_owned(),
        webhook_service: "own-webhook".to_owned(),
        webhook_url: Some(url.to_owned()),
    };
    let policies = app::policies_yaml(&installation).unwrap();
    scene.stage.plane.kubectl_with_input(&["create", "-f", "-"], &policies).unwrap().ok().unwrap();
    let account = scene.stage.account(&scene.namespace, "own").await;
    let configuration = |name: &str, url: &str| {
        let rule = json!({ "apiGroups": ["keypairs.dev"], "apiVersions": ["v1alpha1"], "resources": ["keypairs"], "operations": ["CREATE"] });
        json!({ "metadata": { "name": name }, "webhooks": [{
            "name": "validate.keypairs.dev", "clientConfig": { "url": url }, "rules": [rule], "failurePolicy": "Ignore",
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }] })
    };
    for kind in KINDS {
        let path = format!("{GROUP}/{kind}?dryRun=All");
        let attacker = configuration("own", "https://attacker/");
        eventually(PATIENCE, "the policy to be in force", async || {
            Ok((account.create(&path, &attacker).await.status == 403).then_some(()))
        })
        .await
        .unwrap();
        account
            .create(&path, &attacker)
            .await
            .refused_by("own-fence-webhooks", &["register a webhook other than its own"]);
        account
            .create(&path, &configuration("other", url))
            .await
            .refused_by("own-fence-webhooks", &["configuration other than its own"]);
        account.create(&path, &configuration("own", url)).await.admitted();
    }
    // The other policies restrict only this operator.
    let secrets = format!("{}?dryRun=All", scene.secrets(""));
    let unmarked = secret("unmarked", "Opaque", &json!({}));
    eventually(PATIENCE, "the policy to be in force", async || {
        Ok((account.create(&secrets, &unmarked).await.status == 403).then_some(()))
    })
    .await
    .unwrap();
    account
        .create(&secrets, &unmarked)
        .await
        .refused_by("own-fence-secrets", &["without the operator's annotation, owner reference or label"]);
    scene.admin.create(&secrets, &unmarked).await.admitted();
}
