//! Finds the `KeyPair`s of a namespace that have the same key.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// The `KeyPair`s of a namespace by key. To save memory it stores only a hash of each fingerprint: a collision is next to impossible, and
/// would cause nothing but a warning.
#[derive(Debug, Clone, Default)]
pub struct DuplicateKeys {
    by_name: HashMap<Arc<str>, u64>,
    by_key: BTreeSet<(u64, Arc<str>)>,
    hashes: RandomState,
}

impl DuplicateKeys {
    /// Sets the fingerprint of the key of the `KeyPair` with this name; `None` if it has no key or is deleted.
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

    /// Another `KeyPair` than the one with this name that has the key with this fingerprint.
    pub fn other_with_key(&self, name: &str, fingerprint: &str) -> Option<String> {
        let key = self.hashes.hash_one(fingerprint);
        let same = self.by_key.range((key, Arc::default())..).take_while(|(found, _)| *found == key);
        same.map(|(_, other)| other).find(|other| &***other != name).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_follow_changes() {
        let mut keys = DuplicateKeys::default();
        let [one, two] = ["one", "two"].map(Arc::from);
        keys.set(&one, Some("a"));
        assert_eq!(keys.other_with_key("one", "a"), None);
        keys.set(&two, Some("a"));
        assert_eq!(keys.other_with_key("one", "a"), Some("two".to_owned()));
        keys.set(&two, Some("b"));
        assert_eq!(keys.other_with_key("one", "a"), None);
        assert_eq!(keys.other_with_key("three", "b"), Some("two".to_owned()));
        keys.set(&two, None);
        assert_eq!(keys.other_with_key("three", "b"), None);
        assert_eq!((keys.by_name.len(), keys.by_key.len()), (1, 1));
    }
}
