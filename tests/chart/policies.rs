//! The admission policies of a release.

use keypair_operator::{
    api::policy::{Installation, policies},
    app::policies_yaml,
};
use keypair_test_harness::{ControlPlane, Options, eventually};
use serde_json::{Value, json};

use crate::{
    of_kind,
    support::{CHART, Release, TIMEOUT, documents},
    template,
};

const KINDS: [&str; 2] = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];

fn rendered(flags: &[&str]) -> Vec<Value> {
    let mut objects = template(flags);
    objects.retain(|object| KINDS.contains(&object["kind"].as_str().unwrap()));
    objects
}

/// The chart renders what the command prints for the same installation, whatever names the values set.
#[test]
fn chart_policies_equal_the_output_of_the_command() {
    let named = |name: &str, service_account: &str, service: &str| Installation {
        name: name.to_owned(),
        namespace: "system".to_owned(),
        service_account: service_account.to_owned(),
        lease: "keypair-operator".to_owned(),
        webhook_configuration: name.to_owned(),
        webhook_service: service.to_owned(),
        webhook_url: None,
    };
    let long = "n".repeat(60);
    let (flag, service) = (format!("fullnameOverride={long}"), format!("{}-webhook", "n".repeat(55)));
    let own = ["--set", "serviceAccount.create=false", "--set", "serviceAccount.name=robot"];
    for (flags, installation) in [
        (vec![], named("test-keypair-operator", "test-keypair-operator", "test-keypair-operator-webhook")),
        (own.to_vec(), named("test-keypair-operator", "robot", "test-keypair-operator-webhook")),
        (vec!["--set", &flag], named(&long, &long, &service)),
    ] {
        let mut expected = documents(&policies_yaml(&installation).unwrap());
        let mut found = rendered(&flags);
        assert_eq!(found.len(), policies(&installation).len() * 2);
        for object in &mut found {
            assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], "test");
            object["metadata"].as_object_mut().unwrap().remove("labels");
        }
        let sort = |objects: &mut Vec<Value>| {
            objects.sort_by_key(|object| format!("{}{}", object["kind"], object["metadata"]));
        };
        sort(&mut expected);
        sort(&mut found);
        assert_eq!(found, expected);
    }
}

#[test]
fn policies_can_be_disabled_and_labelled() {
    assert!(rendered(&["--set", "admissionPolicies.enabled=false"]).is_empty());
    let marked = rendered(&["--set", "commonLabels.team=keys", "--set", "commonAnnotations.owner=keys"]);
    for object in marked {
        assert_eq!(object["metadata"]["labels"]["team"], "keys");
        assert_eq!(object["metadata"]["annotations"], json!({ "owner": "keys" }));
    }
    let webhook = template(&["--set", "webhook.enabled=true"]);
    let rules = rendered(&[]).into_iter().map(|object| object["spec"].to_string()).collect::<String>();
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configuration = of_kind(&webhook, kind)[0];
        let service = configuration["webhooks"][0]["clientConfig"]["service"]["name"].as_str().unwrap();
        for name in [configuration["metadata"]["name"].as_str().unwrap(), service] {
            assert!(rules.contains(&format!("== '{name}'")), "the policies do not mention {name}");
        }
    }
}

/// An upgrade installs the policies into a release that has none, they take effect, and uninstalling the release removes them.
#[tokio::test(flavor = "multi_thread")]
async fn policies_are_installed_by_upgrade_and_removed_with_the_release() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let release = Release::install(&plane, "later", &["--set", "admissionPolicies.enabled=false"]);
    let kubectl = |args: &[&str]| plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]);
    let both = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    assert_eq!(kubectl(&["get", both, "-o=name"]).trim(), "");
    kubectl(&["create", "role", "tenant", "--verb=create,patch,get", "--resource=keypairs.keypairs.dev"]);
    kubectl(&["create", "rolebinding", "tenant", "--role=tenant", "--user=alice"]);
    let create = |name: &str| {
        let pair = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": "default" },
            "spec": { "secret": { "name": format!("key-of-{name}"), "template": { "labels": { "a": "b" } } } },
        });
        plane.kubectl_with_input(&["create", "--context=alice", "-f", "-"], &pair.to_string()).unwrap()
    };
    eventually(TIMEOUT, "the tenant's rights", async || Ok(create("before").status.success().then_some(())))
        .await
        .unwrap();

    release.helm(&["upgrade", release.name, CHART, "--set", "admissionPolicies.enabled=true"]);
    let refused = eventually(TIMEOUT, "the policies to be in force", async || {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let output = create(&format!("try-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
        Ok((!output.status.success()).then_some(output.stderr))
    })
    .await
    .unwrap();
    assert!(
        refused.contains("spec.secret.name: alice has no permission to create secrets in namespace default"),
        "{refused}"
    );
    // The policies do not check an existing value again when an edit changes something else.
    kubectl(&["label", "keypair", "before", "team=a", "--context=alice"]);

    // The cluster holds exactly the rendered spec, all defaults included, so that tools that compare the two see no drift.
    let manifest = documents(&release.helm(&["get", "manifest", release.name]));
    for kind in KINDS {
        for object in of_kind(&manifest, kind) {
            let found = kubectl(&["get", kind, object["metadata"]["name"].as_str().unwrap(), "-o=json"]);
            assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["spec"], object["spec"]);
        }
    }

    // The API server's type check finds no error in any expression.
    let unchecked = eventually(TIMEOUT, "the types to be checked", async || {
        let list: Value = serde_json::from_str(&kubectl(&["get", "validatingadmissionpolicies", "-o=json"])).unwrap();
        let policies = list["items"].as_array().unwrap().clone();
        Ok(policies.iter().all(|policy| policy["status"]["typeChecking"].is_object()).then_some(policies))
    })
    .await
    .unwrap();
    assert_eq!(unchecked.len(), 7);
    for policy in unchecked {
        assert_eq!(policy["status"]["typeChecking"], json!({}), "{}", policy["metadata"]["name"]);
    }

    release.helm(&["uninstall", release.name]);
    assert_eq!(kubectl(&["get", both, "-o=name"]).trim(), "");
}
