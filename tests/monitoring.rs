//! Alerts and dashboard only use metrics that exist, and every alert has a section in the runbook.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use keypair_operator::{
    cache::Usage,
    domain::{publication::PublicationKind, reason::Reason, rotation::RotationOutcome},
    observe::Metrics,
};
use regex::Regex;
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The output after every metric was recorded once: a metric that was never recorded is missing.
fn rendered() -> String {
    let metrics = Metrics::new(Usage::default());
    metrics.record_reconciliation("Ready", Duration::from_millis(1));
    metrics.record_failure("WriteStatus");
    metrics.record_first_outcome(Duration::from_secs(1));
    metrics.record_generation("RSA", 2048, Duration::from_millis(100));
    metrics.set_pool_size("RSA", 2048, 1);
    metrics.record_watch("KeyPairs", false);
    metrics.record_watch_lag(Duration::from_millis(1));
    metrics.record_request(200);
    metrics.set_leader(true);
    metrics.record_review("Admitted");
    metrics.record_rotation(RotationOutcome::KeyRotated);
    metrics.record_publication_write(PublicationKind::AuthorizedKeys);
    metrics.render().unwrap()
}

/// The series names of each metric.
fn names() -> BTreeSet<String> {
    let rendered = rendered();
    let types: BTreeMap<&str, &str> =
        rendered.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() > 10, "{rendered}");
    let suffixes = |kind: &str| -> &[&str] {
        match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        }
    };
    types
        .into_iter()
        .flat_map(|(name, kind)| suffixes(kind).iter().map(move |suffix| format!("{name}{suffix}")))
        .collect()
}

fn alerts() -> Vec<Value> {
    let groups: Value = serde_saphyr::from_str(&read("charts/keypair-operator/files/alerts.yaml")).unwrap();
    groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("charts/keypair-operator/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dashboards_and_alerts_use_exactly_the_exported_metrics() {
    let known = names();
    let word = Regex::new("keypair_operator_[a-z_]+").unwrap();
    let rules = alerts().iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let asked: BTreeSet<String> = rules
        .iter()
        .chain(&dashboard())
        .flat_map(|expression| word.find_iter(expression).map(|found| found.as_str().to_owned()).collect::<Vec<_>>())
        .collect();
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "used, but not exported: {unknown:?}");
    // One series of a histogram is enough.
    let base = |name: &String| {
        ["_bucket", "_sum", "_count", "_total"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name)
            .to_owned()
    };
    let (asked, known): (BTreeSet<_>, BTreeSet<_>) =
        (asked.iter().map(base).collect(), known.iter().map(base).collect());
    let unseen: Vec<_> = known.difference(&asked).collect();
    assert!(unseen.is_empty(), "exported, but not on any panel: {unseen:?}");
    // The documentation names every metric as well.
    let operations = read("docs/operations.md");
    for name in &known {
        assert!(operations.contains(&format!("`{name}")), "docs/operations.md does not name {name}");
    }
}

/// Alerts only select label values that the operator exports.
#[test]
fn outcomes_in_alerts_exist() {
    let value = Regex::new(r#"outcome=~?"([A-Za-z|]+)""#).unwrap();
    for rule in alerts() {
        for found in value.captures_iter(rule["expr"].as_str().unwrap()) {
            for outcome in found[1].split('|') {
                let known =
                    Reason::from_name(outcome).is_some() || ["Ready", "Unavailable", "Admitted"].contains(&outcome);
                assert!(known, "{outcome}");
            }
        }
    }
}

/// A counter that first appears with its first increment shows no increase, so the alert would miss a single lost key.
#[test]
fn counters_in_alerts_exist_from_the_start() {
    let fresh = Metrics::new(Usage::default()).render().unwrap();
    let increase = Regex::new(r#"increase\((\w+)\{outcome=~"([A-Za-z|]+)"\}"#).unwrap();
    let alerts = alerts();
    let expressions = || alerts.iter().map(|rule| rule["expr"].as_str().unwrap());
    assert_eq!(
        expressions().filter(|expression| increase.is_match(expression)).count(),
        expressions().filter(|expression| expression.contains("increase(")).count()
    );
    for found in expressions().flat_map(|expression| increase.captures_iter(expression)) {
        for outcome in found[2].split('|') {
            let zero = format!("{}{{outcome=\"{outcome}\"}} 0", &found[1]);
            assert!(fresh.lines().any(|line| line == zero), "{zero} is missing:\n{fresh}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_section() {
    let operations = read("docs/operations.md");
    let alerts = alerts();
    assert!(alerts.len() > 5);
    for rule in &alerts {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            operations.lines().any(|line| line == format!("### {name}")),
            "docs/operations.md has no section {name}"
        );
        let link = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], link.as_str());
    }
    let (_, runbook) = operations.split_once("\n## Runbook\n").unwrap();
    let runbook = runbook.split("\n## ").next().unwrap();
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(sections, alerts, "the sections of the runbook should match the alerts");
}

/// Metrics follow the Prometheus naming rules: base units, `_total` for counters, and no cardinality that grows with the objects.
#[test]
fn metric_names_follow_prometheus_conventions() {
    let rendered = rendered();
    for line in rendered.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(name.starts_with("keypair_operator_"), "{line}");
        let is_timestamp = name.ends_with("_timestamp_seconds");
        assert_eq!(kind == "histogram", name.ends_with("_seconds") && !is_timestamp, "{line}");
        assert!(!is_timestamp || kind == "gauge", "{line}");
    }
    assert!(rendered.contains("keypair_operator_rotations_total{outcome=\"KeyRotated\"} 1\n"), "{rendered}");
    assert!(
        rendered.contains(r#"keypair_operator_reconciliation_duration_seconds_count{outcome="Ready"} 1"#),
        "{rendered}"
    );
    let labels = Regex::new(r"([a-z_]+)=").unwrap();
    let used: BTreeSet<&str> = rendered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| labels.captures_iter(line).map(|found| found.get(1).unwrap().as_str()))
        .collect();
    assert!(
        used.is_subset(&["algorithm", "bits", "code", "kind", "le", "namespace", "outcome", "resource", "step"].into()),
        "{used:?}"
    );
}
