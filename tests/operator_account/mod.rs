//! The operator as a service account that RBAC lets do everything: what it is refused, a policy refuses.

#![allow(dead_code, reason = "no suite uses all of it")]

use keypair_operator::{api::policy::Installation, app};
use keypair_test_harness::ControlPlane;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempPath;

const NAME: &str = "keypair-operator";
/// Where it has its Lease and its certificate.
const NAMESPACE: &str = "default";

/// Puts the policies into force and makes the service account; its kubeconfig goes with what is returned.
///
/// Where the operator registers its webhook itself, under URLs that nobody knows beforehand, `registers` leaves out the policy on
/// webhook configurations.
pub fn kubeconfig(plane: &ControlPlane, registers: bool) -> TempPath {
    let installation = Installation {
        name: NAME.to_owned(),
        namespace: NAMESPACE.to_owned(),
        service_account: NAME.to_owned(),
        lease: NAME.to_owned(),
        webhook_configuration: NAME.to_owned(),
        webhook_service: format!("{NAME}-webhook"),
        webhook_url: None,
    };
    let policies = app::policies_yaml(&installation).unwrap();
    let is_wanted = |policy: &&str| !registers || !policy.contains(&format!("name: {NAME}-fence-webhooks"));
    let policies: Vec<&str> = policies.split("---\n").filter(is_wanted).collect();
    plane.kubectl_with_input(&["create", "-f", "-"], &policies.join("---\n")).unwrap().ok().unwrap();
    let kubectl = |args: &[&str]| plane.kubectl(args).unwrap().ok().unwrap();
    kubectl(&["create", "serviceaccount", NAME, "-n", NAMESPACE]);
    let account = format!("--serviceaccount={NAMESPACE}:{NAME}");
    kubectl(&["create", "clusterrolebinding", NAME, "--clusterrole=cluster-admin", &account]);
    plane.service_account_kubeconfig(NAMESPACE, NAME).unwrap()
}

/// A client with a kubeconfig of [`kubeconfig`].
pub async fn client(kubeconfig: &TempPath) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // kube would use a proxy even for loopback.
    config.proxy_url = None;
    Client::try_from(config).unwrap()
}
