//! The CEL rules of the CRD, generated from the tables of the domain.
//!
//! The message of each rule is the cloud's: its error code and its message, and then what to do. CEL cannot check whether a key
//! blob is well-formed, the quota, or the names of other key pairs. The controller checks those, and everything else again,
//! because stored objects can be older than the rules.

mod condition;
mod immutability;
mod request;
mod rule;
mod secret;

pub use condition::refused_condition;
pub(super) use rule::{list, quote};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

/// The rules that need only `spec`.
#[must_use]
pub fn spec_rules() -> Vec<ValidationRule> {
    [request::rules(), secret::rules()].concat()
}

/// The rules that need the whole object: on names that default to `metadata.name`, and on immutable fields.
#[must_use]
pub fn object_rules() -> Vec<ValidationRule> {
    [request::default_name_rules(), secret::default_name_rules(), immutability::rules()].concat()
}
