//! `who`.

use serde_json::{Value, json};

use crate::stage::Scene;

fn publication(kind: &str, name: &str, labels: &Value, entries: &Value) -> Value {
    json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "labels": labels },
        "spec": { "entries": entries },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lists_the_publications_of_a_pair() {
    let (scene, other) = (Scene::new("who").await, Scene::new("whoelse").await);
    scene.apply(&json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
        "metadata": { "name": "login", "labels": { "team": "a" } },
        "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "shareWith": [other.namespace] },
    }));
    scene.wait_ready("login");
    let none = scene.keypair(&["who", "login"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""), "{none:?}");
    assert!(none.err.contains("no AuthorizedKeys and no KnownHosts publish keypair/login"), "{none:?}");

    let nothing = json!({});
    scene.apply(&publication("AuthorizedKeys", "by-name", &nothing, &json!([{ "keyPair": "login" }])));
    let selector = json!([{ "selector": { "matchLabels": { "team": "a" } } }]);
    scene.apply(&publication("AuthorizedKeys", "by-label", &nothing, &selector));
    scene.apply(&publication("AuthorizedKeys", "others", &nothing, &json!([{ "keyPair": "another" }])));
    let hosts = json!([{ "hosts": ["web.example.com"], "keyPair": "login" }]);
    scene.apply(&publication("KnownHosts", "hosts", &nothing, &hosts));
    let shared = json!([{ "keyPair": "login", "namespace": scene.namespace }]);
    other.apply(&publication("AuthorizedKeys", "shared", &nothing, &shared));
    for (kind, name) in [("authorizedkeys", "by-name"), ("authorizedkeys", "by-label"), ("knownhosts", "hosts")] {
        scene.admin(&["wait", "--for=condition=Ready", &format!("{kind}/{name}"), "--timeout=120s"]);
    }

    let said = scene.keypair(&["who", "login"]);
    let rows: Vec<Vec<String>> =
        said.out.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    let own = scene.namespace.as_str();
    let expected = [
        ["KIND", "NAMESPACE", "NAME", "TARGET", "READY"],
        ["AuthorizedKeys", own, "by-label", "configmap/by-label", "True"],
        ["AuthorizedKeys", own, "by-name", "configmap/by-name", "True"],
        ["KnownHosts", own, "hosts", "configmap/hosts", "True"],
    ];
    assert_eq!(rows, expected);
    // The user of this namespace may not see the other one, and learns that.
    let not_seen =
        format!("not seen: AuthorizedKeys in namespace \"{}\": you may not list authorizedkeys", other.namespace);
    assert!(said.err.contains(&not_seen), "{said:?}");

    let answer: Value = serde_json::from_str(&scene.ok(&["who", "login", "-o", "json"])).unwrap();
    let target = json!({ "kind": "ConfigMap", "name": "by-label", "key": "authorized_keys" });
    assert_eq!(
        answer["publications"][0],
        json!({
            "kind": "AuthorizedKeys", "namespace": own, "name": "by-label", "target": target, "ready": "True",
            "reason": "Published",
        })
    );
    assert_eq!(answer["publications"].as_array().unwrap().len(), 3);
    assert_eq!(answer["notSeen"].as_array().unwrap().len(), 2);

    // Whoever may see both sees both.
    let account = format!("--serviceaccount={own}:user");
    other.admin(&["create", "rolebinding", "guest", "--clusterrole=view", &account]);
    let said = scene.keypair(&["who", "login"]);
    assert!(said.out.contains("shared") && !said.err.contains("not seen"), "{said:?}");
    scene.keypair(&["who", "nothing"]).failed(1, &["KeyPair \"nothing\" does not exist"]);
}
