//! The operator's own writes whose events have not arrived yet.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The version of each object that the operator itself replaced, by UID. Versions are compared for equality only, which is what
/// Kubernetes guarantees for them.
#[derive(Debug, Default)]
pub struct OwnWrites(Mutex<HashMap<String, Replaced>>);

#[derive(Debug)]
struct Replaced {
    version: String,
    /// When the response arrived; `None` once the watch has delivered the write.
    awaited_since: Option<Instant>,
}

impl OwnWrites {
    /// Records that this version of the object with this UID was just replaced.
    pub fn record(&self, uid: &str, version: String) {
        self.lock().insert(uid.to_owned(), Replaced { version, awaited_since: Some(Instant::now()) });
    }

    /// The version recorded for the object with this UID.
    pub fn get(&self, uid: &str) -> Option<String> {
        self.lock().get(uid).map(|replaced| replaced.version.clone())
    }

    /// How long ago the recorded version of the object with this UID was replaced, if `version` is the first later one that the watch
    /// delivers.
    pub fn arrived(&self, uid: &str, version: &str) -> Option<Duration> {
        let mut replaced = self.lock();
        let replaced = replaced.get_mut(uid).filter(|replaced| replaced.version != version)?;
        replaced.awaited_since.take().map(|since| since.elapsed())
    }

    /// Forgets the object with this UID.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets everything, because a new list begins, which contains all earlier writes. After a restore of the API server to an older
    /// state, a replaced version may exist again, and stay.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Replaced>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_confirmed_only_by_its_own_event() {
        let own_writes = OwnWrites::default();
        assert_eq!(own_writes.arrived("uid", "1"), None);
        own_writes.record("uid", "1".to_owned());
        assert_eq!(own_writes.arrived("uid", "1"), None);
        assert!(own_writes.arrived("uid", "2").is_some());
        assert_eq!(own_writes.arrived("uid", "3"), None);
        assert_eq!(own_writes.get("uid").as_deref(), Some("1"));
    }
}
