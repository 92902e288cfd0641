//! Whose a Secret is, by what stands in its metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::{KEYPAIR_UID_ANNOTATION, key_pair_name};
use crate::{
    api::KeyPair,
    domain::{decide::Belongs, secret::ADOPT_ANNOTATION},
};

/// The longest name of an object. What is longer names none, and is not kept.
const NAME_MAX: usize = 253;
/// How many owners are looked at. More have no use, and whoever writes the Secret decides how many there are.
const OWNERS_MAX: usize = 16;

/// What decides whose a Secret is, and nothing else of it: a bounded size, whatever stands in its metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The name of the `KeyPair` that the Secret is handed over to.
    adopt: Option<String>,
    /// The UID of the `KeyPair` that it was made for.
    uid: Option<String>,
    /// The UIDs of its owners.
    owners: Vec<String>,
    /// The UID of the controller that has it, and its kind and name.
    controller: Option<(String, String)>,
    /// The name of the `KeyPair` that it says it was made for.
    key_pair: Option<String>,
}

impl Marks {
    /// What stands in this metadata.
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
            controller: controller.map(|owner| (owner.uid.chars().take(NAME_MAX).collect(), described(owner))),
            key_pair: key_pair_name(secret).map(str::to_owned),
        }
    }

    /// Whose the Secret is to this very `KeyPair`, and not to another of the same name: by owner reference, or, where it has none, by
    /// annotation. What another controller has is not ours whatever else stands there, and nobody's to hand over.
    #[must_use]
    pub fn belongs(&self, key_pair: &KeyPair) -> Belongs {
        let Some(uid) = &key_pair.metadata.uid else { return Belongs::Foreign };
        match &self.controller {
            Some((controller, _)) if controller != uid => Belongs::Foreign,
            Some(_) => Belongs::Ours,
            _ if self.uid.as_ref() == Some(uid) => Belongs::Ours,
            // Of several owners without a controller, one has it: whose UID we noted.
            _ if self.owners.contains(uid) && self.uid.is_none() => Belongs::Ours,
            _ if self.adopt == key_pair.metadata.name => Belongs::Offered,
            _ => Belongs::Foreign,
        }
    }

    /// The controller that has a Secret which would be this `KeyPair`'s otherwise.
    #[must_use]
    pub fn owner_in_the_way(&self, key_pair: &KeyPair) -> Option<String> {
        let (_, controller) = self.controller.as_ref().filter(|_| self.belongs(key_pair) == Belongs::Foreign)?;
        self.concerns(&key_pair.name_any(), key_pair.metadata.uid.as_deref().unwrap_or_default())
            .then(|| controller.clone())
    }

    /// Who has the Secret, as far as it says so.
    #[must_use]
    pub fn owner(&self, key_pair: &KeyPair) -> Option<String> {
        match (&self.controller, &self.key_pair) {
            (Some((_, described)), _) => Some(described.clone()),
            (None, Some(name)) if *name == key_pair.name_any() => Some("an earlier KeyPair of this name".to_owned()),
            (None, name) => name.as_ref().map(|name| format!("KeyPair {name:?}")),
        }
    }

    /// Whether the Secret says anything about the `KeyPair` of this name and UID.
    #[must_use]
    pub fn concerns(&self, name: &str, uid: &str) -> bool {
        self.adopt.as_deref() == Some(name)
            || self.uid.as_deref() == Some(uid)
            || self.owners.iter().any(|owner| owner == uid)
    }
}

/// Kind and name of an owner, as far as they are what Kubernetes lets them be: whoever writes the Secret decides what stands there.
fn described(owner: &OwnerReference) -> String {
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

    fn marks(metadata: impl Into<Value>) -> Marks {
        Marks::of(&serde_json::from_value::<Secret>(json!({ "metadata": metadata.into() })).unwrap())
    }

    fn key_pair() -> KeyPair {
        serde_json::from_value(json!({ "metadata": { "name": "web", "uid": "1" }, "spec": {} })).unwrap()
    }

    fn owner(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": controller }])
    }

    #[test]
    fn it_is_ours_by_uid_and_offered_by_name() {
        let annotated = |key: &str, value: &str| marks(json!({ "annotations": { key: value } })).belongs(&key_pair());
        assert_eq!(marks(json!({})).belongs(&key_pair()), Belongs::Foreign);
        assert_eq!(annotated(KEYPAIR_UID_ANNOTATION, "1"), Belongs::Ours);
        assert_eq!(annotated(KEYPAIR_UID_ANNOTATION, "2"), Belongs::Foreign);
        assert_eq!(annotated(ADOPT_ANNOTATION, "web"), Belongs::Offered);
        for other in ["other", "web,other", "web ", ""] {
            assert_eq!(annotated(ADOPT_ANNOTATION, other), Belongs::Foreign, "{other:?}");
        }
        let owned = |controller| marks(json!({ "ownerReferences": owner("KeyPair", "web", "1", controller) }));
        assert_eq!(owned(true).belongs(&key_pair()), Belongs::Ours);
        assert_eq!(owned(false).belongs(&key_pair()), Belongs::Ours);
    }

    #[test]
    fn of_two_owners_one_has_it() {
        let owners = json!([owner("KeyPair", "web", "1", false)[0], owner("KeyPair", "db", "2", false)[0]]);
        let other: KeyPair =
            serde_json::from_value(json!({ "metadata": { "name": "db", "uid": "2" }, "spec": {} })).unwrap();
        // Whoever is first notes its UID, and is it from then on.
        for (noted, belongs) in [("1", [Belongs::Ours, Belongs::Foreign]), ("2", [Belongs::Foreign, Belongs::Ours])] {
            let found = marks(json!({ "annotations": { KEYPAIR_UID_ANNOTATION: noted }, "ownerReferences": owners }));
            assert_eq!([found.belongs(&key_pair()), found.belongs(&other)], belongs);
        }
    }

    #[test]
    fn what_another_controller_has_is_not_ours_to_take() {
        let two = json!([owner("SealedSecret", "db", "2", true)[0], owner("KeyPair", "web", "1", false)[0]]);
        assert_eq!(marks(json!({ "ownerReferences": two })).belongs(&key_pair()), Belongs::Foreign);
        for (key, value) in [(KEYPAIR_UID_ANNOTATION, "1"), (ADOPT_ANNOTATION, "web")] {
            let found = |owners: &Value| marks(json!({ "annotations": { key: value }, "ownerReferences": owners }));
            let theirs = found(&owner("SealedSecret", "db", "2", true));
            assert_eq!(theirs.belongs(&key_pair()), Belongs::Foreign);
            assert_eq!(theirs.owner_in_the_way(&key_pair()).as_deref(), Some("SealedSecret \"db\""));
            assert_ne!(found(&owner("SealedSecret", "db", "2", false)).belongs(&key_pair()), Belongs::Foreign);
        }
        let unasked = marks(json!({ "ownerReferences": owner("SealedSecret", "db", "2", true) }));
        assert_eq!(unasked.owner_in_the_way(&key_pair()), None);
    }

    #[test]
    fn what_is_kept_and_told_is_checked() {
        let long = "x".repeat(300_000);
        let kept = marks(json!({
            "annotations": { ADOPT_ANNOTATION: long, KEYPAIR_UID_ANNOTATION: long },
            "ownerReferences": owner(&long, &long, &long, true),
        }));
        assert!(format!("{kept:?}").len() < 1024);
        for (kind, name) in [("A\u{202e}B", "db"), ("Job", "a\nb"), ("", ""), ("Job", "\"; echo")] {
            let found = marks(
                json!({ "annotations": { ADOPT_ANNOTATION: "web" }, "ownerReferences": owner(kind, name, "2", true) }),
            );
            let told = found.owner_in_the_way(&key_pair()).unwrap();
            assert!(told.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !told.contains("echo"), "{told}");
        }
    }
}
