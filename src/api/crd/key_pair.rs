//! The `CustomResourceDefinition` of `KeyPair`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, SelectableField,
};
use kube::CustomResourceExt;

use super::{
    schema::{add_sentence, limit_items, limit_length, limit_properties},
    with_schema,
};
use crate::{
    api::{cel, key_pair::KeyPair},
    domain::{
        profile::{Profile, ProfileRules},
        rotation::{MAX_GATES, MAX_HOURS, Phase},
        rules,
        secret::TEMPLATE_MAX_BYTES,
        share_with::{MAX_SHARE_WITH, SHARE_WITH},
    },
};

/// The fields by which `KeyPair`s can be selected: `kubectl get keypairs --field-selector status.fingerprint=…`.
const SELECTABLE: [&str; 5] =
    [".status.fingerprint", ".status.keyPairName", ".status.algorithm", ".spec.project", ".status.secretName"];

/// The `CustomResourceDefinition` of [`KeyPair`], with every rule that its schema can express.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = with_schema(KeyPair::crd(), |root| {
        describe_rules(root);
        root.x_kubernetes_validations = Some(cel::rules());
        set_bounds(root);
    });
    for version in &mut crd.spec.versions {
        version.selectable_fields = Some(SELECTABLE.map(|path| SelectableField { json_path: path.to_owned() }).into());
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
    let shared = format!("At most {MAX_SHARE_WITH}. Each must be {}.", SHARE_WITH.words);
    add_sentence(root, "spec/shareWith", &shared);
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
        ("spec/shareWith/*", TEXT),
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
        limit_length(root, path, max_chars);
    }
    let lists = [
        ("spec/tags", rules::MAX_TAGS * SLACK),
        ("spec/rotation/gates", MAX_GATES * SLACK),
        ("spec/shareWith", MAX_SHARE_WITH * SLACK),
        ("status/keys", Phase::ALL.len()),
        ("status/rotation/waitingFor", MAX_GATES),
    ];
    for (path, max_items) in lists {
        limit_items(root, path, max_items);
    }
    for map in ["labels", "annotations", "stringData"] {
        limit_properties(root, &format!("spec/secret/template/{map}"), TEMPLATE_ENTRIES);
    }
}
