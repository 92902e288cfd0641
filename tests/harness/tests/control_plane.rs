//! The features of the control plane that tests rely on.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

use std::fmt::Debug;
use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use keypair_test_harness::{ControlPlane, Mark, Options, Requests, eventually, namespace};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind, ObjectMeta};
use kube::discovery::ApiResource;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

const SECONDS: Duration = Duration::from_secs(15);

/// Shared by all tests with default requirements.
static PLANE: LazyLock<ControlPlane> =
    LazyLock::new(|| ControlPlane::start(&Options { audit: true, ..Options::default() }).expect("a control plane"));

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

/// Creates a ConfigMap that is owned by `owner`, deletes the owner, and waits until the ConfigMap is collected.
async fn is_collected<K>(config_maps: &Api<ConfigMap>, owners: &Api<K>, owner: &K, kind: &K::DynamicType) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut dependent = config_map("owned");
    dependent.metadata.owner_references = owner.owner_ref(kind).map(|reference| vec![reference]);
    config_maps.create(&PostParams::default(), &dependent).await?;
    owners.delete(&owner.name_any(), &DeleteParams::default()).await?;
    eventually(SECONDS, "the owned ConfigMap to be deleted", async || {
        Ok(config_maps.get_opt("owned").await?.is_none().then_some(()))
    })
    .await
}

#[test]
fn kubectl_has_the_version_of_the_server() {
    let version = PLANE.kubectl(&["version"]).unwrap().ok().unwrap();
    let versions: Vec<_> = version
        .lines()
        .filter(|line| !line.starts_with("Kustomize"))
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    assert_eq!(versions.len(), 2, "{version}");
    assert_eq!(versions[0], versions[1], "client and server versions differ");
}

#[test]
fn a_failed_kubectl_is_an_error() {
    let failed = PLANE.kubectl(&["get", "configmap", "no-such"]).unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stderr.contains("NotFound"), "{}", failed.stderr);

    let unknown = PLANE.kubectl(&["get", "--no-such-flag"]).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.stderr.contains("unknown flag"), "{}", unknown.stderr);

    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "no-such", "namespace": "default" },
    });
    let differs = PLANE.kubectl_with_input(&["diff", "-f", "-"], &manifest.to_string()).unwrap();
    assert_eq!(differs.status.code(), Some(1), "{}", differs.stderr);
    assert!(differs.stdout.contains("+kind: ConfigMap"), "{}", differs.stdout);
}

#[tokio::test]
async fn owned_objects_are_garbage_collected() {
    let client = PLANE.client().await.unwrap();
    let namespace = namespace(&client, "gc").await.unwrap();
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let owner = config_maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    is_collected(&config_maps, &config_maps, &owner, &()).await.unwrap();
}

#[tokio::test]
async fn deleting_a_namespace_empties_it() {
    let client = PLANE.client().await.unwrap();
    let name = namespace(&client, "going").await.unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), &name)
        .create(&PostParams::default(), &config_map("inside"))
        .await
        .unwrap();
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually(SECONDS, "the namespace to be gone", async || {
        Ok(namespaces.get_opt(&name).await?.is_none().then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_resource_quota_is_enforced() {
    let client = PLANE.client().await.unwrap();
    let namespace = namespace(&client, "quota").await.unwrap();
    PLANE.kubectl(&["create", "quota", "few", "--hard=count/secrets=1", "-n", &namespace]).unwrap().ok().unwrap();
    eventually(SECONDS, "the quota to be calculated", async || {
        let used = PLANE.kubectl(&["get", "quota", "few", "-o=jsonpath={.status.used}", "-n", &namespace])?.ok()?;
        Ok((!used.is_empty()).then_some(()))
    })
    .await
    .unwrap();
    let secret = |name| PLANE.kubectl(&["create", "secret", "generic", name, "-n", &namespace]);
    secret("first").unwrap().ok().unwrap();
    let refused = secret("second").unwrap();
    assert!(refused.stderr.contains("exceeded quota"), "{}", refused.stderr);
}

#[tokio::test]
async fn service_accounts_have_the_rights_of_rbac() {
    let client = PLANE.client().await.unwrap();
    let namespace = namespace(&client, "rbac").await.unwrap();
    let run = |args: &[&str]| {
        let args = [args, &["-n", &namespace]].concat();
        PLANE.kubectl(&args).unwrap()
    };
    run(&["create", "serviceaccount", "reader"]).ok().unwrap();
    let kubeconfig = PLANE.service_account_kubeconfig(&namespace, "reader").unwrap();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let list = || run(&["get", "configmaps", &kubeconfig]);

    let refused = list();
    let user = format!("system:serviceaccount:{namespace}:reader");
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&user), "{}", refused.stderr);

    run(&["create", "role", "reader", "--verb=list", "--resource=configmaps"]).ok().unwrap();
    let account = format!("--serviceaccount={namespace}:reader");
    run(&["create", "rolebinding", "reader", "--role=reader", &account]).ok().unwrap();
    eventually(SECONDS, "the role to count", async || list().ok().map(Some)).await.unwrap();
}

#[tokio::test]
async fn ordinary_users_have_no_rights() {
    if PLANE.ready().is_none() {
        eprintln!("SKIPPED: somebody else's cluster does not know alice");
        return;
    }
    let client = PLANE.client_as("alice").await.unwrap();
    let listed = Api::<ConfigMap>::default_namespaced(client).list(&ListParams::default()).await;
    let error = listed.unwrap_err().to_string();
    assert!(error.contains(r#"User "alice" cannot list"#), "{error}");
}

#[tokio::test]
async fn requests_are_counted() {
    let Some(audit) = PLANE.audit() else {
        eprintln!("SKIPPED: somebody else's cluster has no audit log to read");
        return;
    };
    let client = PLANE.client().await.unwrap();
    let namespace = namespace(&client, "audit").await.unwrap();
    let config_maps = Api::<ConfigMap>::namespaced(client, &namespace);
    let mark = audit.mark().unwrap();
    for name in ["one", "two", "three"] {
        config_maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    config_maps.get("one").await.unwrap();
    PLANE.kubectl(&["get", "configmap", "one", "-n", &namespace]).unwrap().ok().unwrap();

    let here = Requests::any().namespace(&namespace).resource("configmaps");
    let creates = here.clone().verb("create").by_user("admin");
    let gets = here.clone().verb("get");
    let gets_of_kubectl = gets.clone().by_agent("kubectl/");
    let count = |from: Mark| [&creates, &gets, &gets_of_kubectl].map(|wanted| audit.count(from, wanted).unwrap());
    eventually(SECONDS, "all entries", async || Ok((count(mark) == [3, 2, 1]).then_some(()))).await.unwrap();
    assert_eq!(count(audit.mark().unwrap()), [0, 0, 0]);
}

/// The garbage collector discovers new kinds only every 30 seconds; it must know those of `crds` from the start.
#[tokio::test]
async fn objects_owned_by_custom_resources_are_garbage_collected() {
    if PLANE.ready().is_none() {
        eprintln!("SKIPPED: the garbage collector of somebody else's cluster has started long ago");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crd.yaml");
    fs::write(&file, crd().to_string()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![file], ..Options::default() }).unwrap();
    let client = plane.client().await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("harness.test", "v1", "Thing"));
    let things = Api::<DynamicObject>::namespaced_with(client.clone(), "default", &kind);
    let thing = things.create(&PostParams::default(), &DynamicObject::new("owner", &kind)).await.unwrap();
    let config_maps = Api::<ConfigMap>::default_namespaced(client);
    is_collected(&config_maps, &things, &thing, &kind).await.unwrap();
}

fn crd() -> serde_json::Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.harness.test" },
        "spec": {
            "group": "harness.test",
            "names": { "kind": "Thing", "plural": "things" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } },
            }],
        },
    })
}

/// The API server accepts a watch from a version that it has not reached, and sends nothing. The operator must notice this.
#[tokio::test]
async fn etcd_can_be_restored_from_a_snapshot() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let config_maps = Api::<ConfigMap>::default_namespaced(plane.client().await.unwrap());
    config_maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
    plane.save_etcd("then").unwrap();
    let created = async |name: &str| {
        let made = config_maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
        made.resource_version().unwrap().parse::<u64>().unwrap()
    };
    let mut last = 0;
    for number in 0..300 {
        last = created(&format!("after-{number}")).await;
    }
    plane.put_etcd_back("then").unwrap();
    let left = config_maps.list(&ListParams::default()).await.unwrap();
    let names: Vec<String> =
        left.iter().map(kube::ResourceExt::name_any).filter(|name| name != "kube-root-ca.crt").collect();
    assert_eq!(names, ["before"]);
    let path = format!("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=3&resourceVersion={last}");
    let watch = tokio::task::spawn_blocking(move || {
        let shown = plane.kubectl(&["get", "--raw", &path]).unwrap().ok().unwrap();
        (shown, plane)
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(created("unseen").await < last);
    let (shown, _plane) = watch.await.unwrap();
    assert_eq!(shown, "", "neither an event nor an error");
}
