//! Objects as the watch shows them, packed: what is looked at seldom need not take the room of what is looked at now.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::SetOnce;

use crate::api::KeyPair;

/// What can be put on a shelf.
pub trait Shelved: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone {
    /// JSON such as most objects of this kind have: whatever is in it takes no room in any of them.
    const USUAL: &'static str;
}

impl Shelved for KeyPair {
    const USUAL: &'static str = include_str!("shelf/key_pair.json");
}

impl Shelved for PartialObjectMeta<Secret> {
    const USUAL: &'static str = include_str!("shelf/secret.json");
}

/// The objects of one kind, by namespace and name.
///
/// Unlike the store of kube each object is kept as compressed JSON, which takes a quarter of the room, and is unpacked when it is
/// asked for. A list counts only when it is complete.
#[derive(Debug)]
pub struct Shelf<K> {
    state: RwLock<State>,
    listed: SetOnce<()>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug, Default)]
struct State {
    there: Objects,
    /// What a list that is under way has brought so far.
    listed: Objects,
}

type Objects = HashMap<Box<str>, HashMap<Box<str>, Packed>>;

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { state: RwLock::default(), listed: SetOnce::new(), kind: PhantomData }
    }
}

impl<K: Shelved> Shelf<K> {
    /// Takes in an event, and returns the objects that were there and are not any more.
    pub fn apply(&self, event: &Event<K>) -> Vec<K> {
        let mut state = self.write();
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(object) => put(&mut state.listed, object),
            Event::Apply(object) => put(&mut state.there, object),
            Event::Delete(object) => take_out(&mut state.there, object),
            Event::InitDone => {
                let listed = std::mem::take(&mut state.listed);
                let before = std::mem::replace(&mut state.there, listed);
                let mut gone = Vec::new();
                for (namespace, objects) in &before {
                    let now = state.there.get(namespace);
                    for (name, packed) in objects {
                        if now.and_then(|now| now.get(name)).is_none_or(|now| now.uid != packed.uid) {
                            gone.extend(packed.unpack::<K>());
                        }
                    }
                }
                // It is set once; a later list changes nothing about that.
                self.listed.set(()).ok();
                return gone;
            }
        }
        match event {
            Event::Delete(object) => vec![object.clone()],
            _ => Vec::new(),
        }
    }

    /// The object, as the watch has shown it last.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        self.read().there.get(namespace)?.get(reference.name.as_str())?.unpack().map(Arc::new)
    }

    /// Every namespace in which there are objects.
    pub fn namespaces(&self) -> Vec<String> {
        self.read().there.keys().map(ToString::to_string).collect()
    }

    /// The names of the objects in this namespace.
    pub fn names(&self, namespace: &str) -> Vec<String> {
        self.read()
            .there
            .get(namespace)
            .map_or_else(Vec::new, |objects| objects.keys().map(ToString::to_string).collect())
    }

    /// Calls `with` with each object.
    pub fn for_each(&self, mut with: impl FnMut(K)) {
        let state = self.read();
        state.there.values().flat_map(HashMap::values).filter_map(Packed::unpack).for_each(&mut with);
    }

    /// Resolves once everything has been listed.
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

fn put<K: Shelved>(objects: &mut Objects, object: &K) {
    // What cannot be written as JSON has not come as JSON.
    let Some(packed) = Packed::pack(object) else { return };
    let namespace = object.namespace().unwrap_or_default();
    if !objects.contains_key(namespace.as_str()) {
        objects.insert(namespace.clone().into(), HashMap::new());
    }
    if let Some(there) = objects.get_mut(namespace.as_str()) {
        there.insert(object.name_any().into(), packed);
    }
}

fn take_out<K: Shelved>(objects: &mut Objects, object: &K) {
    let namespace = object.namespace().unwrap_or_default();
    if let Some(there) = objects.get_mut(namespace.as_str()) {
        there.remove(object.name_any().as_str());
        if there.is_empty() {
            objects.remove(namespace.as_str());
        }
    }
}

/// An object as compressed JSON.
#[derive(Debug)]
struct Packed {
    /// The hash of its UID, which tells two objects of the same name apart.
    uid: u64,
    json: Box<[u8]>,
}

impl Packed {
    fn pack<K: Shelved>(object: &K) -> Option<Self> {
        let json = serde_json::to_vec(object).ok()?;
        let mut hasher = DefaultHasher::new();
        object.meta().uid.hash(&mut hasher);
        Some(Self { uid: hasher.finish(), json: compress_prepend_size_with_dict(&json, K::USUAL.as_bytes()).into() })
    }

    fn unpack<K: Shelved>(&self) -> Option<K> {
        let json = decompress_size_prepended_with_dict(&self.json, K::USUAL.as_bytes()).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{KeyPairSpec, KeyPairStatus};

    fn key_pair(name: &str, uid: &str) -> KeyPair {
        let mut key_pair = KeyPair::new(name, KeyPairSpec::default());
        key_pair.metadata.namespace = Some("shop".to_owned());
        key_pair.metadata.uid = Some(uid.to_owned());
        key_pair
    }

    fn get(shelf: &Shelf<KeyPair>, name: &str) -> Option<KeyPair> {
        shelf.get(&ObjectRef::new(name).within("shop")).map(|key_pair| (*key_pair).clone())
    }

    fn names(gone: &[KeyPair]) -> Vec<String> {
        let mut names: Vec<String> = gone.iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_put_there_is_what_comes_back() {
        let shelf = Shelf::default();
        let mut web = key_pair("web", "1");
        web.spec.description = Some("a pair".to_owned());
        web.metadata.labels = Some([("team".to_owned(), "web".to_owned())].into());
        assert!(shelf.apply(&Event::Apply(web.clone())).is_empty());
        assert_eq!(get(&shelf, "web"), Some(web.clone()));
        assert_eq!((shelf.namespaces(), shelf.names("shop")), (vec!["shop".to_owned()], vec!["web".to_owned()]));
        assert_eq!(names(&shelf.apply(&Event::Delete(web))), ["web"]);
        assert_eq!(get(&shelf, "web"), None);
        assert!(shelf.namespaces().is_empty());
    }

    #[test]
    fn an_import_takes_little_more_than_its_key_once() {
        let line = include_str!("../../tests/vectors/public/rsa2048.pub").trim();
        let mut import = key_pair("backend-4711", "0c9b1f8e-4f0e-4d5c-9a51-6b3c7c2f8d01");
        import.metadata.resource_version = Some("1000042".to_owned());
        import.metadata.generation = Some(1);
        import.spec.public_key = Some(line.to_owned());
        import.status = Some(KeyPairStatus {
            key_pair_id: Some("kp-4b6vhq2n5c1x7z9d0m3k".to_owned()),
            key_pair_name: Some("backend-4711".to_owned()),
            public_key: Some(line.to_owned()),
            ..KeyPairStatus::default()
        });
        let packed = Packed::pack(&import).unwrap();
        assert!(packed.json.len() < line.len() + 200, "{} bytes", packed.json.len());
        assert_eq!(packed.unpack(), Some(import));
    }

    #[test]
    fn a_list_counts_when_it_is_complete_and_tells_who_is_gone() {
        let shelf = Shelf::default();
        for (name, uid) in [("stays", "1"), ("goes", "2"), ("anew", "3")] {
            shelf.apply(&Event::Apply(key_pair(name, uid)));
        }
        shelf.apply(&Event::Init);
        for (name, uid) in [("stays", "1"), ("anew", "4"), ("comes", "5")] {
            assert!(shelf.apply(&Event::InitApply(key_pair(name, uid))).is_empty());
        }
        assert!(get(&shelf, "comes").is_none() && get(&shelf, "goes").is_some());
        assert_eq!(names(&shelf.apply(&Event::InitDone)), ["anew", "goes"]);
        assert!(get(&shelf, "comes").is_some() && get(&shelf, "goes").is_none());
    }

    #[test]
    fn a_list_that_is_begun_anew_forgets_what_it_had() {
        let shelf = Shelf::default();
        shelf.apply(&Event::Init);
        shelf.apply(&Event::InitApply(key_pair("web", "1")));
        shelf.apply(&Event::Init);
        shelf.apply(&Event::InitDone);
        assert_eq!(get(&shelf, "web"), None);
    }
}
