//! What admission changed in the Secrets that the operator wrote.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What admission changed in the last write to the Secret of each `KeyPair`, by UID. The operator pauses before it writes those parts
/// again: the policy would change them again, and everything that watches Secrets would see one change after the other.
#[derive(Debug, Default)]
pub struct AdmissionChanges(Mutex<BTreeMap<String, Changed>>);

#[derive(Debug)]
struct Changed {
    /// The name of the Secret, and the digest of the written settings.
    written: (String, String),
    parts: Vec<String>,
    until: Instant,
    pause: Duration,
}

impl AdmissionChanges {
    const FIRST_PAUSE: Duration = Duration::from_secs(15);
    const LAST_PAUSE: Duration = Duration::from_secs(300);

    /// Records which parts admission changed when the settings with this digest were written to the Secret of this name.
    pub fn record(&self, uid: &str, name: &str, digest: &str, parts: &[String]) {
        let mut changed = self.lock();
        let written = (name.to_owned(), digest.to_owned());
        let before = changed.remove(uid).filter(|before| before.written == written && before.parts == parts);
        if !parts.is_empty() {
            let pause = before.map_or(Self::FIRST_PAUSE, |before| (before.pause * 2).min(Self::LAST_PAUSE));
            let parts = parts.to_vec();
            changed.insert(uid.to_owned(), Changed { written, parts, until: Instant::now() + pause, pause });
        }
    }

    /// The parts that must not be written again yet.
    pub fn parts(&self, uid: &str, name: &str, digest: &str) -> Vec<String> {
        let changed = self.lock();
        let is_pausing = |changed: &&Changed| {
            changed.written.0 == name && changed.written.1 == digest && changed.until > Instant::now()
        };
        changed.get(uid).filter(is_pausing).map(|changed| changed.parts.clone()).unwrap_or_default()
    }

    /// Forgets the `KeyPair` with this UID.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Changed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fields_that_admission_changes_are_rewritten_with_back_off() {
        let (admission_changes, parts) = (AdmissionChanges::default(), ["label team".to_owned()]);
        for pause in [15, 30, 60, 120, 240, 300, 300] {
            admission_changes.record("uid", "web", "digest", &parts);
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(admission_changes.parts("uid", "web", "digest"), parts, "{pause} s");
            // Other settings and other Secrets are independent.
            assert!(
                admission_changes.parts("uid", "web", "other").is_empty()
                    && admission_changes.parts("uid", "db", "digest").is_empty()
            );
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(admission_changes.parts("uid", "web", "digest").is_empty(), "{pause} s");
        }
        admission_changes.record("uid", "web", "digest", &[]);
        admission_changes.record("uid", "web", "digest", &parts);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(
            admission_changes.parts("uid", "web", "digest").is_empty(),
            "the pauses start over after a write that was not changed"
        );
    }
}
