//! The immutable fields of an accepted key pair: the table of [`ImmutableField`] in CEL.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::rule::{Level, effective, effective_algorithm, rule};
use crate::domain::{
    immutable::ImmutableField,
    key::{Algorithm, KeySpec},
    profile::Profile,
};

/// The transition rules.
pub fn rules() -> Vec<ValidationRule> {
    ImmutableField::ALL.into_iter().map(unchanged).collect()
}

/// The rule that the effective value of `field` stays the same.
fn unchanged(field: ImmutableField) -> ValidationRule {
    rule(
        Level::Object,
        &field.path().join("."),
        &Profile::ALL,
        &format!(
            "!has(oldSelf.status) || !has(oldSelf.status.keyPairID) || {} == {}",
            value(field, "self"),
            value(field, "oldSelf")
        ),
        field.about(),
        &format!("{}.", field.words()),
    )
}

/// The CEL expression for the effective value of `field` in `object`, which is `self` or `oldSelf`.
fn value(field: ImmutableField, object: &str) -> String {
    let spec = format!("{object}.spec");
    match field {
        ImmutableField::Profile => format!("{spec}.profile"),
        ImmutableField::KeyPairName => effective(&spec, field.path(), &format!("{object}.metadata.name")),
        ImmutableField::PublicKey => format!("{}.trim()", effective(&spec, field.path(), "''")),
        ImmutableField::Algorithm => effective_algorithm(&spec),
        ImmutableField::Bits => bits(object),
        ImmutableField::ClientToken => effective(&spec, field.path(), "''"),
    }
}

fn bits(object: &str) -> String {
    let spec = format!("{object}.spec");
    let default = |algorithm| KeySpec::from_parts(algorithm, None).map_or(0, KeySpec::bits);
    let default = format!(
        "({} == '{}' ? {} : {})",
        effective_algorithm(&spec),
        Algorithm::Rsa,
        default(Algorithm::Rsa),
        // The defaults of ECDSA and Ed25519 are the same number.
        default(Algorithm::Ecdsa),
    );
    effective(&spec, &["generate", "bits"], &default)
}
