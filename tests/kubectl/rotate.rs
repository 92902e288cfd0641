//! `rotate`, and the keys of each phase.

use serde_json::{Value, json};

use crate::stage::Scene;

fn ed25519(rotation: &Value) -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "rotation": rotation })
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_waits_until_the_next_key_is_current() {
    let scene = Scene::new("rotate").await;
    scene.apply_pair("login", &ed25519(&json!({ "publishBefore": "3s", "keepAfter": "1h" })));
    scene.wait_ready("login");
    let old = scene.ok(&["public", "login"]);
    let said = scene.keypair(&["rotate", "login", "--wait"]);
    let new = said.clone().ok();
    assert_ne!(new, old);
    for words in
        ["rotation requested", "revision 2 of keypair/login to become current", "revision 2 is the current key"]
    {
        assert!(said.err.contains(words), "{words:?} is missing: {said:?}");
    }
    assert_eq!(scene.ok(&["public", "login"]), new);
    assert_eq!(scene.ok(&["public", "login", "--phase", "previous"]), old);
    assert_eq!(scene.ok(&["public", "login", "--phase", "all"]), format!("{old}{new}"));
    let request = scene.get("keypair", "login")["metadata"]["annotations"]["keypairs.dev/rotate"].clone();
    assert_eq!(request, scene.get("keypair", "login")["status"]["rotation"]["handledRequest"]);
    assert!(request.as_str().unwrap().ends_with('Z') && request.as_str().unwrap().len() == 30, "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_rotation_times_out_and_goes_on() {
    let scene = Scene::new("long").await;
    scene.apply_pair("login", &ed25519(&json!({})));
    scene.wait_ready("login");
    let said = scene.keypair(&["rotate", "login", "--wait", "--timeout=8s"]);
    said.failed(3, &["timed out after 8s, waiting for revision 2 of keypair/login to become current", "Published"]);
    assert!(scene.ok(&["public", "login", "--phase=next"]).starts_with("ssh-ed25519 "));
    assert!(scene.ok(&["rotate", "login"]).starts_with("keypair.keypairs.dev/login: rotation requested"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rotated_is_told() {
    let scene = Scene::new("fixed").await;
    scene.ok(&["create", "login", "--wait"]);
    let said = scene.keypair(&["rotate", "login"]);
    said.failed(1, &["has no spec.rotation", "kubectl patch keypair login"]);
    // What it says is what helps.
    let advice = said.err.lines().nth(1).unwrap().trim().to_owned();
    let output = scene.run("bash", &["-c", &advice], "");
    assert!(output.status.success(), "{advice}: {output:?}");
    scene.ok(&["rotate", "login"]);
    scene.apply_pair("ops", &json!({ "profile": "OpenSSH", "publicKey": scene.ok(&["public", "login"]) }));
    scene.keypair(&["rotate", "ops"]).failed(1, &["imported public key"]);
    scene.keypair(&["rotate", "none"]).failed(1, &["does not exist"]);
}
