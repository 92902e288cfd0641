//! The control plane that all runs share, and typed access to its namespaces.

use std::{path::PathBuf, sync::LazyLock};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::{ControlPlane, Options};
use tokio::sync::Mutex;

use kube::{
    Api, Client,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};

/// The annotation that links a Secret to its KeyPair. Repeated here, because users rely on it.
pub const KEYPAIR_UID_ANNOTATION: &str = "keypairs.dev/keypair-uid";

/// Held by a test while it runs, because one of them restarts the shared API server.
pub static TURN: Mutex<()> = Mutex::const_new(());

pub static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let crd = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/crds"));
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap()
});

pub fn key_pairs(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("keypairs.dev", "v1alpha1", "KeyPair"));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

pub fn secrets(client: &Client, namespace: &str) -> Api<Secret> {
    Api::namespaced(client.clone(), namespace)
}
