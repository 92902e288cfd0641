//! Two control planes with the operator, with and without policies, and the users of their namespaces.

use std::{fs, path::Path, sync::LazyLock, time::Duration};

use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, namespace};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::release::Release;

pub const PATIENCE: Duration = Duration::from_secs(120);
const CREATE: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
/// The release whose operator runs.
const RUNNING: &str = "keypair-operator";
/// A release that is only installed, so that its service account can get more permissions than the chart grants.
const IDENTITY: &str = "fenced";

pub static WITH: LazyLock<Stage> = LazyLock::new(|| Stage::new("with", true));
pub static WITHOUT: LazyLock<Stage> = LazyLock::new(|| Stage::new("without", false));

pub struct Stage {
    pub plane: ControlPlane,
    pub has_policies: bool,
    /// The kubeconfig with the token of the service account of [`IDENTITY`].
    token: Box<dyn AsRef<Path> + Send + Sync>,
    _operator: Operator,
    _kubeconfig: Box<dyn AsRef<Path> + Send + Sync>,
}

/// The response of the API server.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn admitted(self) -> Value {
        assert!((200..300).contains(&self.status), "refused: {}", self.body);
        self.body
    }

    /// Asserts that a policy whose name has this suffix refused the request with these words. What both releases demand, the
    /// policy of either can report.
    #[track_caller]
    pub fn refused_by(&self, policy: &str, words: &[&str]) {
        assert_eq!(self.status, 403, "{}", self.body);
        assert_eq!(self.body["reason"], "Forbidden");
        let said =
            self.message().split_once("ValidatingAdmissionPolicy '").and_then(|(_, said)| said.split_once("' with "));
        let (name, said) = said.unwrap_or_else(|| panic!("no policy: {}", self.body));
        assert!(name.ends_with(policy), "not {policy}: {}", self.body);
        for word in words {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
        }
    }
}

/// A user with a client.
#[derive(Clone)]
pub struct User {
    pub name: String,
    client: Client,
}

impl User {
    pub async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content);
        let request = request.body(Body::from(body.to_string().into_bytes())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, CREATE, &Value::Null).await
    }

    pub async fn create(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::POST, path, CREATE, object).await
    }

    pub async fn replace(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::PUT, path, CREATE, object).await
    }

    pub async fn merge(&self, path: &str, edit: &Value) -> Answer {
        self.send(Method::PATCH, path, MERGE, edit).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, CREATE, &json!({})).await
    }
}

impl Stage {
    fn new(topic: &str, has_policies: bool) -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("policy-{topic}.crd.yaml"));
        fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
        let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
        let switch = format!("admissionPolicies.enabled={has_policies}");
        // With the chart's defaults if there are policies, to show that they are enabled by default.
        let flags = if has_policies {
            &["--set", "crds.install=false"][..]
        } else {
            &["--set", "crds.install=false", "--set", &switch]
        };
        let release = Release::install(&plane, RUNNING, flags);
        let (operator, _, kubeconfig) = release.run();
        // It watches only a namespace in which its webhook is never called.
        let more = ["--set", "webhook.enabled=true", "--set", "watchNamespaces={fenced-system}"];
        let identity = Release::install(&plane, IDENTITY, &[flags, &more].concat());
        let token = Box::new(identity.kubeconfig());
        let account = identity.user().replace("system:serviceaccount:", "");
        let account = format!("--serviceaccount={account}");
        plane
            .kubectl(&["create", "clusterrolebinding", "fenced-admin", "--clusterrole=cluster-admin", &account])
            .unwrap()
            .ok()
            .unwrap();
        Self { plane, has_policies, token, _operator: operator, _kubeconfig: Box::new(kubeconfig) }
    }

    async fn client(&self, kubeconfig: &Path, user: Option<&str>) -> Client {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.proxy_url = None;
        config.auth_info.impersonate = user.map(str::to_owned);
        Client::try_from(config).unwrap()
    }

    /// The holder of an operator's token, with all permissions in RBAC.
    pub async fn thief(&self) -> User {
        let name = "system:serviceaccount:fenced-system:fenced-keypair-operator".to_owned();
        User { name, client: self.client((*self.token).as_ref(), None).await }
    }

    /// A service account with all permissions in RBAC.
    pub async fn account(&self, namespace: &str, name: &str) -> User {
        let kubectl = |args: &[&str]| self.plane.kubectl(args).unwrap().ok().unwrap();
        kubectl(&["create", "serviceaccount", name, "-n", namespace]);
        let account = format!("--serviceaccount={namespace}:{name}");
        kubectl(&["create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin", &account]);
        let kubeconfig = self.plane.service_account_kubeconfig(namespace, name).unwrap();
        User { name: format!("system:serviceaccount:{namespace}:{name}"), client: self.client(&kubeconfig, None).await }
    }

    /// A namespace, once all policies are in force.
    pub async fn scene(&'static self, topic: &str) -> Scene {
        let client = self.client(self.plane.kubeconfig(), None).await;
        let admin = User { name: "admin".to_owned(), client: client.clone() };
        let namespace = namespace(&client, topic).await.unwrap();
        let scene = Scene { stage: self, namespace, admin };
        if self.has_policies {
            let tenant = scene.user("probe", &[publications(&["create"]), keypairs(&["create"])]).await;
            let published = json!({
                "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "metadata": { "name": "probe" }, "spec": {},
            });
            let publish = format!("{}?dryRun=All", scene.publications("authorizedkeys", ""));
            let probe = pair("probe", &json!({ "secret": { "name": "other" } }));
            let path = format!("{}?dryRun=All", scene.pairs(""));
            let thief = self.thief().await;
            // One probe for each policy, because they come into force one by one.
            let about = json!({ "kind": "Pod", "apiVersion": "v1", "name": "a", "namespace": scene.namespace });
            let event = json!({
                "metadata": { "name": "probe" }, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Probe",
                "action": "Probe", "reportingController": "a", "reportingInstance": "a", "regarding": about,
            });
            let named = json!({ "metadata": { "name": "probe" } });
            let namespaced = |api: &str, plural: &str| format!("/{api}/namespaces/{}/{plural}", scene.namespace);
            let probes = [
                (scene.secrets(""), secret("probe", "Opaque", &json!({}))),
                (namespaced("api/v1", "configmaps"), named.clone()),
                (namespaced("apis/coordination.k8s.io/v1", "leases"), named.clone()),
                (namespaced("apis/events.k8s.io/v1", "events"), event),
                ("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned(), named),
            ];
            eventually(PATIENCE, "the policies to be in force", async || {
                let mut are_refused = tenant.create(&path, &probe).await.status == 403;
                are_refused &= tenant.create(&publish, &published).await.status == 403;
                for (path, object) in &probes {
                    are_refused &= thief.create(&format!("{path}?dryRun=All"), object).await.status == 403;
                }
                Ok(are_refused.then_some(()))
            })
            .await
            .unwrap();
        }
        scene
    }
}

/// A namespace of a control plane.
pub struct Scene {
    pub stage: &'static Stage,
    pub namespace: String,
    pub admin: User,
}

impl Scene {
    /// The path of a KeyPair, or of all if the name is empty.
    pub fn pairs(&self, name: &str) -> String {
        let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/{}/keypairs/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    /// The path of an AuthorizedKeys or KnownHosts, or of all if the name is empty.
    pub fn publications(&self, plural: &str, name: &str) -> String {
        let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/{}/{plural}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    /// The path of a Secret, or of all if the name is empty.
    pub fn secrets(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/secrets/{name}", self.namespace).trim_end_matches('/').to_owned()
    }

    /// A user with these permissions in this namespace and no others, once they are in force.
    pub async fn user(&self, name: &str, rules: &[Value]) -> User {
        let user = format!("{name}-of-{}", self.namespace);
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.namespace);
        let role = json!({ "metadata": { "name": name }, "rules": rules });
        self.admin.create(&format!("{rbac}/roles"), &role).await.admitted();
        self.bind(&user, name, "Role", &rules.last().unwrap().clone()).await
    }

    /// A user with the ClusterRole `edit`.
    pub async fn editor(&self) -> User {
        let user = format!("editor-of-{}", self.namespace);
        self.bind(&user, "edit", "ClusterRole", &keypairs(&["create", "update"])).await
    }

    async fn bind(&self, user: &str, role: &str, kind: &str, right: &Value) -> User {
        let group = "rbac.authorization.k8s.io";
        let path = format!("/apis/{group}/v1/namespaces/{}/rolebindings", self.namespace);
        let binding = json!({
            "metadata": { "name": role },
            "roleRef": { "apiGroup": group, "kind": kind, "name": role },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": user }],
        });
        self.admin.create(&path, &binding).await.admitted();
        let review = json!({ "spec": { "user": user, "resourceAttributes": {
            "namespace": self.namespace, "group": right["apiGroups"][0], "resource": right["resources"][0],
            "verb": right["verbs"][0], "name": right["resourceNames"][0],
        } } });
        eventually(PATIENCE, "the rights to count", async || {
            let answer = self.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
            Ok((answer.admitted()["status"]["allowed"] == true).then_some(()))
        })
        .await
        .unwrap();
        let client = self.stage.client(self.stage.plane.kubeconfig(), Some(user)).await;
        User { name: user.to_owned(), client }
    }

    /// Waits until the KeyPair is accepted and up to date, and returns it.
    pub async fn accepted(&self, name: &str) -> Value {
        eventually(PATIENCE, &format!("{name} to be accepted"), async || {
            let object = self.admin.get(&self.pairs(name)).await.admitted();
            let is_current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let is_ready = object["status"]["error"].is_null() && object["status"]["keyPairID"].is_string();
            Ok((is_current && is_ready).then_some(object))
        })
        .await
        .unwrap()
    }

    /// Waits for a Secret, and returns it.
    pub async fn made(&self, name: &str) -> Value {
        eventually(PATIENCE, &format!("the Secret {name}"), async || {
            let answer = self.admin.get(&self.secrets(name)).await;
            Ok((answer.status == 200).then_some(answer.body))
        })
        .await
        .unwrap()
    }
}

/// The permission for these verbs on KeyPairs.
pub fn keypairs(verbs: &[&str]) -> Value {
    json!({ "apiGroups": ["keypairs.dev"], "resources": ["keypairs"], "verbs": verbs })
}

/// The permission for these verbs on AuthorizedKeys and KnownHosts.
pub fn publications(verbs: &[&str]) -> Value {
    json!({ "apiGroups": ["keypairs.dev"], "resources": ["authorizedkeys", "knownhosts"], "verbs": verbs })
}

/// All permissions on KeyPairs, and no others.
pub fn all_keypairs() -> Value {
    keypairs(&["get", "list", "create", "update", "patch", "delete"])
}

/// The permission for these verbs on Secrets with these names, or on all.
pub fn secret_rights(verbs: &[&str], names: &[&str]) -> Value {
    json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": verbs, "resourceNames": names })
}

/// A Secret with this metadata and a name.
pub fn secret(name: &str, secret_type: &str, metadata: &Value) -> Value {
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret_type,
        "stringData": { "ssh-privatekey": "a" },
    });
    secret["metadata"]["name"] = json!(name);
    secret
}

/// A KeyPair that requests an Ed25519 pair, unless `more` specifies something else.
pub fn pair(name: &str, more: &Value) -> Value {
    let mut spec = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    if spec.get("publicKey").is_some() {
        spec.as_object_mut().unwrap().remove("generate");
    }
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec })
}
