//! Runs the webhook of a release with the rights of the release.

use std::{collections::BTreeSet, process::Command};

use keypair_test_harness::{ControlPlane, Options, Requests, eventually};
use serde_json::{Value, json};

use crate::{
    of_kind,
    support::{CHART, Release, TIMEOUT},
    template,
};

const KINDS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
const WITH_WEBHOOK: [&str; 2] = ["--set", "webhook.enabled=true"];

#[test]
fn the_chart_registers_webhooks_only_for_its_own_kinds() {
    assert!(KINDS.iter().all(|kind| of_kind(&template(&[]), kind).is_empty()), "the webhook should be off by default");
    let flags = [&WITH_WEBHOOK[..], &["--set", "webhook.failurePolicy=Fail", "--set", "watchNamespaces={one,two}"]];
    let objects = template(&flags.concat());
    for kind in KINDS {
        let [configuration] = of_kind(&objects, kind)[..] else { panic!("expected one {kind}") };
        let webhook = &configuration["webhooks"][0];
        // The mutating webhook only answers faster than the CRD, so its failure must not block requests.
        let is_mutating = kind == KINDS[0];
        assert_eq!(webhook["failurePolicy"], if is_mutating { "Ignore" } else { "Fail" });
        assert_eq!(webhook["matchConditions"].is_array(), is_mutating);
        assert_eq!(webhook["sideEffects"], "None");
        let rule = &webhook["rules"][0];
        // Only the error of a KeyPair has a code of its own.
        let resources =
            if is_mutating { json!(["keypairs"]) } else { json!(["keypairs", "authorizedkeys", "knownhosts"]) };
        assert_eq!((&rule["resources"], &rule["operations"]), (&resources, &json!(["CREATE", "UPDATE"])));
        let selected = &webhook["namespaceSelector"]["matchExpressions"];
        assert_eq!((&selected[0]["operator"], &selected[0]["values"]), (&json!("NotIn"), &json!(["system"])));
        assert_eq!((&selected[1]["operator"], &selected[1]["values"]), (&json!("In"), &json!(["one", "two"])));
    }
}

#[test]
fn cert_manager_certificates_need_no_additional_rights() {
    let flags = [&WITH_WEBHOOK[..], &["--set", "webhook.certManager.enabled=true"]].concat();
    let objects = template(&flags);
    // A CA certificate with a long lifetime, and the certificate that it signs.
    let certificates = of_kind(&objects, "Certificate");
    let (authorities, leaves): (Vec<&Value>, Vec<&Value>) =
        certificates.into_iter().partition(|certificate| certificate["spec"]["isCA"] == true);
    let ([authority], [certificate]) = (&authorities[..], &leaves[..]) else {
        panic!("expected one CA and one serving certificate")
    };
    let issuers = of_kind(&objects, "Issuer");
    let issuer = issuers.iter().find(|issuer| issuer["metadata"]["name"] == certificate["spec"]["issuerRef"]["name"]);
    assert_eq!(issuer.unwrap()["spec"]["ca"]["secretName"], authority["spec"]["secretName"]);
    let names: Vec<&Value> = of_kind(&objects, "Service").iter().map(|service| &service["metadata"]["name"]).collect();
    for kind in KINDS {
        let configuration = of_kind(&objects, kind)[0];
        let service = &configuration["webhooks"][0]["clientConfig"]["service"];
        assert!(names.contains(&&service["name"]));
        let host = format!("{}.system.svc", service["name"].as_str().unwrap());
        assert_eq!(certificate["spec"]["dnsNames"], json!([host]));
        let from = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
        assert_eq!(*from, json!(format!("system/{}", certificate["metadata"]["name"].as_str().unwrap())));
    }
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], certificate["spec"]["secretName"]);
    let directory =
        format!("--webhook-cert-dir={}", pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap());
    assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&json!(directory)));
    assert_eq!(of_kind(&objects, "Role").len(), 1, "expected only the Role for leader election");
    let own = flags.iter().copied().chain(["--set-json", r#"webhook.certManager.issuerRef={"name":"internal"}"#]);
    let objects = template(&own.collect::<Vec<_>>());
    assert!(of_kind(&objects, "Issuer").is_empty());
    assert_eq!(of_kind(&objects, "Certificate")[0]["spec"]["issuerRef"], json!({ "name": "internal" }));
}

/// The API server cannot reach the Service, because the test has no cluster network. So the webhook configurations of the release
/// point to the address of the process instead. Everything else is as in the release.
#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_works_with_the_rights_of_the_release() {
    // Without streaming lists, like older API servers: with them, the operator never sends a `list`.
    let feature_gates = Some("WatchList=false".to_owned());
    let plane = ControlPlane::start(&Options { audit: true, feature_gates, ..Options::default() }).unwrap();
    let release = Release::install(&plane, "asked", &WITH_WEBHOOK);
    plane.kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]).unwrap().ok().unwrap();
    let user = release.user();
    let audit = plane.audit().unwrap();
    let mark = audit.mark().unwrap();
    let (mut operator, port, _kubeconfig) = release.run();
    operator.wait_for_http(([127, 0, 0, 1], port).into(), "/readyz", TIMEOUT).await.unwrap();
    let certificate = || {
        let data = ["get", "secret", "asked-keypair-operator-webhook", r"-o=jsonpath={.data.tls\.crt}"];
        let base64 = release.kubectl(&data);
        let command = format!("echo {base64} | base64 -d | openssl x509 -noout -ext subjectAltName");
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let service = "DNS:asked-keypair-operator-webhook.asked-system.svc";
    assert!(certificate().contains(service), "{}", certificate());

    // An upgrade keeps the CA bundles that the operator has filled in.
    let name = "asked-keypair-operator";
    let bundles =
        || KINDS.map(|kind| release.kubectl(&["get", kind, name, "-o=jsonpath={.webhooks[0].clientConfig.caBundle}"]));
    let before = bundles();
    assert!(before.iter().all(|bundle| bundle.len() > 500), "{before:?}");
    release.helm(&["upgrade", release.name, CHART, "--reuse-values", "--set", "quota=400"]);
    assert_eq!(bundles(), before);

    let url = format!("https://127.0.0.1:{}/", release.webhook_port);
    let patch = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig", "value": { "url": url } }]).to_string();
    for kind in KINDS {
        release.kubectl(&["patch", kind, name, "--type=json", "-p", &patch]);
    }
    let manifest = |name: &str, spec: Value| {
        json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec })
            .to_string()
    };
    let is_answered = || {
        let bad = manifest("bad", json!({ "keyPairName": "1st" }));
        let output = plane.kubectl_with_input(&["create", "-f", "-"], &bad).unwrap();
        output.stderr.starts_with("Error from server (InvalidKeyPairName.Malformed): ")
    };
    eventually(TIMEOUT, "the certificate to be that of the new address, and trusted", async || {
        Ok((certificate().contains("IP Address:127.0.0.1") && is_answered()).then_some(()))
    })
    .await
    .unwrap();
    // The webhook skips the release's own namespace, where only the CRD's rules apply.
    let own = manifest("bad", json!({ "keyPairName": "1st" }));
    let output = plane.kubectl_with_input(&["create", "-n", &release.namespace, "-f", "-"], &own).unwrap();
    assert!(output.stderr.starts_with("The KeyPair \"bad\" is invalid: "), "{}", output.stderr);

    let requests = audit.matching(mark, &Requests::any().by_user(&user)).unwrap();
    let exercised: BTreeSet<String> = requests
        .iter()
        .map(|request| {
            assert_ne!(request.code(), 403, "{request:?}");
            format!("{} {}", request.verb, request.object_ref.clone().unwrap_or_default().resource)
        })
        .collect();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        for verb in ["get", "list", "watch", "update"] {
            assert!(
                exercised.contains(&format!("{verb} {kind}")),
                "{verb} {kind} is granted, but not used: {exercised:?}"
            );
        }
    }
    for verb in ["get", "list", "watch", "update", "create"] {
        assert!(
            exercised.contains(&format!("{verb} secrets")),
            "{verb} secrets is granted, but not used: {exercised:?}"
        );
    }
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
    release.helm(&["uninstall", release.name]);
    let left = plane.kubectl(&["get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o=name"]);
    assert_eq!(
        left.unwrap().ok().unwrap().trim(),
        "",
        "uninstalling the release left webhook configurations without a server"
    );
}
