//! What of the metadata that was written did not come back.
//!
//! Admission may change whatever is written: labels that a policy takes away or sets to its own value, owner references that it does not
//! let in. The API server answers with what it stored.

use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use super::OPERATOR;
use crate::domain::secret::MANAGED_BY_LABEL;

/// What `sent`, the metadata of a Secret or a merge patch of it, says and `stored` does not: the names of labels and annotations, and of
/// owners.
///
/// That another tool says it manages the Secret is its right, and nothing is missing then.
pub(super) fn missing(sent: &Value, stored: &impl Resource) -> Vec<String> {
    let labels = differing("label", &sent["labels"], &json!(stored.labels()));
    let another = stored.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager != OPERATOR);
    let managed_by = label(MANAGED_BY_LABEL);
    let labels = labels.into_iter().filter(|label| !another || *label != managed_by);
    let annotations = differing("annotation", &sent["annotations"], &json!(stored.annotations()));
    labels.chain(annotations).chain(owners(&sent["ownerReferences"], stored)).collect()
}

/// The parts of a patch of metadata, by the same names.
pub(super) fn parts(patch: &Value) -> Vec<String> {
    let named = |kind: &'static str, map: &Value| -> Vec<String> {
        map.as_object().into_iter().flat_map(Map::keys).map(|key| named(kind, key)).collect()
    };
    let metadata = &patch["metadata"];
    let mut parts = named("label", &metadata["labels"]);
    parts.extend(named("annotation", &metadata["annotations"]));
    parts.extend(metadata.get("ownerReferences").map(|_| OWNERS.to_owned()));
    parts.extend(named("entry", &patch["data"]));
    parts
}

/// What is said of owner references.
const OWNERS: &str = "the owner reference to the KeyPair";

/// What is said of a label.
pub(super) fn label(key: &str) -> String {
    named("label", key)
}

fn named(kind: &str, key: &str) -> String {
    format!("{kind} {key}")
}

fn differing(kind: &str, sent: &Value, stored: &Value) -> Vec<String> {
    let sent = sent.as_object().into_iter().flatten();
    // What is taken away is null in a patch, and is not there afterwards.
    sent.filter(|(key, value)| stored.get(key).unwrap_or(&Value::Null) != *value)
        .map(|(key, _)| named(kind, key))
        .collect()
}

fn owners(sent: &Value, stored: &impl Resource) -> Option<String> {
    let sent: Vec<&str> = sent.as_array()?.iter().filter_map(|owner| owner["uid"].as_str()).collect();
    let stored: Vec<&str> = stored.owner_references().iter().map(|owner| owner.uid.as_str()).collect();
    let is_same = sent.len() == stored.len() && sent.iter().all(|uid| stored.contains(uid));
    (!is_same).then(|| OWNERS.to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn stored(metadata: &Value) -> Secret {
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn what_does_not_come_back_is_named() {
        let owner = |uid: &str| json!([{ "apiVersion": "v1", "kind": "KeyPair", "name": "web", "uid": uid }]);
        let sent = json!({
            "labels": { MANAGED_BY_LABEL: OPERATOR, "team": "a", "stays": "1" },
            "annotations": { "note": "x", "taken": null },
            "ownerReferences": owner("1"),
        });
        let same = json!({
            "labels": { MANAGED_BY_LABEL: OPERATOR, "team": "a", "stays": "1", "more": "1" },
            "annotations": { "note": "x" }, "ownerReferences": owner("1"),
        });
        assert_eq!(missing(&sent, &stored(&same)), Vec::<String>::new());
        let found = stored(&json!({ "labels": { "team": "b", "stays": "1" }, "annotations": { "taken": "y" } }));
        let expected =
            ["label app.kubernetes.io/managed-by", "label team", "annotation note", "annotation taken", OWNERS];
        assert_eq!(missing(&sent, &found), expected);
        let other = |uid: &str| json!({ "ownerReferences": owner(uid) });
        assert_eq!(missing(&other("1"), &stored(&other("2"))), [OWNERS]);
        assert_eq!(missing(&json!({ "ownerReferences": [] }), &stored(&other("2"))), [OWNERS]);
        assert_eq!(missing(&json!({}), &stored(&other("2"))), Vec::<String>::new());
    }

    #[test]
    fn the_label_of_the_manager_may_be_anothers() {
        let sent = json!({ "labels": { MANAGED_BY_LABEL: OPERATOR } });
        assert!(missing(&sent, &stored(&json!({ "labels": { MANAGED_BY_LABEL: "policy-engine" } }))).is_empty());
        assert_eq!(missing(&sent, &stored(&json!({}))), [named("label", MANAGED_BY_LABEL)]);
    }

    #[test]
    fn a_patch_has_these_parts() {
        let patch = json!({
            "metadata": { "labels": { "a": "1" }, "annotations": { "b": null }, "ownerReferences": [], "resourceVersion": "1" },
            "data": { "c": "eA==" },
        });
        assert_eq!(parts(&patch), ["label a", "annotation b", OWNERS, "entry c"]);
    }
}
