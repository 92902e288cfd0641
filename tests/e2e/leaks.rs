//! No byte of a private key appears outside its Secret, whether a user pasted the key into a wrong field or the operator generated
//! or read it.

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::{eventually, free_port, http_get};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{
    expected::PROFILES,
    needles::Needles,
    support::{Directory, PATIENCE, QUIET, STRICT, STRIPPED, Scene, condition, data, text, vector},
    tools::{path, run},
};

/// A private key that a user may have.
struct Private {
    form: &'static str,
    text: String,
    /// The public part of the text: the OpenSSH line of the public key, or empty.
    public: String,
}

/// New private keys in every form, whose bytes appear nowhere else.
fn private_keys() -> Vec<Private> {
    let dir = Directory::new("leaks");
    let openssl = |args: &[&str], input: &str| String::from_utf8(run("openssl", args, input.as_bytes())).unwrap();
    let rsa = || openssl(&["genpkey", "-quiet", "-algorithm", "RSA"], "");
    let ed25519 = || openssl(&["genpkey", "-algorithm", "ED25519"], "");
    let ec = |curve: &str| openssl(&["ecparam", "-name", curve, "-genkey", "-noout"], "");
    let random = |bytes: &str| openssl(&["rand", "-base64", bytes], "");
    let url_safe = |bytes: &str| random(bytes).trim_end().replace('+', "-").replace('/', "_").replace('=', "");
    let ppk = format!(
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: mine\nPublic-Lines: 2\n{}Private-Lines: 1\n{}\
         Private-MAC: {}",
        random("54"),
        random("36"),
        random("32")
    );
    let known = vector("public/ecdsa256.pub").trim_end().to_owned();
    let mut keys: Vec<Private> = [
        ("pkcs8", rsa()),
        ("pkcs8-crlf", rsa().replace('\n', "\r\n")),
        ("pkcs1", openssl(&["rsa", "-traditional"], &rsa())),
        ("sec1", ec("prime256v1")),
        ("ed25519-pkcs8", ed25519()),
        ("encrypted-pkcs8", openssl(&["pkcs8", "-topk8", "-passout", "pass:secret"], &ec("prime256v1"))),
        ("ppk", ppk),
        ("der-rsa", body(&rsa())),
        ("der-ed25519", body(&ed25519())),
        ("der-sec1", body(&ec("secp384r1"))),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "d": url_safe("32"), "x": url_safe("32") }).to_string()),
    ]
    .into_iter()
    .map(|(form, text)| Private { form, text, public: String::new() })
    .collect();
    keys.push(Private { form: "comment", text: format!("{known} {}", body(&rsa())), public: known });
    for (form, key_type, passphrase) in
        [("openssh-rsa", "rsa", ""), ("openssh-ed25519", "ed25519", ""), ("openssh-encrypted", "ecdsa", "secret")]
    {
        let file = dir.0.join(form);
        run("ssh-keygen", &["-q", "-C", "", "-t", key_type, "-N", passphrase, "-f", path(&file)], b"");
        let read = |file: &std::path::Path| std::fs::read_to_string(file).unwrap();
        keys.push(Private { form, text: read(&file), public: read(&file.with_extension("pub")) });
    }
    keys
}

/// The base64 of a PEM block on one line.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

/// Specs with `private` in each text field.
fn pasted(profile: &str, private: &str) -> Vec<(&'static str, Value)> {
    let import = |field: &str, value: Value| {
        let mut spec = json!({ "profile": profile, "publicKey": vector("public/rsa2048.pub") });
        spec[field] = value;
        spec
    };
    let template = |template: Value| json!({ "profile": profile, "secret": { "template": template } });
    vec![
        ("key", import("publicKey", json!(private))),
        ("twice", import("publicKey", json!(format!("{}\n{private}", vector("public/rsa2048.pub").trim_end())))),
        ("description", import("description", json!(private))),
        ("name", import("keyPairName", json!(private))),
        ("token", import("clientToken", json!(private))),
        ("project", import("project", json!(private))),
        ("tag-key", import("tags", json!([{ "key": private, "value": "v" }]))),
        ("tag-value", import("tags", json!([{ "key": "k", "value": private }]))),
        ("secret-name", json!({ "profile": profile, "secret": { "name": private } })),
        ("secret-keys", json!({ "profile": profile, "secret": { "keys": { "publicKey": private } } })),
        ("secret-type", template(json!({ "type": private }))),
        ("label", template(json!({ "labels": { "a": private } }))),
        ("label-key", template(json!({ "labels": { private: "a" } }))),
        ("annotation-key", template(json!({ "annotations": { private: "a" } }))),
        ("data-key", template(json!({ "stringData": { private: "a" } }))),
    ]
}

/// Creates the objects that the API server accepts, waits until all have a status and returns the names of those that are Ready.
async fn judged(scene: &Scene, specs: Vec<(String, Value)>) -> Vec<String> {
    let mut created = 0;
    for (name, spec) in specs {
        match scene.try_create(&name, &spec).await {
            Ok(_) => created += 1,
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    eventually(PATIENCE * 2, "every KeyPair to be judged", async || {
        let list = scene.list("keypairs");
        let judged = |object: &&Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((list.iter().filter(judged).count() == created && list.len() == created).then_some(()))
    })
    .await
    .unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    let list = scene.list("keypairs");
    list.iter().filter(|object| ready(object)).map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

/// Everything that the operator publishes about a namespace.
async fn told(scene: &Scene) -> Vec<(String, String)> {
    let mut told = Vec::new();
    for object in scene.list("keypairs") {
        told.push((format!("the status of {}", object["metadata"]["name"]), object["status"].to_string()));
    }
    for kind in ["events", "events.events.k8s.io"] {
        told.extend(scene.list(kind).iter().map(|event| (format!("an Event ({kind})"), event.to_string())));
    }
    told.push(("the shared operator's log".to_owned(), scene.stage.log()));
    told.push(("the shared operator's metrics".to_owned(), scene.stage.metrics().await));
    told
}

fn check(told: &[(String, String)], keys: &Needles) {
    let leaks: Vec<String> = told
        .iter()
        .filter_map(|(place, said)| Some(format!("a private key ({}) leaks into {place}", keys.in_text(said)?)))
        .collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

async fn pasted_keys_leak_nowhere(scene: &Scene) {
    let mut specs = Vec::new();
    let mut keys = Needles::default();
    for (number, Private { form, text, public }) in private_keys().into_iter().enumerate() {
        for (profile_number, profile) in PROFILES.iter().copied().enumerate() {
            for (field, spec) in pasted(profile, &text) {
                // These two fields depend on the profile, so test them with all profiles; the other fields alternate between profiles.
                if ["key", "name"].contains(&field) || number % PROFILES.len() == profile_number {
                    specs.push((format!("{field}-{form}-{}", profile.to_lowercase()), spec));
                }
            }
        }
        keys.add_without(form, &text, &public);
    }
    let ready = judged(scene, specs).await;
    let taken: Vec<_> = ready.iter().filter(|name| name.starts_with("key-") || name.starts_with("twice-")).collect();
    assert!(taken.is_empty(), "accepted as public keys: {taken:?}");
    check(&told(scene).await, &keys);
}

#[tokio::test]
async fn pasted_private_keys_do_not_leak_with_crd_rules() {
    pasted_keys_leak_nowhere(&STRICT.scene("leaks-strict").await).await;
}

/// This operator logs in JSON, at the most detailed level.
#[tokio::test]
async fn pasted_private_keys_do_not_leak_without_crd_rules() {
    pasted_keys_leak_nowhere(&STRIPPED.scene("leaks-stripped").await).await;
}

/// Covers keys that were generated, adopted, damaged or found in a foreign Secret.
#[tokio::test]
async fn private_keys_that_the_operator_handles_do_not_leak() {
    for format in ["text", "json"] {
        let scene = QUIET.scene("leaks-handled").await;
        let mut keys = prepared(&scene).await;
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let args = ["--namespace", &scene.namespace, "--log-format", format, "--metrics-addr", &address];
        let operator = QUIET.spawn(&args, "debug");
        let kinds = [("RSA", "PKCS1"), ("RSA", "PKCS8"), ("ECDSA", "SEC1"), ("ECDSA", "OpenSSH"), ("Ed25519", "PKCS8")];
        for (algorithm, encoding) in kinds {
            let name = format!("{algorithm}-{encoding}").to_lowercase();
            let spec = json!({
                "profile": "OpenSSH", "generate": { "algorithm": algorithm }, "secret": { "encoding": encoding },
            });
            scene.create(&name, &spec).await;
            let object = scene.settled(&name, "True/Generated").await;
            let private = data(&scene.secrets.get(&name).await.unwrap(), "ssh-privatekey");
            keys.add_without(&name, &private, text(&object["status"]["publicKey"]));
        }
        scene.settled("adopted", "True/Generated").await;
        scene.settled("foreign", "False/SecretConflict").await;
        scene.settled("damaged", "False/PrivateKeyMismatch").await;
        let mut told = Vec::new();
        for object in scene.list("keypairs") {
            told.push((format!("the status of {}", object["metadata"]["name"]), object["status"].to_string()));
        }
        told.extend(scene.list("events").iter().map(|event| ("an Event".to_owned(), event.to_string())));
        told.push((format!("the log ({format})"), operator.log().unwrap()));
        let metrics = http_get(address.parse().unwrap(), "/metrics").await.unwrap();
        assert_eq!(metrics.status, 200);
        told.push(("the metrics".to_owned(), metrics.body));
        check(&told, &keys);
    }
}

/// The text that the policy puts before the quoted key.
const QUOTE: &str = "it holds ";

/// A policy that refuses these writes of Secrets in a namespace and quotes their private key, as policy engines may do.
fn quoting_policy(namespace: &str, operation: &str, reason: &str) -> String {
    let name = format!("{namespace}-{}-{}", operation.to_lowercase(), reason.to_lowercase());
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["secrets"],
            }] },
            "validations": [{
                "expression": "!('ssh-privatekey' in object.data)",
                "messageExpression": format!("'{QUOTE}' + string(object.data['ssh-privatekey']).replace('\\n', ' ')"),
                "reason": reason,
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } },
        },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [policy, binding] }).to_string()
}

/// Covers a refused create, its dry run, and a patch, each with 403 and with 422.
#[tokio::test]
async fn private_keys_quoted_by_policies_do_not_leak() {
    // The value that the policy quotes, as text or base64.
    const KEY: &str = "quoted";
    const SEEN: [&str; 2] = [KEY, "cXVvdGVk"];
    for (reason, code) in [("Forbidden", "403"), ("Invalid", "422")] {
        let scene = QUIET.scene("leaks-quoted").await;
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let args = ["--namespace", &scene.namespace, "--metrics-addr", &address];
        let operator = QUIET.spawn(&args, "trace");
        let spec = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } });
        scene.create("patched", &spec).await;
        let object = scene.settled("patched", "True/Generated").await;
        let mut keys = Needles::default();
        let private = data(&scene.secrets.get("patched").await.unwrap(), "ssh-privatekey");
        keys.add_without("patched", &private, text(&object["status"]["publicKey"]));

        for operation in ["CREATE", "UPDATE"] {
            let policy = quoting_policy(&scene.namespace, operation, reason);
            scene.stage.plane.kubectl_with_input(&["apply", "-f", "-"], &policy).unwrap().ok().unwrap();
        }
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "probe" }, "stringData": {
            "ssh-privatekey": KEY,
        } });
        eventually(PATIENCE, "the policies to quote", async || {
            let created = scene.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &secret.to_string()).stderr;
            let updated = scene.try_kubectl(&["label", "--dry-run=server", "secret", "patched", "probe=1"], "").stderr;
            let quotes = SEEN.iter().any(|seen| created.contains(&format!("{QUOTE}{seen}"))) && updated.contains(QUOTE);
            Ok(quotes.then_some(()))
        })
        .await
        .unwrap();

        scene.create("created", &spec).await;
        scene.patch("patched", &json!({ "spec": { "secret": { "template": { "labels": { "a": "b" } } } } })).await;
        let refused = if reason == "Forbidden" { "False/InternalError" } else { "False/InvalidSecret" };
        for (name, operation) in [("created", "create"), ("patched", "update")] {
            let object = scene.settled(name, refused).await;
            let message = text(&condition(&object, "Ready")["message"]).to_owned();
            let policy = format!("{}-{operation}-{}", scene.namespace, reason.to_lowercase());
            assert!(
                message.contains(&policy) && message.contains(code),
                "the message does not name the policy that refused {name}: {message}"
            );
        }
        // After a refusal, the operator does a dry run before it generates another key.
        scene.patch("created", &json!({ "spec": { "secret": { "template": { "labels": { "a": "b" } } } } })).await;
        scene.settled("created", refused).await;

        let mut told = vec![("the log".to_owned(), operator.log().unwrap())];
        for object in scene.list("keypairs") {
            told.push((format!("the status of {}", object["metadata"]["name"]), object["status"].to_string()));
        }
        for kind in ["events", "events.events.k8s.io"] {
            told.extend(scene.list(kind).iter().map(|event| (format!("an Event ({kind})"), event.to_string())));
        }
        told.push(("the metrics".to_owned(), http_get(address.parse().unwrap(), "/metrics").await.unwrap().body));
        check(&told, &keys);
        for (place, said) in &told {
            assert!(!said.contains(QUOTE), "the policy's message with the key appears in {place}");
        }
    }
}

/// Creates KeyPairs and Secrets before the operator starts.
async fn prepared(scene: &Scene) -> Needles {
    let mut keys = Needles::default();
    for name in ["adopted", "foreign", "damaged"] {
        let object = scene.create(name, &json!({})).await;
        let private = String::from_utf8(run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA"], b"")).unwrap();
        let public = run("openssl", &["pkey", "-pubout"], private.as_bytes());
        keys.add_without(name, &private, &to_line(&public));
        let content = if name == "damaged" { private.replacen("\nMII", "\nMIJ", 1) } else { private };
        let mut secret = json!({ "metadata": { "name": name }, "stringData": { "ssh-privatekey": content } });
        if name != "foreign" {
            secret["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": name, "uid": object["metadata"]["uid"],
            }]);
        }
        let secret: Secret = serde_json::from_value(secret).unwrap();
        scene.secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
    keys
}

/// An SPKI block as an OpenSSH line.
fn to_line(spki: &[u8]) -> String {
    let dir = Directory::new("spki");
    let file = dir.write("spki", spki);
    String::from_utf8(run("ssh-keygen", &["-i", "-m", "PKCS8", "-f", path(&file)], b"")).unwrap()
}
