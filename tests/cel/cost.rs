//! Measures what the CRD's rules cost the API server, with the API server's own code, which `hack/cel-cost.sh` builds.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::objects::{PUBLIC_KEY, key_pair};

/// Maximum kilobytes that the API server allocates to evaluate the rules of a write. A write without rules allocates a few hundred.
const CREATE_OF_IMPORT: u64 = 66;
const CREATE_OF_GENERATED: u64 = 43;
const FIRST_STATUS: u64 = 31;
const LATER_WRITE: u64 = 120;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    rules: Vec<Rule>,
    estimate_limit: u64,
    writes: Vec<Written>,
    cost_limit: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    path: String,
    estimate: u64,
    message_estimate: u64,
}

#[derive(Debug, Deserialize)]
struct Written {
    name: String,
    cost: u64,
    bytes: u64,
    errors: Vec<String>,
}

/// A create, or an update of `old`.
fn write(name: &str, object: &Value, old: Option<&Value>) -> Value {
    json!({ "name": name, "object": object, "oldObject": old })
}

fn report(writes: &[Value]) -> Report {
    report_of("keypairs", writes)
}

fn report_of(plural: &str, writes: &[Value]) -> Report {
    let program = std::env::var("CEL_COST").unwrap_or_else(|_| {
        panic!("CEL_COST is not set: run `make test`, or set it to the output of hack/cel-cost.sh")
    });
    let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{plural}.keypairs.dev.yaml"));
    let mut child = Command::new(program).arg(crd).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(writes).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    for Written { name, cost, bytes, errors } in &report.writes {
        println!("{name}: cost {cost} of {}, {} kB", report.cost_limit, bytes / 1000);
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    report
}

/// An object as the API server stores it before the first reconciliation: the CRD sets a default status.
fn new(spec: &Value) -> Value {
    with(&key_pair("web", spec), "/status", json!({ "observedGeneration": -1 }))
}

fn import() -> Value {
    let tags = json!([{ "key": "team", "value": "a" }]);
    let spec = json!({ "profile": "OpenSSH", "publicKey": PUBLIC_KEY, "description": "described", "tags": tags });
    new(&spec)
}

fn status(message: &str) -> Value {
    json!({
        "observedGeneration": 1, "keyPairID": "kp-0123456789abcdefghij", "keyPairName": "web", "publicKey": PUBLIC_KEY,
        "fingerprint": "SHA256:xyz", "region": "default",
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Imported", "message": message }]
    })
}

fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

/// Add a check to the tree in `src/api/cel`, not as a separate rule: every status write pays for each rule.
#[test]
fn a_status_write_evaluates_only_parts_of_two_rules() {
    let generated = new(&json!({ "profile": "OpenSSH" }));
    let accepted = with(&import(), "/status", status("accepted"));
    let writes = [
        (CREATE_OF_IMPORT, write("create of an import", &import(), None)),
        (CREATE_OF_GENERATED, write("create of a generated pair", &generated, None)),
        (FIRST_STATUS, write("first status of an import", &accepted, Some(&import()))),
        (
            FIRST_STATUS,
            write("first status of a generated pair", &with(&generated, "/status", status("")), Some(&generated)),
        ),
        (LATER_WRITE, write("later status", &with(&accepted, "/status", status("later")), Some(&accepted))),
        (LATER_WRITE, write("labels", &with(&accepted, "/metadata/labels", json!({ "a": "b" })), Some(&accepted))),
        (LATER_WRITE, write("description", &with(&accepted, "/spec/description", json!("other")), Some(&accepted))),
    ];
    let found = report(&writes.iter().map(|(_, write)| write.clone()).collect::<Vec<_>>());
    assert_eq!(found.rules.len(), 2, "{:?}", found.rules);
    for (written, (limit, _)) in found.writes.iter().zip(writes) {
        let bytes = written.bytes;
        assert!(
            bytes <= limit * 1000 && bytes > limit * 500,
            "{written:?}: expected between half of {limit} kB and {limit} kB"
        );
    }
}

/// The API server refuses a CRD if the estimated cost of a rule is above the limit, and a write if its rules exceed the runtime limit.
#[test]
fn rule_costs_are_far_below_the_limits() {
    let text = |chars: usize| "é".repeat(chars);
    let entries = |prefix: &str, value: &str| -> Value {
        (0..40).map(|n| (format!("{prefix}{n}"), value.into())).collect::<serde_json::Map<String, Value>>().into()
    };
    let key = PUBLIC_KEY.trim_end();
    let tags: Vec<Value> = (0..20).map(|n| json!({ "key": format!("{n}{}", text(60)), "value": text(128) })).collect();
    let key = format!("{key} {}", text(32_767 - key.chars().count()));
    let import = json!({ "profile": "OpenSSH", "publicKey": key, "keyPairName": text(128), "description": "d".repeat(255), "tags": tags });
    let long = format!("{}.example.com/{}", "a".repeat(50), "b".repeat(50));
    let template = json!({
        "labels": entries(&long, "v"), "annotations": entries(&long, "value"), "stringData": entries("entry", &"x".repeat(100)),
    });
    let gates: Vec<String> =
        (0..8).map(|n| format!("{}.example.com/{n}{}", "a".repeat(200), "b".repeat(100))).collect();
    let rotation =
        json!({ "every": "2160h0m0.000000001s", "publishBefore": "24h0m0s", "keepAfter": "24h0m0s", "gates": gates });
    let generated = json!({
        "rotation": rotation, "profile": "OpenSSH", "keyPairName": text(128), "tags": tags, "description": "d".repeat(255),
        "secret": { "name": "a".repeat(253), "template": template },
    });
    let (import, generated) = (key_pair("web", &import), key_pair("web", &generated));
    let accepted = with(&import, "/status", status(""));
    let found = report(&[
        write("largest import", &import, None),
        write("largest generated pair", &generated, None),
        write("largest import, edited", &with(&accepted, "/spec/description", json!("other")), Some(&accepted)),
    ]);
    for rule in &found.rules {
        println!("{rule:?} of {}", found.estimate_limit);
        let most = rule.estimate.max(rule.message_estimate);
        assert!(
            most <= found.estimate_limit / 100 && rule.path.is_empty(),
            "{rule:?}: the limit is {}",
            found.estimate_limit
        );
    }
    for written in &found.writes {
        assert!(written.cost <= found.cost_limit / 2, "{written:?}: the limit is {}", found.cost_limit);
    }
}

/// The rules of publications stay far below the limits even for the largest object, whose status the operator must be able to write.
#[test]
fn the_largest_publications_stay_far_below_the_limits() {
    let expression = |index: usize| json!({ "key": format!("{}/k{index}", "p".repeat(250)), "operator": "In", "values": vec!["v".repeat(63); 16] });
    let selector = json!({
        "matchLabels": (0..16).map(|index| (format!("{}/k{index}", "p".repeat(250)), json!("v".repeat(63)))).collect::<serde_json::Map<_, _>>(),
        "matchExpressions": (0..16).map(expression).collect::<Vec<_>>(),
    });
    let environment =
        (0..32).map(|index| (format!("{}{index}", "N".repeat(250)), json!("v"))).collect::<serde_json::Map<_, _>>();
    let options = json!({
        "from": vec!["!".to_owned() + &"a".repeat(252); 31].into_iter().chain(["*".to_owned()]).collect::<Vec<_>>(),
        "environment": environment, "principals": vec!["a".repeat(253); 32], "certAuthority": true, "command": "c".repeat(4096),
    });
    let hosts: Vec<String> = (0..15).map(|_| "!".to_owned() + &"h".repeat(252)).chain(["h".repeat(253)]).collect();
    for (plural, entry, more) in [
        ("authorizedkeys", json!({ "selector": selector, "options": options }), json!({})),
        ("knownhosts", json!({ "selector": selector, "hosts": hosts }), json!({})),
        (
            "knownhosts",
            json!({ "selector": selector, "hosts": vec!["h".repeat(253); 16] }),
            json!({ "hashHosts": true }),
        ),
    ] {
        let mut spec = more;
        spec["entries"] = json!(vec![entry; 64]);
        spec["target"] = json!({ "secret": { "name": "a".repeat(253) } });
        if plural == "knownhosts" && spec.get("hashHosts").is_none() {
            spec["hashHosts"] = json!(false);
        }
        let object =
            json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "A", "metadata": { "name": "web" }, "spec": spec });
        let written = with(&object, "/status", json!({ "observedGeneration": 1 }));
        let found = report_of(plural, &[write("create", &object, None), write("status", &written, Some(&object))]);
        for rule in &found.rules {
            println!("{rule:?} of {}", found.estimate_limit);
            assert!(rule.estimate <= found.estimate_limit / 20, "{rule:?}: the limit is {}", found.estimate_limit);
        }
        // The limit is that of a single rule; all together may cost ten times as much.
        for written in &found.writes {
            assert!(written.cost <= 2 * found.cost_limit, "{written:?}: the limit is {}", found.cost_limit);
        }
    }
}
