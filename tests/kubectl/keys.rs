//! `public` and `private`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::stage::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_out_as_the_cluster_has_them() {
    let scene = Scene::new("keys").await;
    let secret = json!({ "name": "deploy-key", "keys": { "privateKey": "identity", "publicKey": "identity.pub" } });
    scene.apply_pair(
        "deploy",
        &json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": secret }),
    );
    scene.wait_ready("deploy");
    let data = scene.get("secret", "deploy-key")["data"].clone();
    let entry = |key: &str| String::from_utf8(Base64::decode_vec(data[key].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(scene.ok(&["public", "deploy"]).trim_end(), entry("identity.pub").trim_end());
    let said = scene.keypair(&["private", "deploy"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), (entry("identity").as_str(), ""));

    let file = scene.temporary.path().join("key");
    let path = file.to_str().unwrap();
    let said = scene.keypair(&["private", "deploy", "-o", path]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), entry("identity"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    scene.keypair(&["private", "deploy", "-o", path]).failed(1, &["exists already and was not changed"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), entry("identity"));

    // As a list for programs.
    let shown: Value = serde_json::from_str(&scene.ok(&["public", "deploy", "--phase=all", "-o=json"])).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!([&shown[0]["phase"], &shown[0]["revision"]], [&json!("Current"), &json!(1)]);
    assert_eq!(shown[0]["publicKey"].as_str().unwrap(), entry("identity.pub").trim_end());
    scene.keypair(&["public", "deploy", "--phase=next"]).failed(1, &["no rotation is under way"]);
}

/// A replay shows the Secret of the original, whose spec says where the key is.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_the_key_of_its_original() {
    let scene = Scene::new("replay").await;
    let spec = |data_key: &str| {
        json!({
            "profile": "Volcengine", "keyPairName": "web", "clientToken": "t", "generate": { "algorithm": "ECDSA" },
            "secret": { "keys": { "privateKey": data_key } },
        })
    };
    scene.apply_pair("first", &spec("one"));
    scene.wait_ready("first");
    scene.apply_pair("second", &spec("two"));
    scene.wait_ready("second");
    assert_eq!(scene.get("keypair", "second")["status"]["secretName"], "first");
    assert_eq!(scene.ok(&["private", "second"]), scene.ok(&["private", "first"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_told() {
    let scene = Scene::new("lost").await;
    scene.ok(&["create", "login", "--wait"]);
    scene.admin(&["delete", "secret", "login"]);
    scene.keypair(&["private", "login"]).failed(1, &["Secret \"login\" does not exist"]);
    scene.keypair(&["ssh", "login", "localhost"]).failed(255, &["Secret \"login\" does not exist"]);
    scene.keypair(&["ssh", "nothing", "localhost"]).failed(255, &["KeyPair \"nothing\" does not exist"]);
}
