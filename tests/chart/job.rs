//! Exercises all functions of the operator in one namespace, with few enough objects to check each of them.

use keypair_test_harness::{ControlPlane, eventually};
use serde_json::{Value, json};

use crate::support::TIMEOUT;

const PUBLIC_KEY: &str = include_str!("../vectors/public/rsa2048.pub");
/// Two bodies that the API server accepts and the operator refuses, for different reasons.
const BROKEN: [&str; 2] = ["ssh-rsa ????", "ssh-rsa AAAA"];

/// A namespace with work for the operator.
pub struct Job<'a> {
    pub plane: &'a ControlPlane,
    pub namespace: String,
}

impl<'a> Job<'a> {
    pub fn new(plane: &'a ControlPlane, namespace: &str) -> Self {
        plane.kubectl(&["create", "namespace", namespace]).unwrap().ok().unwrap();
        Self { plane, namespace: namespace.to_owned() }
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(&[args, &["-n", &self.namespace]].concat()).unwrap().ok().unwrap()
    }

    pub fn apply(&self, name: &str, spec: &Value) {
        self.apply_kind("KeyPair", name, spec);
    }

    fn apply_kind(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        });
        self.plane.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
    }

    /// Creates an imported pair, which is published, a generated pair, a refused pair, and a pair whose Secret already exists and is
    /// foreign.
    pub fn begin(&self) {
        self.kubectl(&["create", "secret", "generic", "foreign", "--from-literal=a=b"]);
        self.apply("imported", &json!({"publicKey": PUBLIC_KEY}));
        self.apply_kind("AuthorizedKeys", "logins", &json!({"entries": [{"keyPair": "imported"}]}));
        self.apply_kind("KnownHosts", "hosts", &json!({"entries": [{"hosts": ["a"], "keyPair": "imported"}]}));
        self.apply("generated", &json!({"profile": "OpenSSH", "generate": {"algorithm": "Ed25519"}}));
        self.apply("refused", &json!({"publicKey": BROKEN[0]}));
        self.apply(
            "conflict",
            &json!({"profile": "OpenSSH", "generate": {"algorithm": "Ed25519"}, "secret": {"name": "foreign"}}),
        );
    }

    /// Changes why the refused pair is refused: the new Event has the same reason but another note.
    pub fn refuse_again(&self) {
        self.apply("refused", &json!({"publicKey": BROKEN[1]}));
    }

    async fn wait_until_published(&self) {
        for publication in ["authorizedkeys/logins", "knownhosts/hosts"] {
            eventually(TIMEOUT, &format!("{publication} to be published"), async || {
                Ok((self.reason_of(publication) == "Published").then_some(()))
            })
            .await
            .unwrap();
        }
    }

    fn text(&self, config_map: &str) -> String {
        let path = r"-o=jsonpath={.data.authorized_keys}";
        self.kubectl(&["get", "configmap", config_map, "--ignore-not-found", path])
    }

    /// Changes a published text, without waiting until the operator puts it right.
    pub async fn tamper(&self) {
        self.wait_until_published().await;
        let patch = r#"{"data":{"authorized_keys":"tampered"}}"#;
        self.kubectl(&["patch", "configmap", "logins", "--type=merge", "-p", patch]);
    }

    /// Moves a published text to another ConfigMap, without waiting for it.
    pub async fn move_target(&self) {
        self.wait_until_published().await;
        let patch = r#"{"spec":{"target":{"configMap":{"name":"moved"}}}}"#;
        self.kubectl(&["patch", "authorizedkeys", "logins", "--type=merge", "-p", patch]);
    }

    /// Changes a published text, and then moves it.
    pub async fn tamper_and_move(&self) {
        self.tamper().await;
        let right = |text: String| text.starts_with("ssh-rsa ");
        eventually(TIMEOUT, "the text to be put right", async || Ok(right(self.text("logins")).then_some(())))
            .await
            .unwrap();
        self.move_target().await;
        eventually(TIMEOUT, "the text to move", async || {
            Ok((right(self.text("moved")) && self.text("logins").is_empty()).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Changes a label of the generated pair's Secret, then its name.
    pub async fn edit_and_move(&self) {
        let edits = [(r#"{"template":{"labels":{"team":"a"}}}"#, "generated"), (r#"{"name":"moved"}"#, "moved")];
        for (spec, name) in edits {
            let patch = format!(r#"{{"spec":{{"secret":{spec}}}}}"#);
            self.kubectl(&["patch", "keypair", "generated", "--type=merge", "-p", &patch]);
            eventually(TIMEOUT, "the Secret to follow", async || {
                let found = self.kubectl(&["get", "secret", "-l=team=a", "-o=name"]);
                Ok((found.trim() == format!("secret/{name}")).then_some(()))
            })
            .await
            .unwrap();
        }
    }

    /// Requests a move of the generated pair's Secret, without waiting for it.
    pub async fn move_it(&self) {
        self.wait_for_reason("generated", "Generated").await;
        let patch = r#"{"spec":{"secret":{"name":"moved"}}}"#;
        self.kubectl(&["patch", "keypair", "generated", "--type=merge", "-p", patch]);
    }

    /// Offers the foreign Secret, with a key, for adoption.
    pub fn hand_over(&self, private_key: &str) {
        let entry = format!("--from-literal=ssh-privatekey={private_key}");
        self.kubectl(&["create", "secret", "generic", "offered", "--type=kubernetes.io/ssh-auth", &entry]);
        self.kubectl(&["annotate", "secret", "offered", "keypairs.dev/adopt=adopting"]);
        self.apply("adopting", &json!({"secret": {"name": "offered"}}));
    }

    /// The reason of the Ready condition.
    pub fn reason(&self, name: &str) -> String {
        self.reason_of(&format!("keypair/{name}"))
    }

    fn reason_of(&self, object: &str) -> String {
        self.kubectl(&["get", object, r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#])
    }

    pub async fn wait_for_reason(&self, name: &str, reason: &str) {
        let what = format!("{name} to be {reason}");
        eventually(TIMEOUT, &what, async || Ok((self.reason(name) == reason).then_some(()))).await.unwrap();
    }

    pub fn notes(&self, name: &str) -> Vec<String> {
        let events: Value = serde_json::from_str(&self.kubectl(&["get", "events.events.k8s.io", "-o=json"])).unwrap();
        let events = events["items"].as_array().unwrap();
        events
            .iter()
            .filter(|event| event["regarding"]["name"] == name)
            .filter_map(|event| event["note"].as_str().map(str::to_owned))
            .collect()
    }

    /// Waits until the operator has handled all the work.
    pub async fn done(&self) {
        self.wait_for_reason("imported", "Imported").await;
        self.wait_until_published().await;
        self.wait_for_reason("generated", "Generated").await;
        self.wait_for_reason("refused", "InvalidPublicKey").await;
        self.wait_for_reason("conflict", "SecretConflict").await;
        let key = self.kubectl(&["get", "secret", "generated", "-o=jsonpath={.data.ssh-privatekey}"]);
        assert!(!key.is_empty(), "the Secret has no private key");
        eventually(TIMEOUT, "the Event of the refusal", async || Ok((!self.notes("refused").is_empty()).then_some(())))
            .await
            .unwrap();
    }
}
