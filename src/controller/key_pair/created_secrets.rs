//! The Secrets that were created for each `KeyPair`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The names of the Secrets that were created for each `KeyPair`, by UID and namespace: anybody may have put the UID on a Secret in
/// another namespace.
#[derive(Debug, Default)]
pub struct CreatedSecrets(Mutex<BTreeSet<CreatedSecret>>);

/// The UID of the `KeyPair`, and the namespace and name of the Secret.
type CreatedSecret = (Arc<str>, Arc<str>, Arc<str>);

impl CreatedSecrets {
    /// Notes that this Secret was created for the `KeyPair` with this UID.
    pub fn note(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().insert((uid.into(), namespace.into(), name.into()));
    }

    /// Whether this Secret was noted.
    pub fn is_noted(&self, uid: &str, namespace: &str, name: &str) -> bool {
        self.lock().contains(&(uid.into(), namespace.into(), name.into()))
    }

    /// Forgets this Secret, which is gone.
    pub fn forget(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().remove(&(uid.into(), namespace.into(), name.into()));
    }

    /// Forgets all Secrets of a `KeyPair` that is gone.
    pub fn forget_all(&self, uid: &str) {
        let mut created = self.lock();
        while let Some(noted) = created.range((uid.into(), Arc::default(), Arc::default())..).next().cloned()
            && *noted.0 == *uid
        {
            created.remove(&noted);
        }
    }

    /// The names of the noted Secrets.
    pub fn names(&self, uid: &str, namespace: &str) -> BTreeSet<String> {
        let created = self.lock();
        let noted = created.range((uid.into(), namespace.into(), Arc::default())..);
        noted.take_while(|noted| *noted.0 == *uid && *noted.1 == *namespace).map(|noted| noted.2.to_string()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<CreatedSecret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_counts_in_its_namespace_until_it_is_gone() {
        let created = CreatedSecrets::default();
        created.note("uid", "shop", "web");
        created.note("uid", "other", "forged");
        created.note("uid-2", "shop", "db");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(created.names("uid", "shop"), names(&["web"]), "a Secret in another namespace does not count");
        created.note("uid", "shop", "old");
        assert_eq!(created.names("uid", "shop"), names(&["old", "web"]));
        assert!(created.is_noted("uid", "shop", "old") && !created.is_noted("uid", "shop", "forged"));
        created.forget("uid", "shop", "old");
        assert_eq!(created.names("uid", "shop"), names(&["web"]));
        created.forget_all("uid");
        assert!(!created.is_noted("uid", "shop", "web") && created.is_noted("uid-2", "shop", "db"));
        assert_eq!(created.lock().len(), 1);
    }
}
