//! The watches of publications, whose kinds may not be installed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::runtime::watcher;
use tokio::{sync::watch, time::Instant};

use crate::{
    cache::{
        stream::refusal,
        watch_status::{INTERRUPTION, WatchStatus},
    },
    domain::publication::PublicationKind,
};

/// How long the API server must say that it does not know a kind that it knew before. Proxies answer 404, too, and so does an API server
/// that has just started.
const ABSENT_AFTER: Duration = Duration::from_secs(60);

/// What is known of the publications of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KindStatus {
    /// Nothing yet.
    #[default]
    Unlisted,
    /// The API server does not know the kind: its CRD is not installed.
    Absent,
    /// The operator may not watch it, or not yet.
    Forbidden,
    /// All have been listed.
    Listed,
}

/// The watches of both kinds.
#[derive(Debug, Default)]
pub struct KindWatches {
    authorized_keys: KindWatch,
    known_hosts: KindWatch,
}

#[derive(Debug)]
struct KindWatch {
    status: watch::Sender<KindStatus>,
    is_current: WatchStatus,
    /// Since when all answers are that the kind does not exist.
    absent_since: Mutex<Option<Instant>>,
}

impl Default for KindWatch {
    fn default() -> Self {
        Self {
            status: watch::Sender::new(KindStatus::Unlisted),
            is_current: WatchStatus::default(),
            absent_since: Mutex::default(),
        }
    }
}

impl KindWatch {
    fn set_absent_since(&self, change: impl FnOnce(Option<Instant>) -> Option<Instant>) -> Option<Instant> {
        let mut since = self.absent_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = change(*since);
        *since
    }
}

impl KindWatches {
    fn of(&self, kind: PublicationKind) -> &KindWatch {
        match kind {
            PublicationKind::AuthorizedKeys => &self.authorized_keys,
            PublicationKind::KnownHosts => &self.known_hosts,
        }
    }

    /// Records that a list is complete.
    pub fn set_listed(&self, kind: PublicationKind) {
        self.set_current(kind, true);
        self.of(kind).status.send_replace(KindStatus::Listed);
    }

    /// Records that the kind is not installed.
    pub fn set_absent(&self, kind: PublicationKind) {
        self.of(kind).status.send_replace(KindStatus::Absent);
    }

    /// Records that the API server has answered that it does not know the kind. Returns whether that is to be believed: if it was never
    /// otherwise, or has lasted. Else it is a failure of the watch.
    pub fn confirm_absent(&self, kind: PublicationKind) -> bool {
        let watch = self.of(kind);
        let since = watch.set_absent_since(|since| since.or_else(|| Some(Instant::now())));
        let has_lasted = since.is_some_and(|since| since.elapsed() >= ABSENT_AFTER);
        let is_absent = has_lasted || matches!(self.status(kind), KindStatus::Unlisted | KindStatus::Absent);
        if is_absent {
            self.set_absent(kind);
        } else {
            watch.is_current.set_current(false);
        }
        is_absent
    }

    /// Records that a watch failed, and whether because the operator lacks the permission. What was listed before, stays known for a while.
    pub fn set_forbidden_if_unlisted(&self, kind: PublicationKind, is_forbidden: bool) {
        self.of(kind).set_absent_since(|_| None);
        let status = &self.of(kind).status;
        status.send_if_modified(|status| {
            let changes = is_forbidden && matches!(status, KindStatus::Unlisted | KindStatus::Absent);
            if changes {
                *status = KindStatus::Forbidden;
            }
            changes
        });
    }

    /// Sets whether the watch is current.
    pub fn set_current(&self, kind: PublicationKind, is_current: bool) {
        let watch = self.of(kind);
        if is_current {
            watch.set_absent_since(|_| None);
        }
        watch.is_current.set_current(is_current);
    }

    /// What is known of this kind.
    #[must_use]
    pub fn status(&self, kind: PublicationKind) -> KindStatus {
        *self.of(kind).status.borrow()
    }

    /// Whether a publication may exist that the index does not know.
    #[must_use]
    pub fn are_unknown(&self) -> bool {
        PublicationKind::ALL.into_iter().any(|kind| match self.status(kind) {
            KindStatus::Absent => false,
            KindStatus::Unlisted | KindStatus::Forbidden => true,
            KindStatus::Listed => self.of(kind).is_current.is_failing_for(INTERRUPTION),
        })
    }

    /// Resolves when each kind has been listed, or cannot be.
    pub async fn wait_until_known(&self) {
        for kind in PublicationKind::ALL {
            // It cannot fail: `self` owns the sender.
            self.of(kind).status.subscribe().wait_for(|status| *status != KindStatus::Unlisted).await.ok();
        }
    }
}

/// Whether the API server does not know the kind.
#[must_use]
pub fn is_absent(error: &watcher::Error) -> bool {
    refusal(error).is_some_and(|status| status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_was_listed_is_absent_only_if_that_lasts() {
        let (watches, kind) = (KindWatches::default(), PublicationKind::AuthorizedKeys);
        watches.set_absent(PublicationKind::KnownHosts);
        assert!(watches.confirm_absent(kind), "the first answer");
        assert!(!watches.are_unknown());
        for is_failure in [true, false] {
            watches.set_listed(kind);
            assert!(!watches.confirm_absent(kind));
            tokio::time::advance(ABSENT_AFTER.saturating_sub(Duration::from_secs(1))).await;
            assert!(!watches.confirm_absent(kind));
            assert!(watches.are_unknown() && watches.status(kind) == KindStatus::Listed);
            // Another answer comes between.
            if is_failure {
                watches.set_forbidden_if_unlisted(kind, false);
            } else {
                watches.set_current(kind, true);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!watches.confirm_absent(kind));
        }
        tokio::time::advance(ABSENT_AFTER).await;
        assert!(watches.confirm_absent(kind));
        assert_eq!(watches.status(kind), KindStatus::Absent);
        assert!(!watches.are_unknown());
    }
}
