//! Helpers for the tests of the chart.

use std::time::Duration;

use serde_json::Value;

pub use crate::release::{CHART, HELM, Release, helm};

pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The objects of a YAML stream with any number of documents.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    documents.into_iter().filter(Value::is_object).collect()
}
