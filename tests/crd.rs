//! The CustomResourceDefinition in the repository is what the program prints, and the API server accepts it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a panic fails the test")]

use std::{fs, path::Path, sync::LazyLock, time::Duration};

use keypair_operator::{
    api::{self, cel},
    app,
};
use keypair_test_harness::{ControlPlane, Options, eventually};
use serde_json::{Value, json};

/// The formats that the API server knows; it ignores others with a warning.
const FORMATS: [&str; 3] = ["int32", "int64", "date-time"];

static CRD: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(api::crd()).unwrap());

fn version() -> &'static Value {
    let versions = CRD["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1);
    &versions[0]
}

/// Calls `visit` with `schema` and each nested schema, with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

fn schemas(of: &str) -> Vec<(String, Value)> {
    let root = &version()["schema"]["openAPIV3Schema"];
    let (path, schema) = if of.is_empty() { ("", root) } else { (of, &root["properties"][of]) };
    let mut found = Vec::new();
    walk(path, schema, &mut |path, schema| found.push((path.to_owned(), schema.clone())));
    assert!(found.len() > 10, "{of}: {found:?}");
    found
}

#[test]
fn the_crd_in_the_repository_is_current() {
    let printed = app::crd_yaml().unwrap();
    for file in ["crds/keypairs.keypairs.dev.yaml", "charts/keypair-operator/files/keypairs.keypairs.dev.yaml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
        assert!(text == printed, "{file} is outdated: run `make crds`");
    }
}

#[test]
fn names_scope_and_status_are_as_published() {
    assert_eq!(CRD["metadata"]["name"], "keypairs.keypairs.dev");
    assert_eq!(CRD["spec"]["group"], "keypairs.dev");
    assert_eq!(CRD["spec"]["scope"], "Namespaced");
    assert_eq!(
        CRD["spec"]["names"],
        json!({"kind": "KeyPair", "plural": "keypairs", "singular": "keypair", "shortNames": ["kp"]})
    );
    assert_eq!(version()["name"], "v1alpha1");
    assert_eq!(version()["served"], true);
    assert_eq!(version()["storage"], true);
    assert_eq!(version()["subresources"], json!({"status": {}}));
    let conditions = &version()["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
}

#[test]
fn every_field_is_described() {
    let undescribed: Vec<String> = [schemas("spec"), schemas("status")]
        .concat()
        .into_iter()
        // The description of a map or a list also covers its values or items.
        .filter(|(path, _)| !path.ends_with("{}") && !path.ends_with("[]"))
        .filter(|(_, schema)| schema["description"].as_str().is_none_or(|text| text.trim().is_empty()))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(undescribed, Vec::<String>::new());
}

/// Without bounds, the API server would treat the cost of a CEL rule as unlimited, and any user could fill etcd.
#[test]
fn everything_in_the_spec_and_about_keys_in_the_status_is_bounded() {
    let status = schemas("status").into_iter();
    let of_rotation = status.filter(|(path, _)| path.starts_with("status.keys") || path.starts_with("status.rotation"));
    for (path, schema) in schemas("spec").into_iter().chain(of_rotation) {
        let bounded = match schema["type"].as_str().unwrap() {
            "string" => schema["maxLength"].is_u64() || schema["enum"].is_array(),
            "array" => schema["maxItems"].is_u64(),
            "object" => schema["properties"].is_object() || schema["maxProperties"].is_u64(),
            "integer" | "boolean" => true,
            other => panic!("{path} has type {other}"),
        };
        assert!(bounded, "{path} has no bound: {schema}");
    }
}

#[test]
fn the_api_server_knows_every_format() {
    for (path, schema) in schemas("") {
        if let Some(format) = schema["format"].as_str() {
            assert!(FORMATS.contains(&format), "{path} has format {format}");
        }
    }
}

/// The API server evaluates each rule on each write, so the CRD has as few as possible: one for the values and one for the
/// immutable fields.
#[test]
fn the_crd_has_only_two_rules() {
    let rules: Vec<(String, Value)> = schemas("")
        .into_iter()
        .flat_map(|(path, schema)| {
            let rules = schema["x-kubernetes-validations"].as_array().cloned().unwrap_or_default();
            rules.into_iter().map(move |rule| (path.clone(), rule))
        })
        .collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    for (path, rule) in rules {
        assert_eq!((path.as_str(), &rule["fieldPath"]), ("", &json!(".spec")), "{rule}");
        assert!(rule["messageExpression"].is_string() && rule["message"].is_string(), "{rule}");
    }
}

/// The message of each check names the field and says what to do.
#[test]
fn every_check_has_a_field_and_a_message() {
    let checks = cel::checks();
    assert!(checks.len() > 40, "{} checks", checks.len());
    let fields: Vec<String> = schemas("").into_iter().map(|(path, _)| path).collect();
    for check in checks {
        let path = format!("spec.{}", check.field);
        assert!(fields.iter().any(|field| field.trim_start_matches('.') == path), "{path} of {check:?} in {fields:?}");
        assert!(check.words.len() > 10 && check.words.ends_with('.'), "{check:?}");
        assert!(!check.profiles.is_empty(), "{check:?}");
    }
}

#[test]
fn columns_are_as_published() {
    let columns: Vec<&str> = version()["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    let expected = [
        "Key-Pair-Name",
        "Profile",
        "Algorithm",
        "Bits",
        "Fingerprint",
        "Revision",
        "Next-Switch",
        "Secret",
        "Ready",
        "Reason",
        "Age",
    ];
    assert_eq!(columns, expected);
}

/// The API server checks that the schema is structural, and that the rules compile and stay within the cost limit.
#[tokio::test]
async fn the_api_server_accepts_the_crd_without_warnings() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let create = ["create", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    let created = plane.kubectl_with_input(&create, &app::crd_yaml().unwrap()).unwrap();
    assert_eq!((created.stderr.as_str(), created.status.code()), ("", Some(0)));

    // The API server stores a schema that is not structural, but reports it in this condition.
    let conditions = ["get", "crd", "keypairs.keypairs.dev", "-o=json"];
    let conditions = eventually(Duration::from_secs(15), "the definition to be established", async || {
        let crd: Value = serde_json::from_str(&plane.kubectl(&conditions)?.ok()?)?;
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let has = |type_: &str| conditions.iter().any(|one| one["type"] == type_ && one["status"] == "True");
        Ok((has("Established") && has("NamesAccepted")).then_some(conditions))
    })
    .await
    .unwrap();
    let bad = conditions.iter().find(|one| one["type"] == "NonStructuralSchema");
    assert!(bad.is_none(), "{bad:?}");

    let explained = eventually(Duration::from_secs(30), "kubectl explain", async || {
        Ok(Some(plane.kubectl(&["explain", "kp.spec"])?.ok()?))
    })
    .await
    .unwrap();
    for field in version()["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object().unwrap().keys()
    {
        assert!(explained.lines().any(|line| line.trim_start().starts_with(&format!("{field}\t"))), "{explained}");
    }

    let key_pair =
        r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "one"}, "spec": {}}"#;
    plane.kubectl_with_input(&["create", "-f", "-"], key_pair).unwrap().ok().unwrap();
    let header = |args: &[&str]| {
        let table = plane.kubectl(&[&["get", "kp"], args].concat()).unwrap().ok().unwrap();
        table.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let usual = ["NAME", "KEY-PAIR-NAME", "PROFILE", "ALGORITHM", "BITS", "SECRET", "READY", "REASON", "AGE"];
    assert_eq!(header(&[]), usual);
    let wide = header(&["-o=wide"]);
    for column in ["FINGERPRINT", "REVISION", "NEXT-SWITCH"] {
        assert!(wide.contains(&column.to_owned()), "{wide:?}");
    }
}
