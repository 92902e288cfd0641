//! The `CustomResourceDefinition` of `KeyPair`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{cel, key_pair::KeyPair};
use crate::domain::{
    profile::{Profile, ProfileRules},
    rotation::{MAX_GATES, MAX_HOURS, Phase},
    rules,
    secret::TEMPLATE_MAX_BYTES,
};

/// The `CustomResourceDefinition` of [`KeyPair`], with every rule that its schema can express.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = KeyPair::crd();
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            strip_unknown_formats(root);
            treat_null_as_absent(root);
            describe_rules(root);
            root.x_kubernetes_validations = Some(cel::rules());
            if let Some(status) = schema_at(root, "status") {
                // A new object must count as in progress until the operator reconciles it; without this, kstatus reports it as
                // current.
                status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            }
            set_bounds(root);
        }
    }
    crd
}

/// Appends the rules on texts to the descriptions of the fields.
fn describe_rules(root: &mut JSONSchemaProps) {
    let ruled = [
        ("spec/description", &rules::DESCRIPTION),
        ("spec/project", &rules::PROJECT),
        ("spec/tags/key", &rules::TAG_KEY),
        ("spec/tags/value", &rules::TAG_VALUE),
        ("spec/clientToken", &rules::CLIENT_TOKEN),
        ("spec/secret/name", &rules::SECRET_NAME),
        ("spec/secret/keys/privateKey", &rules::DATA_KEY),
        ("spec/secret/keys/publicKey", &rules::DATA_KEY),
    ];
    for (path, rule) in ruled {
        add_sentence(root, path, &format!("It must be {}.", rule.words));
    }
    let maps = [
        ("labels", format!("Each key must be {}; each value {}.", rules::LABEL_KEY.words, rules::LABEL_VALUE.words)),
        ("annotations", format!("Each key must be {}.", rules::ANNOTATION_KEY.words)),
        ("stringData", format!("Each key must be {}.", rules::DATA_KEY.words)),
    ];
    for (map, sentence) in maps {
        add_sentence(root, &format!("spec/secret/template/{map}"), &sentence);
    }
    let duration = rules::DURATION.words;
    for field in ["publishBefore", "keepAfter"] {
        add_sentence(root, &format!("spec/rotation/{field}"), &format!("It must be {duration}."));
    }
    let every = format!(
        "It must be a duration such as 2160h or 90m, longer than 0s, at most {MAX_HOURS}h and not shorter than `publishBefore`."
    );
    add_sentence(root, "spec/rotation/every", &every);
    let gates = format!("At most {MAX_GATES}, each once. Each must be {}.", rules::CONDITION_TYPE.words);
    add_sentence(root, "spec/rotation/gates", &gates);
    add_sentence(root, "spec/secret/template", &format!("At most {TEMPLATE_MAX_BYTES} bytes in total."));
    add_sentence(root, "spec/tags", &format!("At most {} tags.", rules::MAX_TAGS));
    add_sentence(root, "spec/publicKey", &format!("At most {} characters.", rules::PUBLIC_KEY_MAX_CHARS));
    for profile in Profile::ALL {
        let ProfileRules { import_name, generate_name, .. } = profile.rules();
        let sentence = if std::ptr::eq(*import_name, *generate_name) {
            format!("{profile}: {}.", import_name.words)
        } else {
            format!("{profile}, import: {}; generated: {}.", import_name.words, generate_name.words)
        };
        add_sentence(root, "spec/keyPairName", &sentence);
    }
}

fn add_sentence(root: &mut JSONSchemaProps, path: &str, sentence: &str) {
    if let Some(description) = schema_at(root, path).and_then(|schema| schema.description.as_mut()) {
        description.push(' ');
        description.push_str(sentence);
    }
}

/// Bounds every text, list and map of `spec`, and the keys and the rotation in `status`. Without bounds, the API server estimates the
/// cost of a CEL rule as unbounded.
///
/// The bounds are wider than the rules, so that a value beyond a rule gets the message of the rule, with the cloud's error code:
/// the API server evaluates no CEL rule if the schema validation fails.
fn set_bounds(root: &mut JSONSchemaProps) {
    const SLACK: usize = 2;
    const TEXT: usize = 512;
    const PUBLIC_KEY: usize = rules::PUBLIC_KEY_MAX_CHARS * SLACK;
    const TEMPLATE_VALUE: usize = TEMPLATE_MAX_BYTES * SLACK;
    const TEMPLATE_ENTRIES: usize = 64;
    let texts = [
        ("spec/keyPairName", TEXT),
        ("spec/publicKey", PUBLIC_KEY),
        ("spec/description", rules::DESCRIPTION.max_chars * SLACK),
        ("spec/project", TEXT),
        ("spec/clientToken", TEXT),
        ("spec/tags/key", TEXT),
        ("spec/tags/value", TEXT),
        ("spec/secret/name", TEXT),
        ("spec/secret/keys/privateKey", TEXT),
        ("spec/secret/keys/publicKey", TEXT),
        ("spec/secret/template/type", TEXT),
        ("spec/secret/template/labels/*", TEXT),
        ("spec/secret/template/annotations/*", TEMPLATE_VALUE),
        ("spec/secret/template/stringData/*", TEMPLATE_VALUE),
        ("spec/rotation/every", TEXT),
        ("spec/rotation/publishBefore", TEXT),
        ("spec/rotation/keepAfter", TEXT),
        ("spec/rotation/gates/*", TEXT),
        ("status/keys/phase", TEXT),
        ("status/keys/publicKey", PUBLIC_KEY),
        ("status/keys/algorithm", TEXT),
        ("status/keys/fingerprint", TEXT),
        ("status/keys/fingerprints/md5", TEXT),
        ("status/keys/fingerprints/sha256", TEXT),
        ("status/keys/since", TEXT),
        ("status/rotation/handledRequest", TEXT),
        ("status/rotation/nextSwitch", TEXT),
        ("status/rotation/waitingFor/*", TEXT),
    ];
    for (path, max_chars) in texts {
        if let Some(text) = schema_at(root, path) {
            text.max_length = i64::try_from(max_chars).ok();
        }
    }
    let lists = [
        ("spec/tags", rules::MAX_TAGS * SLACK),
        ("spec/rotation/gates", MAX_GATES * SLACK),
        ("status/keys", Phase::ALL.len()),
        ("status/rotation/waitingFor", MAX_GATES),
    ];
    for (path, max_items) in lists {
        if let Some(list) = schema_at(root, path) {
            list.max_items = i64::try_from(max_items).ok();
        }
    }
    for map in ["labels", "annotations", "stringData"] {
        if let Some(map) = schema_at(root, &format!("spec/secret/template/{map}")) {
            map.max_properties = i64::try_from(TEMPLATE_ENTRIES).ok();
        }
    }
}

/// The schema at `path`. `*` selects the values of a map or the items of a list; any other step into a list, a field of its items.
fn schema_at<'a>(schema: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    path.split('/').try_fold(schema, |schema, step| {
        let schema = if schema.items.is_none() {
            schema
        } else if let JSONSchemaPropsOrArray::Schema(item) = schema.items.as_mut()? {
            item.as_mut()
        } else {
            return None;
        };
        if step == "*" && schema.additional_properties.is_none() {
            Some(schema)
        } else if step == "*" {
            match schema.additional_properties.as_mut()? {
                JSONSchemaPropsOrBool::Schema(value) => Some(value.as_mut()),
                JSONSchemaPropsOrBool::Bool(_) => None,
            }
        } else {
            schema.properties.as_mut()?.get_mut(step)
        }
    })
}

/// Removes the formats that Kubernetes does not know and warns about, such as `uint32`.
fn strip_unknown_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| strip_unknown_formats(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        strip_unknown_formats(items);
    }
}

/// Removes `nullable` from enumerations. Null is not one of their values, so a nullable enumeration still rejects it; without
/// `nullable`, the API server treats null as absent.
fn treat_null_as_absent(schema: &mut JSONSchemaProps) {
    if schema.enum_.is_some() {
        schema.nullable = None;
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| treat_null_as_absent(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        treat_null_as_absent(items);
    }
}
