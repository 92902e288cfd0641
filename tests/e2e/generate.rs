//! Generated pairs: every kind of key in every encoding, in every profile that supports it.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use k8s_openapi::api::core::v1::Secret;
use keypair_operator::domain::profile::Profile;
use keypair_test_harness::{eventually, free_port, http_get};
use serde_json::{Value, json};

use crate::{
    expected,
    support::{Directory, PATIENCE, QUIET, STRICT, Scene, condition, data, for_each_profile, keys, text, to_json},
    tools::{first_two_words, openssl_check, openssl_ed25519_line, openssl_md5, ssh_keygen_l, ssh_keygen_y},
};

/// A kind of key and an encoding, as in the spec, with the first line of the PEM block.
struct Kind {
    algorithm: &'static str,
    bits: u32,
    encoding: &'static str,
    begin: &'static str,
}

impl Kind {
    fn all() -> Vec<Self> {
        const FIRST_LINES: [(&str, &str); 4] = [
            ("PKCS8", "-----BEGIN PRIVATE KEY-----"),
            ("OpenSSH", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("PKCS1", "-----BEGIN RSA PRIVATE KEY-----"),
            ("SEC1", "-----BEGIN EC PRIVATE KEY-----"),
        ];
        let kinds: [(&str, &[u32], &[&str]); 3] = [
            ("RSA", &[2048, 3072, 4096], &["PKCS8", "OpenSSH", "PKCS1"]),
            ("ECDSA", &[256, 384, 521], &["PKCS8", "OpenSSH", "SEC1"]),
            ("Ed25519", &[256], &["PKCS8", "OpenSSH"]),
        ];
        let mut all = Vec::new();
        for (algorithm, sizes, encodings) in kinds {
            for &bits in sizes {
                for (encoding, begin) in FIRST_LINES.into_iter().filter(|(encoding, _)| encodings.contains(encoding)) {
                    all.push(Self { algorithm, bits, encoding, begin });
                }
            }
        }
        all
    }

    fn name(&self) -> String {
        format!("{}-{}-{}", self.algorithm, self.bits, self.encoding).to_lowercase()
    }

    fn spec(&self, profile: &str) -> Value {
        json!({
            "profile": profile,
            "generate": { "algorithm": self.algorithm, "bits": self.bits },
            "secret": { "encoding": self.encoding },
        })
    }
}

async fn generates(profile: &'static str) {
    let scene = STRICT.scene(&format!("generate-{}", profile.to_lowercase())).await;
    // Alibaba's CreateKeyPair generates RSA only.
    let kinds =
        || Kind::all().into_iter().filter(|kind| !expected::generates_only_rsa(profile) || kind.algorithm == "RSA");
    for kind in kinds() {
        scene.create(&kind.name(), &kind.spec(profile)).await;
    }
    for kind in kinds() {
        let object = scene.settled(&kind.name(), "True/Generated").await;
        let secret = scene.secrets.get(&kind.name()).await.unwrap();
        check_metadata(&object, &secret);
        check_keys(profile, &kind, &object, &secret);
    }
    assert!(scene.list("events.events.k8s.io").is_empty());
}

fn check_metadata(object: &Value, secret: &Secret) {
    let metadata = to_json(&secret.metadata);
    let name = &object["metadata"]["name"];
    let status = &object["status"];
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/ssh-auth"), "{name}");
    assert_eq!(keys(secret), ["ssh-privatekey", "ssh-publickey"], "{name}");
    assert_eq!(metadata["labels"], json!({ "app.kubernetes.io/managed-by": "keypair-operator" }), "{name}");
    assert_eq!(metadata["annotations"]["keypairs.dev/keypair"], *name, "{name}");
    assert_eq!(metadata["annotations"]["keypairs.dev/fingerprint"], status["fingerprints"]["sha256"], "{name}");
    let owner = json!([{
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": name,
        "uid": object["metadata"]["uid"], "controller": true,
    }]);
    assert_eq!(metadata["ownerReferences"], owner, "{name}");
    assert_eq!(status["secretName"], *name);
    assert_eq!(status["error"], Value::Null);
    assert_eq!(condition(object, "Stalled"), Value::Null);
}

fn check_keys(profile: &str, kind: &Kind, object: &Value, secret: &Secret) {
    let name = format!("{profile} {}", kind.name());
    let status = &object["status"];
    let dir = Directory::new("generated");
    let private = data(secret, "ssh-privatekey");
    assert_eq!(private.lines().next(), Some(kind.begin), "{name}");
    let file = dir.write("private", private.as_bytes());
    if kind.encoding != "OpenSSH" {
        openssl_check(&file);
    }

    let line = text(&status["publicKey"]);
    assert_eq!(first_two_words(line), derived(kind, &file), "{name}");
    assert_eq!(data(secret, "ssh-publickey").trim_end(), line, "{name}");
    let printed = ssh_keygen_l(line, None).unwrap();
    assert_eq!(printed.bits, u64::from(kind.bits), "{name}");
    assert_eq!(status["fingerprints"], json!({ "md5": printed.md5, "sha256": printed.sha256 }), "{name}");
    assert_eq!(status["algorithm"], kind.algorithm, "{name}");
    assert_eq!(status["bits"], kind.bits, "{name}");
    let fingerprint = match expected::profile(profile) {
        Profile::Alibaba => printed.md5,
        Profile::Volcengine => printed.md5.replace(':', ""),
        Profile::OpenSSH => printed.sha256,
        Profile::UCloud => openssl_md5(format!("{}|{line}", text(&status["keyPairID"])).as_bytes()),
    };
    assert_eq!(text(&status["fingerprint"]), fingerprint, "{name}");
}

/// The public key that an independent tool derives from the private key.
fn derived(kind: &Kind, private: &Path) -> String {
    if kind.algorithm == "Ed25519" && kind.encoding == "PKCS8" {
        openssl_ed25519_line(private)
    } else {
        ssh_keygen_y(private)
    }
}

for_each_profile!(generates);

/// `generate` and each of its fields are optional.
#[tokio::test]
async fn omitted_generate_fields_use_defaults() {
    let scene = STRICT.scene("generate-defaults").await;
    let cases = [
        ("nothing", json!({}), "RSA", 2048),
        ("empty", json!({ "generate": {} }), "RSA", 2048),
        ("rsa", json!({ "generate": { "algorithm": "RSA" } }), "RSA", 2048),
        ("ecdsa", json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA" } }), "ECDSA", 256),
        ("ed25519", json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } }), "Ed25519", 256),
    ];
    for (name, spec, ..) in &cases {
        scene.create(name, spec).await;
    }
    for (name, _, algorithm, bits) in cases {
        let object = scene.settled(name, "True/Generated").await;
        assert_eq!((&object["status"]["algorithm"], &object["status"]["bits"]), (&json!(algorithm), &json!(bits)));
        let private = data(&scene.secrets.get(name).await.unwrap(), "ssh-privatekey");
        assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{name} is not in PKCS#8 by default");
    }
    shown(&scene, "nothing");
}

/// Checks the columns that are empty for an import.
fn shown(scene: &Scene, name: &str) {
    let row = scene.kubectl(&["get", "kp", name, "--no-headers"]);
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..8], [name, name, "Alibaba", "RSA", "2048", name, "True", "Generated"], "{row}");
}

/// Uses AWS-LC's generator instead of the faster one.
#[tokio::test]
async fn the_library_generator_generates_rsa_keys() {
    let scene = QUIET.scene("generate-library").await;
    let mut operator = QUIET.spawn(&["--namespace", &scene.namespace, "--rsa-generator=library"], "info");
    let kind = Kind { algorithm: "RSA", bits: 2048, encoding: "PKCS8", begin: "-----BEGIN PRIVATE KEY-----" };
    scene.create(&kind.name(), &kind.spec("OpenSSH")).await;
    let object = scene.settled(&kind.name(), "True/Generated").await;
    let secret = scene.secrets.get(&kind.name()).await.unwrap();
    check_keys("OpenSSH", &kind, &object, &secret);
    operator.wait_for_line(r#"rsa_generator="library""#, PATIENCE).await.unwrap();
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
}

/// Uses each key from the pool only once, even if the process is killed.
#[tokio::test]
async fn pooled_keys_are_used_once() {
    let scene = QUIET.scene("generate-pool").await;
    let mut public_keys = BTreeSet::new();
    for life in 0..2 {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let metrics = address.to_string();
        let args = ["--namespace", &scene.namespace, "--key-pool", "2", "--metrics-addr", &metrics];
        let mut operator = QUIET.spawn(&args, "info");
        eventually(PATIENCE, "the pool to be full", async || {
            let metrics = http_get(address, "/metrics").await?.body;
            Ok(metrics.contains(r#"keypair_operator_key_pool{algorithm="RSA",bits="2048"} 2"#).then_some(()))
        })
        .await
        .unwrap();
        for number in 0..4 {
            let name = format!("pair-{life}-{number}");
            scene.create(&name, &json!({ "profile": "OpenSSH" })).await;
            let object = scene.settled(&name, "True/Generated").await;
            assert!(public_keys.insert(text(&object["status"]["publicKey"]).to_owned()), "a key was used twice");
        }
        if life == 0 {
            operator.kill().unwrap();
        } else {
            assert_eq!(operator.stop().await.unwrap().code(), Some(0));
        }
    }
    assert_eq!(public_keys.len(), 8);
}
