//! Applies each file of `examples/policies` to a real API server, and tries what it refuses and what it allows.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a panic fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Options, eventually, namespace};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGckSDNiTRG1fzRwLWt1tKuQer4/gxeCaN1HxNA2oLsP ops@example.com";
/// The label in the README.
const LABEL: &str = "example.com/key-pairs=generated-only";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn policies() -> PathBuf {
    root().join("examples/policies")
}

fn vector(name: &str) -> String {
    fs::read_to_string(root().join("tests/vectors/public").join(name)).unwrap()
}

struct Stage {
    plane: ControlPlane,
    namespace: String,
}

impl Stage {
    fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).unwrap().ok().unwrap()
    }

    /// Tries to create a KeyPair; the error is what kubectl prints.
    fn create(&self, spec: &Value) -> Result<(), String> {
        self.write("create", "tried", spec, true)
    }

    fn write(&self, verb: &str, name: &str, spec: &Value, dry: bool) -> Result<(), String> {
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        let dry = if dry { "--dry-run=server" } else { "--dry-run=none" };
        let output = self.plane.kubectl_with_input(&[verb, "-f", "-", dry], &object.to_string()).unwrap();
        if output.status.success() { Ok(()) } else { Err(output.stderr) }
    }

    /// Runs the checks while this file is applied.
    async fn with(&self, file: &str, refused: &Value, checks: impl AsyncFnOnce()) {
        // It exists before the policy.
        self.write("create", file.trim_end_matches(".yaml"), refused, false).unwrap();
        let path = policies().join(file).display().to_string();
        self.kubectl(&["apply", "--validate=strict", "-f", &path]);
        eventually(PATIENCE, &format!("{file} to be in force"), async || Ok(self.create(refused).err())).await.unwrap();
        checks().await;
        self.kubectl(&["delete", "-f", &path]);
        eventually(PATIENCE, &format!("{file} to be gone"), async || Ok(self.create(refused).ok())).await.unwrap();
    }

    #[track_caller]
    fn refuses(&self, spec: &Value, words: &str) {
        let said = self.create(spec).unwrap_err();
        assert!(said.contains("ValidatingAdmissionPolicy") && said.contains(words), "{spec}: {said}");
    }

    #[track_caller]
    fn allows(&self, spec: &Value) {
        self.create(spec).unwrap_or_else(|said| panic!("{spec}: {said}"));
    }

    /// A KeyPair from before the policy can be edited, unless the edit concerns the policy.
    #[track_caller]
    fn leaves_older_ones_alone(&self, name: &str, spec: &Value) {
        let object = format!("keypair/{name}");
        self.kubectl(&["-n", &self.namespace, "annotate", &object, "keypairs.dev/rotate=now"]);
        let mut edited = spec.clone();
        edited["description"] = json!("Of before the policy");
        self.write("replace", name, &edited, false).unwrap();
    }
}

fn generate(algorithm: &str, bits: Option<u32>) -> Value {
    let mut generate = json!({ "algorithm": algorithm });
    if let Some(bits) = bits {
        generate["bits"] = json!(bits);
    }
    json!({ "profile": "OpenSSH", "generate": generate })
}

fn import(key: &str) -> Value {
    json!({ "profile": "OpenSSH", "publicKey": key })
}

/// One after the other, because each applies to the whole cluster.
#[tokio::test]
async fn every_policy_refuses_what_it_says_and_nothing_else() {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-policies.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
    let namespace = namespace(&plane.client().await.unwrap(), "policies").await.unwrap();
    let stage = Stage { plane, namespace };
    let files: BTreeSet<String> = fs::read_dir(policies())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        files.iter().map(String::as_str).collect::<Vec<_>>(),
        ["key-kinds.yaml", "no-imports.yaml", "no-templates.yaml", "rotation-required.yaml"]
    );
    key_kinds(&stage).await;
    no_imports(&stage).await;
    no_templates(&stage).await;
    rotation_required(&stage).await;
    in_some_namespaces(&stage).await;
}

async fn key_kinds(stage: &Stage) {
    stage
        .with("key-kinds.yaml", &json!({}), async || {
            for spec in [
                generate("Ed25519", None),
                generate("Ed25519", Some(256)),
                generate("ECDSA", None),
                generate("ECDSA", Some(521)),
                generate("RSA", Some(3072)),
                generate("RSA", Some(4096)),
                import(ED25519),
                import(&vector("ecdsa384.pub")),
            ] {
                stage.allows(&spec);
            }
            let words = "This cluster does not allow RSA keys of 2048 bits: set spec.generate";
            for spec in [json!({}), json!({ "generate": {} }), generate("RSA", None), generate("RSA", Some(2048))] {
                stage.refuses(&spec, words);
            }
            for key in [vector("rsa2048.pub"), vector("rsa3070.pub"), format!(" {ED25519}")] {
                stage.refuses(&import(&key), "ssh-ed25519, ecdsa-sha2-nistp256");
            }
            stage.leaves_older_ones_alone("key-kinds", &json!({ "profile": "Alibaba" }));
        })
        .await;
}

async fn no_imports(stage: &Stage) {
    stage
        .with("no-imports.yaml", &import(ED25519), async || {
            stage.allows(&json!({}));
            stage.allows(&generate("Ed25519", None));
            stage.refuses(&import(ED25519), "does not allow imports: omit spec.publicKey");
            stage.refuses(&import(&vector("rsa2048.pub")), "does not allow imports");
            stage.leaves_older_ones_alone("no-imports", &import(ED25519));
        })
        .await;
}

async fn no_templates(stage: &Stage) {
    let with = |template: Value| json!({ "secret": { "template": template } });
    stage
        .with("no-templates.yaml", &with(json!({ "type": "Opaque" })), async || {
            stage.allows(&json!({}));
            stage
                .allows(&json!({ "secret": { "name": "other", "encoding": "PKCS1", "keys": { "publicKey": "pub" } } }));
            for template in [json!({}), json!({ "labels": { "a": "b" } }), json!({ "stringData": { "a": "b" } })] {
                stage.refuses(&with(template), "does not allow spec.secret.template: omit it");
            }
            stage.leaves_older_ones_alone("no-templates", &with(json!({ "type": "Opaque" })));
        })
        .await;
}

async fn rotation_required(stage: &Stage) {
    let every = |every: &str| json!({ "rotation": { "every": every } });
    stage
        .with("rotation-required.yaml", &json!({}), async || {
            for allowed in ["24h", "720h", "2160h"] {
                stage.allows(&every(allowed));
            }
            stage.allows(&import(ED25519));
            for spec in [json!({}), json!({ "rotation": {} }), json!({ "rotation": { "keepAfter": "1h" } })] {
                stage.refuses(&spec, "set spec.rotation.every, for example to 2160h");
            }
            for long in ["2161h", "8760h"] {
                stage.refuses(&every(long), "lower spec.rotation.every");
            }
            let gated = json!({ "rotation": { "every": "720h", "gates": ["example.com/registered"] } });
            stage.refuses(&gated, "omit spec.rotation.gates");
            stage.leaves_older_ones_alone("rotation-required", &json!({ "profile": "Alibaba" }));
            // Whoever has a rotation cannot take it away.
            stage.write("create", "rotated", &every("720h"), false).unwrap();
            assert!(stage.write("replace", "rotated", &json!({}), true).unwrap_err().contains("requires a rotation"));
        })
        .await;
}

/// With the binding of the README, only the namespaces with the label are affected.
async fn in_some_namespaces(stage: &Stage) {
    let readme = fs::read_to_string(policies().join("README.md")).unwrap();
    let binding = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let path = policies().join("no-imports.yaml").display().to_string();
    stage.kubectl(&["apply", "-f", &path]);
    stage.plane.kubectl_with_input(&["apply", "--validate=strict", "-f", "-"], binding).unwrap().ok().unwrap();
    eventually(PATIENCE, "the binding to select no namespace", async || Ok(stage.create(&import(ED25519)).ok()))
        .await
        .unwrap();
    stage.kubectl(&["label", "namespace", &stage.namespace, LABEL]);
    eventually(PATIENCE, "the binding to select the namespace", async || Ok(stage.create(&import(ED25519)).err()))
        .await
        .unwrap();
}
