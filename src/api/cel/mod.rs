//! The CEL rules of the CRD, made from the tables of the domain.
//!
//! Each rule says what the profile's cloud would say: its error code, its message, and then what to do. What CEL cannot
//! know (whether a key blob is well formed, quota, names of other pairs) is left to the controller, which checks everything
//! again, since stored objects can be older than the rules.

mod condition;
mod immutability;
mod request;
mod rule;
mod secret;

pub use condition::refused_condition;
pub(super) use rule::{list, quote};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

/// The rules on `spec`, for whatever can be judged from it alone.
#[must_use]
pub fn spec_rules() -> Vec<ValidationRule> {
    [request::rules(), secret::rules()].concat()
}

/// The rules on the whole object: on the names that `metadata.name` stands in for, and on what is immutable.
#[must_use]
pub fn object_rules() -> Vec<ValidationRule> {
    [request::default_name_rules(), secret::default_name_rules(), immutability::rules()].concat()
}
