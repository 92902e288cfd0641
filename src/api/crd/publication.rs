//! The `CustomResourceDefinition`s of `AuthorizedKeys` and `KnownHosts`.
//!
//! Most rules are patterns and limits of the schema, whose cost is small. CEL states only what depends on more than one field, and the
//! rules for the keys of maps. Each CEL rule is on the field that it is about, so that the API server names the element of a list.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{
    schema::{add_sentence, limit_items, limit_length, limit_properties, schema_at},
    with_schema,
};
use crate::{
    api::{
        cel::{allows, list, quote},
        publication::{AuthorizedKeys, KnownHosts},
    },
    domain::{
        label_selector::MAX_REQUIREMENTS,
        publication::bounds::{
            COMMAND, ENVIRONMENT_NAME, ENVIRONMENT_VALUE, EXPIRY_TIME, FROM, HOST, MAX_ELEMENTS, MAX_ENTRIES,
            MAX_HOSTS, MAX_PUBLIC_KEYS, NAMESPACE, PERMIT_LISTEN, PERMIT_OPEN, PRINCIPAL, PUBLIC_KEY, RESERVED_TARGETS,
            RESERVED_TARGETS_WORDS, TUNNEL,
        },
        rules::{DATA_KEY, LABEL_KEY, LABEL_VALUE, SECRET_NAME},
        secret::RELEASE_NAME_PREFIX,
        text_rule::TextRule,
    },
};

/// The longest key of a label: a DNS subdomain of 253 characters, a slash, and 63 characters.
const LABEL_KEY_MAX_CHARS: usize = LABEL_PREFIX_MAX_CHARS + 64;
const LABEL_PREFIX_MAX_CHARS: usize = 253;
/// The maximum length of the texts in the status.
const STATUS_TEXT: usize = 512;
const SELECTOR: &str = "spec/entries/selector";
const OPTIONS: &str = "spec/entries/options";

/// The `CustomResourceDefinition` of `AuthorizedKeys`.
pub(super) fn authorized_keys() -> CustomResourceDefinition {
    with_schema(AuthorizedKeys::crd(), |root| {
        common(root);
        options(root);
        add_rule(
            root,
            "spec/entries/*",
            "has(self.keyPair) != has(self.selector)",
            "set exactly one of keyPair and selector",
        );
    })
}

/// The `CustomResourceDefinition` of `KnownHosts`.
pub(super) fn known_hosts() -> CustomResourceDefinition {
    with_schema(KnownHosts::crd(), |root| {
        common(root);
        hosts(root);
        text(root, "spec/entries/publicKeys/*", &PUBLIC_KEY);
        limit_items(root, "spec/entries/publicKeys", MAX_PUBLIC_KEYS);
        require_item(root, "spec/entries/publicKeys");
        add_rule(
            root,
            "spec/entries/*",
            "[has(self.keyPair), has(self.selector), has(self.publicKeys)].exists_one(given, given)",
            "set exactly one of keyPair, selector and publicKeys",
        );
        add_rule(
            root,
            "spec/entries/*",
            "!has(self.namespace) || !has(self.publicKeys)",
            "namespace has no meaning for publicKeys: omit one of them",
        );
    })
}

/// The parts that both kinds have.
fn common(root: &mut JSONSchemaProps) {
    treat_null_as_absent(root);
    limit_items(root, "spec/entries", MAX_ENTRIES);
    add_sentence(root, "spec/entries", &format!("At most {MAX_ENTRIES}."));
    text(root, "spec/entries/keyPair", &SECRET_NAME);
    text(root, "spec/entries/namespace", &NAMESPACE);
    selector(root);
    for kind in ["configMap", "secret"] {
        text(root, &format!("spec/target/{kind}/name"), &SECRET_NAME);
        text(root, &format!("spec/target/{kind}/key"), &DATA_KEY);
    }
    add_rule(
        root,
        "spec/target",
        "!(has(self.configMap) && has(self.secret))",
        "configMap and secret are mutually exclusive: omit one of them",
    );
    let name = "self.spec.?target.?secret.?name.or(self.spec.?target.?configMap.?name).orValue(self.metadata.name)";
    add_rule(
        root,
        "",
        &format!("!{name}.startsWith({})", quote(RELEASE_NAME_PREFIX)),
        &format!(
            "the name of the target (default: metadata.name) must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for its releases: set another name"
        ),
    );
    add_rule(
        root,
        "",
        &format!("!({name} in {})", list(RESERVED_TARGETS.into_iter())),
        &format!(
            "the name of the target (default: metadata.name) must not be {RESERVED_TARGETS_WORDS}: set another name"
        ),
    );
    for rule in root.x_kubernetes_validations.iter_mut().flatten() {
        rule.field_path = Some(".spec".to_owned());
    }
    for path in ["status/target/kind", "status/target/name", "status/target/key"] {
        limit_length(root, path, STATUS_TEXT);
    }
}

fn selector(root: &mut JSONSchemaProps) {
    let path = |field: &str| format!("{SELECTOR}/{field}");
    limit_properties(root, &path("matchLabels"), MAX_REQUIREMENTS);
    text(root, &path("matchLabels/*"), &LABEL_VALUE);
    limit_items(root, &path("matchExpressions"), MAX_REQUIREMENTS);
    limit_items(root, &path("matchExpressions/values"), MAX_REQUIREMENTS);
    text(root, &path("matchExpressions/values/*"), &LABEL_VALUE);
    limit_length(root, &path("matchExpressions/key"), LABEL_KEY_MAX_CHARS);
    if let Some(key) = schema_at(root, &path("matchExpressions/key")) {
        // Not with the words of the rule, which allows only shorter keys.
        key.pattern = LABEL_KEY.anchored();
    }
    if let Some(operator) = schema_at(root, &path("matchExpressions/operator")) {
        operator.enum_ = Some(["In", "NotIn", "Exists", "DoesNotExist"].map(|name| JSON(json!(name))).into());
    }
    let pattern = LABEL_KEY.anchored().unwrap_or_default();
    // The pattern does not say how long a prefix may be.
    let is_short =
        |key: &str| format!("size({key}) <= {LABEL_KEY_MAX_CHARS} && {key}.indexOf('/') <= {LABEL_PREFIX_MAX_CHARS}");
    let words = "each key must be the key of a label, such as app or example.com/app";
    let keys = format!("self.all(key, {} && key.matches(r'{pattern}'))", is_short("key"));
    add_rule(root, &path("matchLabels"), &keys, words);
    add_rule(root, &path("matchExpressions/*"), &is_short("self.key"), "the key must be the key of a label");
    add_rule(
        root,
        &path("matchExpressions/*"),
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
        "the operators In and NotIn need values; Exists and DoesNotExist must have none",
    );
}

fn options(root: &mut JSONSchemaProps) {
    let path = |field: &str| format!("{OPTIONS}/{field}");
    let lists =
        [("from", &FROM), ("principals", &PRINCIPAL), ("permitOpen", &PERMIT_OPEN), ("permitListen", &PERMIT_LISTEN)];
    for (list, rule) in lists {
        list_of_texts(root, &path(list), rule, MAX_ELEMENTS);
    }
    add_rule(
        root,
        &path("from"),
        "size(self) == 0 || self.exists(pattern, !pattern.startsWith('!'))",
        "exclusions with '!' alone match no client: add what matches, such as '*'",
    );
    for (field, rule) in [("command", &COMMAND), ("expiryTime", &EXPIRY_TIME), ("tunnel", &TUNNEL)] {
        text(root, &path(field), rule);
    }
    let environment = path("environment");
    limit_properties(root, &environment, MAX_ELEMENTS);
    text(root, &path("environment/*"), &ENVIRONMENT_VALUE);
    let sentence = format!("Each key must be {}; each value {}.", ENVIRONMENT_NAME.words, ENVIRONMENT_VALUE.words);
    add_sentence(root, &environment, &sentence);
    add_rule(
        root,
        &environment,
        &format!("self.all(name, {})", allows("name", &ENVIRONMENT_NAME)),
        &format!("each key must be {}", ENVIRONMENT_NAME.words),
    );
    add_rule(
        root,
        OPTIONS,
        "!has(self.principals) || size(self.principals) == 0 || has(self.certAuthority) && self.certAuthority",
        "principals are those of certificates: set certAuthority to true, or omit principals",
    );
}

fn hosts(root: &mut JSONSchemaProps) {
    const PATH: &str = "spec/entries/hosts";
    list_of_texts(root, PATH, &HOST, MAX_HOSTS);
    require_item(root, PATH);
    if let Some(entry) = schema_at(root, "spec/entries").and_then(items) {
        entry.required.get_or_insert_default().push("hosts".to_owned());
    }
    add_rule(
        root,
        PATH,
        "self.exists(host, !host.startsWith('!'))",
        "exclusions with '!' alone match no host: add what matches, such as '*'",
    );
    add_rule(
        root,
        "spec",
        "!self.hashHosts || !has(self.entries) || self.entries.all(entry, entry.hosts.all(host, !host.matches('[*?!]')))",
        "a pattern with '*', '?' or '!' cannot be hashed: set hashHosts to false, or list the hosts by name",
    );
}

/// Applies a rule to the text at `path`.
fn text(root: &mut JSONSchemaProps, path: &str, rule: &TextRule) {
    add_sentence(root, path, &format!("It must be {}.", rule.words));
    if let Some(text) = schema_at(root, path) {
        text.max_length = i64::try_from(rule.max_chars).ok();
        text.min_length = i64::try_from(rule.min_chars).ok().filter(|min| *min > 0);
        text.pattern = rule.anchored();
    }
}

/// Applies a rule to the texts of the list at `path`.
fn list_of_texts(root: &mut JSONSchemaProps, path: &str, rule: &TextRule, max_items: usize) {
    limit_items(root, path, max_items);
    add_sentence(root, path, &format!("At most {max_items}. Each must be {}.", rule.words));
    text(root, &format!("{path}/*"), rule);
}

/// The list at `path` must not be empty.
fn require_item(root: &mut JSONSchemaProps, path: &str) {
    if let Some(list) = schema_at(root, path) {
        list.min_items = Some(1);
    }
}

/// The schema of the items of a list.
fn items(list: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    match list.items.as_mut()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items.as_mut()),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// Adds a CEL rule to the field at `path`; an empty path is the object.
fn add_rule(root: &mut JSONSchemaProps, path: &str, rule: &str, message: &str) {
    let schema = if path.is_empty() { Some(root) } else { schema_at(root, path) };
    if let Some(schema) = schema {
        let rule =
            ValidationRule { rule: rule.to_owned(), message: Some(message.to_owned()), ..ValidationRule::default() };
        schema.x_kubernetes_validations.get_or_insert_default().push(rule);
    }
}

/// Removes `nullable` everywhere: the API server then treats null as absent, and so do the rules.
fn treat_null_as_absent(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flatten().for_each(|(_, property)| treat_null_as_absent(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        treat_null_as_absent(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = schema.additional_properties.as_mut() {
        treat_null_as_absent(value);
    }
}
