//! What a candidate knows of the Lease, and what it does next: no client, no clock, so that every answer can be tried in every state.
//!
//! A request may fail before it is carried out, after it, or be carried out long after it was given up. So what was written is in
//! doubt until it is certain: by the answer, by a version of the Lease that it can no longer replace, or because it is read.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Resource, ResourceExt, api::ObjectMeta};
use tokio::time::Instant;

use super::LEASE_NAME;

/// How often a candidate looks whether the Lease is free: a leader that is told to stop has given it back before.
const LOOK: Duration = Duration::from_millis(500);

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing before this.
    Wait(Instant),
    /// Read the Lease.
    Read,
    /// Replace it, if it is still of this version.
    Replace(Lease),
    /// Create it.
    Create(Lease),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T> {
    /// It was carried out.
    Done(T),
    /// The Lease has another version, or is there already: 409.
    Conflict,
    /// The Lease, or its namespace, is not there: 404.
    Missing,
    /// It was refused, and so not carried out.
    Refused,
    /// No answer came that tells. It may have been carried out, or may still be.
    InDoubt,
}

/// A candidate for the lead.
#[derive(Debug)]
pub struct Election {
    identity: String,
    duration: Duration,
    seen: Option<Seen>,
    /// Since when it has been missing.
    missing_since: Option<Instant>,
    /// Whether it was ever seen held: whoever held it last may not know that it is gone.
    had_a_holder: bool,
    /// The most transitions that it was seen to have. With fewer it is of the past: etcd was put back to a snapshot.
    transitions: i32,
    /// Whether it is to be read before it is written.
    is_stale: bool,
    in_doubt: Vec<Sent>,
    /// The end of the term.
    until: Option<Instant>,
    /// When the next step is due.
    due: Instant,
    /// How many requests have failed since the last that did not.
    failures: u32,
    resigned: bool,
}

/// The Lease as it was last seen, and since when its specification has been so.
#[derive(Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
    /// Whether this candidate has written that, and nobody since.
    is_ours: bool,
}

/// A write by which this candidate holds the Lease, once it is carried out.
#[derive(Debug)]
struct Sent {
    /// The version that it replaces; `None`: it creates the Lease.
    base: Option<String>,
    renewed: Option<MicroTime>,
    at: Instant,
}

impl Election {
    /// Nothing is known yet. A Lease is valid for `duration` after each renewal.
    pub fn new(identity: String, duration: Duration, now: Instant) -> Self {
        Self {
            identity,
            duration,
            seen: None,
            missing_since: None,
            had_a_holder: false,
            transitions: 0,
            is_stale: true,
            in_doubt: Vec::new(),
            until: None,
            due: now,
            failures: 0,
            resigned: false,
        }
    }

    /// Until when this candidate leads; `None`: it does not.
    pub fn term(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Who else holds the Lease, as far as is known.
    pub fn other_holder(&self) -> Option<&str> {
        let holder = self.seen.as_ref().map_or("", |seen| holder(&seen.lease));
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }

    /// What to do next. A write that this answers with is in doubt from now on, until [`Election::written`] is told.
    pub fn step(&mut self, now: Instant, clock: Timestamp) -> Step {
        if now < self.due {
            return Step::Wait(self.due);
        }
        if self.is_stale {
            return Step::Read;
        }
        let spec = self.spec(clock);
        let base = self.seen.as_ref().and_then(|seen| seen.lease.resource_version());
        self.in_doubt.push(Sent { base, renewed: spec.renew_time.clone(), at: now });
        if let Some(seen) = &self.seen {
            return Step::Replace(with_spec(&seen.lease, spec));
        }
        let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
        Step::Create(Lease { metadata, spec: Some(spec) })
    }

    /// Takes in what became of [`Step::Read`].
    pub fn read(&mut self, answer: Answer<Lease>, now: Instant) {
        match answer {
            Answer::Done(lease) => self.found(lease, now),
            Answer::Missing => self.missed(now),
            Answer::Conflict | Answer::Refused | Answer::InDoubt => self.failed(now),
        }
    }

    /// Takes in what became of the last [`Step::Replace`] or [`Step::Create`].
    pub fn written(&mut self, answer: Answer<Lease>, now: Instant) {
        match answer {
            Answer::Done(lease) => {
                let sent = self.in_doubt.last().map_or(now, |sent| sent.at);
                self.prolong(sent);
                self.note(lease, true, now);
                self.is_stale = false;
                self.due = now.max(sent + self.duration / 5);
            }
            // Somebody has changed it: if only something about it, it is still ours, and renewed at once.
            Answer::Conflict => {
                let is_first = self.failures == 0;
                self.failed(now);
                self.is_stale = true;
                if is_first {
                    self.due = now;
                }
            }
            // Deleted by hand. There is no Lease in a namespace that is gone either, so it is not tried without a pause.
            Answer::Missing if self.seen.is_some() => self.missed(now),
            Answer::Refused | Answer::Missing => {
                self.in_doubt.pop();
                self.failed(now);
                self.is_stale |= !self.is_ours();
            }
            Answer::InDoubt => {
                self.failed(now);
                self.is_stale = true;
            }
        }
    }

    /// Leads no more, and gives the lead back by what [`Election::release_step`] says.
    pub fn resign(&mut self) {
        self.until = None;
        self.resigned = true;
        // What is in doubt decides whether there is anything to give back.
        self.is_stale = !self.in_doubt.is_empty();
    }

    /// What to do next so that another candidate can take the Lease at once; `None`: nothing more.
    pub fn release_step(&self, clock: Timestamp) -> Option<Step> {
        if self.is_stale {
            return Some(Step::Read);
        }
        let seen = self.seen.as_ref()?;
        // A write that may still come would hold the Lease for one who is gone. The version that this takes stands in its way.
        if !self.is_ours() && self.in_doubt.is_empty() {
            return None;
        }
        let before = seen.lease.spec.clone().unwrap_or_default();
        let renew_time = Some(other_than(before.renew_time.as_ref(), clock));
        let spec = LeaseSpec { holder_identity: Some(String::new()), renew_time, ..before };
        Some(Step::Replace(with_spec(&seen.lease, spec)))
    }

    /// Takes in what became of the write that [`Election::release_step`] said.
    pub fn released(&mut self, answer: Answer<Lease>, now: Instant) {
        match answer {
            Answer::Done(lease) => self.note(lease, false, now),
            _ => self.is_stale = true,
        }
    }

    fn found(&mut self, lease: Lease, now: Instant) {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let sent = self.in_doubt.iter().find(|sent| renewed.is_some() && sent.renewed == renewed).map(|sent| sent.at);
        let version = lease.resource_version();
        let names_us = holder(&lease) == self.identity;
        if !names_us {
            self.until = None;
        } else if let Some(sent) = sent {
            self.prolong(sent);
        }
        // It may name this candidate and yet be of the past, and another leads.
        let is_ours = names_us && (sent.is_some() || self.term(now).is_some() || self.is_as_written(&lease));
        self.note_seen(lease, is_ours, now);
        // Of any other version, it is refused whenever it comes.
        self.in_doubt.retain(|sent| sent.base.is_some() && sent.base == version);
        self.failures = 0;
        self.look_again(self.is_free(now), now);
    }

    fn missed(&mut self, now: Instant) {
        self.seen = None;
        self.in_doubt.retain(|sent| sent.base.is_none());
        self.failures = 0;
        let since = *self.missing_since.get_or_insert(now);
        // Within its term nobody else can have held it.
        let may_create = self.term(now).is_some() || !self.had_a_holder || now >= since + self.duration;
        self.look_again(may_create, now);
    }

    fn look_again(&mut self, may_write: bool, now: Instant) {
        self.is_stale = !may_write && !self.resigned;
        self.due = if may_write { now } else { now + self.look() };
    }

    fn failed(&mut self, now: Instant) {
        self.due = now + (self.look() / 2 * (1 << self.failures.min(2))).min(self.duration / 5);
        self.failures = self.failures.saturating_add(1);
    }

    fn look(&self) -> Duration {
        LOOK.min(self.duration / 10)
    }

    fn prolong(&mut self, sent: Instant) {
        let until = sent + self.duration * 2 / 3;
        if !self.resigned {
            self.until = Some(self.until.map_or(until, |before| before.max(until)));
        }
    }

    /// Notes the Lease after a write, to which nothing that was sent before is of any consequence now.
    fn note(&mut self, lease: Lease, is_ours: bool, now: Instant) {
        self.in_doubt.clear();
        self.failures = 0;
        self.note_seen(lease, is_ours, now);
    }

    /// Notes the Lease. Only what it says counts, not its version: who annotates it keeps nobody from taking it.
    fn note_seen(&mut self, lease: Lease, is_ours: bool, now: Instant) {
        self.missing_since = None;
        self.had_a_holder |= !holder(&lease).is_empty();
        let same = self.seen.take().filter(|seen| seen.lease.spec == lease.spec && seen.lease.uid() == lease.uid());
        self.transitions = self.transitions.max(transitions(&lease));
        self.seen = Some(Seen { lease, since: same.map_or(now, |seen| seen.since), is_ours });
    }

    fn is_as_written(&self, lease: &Lease) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.is_ours && seen.lease.spec == lease.spec)
    }

    fn is_ours(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.is_ours)
    }

    /// Whether this candidate may write the Lease that it has seen.
    fn is_free(&self, now: Instant) -> bool {
        let Some(Seen { lease, since, is_ours }) = &self.seen else { return false };
        let valid = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let valid = Duration::from_secs(u64::try_from(valid).unwrap_or_default()).max(self.duration);
        let is_released = holder(lease).is_empty() && transitions(lease) >= self.transitions;
        *is_ours || is_released || now >= *since + valid
    }

    /// What the Lease says when it is ours.
    fn spec(&self, clock: Timestamp) -> LeaseSpec {
        let mut spec = self.seen.as_ref().and_then(|seen| seen.lease.spec.clone()).unwrap_or_default();
        let now = other_than(spec.renew_time.as_ref(), clock);
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

/// The time, as exactly as a Lease says it, and other than before: a renewal is known by it, whatever clocks do.
fn other_than(before: Option<&MicroTime>, clock: Timestamp) -> MicroTime {
    let now = Timestamp::from_microsecond(clock.as_microsecond()).unwrap_or(clock);
    let is_same = before.is_some_and(|before| before.0 == now);
    MicroTime(if is_same { now.checked_add(SignedDuration::from_micros(1)).unwrap_or(now) } else { now })
}

fn with_spec(lease: &Lease, spec: LeaseSpec) -> Lease {
    let mut lease = Lease { spec: Some(spec), ..lease.clone() };
    lease.meta_mut().managed_fields = None;
    lease
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

fn transitions(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default()
}
