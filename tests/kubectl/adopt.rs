//! `adopt`.

use std::fs;

use serde_json::json;

use crate::stage::Scene;

/// Makes a Secret with a new private key, as somebody had one before, and returns the public key.
fn secret(scene: &Scene, name: &str, data_key: &str, key_type: &[&str]) -> String {
    let file = scene.temporary.path().join(format!("key-of-{name}"));
    let path = file.to_str().unwrap();
    let made = scene.run("ssh-keygen", &[&["-q", "-N", "", "-C", "", "-f", path], key_type].concat(), "");
    assert!(made.status.success(), "{made:?}");
    scene.admin(&[
        "create",
        "secret",
        "generic",
        name,
        &format!("--from-file={data_key}={path}"),
        "--from-literal=other=kept",
    ]);
    fs::read_to_string(file.with_extension("pub")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_becomes_that_of_a_new_key_pair() {
    let scene = Scene::new("adopt").await;
    let public = secret(&scene, "web", "ssh-privatekey", &["-t", "ecdsa", "-b", "384"]);
    let said = scene.keypair(&["adopt", "web", "--wait"]);
    assert_eq!(said.clone().ok(), "secret/web annotated: keypairs.dev/adopt=web\nkeypair.keypairs.dev/web created\n");
    assert!(said.err.contains("it remains when the KeyPair is deleted"), "{said:?}");
    assert_eq!(scene.ok(&["public", "web"]).trim_end(), public.trim_end());
    let spec = scene.get("keypair", "web")["spec"].clone();
    assert_eq!(spec, json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA", "bits": 384 } }));
    assert_eq!(scene.get("secret", "web")["data"]["other"], "a2VwdA==");
    scene.keypair(&["adopt", "web"]).failed(1, &["belongs to KeyPair \"web\" already"]);
    scene.keypair(&["adopt", "web", "other"]).failed(1, &["belongs to KeyPair \"web\", which would lose"]);

    // Another name of the entry and of the KeyPair.
    let public = secret(&scene, "flux", "identity", &["-t", "ed25519"]);
    scene.ok(&["adopt", "flux", "deploy", "--wait"]);
    assert_eq!(scene.ok(&["public", "deploy"]).trim_end(), public.trim_end());
    let data = scene.get("secret", "flux")["data"].clone();
    assert!(data["identity.pub"].is_string() && data["other"].is_string(), "{data}");
    assert!(scene.ok(&["private", "deploy"]).starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_pair_adopts_the_secret_that_it_names() {
    let scene = Scene::new("waiting").await;
    let public = secret(&scene, "old-key", "ssh-privatekey", &["-t", "rsa", "-b", "2048"]);
    scene.apply_pair("login", &json!({ "secret": { "name": "old-key" } }));
    scene.admin(&["wait", "--for=condition=Ready=false", "keypair/login", "--timeout=120s"]);
    scene.keypair(&["adopt", "old-key"]).ok();
    scene.admin(&["delete", "keypair", "old-key"]);
    scene.admin(&["annotate", "secret", "old-key", "keypairs.dev/adopt-"]);
    assert_eq!(
        scene.ok(&["adopt", "old-key", "login", "--wait"]),
        "secret/old-key annotated: keypairs.dev/adopt=login\n"
    );
    assert_eq!(scene.ok(&["public", "login"]).trim_end(), public.trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_adopted_is_told_and_stays() {
    let scene = Scene::new("refuse").await;
    scene.keypair(&["adopt", "none"]).failed(1, &["Secret \"none\" does not exist"]);
    scene.admin(&["create", "secret", "generic", "text", "--from-literal=a=b"]);
    scene.keypair(&["adopt", "text"]).failed(1, &["no entry with an unencrypted"]);
    secret(&scene, "locked", "ssh-privatekey", &["-t", "ed25519", "-N", "secret"]);
    scene.keypair(&["adopt", "locked"]).failed(1, &["cannot be adopted", "ssh-keygen -p"]);
    secret(&scene, "key", "ssh-privatekey", &["-t", "ed25519"]);
    scene.ok(&["create", "login", "--wait"]);
    scene.keypair(&["adopt", "key", "login"]).failed(1, &["set spec.secret.name"]);
    scene.keypair(&["adopt", "login", "mine"]).failed(1, &["belongs to KeyPair \"login\""]);
    secret(&scene, "odd", "ssh-privatekey", &["-t", "rsa", "-b", "2304"]);
    scene.keypair(&["adopt", "odd"]).failed(1, &["an RSA key of 2304 bits, which cannot be adopted"]);
    for name in ["text", "locked", "key", "odd"] {
        assert_eq!(scene.get("secret", name)["metadata"]["annotations"], json!(null), "{name}");
    }
    let pairs = scene.admin(&["get", "keypairs", "-o=name"]);
    assert_eq!(pairs, "keypair.keypairs.dev/login\n");
}
