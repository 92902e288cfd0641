//! What the operator remembers of each publication between two reconciliations.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Resource, ResourceExt};

use super::{
    pace::Pace,
    targets::{TargetName, TargetVersion, Targets, version_of},
};
use crate::{controller::own_writes::OwnWrites, domain::publication::TargetKind};

/// The digest of the data of a target.
pub type DataDigest = [u8; 32];

/// How the text is distributed over the data of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// All lines are in the entry with this key.
    File(String),
    /// Each key has an entry.
    EntryPerKey,
}

/// What the operator remembers of the publications of a scope.
#[derive(Debug, Default)]
pub struct Memory {
    /// Their targets.
    pub targets: Targets,
    /// The versions of publications that the operator itself replaced.
    pub own_writes: OwnWrites,
    publications: Mutex<BTreeMap<String, Remembered>>,
}

/// What the operator remembers of one publication.
#[derive(Debug, Default)]
struct Remembered {
    /// The versions of its targets that were last verified.
    verified: BTreeMap<TargetName, Verified>,
    pace: Pace,
    /// The target whose name a foreign object had.
    conflict: Option<TargetName>,
    /// Whether its last text was small; `false` if that is not known.
    is_small: bool,
}

#[derive(Debug)]
struct Verified {
    version: TargetVersion,
    data: DataDigest,
    shape: Shape,
}

impl Memory {
    /// Whether this version of a target of the publication with this UID was verified; with a digest, to have this data.
    #[must_use]
    pub fn is_verified(
        &self,
        uid: &str,
        target: &TargetName,
        version: &TargetVersion,
        digest: Option<&DataDigest>,
    ) -> bool {
        let publications = self.lock();
        let verified = publications.get(uid).and_then(|known| known.verified.get(target));
        verified.is_some_and(|it| it.version == *version && digest.is_none_or(|digest| *digest == it.data))
    }

    /// Whether this is the version of a target that was last verified.
    #[must_use]
    pub fn is_verified_version(&self, uid: &str, kind: TargetKind, object: &impl Resource) -> bool {
        self.is_verified(uid, &TargetName { kind, name: object.name_any() }, &version_of(object), None)
    }

    /// Records that this version of a target has this data.
    pub fn record_verified(
        &self,
        uid: &str,
        target: &TargetName,
        version: TargetVersion,
        data: DataDigest,
        shape: Shape,
    ) {
        let verified = Verified { version, data, shape };
        self.lock().entry(uid.to_owned()).or_default().verified.insert(target.clone(), verified);
    }

    /// The shape of the data of a target, if that was verified.
    #[must_use]
    pub fn shape(&self, uid: &str, target: &TargetName) -> Option<Shape> {
        Some(self.lock().get(uid)?.verified.get(target)?.shape.clone())
    }

    /// Forgets what a target had.
    pub fn forget_verified(&self, uid: &str, target: &TargetName) {
        if let Some(known) = self.lock().get_mut(uid) {
            known.verified.remove(target);
        }
    }

    /// Records whether a foreign object has the name of this target.
    pub fn set_conflict(&self, uid: &str, target: &TargetName, is_conflict: bool) {
        let mut publications = self.lock();
        if is_conflict {
            publications.entry(uid.to_owned()).or_default().conflict = Some(target.clone());
        } else if let Some(known) = publications.get_mut(uid).filter(|known| known.conflict.as_ref() == Some(target)) {
            known.conflict = None;
        }
    }

    /// Whether a foreign object had the name of this target when it was last to be written.
    #[must_use]
    pub fn is_in_conflict(&self, uid: &str, target: &TargetName) -> bool {
        self.lock().get(uid).is_some_and(|known| known.conflict.as_ref() == Some(target))
    }

    /// Records whether the text of a publication is small.
    pub fn set_small(&self, uid: &str, is_small: bool) {
        self.lock().entry(uid.to_owned()).or_default().is_small = is_small;
    }

    /// Whether the last text of a publication is known to be small.
    #[must_use]
    pub fn is_small(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|known| known.is_small)
    }

    /// How long to wait before the next write for the publication with this UID.
    #[must_use]
    pub fn delay(&self, uid: &str) -> Duration {
        self.lock().get(uid).map_or(Duration::ZERO, |known| known.pace.delay())
    }

    /// Records that a reconciliation begins to write.
    pub fn record_write(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_default().pace.record();
    }

    /// Forgets a publication that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.own_writes.forget(uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.publications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
