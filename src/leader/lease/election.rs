//! The state machine of a candidate. It has no client and no clock, so that tests can combine every answer with every state.
//!
//! A request may fail before or after it is carried out, and may be carried out long after it was given up. So a write is in doubt until
//! its outcome is certain: by its response, because the Lease has a version that the write can no longer replace, or because the Lease
//! shows it.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{ResourceExt, api::ObjectMeta};
use tokio::time::Instant;

use super::{
    LEASE_NAME,
    step::{ElectionStep, LeaseAnswer, distinct_time, holder, transitions, with_spec},
};

/// How often a candidate reads a Lease that another one holds.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The state of a candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    duration: Duration,
    observed: Option<ObservedLease>,
    /// Since when the Lease has been missing.
    missing_since: Option<Instant>,
    /// Whether the Lease was ever seen with a holder, who may not know that it is deleted.
    had_holder: bool,
    /// The highest number of transitions seen. A Lease with fewer is from the past: etcd was restored from a snapshot.
    transitions: i32,
    /// Whether to read the Lease before the next write.
    is_stale: bool,
    in_doubt: Vec<PendingWrite>,
    /// The end of the term.
    term_end: Option<Instant>,
    /// When the next step is due.
    due: Instant,
    /// The number of consecutive failed requests.
    failures: u32,
    resigned: bool,
}

/// The Lease as it was last seen.
#[derive(Debug)]
struct ObservedLease {
    lease: Lease,
    /// Since when its spec has been unchanged.
    since: Instant,
    /// Whether the last write was from this candidate.
    is_ours: bool,
}

/// A write that gives this candidate the Lease once it is carried out.
#[derive(Debug)]
struct PendingWrite {
    /// The version that it replaces; `None` if it creates the Lease.
    base: Option<String>,
    renewed: Option<MicroTime>,
    at: Instant,
}

impl Election {
    /// A candidate that knows nothing yet. The Lease is valid for `duration` after each renewal.
    pub fn new(identity: String, duration: Duration, now: Instant) -> Self {
        Self {
            identity,
            duration,
            observed: None,
            missing_since: None,
            had_holder: false,
            transitions: 0,
            is_stale: true,
            in_doubt: Vec::new(),
            term_end: None,
            due: now,
            failures: 0,
            resigned: false,
        }
    }

    /// The end of the term; `None` if this candidate does not lead.
    pub fn term(&self, now: Instant) -> Option<Instant> {
        self.term_end.filter(|term_end| *term_end > now)
    }

    /// The other candidate that holds the Lease, as far as is known.
    pub fn other_holder(&self) -> Option<&str> {
        let holder = self.observed.as_ref().map_or("", |observed| holder(&observed.lease));
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }

    /// What to do next. A write that it returns is in doubt until [`Election::handle_write`] receives its outcome.
    pub fn step(&mut self, now: Instant, clock: Timestamp) -> ElectionStep {
        if now < self.due {
            return ElectionStep::Wait(self.due);
        }
        if self.is_stale {
            return ElectionStep::Read;
        }
        let spec = self.spec(clock);
        let base = self.observed.as_ref().and_then(|observed| observed.lease.resource_version());
        self.in_doubt.push(PendingWrite { base, renewed: spec.renew_time.clone(), at: now });
        if let Some(observed) = &self.observed {
            return ElectionStep::Replace(with_spec(&observed.lease, spec));
        }
        let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
        ElectionStep::Create(Lease { metadata, spec: Some(spec) })
    }

    /// Processes the outcome of [`ElectionStep::Read`].
    pub fn handle_read(&mut self, answer: LeaseAnswer<Lease>, now: Instant) {
        match answer {
            LeaseAnswer::Done(lease) => self.handle_found(lease, now),
            LeaseAnswer::Missing => self.handle_missing(now),
            LeaseAnswer::Conflict | LeaseAnswer::Refused | LeaseAnswer::InDoubt => self.handle_failure(now),
        }
    }

    /// Processes the outcome of the last [`ElectionStep::Replace`] or [`ElectionStep::Create`].
    pub fn handle_write(&mut self, answer: LeaseAnswer<Lease>, now: Instant) {
        match answer {
            LeaseAnswer::Done(lease) => {
                let sent = self.in_doubt.last().map_or(now, |sent| sent.at);
                self.extend_term(sent);
                self.record_write(lease, true, now);
                self.is_stale = false;
                self.due = now.max(sent + self.duration / 5);
            }
            // The Lease was changed. If only its metadata changed, it is still ours, and is renewed at once.
            LeaseAnswer::Conflict => {
                let is_first = self.failures == 0;
                self.handle_failure(now);
                self.is_stale = true;
                if is_first {
                    self.due = now;
                }
            }
            // It was deleted by hand, or its namespace was; the latter is why there is a pause.
            LeaseAnswer::Missing if self.observed.is_some() => self.handle_missing(now),
            LeaseAnswer::Refused | LeaseAnswer::Missing => {
                self.in_doubt.pop();
                self.handle_failure(now);
                self.is_stale |= !self.is_ours();
            }
            LeaseAnswer::InDoubt => {
                self.handle_failure(now);
                self.is_stale = true;
            }
        }
    }

    /// Ends the leadership. [`Election::release_step`] then releases the Lease.
    pub fn resign(&mut self) {
        self.term_end = None;
        self.resigned = true;
        // Only a read shows whether a write in doubt has taken the Lease.
        self.is_stale = !self.in_doubt.is_empty();
    }

    /// What to do next so that another candidate can take the Lease at once; `None` if it is released.
    pub fn release_step(&self, clock: Timestamp) -> Option<ElectionStep> {
        if self.is_stale {
            return Some(ElectionStep::Read);
        }
        let observed = self.observed.as_ref()?;
        // A write in doubt may still arrive, and would hold the Lease for a process that is gone. Releasing the Lease changes its version,
        // so that such a write fails.
        if !self.is_ours() && self.in_doubt.is_empty() {
            return None;
        }
        let before = observed.lease.spec.clone().unwrap_or_default();
        let renew_time = Some(distinct_time(before.renew_time.as_ref(), clock));
        let spec = LeaseSpec { holder_identity: Some(String::new()), renew_time, ..before };
        Some(ElectionStep::Replace(with_spec(&observed.lease, spec)))
    }

    /// Processes the outcome of the write of [`Election::release_step`].
    pub fn handle_release(&mut self, answer: LeaseAnswer<Lease>, now: Instant) {
        match answer {
            LeaseAnswer::Done(lease) => self.record_write(lease, false, now),
            _ => self.is_stale = true,
        }
    }

    fn handle_found(&mut self, lease: Lease, now: Instant) {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let sent = self.in_doubt.iter().find(|sent| renewed.is_some() && sent.renewed == renewed).map(|sent| sent.at);
        let version = lease.resource_version();
        let names_us = holder(&lease) == self.identity;
        if !names_us {
            self.term_end = None;
        } else if let Some(sent) = sent {
            self.extend_term(sent);
        }
        // A Lease that names this candidate may be from the past, while another candidate leads.
        let is_ours = names_us && (sent.is_some() || self.term(now).is_some() || self.is_our_last_write(&lease));
        self.record_observed(lease, is_ours, now);
        // A write that replaces any other version will be refused.
        self.in_doubt.retain(|sent| sent.base.is_some() && sent.base == version);
        self.failures = 0;
        self.schedule(self.is_free(now), now);
    }

    fn handle_missing(&mut self, now: Instant) {
        self.observed = None;
        self.in_doubt.retain(|sent| sent.base.is_none());
        self.failures = 0;
        let since = *self.missing_since.get_or_insert(now);
        // During the term of this candidate no other can have held it.
        let may_create = self.term(now).is_some() || !self.had_holder || now >= since + self.duration;
        self.schedule(may_create, now);
    }

    /// Schedules a write now, or the next read.
    fn schedule(&mut self, may_write: bool, now: Instant) {
        self.is_stale = !may_write && !self.resigned;
        self.due = if may_write { now } else { now + self.poll_interval() };
    }

    fn handle_failure(&mut self, now: Instant) {
        self.due = now + (self.poll_interval() / 2 * (1 << self.failures.min(2))).min(self.duration / 5);
        self.failures = self.failures.saturating_add(1);
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL.min(self.duration / 10)
    }

    fn extend_term(&mut self, sent: Instant) {
        let term_end = sent + self.duration * 2 / 3;
        if !self.resigned {
            self.term_end = Some(self.term_end.map_or(term_end, |before| before.max(term_end)));
        }
    }

    /// Records the Lease after a successful write, which makes every earlier write fail.
    fn record_write(&mut self, lease: Lease, is_ours: bool, now: Instant) {
        self.in_doubt.clear();
        self.failures = 0;
        self.record_observed(lease, is_ours, now);
    }

    /// Records the Lease. Only its spec counts, not its version, so that annotating the Lease keeps no candidate from taking it.
    fn record_observed(&mut self, lease: Lease, is_ours: bool, now: Instant) {
        self.missing_since = None;
        self.had_holder |= !holder(&lease).is_empty();
        let same = self
            .observed
            .take()
            .filter(|observed| observed.lease.spec == lease.spec && observed.lease.uid() == lease.uid());
        self.transitions = self.transitions.max(transitions(&lease));
        self.observed = Some(ObservedLease { lease, since: same.map_or(now, |observed| observed.since), is_ours });
    }

    fn is_our_last_write(&self, lease: &Lease) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.is_ours && observed.lease.spec == lease.spec)
    }

    fn is_ours(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.is_ours)
    }

    /// Whether this candidate may write the Lease as it was last seen.
    fn is_free(&self, now: Instant) -> bool {
        let Some(ObservedLease { lease, since, is_ours }) = &self.observed else { return false };
        let valid = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let valid = Duration::from_secs(u64::try_from(valid).unwrap_or_default()).max(self.duration);
        let is_released = holder(lease).is_empty() && transitions(lease) >= self.transitions;
        *is_ours || is_released || now >= *since + valid
    }

    /// The spec by which this candidate holds the Lease.
    fn spec(&self, clock: Timestamp) -> LeaseSpec {
        let mut spec = self.observed.as_ref().and_then(|observed| observed.lease.spec.clone()).unwrap_or_default();
        let now = distinct_time(spec.renew_time.as_ref(), clock);
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(self.duration.as_secs()).ok();
        spec
    }
}
