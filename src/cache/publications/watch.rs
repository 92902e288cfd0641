//! The watches of publications, whose kinds may not be installed.

use kube::runtime::watcher;
use tokio::sync::watch;

use crate::{
    cache::{
        stream::refusal,
        watch_status::{INTERRUPTION, WatchStatus},
    },
    domain::publication::PublicationKind,
};

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
}

impl Default for KindWatch {
    fn default() -> Self {
        Self { status: watch::Sender::new(KindStatus::Unlisted), is_current: WatchStatus::default() }
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
        self.of(kind).is_current.set_current(true);
        self.of(kind).status.send_replace(KindStatus::Listed);
    }

    /// Records that the kind is not installed.
    pub fn set_absent(&self, kind: PublicationKind) {
        self.of(kind).status.send_replace(KindStatus::Absent);
    }

    /// Records that a watch failed, and whether because the operator lacks the permission. What was listed before, stays known for a while.
    pub fn set_forbidden_if_unlisted(&self, kind: PublicationKind, is_forbidden: bool) {
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
        self.of(kind).is_current.set_current(is_current);
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
