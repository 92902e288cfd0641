//! Versions of the CRD that differ in their validation rules.

use keypair_operator::api;
use keypair_test_harness::without_rules;
use serde_json::{Value, json};

const RULES: &str = "x-kubernetes-validations";

#[derive(Debug, Clone)]
pub struct Variant {
    pub name: String,
    pub crd: Value,
}

impl Variant {
    /// The unmodified CRD.
    pub fn all() -> Self {
        Self { name: "all".to_owned(), crd: serde_json::to_value(api::crd()).unwrap() }
    }

    pub fn read(name: &str, yaml: &str) -> Self {
        Self { name: name.to_owned(), crd: serde_saphyr::from_str(yaml).unwrap() }
    }

    pub fn without_rules(&self) -> Self {
        Self { name: "none".to_owned(), crd: without_rules(self.crd.clone()) }
    }

    /// Copies of this variant, each without a different rule.
    pub fn with_one_less(&self) -> Vec<Self> {
        let count = schema(&mut self.crd.clone())[RULES].as_array().unwrap().len();
        let without = |at: usize| {
            let mut crd = self.crd.clone();
            schema(&mut crd)[RULES].as_array_mut().unwrap().remove(at);
            Self { name: format!("without rule {}", at + 1), crd }
        };
        (0..count).map(without).collect()
    }

    /// `spec.versions` with `limit` as the `maxLength` of `project`, which shows when the API server uses this version.
    pub fn versions(&self, limit: usize) -> Value {
        let mut crd = self.crd.clone();
        schema(&mut crd)["properties"]["spec"]["properties"]["project"]["maxLength"] = json!(limit);
        crd["spec"]["versions"].take()
    }
}

fn schema(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
