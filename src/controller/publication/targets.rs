//! The targets of publications, as the watches of ConfigMaps and Secrets show them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt, runtime::watcher::Event};
use tokio::sync::SetOnce;

use crate::{
    api::{AuthorizedKeys, KnownHosts},
    domain::{
        publication::{PublicationKind, PublicationRef, TargetKind},
        rules::SECRET_NAME,
    },
};

/// Kind and name of a target. Its namespace is that of its publication.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetName {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
}

/// A version of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetVersion {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// A publication that owns a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The publication, by name: anyone may have written it.
    pub publication: PublicationRef,
    /// Its UID.
    pub uid: String,
}

/// The objects that belong to a publication, by UID.
#[derive(Debug, Default)]
pub struct Targets {
    state: Mutex<State>,
    listed: SetOnce<()>,
}

#[derive(Debug, Default)]
struct State {
    /// By namespace and UID of the publication.
    by_owner: BTreeMap<(String, String), BTreeMap<TargetName, TargetVersion>>,
    /// By namespace and name of the target.
    owners: BTreeMap<(String, TargetName), Owner>,
    /// The part of the current list of each kind that has arrived.
    listed: BTreeMap<TargetKind, Vec<(String, TargetName, Owner, TargetVersion)>>,
}

impl Targets {
    /// Applies an event of a ConfigMap or Secret, and returns the publications that own it or owned it before. The end of a list returns
    /// none.
    pub fn apply(&self, kind: TargetKind, event: &Event<impl Resource>) -> Vec<Owner> {
        let mut state = self.lock();
        match event {
            Event::Init => drop(state.listed.remove(&kind)),
            Event::InitApply(object) => {
                if let Some(owner) = owner_of(object) {
                    let (namespace, target) = name_of(kind, object);
                    state.listed.entry(kind).or_default().push((namespace, target, owner, version_of(object)));
                }
            }
            Event::InitDone => {
                let is_of_kind = |(_, target): &&(String, TargetName)| target.kind == kind;
                let before: Vec<_> = state.owners.keys().filter(is_of_kind).cloned().collect();
                for (namespace, target) in before {
                    state.remove(&namespace, &target);
                }
                for (namespace, target, owner, version) in state.listed.remove(&kind).unwrap_or_default() {
                    state.insert(namespace, target, owner, version);
                }
            }
            Event::Apply(object) => {
                let (namespace, target) = name_of(kind, object);
                let before = state.remove(&namespace, &target);
                let now = owner_of(object);
                if let Some(owner) = now.clone() {
                    state.insert(namespace, target, owner, version_of(object));
                }
                let before = before.filter(|before| now.as_ref() != Some(before));
                return now.into_iter().chain(before).collect();
            }
            Event::Delete(object) => {
                let (namespace, target) = name_of(kind, object);
                let owner = owner_of(object);
                // It may have been created again, for another publication, before the watch shows that it was deleted.
                let before = if state.has(&namespace, &target, &version_of(object).uid) {
                    state.remove(&namespace, &target)
                } else {
                    None
                };
                let before = before.filter(|before| owner.as_ref() != Some(before));
                return owner.into_iter().chain(before).collect();
            }
        }
        Vec::new()
    }

    /// Records that the ConfigMaps have been listed, or may not be.
    pub fn set_listed(&self) {
        // Later lists find it already set.
        self.listed.set(()).ok();
    }

    /// Resolves once the ConfigMaps have been listed, or if they may not be.
    pub async fn wait_until_listed(&self) {
        self.listed.wait().await;
    }

    /// The objects that belong to the publication with this UID.
    #[must_use]
    pub fn of(&self, namespace: &str, uid: &str) -> BTreeMap<TargetName, TargetVersion> {
        self.lock().by_owner.get(&(namespace.to_owned(), uid.to_owned())).cloned().unwrap_or_default()
    }

    /// Records a write before the watch shows it.
    pub fn record(&self, namespace: &str, target: TargetName, owner: Owner, version: TargetVersion) {
        let mut state = self.lock();
        state.remove(namespace, &target);
        state.insert(namespace.to_owned(), target, owner, version);
    }

    /// Records that a target of the publication with this UID is gone or belongs to somebody else, before the watch shows it. That may be
    /// another publication, whose target it stays.
    pub fn forget(&self, namespace: &str, target: &TargetName, uid: &str) {
        let mut state = self.lock();
        if state.owners.get(&(namespace.to_owned(), target.clone())).is_some_and(|owner| owner.uid == uid) {
            state.remove(namespace, target);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, namespace: String, target: TargetName, owner: Owner, version: TargetVersion) {
        let key = (namespace.clone(), owner.uid.clone());
        self.by_owner.entry(key).or_default().insert(target.clone(), version);
        self.owners.insert((namespace, target), owner);
    }

    /// Whether the target is known as the object with this UID.
    fn has(&self, namespace: &str, target: &TargetName, uid: &str) -> bool {
        let owner = self.owners.get(&(namespace.to_owned(), target.clone()));
        let targets = owner.and_then(|owner| self.by_owner.get(&(namespace.to_owned(), owner.uid.clone())));
        targets.and_then(|targets| targets.get(target)).is_some_and(|version| version.uid == uid)
    }

    fn remove(&mut self, namespace: &str, target: &TargetName) -> Option<Owner> {
        let owner = self.owners.remove(&(namespace.to_owned(), target.clone()))?;
        let key = (namespace.to_owned(), owner.uid.clone());
        if let Some(owned) = self.by_owner.get_mut(&key) {
            owned.remove(target);
            if owned.is_empty() {
                self.by_owner.remove(&key);
            }
        }
        Some(owner)
    }
}

fn name_of(kind: TargetKind, object: &impl Resource) -> (String, TargetName) {
    (object.namespace().unwrap_or_default(), TargetName { kind, name: object.name_any() })
}

/// The version of an object.
pub fn version_of(object: &impl Resource) -> TargetVersion {
    TargetVersion { uid: object.uid().unwrap_or_default(), version: object.resource_version().unwrap_or_default() }
}

/// The publication that an object belongs to. Another controller shows that it belongs to none.
pub fn owner_of(object: &impl Resource) -> Option<Owner> {
    let owners = object.owner_references();
    let group = AuthorizedKeys::group(&());
    let kind_of = |owner: &OwnerReference| match owner.kind.as_str() {
        _ if owner.api_version.split('/').next() != Some(&group) => None,
        kind if kind == AuthorizedKeys::kind(&()) => Some(PublicationKind::AuthorizedKeys),
        kind if kind == KnownHosts::kind(&()) => Some(PublicationKind::KnownHosts),
        _ => None,
    };
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    let owner = controller.or_else(|| owners.iter().find(|owner| kind_of(owner).is_some()))?;
    let kind = kind_of(owner).filter(|_| SECRET_NAME.allows(&owner.name))?;
    let namespace = object.namespace().unwrap_or_default();
    Some(Owner { publication: PublicationRef { kind, namespace, name: owner.name.clone() }, uid: owner.uid.clone() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    use super::*;

    fn owned(kind: &str, uid: &str, controller: bool) -> Value {
        json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": kind, "name": "admins", "uid": uid, "controller": controller })
    }

    fn config_map(name: &str, version: &str, owners: &[Value]) -> ConfigMap {
        serde_json::from_value(json!({ "metadata": {
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": version, "ownerReferences": owners,
        } }))
        .unwrap()
    }

    fn names(targets: &Targets, uid: &str) -> Vec<(String, String)> {
        targets.of("shop", uid).into_iter().map(|(target, version)| (target.name, version.version)).collect()
    }

    #[test]
    fn only_the_controller_owns_a_target() {
        let mine = owned("AuthorizedKeys", "1", true);
        for (owners, uid) in [
            (vec![mine.clone()], Some("1")),
            (vec![owned("AuthorizedKeys", "1", false)], Some("1")),
            (vec![owned("KnownHosts", "2", false), mine.clone()], Some("1")),
            (vec![owned("AuthorizedKeys", "1", false), owned("KeyPair", "2", true)], None),
            (vec![owned("KeyPair", "1", true)], None),
            (vec![owned("Deployment", "1", false)], None),
            (vec![], None),
        ] {
            let owner = owner_of(&config_map("a", "1", &owners));
            assert_eq!(owner.as_ref().map(|owner| owner.uid.as_str()), uid, "{owners:?}");
        }
    }

    #[test]
    fn events_and_lists_are_followed() {
        let (targets, kind) = (Targets::default(), TargetKind::ConfigMap);
        let mine = [owned("AuthorizedKeys", "1", true)];
        let triggered = |event: &Event<ConfigMap>| {
            targets.apply(kind, event).into_iter().map(|owner| owner.uid).collect::<Vec<_>>()
        };
        assert_eq!(triggered(&Event::Apply(config_map("a", "1", &mine))), ["1"]);
        assert_eq!(triggered(&Event::Apply(config_map("b", "2", &[]))), [""; 0]);
        assert_eq!(names(&targets, "1"), [("a".to_owned(), "1".to_owned())]);
        // It is handed over.
        let other = [owned("KnownHosts", "2", true)];
        assert_eq!(triggered(&Event::Apply(config_map("a", "3", &other))), ["2", "1"]);
        assert_eq!((names(&targets, "1").len(), names(&targets, "2").len()), (0, 1));
        assert_eq!(triggered(&Event::Delete(config_map("a", "4", &other))), ["2"]);
        triggered(&Event::Apply(config_map("a", "5", &mine)));
        triggered(&Event::Init);
        triggered(&Event::InitApply(config_map("c", "6", &mine)));
        assert_eq!(names(&targets, "1")[0].0, "a");
        triggered(&Event::InitDone);
        assert_eq!(names(&targets, "1"), [("c".to_owned(), "6".to_owned())]);
        assert_eq!(targets.lock().owners.len(), 1);
    }

    fn target(name: &str) -> TargetName {
        TargetName { kind: TargetKind::ConfigMap, name: name.to_owned() }
    }

    #[test]
    fn a_target_of_another_publication_is_not_forgotten() {
        let targets = Targets::default();
        targets
            .apply(TargetKind::ConfigMap, &Event::Apply(config_map("a", "1", &[owned("AuthorizedKeys", "1", true)])));
        targets.forget("shop", &target("a"), "2");
        assert_eq!(names(&targets, "1"), [("a".to_owned(), "1".to_owned())]);
        targets.forget("shop", &target("a"), "1");
        assert_eq!(names(&targets, "1"), []);
    }

    #[test]
    fn the_deletion_of_a_target_that_another_publication_has_created_again_concerns_both() {
        let (targets, kind) = (Targets::default(), TargetKind::ConfigMap);
        let (mine, others) = ([owned("AuthorizedKeys", "1", true)], [owned("KnownHosts", "2", true)]);
        targets.apply(kind, &Event::Apply(config_map("a", "1", &mine)));
        let mut again = config_map("a", "3", &others);
        again.metadata.uid = Some("another".to_owned());
        let owner = owner_of(&again).unwrap();
        targets.record("shop", target("a"), owner, version_of(&again));
        let triggered = targets.apply(kind, &Event::Delete(config_map("a", "2", &mine)));
        assert!(triggered.iter().any(|owner| owner.uid == "1"), "{triggered:?}");
        assert_eq!(names(&targets, "2"), [("a".to_owned(), "3".to_owned())]);
    }
}
