//! The rules on the settings of the Secret.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::rule::{Level, allows, effective, effective_algorithm, quote, rule};
use crate::domain::{
    key::{Algorithm, Encoding},
    profile::Profile,
    reason::{Parameter, Reason},
    rules::{ANNOTATION_KEY, DATA_KEY, LABEL_KEY, LABEL_VALUE, SECRET_NAME},
    secret::{
        DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY, MANAGED_BY_LABEL, OPAQUE_TYPE, OWN_PREFIX, RELEASE_NAME_PREFIX,
        RESERVED_LABELS, RESERVED_TYPE_PREFIXES, SSH_AUTH_TYPE, TEMPLATE_MAX_BYTES,
    },
};

/// The rules on `spec.secret`.
pub fn rules() -> Vec<ValidationRule> {
    [names(), encodings(), types(), templates(), vec![size()]].concat()
}

/// The rule on the name of the Secret for objects without `spec.secret.name`, whose Secret has the name `metadata.name`.
pub fn default_name_rules() -> Vec<ValidationRule> {
    // An imported pair has no Secret.
    let named = |object: &str| {
        format!("(has({object}.spec.publicKey) || has({object}.spec.secret) && has({object}.spec.secret.name))")
    };
    // Every status write changes the whole object, so the rule itself must ignore violations that are older than the rule.
    let was_default = format!("oldSelf.hasValue() && !{}", named("oldSelf.value()"));
    let mut rule = rule(
        Level::Object,
        "secret.name",
        &Profile::ALL,
        &format!(
            "{} || ({was_default}) || !self.metadata.name.startsWith({})",
            named("self"),
            quote(RELEASE_NAME_PREFIX)
        ),
        (Reason::InvalidSecret, Parameter::Secret),
        &release_words(),
    );
    rule.optional_old_self = Some(true);
    vec![rule]
}

fn release_words() -> String {
    format!(
        "The name of the Secret (default: metadata.name) must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for releases."
    )
}

/// The rule on the size of the template. It also holds for imported keys: they ignore the template, but it is stored.
fn size() -> ValidationRule {
    let template = "self.secret.template";
    let maps = ["labels", "annotations", "stringData"].map(|map| {
        let map = format!("{template}.{map}");
        format!("(has({map}) ? {map}.map(key, size(bytes(key)) + size(bytes({map}[key]))).sum() : 0)")
    });
    let secret_type = format!("(has({template}.type) ? size(bytes({template}.type)) : 0)");
    rule(
        Level::Spec,
        "secret.template",
        &Profile::ALL,
        &format!(
            "!has(self.secret) || !has({template}) || {secret_type} + {} <= {TEMPLATE_MAX_BYTES}",
            maps.join(" + ")
        ),
        (Reason::InvalidSecret, Parameter::Secret),
        &format!(
            "The type, labels, annotations and stringData of the template must not exceed {TEMPLATE_MAX_BYTES} bytes in total: put larger values into another Secret."
        ),
    )
}

/// A rule on `spec.secret`. An imported key has no Secret, so its settings are not checked.
fn secret_rule(field: &str, condition: &str, words: &str) -> ValidationRule {
    rule(
        Level::Spec,
        &format!("secret.{field}"),
        &Profile::ALL,
        &format!("!has(self.secret) || has(self.publicKey) || {condition}"),
        (Reason::InvalidSecret, Parameter::Secret),
        words,
    )
}

/// The effective name of a data key.
fn data_key(field: &str) -> String {
    let default = if field == "privateKey" { DEFAULT_PRIVATE_KEY } else { DEFAULT_PUBLIC_KEY };
    effective("self", &["secret", "keys", field], &quote(default))
}

fn names() -> Vec<ValidationRule> {
    let mut rules = vec![
        secret_rule(
            "name",
            &format!("!has(self.secret.name) || ({})", allows("self.secret.name", &SECRET_NAME)),
            &format!("The name must be {}.", SECRET_NAME.words),
        ),
        secret_rule(
            "name",
            &format!("!has(self.secret.name) || !self.secret.name.startsWith({})", quote(RELEASE_NAME_PREFIX)),
            &release_words(),
        ),
        secret_rule(
            "keys",
            &format!("{} != {}", data_key("privateKey"), data_key("publicKey")),
            "keys.privateKey and keys.publicKey must differ.",
        ),
    ];
    for field in ["privateKey", "publicKey"] {
        let text = format!("self.secret.keys.{field}");
        rules.push(secret_rule(
            &format!("keys.{field}"),
            &format!("!has(self.secret.keys) || !has({text}) || ({})", allows(&text, &DATA_KEY)),
            &format!("The data key must be {}.", DATA_KEY.words),
        ));
    }
    rules
}

/// The rules for encodings that support only some algorithms.
fn encodings() -> Vec<ValidationRule> {
    let generated = [Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519];
    let mut rules = Vec::new();
    for encoding in Encoding::ALL {
        for algorithm in generated.iter().filter(|algorithm| !encoding.supports(**algorithm)) {
            rules.push(secret_rule(
                "encoding",
                &format!(
                    "!has(self.secret.encoding) || self.secret.encoding != '{encoding}' || {} != '{algorithm}'",
                    effective_algorithm("self")
                ),
                &format!("The encoding {encoding} does not support {algorithm} keys: use PKCS8 or OpenSSH."),
            ));
        }
    }
    rules
}

fn types() -> Vec<ValidationRule> {
    let secret_type = "self.secret.template.type";
    let type_rule = |condition: &str, words: &str| {
        let condition = format!("!has(self.secret.template) || !has({secret_type}) || {condition}");
        secret_rule("template.type", &condition, words)
    };
    let reserved: Vec<String> =
        RESERVED_TYPE_PREFIXES.iter().map(|prefix| format!("{secret_type}.startsWith({})", quote(prefix))).collect();
    vec![
        type_rule(
            &format!("{secret_type} == {} || !({})", quote(SSH_AUTH_TYPE), reserved.join(" || ")),
            &format!(
                "The type must not be one that Kubernetes or Helm acts on, except {SSH_AUTH_TYPE}: use {OPAQUE_TYPE}."
            ),
        ),
        type_rule(
            &format!(
                "{secret_type} != {} || {} == {}",
                quote(SSH_AUTH_TYPE),
                data_key("privateKey"),
                quote(DEFAULT_PRIVATE_KEY)
            ),
            &format!("The type {SSH_AUTH_TYPE} requires keys.privateKey to be {DEFAULT_PRIVATE_KEY}: omit the type."),
        ),
    ]
}

/// The rules on the entries of a template: those that belong to the operator are reserved.
fn templates() -> Vec<ValidationRule> {
    let template_rule = |map: &str, condition: &str, words: &str| {
        let path = format!("self.secret.template.{map}");
        let condition = format!("!has(self.secret.template) || !has({path}) || {}", condition.replace("MAP", &path));
        secret_rule(&format!("template.{map}"), &condition, words)
    };
    let mut rules = vec![
        template_rule(
            "stringData",
            &format!("!({} in MAP || {} in MAP)", data_key("privateKey"), data_key("publicKey")),
            "The data keys of the private key and the public key are reserved for the operator.",
        ),
        template_rule(
            "stringData",
            &format!("MAP.all(key, {})", allows("key", &DATA_KEY)),
            &format!("Each key must be {}.", DATA_KEY.words),
        ),
        template_rule(
            "labels",
            &format!("!({} in MAP)", quote(MANAGED_BY_LABEL)),
            &format!("The label {MANAGED_BY_LABEL} is reserved for the operator."),
        ),
    ];
    for (key, value) in RESERVED_LABELS {
        let (key_literal, value_literal) = (quote(key), quote(value));
        rules.push(template_rule(
            "labels",
            &format!("!({key_literal} in MAP) || MAP[{key_literal}] != {value_literal}"),
            &format!("The label {key}: {value} would make another tool treat the Secret as its own."),
        ));
    }
    for (map, key_rule) in [("labels", &LABEL_KEY), ("annotations", &ANNOTATION_KEY)] {
        rules.push(template_rule(
            map,
            &format!("MAP.all(key, {})", allows("key", key_rule)),
            &format!("Each key must be {}.", key_rule.words),
        ));
    }
    rules.push(template_rule(
        "labels",
        &format!("MAP.all(key, {})", allows("MAP[key]", &LABEL_VALUE)),
        &format!("Each value must be {}.", LABEL_VALUE.words),
    ));
    for map in ["labels", "annotations"] {
        rules.push(template_rule(
            map,
            &format!("MAP.all(key, !key.startsWith({}))", quote(OWN_PREFIX)),
            &format!("Keys that begin with {OWN_PREFIX} are reserved for the operator."),
        ));
    }
    rules
}
