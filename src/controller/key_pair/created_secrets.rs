//! The Secrets that may hold the key of each `KeyPair`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The names of the Secrets that were created for each `KeyPair`, by UID and namespace: anybody may have put the UID on a Secret in
/// another namespace.
///
/// They include Secrets whose create request got no response, adopted ones, and all others whose annotation has the UID, by whomever
/// it was written. So a name in here only says which Secret to read.
#[derive(Debug, Default)]
pub struct CreatedSecrets(Mutex<BTreeSet<CreatedSecret>>);

/// The UID of the `KeyPair`, and the namespace and name of the Secret.
type CreatedSecret = (Arc<str>, Arc<str>, Arc<str>);

impl CreatedSecrets {
    /// Records that this Secret was created for the `KeyPair` with this UID.
    pub fn record(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().insert((uid.into(), namespace.into(), name.into()));
    }

    /// Whether this Secret is recorded.
    pub fn contains(&self, uid: &str, namespace: &str, name: &str) -> bool {
        self.lock().contains(&(uid.into(), namespace.into(), name.into()))
    }

    /// Forgets this Secret, which is gone.
    pub fn forget(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().remove(&(uid.into(), namespace.into(), name.into()));
    }

    /// Forgets all Secrets of a `KeyPair` that is gone.
    pub fn forget_all(&self, uid: &str) {
        let mut created = self.lock();
        while let Some(first) = created.range((uid.into(), Arc::default(), Arc::default())..).next().cloned()
            && *first.0 == *uid
        {
            created.remove(&first);
        }
    }

    /// The names of the recorded Secrets.
    pub fn names(&self, uid: &str, namespace: &str) -> BTreeSet<String> {
        let created = self.lock();
        let recorded = created.range((uid.into(), namespace.into(), Arc::default())..);
        recorded
            .take_while(|entry| *entry.0 == *uid && *entry.1 == *namespace)
            .map(|entry| entry.2.to_string())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<CreatedSecret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_secret_counts_only_in_its_namespace() {
        let created = CreatedSecrets::default();
        created.record("uid", "shop", "web");
        created.record("uid", "other", "forged");
        created.record("uid-2", "shop", "db");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(created.names("uid", "shop"), names(&["web"]), "a Secret in another namespace does not count");
        created.record("uid", "shop", "old");
        assert_eq!(created.names("uid", "shop"), names(&["old", "web"]));
        assert!(created.contains("uid", "shop", "old") && !created.contains("uid", "shop", "forged"));
        created.forget("uid", "shop", "old");
        assert_eq!(created.names("uid", "shop"), names(&["web"]));
        created.forget_all("uid");
        assert!(!created.contains("uid", "shop", "web") && created.contains("uid-2", "shop", "db"));
        assert_eq!(created.lock().len(), 1);
    }
}
