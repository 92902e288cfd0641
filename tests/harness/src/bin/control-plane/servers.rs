//! The arguments of the servers.

use std::path::Path;

use serde_json::{Value, json};

use crate::credentials::Credentials;

/// The controllers for nodes, volumes and metrics, which the test cluster does not have.
const DISABLED_CONTROLLERS: [&str; 8] = [
    "horizontal-pod-autoscaler-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "taint-eviction-controller",
    "ttl-controller",
];

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}

pub(crate) fn apiserver_url(port: u16) -> String {
    url("https", port)
}

pub(crate) fn etcd(port: u16, data: &Path) -> Vec<String> {
    let client = url("http", port);
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        // A single member has no peers, so any port works.
        format!("--listen-peer-urls={}", url("http", 0)),
        // The data need not survive a crash of the machine.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

pub(crate) fn apiserver(
    port: u16,
    etcd_port: u16,
    credentials: &Credentials,
    audit: Option<(&Path, &Path)>,
) -> Vec<String> {
    let mut args = vec![
        format!("--etcd-servers={}", url("http", etcd_port)),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        "--advertise-address=127.0.0.1".into(),
        // A loopback address is not a valid endpoint of the Service `kubernetes`, and no pod uses it here.
        "--endpoint-reconciler-type=none".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        format!("--tls-cert-file={}", credentials.certificate.display()),
        format!("--tls-private-key-file={}", credentials.key.display()),
        "--authorization-mode=RBAC".into(),
        format!("--token-auth-file={}", credentials.tokens.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", credentials.verifying_key.display()),
        format!("--service-account-signing-key-file={}", credentials.signing_key.display()),
    ];
    if let Some((policy, log)) = audit {
        args.extend([
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            // Writes an entry before its request ends, not when a batch is full.
            "--audit-log-mode=blocking".into(),
            // No rotation: one file has all entries.
            "--audit-log-maxsize=0".into(),
        ]);
    }
    args
}

pub(crate) fn controller_manager(kubeconfig: &Path, credentials: &Credentials) -> Vec<String> {
    let mut controllers = String::from("*");
    for name in DISABLED_CONTROLLERS {
        controllers += ",-";
        controllers += name;
    }
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={controllers}"),
        "--leader-elect=false".into(),
        // No port, because no one reads its metrics.
        "--secure-port=0".into(),
        format!("--root-ca-file={}", credentials.ca.display()),
        format!("--service-account-private-key-file={}", credentials.signing_key.display()),
        // The defaults are for large clusters and would slow tests down.
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
        "--resource-quota-sync-period=5s".into(),
    ]
}

/// The audit policy: one entry for each request, without bodies. A watch is logged at its start, because it may never end. Other
/// requests are logged with their response.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "verbs": ["watch"], "omitStages": ["ResponseComplete"] },
            { "level": "Metadata" },
        ],
    })
}
