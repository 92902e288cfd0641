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

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};

use super::{answer::in_brief, health::Health, leadership::Terms, metrics::Metrics, randomness::Randomness};

/// The name of the Lease.
pub const LEASE_NAME: &str = "keypair-operator";
/// How often a candidate looks whether the Lease is free.
const LOOK: Duration = Duration::from_secs(1);

/// A candidate for the lead.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    /// The Lease as it was last seen, and since when it has been so.
    seen: Option<(Lease, Instant)>,
    /// When it was first missed, after another had held it.
    missed: Option<Instant>,
    /// Whether another was seen to hold it.
    had_a_holder: bool,
    terms: Terms,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Candidate {
    /// A candidate for the Lease in `namespace`, which is valid for `duration` after each renewal.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        duration: Duration,
        terms: Terms,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        randomness: Randomness,
    ) -> Self {
        // The pod's name, where there is one; what is drawn tells two processes of one pod, or machine, apart.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| LEASE_NAME.to_owned());
        let identity = format!("{host}_{:016x}", randomness.draw("identity"));
        Self {
            api: Api::namespaced(client, namespace),
            identity,
            duration,
            seen: None,
            missed: None,
            had_a_holder: false,
            terms,
            health,
            metrics,
        }
    }

    /// Stands for the lead, and renews it, until it is dropped.
    pub async fn stand(&mut self) {
        let mut leads = false;
        let mut until = Instant::now();
        let mut told = String::new();
        loop {
            let sent = Instant::now();
            let outcome = timeout(self.duration / 3, self.hold()).await;
            self.health.lease_answered(matches!(outcome, Ok(Ok(_))));
            match outcome {
                Ok(Ok(None)) => {
                    until = sent + self.duration * 2 / 3;
                    self.terms.leads_until(until);
                    if !leads {
                        tracing::info!(identity = self.identity, "leading");
                    }
                    leads = true;
                }
                Ok(Ok(Some(holder))) => {
                    self.terms.ended();
                    if leads || told != holder {
                        tracing::info!(holder, "standing by: another replica leads");
                    }
                    told = holder;
                    leads = false;
                }
                // Whoever leads goes on until the end of the term, which the clock tells.
                Ok(Err(error)) => {
                    tracing::warn!(error = in_brief(&error), "cannot get or renew the Lease; trying again");
                }
                Err(_) => tracing::warn!("the API server does not answer about the Lease; trying again"),
            }
            if leads && Instant::now() >= until {
                tracing::warn!("no longer leading: the Lease could not be renewed in time");
                leads = false;
            }
            self.metrics.leads(leads);
            sleep(if leads { self.duration / 5 } else { LOOK.min(self.duration / 5) }).await;
        }
    }

    /// Gives the lead back, if it is ours, so that another candidate takes it at once.
    pub async fn release(&mut self) {
        self.terms.ended();
        self.metrics.leads(false);
        let Some((lease, _)) = self.seen.take().filter(|(lease, _)| holder(lease) == self.identity) else { return };
        let spec = LeaseSpec { holder_identity: Some(String::new()), ..lease.spec.clone().unwrap_or_default() };
        match timeout(self.duration / 3, self.write(Lease { spec: Some(spec), ..lease })).await {
            Ok(Ok(_)) => tracing::info!("the Lease is released"),
            Ok(Err(error)) => tracing::warn!(error = in_brief(&error), "cannot release the Lease; it will expire"),
            Err(_) => tracing::warn!("the API server does not answer; the Lease will expire"),
        }
    }

    /// Renews the Lease if it is ours and takes it if it is nobody's. `None`: it is ours; else who holds it.
    async fn hold(&mut self) -> Result<Option<String>, kube::Error> {
        let lease = match self.seen.take() {
            // Nobody can have changed it without our PUT failing.
            Some((lease, _)) if holder(&lease) == self.identity => lease,
            seen => {
                let Some(lease) = self.api.get_opt(LEASE_NAME).await? else { return self.miss().await };
                self.missed = None;
                let since = match seen {
                    Some((before, since)) if before.resource_version() == lease.resource_version() => since,
                    _ => Instant::now(),
                };
                self.seen = Some((lease.clone(), since));
                let holder = holder(&lease);
                let valid = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
                let valid = Duration::from_secs(u64::try_from(valid).unwrap_or_default()).max(self.duration);
                if !holder.is_empty() && holder != self.identity && since.elapsed() < valid {
                    self.had_a_holder = true;
                    return Ok(Some(holder.to_owned()));
                }
                lease
            }
        };
        let is_renewal = holder(&lease) == self.identity;
        let spec = self.spec(lease.spec.as_ref());
        match self.write(Lease { spec: Some(spec), ..lease }).await {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(None)
            }
            // Deleted by hand. Others wait before they take what is missing.
            Err(kube::Error::Api(status)) if status.is_not_found() && is_renewal => self.create().await,
            // Somebody else was first; whoever it was is seen at the next look.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(Some("another".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease is not there. Where another held it, somebody has deleted it, and its holder may not know yet.
    async fn miss(&mut self) -> Result<Option<String>, kube::Error> {
        let missed = *self.missed.get_or_insert_with(Instant::now);
        if self.had_a_holder && missed.elapsed() < self.duration {
            return Ok(Some("the last holder of the Lease, which is gone".to_owned()));
        }
        self.create().await
    }

    async fn create(&mut self) -> Result<Option<String>, kube::Error> {
        let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(None)) };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(None)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Some("another".to_owned())),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, mut lease: Lease) -> Result<Lease, kube::Error> {
        lease.meta_mut().managed_fields = None;
        self.api.replace(LEASE_NAME, &PostParams::default(), &lease).await
    }

    /// What the Lease says when it is ours.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mut spec = before.cloned().unwrap_or_default();
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

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
