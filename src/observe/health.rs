//! Liveness and readiness of the operator.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// The process counts as stuck after this time without a heartbeat.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(60);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A readiness check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// A name of one word.
    pub name: &'static str,
    /// What the operator waits for; `None` if the check passes.
    pub waits_for: Option<&'static str>,
}

/// The state behind the probes.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// The last heartbeat, in milliseconds after the start.
    heartbeat: AtomicU64,
    /// Whether leader election is on.
    elects_leader: bool,
    /// Whether this replica reconciles: it leads, or leader election is off.
    is_active: AtomicBool,
    /// Whether the API server answered the last request for the Lease.
    lease_answered: AtomicBool,
    /// How many scopes have not been listed yet.
    unlisted: watch::Sender<usize>,
    /// Whether everything has been listed once. That is enough to answer admission reviews.
    has_listed_all: AtomicBool,
    /// Whether the webhook is on.
    webhook: bool,
    is_webhook_ready: AtomicBool,
}

impl Health {
    /// The health of an operator that has just started, with or without leader election and webhook.
    #[must_use]
    pub fn new(elects_leader: bool, webhook: bool) -> Self {
        Self {
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            elects_leader,
            is_active: AtomicBool::new(false),
            lease_answered: AtomicBool::new(false),
            unlisted: watch::Sender::new(0),
            has_listed_all: AtomicBool::new(false),
            webhook,
            is_webhook_ready: AtomicBool::new(!webhook),
        }
    }

    /// Notes that this replica starts to reconcile and has this number of scopes to list.
    pub fn start_reconciling(&self, scopes: usize) {
        self.unlisted.send_replace(scopes);
        self.is_active.store(true, Ordering::Release);
    }

    /// Notes that this standby has this number of scopes to list before it can answer admission reviews.
    pub fn start_standby(&self, scopes: usize) {
        self.unlisted.send_replace(scopes);
    }

    /// Notes that the webhook serves admission reviews.
    pub fn set_webhook_ready(&self) {
        self.is_webhook_ready.store(true, Ordering::Release);
    }

    /// Notes that one scope has been listed.
    pub fn record_scope_listed(&self) {
        // A list of an earlier term may complete late.
        self.unlisted.send_modify(|count| *count = count.saturating_sub(1));
        if *self.unlisted.borrow() == 0 {
            self.has_listed_all.store(true, Ordering::Release);
        }
    }

    /// Resolves when every scope has been listed.
    pub async fn wait_until_all_listed(&self) {
        // It cannot fail: `self` owns the sender.
        let _ = self.unlisted.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Notes that this replica stops reconciling and becomes a standby.
    pub fn stop_reconciling(&self) {
        self.unlisted.send_replace(0);
        self.is_active.store(false, Ordering::Release);
    }

    /// Notes whether the API server answered a request for the Lease.
    pub fn set_lease_answered(&self, answered: bool) {
        self.lease_answered.store(answered, Ordering::Release);
    }

    /// What the operator waits for; `None` if it is ready.
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        self.checks().into_iter().find_map(|check| check.waits_for)
    }

    /// All readiness checks.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        let is_active = is_set(&self.is_active);
        let check = |name, passes: bool, words| Check { name, waits_for: (!passes).then_some(words) };
        let mut checks = vec![check("started", is_active || self.elects_leader, "starting")];
        if self.elects_leader {
            let answered = is_active || is_set(&self.lease_answered);
            checks.push(check("lease", answered, "waiting for the API server to answer a request for the Lease"));
        }
        // A new leader lists everything again. Until then it answers reviews from what it listed as a standby.
        let listed = *self.unlisted.borrow() == 0 || (self.webhook && is_set(&self.has_listed_all));
        let lists = "waiting for the API server to list Namespaces, KeyPairs and Secrets";
        checks.push(check("lists", listed, lists));
        if self.webhook {
            let is_ready = is_set(&self.is_webhook_ready);
            checks.push(check("webhook", is_ready, "waiting for the webhook certificate"));
        }
        checks
    }

    /// Whether the runtime that reconciles still makes progress.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let last = self.started + Duration::from_millis(self.heartbeat.load(Ordering::Acquire));
        last.elapsed() < HEARTBEAT_TIMEOUT
    }

    /// Records heartbeats for ever. Run it on the runtime that reconciles.
    pub async fn keep_beating(&self) {
        loop {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.heartbeat.store(now, Ordering::Release);
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_ready_after_listing_and_standbys_after_reading_the_lease() {
        let health = Health::new(true, false);
        assert!(health.waits_for().unwrap().contains("Lease"));
        health.set_lease_answered(true);
        assert_eq!(health.waits_for(), None);
        health.start_reconciling(2);
        health.record_scope_listed();
        assert!(health.waits_for().unwrap().contains("KeyPairs"));
        health.record_scope_listed();
        assert_eq!(health.waits_for(), None);
        health.stop_reconciling();
        health.set_lease_answered(false);
        assert!(health.waits_for().is_some());
        // It loses the leadership before everything is listed.
        health.set_lease_answered(true);
        health.start_reconciling(1);
        health.stop_reconciling();
        assert_eq!(health.waits_for(), None);
    }

    #[test]
    fn a_new_leader_continues_to_answer_reviews() {
        let health = Health::new(true, true);
        health.set_lease_answered(true);
        health.start_standby(1);
        health.set_webhook_ready();
        assert!(health.waits_for().unwrap().contains("KeyPairs"));
        health.record_scope_listed();
        assert_eq!(health.waits_for(), None);
        health.start_reconciling(1);
        assert_eq!(health.waits_for(), None);
    }

    #[test]
    fn without_leader_election_it_is_not_ready_before_it_starts() {
        let health = Health::new(false, true);
        assert_eq!(health.waits_for(), Some("starting"));
        health.start_reconciling(0);
        assert!(health.waits_for().unwrap().contains("webhook"));
        health.set_webhook_ready();
        assert_eq!(health.waits_for(), None);
        assert!(health.is_alive());
    }
}
