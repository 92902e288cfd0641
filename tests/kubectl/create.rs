//! `create`, and how its mistakes are told.

use std::{fs, path::Path, process::Command};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port};
use serde_json::{Value, json};

use crate::stage::{PATIENCE, STAGE, Said, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn create_waits_and_prints_the_public_key() {
    let scene = Scene::new("create").await;
    let said = scene.keypair(&["create", "login", "--wait"]);
    let shown = scene.get("keypair", "login");
    assert_eq!(said.clone().ok().trim_end(), shown["status"]["publicKey"].as_str().unwrap());
    for words in [
        "keypair.keypairs.dev/login created",
        "Waiting for the operator to provide the key pair",
        "keypair/login is Ready (Generated)",
    ] {
        assert!(said.err.contains(words), "{said:?}");
    }
    // The documented defaults.
    assert_eq!(shown["spec"], json!({ "profile": "Alibaba" }));
    assert_eq!([&shown["status"]["algorithm"], &shown["status"]["bits"]], [&json!("RSA"), &json!(2048)]);

    // As kubectl finds it, with its flags before and after.
    let args = [
        "keypair",
        "-n",
        &scene.namespace,
        "create",
        "deploy",
        "--profile=OpenSSH",
        "--algorithm=Ed25519",
        "--encoding=OpenSSH",
    ];
    let output = scene.run("kubectl", &args, "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "keypair.keypairs.dev/deploy created\n");
    let spec = scene.get("keypair", "deploy")["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" },
            "secret": { "encoding": "OpenSSH", "onLoss": "Report" },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn create_imports_a_file_or_standard_input() {
    let scene = Scene::new("import").await;
    let key = scene.temporary.path().join("key");
    let file = key.to_str().unwrap();
    scene.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "me@example.com", "-f", file], "");
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let path = format!("{file}.pub");
    assert_eq!(scene.ok(&["create", "ops", "--profile", "openssh", "--import", &path, "--wait"]), public);
    // The same key again: the operator may say so, but does not refuse it.
    let output = scene.run("kubectl-keypair", &["create", "two", "--profile=OpenSSH", "--import=-", "--wait"], &public);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), public);

    // A private key never leaves the machine.
    let private = fs::read_to_string(&key).unwrap();
    let said = scene.keypair(&["create", "oops", "--profile=OpenSSH", "--import", file]);
    said.failed(1, &["is a private key, and was not sent", ".pub"]);
    let needle = private.lines().nth(1).unwrap();
    assert!(!said.err.contains(needle));
    assert!(!scene.admin(&["get", "keypairs"]).contains("oops"));
    scene.keypair(&["create", "oops", "--import", "/no/such/file"]).failed(1, &["cannot read /no/such/file"]);
    scene.keypair(&["private", "ops"]).failed(1, &["imported public key", "not in the cluster"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_code_message_and_field() {
    let scene = Scene::new("refused").await;
    let key = scene.temporary.path().join("broken.pub");
    fs::write(&key, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDn").unwrap();
    for (args, words) in [
        (
            &["create", "1st"][..],
            &["InvalidKeyPairName.Malformed: Specified Key Pair name is not valid", "(spec.keyPairName)"][..],
        ),
        (
            &["create", "web", "--algorithm=Ed25519"],
            &["InvalidPublicKeyBody.Malformed", "RSA.", "(spec.generate.algorithm)"],
        ),
        (&["create", "web", "--bits=1234"], &["2048, 3072, 4096", "(spec.generate.bits)"]),
        (
            &["create", "web", "--encoding=SEC1"],
            &["InvalidSecret.Malformed", "use PKCS8 or OpenSSH", "(spec.secret.encoding)"],
        ),
        (&["create", "web", "--profile=UCloud", "--algorithm=RSA", "--bits=1"], &["230", "(spec.generate.bits)"]),
    ] {
        let said = scene.keypair(args);
        said.failed(1, words);
        assert!(said.err.starts_with("error: KeyPair \"") && said.err.contains("was refused: "), "{said:?}");
        assert!(!said.err.contains("Invalid value") && said.err.lines().count() == 1, "{said:?}");
    }
    // What only the operator finds in a manifest is found in a file before it is sent.
    let broken = key.to_str().unwrap();
    let said = scene.keypair(&["create", "broken", "--import", broken]);
    said.failed(1, &[broken, "was not sent: InvalidPublicKeyBody.Malformed: ", "copy it again", "spec.publicKey"]);
    let said = scene.keypair(&["create", "broken", "--profile=OpenSSH", "--import", "/dev/null"]);
    said.failed(1, &["/dev/null was not sent: "]);
    assert!(!scene.admin(&["get", "keypairs"]).contains("broken"));

    // What only the operator finds.
    scene.admin(&["create", "secret", "generic", "occupied"]);
    let said = scene.keypair(&["create", "occupied", "--wait"]);
    said.failed(1, &["KeyPair \"occupied\" is not Ready (SecretConflict"]);

    scene.ok(&["create", "taken", "--wait"]);
    scene.keypair(&["create", "taken"]).failed(1, &["KeyPair \"taken\" exists already", "choose another name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_and_objects_are_told() {
    let scene = Scene::with_role("viewer", "view").await;
    scene.keypair(&["create", "web"]).failed(1, &["you may not create keypairs in namespace", "role edit"]);
    scene
        .keypair(&["public", "web"])
        .failed(1, &["KeyPair \"web\" does not exist in namespace", "kubectl get keypairs -n"]);
    scene.apply_pair("web", &json!({}));
    scene.wait_ready("web");
    assert!(scene.ok(&["public", "web"]).starts_with("ssh-rsa "));
    scene.keypair(&["private", "web"]).failed(1, &["you may not get secrets in namespace", "can-i get secrets"]);
    scene
        .keypair(&["public", "web", "-n", "default"])
        .failed(1, &["you may not get keypairs in namespace \"default\""]);
    let editor = Scene::new("editor").await;
    editor.keypair(&["create", "web", "-n", "nowhere"]).failed(1, &["you may not create"]);
}

/// The webhook answers with the code and the HTTP status of the cloud, which must not be taken for those of Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_warnings_of_the_webhook_are_told() {
    let crds = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-webhook.crd.yaml");
    fs::write(&crds, app::crd_yaml().unwrap()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![crds], ..Options::default() }).unwrap();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let url = format!("https://{address}/");
    let args = ["run", "--webhook-addr", &address, "--webhook-url", &url];
    let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
    let _operator = Operator::spawn(binary, plane.kubeconfig(), args, [("NO_COLOR", "1")]).unwrap();
    let kubectl = |args: &[&str], object: &Value| plane.kubectl_with_input(args, &object.to_string()).unwrap();
    let pair = |name: &str, key_pair_name: &str| {
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name },
            "spec": { "profile": "Volcengine", "keyPairName": key_pair_name },
        })
    };
    kubectl(&["create", "-f", "-"], &pair("first", "web")).ok().unwrap();
    eventually(PATIENCE, "the webhook", async || {
        let tried = kubectl(&["create", "--dry-run=server", "-f", "-"], &pair("second", "web"));
        Ok((!tried.status.success()).then_some(()))
    })
    .await
    .unwrap();
    let keypair = |args: &[&str]| {
        let mut command = Command::new(STAGE.programs.join("kubectl-keypair"));
        command.env("KUBECONFIG", plane.kubeconfig()).env_remove("HTTPS_PROXY").env_remove("https_proxy");
        Said::from(command.args(args).output().unwrap())
    };
    let taken = keypair(&["create", "web", "--profile=Volcengine"]);
    taken.failed(
        1,
        &["KeyPair \"web\" was refused: InvalidKeyPairName.Conflict: ", "spec.keyPairName: another KeyPair"],
    );
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/public");
    let said = keypair(&["create", "old", "--import", vectors.join("dsa.pub").to_str().unwrap()]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "keypair.keypairs.dev/old created\n"), "{said:?}");
    assert!(said.err.starts_with("Warning: "), "{said:?}");
    plane.kubectl(&["annotate", "namespace", "default", "keypairs.dev/quota=0"]).unwrap().ok().unwrap();
    eventually(PATIENCE, "the quota", async || {
        let said = keypair(&["create", "more"]);
        // Until the operator has seen the annotation.
        plane.kubectl(&["delete", "keypair", "more", "--ignore-not-found"])?.ok()?;
        Ok(said.err.contains("was refused: QuotaExceed.KeyPair: ").then_some(()))
    })
    .await
    .unwrap();
}
