//! The checks of the settings of the Secret.

use super::{
    expression::{allows, quote},
    immutability::algorithm,
    tree::{Check, Node, check, present, variable, when},
};
use crate::domain::{
    key::{Algorithm, Encoding},
    reason::{Parameter, Reason},
    rules::{ANNOTATION_KEY, DATA_KEY, LABEL_KEY, LABEL_VALUE, SECRET_NAME},
    secret::{
        DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY, MANAGED_BY_LABEL, OPAQUE_TYPE, OWN_PREFIX, RELEASE_NAME_PREFIX,
        RESERVED_LABELS, RESERVED_TYPE_PREFIXES, SSH_AUTH_TYPE, TEMPLATE_MAX_BYTES,
    },
};

/// The checks of `spec.secret`, and of the name of the Secret.
pub fn checks(stored: Option<&str>) -> Vec<Node> {
    let settings = [names(), encodings(), vec![present("template", "settings.?template", template())]].concat();
    let settings = key_names("settings", settings);
    // An imported pair has no Secret, so its settings are not checked; but the API server stores the template.
    let size = present("template", "settings.?template", vec![size()]);
    vec![
        present("settings", "secret", vec![size, when("!publicKey.hasValue()", vec![settings])]),
        when("!publicKey.hasValue()", vec![release_name(stored)]),
    ]
}

/// Variables for the names of the data keys in `settings`, for `nodes`.
pub fn key_names(settings: &str, nodes: Vec<Node>) -> Node {
    let name = |field: &str, default: &str| format!("{settings}.?keys.?{field}.orValue({})", quote(default));
    let nodes = vec![variable("publicKeyName", name("publicKey", DEFAULT_PUBLIC_KEY), nodes)];
    variable("privateKeyName", name("privateKey", DEFAULT_PRIVATE_KEY), nodes)
}

fn secret_check(field: &str, condition: impl Into<String>, words: impl Into<String>) -> Check {
    check(format!("secret{field}"), (Reason::InvalidSecret, Parameter::Secret), condition, words)
}

/// The check that Helm does not take the Secret for a release. Without `spec.secret.name`, the name is `metadata.name`.
fn release_name(stored: Option<&str>) -> Node {
    // The name of an object cannot change, and it may be older than the rule.
    let unchanged = stored.map(|stored| {
        format!(
            "!secret.?name.hasValue() && [{stored}.spec].all(old, !has(old.publicKey) && !old.?secret.?name.hasValue())"
        )
    });
    let check = secret_check(
        ".name",
        format!("!secretName.startsWith({})", quote(RELEASE_NAME_PREFIX)),
        format!(
            "The name of the Secret (default: metadata.name) must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for releases."
        ),
    );
    variable("secretName", "secret.?name.orValue(objectName)", vec![check.tolerates(unchanged).into()])
}

fn names() -> Vec<Node> {
    let data_key = |field: &str| -> Node {
        let check = secret_check(
            &format!(".keys.{field}"),
            allows("text", &DATA_KEY),
            format!("The data key must be {}.", DATA_KEY.words),
        );
        present("text", format!("settings.?keys.?{field}"), vec![check.into()])
    };
    let name = secret_check(".name", allows("text", &SECRET_NAME), format!("The name must be {}.", SECRET_NAME.words));
    let differ =
        secret_check(".keys", "privateKeyName != publicKeyName", "keys.privateKey and keys.publicKey must differ.");
    vec![
        present("text", "settings.?name", vec![name.into()]),
        differ.into(),
        data_key("privateKey"),
        data_key("publicKey"),
    ]
}

/// The checks of encodings that support only some algorithms.
fn encodings() -> Vec<Node> {
    let generated = [Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519];
    let mut checks = Vec::new();
    for encoding in Encoding::ALL {
        for algorithm in generated.iter().filter(|algorithm| !encoding.supports(**algorithm)) {
            let check = secret_check(
                ".encoding",
                format!("encoding != '{encoding}' || algorithm != '{algorithm}'"),
                format!("The encoding {encoding} does not support {algorithm} keys: use PKCS8 or OpenSSH."),
            );
            checks.push(check.into());
        }
    }
    vec![present("encoding", "settings.?encoding", vec![variable("algorithm", algorithm("generate"), checks)])]
}

/// The checks of the template: what belongs to the operator is reserved.
fn template() -> Vec<Node> {
    vec![
        present("type", "template.?type", types()),
        present("map", "template.?stringData", string_data()),
        present("map", "template.?labels", labels()),
        present("map", "template.?annotations", annotations()),
    ]
}

fn types() -> Vec<Node> {
    let reserved: Vec<String> =
        RESERVED_TYPE_PREFIXES.iter().map(|prefix| format!("type.startsWith({})", quote(prefix))).collect();
    let ssh_auth = quote(SSH_AUTH_TYPE);
    vec![
        secret_check(
            ".template.type",
            format!("type == {ssh_auth} || !({})", reserved.join(" || ")),
            format!(
                "The type must not be one that Kubernetes or Helm acts on, except {SSH_AUTH_TYPE}: use {OPAQUE_TYPE}."
            ),
        )
        .into(),
        secret_check(
            ".template.type",
            format!("type != {ssh_auth} || privateKeyName == {}", quote(DEFAULT_PRIVATE_KEY)),
            format!("The type {SSH_AUTH_TYPE} requires keys.privateKey to be {DEFAULT_PRIVATE_KEY}: omit the type."),
        )
        .into(),
    ]
}

fn string_data() -> Vec<Node> {
    vec![
        secret_check(
            ".template.stringData",
            "!(privateKeyName in map || publicKeyName in map)",
            "The data keys of the private key and the public key are reserved for the operator.",
        )
        .into(),
        secret_check(
            ".template.stringData",
            format!("map.all(text, {})", allows("text", &DATA_KEY)),
            format!("Each key must be {}.", DATA_KEY.words),
        )
        .into(),
    ]
}

fn labels() -> Vec<Node> {
    let label_check =
        |condition: String, words: String| -> Node { secret_check(".template.labels", condition, words).into() };
    let reserved = label_check(
        format!("!({} in map)", quote(MANAGED_BY_LABEL)),
        format!("The label {MANAGED_BY_LABEL} is reserved for the operator."),
    );
    let foreign = RESERVED_LABELS.iter().map(|(key, value)| {
        let (key_literal, value_literal) = (quote(key), quote(value));
        label_check(
            format!("!({key_literal} in map) || map[{key_literal}] != {value_literal}"),
            format!("The label {key}: {value} would make another tool treat the Secret as its own."),
        )
    });
    let keys = label_check(
        format!("map.all(text, {})", allows("text", &LABEL_KEY)),
        format!("Each key must be {}.", LABEL_KEY.words),
    );
    let values = label_check(
        format!("map.all(key, [map[key]].all(text, {}))", allows("text", &LABEL_VALUE)),
        format!("Each value must be {}.", LABEL_VALUE.words),
    );
    std::iter::once(reserved).chain(foreign).chain([keys, values, own_keys("labels")]).collect()
}

fn annotations() -> Vec<Node> {
    let keys = secret_check(
        ".template.annotations",
        format!("map.all(text, {})", allows("text", &ANNOTATION_KEY)),
        format!("Each key must be {}.", ANNOTATION_KEY.words),
    );
    vec![keys.into(), own_keys("annotations")]
}

fn own_keys(field: &str) -> Node {
    secret_check(
        &format!(".template.{field}"),
        format!("map.all(key, !key.startsWith({}))", quote(OWN_PREFIX)),
        format!("Keys that begin with {OWN_PREFIX} are reserved for the operator."),
    )
    .into()
}

/// The check of the size of the template.
fn size() -> Node {
    let maps = ["labels", "annotations", "stringData"].map(|map| {
        format!("[?template.?{map}].map(map, map.map(key, size(bytes(key)) + size(bytes(map[key]))).sum()).sum()")
    });
    secret_check(
        ".template",
        format!("[?template.?type].map(type, size(bytes(type))).sum() + {} <= {TEMPLATE_MAX_BYTES}", maps.join(" + ")),
        format!(
            "The type, labels, annotations and stringData of the template must not exceed {TEMPLATE_MAX_BYTES} bytes in total: put larger values into another Secret."
        ),
    )
    .into()
}
