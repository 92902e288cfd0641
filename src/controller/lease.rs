//! Leader election by a Lease.
//!
//! Every write of the Lease is a PUT with the resource version, so that of two candidates one gets 409. Time is measured by
//! each candidate's own monotonic clock, from when it saw the Lease change last: clocks need not agree. A leader may write for
//! two thirds of the lease's duration after it *sent* its last successful renewal, and nobody takes the Lease before it has
//! been unchanged for the whole; the last third is for what is still on its way to the API server.
//!
//! The libraries there are for this do not promise that much. Of those that work with this version of kube,
//! kube-lease-manager renews and releases by patches without a resource version, compares wall clocks of different
//! machines, and does not say that leadership is lost while the API server does not answer.

mod election;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::election::{Answer, Election, Step};
use super::{
    Shared,
    answer::in_brief,
    health::Health,
    leadership::Terms,
    metrics::Metrics,
    requests::{Requests, finish},
    wall_clock::WallClock,
};

/// The name of the Lease.
pub const LEASE_NAME: &str = "keypair-operator";
/// How long to wait before the next try to give the lead back.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// A candidate for the lead.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    election: Election,
    /// How long the next answer is waited for: a lost one must not take the time of many, and a slow server must get through.
    patience: Duration,
    /// The term that was told, and by whose name it was said who else leads.
    told: Option<Instant>,
    told_holder: String,
    terms: Terms,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    clock: WallClock,
}

impl Candidate {
    /// A candidate for the Lease in `namespace`, which is valid for `duration` after each renewal.
    #[must_use]
    pub fn new(client: Client, namespace: &str, duration: Duration, terms: Terms, shared: &Shared) -> Self {
        // The pod's name, where there is one; what is drawn tells two processes of one pod, or machine, apart.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| LEASE_NAME.to_owned());
        let identity = format!("{host}_{:016x}", shared.randomness.draw("identity"));
        Self {
            api: Api::namespaced(client, namespace),
            election: Election::new(identity.clone(), duration, Instant::now()),
            identity,
            duration,
            patience: duration / 15,
            told: None,
            told_holder: String::new(),
            terms,
            health: Arc::clone(&shared.health),
            metrics: Arc::clone(&shared.metrics),
            clock: shared.clock.clone(),
        }
    }

    /// Stands for the lead while `work` runs. After `stop`, which is to end it, work has a second to finish what is under way;
    /// the Lease is renewed meanwhile, and given back then.
    pub async fn run(mut self, work: impl Future<Output = ()>, stop: impl Future<Output = ()>, requests: &Requests) {
        tokio::select! {
            biased;
            () = self.stand() => {}
            () = finish(work, stop) => {}
        }
        self.terms.ended();
        self.metrics.leads(false);
        // Whoever leads next must see all that was written: what has no answer yet may still come, as after the end of a term.
        requests.settled(self.duration / 3).await;
        self.release().await;
    }

    /// Stands for the lead, and renews it, until it is dropped.
    async fn stand(&mut self) {
        loop {
            match self.election.step(Instant::now(), self.clock.now()) {
                Step::Wait(until) => {
                    // The end of the term is told when it comes.
                    sleep_until(self.told.map_or(until, |term| term.min(until))).await;
                }
                Step::Read => {
                    let answer = self.read().await;
                    self.election.read(answer, Instant::now());
                }
                Step::Replace(lease) => {
                    let answer = self.write(&lease).await;
                    self.election.written(answer, Instant::now());
                }
                Step::Create(lease) => {
                    let api = self.api.clone();
                    let answer = self.ask(api.create(&PostParams::default(), &lease)).await;
                    self.election.written(answer, Instant::now());
                }
            }
            self.tell();
        }
    }

    /// Gives the lead back, if it is ours, so that another candidate takes it at once.
    async fn release(&mut self) {
        self.election.resign();
        self.told = None;
        let limit = self.duration / 3;
        let mut has_written = false;
        let release = async {
            while let Some(step) = self.election.release_step(self.clock.now()) {
                let is_done = if let Step::Replace(lease) = step {
                    has_written = true;
                    let answer = self.write(&lease).await;
                    let is_done = matches!(answer, Answer::Done(_) | Answer::Conflict);
                    self.election.released(answer, Instant::now());
                    is_done
                } else {
                    let answer = self.read().await;
                    let is_done = matches!(answer, Answer::Done(_) | Answer::Missing);
                    self.election.read(answer, Instant::now());
                    is_done
                };
                if !is_done {
                    sleep(RELEASE_PAUSE).await;
                }
            }
        };
        match timeout(limit, release).await {
            Ok(()) if has_written => tracing::info!("the Lease is released"),
            Ok(()) => {}
            Err(_) => tracing::warn!("the Lease cannot be released in time; it will expire"),
        }
    }

    /// Tells what has changed about who leads.
    fn tell(&mut self) {
        let term = self.election.term(Instant::now());
        let other = self.election.other_holder();
        match (self.told, term) {
            (None, None) => {}
            (told, Some(until)) => {
                self.terms.leads_until(until);
                if told.is_none() {
                    tracing::info!(identity = self.identity, "leading");
                }
            }
            (Some(_), None) => {
                self.terms.ended();
                if other.is_none() {
                    tracing::warn!("no longer leading: the Lease could not be renewed in time");
                }
            }
        }
        if term.is_none()
            && let Some(holder) = other
            && (self.told.is_some() || holder != self.told_holder)
        {
            tracing::info!(holder, "standing by: another replica leads");
            holder.clone_into(&mut self.told_holder);
        }
        self.told = term;
        self.metrics.leads(term.is_some());
    }

    async fn read(&mut self) -> Answer<Lease> {
        let api = self.api.clone();
        self.ask(api.get(LEASE_NAME)).await
    }

    async fn write(&mut self, lease: &Lease) -> Answer<Lease> {
        let api = self.api.clone();
        self.ask(api.replace(LEASE_NAME, &PostParams::default(), lease)).await
    }

    async fn ask(&mut self, request: impl Future<Output = kube::Result<Lease>>) -> Answer<Lease> {
        let sent = Instant::now();
        // Nothing is waited for beyond the term: its end is to be told.
        let limit = self.told.map_or(self.patience, |term| self.patience.min(term.saturating_duration_since(sent)));
        let outcome = timeout(limit, request).await;
        if outcome.is_err() {
            self.patience = (self.patience * 2).min(self.duration / 3);
            tracing::warn!(?limit, "the API server does not answer about the Lease; trying again");
        } else if sent.elapsed() < self.patience / 4 {
            self.patience = (self.patience / 2).max(self.duration / 15);
        }
        let answer = outcome.map_or(Answer::InDoubt, answered);
        self.health.lease_answered(matches!(answer, Answer::Done(_) | Answer::Conflict | Answer::Missing));
        answer
    }
}

fn answered(outcome: kube::Result<Lease>) -> Answer<Lease> {
    match outcome {
        Ok(lease) => Answer::Done(lease),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Answer::Conflict,
        Err(kube::Error::Api(status)) if status.is_not_found() => Answer::Missing,
        Err(error) => {
            tracing::warn!(error = in_brief(&error), "cannot get or renew the Lease; trying again");
            match error {
                // An answer of 5xx may come from what is between here and the store, which has it or not.
                kube::Error::Api(status) if status.code < 500 => Answer::Refused,
                _ => Answer::InDoubt,
            }
        }
    }
}
