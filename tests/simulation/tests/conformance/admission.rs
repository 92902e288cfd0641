//! Foreign admission control that refuses or rewrites requests.

use keypair_simulation::{
    Server,
    server::{Effect, Rule},
};
use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{SECRETS, at, secret, with},
    script::{METADATA, Script, Step},
};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A policy of this kind, with its binding, for Secrets in the script's namespace.
fn registered(kind: &str, name: &str, spec: &Value) -> Vec<(String, Value)> {
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "{ns}" } });
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"] }]);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name },
        "spec": { "matchConstraints": { "namespaceSelector": selector, "resourceRules": rules } }
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": { "name": name },
        "spec": { "policyName": name }
    });
    let actions =
        if kind.starts_with("Validating") { json!({ "spec": { "validationActions": ["Deny"] } }) } else { json!({}) };
    let plural =
        if kind.starts_with("Validating") { "validatingadmissionpolicies" } else { "mutatingadmissionpolicies" };
    vec![
        (format!("{ADMISSION}/{plural}"), with(policy, &json!({ "spec": spec }))),
        (format!("{ADMISSION}/{}bindings", plural.replace("policies", "policy")), with(binding, &actions)),
    ]
}

/// Sets up the real server to do what the rule does in the simulated one, and waits until a dry run shows the effect.
fn begin(script: &mut Script, real: Vec<(String, Value)>, status: u16, has: &'static str, simulated: fn(&Server)) {
    script.0.push(Step::Setup {
        real,
        simulated,
        path: format!("{SECRETS}?dryRun=All"),
        tried: secret("tried"),
        status,
        has,
    });
}

fn writes(script: &mut Script) {
    script.post("", SECRETS, secret("new"));
    script.post("", SECRETS, secret("new")).accept(METADATA);
    script.post("", &format!("{SECRETS}?dryRun=All"), secret("other"));
    script.patch(&at(SECRETS, "there"), json!({ "metadata": { "labels": { "owner": "me", "more": "1" } } }));
    script.put(&at(SECRETS, "there"), secret("there"));
    script.get(SECRETS);
    script.delete(&at(SECRETS, "there"));
}

#[test]
fn a_policy_refuses_like_a_real_one() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("there"));
    let spec = json!({ "validations": [{ "expression": "false", "message": "not here" }] });
    begin(
        &mut script,
        registered("ValidatingAdmissionPolicy", "conformance-refuses", &spec),
        422,
        "not here",
        |server| {
            server
                .admission()
                .add(Rule::on_secrets(Effect::Invalid("conformance-refuses".to_owned(), "not here".to_owned())));
        },
    );
    writes(&mut script);
    conforms("refused", &script);
}

#[test]
fn a_policy_rewrites_like_a_real_one() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("there"));
    let expression = "Object{metadata: Object.metadata{labels: {'owner': 'policy'}}}";
    let spec = json!({
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } }]
    });
    begin(&mut script, registered("MutatingAdmissionPolicy", "conformance-rewrites", &spec), 201, "policy", |server| {
        server.admission().add(Rule::on_secrets(Effect::SetLabel("owner".to_owned(), "policy".to_owned())));
    });
    writes(&mut script);
    conforms("rewritten", &script);
}

#[test]
fn an_unavailable_webhook_fails_like_a_real_one() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("there"));
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "conformance-away" },
        "webhooks": [{
            "name": "away.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": { "service": { "namespace": "default", "name": "away" } },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "{ns}" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"] }]
        }]
    });
    let real = vec![(format!("{ADMISSION}/validatingwebhookconfigurations"), webhook)];
    begin(&mut script, real, 500, "failed calling webhook", |server| {
        server.admission().add(Rule::on_secrets(Effect::WebhookAway("away.example.com".to_owned())));
    });
    writes(&mut script);
    conforms("away", &script);
}

#[test]
fn a_full_resource_quota_refuses_like_a_real_one() {
    let mut script = Script::new();
    script.post("", SECRETS, secret("there"));
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" }, "spec": { "hard": { "count/secrets": "1" } }
    });
    begin(
        &mut script,
        vec![("/api/v1/namespaces/{ns}/resourcequotas".to_owned(), quota)],
        403,
        "exceeded quota",
        |server| {
            server.admission().add(Rule::on_secrets(Effect::Quota("full".to_owned(), 1)));
        },
    );
    writes(&mut script);
    conforms("quota", &script);
}
