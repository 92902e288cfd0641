//! What must not change once the pair is accepted.
//!
//! Compared are the effective values: writing out a default, or a final newline, changes nothing.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::rule::{Level, effective, effective_algorithm, rule};
use crate::domain::{
    key::{Algorithm, KeySpec},
    profile::Profile,
    reason::{Parameter, Reason},
};

/// The transition rules.
pub fn rules() -> Vec<ValidationRule> {
    let key = |parameter| (Reason::InvalidPublicKey, parameter);
    let name = (Reason::InvalidKeyPairName, Parameter::KeyPairName);
    let token = (Reason::InvalidClientToken, Parameter::ClientToken);
    vec![
        unchanged(&["profile"], key(Parameter::PublicKey), &|object| format!("{object}.spec.profile")),
        unchanged(&["keyPairName"], name, &|object| {
            effective(&format!("{object}.spec"), &["keyPairName"], &format!("{object}.metadata.name"))
        }),
        unchanged(&["publicKey"], key(Parameter::PublicKey), &|object| {
            format!("{}.trim()", effective(&format!("{object}.spec"), &["publicKey"], "''"))
        }),
        unchanged(&["generate", "algorithm"], key(Parameter::Generate), &|object| {
            effective_algorithm(&format!("{object}.spec"))
        }),
        unchanged(&["generate", "bits"], key(Parameter::Generate), &bits),
        setting(&["clientToken"], token, "''"),
    ]
}

/// The rule that the optional value at `path` below the spec stays the same.
fn setting(path: &[&str], about: (Reason, Parameter), default: &str) -> ValidationRule {
    unchanged(path, about, &|object| effective(&format!("{object}.spec"), path, default))
}

/// The rule that `value`, a CEL expression made for the new and for the old object, stays the same.
fn unchanged(path: &[&str], about: (Reason, Parameter), value: &dyn Fn(&str) -> String) -> ValidationRule {
    let field = path.join(".");
    rule(
        Level::Object,
        &field,
        &Profile::ALL,
        &format!("!has(oldSelf.status) || !has(oldSelf.status.keyPairID) || {} == {}", value("self"), value("oldSelf")),
        about,
        &format!("{field} is immutable once the key pair is accepted: create another KeyPair instead."),
    )
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
