//! Renders the templates with various values, and validates the result with a real API server.

use std::{fs, path::Path, process::Command};

use keypair_test_harness::{ControlPlane, Options};
use serde_json::{Value, json};

use crate::{
    of_kind,
    support::{CHART, HELM, helm},
    template,
};

const EVERYTHING: [&str; 24] = [
    "--set",
    "webhook.enabled=true",
    "--set",
    "networkPolicy.enabled=true",
    "--set",
    "metrics.serviceMonitor.enabled=true",
    "--set",
    "metrics.prometheusRule.enabled=true",
    "--set",
    "metrics.dashboard.enabled=true",
    "--set",
    "priorityClassName=system-cluster-critical",
    "--set",
    "commonLabels.team=keys",
    "--set",
    "commonAnnotations.owner=keys",
    "--set-json",
    r#"extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]"#,
    "--set-json",
    r#"imagePullSecrets=[{"name":"registry"}]"#,
    "--set",
    "serviceAccount.annotations.own=yes",
    "--set",
    "podLabels.pod=yes",
];

/// Kinds that exist only in clusters where other operators are installed.
const OF_OTHERS: [&str; 4] = ["ServiceMonitor", "PrometheusRule", "Certificate", "Issuer"];

fn pod(objects: &[Value]) -> &Value {
    &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
}

/// The API server of the chart's Kubernetes version uses strict validation, which refuses unknown fields.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_every_object() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    plane.kubectl(&["create", "namespace", "system"]).unwrap().ok().unwrap();
    let some = ["--set", "watchNamespaces={system}", "--set", "webhook.enabled=true"];
    for flags in [&[][..], &EVERYTHING, &some] {
        let objects: Vec<Value> = template(flags)
            .into_iter()
            .filter(|object| !OF_OTHERS.contains(&object["kind"].as_str().unwrap()))
            .collect();
        assert!(objects.len() > 8);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = plane.kubectl_with_input(&args, &list.to_string()).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn common_labels_and_annotations_are_on_every_object() {
    for object in template(&EVERYTHING) {
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["team"], "keys", "{object}");
        assert_eq!(metadata["annotations"]["owner"], "keys", "{object}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "test", "{object}");
    }
    let objects = template(&EVERYTHING);
    assert_eq!(of_kind(&objects, "ServiceAccount")[0]["metadata"]["annotations"]["own"], "yes");
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["pod"], "yes");
    // An upgrade may change labels, but the selector is immutable.
    assert_eq!(deployment["spec"]["selector"]["matchLabels"]["team"], Value::Null);
}

/// Enforces the `restricted` Pod Security Standard and stricter settings.
#[test]
fn the_pod_meets_the_restricted_security_standard() {
    let objects = template(&[]);
    let pod = pod(&objects);
    let container = &pod["containers"][0];
    let expected = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" },
    });
    assert_eq!(pod["securityContext"], expected);
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(container["securityContext"], expected);
    assert_eq!(pod["volumes"], Value::Null);
    for resource in ["memory", "ephemeral-storage"] {
        assert!(container["resources"]["limits"][resource].is_string());
    }
    assert_eq!(container["resources"]["limits"]["cpu"], Value::Null);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }
    assert_eq!(of_kind(&objects, "ServiceAccount")[0]["automountServiceAccountToken"], false);
}

#[test]
fn replicas_are_spread_and_protected_from_disruption() {
    let objects = template(&[]);
    let spread = &pod(&objects)["topologySpreadConstraints"][0];
    assert_eq!((&spread["topologyKey"], &spread["maxSkew"]), (&json!("kubernetes.io/hostname"), &json!(1)));
    let [budget] = of_kind(&objects, "PodDisruptionBudget")[..] else { panic!("expected one PodDisruptionBudget") };
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(budget["spec"]["selector"], of_kind(&objects, "Deployment")[0]["spec"]["selector"]);
    // With a single replica, a PodDisruptionBudget would block node drains.
    assert!(of_kind(&template(&["--set", "replicas=1"]), "PodDisruptionBudget").is_empty());
    let own = template(&["--set-json", "topologySpreadConstraints=[]"]);
    assert_eq!(pod(&own)["topologySpreadConstraints"], json!([]));
}

#[test]
fn the_network_policy_allows_only_served_ports() {
    assert!(of_kind(&template(&[]), "NetworkPolicy").is_empty());
    let ports = |flags: &[&str]| -> Vec<Value> {
        let objects = template(&[&["--set", "networkPolicy.enabled=true"], flags].concat());
        let rules = of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"].as_array().unwrap().clone();
        rules.iter().map(|rule| rule["ports"][0]["port"].clone()).collect()
    };
    assert_eq!(ports(&[]), ["metrics"]);
    assert_eq!(ports(&["--set", "webhook.enabled=true"]), ["metrics", "webhook"]);
    let from =
        ["--set-json", r#"networkPolicy.metricsFrom=[{"podSelector":{}}]"#, "--set", "networkPolicy.enabled=true"];
    let objects = template(&from);
    assert_eq!(of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"][0]["from"], json!([{ "podSelector": {} }]));
}

/// The operator needs at most this long to stop: one second, two thirds of the Lease duration, and five seconds to export traces.
#[test]
fn the_grace_period_allows_releasing_the_lease() {
    for (duration, expected) in [(3, 30), (15, 30), (30, 30), (60, 50), (65535, 43700)] {
        let objects = template(&["--set", &format!("leaseDuration={duration}")]);
        let grace = pod(&objects)["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert_eq!(grace, expected, "{duration}");
        assert!(grace >= 1 + duration * 2 / 3 + 5, "{duration}");
    }
}

#[test]
fn chart_values_become_operator_flags() {
    let flags = [
        "--set",
        "quota=7",
        "--set",
        "concurrency=8",
        "--set",
        "keygenThreads=9",
        "--set",
        "rsaGenerator=library",
        "--set",
        "leaseDuration=30",
        "--set",
        "regionSelector=a in (b\\,c)",
        "--set",
        "logFormat=text",
        "--set",
        "logFilter=debug",
        "--set",
        "watchNamespaces={one,two,one}",
        "--set",
        "keyPool=3",
        "--set",
        "otlpEndpoint=http://collector:4318",
    ];
    let objects = template(&flags);
    let container = &pod(&objects)["containers"][0];
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for expected in [
        "--quota=7",
        "--concurrency=8",
        "--keygen-threads=9",
        "--rsa-generator=library",
        "--lease-duration=30",
        "--region-selector=a in (b,c)",
        "--log-format=text",
        "--key-pool=3",
        "--otlp-endpoint=http://collector:4318",
        "--namespace=one",
        "--namespace=two",
        "--leader-elect",
        "--metrics-addr=0.0.0.0:8080",
    ] {
        assert_eq!(args.iter().filter(|arg| **arg == expected).count(), 1, "{expected}: {args:?}");
    }
    // Without the flag, the operator picks the fastest available generator; an image with the FIPS module refuses the flag.
    let silent = template(&[]);
    assert!(!pod(&silent)["containers"][0]["args"].to_string().contains("rsa-generator"));
    assert_eq!(container["env"], json!([{ "name": "RUST_LOG", "value": "debug" }]));
    let digest = format!("image.digest=sha256:{}", "0".repeat(64));
    let image = template(&["--set", &digest, "--set", "image.repository=registry/keypair-operator"]);
    let image = pod(&image)["containers"][0]["image"].as_str().unwrap().to_owned();
    assert_eq!(image, format!("registry/keypair-operator@sha256:{}", "0".repeat(64)));
}

#[test]
fn the_chart_configures_prometheus_monitoring() {
    let objects = template(&EVERYTHING);
    let services = of_kind(&objects, "Service");
    let metrics =
        services.iter().find(|service| service["metadata"]["name"] == "test-keypair-operator-metrics").unwrap();
    let [monitor] = of_kind(&objects, "ServiceMonitor")[..] else { panic!("expected one ServiceMonitor") };
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(wanted.iter().all(|(label, value)| metrics["metadata"]["labels"][label] == *value));
    // Prometheus must not scrape the Service of the webhook.
    let webhook =
        services.iter().find(|service| service["metadata"]["name"] == "test-keypair-operator-webhook").unwrap();
    assert!(wanted.iter().any(|(label, value)| webhook["metadata"]["labels"][label] != *value));
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], metrics["spec"]["ports"][0]["name"]);
    let [rule] = of_kind(&objects, "PrometheusRule")[..] else { panic!("expected one PrometheusRule") };
    assert!(rule["spec"]["groups"][0]["rules"].as_array().unwrap().len() > 5);
    let dashboards = of_kind(&objects, "ConfigMap");
    let dashboard: Value =
        serde_json::from_str(dashboards[0]["data"]["keypair-operator.json"].as_str().unwrap()).unwrap();
    assert_eq!(dashboard["uid"], "keypair-operator");
    assert_eq!(dashboards[0]["metadata"]["labels"]["grafana_dashboard"], "1");
}

/// Crate, chart and image have the same version, and the release script sets it everywhere.
#[test]
fn crate_chart_and_image_versions_are_equal() {
    let file = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let chart: Value = serde_saphyr::from_str(&file("charts/keypair-operator/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
    assert!(pod(&template(&[]))["containers"][0]["image"].as_str().unwrap().ends_with(&format!(":{version}")));

    // Run in a clone, with the committed files only.
    let clone = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(clone.path()).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run("git", &["clone", "--quiet", "--no-hardlinks", env!("CARGO_MANIFEST_DIR"), "."]);
    for setting in [["user.name", "nobody"], ["user.email", "nobody@example.com"]] {
        run("git", &["config", setting[0], setting[1]]);
    }
    run("hack/release.sh", &["7.8.9"]);
    assert_eq!(run("git", &["describe"]).trim(), "v7.8.9");
    let changed = run("git", &["diff", "--name-only", "HEAD^"]);
    assert_eq!(changed, "CHANGELOG.md\nCargo.lock\nCargo.toml\ncharts/keypair-operator/Chart.yaml\n");
    let released = |path: &str| fs::read_to_string(clone.path().join(path)).unwrap();
    assert!(released("charts/keypair-operator/Chart.yaml").contains("\nversion: 7.8.9\nappVersion: \"7.8.9\"\n"));
    assert!(released("CHANGELOG.md").contains("## [Unreleased]\n\n## [7.8.9] - "));
    assert!(released("Cargo.lock").contains("name = \"keypair-operator\"\nversion = \"7.8.9\""));
    assert_eq!(run("git", &["status", "--porcelain"]), "");
}

/// A published chart names its image and its source repository.
#[test]
fn the_package_names_its_image_and_its_source() {
    let (image, source) = ("registry.example.com/keypair-operator", "https://example.com/keypair-operator");
    let digest = format!("sha256:{}", "0".repeat(64));
    let output = Command::new("hack/chart.sh")
        .args([image, source])
        .env("HELM", &*HELM)
        .env("IMAGE_DIGEST", &digest)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(String::from_utf8(output.stdout).unwrap().trim());
    let chart: Value = serde_saphyr::from_str(&helm(None, &["show", "chart", package.to_str().unwrap()])).unwrap();
    let annotation = |name: &str| -> Value {
        serde_saphyr::from_str(chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap()).unwrap()
    };
    assert_eq!(annotation("images")[0]["image"], format!("{image}@{digest}"));
    assert!(annotation("links")[0]["url"].as_str().unwrap().starts_with(source));
    assert_eq!(annotation("crds")[0]["name"], "keypairs.keypairs.dev");
    assert!(annotation("changes")[0]["description"].is_string());
    assert_eq!(chart["sources"], json!([source]));
}

#[test]
fn object_names_stay_within_their_limits() {
    let long = format!("fullnameOverride={}", "n".repeat(60));
    let flags = [&["--set", &long][..], &EVERYTHING].concat();
    for object in template(&flags) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let limit = if object["kind"] == "Service" { 63 } else { 253 };
        assert!(name.len() <= limit, "{} {name}", object["kind"]);
    }
    helm(None, &["lint", "--strict", CHART]);
}
