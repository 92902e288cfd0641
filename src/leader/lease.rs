//! Leader election with a Lease.
//!
//! Every write of the Lease is a PUT with a resource version, so of two candidates one gets 409. Each candidate measures time with its own
//! monotonic clock, from the last change of the Lease that it saw: clocks need not agree. A leader may write for two thirds of the lease
//! duration after it *sent* its last successful renewal. No candidate takes the Lease before it has been unchanged for the whole duration.
//! The last third is for writes that are still on their way to the API server.
//!
//! No existing library guarantees that much. Of those that work with this version of kube, kube-lease-manager renews and releases by
//! patches without a resource version, compares wall clocks of different machines, and does not report the loss of leadership while the API
//! server does not answer.

mod election;
mod step;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::{
    election::Election,
    step::{ElectionStep, LeaseAnswer},
};
use super::leadership::Terms;
use crate::{
    client::{
        answer::summarize,
        randomness::Randomness,
        requests::{RequestLimits, finish},
        wall_clock::WallClock,
    },
    observe::{health::Health, metrics::Metrics},
};

/// The name of the Lease.
pub const LEASE_NAME: &str = "keypair-operator";
/// The pause between attempts to release the Lease.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// A candidate in leader election.
pub struct LeaderElector {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    election: Election,
    /// The time limit for the next request. It starts low, so that a lost response costs little, and grows, so that a slow API server can
    /// answer.
    request_timeout: Duration,
    /// The end of the term that was announced.
    announced_term: Option<Instant>,
    /// The other holder that was logged.
    announced_holder: String,
    terms: Terms,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    clock: WallClock,
}

/// The settings of leader election.
#[derive(Debug)]
pub struct ElectionSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// How long the Lease is valid after a renewal.
    pub duration: Duration,
    /// Receives the terms of this process.
    pub terms: Terms,
}

impl LeaderElector {
    /// A candidate for the Lease that `settings` describe.
    #[must_use]
    pub fn new(
        client: Client,
        settings: ElectionSettings,
        randomness: Randomness,
        clock: WallClock,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ElectionSettings { namespace, duration, terms } = settings;
        // The name of the pod, if there is one. The random part distinguishes two processes of one pod or machine.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| LEASE_NAME.to_owned());
        let identity = format!("{host}_{:016x}", randomness.draw("identity"));
        Self {
            api: Api::namespaced(client, &namespace),
            election: Election::new(identity.clone(), duration, Instant::now()),
            identity,
            duration,
            request_timeout: duration / 15,
            announced_term: None,
            announced_holder: String::new(),
            terms,
            health,
            metrics,
            clock,
        }
    }

    /// Takes part in leader election while `work` runs. `stop` should end the work, which then has a second to finish. The Lease is renewed
    /// until then, and released afterwards.
    pub async fn run(mut self, work: impl Future<Output = ()>, stop: impl Future<Output = ()>, limits: &RequestLimits) {
        tokio::select! {
            biased;
            () = self.run_election() => {}
            () = finish(work, stop) => {}
        }
        self.terms.end();
        self.metrics.set_leader(false);
        // The next leader must see all writes: one without a response may still arrive, as after the end of a term.
        limits.wait_for_outcomes(self.duration / 3).await;
        self.release().await;
    }

    /// Acquires and renews the Lease until it is dropped.
    async fn run_election(&mut self) {
        loop {
            match self.election.step(Instant::now(), self.clock.now()) {
                ElectionStep::Wait(until) => {
                    // Wake up at the end of the term, to announce it.
                    sleep_until(self.announced_term.map_or(until, |term| term.min(until))).await;
                }
                ElectionStep::Read => {
                    let answer = self.read().await;
                    self.election.handle_read(answer, Instant::now());
                }
                ElectionStep::Replace(lease) => {
                    let answer = self.write(&lease).await;
                    self.election.handle_write(answer, Instant::now());
                }
                ElectionStep::Create(lease) => {
                    let api = self.api.clone();
                    let answer = self.request(api.create(&PostParams::default(), &lease)).await;
                    self.election.handle_write(answer, Instant::now());
                }
            }
            self.announce();
        }
    }

    /// Releases the Lease, if this candidate holds it, so that another can take it at once.
    async fn release(&mut self) {
        self.election.resign();
        self.announced_term = None;
        let limit = self.duration / 3;
        let mut has_written = false;
        let release = async {
            while let Some(step) = self.election.release_step(self.clock.now()) {
                let is_done = if let ElectionStep::Replace(lease) = step {
                    has_written = true;
                    let answer = self.write(&lease).await;
                    let is_done = matches!(answer, LeaseAnswer::Done(_) | LeaseAnswer::Conflict);
                    self.election.handle_release(answer, Instant::now());
                    is_done
                } else {
                    let answer = self.read().await;
                    let is_done = matches!(answer, LeaseAnswer::Done(_) | LeaseAnswer::Missing);
                    self.election.handle_read(answer, Instant::now());
                    is_done
                };
                if !is_done {
                    sleep(RELEASE_PAUSE).await;
                }
            }
        };
        match timeout(limit, release).await {
            Ok(()) if has_written => tracing::info!("released the Lease"),
            Ok(()) => {}
            Err(_) => tracing::warn!("could not release the Lease in time; it will expire"),
        }
    }

    /// Announces changes of the leadership: to the other parts of the process, in the metrics and in the log.
    fn announce(&mut self) {
        let term = self.election.term(Instant::now());
        let other = self.election.other_holder();
        match (self.announced_term, term) {
            (None, None) => {}
            (announced, Some(until)) => {
                self.terms.extend_until(until);
                if announced.is_none() {
                    tracing::info!(identity = self.identity, "leading");
                }
            }
            (Some(_), None) => {
                self.terms.end();
                if other.is_none() {
                    tracing::warn!("no longer leading: could not renew the Lease in time");
                }
            }
        }
        if term.is_none()
            && let Some(holder) = other
            && (self.announced_term.is_some() || holder != self.announced_holder)
        {
            tracing::info!(holder, "standing by: another replica leads");
            holder.clone_into(&mut self.announced_holder);
        }
        self.announced_term = term;
        self.metrics.set_leader(term.is_some());
    }

    async fn read(&mut self) -> LeaseAnswer<Lease> {
        let api = self.api.clone();
        self.request(api.get(LEASE_NAME)).await
    }

    async fn write(&mut self, lease: &Lease) -> LeaseAnswer<Lease> {
        let api = self.api.clone();
        self.request(api.replace(LEASE_NAME, &PostParams::default(), lease)).await
    }

    async fn request(&mut self, request: impl Future<Output = kube::Result<Lease>>) -> LeaseAnswer<Lease> {
        let sent = Instant::now();
        // Do not wait beyond the term: its end must be announced in time.
        let until_term_ends = |term: Instant| self.request_timeout.min(term.saturating_duration_since(sent));
        let limit = self.announced_term.map_or(self.request_timeout, until_term_ends);
        let outcome = timeout(limit, request).await;
        if outcome.is_err() {
            self.request_timeout = (self.request_timeout * 2).min(self.duration / 3);
            tracing::warn!(?limit, "the API server did not answer a request for the Lease in time; trying again");
        } else if sent.elapsed() < self.request_timeout / 4 {
            self.request_timeout = (self.request_timeout / 2).max(self.duration / 15);
        }
        let answer = outcome.map_or(LeaseAnswer::InDoubt, to_answer);
        self.health
            .set_lease_answered(matches!(answer, LeaseAnswer::Done(_) | LeaseAnswer::Conflict | LeaseAnswer::Missing));
        answer
    }
}

fn to_answer(outcome: kube::Result<Lease>) -> LeaseAnswer<Lease> {
    match outcome {
        Ok(lease) => LeaseAnswer::Done(lease),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => LeaseAnswer::Conflict,
        Err(kube::Error::Api(status)) if status.is_not_found() => LeaseAnswer::Missing,
        Err(error) => {
            tracing::warn!(error = summarize(&error), "a request for the Lease failed; trying again");
            match error {
                // A 5xx response leaves open whether the write reached etcd.
                kube::Error::Api(status) if status.code < 500 => LeaseAnswer::Refused,
                _ => LeaseAnswer::InDoubt,
            }
        }
    }
}
