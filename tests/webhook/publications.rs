//! AuthorizedKeys and KnownHosts: what the rules of their CRDs cannot say, the webhook refuses.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Answer, Stage};

const VALID: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf";

async fn create(stage: &Stage, kind: &str, name: &str, entry: &Value) -> Answer {
    let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/default/{}", kind.to_lowercase());
    let object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": { "entries": [entry] },
    });
    stage.send(Method::POST, &path, "application/json", &object).await
}

async fn patch(stage: &Stage, kind: &str, name: &str, patch: &Value) -> Answer {
    let url = format!("/apis/keypairs.dev/v1alpha1/namespaces/default/{}/{name}", kind.to_lowercase());
    stage.send(Method::PATCH, &url, "application/merge-patch+json", patch).await
}

#[tokio::test]
async fn mistakes_in_publications_are_refused_and_old_ones_tolerated() {
    let stage = Stage::new("publications").await;
    let host = |key: &str| json!({ "hosts": ["a"], "publicKeys": [key] });
    let login = |from: &str| json!({ "keyPair": "a", "options": { "from": [from] } });
    // Created while nobody answers.
    create(&stage, "KnownHosts", "older", &host("nonsense")).await.admitted();
    create(&stage, "AuthorizedKeys", "older", &login("10.0.0.1/8")).await.admitted();
    let replica = stage.operator(&[]).await;

    for (kind, entry, field) in [
        ("KnownHosts", host("nonsense"), "spec.entries[0].publicKeys[0]"),
        ("AuthorizedKeys", login("10.0.0.1/8"), "spec.entries[0].options.from[0]"),
    ] {
        let answer = create(&stage, kind, "new", &entry).await;
        assert_eq!((answer.status, answer.text("reason")), (422, "InvalidEntry"), "{}", answer.body);
        assert!(answer.said().starts_with(&format!("{field}: ")), "{}", answer.body);
        assert_eq!(answer.body["details"]["causes"][0]["field"], field);

        // What is stored can change as long as nothing new is wrong, and can be deleted.
        patch(&stage, kind, "older", &json!({ "metadata": { "labels": { "a": "b" } } })).await.admitted();
        patch(&stage, kind, "older", &json!({ "spec": { "target": { "configMap": { "name": "b" } } } }))
            .await
            .admitted();
        let worse = patch(&stage, kind, "older", &json!({ "spec": { "entries": [entry.clone(), entry] } })).await;
        assert_eq!(worse.status, 422, "{}", worse.body);
        assert!(worse.said().starts_with("spec.entries[1]"), "{}", worse.body);
        let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/default/{}/older", kind.to_lowercase());
        stage.send(Method::DELETE, &path, "application/json", &json!({})).await.admitted();
    }
    create(&stage, "KnownHosts", "valid", &host(VALID)).await.admitted();
    // The pair of an entry may follow.
    create(&stage, "AuthorizedKeys", "valid", &login("10.0.0.0/8")).await.admitted();
    drop(replica);
}
