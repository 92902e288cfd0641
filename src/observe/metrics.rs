//! The operator's metrics, in the text format of Prometheus.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::domain::{publication::PublicationKind, reason::Reason, rotation::RotationOutcome};

/// The counters, gauges and histograms of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<OutcomeLabels, Counter>,
    failures: Family<StepLabels, Counter>,
    durations: Family<OutcomeLabels, Histogram>,
    first_outcome: Histogram,
    generation: Family<KindLabels, Histogram>,
    pool: Family<KindLabels, Gauge>,
    watching: Family<ResourceLabels, Gauge>,
    watch_failures: Family<ResourceLabels, Counter>,
    watch_lag: Histogram,
    requests: Family<StatusLabels, Counter>,
    leader: Gauge,
    reviews: Family<OutcomeLabels, Counter>,
    rotations: Family<OutcomeLabels, Counter>,
    publication_writes: Family<PublicationLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublicationLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    algorithm: &'static str,
    bits: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    code: u16,
}

/// A histogram with buckets from 1 ms to about 30 s, the time limit of a request.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

fn publication_writes(registry: &mut Registry) -> Family<PublicationLabels, Counter> {
    let writes = Family::<PublicationLabels, Counter>::default();
    let help = "Writes of the ConfigMaps and Secrets of AuthorizedKeys and KnownHosts, by kind";
    registry.register("publication_writes", help, writes.clone());
    writes
}

impl Metrics {
    /// Metrics that are all zero. `cache` collects what the caches show.
    #[must_use]
    pub fn new(cache: impl Collector + 'static) -> Self {
        let mut registry = Registry::with_prefix("keypair_operator");
        let reconciliations = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "reconciliations",
            "Completed reconciliations by outcome: Ready, or the reason why the KeyPair is not Ready",
            reconciliations.clone(),
        );
        // Without a zero sample, `increase()` would miss the first occurrence.
        for reason in [Reason::PrivateKeyLost, Reason::PrivateKeyMismatch] {
            drop(reconciliations.get_or_create(&OutcomeLabels { outcome: reason.as_str() }));
        }
        let failures = Family::<StepLabels, Counter>::default();
        registry.register(
            "reconciliation_failures",
            "Failed reconciliations, which are retried, by step or cause",
            failures.clone(),
        );
        let histograms = Family::<OutcomeLabels, Histogram>::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "reconciliation_duration",
            "Duration of completed reconciliations by outcome",
            Unit::Seconds,
            histograms.clone(),
        );
        let first_outcome = durations();
        registry.register_with_unit(
            "settling_duration",
            "Time from the creation of a KeyPair, which is known in whole seconds, to its first outcome",
            Unit::Seconds,
            first_outcome.clone(),
        );
        let generation = Family::<KindLabels, Histogram>::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "key_generation_duration",
            "Duration of key generation, without the wait for a thread",
            Unit::Seconds,
            generation.clone(),
        );
        let pool = Family::<KindLabels, Gauge>::default();
        registry.register("key_pool", "Pregenerated keys that are available (--key-pool)", pool.clone());
        let watching = Family::<ResourceLabels, Gauge>::default();
        registry.register(
            "watching",
            "1 if the watch is healthy, 0 if its last attempt failed, by resource",
            watching.clone(),
        );
        let watch_failures = Family::<ResourceLabels, Counter>::default();
        registry.register("watch_failures", "Failed watches, which are restarted, by resource", watch_failures.clone());
        let watch_lag = durations();
        registry.register_with_unit(
            "watch_lag",
            "Time from the response to the operator's own write of a KeyPair to the watch event for it",
            Unit::Seconds,
            watch_lag.clone(),
        );
        let requests = Family::<StatusLabels, Counter>::default();
        registry.register(
            "api_requests",
            "Requests to the API server by the HTTP status of the response; 0 if there was no response",
            requests.clone(),
        );
        let leader = Gauge::default();
        registry.register(
            "leader",
            "1 if this replica leads or runs without leader election, 0 if not",
            leader.clone(),
        );
        let reviews = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "admission_reviews",
            "Admission reviews by outcome: Admitted, the reason of the refusal, or Unavailable",
            reviews.clone(),
        );
        let rotations = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "rotations",
            "Steps of rotations by outcome: the reason of the Event, or RotationFailed for a step that is retried",
            rotations.clone(),
        );
        for outcome in RotationOutcome::ALL {
            drop(rotations.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
        }
        let publication_writes = publication_writes(&mut registry);
        registry.register_collector(Box::new(cache));
        Self {
            registry,
            reconciliations,
            failures,
            durations: histograms,
            first_outcome,
            generation,
            pool,
            watching,
            watch_failures,
            watch_lag,
            requests,
            leader,
            reviews,
            rotations,
            publication_writes,
        }
    }

    /// Counts a reconciliation that completed after `duration`.
    pub fn record_reconciliation(&self, outcome: &'static str, duration: Duration) {
        self.reconciliations.get_or_create(&OutcomeLabels { outcome }).inc();
        self.durations.get_or_create(&OutcomeLabels { outcome }).observe(duration.as_secs_f64());
    }

    /// Counts a reconciliation, or work ahead of one, that failed at this step, or for this cause.
    pub fn record_failure(&self, step: &'static str) {
        self.failures.get_or_create(&StepLabels { step }).inc();
    }

    /// Observes the time from the creation of a `KeyPair` to its first outcome.
    pub fn record_first_outcome(&self, age: Duration) {
        self.first_outcome.observe(age.as_secs_f64());
    }

    /// Observes the duration of a key generation.
    pub fn record_generation(&self, algorithm: &'static str, bits: u32, duration: Duration) {
        self.generation.get_or_create(&KindLabels { algorithm, bits }).observe(duration.as_secs_f64());
    }

    /// Sets the number of keys of this kind in the pool.
    pub fn set_pool_size(&self, algorithm: &'static str, bits: u32, keys: usize) {
        self.pool.get_or_create(&KindLabels { algorithm, bits }).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Sets whether the watch of this resource is healthy, and counts its failures.
    pub fn record_watch(&self, resource: &'static str, is_healthy: bool) {
        let labels = ResourceLabels { resource };
        self.watching.get_or_create(&labels).set(i64::from(is_healthy));
        if !is_healthy {
            self.watch_failures.get_or_create(&labels).inc();
        }
    }

    /// Observes the time from the response to an own write to the watch event for it.
    pub fn record_watch_lag(&self, lag: Duration) {
        self.watch_lag.observe(lag.as_secs_f64());
    }

    /// Counts a request to the API server by the HTTP status of its response; 0 if there was none.
    pub fn record_request(&self, code: u16) {
        self.requests.get_or_create(&StatusLabels { code }).inc();
    }

    /// Sets whether this replica leads.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Counts an admission review by its outcome.
    pub fn record_review(&self, outcome: &'static str) {
        self.reviews.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a step of a rotation.
    pub fn record_rotation(&self, outcome: RotationOutcome) {
        self.rotations.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Counts a write of the target of a publication of this kind.
    pub fn record_publication_write(&self, kind: PublicationKind) {
        self.publication_writes.get_or_create(&PublicationLabels { kind: kind.as_str() }).inc();
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a `String` does not fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
