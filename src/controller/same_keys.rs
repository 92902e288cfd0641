//! Which `KeyPair`s of a namespace have the same key.

use std::collections::{BTreeSet, HashMap};

/// The `KeyPair`s of a namespace by the fingerprints of their keys.
#[derive(Debug, Default)]
pub struct SameKeys {
    by_name: HashMap<String, String>,
    by_fingerprint: HashMap<String, BTreeSet<String>>,
}

impl SameKeys {
    /// Notes the fingerprint of the key of the `KeyPair` of this name; `None`: it has none, or is gone.
    pub fn set(&mut self, name: &str, fingerprint: Option<String>) {
        if self.by_name.get(name) == fingerprint.as_ref() {
            return;
        }
        if let Some(before) = self.by_name.remove(name)
            && let Some(names) = self.by_fingerprint.get_mut(&before)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_fingerprint.remove(&before);
            }
        }
        if let Some(fingerprint) = fingerprint {
            self.by_fingerprint.entry(fingerprint.clone()).or_default().insert(name.to_owned());
            self.by_name.insert(name.to_owned(), fingerprint);
        }
    }

    /// A `KeyPair` other than that of this name which has the key with this fingerprint.
    pub fn other_than(&self, name: &str, fingerprint: &str) -> Option<String> {
        self.by_fingerprint.get(fingerprint)?.iter().find(|other| *other != name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_changes() {
        let mut keys = SameKeys::default();
        keys.set("one", Some("a".to_owned()));
        assert_eq!(keys.other_than("one", "a"), None);
        keys.set("two", Some("a".to_owned()));
        assert_eq!(keys.other_than("one", "a"), Some("two".to_owned()));
        keys.set("two", Some("b".to_owned()));
        assert_eq!(keys.other_than("one", "a"), None);
        assert_eq!(keys.other_than("three", "b"), Some("two".to_owned()));
        keys.set("two", None);
        assert_eq!(keys.other_than("three", "b"), None);
        assert_eq!((keys.by_name.len(), keys.by_fingerprint.len()), (1, 1));
    }
}
