//! Which `KeyPair` owns a Secret, according to its metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::{KEYPAIR_UID_ANNOTATION, key_pair_name};
use crate::{
    api::KeyPair,
    domain::{decide::Ownership, secret::ADOPT_ANNOTATION},
};

/// The longest name of an object. A longer value names no object, so it is dropped.
const NAME_MAX: usize = 253;
/// The maximum number of owner references that are read. Anyone who can write the Secret can add more.
const OWNERS_MAX: usize = 16;

/// The metadata that decides who owns a Secret, in bounded size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnershipMetadata {
    /// The name of the `KeyPair` that may adopt the Secret.
    adopt: Option<String>,
    /// The UID of the `KeyPair` in its annotation.
    uid: Option<String>,
    /// The UIDs in its owner references.
    owners: Vec<String>,
    /// The UID of its controlling owner, and that owner's kind and name.
    controller: Option<(String, String)>,
    /// The name of the `KeyPair` that it names as its owner.
    key_pair: Option<String>,
}

impl OwnershipMetadata {
    /// The ownership metadata of `secret`.
    pub fn of(secret: &impl Resource) -> Self {
        let annotation = |key| secret.annotations().get(key).filter(|value| value.len() <= NAME_MAX).cloned();
        let short = |owner: &&OwnerReference| owner.uid.len() <= NAME_MAX;
        let controller = secret.owner_references().iter().find(|owner| owner.controller == Some(true));
        Self {
            adopt: annotation(ADOPT_ANNOTATION),
            uid: annotation(KEYPAIR_UID_ANNOTATION),
            owners: secret
                .owner_references()
                .iter()
                .filter(short)
                .take(OWNERS_MAX)
                .map(|owner| owner.uid.clone())
                .collect(),
            controller: controller.map(|owner| (owner.uid.chars().take(NAME_MAX).collect(), describe(owner))),
            key_pair: key_pair_name(secret).map(str::to_owned),
        }
    }

    /// The relation of the Secret to this `KeyPair`, and not to another one of the same name: by owner reference, or by
    /// annotation if there is none. A Secret with another controlling owner is foreign whatever else its metadata says, and
    /// cannot be adopted.
    #[must_use]
    pub fn ownership(&self, key_pair: &KeyPair) -> Ownership {
        let Some(uid) = &key_pair.metadata.uid else { return Ownership::Foreign };
        match &self.controller {
            Some((controller, _)) if controller != uid => Ownership::Foreign,
            Some(_) => Ownership::Ours,
            _ if self.uid.as_ref() == Some(uid) => Ownership::Ours,
            // Several owners without a controller: the Secret belongs to the one whose UID is in the annotation.
            _ if self.owners.contains(uid) && self.uid.is_none() => Ownership::Ours,
            _ if self.adopt == key_pair.metadata.name => Ownership::Offered,
            _ => Ownership::Foreign,
        }
    }

    /// The controlling owner that prevents this `KeyPair` from owning or adopting the Secret.
    #[must_use]
    pub fn blocking_owner(&self, key_pair: &KeyPair) -> Option<String> {
        let (_, controller) = self.controller.as_ref().filter(|_| self.ownership(key_pair) == Ownership::Foreign)?;
        self.refers_to(&key_pair.name_any(), key_pair.metadata.uid.as_deref().unwrap_or_default())
            .then(|| controller.clone())
    }

    /// The owner that the Secret names, as text for a message.
    #[must_use]
    pub fn owner(&self, key_pair: &KeyPair) -> Option<String> {
        match (&self.controller, &self.key_pair) {
            (Some((_, description)), _) => Some(description.clone()),
            (None, Some(name)) if *name == key_pair.name_any() => Some("an earlier KeyPair of this name".to_owned()),
            (None, name) => name.as_ref().map(|name| format!("KeyPair {name:?}")),
        }
    }

    /// Whether the Secret refers to the `KeyPair` of this name and UID.
    #[must_use]
    pub fn refers_to(&self, name: &str, uid: &str) -> bool {
        self.adopt.as_deref() == Some(name)
            || self.uid.as_deref() == Some(uid)
            || self.owners.iter().any(|owner| owner == uid)
    }
}

/// Kind and name of an owner, as far as they are valid in Kubernetes: anyone who can write the Secret chooses them.
fn describe(owner: &OwnerReference) -> String {
    let is_word = |text: &str, more: &[char], max: usize| {
        (1..=max).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let kind = if is_word(&owner.kind, &[], 63) { owner.kind.as_str() } else { "another controller" };
    if is_word(&owner.name, &['-', '.', ':'], NAME_MAX) { format!("{kind} {:?}", owner.name) } else { kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::{Value, json};

    use super::*;

    fn metadata(metadata: impl Into<Value>) -> OwnershipMetadata {
        OwnershipMetadata::of(&serde_json::from_value::<Secret>(json!({ "metadata": metadata.into() })).unwrap())
    }

    fn key_pair() -> KeyPair {
        serde_json::from_value(json!({ "metadata": { "name": "web", "uid": "1" }, "spec": {} })).unwrap()
    }

    fn owner(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": controller }])
    }

    #[test]
    fn a_secret_is_ours_by_uid_and_offered_by_name() {
        let annotated =
            |key: &str, value: &str| metadata(json!({ "annotations": { key: value } })).ownership(&key_pair());
        assert_eq!(metadata(json!({})).ownership(&key_pair()), Ownership::Foreign);
        assert_eq!(annotated(KEYPAIR_UID_ANNOTATION, "1"), Ownership::Ours);
        assert_eq!(annotated(KEYPAIR_UID_ANNOTATION, "2"), Ownership::Foreign);
        assert_eq!(annotated(ADOPT_ANNOTATION, "web"), Ownership::Offered);
        for other in ["other", "web,other", "web ", ""] {
            assert_eq!(annotated(ADOPT_ANNOTATION, other), Ownership::Foreign, "{other:?}");
        }
        let owned = |controller| metadata(json!({ "ownerReferences": owner("KeyPair", "web", "1", controller) }));
        assert_eq!(owned(true).ownership(&key_pair()), Ownership::Ours);
        assert_eq!(owned(false).ownership(&key_pair()), Ownership::Ours);
    }

    #[test]
    fn only_one_of_two_owner_references_owns_a_secret() {
        let owners = json!([owner("KeyPair", "web", "1", false)[0], owner("KeyPair", "db", "2", false)[0]]);
        let other: KeyPair =
            serde_json::from_value(json!({ "metadata": { "name": "db", "uid": "2" }, "spec": {} })).unwrap();
        // The first one sets the annotation to its UID and owns the Secret from then on.
        for (uid, ownership) in
            [("1", [Ownership::Ours, Ownership::Foreign]), ("2", [Ownership::Foreign, Ownership::Ours])]
        {
            let found = metadata(json!({ "annotations": { KEYPAIR_UID_ANNOTATION: uid }, "ownerReferences": owners }));
            assert_eq!([found.ownership(&key_pair()), found.ownership(&other)], ownership);
        }
    }

    #[test]
    fn a_secret_of_another_controller_is_foreign() {
        let two = json!([owner("SealedSecret", "db", "2", true)[0], owner("KeyPair", "web", "1", false)[0]]);
        assert_eq!(metadata(json!({ "ownerReferences": two })).ownership(&key_pair()), Ownership::Foreign);
        for (key, value) in [(KEYPAIR_UID_ANNOTATION, "1"), (ADOPT_ANNOTATION, "web")] {
            let found = |owners: &Value| metadata(json!({ "annotations": { key: value }, "ownerReferences": owners }));
            let theirs = found(&owner("SealedSecret", "db", "2", true));
            assert_eq!(theirs.ownership(&key_pair()), Ownership::Foreign);
            assert_eq!(theirs.blocking_owner(&key_pair()).as_deref(), Some("SealedSecret \"db\""));
            assert_ne!(found(&owner("SealedSecret", "db", "2", false)).ownership(&key_pair()), Ownership::Foreign);
        }
        let unasked = metadata(json!({ "ownerReferences": owner("SealedSecret", "db", "2", true) }));
        assert_eq!(unasked.blocking_owner(&key_pair()), None);
    }

    #[test]
    fn ownership_metadata_is_bounded_and_escaped() {
        let long = "x".repeat(300_000);
        let kept = metadata(json!({
            "annotations": { ADOPT_ANNOTATION: long, KEYPAIR_UID_ANNOTATION: long },
            "ownerReferences": owner(&long, &long, &long, true),
        }));
        assert!(format!("{kept:?}").len() < 1024);
        for (kind, name) in [("A\u{202e}B", "db"), ("Job", "a\nb"), ("", ""), ("Job", "\"; echo")] {
            let found = metadata(
                json!({ "annotations": { ADOPT_ANNOTATION: "web" }, "ownerReferences": owner(kind, name, "2", true) }),
            );
            let told = found.blocking_owner(&key_pair()).unwrap();
            assert!(told.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !told.contains("echo"), "{told}");
        }
    }
}
