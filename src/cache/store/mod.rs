//! Watched objects, compressed and limited in size.

mod entry;

pub use entry::{Entry, KeyPairEntry, Stored};

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

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
    use crate::api::{KeyPair, KeyPairSpec};

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
}
