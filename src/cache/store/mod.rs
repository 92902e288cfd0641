//! Watched objects, compressed and limited in size.

mod entry;
mod rotation;

pub use entry::{Entry, KeyPairEntry, Stored};
pub use rotation::NamespaceRotations;

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use tokio::sync::SetOnce;

/// The objects of one kind, by namespace and name.
///
/// Unlike kube's store it keeps each object as compressed JSON, which needs a quarter of the memory, and decompresses it on demand. A
/// list takes effect when it is complete.
#[derive(Debug)]
pub struct CompressedStore<K> {
    state: RwLock<State>,
    listed: SetOnce<()>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    /// The part of the current list that has arrived.
    listed: Objects,
}

/// Sorted, so that the order of reconciliations is deterministic.
type Objects = BTreeMap<Box<str>, BTreeMap<Box<str>, Entry>>;

impl<K> Default for CompressedStore<K> {
    fn default() -> Self {
        Self { state: RwLock::default(), listed: SetOnce::new(), kind: PhantomData }
    }
}

impl<K: Stored> CompressedStore<K> {
    /// Applies an event, and returns the objects that no longer exist.
    pub fn apply<O: Stored<Restored = K::Restored>>(&self, event: &Event<O>) -> Vec<K::Restored> {
        let mut state = self.write();
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(object) => put(&mut state.listed, object),
            Event::Apply(object) => put(&mut state.objects, object),
            Event::Delete(object) => return remove::<K>(&mut state.objects, object).into_iter().collect(),
            Event::InitDone => {
                let listed = std::mem::take(&mut state.listed);
                let before = std::mem::replace(&mut state.objects, listed);
                let mut gone = Vec::new();
                for (namespace, objects) in &before {
                    let now = state.objects.get(namespace);
                    for (name, entry) in objects {
                        if now.and_then(|now| now.get(name)).is_none_or(|now| !now.is_same_object(entry)) {
                            gone.extend(K::restore(entry, namespace, name));
                        }
                    }
                }
                // Later lists find it already set.
                self.listed.set(()).ok();
                return gone;
            }
        }
        Vec::new()
    }

    /// The last watched state of an object.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<K::Restored> {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        K::restore(self.read().objects.get(namespace)?.get(reference.name.as_str())?, namespace, &reference.name)
    }

    /// Whether only a summary of this object is stored; with `is_listed`, in the current list.
    pub fn is_summarized(&self, reference: &ObjectRef<impl Resource<DynamicType = ()>>, is_listed: bool) -> bool {
        let state = self.read();
        let objects = if is_listed { &state.listed } else { &state.objects };
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let entry = objects.get(namespace).and_then(|objects| objects.get(reference.name.as_str()));
        entry.is_some_and(Entry::is_summary)
    }

    /// The namespaces with objects.
    pub fn namespaces(&self) -> Vec<String> {
        self.read().objects.keys().map(ToString::to_string).collect()
    }

    /// The names of the objects in this namespace.
    pub fn names(&self, namespace: &str) -> Vec<String> {
        self.read()
            .objects
            .get(namespace)
            .map_or_else(Vec::new, |objects| objects.keys().map(ToString::to_string).collect())
    }

    /// Calls `visit` with each object.
    pub fn for_each(&self, mut visit: impl FnMut(K::Restored)) {
        let state = self.read();
        let objects = state.objects.iter().flat_map(|(namespace, objects)| {
            objects.iter().filter_map(move |(name, entry)| K::restore(entry, namespace, name))
        });
        objects.for_each(&mut visit);
    }

    /// The rotations of each namespace that has any, at the time `now`. Decompresses nothing.
    pub fn rotations(&self, now: Timestamp) -> Vec<NamespaceRotations> {
        let state = self.read();
        let rotations = state.objects.iter().filter_map(|(namespace, objects)| {
            NamespaceRotations::sum(namespace, objects.values().filter_map(Entry::rotation), now)
        });
        rotations.collect()
    }

    /// Resolves once the first list is complete.
    pub async fn wait_until_listed(&self) {
        self.listed.wait().await;
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<K: Stored>(objects: &mut Objects, object: &K) {
    // It cannot fail: the object came as JSON.
    let Some(entry) = object.entry() else { return };
    let namespace = object.namespace().unwrap_or_default();
    if !objects.contains_key(namespace.as_str()) {
        objects.insert(namespace.clone().into(), BTreeMap::new());
    }
    if let Some(entries) = objects.get_mut(namespace.as_str()) {
        entries.insert(object.name_any().into(), entry);
    }
}

fn remove<K: Stored>(objects: &mut Objects, object: &impl Resource) -> Option<K::Restored> {
    let namespace = object.namespace().unwrap_or_default();
    let entries = objects.get_mut(namespace.as_str())?;
    let entry = entries.remove(object.name_any().as_str());
    if entries.is_empty() {
        objects.remove(namespace.as_str());
    }
    K::restore(&entry?, &namespace, &object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{KeyPair, KeyPairSpec, key_pair::RotationSpec};

    fn key_pair(name: &str, uid: &str) -> KeyPair {
        let mut key_pair = KeyPair::new(name, KeyPairSpec::default());
        key_pair.metadata.namespace = Some("shop".to_owned());
        key_pair.metadata.uid = Some(uid.to_owned());
        key_pair
    }

    fn get(store: &CompressedStore<KeyPair>, name: &str) -> Option<KeyPair> {
        match store.get(&ObjectRef::new(name).within("shop"))? {
            KeyPairEntry::Whole(key_pair) => Some((*key_pair).clone()),
            KeyPairEntry::Summary(_) | KeyPairEntry::Undecoded(_) => panic!("a small object is kept whole"),
        }
    }

    fn uids(gone: &[KeyPairEntry]) -> Vec<&str> {
        let mut uids: Vec<&str> = gone.iter().map(KeyPairEntry::uid).collect();
        uids.sort_unstable();
        uids
    }

    #[test]
    fn the_store_returns_stored_objects_unchanged() {
        let store = CompressedStore::default();
        let mut web = key_pair("web", "1");
        web.spec.description = Some("a pair".to_owned());
        assert!(store.apply(&Event::Apply(web.clone())).is_empty());
        assert_eq!(get(&store, "web"), Some(web.clone()));
        assert_eq!((store.namespaces(), store.names("shop")), (vec!["shop".to_owned()], vec!["web".to_owned()]));
        assert_eq!(uids(&store.apply(&Event::Delete(web))), ["1"]);
        assert_eq!(get(&store, "web"), None);
        assert!(store.namespaces().is_empty());
    }

    #[test]
    fn a_complete_list_takes_effect_and_returns_deleted_objects() {
        let store = CompressedStore::default();
        for (name, uid) in [("stays", "1"), ("goes", "2"), ("anew", "3")] {
            store.apply(&Event::Apply(key_pair(name, uid)));
        }
        store.apply(&Event::<KeyPair>::Init);
        for (name, uid) in [("stays", "1"), ("anew", "4"), ("comes", "5")] {
            assert!(store.apply(&Event::InitApply(key_pair(name, uid))).is_empty());
        }
        assert!(get(&store, "comes").is_none() && get(&store, "goes").is_some());
        assert_eq!(uids(&store.apply(&Event::<KeyPair>::InitDone)), ["2", "3"]);
        assert!(get(&store, "comes").is_some() && get(&store, "goes").is_none());
    }

    #[test]
    fn a_restarted_list_discards_its_earlier_pages() {
        let store = CompressedStore::default();
        store.apply(&Event::<KeyPair>::Init);
        store.apply(&Event::InitApply(key_pair("web", "1")));
        store.apply(&Event::<KeyPair>::Init);
        store.apply(&Event::<KeyPair>::InitDone);
        assert_eq!(get(&store, "web"), None);
    }

    #[test]
    fn rotations_are_summed_by_namespace_even_of_large_objects() {
        let store = CompressedStore::<KeyPair>::default();
        let mut web = key_pair("web", "1");
        let status = serde_json::json!({ "keys": [{
            "revision": 1, "phase": "Current", "publicKey": "", "algorithm": "", "bits": 0, "fingerprint": "",
            "fingerprints": { "md5": "", "sha256": "" }, "since": "2026-01-01T00:00:00Z",
        }] });
        web.status = serde_json::from_value(status).unwrap();
        store.apply(&Event::Apply(web.clone()));
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(store.rotations(now), []);
        web.spec.rotation = Some(RotationSpec::default());
        let mut large = web.clone();
        large.metadata.name = Some("large".to_owned());
        // Text that does not compress.
        let noise = (0_u64..500).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string());
        large.spec.description = Some(noise.collect());
        for key_pair in [&web, &large, &key_pair("idle", "2")] {
            store.apply(&Event::Apply(key_pair.clone()));
        }
        assert!(matches!(store.get(&ObjectRef::new("large").within("shop")), Some(KeyPairEntry::Summary(_))));
        let found = store.rotations(now);
        assert_eq!((found.len(), found[0].namespace.as_str(), found[0].key_pairs), (1, "shop", 2));
        store.apply(&Event::Delete(large));
        assert_eq!(store.rotations(now)[0].key_pairs, 1);
    }
}
