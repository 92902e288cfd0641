//! Whether the operator is alive and ready, and what it waits for.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// How long the runtime may not come to its heartbeat before the operator counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(1);

/// One thing that must be before the operator is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// In one word.
    pub name: &'static str,
    /// What is waited for; `None`: nothing.
    pub waits_for: Option<&'static str>,
}

/// What probes are told.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// When the heart beat last, in milliseconds after the start.
    beat: AtomicU64,
    /// Whether another replica may lead.
    elects: bool,
    /// Whether this one works: it leads, or there is nobody else.
    works: AtomicBool,
    /// Whether the API server answered the last question about the Lease.
    lease_answered: AtomicBool,
    /// How many scopes have not been listed yet.
    unlisted: watch::Sender<usize>,
    /// Whether everything has been listed once, so that admission reviews can be answered from that.
    has_seen_all: AtomicBool,
    /// Whether admission reviews are to be answered.
    webhook: bool,
    /// Whether they are not answered yet.
    owes_answers: AtomicBool,
}

impl Health {
    /// The health of an operator that has just started.
    #[must_use]
    pub fn new(elects: bool, webhook: bool) -> Self {
        Self {
            started: Instant::now(),
            beat: AtomicU64::new(0),
            elects,
            works: AtomicBool::new(false),
            lease_answered: AtomicBool::new(false),
            unlisted: watch::Sender::new(0),
            has_seen_all: AtomicBool::new(false),
            webhook,
            owes_answers: AtomicBool::new(webhook),
        }
    }

    /// Notes that it begins to work and has so many scopes to list.
    pub fn begins(&self, scopes: usize) {
        self.unlisted.send_replace(scopes);
        self.works.store(true, Ordering::Release);
    }

    /// Notes that it stands by, and has so many scopes to list to answer admission reviews.
    pub fn observes(&self, scopes: usize) {
        self.unlisted.send_replace(scopes);
    }

    /// Notes that admission reviews are answered.
    pub fn answers_reviews(&self) {
        self.owes_answers.store(false, Ordering::Release);
    }

    /// Notes that one scope has been listed.
    pub fn listed(&self) {
        // A scope of an earlier term may be counted late.
        self.unlisted.send_modify(|count| *count = count.saturating_sub(1));
        if *self.unlisted.borrow() == 0 {
            self.has_seen_all.store(true, Ordering::Release);
        }
    }

    /// Resolves when every scope has been listed.
    pub async fn all_listed(&self) {
        // The sender is here, so that there is no error.
        let _ = self.unlisted.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Notes that it works no more and stands by.
    pub fn stands_by(&self) {
        self.unlisted.send_replace(0);
        self.works.store(false, Ordering::Release);
    }

    /// Notes whether the API server answered about the Lease.
    pub fn lease_answered(&self, answered: bool) {
        self.lease_answered.store(answered, Ordering::Release);
    }

    /// What it waits for before it is ready; `None`: it is.
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        self.checks().into_iter().find_map(|check| check.waits_for)
    }

    /// Everything that must be before it is ready.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        let works = set(&self.works);
        let check = |name, holds: bool, words| Check { name, waits_for: (!holds).then_some(words) };
        let mut checks = vec![check("started", works || self.elects, "starting")];
        if self.elects {
            let seen = works || set(&self.lease_answered);
            checks.push(check("lease", seen, "waiting for the API server to answer about the Lease"));
        }
        // Who takes the lead lists everything anew, and answers reviews from what it has seen until then.
        let listed = *self.unlisted.borrow() == 0 || (self.webhook && set(&self.has_seen_all));
        let lists = "waiting for the API server to list Namespaces, KeyPairs and Secrets";
        checks.push(check("lists", listed, lists));
        if self.webhook {
            let answers = !set(&self.owes_answers);
            checks.push(check("webhook", answers, "waiting for the certificate of the webhook"));
        }
        checks
    }

    /// Whether the runtime that does the work still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let beat = self.started + Duration::from_millis(self.beat.load(Ordering::Acquire));
        beat.elapsed() < PATIENCE
    }

    /// Beats for ever. To be run where the work is done.
    pub async fn keep_beating(&self) {
        loop {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.beat.store(now, Ordering::Release);
            tokio::time::sleep(BEAT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_ready_when_all_is_listed_and_a_standby_when_it_can_see_the_lease() {
        let health = Health::new(true, false);
        assert!(health.waits_for().unwrap().contains("Lease"));
        health.lease_answered(true);
        assert_eq!(health.waits_for(), None);
        health.begins(2);
        health.listed();
        assert!(health.waits_for().unwrap().contains("KeyPairs"));
        health.listed();
        assert_eq!(health.waits_for(), None);
        health.stands_by();
        health.lease_answered(false);
        assert!(health.waits_for().is_some());
        // The lead is lost before everything is listed.
        health.lease_answered(true);
        health.begins(1);
        health.stands_by();
        assert_eq!(health.waits_for(), None);
    }

    #[test]
    fn who_takes_the_lead_goes_on_answering_reviews() {
        let health = Health::new(true, true);
        health.lease_answered(true);
        health.observes(1);
        health.answers_reviews();
        assert!(health.waits_for().unwrap().contains("KeyPairs"));
        health.listed();
        assert_eq!(health.waits_for(), None);
        health.begins(1);
        assert_eq!(health.waits_for(), None);
    }

    #[test]
    fn alone_it_is_not_ready_before_it_works() {
        let health = Health::new(false, true);
        assert_eq!(health.waits_for(), Some("starting"));
        health.begins(0);
        assert!(health.waits_for().unwrap().contains("webhook"));
        health.answers_reviews();
        assert_eq!(health.waits_for(), None);
        assert!(health.is_alive());
    }
}
