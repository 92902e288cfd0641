//! Installs the chart with the real helm on a real API server, and checks that it grants exactly what the operator needs.
//!
//! The test cluster has no kubelet, so the operator runs outside the cluster, with the arguments, the environment and the token
//! of its pod.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a panic fails the test")]

mod job;
mod lifecycle;
mod policies;
mod quickstart;
#[path = "../release/mod.rs"]
mod release;
mod rights;
mod support;
mod templates;
mod values;
mod webhook;

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use support::{CHART, documents, helm};

fn template(flags: &[&str]) -> Vec<Value> {
    documents(&helm(None, &[&["template", "test", CHART, "--namespace", "system"], flags].concat()))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn helm_lint_finds_nothing() {
    helm(None, &["lint", "--strict", CHART]);
    helm(None, &["lint", "--strict", CHART, "--set", "watchNamespaces={a,b}", "--set", "concurrency=4"]);
    for certificates in ["webhook.certManager.enabled=false", "webhook.certManager.enabled=true"] {
        helm(None, &["lint", "--strict", CHART, "--set", "webhook.enabled=true", "--set", certificates]);
    }
}

#[test]
fn the_chart_has_the_crds_of_the_repository() {
    let objects = template(&[]);
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    assert_eq!(rendered.len(), fs::read_dir(directory).unwrap().count());
    for crd in rendered {
        let file = format!("{directory}/{}.yaml", crd["metadata"]["name"].as_str().unwrap());
        let expected = documents(&fs::read_to_string(file).unwrap()).remove(0);
        let mut rendered = crd.clone();
        let metadata = rendered["metadata"].as_object_mut().unwrap();
        assert_eq!(metadata["annotations"], json!({"helm.sh/resource-policy": "keep"}));
        metadata.retain(|field, _| !["labels", "annotations"].contains(&field.as_str()));
        assert_eq!(floats(rendered), floats(expected));
    }

    assert!(of_kind(&template(&["--set", "crds.install=false"]), "CustomResourceDefinition").is_empty());
}

/// Turns all numbers into floats, because helm drops the `.0` of a whole float.
fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, floats(value))).collect(),
        other => other,
    }
}

/// The verbs of a role, by resource.
fn rules(role: &Value) -> BTreeMap<String, Vec<String>> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let rules = role["rules"].as_array().unwrap();
    rules.iter().map(|rule| (texts(&rule["resources"]).join(","), texts(&rule["verbs"]))).collect()
}

#[test]
fn watched_namespaces_need_no_cluster_wide_rights() {
    let all = template(&["--set", "rbac.aggregate=false"]);
    // The only Role is the one for leader election.
    assert_eq!((of_kind(&all, "ClusterRole").len(), of_kind(&all, "Role").len()), (1, 1));
    let few = template(&["--set", "rbac.aggregate=false", "--set", "watchNamespaces={one,two,one}"]);
    assert_eq!((of_kind(&few, "ClusterRole").len(), of_kind(&few, "ClusterRoleBinding").len()), (0, 0));
    let namespaces = |kind| -> Vec<Value> {
        of_kind(&few, kind).iter().map(|object| object["metadata"]["namespace"].clone()).collect()
    };
    assert_eq!(namespaces("Role"), ["system", "one", "two"]);
    assert_eq!(namespaces("RoleBinding"), ["system", "one", "two"]);
    let mut whole = rules(of_kind(&all, "ClusterRole")[0]);
    // A Role grants reading its own Namespace, but not watching it.
    assert_eq!(whole.insert("namespaces".to_owned(), vec!["get".to_owned()]).unwrap(), ["list", "watch"]);
    for role in &of_kind(&few, "Role")[1..] {
        assert_eq!(rules(role), whole);
    }
    assert!(
        template(&["--set", "rbac.create=false", "--set", "rbac.aggregate=false"])
            .iter()
            .all(|object| !object["kind"].as_str().unwrap().contains("Role"))
    );
}
