//! What must not change once the pair is accepted.
//!
//! Compared are the effective values: writing out a default, or a final newline, changes nothing.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::rule::{Level, quote, rule};
use crate::domain::{
    key::{Algorithm, KeySpec},
    profile::Profile,
    reason::{Parameter, Reason},
    secret::{DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY},
};

/// The transition rules.
pub fn rules() -> Vec<ValidationRule> {
    let key = Reason::InvalidPublicKey;
    let mut rules = vec![
        unchanged("profile", (key, Parameter::PublicKey), &|object| format!("{object}.spec.profile")),
        unchanged("keyPairName", (Reason::InvalidKeyPairName, Parameter::KeyPairName), &|object| {
            format!("(has({object}.spec.keyPairName) ? {object}.spec.keyPairName : {object}.metadata.name)")
        }),
        unchanged("publicKey", (key, Parameter::PublicKey), &|object| {
            format!("(has({object}.spec.publicKey) ? {object}.spec.publicKey.trim() : '')")
        }),
        unchanged("generate.algorithm", (key, Parameter::Generate), &algorithm),
        unchanged("generate.bits", (key, Parameter::Generate), &bits),
        unchanged("clientToken", (Reason::InvalidClientToken, Parameter::ClientToken), &|object| {
            format!("(has({object}.spec.clientToken) ? {object}.spec.clientToken : '')")
        }),
    ];
    rules.extend(secret());
    rules
}

/// The settings of the Secret, which is made once. That an edit would be taken and have no effect is worse than that it is
/// refused: whoever sets `Retain` and then deletes the KeyPair relies on it.
fn secret() -> Vec<ValidationRule> {
    let about = (Reason::InvalidSecret, Parameter::Secret);
    let setting = |path: &[&str], default: &str| {
        let field = format!("secret.{}", path.join("."));
        unchanged(&field, about, &|object| {
            let mut present = vec![format!("has({object}.spec.secret)")];
            let mut value = format!("{object}.spec.secret");
            for step in path {
                value = format!("{value}.{step}");
                present.push(format!("has({value})"));
            }
            format!("({} ? {value} : {default})", present.join(" && "))
        })
    };
    vec![
        unchanged("secret.name", about, &|object| {
            format!(
                "(has({object}.spec.secret) && has({object}.spec.secret.name) ? {object}.spec.secret.name : {object}.metadata.name)"
            )
        }),
        setting(&["keys", "privateKey"], &quote(DEFAULT_PRIVATE_KEY)),
        setting(&["keys", "publicKey"], &quote(DEFAULT_PUBLIC_KEY)),
        setting(&["encoding"], "'PKCS8'"),
        setting(&["deletionPolicy"], "'Delete'"),
        setting(&["template", "type"], "''"),
        setting(&["template", "labels"], "{}"),
        setting(&["template", "annotations"], "{}"),
        setting(&["template", "stringData"], "{}"),
    ]
}

/// The rule that `value`, a CEL expression made for the new and for the old object, stays the same.
fn unchanged(field: &str, about: (Reason, Parameter), value: &dyn Fn(&str) -> String) -> ValidationRule {
    rule(
        Level::Object,
        field,
        &Profile::ALL,
        &format!("!has(oldSelf.status) || !has(oldSelf.status.keyPairID) || {} == {}", value("self"), value("oldSelf")),
        about,
        &format!("{field} is immutable once the key pair is accepted: create another KeyPair instead."),
    )
}

fn algorithm(object: &str) -> String {
    format!("(has({object}.spec.generate) ? {object}.spec.generate.algorithm : 'RSA')")
}

fn bits(object: &str) -> String {
    let default = |algorithm| KeySpec::from_parts(algorithm, None).map_or(0, KeySpec::bits);
    format!(
        "(has({object}.spec.generate) && has({object}.spec.generate.bits) ? {object}.spec.generate.bits : \
         {} == 'RSA' ? {} : {})",
        algorithm(object),
        default(Algorithm::Rsa),
        // The defaults of ECDSA and Ed25519 are the same number.
        default(Algorithm::Ecdsa),
    )
}
