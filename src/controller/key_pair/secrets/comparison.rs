//! Detects which metadata of a write the API server did not store.
//!
//! Admission may change any write: a policy may remove labels or set its own values, or reject owner references. The response shows what was
//! stored.

use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use crate::domain::secret::{MANAGED_BY_LABEL, OPERATOR};

/// The labels, annotations and owner references of `sent`, the metadata of a Secret or a merge patch of it, that `stored` lacks or has with
/// another value.
///
/// A `managed-by` label of another tool is legitimate, and does not count.
pub(super) fn changed_by_admission(sent: &Value, stored: &impl Resource) -> Vec<String> {
    let labels = differing("label", &sent["labels"], &json!(stored.labels()));
    let has_other_manager = stored.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager != OPERATOR);
    let managed_by = label(MANAGED_BY_LABEL);
    let labels = labels.into_iter().filter(|label| !has_other_manager || *label != managed_by);
    let annotations = differing("annotation", &sent["annotations"], &json!(stored.annotations()));
    labels.chain(annotations).chain(owners(&sent["ownerReferences"], stored)).collect()
}

/// The names of the parts of a patch, in the form of [`changed_by_admission`].
pub(super) fn parts(patch: &Value) -> Vec<String> {
    let names = |kind: &'static str, map: &Value| -> Vec<String> {
        map.as_object().into_iter().flat_map(Map::keys).map(|key| part_name(kind, key)).collect()
    };
    let metadata = &patch["metadata"];
    let mut parts = names("label", &metadata["labels"]);
    parts.extend(names("annotation", &metadata["annotations"]));
    parts.extend(metadata.get("ownerReferences").map(|_| OWNERS.to_owned()));
    parts.extend(names("entry", &patch["data"]));
    parts
}

/// The name of owner references in messages.
const OWNERS: &str = "the owner reference to the KeyPair";

/// The name of a label in messages.
pub(super) fn label(key: &str) -> String {
    part_name("label", key)
}

fn part_name(kind: &str, key: &str) -> String {
    format!("{kind} {key}")
}

fn differing(kind: &str, sent: &Value, stored: &Value) -> Vec<String> {
    let sent = sent.as_object().into_iter().flatten();
    // A removed key is null in a patch and absent afterwards.
    sent.filter(|(key, value)| stored.get(key).unwrap_or(&Value::Null) != *value)
        .map(|(key, _)| part_name(kind, key))
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
    fn fields_that_were_not_stored_are_named() {
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
        assert_eq!(changed_by_admission(&sent, &stored(&same)), Vec::<String>::new());
        let found = stored(&json!({ "labels": { "team": "b", "stays": "1" }, "annotations": { "taken": "y" } }));
        let expected =
            ["label app.kubernetes.io/managed-by", "label team", "annotation note", "annotation taken", OWNERS];
        assert_eq!(changed_by_admission(&sent, &found), expected);
        let other = |uid: &str| json!({ "ownerReferences": owner(uid) });
        assert_eq!(changed_by_admission(&other("1"), &stored(&other("2"))), [OWNERS]);
        assert_eq!(changed_by_admission(&json!({ "ownerReferences": [] }), &stored(&other("2"))), [OWNERS]);
        assert_eq!(changed_by_admission(&json!({}), &stored(&other("2"))), Vec::<String>::new());
    }

    #[test]
    fn another_tool_may_set_the_managed_by_label() {
        let sent = json!({ "labels": { MANAGED_BY_LABEL: OPERATOR } });
        assert!(
            changed_by_admission(&sent, &stored(&json!({ "labels": { MANAGED_BY_LABEL: "policy-engine" } })))
                .is_empty()
        );
        assert_eq!(changed_by_admission(&sent, &stored(&json!({}))), [label(MANAGED_BY_LABEL)]);
    }

    #[test]
    fn the_parts_of_a_patch_are_named() {
        let patch = json!({
            "metadata": { "labels": { "a": "1" }, "annotations": { "b": null }, "ownerReferences": [], "resourceVersion": "1" },
            "data": { "c": "eA==" },
        });
        assert_eq!(parts(&patch), ["label a", "annotation b", OWNERS, "entry c"]);
    }
}
