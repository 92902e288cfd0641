//! Attackers who replace the certificate of the operator with their own.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Replica, Stage, ready};

const SECRET: &str = "keypair-operator-webhook";

/// A foreign CA, and a certificate that it signed for the address of the webhook.
fn theirs() -> BTreeMap<String, ByteString> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
    let chain = format!("{}{}", certificate.pem(), authority_certificate.pem());
    [("tls.crt", chain), ("tls.key", key.serialize_pem()), ("ca.crt", authority_certificate.pem())]
        .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
        .into()
}

#[tokio::test]
async fn a_planted_certificate_is_neither_served_nor_trusted() {
    let stage = Stage::new("planted").await;
    let secrets: Api<Secret> = Api::default_namespaced(stage.client.clone());
    // What a KeyPair with `keys.privateKey: tls.key` and a template creates, and two Secrets made by hand.
    let of_a_key_pair = json!({
        "labels": { "app.kubernetes.io/managed-by": "keypair-operator", "app.kubernetes.io/name": "keypair-operator" },
        "annotations": { "keypairs.dev/keypair": "web", "keypairs.dev/keypair-uid": "1" },
    });
    let plants = [
        ("Opaque", of_a_key_pair.clone()),
        ("kubernetes.io/tls", json!({ "labels": { "app.kubernetes.io/name": "cert-manager" } })),
        ("kubernetes.io/tls", of_a_key_pair),
    ];
    for (type_, metadata) in plants {
        let mut planted: Secret = serde_json::from_value(json!({ "metadata": metadata, "type": type_ })).unwrap();
        planted.metadata.name = Some(SECRET.to_owned());
        planted.data = Some(theirs());
        let planted = secrets.create(&PostParams::default(), &planted).await.unwrap();
        let mut replica = Replica::spawn(stage.plane.kubeconfig(), &[]);
        let line = replica.operator.wait_for_line("has the name of the webhook's certificate", PATIENCE).await.unwrap();
        assert!(line.contains("Secret default/keypair-operator-webhook") && line.contains("delete it"), "{line}");
        // Only waiting can show that nothing happens.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(secrets.get(SECRET).await.unwrap(), planted, "the Secret was overwritten");
        for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/keypair-operator");
            let found = stage.send(Method::GET, &path, "application/json", &Value::Null).await;
            assert_eq!(found.status, 404, "the operator registered the foreign CA: {}", found.body);
        }
        assert!(tokio::net::TcpStream::connect(replica.webhook).await.is_err(), "the foreign certificate is served");

        secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
        replica.ready().await;
        stage.registered().await;
        replica.operator.stop().await.unwrap();
        secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
        for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/keypair-operator");
            stage.send(Method::DELETE, &path, "application/json", &json!({})).await;
        }
    }
}

/// Refused by the webhook or, without a webhook, by the controller.
#[tokio::test]
async fn a_key_pair_cannot_use_the_operators_names() {
    let stage = Stage::new("own-names").await;
    let spec = |name: &str| json!({ "generate": { "algorithm": "RSA" }, "secret": { "name": name } });
    let operator = stage.operator(&[]).await;
    for name in ["keypair-operator", SECRET, "keypair-operator-webhook-tls", "keypair-operator-webhook-authority"] {
        let answer = stage.create("default", "web", &spec(name), true).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert_eq!(answer.text("reason"), "InvalidSecret.Malformed", "{name}: {}", answer.body);
        assert!(answer.said().contains("operator's own namespace"), "{name}: {}", answer.said());
        stage.create("kube-public", "web", &spec(name), true).await.admitted();
    }
    stage
        .create("default", SECRET, &json!({}), true)
        .await
        .text("reason")
        .contains("InvalidSecret")
        .then_some(())
        .unwrap();
    stage.create("default", "web", &spec("keypair-operators"), true).await.admitted();

    let path = "/apis/admissionregistration.k8s.io/v1/";
    drop(operator);
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let path = format!("{path}{kind}/keypair-operator");
        stage.send(Method::DELETE, &path, "application/json", &json!({})).await.admitted();
    }
    stage.create("default", "web", &spec(SECRET), false).await.admitted();
    let _operator = Replica::spawn(stage.plane.kubeconfig(), &["--webhook-configuration=keypair-operator"]);
    let object = stage.settled("default", "web", "InvalidSecret").await;
    assert!(ready(&object)["message"].as_str().unwrap().contains("keypair-operator-"), "{object}");
    assert_eq!(object["status"]["keyPairID"], Value::Null);
    stage.patch("default", "web", &json!({ "spec": { "secret": { "name": "web" } } })).await.admitted();
    stage.settled("default", "web", "Generated").await;
}
