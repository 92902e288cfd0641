//! Which requests are sent for Secrets, and which of their annotations are trusted.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::Response;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::api::{
    KeyPairSpec,
    secret::{FINGERPRINT_ANNOTATION, KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, cached, key_pair_name, key_pair_uid},
};

fn key_pair() -> KeyPair {
    let mut key_pair = KeyPair::new("web", KeyPairSpec::default());
    key_pair.metadata.namespace = Some("shop".to_owned());
    key_pair
}

/// With any name, the operator requests only Secrets of the namespace.
#[tokio::test]
async fn no_request_is_sent_for_an_invalid_secret_name() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let server = service_fn(move |request: http::Request<Body>| {
        log.lock().unwrap().push(request.uri().path().to_owned());
        async { Ok::<_, Infallible>(Response::builder().status(404).body(Body::empty()).unwrap()) }
    });
    let (client, key_pair) = (Client::new(server, "default"), key_pair());
    let settings = SecretSettings::named("web".to_owned());
    let content = Content::placeholder();
    let secret_update = |name| SecretUpdate { name, settings: &settings, version: "1", admission_changes: &[] };
    for name in ["../../victim/secrets/db", "..", "", "a/b", "a?b", "a#b", "a%2fb", "A", "a\r\nX: y", "a b", "é"] {
        let answers = [
            read(&client, &key_pair, name, &settings, &[]).await.map(|_| ()),
            update(&client, &key_pair, secret_update(name), None).await.map(|_| ()),
            release(&client, &key_pair, secret_update(name)).await.map(|_| ()),
            private_keys(&client, &key_pair, name, &settings).await.map(|_| ()),
            create(&client, &key_pair, name, &settings, &content, false).await.map(|_| ()),
            delete(&client, &key_pair, name, "1").await,
            rotate(&client, &key_pair, secret_update(name), SecretRotation::RemoveNext).await.map(|_| ()),
            end_move(&client, &key_pair, name, "1").await.map(|_| ()),
        ];
        assert!(answers.iter().all(|answer| matches!(answer, Err(RequestError::Name))), "{name:?}: {answers:?}");
    }
    assert!(asked.lock().unwrap().is_empty());
    drop(read(&client, &key_pair, "web", &settings, &[]).await);
    assert_eq!(*asked.lock().unwrap(), ["/api/v1/namespaces/shop/secrets/web"]);
}

#[test]
fn the_values_of_annotations_are_validated() {
    let sha256 = format!("SHA256:{}A", "A".repeat(42));
    let secret = |annotations: &Value, owner: &str| -> Secret {
        let owner = json!([{ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": owner, "uid": "1" }]);
        serde_json::from_value(json!({ "metadata": { "annotations": annotations, "ownerReferences": owner } })).unwrap()
    };
    let long = "a".repeat(254);
    for wrong in ["", "../x", "a/b", "Web", "web\n", "\u{202e}", &long] {
        let annotations = json!({ KEYPAIR_ANNOTATION: wrong, KEYPAIR_UID_ANNOTATION: format!("{wrong}/{long}") });
        let secret = secret(&annotations, wrong);
        assert_eq!((key_pair_name(&secret), key_pair_uid(&secret)), (None, None), "{wrong:?}");
        let marked = json!({ FINGERPRINT_ANNOTATION: wrong, REPLACES_ANNOTATION: wrong });
        assert_eq!(cached(&secret_with(&marked), &key_pair()).sha256, None, "{wrong:?}");
    }
    let right = secret(&json!({ KEYPAIR_ANNOTATION: "web", KEYPAIR_UID_ANNOTATION: "5f2c7c62-9c5c" }), "other");
    assert_eq!((key_pair_name(&right), key_pair_uid(&right)), (Some("web"), Some("5f2c7c62-9c5c")));
    assert_eq!(key_pair_name(&secret(&json!({ KEYPAIR_ANNOTATION: "../web" }), "web")), Some("web"));
    let marked = secret_with(&json!({ FINGERPRINT_ANNOTATION: sha256, REPLACES_ANNOTATION: sha256 }));
    assert_eq!(cached(&marked, &key_pair()).sha256, Some(sha256.clone()));
    assert_eq!(fingerprint(&marked, REPLACES_ANNOTATION), Some(sha256));
}

fn secret_with(annotations: &Value) -> Secret {
    serde_json::from_value(json!({ "metadata": { "annotations": annotations } })).unwrap()
}
