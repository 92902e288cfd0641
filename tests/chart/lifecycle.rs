//! Install, upgrade and uninstall.

use keypair_test_harness::{ControlPlane, Options};
use serde_json::Value;

use crate::support::{CHART, Release};

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_and_uninstall_keep_every_key_pair() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let release = Release::install(&plane, "life", &[]);
    plane.kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]).unwrap().ok().unwrap();
    let manifest =
        r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "kept"}, "spec": {}}"#;
    plane.kubectl_with_input(&["create", "-f", "-"], manifest).unwrap().ok().unwrap();
    let uids = || -> Vec<String> {
        ["crd/keypairs.keypairs.dev", "keypair/kept"]
            .map(|object| plane.kubectl(&["get", object, "-o=jsonpath={.metadata.uid}"]).unwrap().ok().unwrap())
            .to_vec()
    };
    let before = uids();

    assert!(release.args().contains(&"--quota=500".to_owned()));
    // More than a float writes without an exponent.
    release.helm(&["upgrade", release.name, CHART, "--set", "quota=12345678"]);
    assert!(release.args().contains(&"--quota=12345678".to_owned()), "{:?}", release.args());
    assert_eq!(uids(), before);

    release.helm(&["uninstall", release.name]);
    assert_eq!(uids(), before);
    let left: Value = serde_json::from_str(&release.kubectl(&["get", "deployments", "-o=json"])).unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 0);
    let roles = plane.kubectl(&["get", "clusterroles,clusterrolebindings", "-o=name"]).unwrap().ok().unwrap();
    assert!(!roles.contains("life"), "{roles}");

    // As the chart's README says, another release takes over what was kept.
    Release::install(&plane, "again", &["--take-ownership"]);
    assert_eq!(uids(), before);
}
