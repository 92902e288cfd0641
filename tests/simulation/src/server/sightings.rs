//! Records when each user learned of each version from its watches of Namespaces.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

/// By user: a time, and the version up to which everything was delivered by then.
type Seen = BTreeMap<String, Vec<(Instant, u64)>>;

/// What the watches of Namespaces have delivered to each user; a handle.
#[derive(Debug, Clone, Default)]
pub struct Sightings(Arc<Mutex<Seen>>);

impl Sightings {
    /// Records that everything up to this version has been delivered to a user.
    pub(super) fn note(&self, user: &str, version: u64) {
        let mut seen = self.lock();
        if !seen.contains_key(user) {
            seen.insert(user.to_owned(), Vec::new());
        }
        let Some(seen) = seen.get_mut(user) else { return };
        if seen.last().is_none_or(|(_, last)| *last < version) {
            seen.push((Instant::now(), version));
        }
    }

    /// When this version, or a later one, was delivered to a user.
    #[must_use]
    pub fn told(&self, user: &str, version: u64) -> Option<Instant> {
        let seen = self.lock();
        let first = seen.get(user)?.iter().find(|(_, told)| *told >= version)?;
        Some(first.0)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
