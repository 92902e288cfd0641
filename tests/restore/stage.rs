//! A control plane whose etcd can be restored, and a history that contains a snapshot.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port, http_get};
use serde_json::{Value, json};
use tempfile::TempPath;

use crate::operator_account;

/// The time limit for everything, from the moment at which the API server is ready again.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The namespace that exists all the time, with a quota of three.
pub const SHOP: &str = "shop";
/// The namespace that is created after the snapshot.
pub const LATE: &str = "late";
/// The label of objects that are not sent to a webhook.
pub const UNASKED: &str = "example.com/unasked";
const SNAPSHOT: &str = "then";
/// Enough writes to take longer than a restart of the operator's watches, and to leave all resource versions of a history
/// behind.
const MANY: usize = 400;

/// A control plane with the CRD.
pub struct Stage {
    pub plane: ControlPlane,
    pub kubeconfig: TempPath,
}

/// The public key and the UID of the Secret, for each `KeyPair` that has them.
pub type Keys = BTreeMap<String, (String, String)>;

impl Stage {
    pub fn new(topic: &str, streams: bool) -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("restore-{topic}.crd.yaml"));
        fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
        let feature_gates = (!streams).then(|| "WatchList=false".to_owned());
        let options = Options { audit: true, crds: vec![crd], feature_gates, ..Options::default() };
        let plane = ControlPlane::start(&options).unwrap();
        let kubeconfig = operator_account::kubeconfig(&plane, true);
        let stage = Self { plane, kubeconfig };
        stage.namespace(SHOP);
        stage
    }

    /// Creates a namespace with a quota of three.
    pub fn namespace(&self, name: &str) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "annotations": { "keypairs.dev/quota": "3" } },
        }));
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    pub fn apply(&self, object: &Value) {
        self.plane.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
    }

    /// Creates a `KeyPair` with a generated key, without calling a webhook.
    pub fn generated(&self, namespace: &str, name: &str) {
        self.apply(&json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": name, "namespace": namespace, "labels": { UNASKED: "yes" } },
            "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
        }));
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.kubectl(&["delete", kind, name, "-n", namespace, "--timeout=60s"]);
    }

    fn get(&self, args: &[&str]) -> io::Result<Value> {
        let said = self.plane.kubectl(&[&["get", "-o=json"], args].concat()).map_err(io::Error::other)?;
        Ok(serde_json::from_str(&said.ok().map_err(io::Error::other)?)?)
    }

    /// Waits until these `KeyPair`s have these reasons.
    pub async fn settled(&self, begun: Instant, namespace: &str, expected: &[(&str, &str)]) {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        eventually(left, &format!("{expected:?} in {namespace}"), async || {
            let pairs = self.get(&["keypairs", "-n", namespace])?;
            let reasons: BTreeMap<&str, &str> = pairs["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|pair| (text(pair, "/metadata/name"), reason(pair)))
                .collect();
            if expected.iter().all(|(name, reason)| reasons.get(name) == Some(reason)) {
                return Ok(Some(()));
            }
            Err(io::Error::other(format!("found {reasons:?}")).into())
        })
        .await
        .unwrap();
        println!("{expected:?} in {namespace} after {:?}", begun.elapsed());
    }

    /// The keys of the generated pairs of a namespace, once each of them is in the Secret of its `KeyPair` and there is no
    /// other Secret.
    pub async fn keys(&self, namespace: &str) -> Keys {
        eventually(PATIENCE, "the Secrets to be those of the KeyPairs", async || {
            let (pairs, secrets) =
                (self.get(&["keypairs", "-n", namespace])?, self.get(&["secrets", "-n", namespace])?);
            let generated =
                |pair: &&Value| pair["spec"]["publicKey"].is_null() && !pair["status"]["keyPairID"].is_null();
            let promised: BTreeMap<String, (String, String)> = (pairs["items"].as_array().into_iter().flatten())
                .filter(generated)
                .map(|pair| {
                    let secret = text(pair, "/status/secretName").to_owned();
                    (
                        secret,
                        (text(pair, "/status/fingerprints/sha256").to_owned(), text(pair, "/metadata/uid").to_owned()),
                    )
                })
                .collect();
            let there: BTreeMap<String, (String, String)> = (secrets["items"].as_array().into_iter().flatten())
                .map(|secret| {
                    let sha256 =
                        secret["metadata"]["annotations"]["keypairs.dev/fingerprint"].as_str().unwrap_or_default();
                    let owner = text(secret, "/metadata/ownerReferences/0/uid").to_owned();
                    (text(secret, "/metadata/name").to_owned(), (sha256.to_owned(), owner))
                })
                .collect();
            if promised != there {
                return Err(io::Error::other(format!("the statuses promise {promised:?}, there are {there:?}")).into());
            }
            Ok(Some(
                (secrets["items"].as_array().into_iter().flatten())
                    .map(|secret| {
                        let key = text(secret, "/data/ssh-privatekey").to_owned();
                        (text(secret, "/metadata/name").to_owned(), (key, text(secret, "/metadata/uid").to_owned()))
                    })
                    .collect(),
            ))
        })
        .await
        .unwrap()
    }

    /// The state in the snapshot: two generated pairs and an import, which fill the quota, and a pair that waits.
    pub async fn before(&self) -> Keys {
        let begun = Instant::now();
        self.generated(SHOP, "stays");
        self.generated(SHOP, "deleted");
        self.apply(&json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "imported", "namespace": SHOP },
            "spec": { "profile": "OpenSSH", "publicKey": include_str!("../vectors/public/ed25519.pub") },
        }));
        let accepted = [("stays", "Generated"), ("deleted", "Generated"), ("imported", "Imported")];
        self.settled(begun, SHOP, &accepted).await;
        // Not in the same second, because then the order would depend on the names.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        self.generated(SHOP, "waits");
        self.settled(begun, SHOP, &[("waits", "QuotaExceeded")]).await;
        let keys = self.keys(SHOP).await;
        self.save();
        keys
    }

    pub fn save(&self) {
        self.plane.save_etcd(SNAPSHOT).unwrap();
    }

    /// Waits for a Secret, and returns its key and UID.
    pub async fn secret(&self, namespace: &str, name: &str) -> (String, String) {
        eventually(PATIENCE, &format!("the Secret {namespace}/{name}"), async || {
            let secret = self.get(&["secret", name, "-n", namespace])?;
            let key = text(&secret, "/data/ssh-privatekey").to_owned();
            Ok(Some((key, text(&secret, "/metadata/uid").to_owned())))
        })
        .await
        .unwrap()
    }

    /// The identifier of a `KeyPair`, if it has one.
    pub fn key_pair_id(&self, namespace: &str, name: &str) -> String {
        text(&self.get(&["keypair", name, "-n", namespace]).unwrap(), "/status/keyPairID").to_owned()
    }

    /// Changes after the snapshot, which the restore undoes.
    pub async fn after(&self) {
        let begun = Instant::now();
        self.delete("keypair", SHOP, "deleted");
        self.settled(begun, SHOP, &[("waits", "Generated")]).await;
        let moved = json!({ "spec": { "secret": { "name": "moved" } } }).to_string();
        self.kubectl(&["patch", "keypair", "stays", "-n", SHOP, "--type=merge", "-p", &moved]);
        self.namespace(LATE);
        self.generated(LATE, "late");
        self.settled(begun, LATE, &[("late", "Generated")]).await;
        eventually(PATIENCE, "the Secret to be moved", async || {
            let pair = self.get(&["keypair", "stays", "-n", SHOP])?;
            Ok((text(&pair, "/status/secretName") == "moved").then_some(()))
        })
        .await
        .unwrap();
        // A pair in the other history gets the same name.
        self.generated(SHOP, "fresh");
        self.settled(begun, SHOP, &[("fresh", "QuotaExceeded")]).await;
    }

    pub fn put_back(&self) -> Instant {
        self.plane.put_etcd_back(SNAPSHOT).unwrap();
        Instant::now()
    }

    /// Checks everything after the restore, within a minute of `begun`.
    pub async fn check(&self, begun: Instant, keys: &Keys) {
        let accepted = [("stays", "Generated"), ("deleted", "Generated"), ("imported", "Imported")];
        self.generated(SHOP, "fresh");
        self.settled(begun, SHOP, &accepted).await;
        // The operator knows it again, and does not mistake it for a version that it has already replaced.
        self.settled(begun, SHOP, &[("waits", "QuotaExceeded"), ("fresh", "QuotaExceeded")]).await;
        self.namespace(LATE);
        self.generated(LATE, "late");
        self.settled(begun, LATE, &[("late", "Generated")]).await;
        // The Secret may be a different object: a move due to the spec of the other history may have been in progress, and
        // is reverted.
        let texts = |keys: &Keys| -> Vec<(String, String)> {
            keys.iter().map(|(name, (key, _))| (name.clone(), key.clone())).collect()
        };
        assert_eq!(texts(&self.keys(SHOP).await), texts(keys), "the keys of the snapshot must be restored");

        // The pair that has waited longest is next: deleted pairs hold no slot.
        self.delete("keypair", SHOP, "imported");
        self.settled(begun, SHOP, &[("waits", "Generated"), ("fresh", "QuotaExceeded")]).await;
        assert_eq!(self.keys(SHOP).await.len(), 3);
        // The operator follows the Secrets, too.
        self.delete("secret", SHOP, "deleted");
        self.settled(begun, SHOP, &[("deleted", "PrivateKeyLost")]).await;
    }

    /// Writes many objects that do not concern the operator, so that resource versions increase.
    pub fn write_much(&self) {
        let objects: Vec<Value> = (0..MANY)
            .map(|number| {
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": format!("noise-{number}-") } })
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        self.plane.kubectl_with_input(&["create", "-f", "-"], &list).unwrap().ok().unwrap();
    }
}

/// An operator, and the address of its metrics.
pub struct Replica {
    pub operator: Operator,
    pub metrics: SocketAddr,
}

impl Replica {
    pub fn spawn(kubeconfig: &Path, args: &[String]) -> Self {
        // Another operator can be tested, such as one from before a fix.
        let binary = env::var_os("KEYPAIR_OPERATOR_BINARY").map(PathBuf::from);
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_keypair-operator").into());
        let metrics = local();
        let mut all = vec!["run".to_owned(), format!("--metrics-addr={metrics}")];
        all.extend(args.iter().cloned());
        let operator = Operator::spawn(&binary, kubeconfig, all, [("RUST_LOG", "info")]).unwrap();
        Self { operator, metrics }
    }

    pub async fn ready(&mut self) {
        self.operator.wait_for_http(self.metrics, "/readyz", PATIENCE).await.unwrap();
    }

    pub async fn leads(&self) -> bool {
        let metrics = http_get(self.metrics, "/metrics").await;
        metrics.is_ok_and(|answer| answer.body.lines().any(|line| line == "keypair_operator_leader 1"))
    }
}

/// A loopback address that was free a moment ago.
pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The reason of the Ready condition, if it is about the current spec.
fn reason(pair: &Value) -> &str {
    if pair["status"]["observedGeneration"] != pair["metadata"]["generation"] {
        return "";
    }
    let mut conditions = pair["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == "Ready").map_or("", |ready| text(ready, "/reason"))
}
