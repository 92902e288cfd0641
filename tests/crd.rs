//! The CustomResourceDefinitions in the repository are what the program prints, and the API server accepts them.

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

/// All definitions, that of KeyPairs first.
static CRDS: LazyLock<Vec<Value>> =
    LazyLock::new(|| api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect());

fn version(crd: &Value) -> &Value {
    let versions = crd["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1);
    &versions[0]
}

fn name(crd: &Value) -> &str {
    crd["metadata"]["name"].as_str().unwrap()
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

fn schemas(crd: &Value, of: &str) -> Vec<(String, Value)> {
    let root = &version(crd)["schema"]["openAPIV3Schema"];
    let (path, schema) = if of.is_empty() { ("", root) } else { (of, &root["properties"][of]) };
    let mut found = Vec::new();
    walk(path, schema, &mut |path, schema| found.push((path.to_owned(), schema.clone())));
    assert!(found.len() > 10, "{of}: {found:?}");
    found
}

#[test]
fn the_crds_in_the_repository_are_current() {
    let printed = app::crd_yaml().unwrap();
    let documents: Vec<&str> = printed.split("---\n").collect();
    assert_eq!(documents.len(), CRDS.len());
    for (document, crd) in documents.into_iter().zip(&*CRDS) {
        for directory in ["crds", "charts/keypair-operator/files"] {
            let file = format!("{directory}/{}.yaml", name(crd));
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap_or_default();
            assert!(text == document, "{file} is outdated: run `make crds`");
        }
    }
}

#[test]
fn names_scope_and_status_are_as_published() {
    let expected = [
        ("KeyPair", "keypairs", "keypair", "kp"),
        ("AuthorizedKeys", "authorizedkeys", "authorizedkeys", "ak"),
        ("KnownHosts", "knownhosts", "knownhosts", "kh"),
    ];
    assert_eq!(CRDS.len(), expected.len());
    for (crd, (kind, plural, singular, short)) in CRDS.iter().zip(expected) {
        assert_eq!(name(crd), format!("{plural}.keypairs.dev"));
        assert_eq!(crd["spec"]["group"], "keypairs.dev");
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        let names = json!({"kind": kind, "plural": plural, "singular": singular, "shortNames": [short]});
        assert_eq!(crd["spec"]["names"], names);
        let version = version(crd);
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!(version["served"], true);
        assert_eq!(version["storage"], true);
        assert_eq!(version["subresources"], json!({"status": {}}));
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"], json!({"observedGeneration": -1}));
        let conditions = &status["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    }
}

#[test]
fn key_pairs_can_be_selected_by_fields() {
    let fields = version(&CRDS[0])["selectableFields"].as_array().unwrap();
    let paths: Vec<&str> = fields.iter().map(|field| field["jsonPath"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [".status.fingerprint", ".status.keyPairName", ".status.algorithm", ".spec.project", ".status.secretName"]
    );
}

#[test]
fn every_field_is_described() {
    let described = CRDS.iter().flat_map(|crd| [schemas(crd, "spec"), schemas(crd, "status")].concat());
    let undescribed: Vec<String> = described
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
    let status = schemas(&CRDS[0], "status").into_iter();
    let of_rotation = status.filter(|(path, _)| path.starts_with("status.keys") || path.starts_with("status.rotation"));
    for (path, schema) in CRDS.iter().flat_map(|crd| schemas(crd, "spec")).chain(of_rotation) {
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
    for (path, schema) in CRDS.iter().flat_map(|crd| schemas(crd, "")) {
        if let Some(format) = schema["format"].as_str() {
            assert!(FORMATS.contains(&format), "{path} has format {format}");
        }
    }
}

/// The CEL rules, each with the path of the schema that has it.
fn rules(crd: &Value) -> Vec<(String, Value)> {
    let rules = schemas(crd, "").into_iter().flat_map(|(path, schema)| {
        let rules = schema["x-kubernetes-validations"].as_array().cloned().unwrap_or_default();
        rules.into_iter().map(move |rule| (path.clone(), rule))
    });
    rules.collect()
}

/// The rules of a publication are on the fields that they are about, and say what to do.
#[test]
fn every_rule_of_a_publication_has_a_message() {
    for crd in &CRDS[1..] {
        let rules = rules(crd);
        assert!(rules.len() > 5, "{rules:?}");
        for (path, rule) in rules {
            assert!(rule["message"].as_str().unwrap().len() > 20, "{path}: {rule}");
            assert!(path.starts_with(".spec") || rule["fieldPath"] == ".spec", "{path}: {rule}");
        }
    }
}

/// The API server evaluates each rule on each write, so the CRD of KeyPairs has as few as possible: one for the values and one for
/// the immutable fields.
#[test]
fn the_crd_of_key_pairs_has_only_two_rules() {
    let rules = rules(&CRDS[0]);
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
    let fields: Vec<String> = schemas(&CRDS[0], "").into_iter().map(|(path, _)| path).collect();
    for check in checks {
        let path = format!("spec.{}", check.field);
        assert!(fields.iter().any(|field| field.trim_start_matches('.') == path), "{path} of {check:?} in {fields:?}");
        assert!(check.words.len() > 10 && check.words.ends_with('.'), "{check:?}");
        assert!(!check.profiles.is_empty(), "{check:?}");
    }
}

#[test]
fn columns_are_as_published() {
    let columns = |crd| -> Vec<&str> {
        let columns = version(crd)["additionalPrinterColumns"].as_array().unwrap();
        columns.iter().map(|column| column["name"].as_str().unwrap()).collect()
    };
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
    assert_eq!(columns(&CRDS[0]), expected);
    for crd in &CRDS[1..] {
        assert_eq!(columns(crd), ["Keys", "Target", "Ready", "Reason", "Age"]);
    }
}

/// The API server checks that the schema is structural, and that the rules compile and stay within the cost limit.
#[tokio::test]
async fn the_api_server_accepts_the_crds_without_warnings() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let create = ["create", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    let created = plane.kubectl_with_input(&create, &app::crd_yaml().unwrap()).unwrap();
    assert_eq!((created.stderr.as_str(), created.status.code()), ("", Some(0)));

    for crd in &*CRDS {
        // The API server stores a schema that is not structural, but reports it in this condition.
        let conditions = ["get", "crd", name(crd), "-o=json"];
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

        let field = format!("{}.spec", crd["spec"]["names"]["shortNames"][0].as_str().unwrap());
        let explained = eventually(Duration::from_secs(30), "kubectl explain", async || {
            Ok(Some(plane.kubectl(&["explain", &field])?.ok()?))
        })
        .await
        .unwrap();
        let fields = &version(crd)["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for field in fields.as_object().unwrap().keys() {
            assert!(explained.lines().any(|line| line.trim_start().starts_with(&format!("{field}\t"))), "{explained}");
        }
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
    let status = r#"--patch={"status": {"fingerprint": "00:01"}}"#;
    plane.kubectl(&["patch", "kp", "one", "--subresource=status", "--type=merge", status]).unwrap().ok().unwrap();
    for (value, found) in [("00:01", "keypair.keypairs.dev/one\n"), ("00:02", "")] {
        let selected =
            plane.kubectl(&["get", "kp", "-o=name", "--field-selector", &format!("status.fingerprint={value}")]);
        assert_eq!(selected.unwrap().ok().unwrap(), found);
    }
}
