//! Adoption of a Secret: the operator uses the private key, and leaves everything else as the owner wrote it.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::eventually;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    support::{Directory, PATIENCE, STRICT, Scene, condition, data, keys, text},
    tools::{run, ssh_keygen_y},
};

/// The spec with the encoding that every OpenSSH version can load.
fn ed25519() -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "encoding": "OpenSSH" } })
}

/// A new Ed25519 private key from `ssh-keygen`, and its public key line.
fn key(topic: &str) -> (String, String) {
    let dir = Directory::new(topic);
    let file = dir.0.join("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", file.to_str().unwrap()], b"");
    let line = ssh_keygen_y(&file);
    let line: Vec<&str> = line.split_whitespace().take(2).collect();
    (std::fs::read_to_string(&file).unwrap(), line.join(" "))
}

/// The public key line that `ssh-keygen` derives from the private key in a Secret.
fn derived(secret: &Secret, key: &str) -> String {
    let dir = Directory::new("adoption");
    let line = ssh_keygen_y(&dir.write("key", data(secret, key).as_bytes()));
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

async fn offer(scene: &Scene, name: &str, metadata: Value, entries: Value) -> Secret {
    let mut metadata = metadata;
    metadata["name"] = json!(name);
    if metadata["annotations"].is_null() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"]["keypairs.dev/adopt"] = json!(name);
    let secret = json!({ "metadata": metadata, "type": "Opaque", "stringData": entries });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    scene.secrets.create(&PostParams::default(), &secret).await.unwrap()
}

async fn annotate(scene: &Scene, name: &str, value: Value) {
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/adopt": value } } });
    scene.secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn secret_when(scene: &Scene, name: &str, what: &str, is_so: impl Fn(&Secret) -> bool) -> Secret {
    eventually(PATIENCE, what, async || Ok(Some(scene.secrets.get(name).await?).filter(|secret| is_so(secret))))
        .await
        .unwrap()
}

fn message(object: &Value) -> String {
    text(&condition(object, "Ready")["message"]).to_owned()
}

#[tokio::test]
async fn adoption_keeps_existing_entries_labels_and_annotations() {
    let scene = STRICT.scene("adoption-template").await;
    let (private, line) = key("adoption-template");
    let metadata = json!({
        "labels": { "app.kubernetes.io/managed-by": "Helm", "team": "theirs" },
        "annotations": { "meta.helm.sh/release-name": "theirs", "note": "theirs" },
    });
    let entries = json!({ "ssh-privatekey": private, "known_hosts": "theirs", "password": "theirs" });
    offer(&scene, "pair", metadata, entries).await;
    let mut spec = ed25519();
    spec["secret"]["template"] = json!({
        "labels": { "team": "mine", "new": "1" },
        "annotations": { "note": "mine", "more": "1" },
        "stringData": { "known_hosts": "mine", "url": "1" },
    });
    scene.create("pair", &spec).await;
    let object = scene.settled("pair", "True/Generated").await;
    assert!(text(&object["status"]["publicKey"]).starts_with(&line));
    let check = |secret: &Secret| {
        assert_eq!(data(secret, "known_hosts"), "theirs");
        assert_eq!(data(secret, "password"), "theirs");
        assert_eq!(secret.labels()["team"], "theirs");
        assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "Helm", "Helm would refuse to upgrade its release");
        assert_eq!(secret.annotations()["note"], "theirs");
        assert_eq!(secret.annotations()["meta.helm.sh/release-name"], "theirs");
        assert_eq!(derived(secret, "ssh-privatekey"), line);
    };
    let adopted = scene.secrets.get("pair").await.unwrap();
    check(&adopted);
    assert_eq!((data(&adopted, "url").as_str(), adopted.labels()["new"].as_str()), ("1", "1"));
    assert_eq!(adopted.owner_references(), [], "an adopted Secret is retained by default");
    assert!(!adopted.annotations().contains_key("keypairs.dev/adopt"));

    // The operator updates and removes what it added; it watches the Secret even without the operator's label.
    let template = json!({
        "labels": { "team": null, "new": null }, "annotations": { "note": "other", "more": "2" },
        "stringData": { "known_hosts": null, "url": "2", "password": "mine" },
    });
    scene.patch("pair", &json!({ "spec": { "secret": { "template": template } } })).await;
    let edited = secret_when(&scene, "pair", "the template to be followed", |secret| data(secret, "url") == "2").await;
    check(&edited);
    assert!(!edited.labels().contains_key("new"));
    assert_eq!(edited.annotations()["more"], "2");

    // The operator notices when somebody changes the key.
    let (another, _) = key("adoption-another");
    let patch = json!({ "stringData": { "ssh-privatekey": another } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    scene.settled("pair", "False/PrivateKeyMismatch").await;
    let patch = json!({ "stringData": { "ssh-privatekey": private } });
    scene.secrets.patch("pair", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    scene.settled("pair", "True/Generated").await;

    scene.delete("pair").await;
    // Only waiting shows that the Secret is not garbage collected.
    tokio::time::sleep(Duration::from_secs(3)).await;
    check(&scene.secrets.get("pair").await.unwrap());
}

#[tokio::test]
async fn an_explicit_deletion_policy_applies_to_an_adopted_secret() {
    let scene = STRICT.scene("adoption-policy").await;
    let (private, _) = key("adoption-policy");
    offer(&scene, "pair", json!({}), json!({ "ssh-privatekey": private })).await;
    let mut spec = ed25519();
    spec["secret"]["deletionPolicy"] = json!("Delete");
    scene.create("pair", &spec).await;
    scene.settled("pair", "True/Generated").await;
    assert_eq!(scene.secrets.get("pair").await.unwrap().owner_references().len(), 1);
    scene.patch("pair", &json!({ "spec": { "secret": { "deletionPolicy": null } } })).await;
    secret_when(&scene, "pair", "the owner reference to go", |secret| secret.owner_references().is_empty()).await;
    scene.patch("pair", &json!({ "spec": { "secret": { "deletionPolicy": "Delete" } } })).await;
    secret_when(&scene, "pair", "the owner reference", |secret| secret.owner_references().len() == 1).await;
}

#[tokio::test]
async fn an_adopted_key_is_written_in_the_requested_encoding() {
    let scene = STRICT.scene("adoption-text").await;
    let (private, line) = key("adoption-text");
    let body = private.trim().replace('\n', "\n  ");
    let pkcs8 = String::from_utf8(run("openssl", &["genpkey", "-quiet", "-algorithm", "ED25519"], b"")).unwrap();
    let texts = [
        ("clean", private.clone()),
        ("pkcs8", pkcs8),
        ("no-newline", private.trim_end().to_owned()),
        ("crlf", private.replace('\n', "\r\n")),
        ("indented", format!("\n\n  {body}\n\n")),
    ];
    for (name, content) in &texts {
        offer(&scene, name, json!({}), json!({ "ssh-privatekey": content })).await;
        scene.create(name, &ed25519()).await;
    }
    for (name, _) in &texts {
        scene.settled(name, "True/Generated").await;
        let secret = scene.secrets.get(name).await.unwrap();
        let found = derived(&secret, "ssh-privatekey");
        assert!(found == line || name == &"pkcs8", "{name}");
        let told = scene.key_pairs.get(name).await.unwrap();
        assert!(text(&serde_json::to_value(told).unwrap()["status"]["publicKey"]).starts_with(&found), "{name}");
        assert!(data(&secret, "ssh-privatekey").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"), "{name}");
        let applied: Value = serde_json::from_str(&secret.annotations()["keypairs.dev/applied"]).unwrap();
        assert_eq!(applied["encoding"], "OpenSSH", "{name}");
    }
    // Without an encoding in the spec, an Ed25519 key keeps the OpenSSH encoding, unencrypted; any other key becomes PKCS8.
    let ecdsa =
        String::from_utf8(run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"], b"")).unwrap();
    let unnamed = texts.iter().filter(|(name, _)| *name != "pkcs8").map(|(name, content)| (*name, content, "Ed25519"));
    for (name, content, algorithm) in unnamed.chain([("sec1", &ecdsa, "ECDSA")]) {
        let name = format!("unnamed-{name}");
        offer(&scene, &name, json!({}), json!({ "ssh-privatekey": content })).await;
        scene.create(&name, &json!({ "profile": "OpenSSH", "generate": { "algorithm": algorithm } })).await;
        scene.settled(&name, "True/Generated").await;
        let secret = scene.secrets.get(&name).await.unwrap();
        let (label, encoding) =
            if algorithm == "Ed25519" { ("OPENSSH PRIVATE KEY", "OpenSSH") } else { ("PRIVATE KEY", "PKCS8") };
        assert!(data(&secret, "ssh-privatekey").starts_with(&format!("-----BEGIN {label}-----\n")), "{name}");
        let found = derived(&secret, "ssh-privatekey");
        assert!(algorithm != "Ed25519" || found == line, "{name}");
        let applied: Value = serde_json::from_str(&secret.annotations()["keypairs.dev/applied"]).unwrap();
        assert_eq!(applied["encoding"], encoding, "{name}");
    }
    let clean = scene.secrets.get("clean").await.unwrap();
    assert_eq!(data(&clean, "ssh-privatekey"), private, "a correct entry should stay as it is, with its comment");
}

/// Covers Secrets of other tools and user errors.
#[tokio::test]
async fn a_refused_adoption_reports_its_reason() {
    let scene = STRICT.scene("adoption-words").await;
    let (private, line) = key("adoption-words");
    let (_, other_line) = key("adoption-other");
    let short = run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1536"], b"");
    let short = String::from_utf8(short).unwrap();
    let owner = json!({ "ownerReferences": [{
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "theirs", "uid": "1", "controller": true,
    }] });
    let entry = |public: &str| json!({ "ssh-privatekey": private, "ssh-publickey": public });
    let offers = [
        ("short", json!({}), json!({ "ssh-privatekey": short }), "the RSA private key has 1536 bits"),
        ("nothing", json!({}), json!({ "else": "x" }), "there is no such entry"),
        ("owned", owner, json!({ "ssh-privatekey": private }), "is owned by SealedSecret \"theirs\""),
        ("taken", json!({}), entry("theirs"), "entry \"ssh-publickey\""),
        ("anothers", json!({}), entry(&other_line), "entry \"ssh-publickey\""),
    ];
    for (name, metadata, entries, words) in offers {
        let before = offer(&scene, name, metadata, entries).await;
        let mut spec = ed25519();
        if name == "short" {
            spec["generate"] = json!({ "algorithm": "RSA" });
        }
        scene.create(name, &spec).await;
        let object = scene.settled(name, "False/SecretConflict").await;
        assert!(message(&object).contains(words), "{name}: {}", message(&object));
        assert_eq!(scene.secrets.get(name).await.unwrap(), before, "the operator changed {name}");
    }
    // An entry with the same public key stays as the owner wrote it.
    let same = format!("{line} me@home");
    offer(&scene, "same", json!({}), entry(&same)).await;
    scene.create("same", &ed25519()).await;
    scene.settled("same", "True/Generated").await;
    assert_eq!(data(&scene.secrets.get("same").await.unwrap(), "ssh-publickey"), same);
}

/// The key moves to the Secret in the spec; the adopted Secret stays with its owner.
#[tokio::test]
async fn a_rename_gives_an_adopted_secret_back() {
    let scene = STRICT.scene("adoption-rename").await;
    let (private, line) = key("adoption-rename");
    let entries = json!({ "ssh-privatekey": private, "password": "theirs", "taken": "theirs" });
    offer(&scene, "pair", json!({ "labels": { "team": "theirs" } }), entries).await;
    let mut spec = ed25519();
    spec["secret"]["template"] = json!({ "labels": { "new": "1" }, "stringData": { "url": "1" } });
    scene.create("pair", &spec).await;
    scene.settled("pair", "True/Generated").await;

    let keys_of = async |names: Value| scene.patch("pair", &json!({ "spec": { "secret": { "keys": names } } })).await;
    keys_of(json!({ "privateKey": "taken" })).await;
    let object = scene.settled("pair", "False/SecretConflict").await;
    assert!(message(&object).contains("entry \"taken\""), "{}", message(&object));
    assert_eq!(data(&scene.secrets.get("pair").await.unwrap(), "taken"), "theirs");
    keys_of(json!({ "privateKey": "id", "publicKey": "id.pub" })).await;
    scene.settled("pair", "True/Generated").await;
    let secret = scene.secrets.get("pair").await.unwrap();
    assert_eq!((derived(&secret, "id"), derived(&secret, "ssh-privatekey")), (line.clone(), line.clone()));
    assert_eq!(keys(&secret), ["id", "id.pub", "password", "ssh-privatekey", "taken", "url"]);
    keys_of(json!({ "privateKey": "id2", "publicKey": "id.pub" })).await;
    let is_moved = |secret: &Secret| keys(secret).contains(&"id2");
    let secret = secret_when(&scene, "pair", "the entry to be moved", is_moved).await;
    assert_eq!(keys(&secret), ["id.pub", "id2", "password", "ssh-privatekey", "taken", "url"]);

    scene.patch("pair", &json!({ "spec": { "secret": { "name": "moved" } } })).await;
    let object = scene.settled("pair", "True/Generated").await;
    assert_eq!(object["status"]["secretName"], "moved");
    let moved = scene.secrets.get("moved").await.unwrap();
    assert_eq!(derived(&moved, "id2"), line);
    assert_eq!(moved.owner_references().len(), 1, "the operator should own the Secret that it created");
    let left = scene.secrets.get("pair").await.unwrap();
    assert_eq!(keys(&left), ["password", "ssh-privatekey", "taken"]);
    assert_eq!(derived(&left, "ssh-privatekey"), line);
    assert_eq!(left.labels(), &BTreeMap::from([("team".to_owned(), "theirs".to_owned())]));
    assert!(left.annotations().is_empty(), "{:?}", left.annotations());
}

/// Only the KeyPair that the annotation names can adopt the Secret.
#[tokio::test]
async fn an_adopt_annotation_names_exactly_one_key_pair() {
    let scene = STRICT.scene("adoption-two").await;
    let (private, _) = key("adoption-two");
    offer(&scene, "shared", json!({}), json!({ "ssh-privatekey": private })).await;
    let mut spec = ed25519();
    spec["secret"]["name"] = json!("shared");
    annotate(&scene, "shared", json!("one,two")).await;
    let before = scene.secrets.get("shared").await.unwrap();
    for name in ["one", "two"] {
        scene.create(name, &spec).await;
        scene.settled(name, "False/SecretConflict").await;
    }
    assert_eq!(scene.secrets.get("shared").await.unwrap(), before);
    annotate(&scene, "shared", json!("two")).await;
    scene.settled("two", "True/Generated").await;
    // The Secret still belongs to its owner, who may offer it to another KeyPair.
    let entries = scene.secrets.get("shared").await.unwrap().data;
    annotate(&scene, "shared", json!("one")).await;
    scene.settled("one", "True/Generated").await;
    let object = scene.settled("two", "False/SecretConflict").await;
    assert!(!object["status"]["keyPairID"].is_null(), "the pair should stay accepted");
    assert_eq!(scene.secrets.get("shared").await.unwrap().data, entries);
    // This does not work if the deletion policy makes the KeyPair the owner.
    scene.patch("one", &json!({ "spec": { "secret": { "deletionPolicy": "Delete" } } })).await;
    secret_when(&scene, "shared", "the owner reference", |secret| secret.owner_references().len() == 1).await;
    annotate(&scene, "shared", json!("two")).await;
    let object = eventually(PATIENCE, "the owner to be named", async || {
        let object = serde_json::to_value(scene.key_pairs.get("two").await?)?;
        Ok(message(&object).contains("is owned by KeyPair \"one\"").then_some(object))
    });
    object.await.unwrap();
    scene.settled("one", "True/Generated").await;
}

/// The UID of a KeyPair on a Secret does not replace the consent of the controller that owns the Secret.
#[tokio::test]
async fn a_forged_uid_does_not_claim_another_controllers_secret() {
    let scene = STRICT.scene("adoption-forged").await;
    let (private, _) = key("adoption-forged");
    let spec = {
        let mut spec = ed25519();
        spec["secret"]["name"] = json!("theirs");
        spec
    };
    let secret = json!({
        "metadata": { "name": "theirs", "ownerReferences": [{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "2", "controller": true,
        }] },
        "stringData": { "ssh-privatekey": private },
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    // Create the owner, or the garbage collector could delete the Secret first.
    scene.kubectl(&["create", "configmap", "theirs"]);
    let uid = scene.kubectl(&["get", "configmap", "theirs", "-o", "jsonpath={.metadata.uid}"]);
    let mut secret = secret;
    secret.owner_references_mut()[0].uid = uid;
    scene.secrets.create(&PostParams::default(), &secret).await.unwrap();
    let object = scene.create("pair", &spec).await;
    scene.settled("pair", "False/SecretConflict").await;
    let forged = json!({ "metadata": { "annotations": {
        "keypairs.dev/keypair": "pair", "keypairs.dev/keypair-uid": object["metadata"]["uid"],
    } } });
    let before = scene.secrets.patch("theirs", &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.settled("pair", "False/SecretConflict").await;
    assert_eq!(scene.secrets.get("theirs").await.unwrap(), before);
}

/// The owner can change the Secret between the operator's read and its write; the operator adopts only what is still offered.
#[tokio::test]
async fn a_withdrawn_offer_is_not_adopted() {
    let scene = STRICT.scene("adoption-race").await;
    let (private, line) = key("adoption-race");
    for round in 0..12 {
        let name = format!("pair-{round}");
        offer(&scene, &name, json!({}), json!({ "ssh-privatekey": private, "note": "theirs" })).await;
        scene.create(&name, &ed25519()).await;
        if round % 3 == 0 {
            annotate(&scene, &name, Value::Null).await;
        } else if round % 3 == 1 {
            scene.secrets.delete(&name, &DeleteParams::default()).await.unwrap();
        } else {
            let patch = json!({ "stringData": { "note": "changed" } });
            scene.secrets.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    }
    for round in 0..12 {
        let name = format!("pair-{round}");
        // The adoption may happen before or after the change, so both results are valid.
        let object = eventually(PATIENCE, "an answer", async || {
            let object = serde_json::to_value(scene.key_pairs.get(&name).await?)?;
            Ok((!condition(&object, "Ready").is_null()).then_some(object))
        })
        .await
        .unwrap();
        let ready = condition(&object, "Ready");
        let secret = scene.secrets.get_opt(&name).await.unwrap();
        match (round % 3, text(&ready["reason"])) {
            (0, "SecretConflict") => {
                let secret = secret.unwrap();
                assert_eq!(data(&secret, "ssh-privatekey"), private);
                assert!(!secret.annotations().contains_key("keypairs.dev/keypair-uid"));
            }
            (0 | 2, "Generated") => {
                assert_eq!(derived(&secret.unwrap(), "ssh-privatekey"), line);
                assert!(text(&object["status"]["publicKey"]).starts_with(&line));
            }
            // If the Secret is deleted before the adoption, the operator generates a new key; if after, the key is lost.
            (1, "Generated" | "PrivateKeyLost" | "SecretConflict") => {}
            (_, reason) => panic!("{name}: {reason}"),
        }
        if round % 3 == 2 {
            let secret = scene.secrets.get(&name).await.unwrap();
            assert_eq!(data(&secret, "note"), "changed");
        }
    }
}
