//! The `CustomResourceDefinition`s.

mod key_pair;
mod publication;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use serde_json::json;

pub use self::key_pair::crd;
use self::schema::{schema_at, strip_unknown_formats, treat_null_as_absent};

/// Every `CustomResourceDefinition` of the operator: that of `KeyPair` first.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![crd(), publication::authorized_keys(), publication::known_hosts()]
}

/// The definition that the macro generates, with a schema that `change` has completed.
fn with_schema(mut crd: CustomResourceDefinition, change: impl Fn(&mut JSONSchemaProps)) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            strip_unknown_formats(root);
            treat_null_as_absent(root);
            if let Some(status) = schema_at(root, "status") {
                // A new object must count as in progress until the operator reconciles it; without this, kstatus reports it as
                // current.
                status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            }
            change(root);
        }
    }
    crd
}
