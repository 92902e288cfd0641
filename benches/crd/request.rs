//! The measured requests.

use http::Request;
use keypair_operator::{
    api::{
        self, KeyPair, KeyPairSpec, KeyPairStatus,
        key_pair::Tag,
        status::{Fingerprints, IMPORTED, READY},
    },
    domain::key::PublicKey,
};
use serde_json::{Value, json};

const KEY: &str = include_str!("../../tests/vectors/public/rsa2048.pub");
/// The namespace of all requests.
pub const NAMESPACE: &str = "measured";
const MERGE: &str = "application/merge-patch+json";

/// A kind of request. Each object gets the kinds in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Create,
    Status,
    Labels,
    Description,
    CreateEmpty,
    StatusOfEmpty,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Create, Self::Status, Self::Labels, Self::Description, Self::CreateEmpty, Self::StatusOfEmpty];

    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create of an import",
            Self::Status => "patch of the status of an import",
            Self::Labels => "patch of the labels of an import",
            Self::Description => "patch of the description of an import",
            Self::CreateEmpty => "create of `spec: {}`",
            Self::StatusOfEmpty => "patch of the status of `spec: {}`",
        }
    }

    /// Builds the request for the object with this number. Patches with another `turn` change the same object again.
    pub fn request(self, prefix: &str, number: usize, turn: u32) -> Request<Vec<u8>> {
        let empty = matches!(self, Self::CreateEmpty | Self::StatusOfEmpty);
        let name = format!("{prefix}-{}-{number}", if empty { "empty" } else { "import" });
        match self {
            Self::Create => create(&name, &import()),
            Self::CreateEmpty => create(&name, &json!({})),
            Self::Status | Self::StatusOfEmpty => {
                patch(&name, "/status", &json!({ "status": status(&name, empty, turn) }))
            }
            Self::Labels => patch(&name, "", &json!({ "metadata": { "labels": { "team": format!("team-{turn}") } } })),
            Self::Description => patch(&name, "", &json!({ "spec": { "description": format!("Laptop {turn}") } })),
        }
    }
}

fn import() -> Value {
    let spec = KeyPairSpec {
        public_key: Some(KEY.trim().to_owned()),
        description: Some("The key of the build machine".to_owned()),
        tags: vec![Tag { key: "team".to_owned(), value: Some("build".to_owned()) }],
        ..KeyPairSpec::default()
    };
    serde_json::to_value(spec).unwrap()
}

/// The status that the operator writes for a Ready pair.
fn status(name: &str, generated: bool, generation: u32) -> Value {
    let key = PublicKey::parse(KEY.trim()).unwrap();
    let fingerprints = key.fingerprints();
    let (reason, message) = if generated {
        (api::status::GENERATED, "The key pair is generated.")
    } else {
        (IMPORTED, "The public key is imported.")
    };
    let status = KeyPairStatus {
        observed_generation: Some(generation.into()),
        key_pair_id: Some("kp-0123456789abcdefghij".to_owned()),
        key_pair_name: Some(name.to_owned()),
        region: Some(NAMESPACE.to_owned()),
        fingerprint: Some(fingerprints.md5.clone()),
        fingerprints: Some(Fingerprints { md5: fingerprints.md5, sha256: fingerprints.sha256 }),
        public_key: Some(key.to_openssh()),
        algorithm: Some("RSA".to_owned()),
        bits: Some(2048),
        secret_name: generated.then(|| name.to_owned()),
        secret_version: generated.then(|| "1234567".to_owned()),
        ..KeyPairStatus::default()
    };
    let mut status = serde_json::to_value(status).unwrap();
    status["conditions"] = json!([{
        "type": READY, "status": "True", "reason": reason, "message": message, "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    status
}

pub fn key_pairs() -> String {
    format!("/apis/keypairs.dev/v1alpha1/namespaces/{NAMESPACE}/keypairs")
}

pub fn create(name: &str, spec: &Value) -> Request<Vec<u8>> {
    let mut object = serde_json::to_value(KeyPair::new(name, KeyPairSpec::default())).unwrap();
    object["spec"] = spec.clone();
    let body = serde_json::to_vec(&object).unwrap();
    Request::post(key_pairs()).header("content-type", "application/json").body(body).unwrap()
}

fn patch(name: &str, subresource: &str, change: &Value) -> Request<Vec<u8>> {
    let uri = format!("{}/{name}{subresource}", key_pairs());
    Request::patch(uri).header("content-type", MERGE).body(serde_json::to_vec(change).unwrap()).unwrap()
}
