//! Which `KeyPair`s of a namespace have the same key.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// The `KeyPair`s of a namespace by their keys. Of each key there is only a hash of its fingerprint: there may be many, and two
/// with the same hash are as good as impossible, and would only be warned of.
#[derive(Debug, Clone, Default)]
pub struct SameKeys {
    by_name: HashMap<Arc<str>, u64>,
    by_key: BTreeSet<(u64, Arc<str>)>,
    hashes: RandomState,
}

impl SameKeys {
    /// Notes the fingerprint of the key of the `KeyPair` of this name; `None`: it has none, or is gone.
    pub fn set(&mut self, name: &Arc<str>, fingerprint: Option<&str>) {
        let key = fingerprint.map(|fingerprint| self.hashes.hash_one(fingerprint));
        if self.by_name.get(name) == key.as_ref() {
            return;
        }
        if let Some(before) = self.by_name.remove(name) {
            self.by_key.remove(&(before, Arc::clone(name)));
        }
        if let Some(key) = key {
            self.by_key.insert((key, Arc::clone(name)));
            self.by_name.insert(Arc::clone(name), key);
        }
    }

    /// A `KeyPair` other than that of this name which has the key with this fingerprint.
    pub fn other_than(&self, name: &str, fingerprint: &str) -> Option<String> {
        let key = self.hashes.hash_one(fingerprint);
        let same = self.by_key.range((key, Arc::default())..).take_while(|(of, _)| *of == key);
        same.map(|(_, other)| other).find(|other| &***other != name).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_changes() {
        let mut keys = SameKeys::default();
        let [one, two] = ["one", "two"].map(Arc::from);
        keys.set(&one, Some("a"));
        assert_eq!(keys.other_than("one", "a"), None);
        keys.set(&two, Some("a"));
        assert_eq!(keys.other_than("one", "a"), Some("two".to_owned()));
        keys.set(&two, Some("b"));
        assert_eq!(keys.other_than("one", "a"), None);
        assert_eq!(keys.other_than("three", "b"), Some("two".to_owned()));
        keys.set(&two, None);
        assert_eq!(keys.other_than("three", "b"), None);
        assert_eq!((keys.by_name.len(), keys.by_key.len()), (1, 1));
    }
}
