//! What the operator counts about itself, in the text format of Prometheus.

mod usage;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use self::usage::Usage;
use super::view::Views;
use crate::domain::reason::Reason;

/// Counters, gauges and histograms.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<OutcomeLabels, Counter>,
    failures: Family<StepLabels, Counter>,
    durations: Family<OutcomeLabels, Histogram>,
    settling: Histogram,
    generation: Family<KindLabels, Histogram>,
    pool: Family<KindLabels, Gauge>,
    watching: Family<ResourceLabels, Gauge>,
    watch_failures: Family<ResourceLabels, Counter>,
    watch_lag: Histogram,
    requests: Family<StatusLabels, Counter>,
    leader: Gauge,
    reviews: Family<OutcomeLabels, Counter>,
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

/// From 1 ms to about 30 s, which is when a request is given up.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Metrics {
    /// Everything at zero. `views` are where the use of quotas can be looked up.
    #[must_use]
    pub fn new(views: Arc<Views>) -> Self {
        let mut registry = Registry::with_prefix("keypair_operator");
        let reconciliations = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "reconciliations",
            "Reconciliations that came to their end, by outcome: Ready or the reason of the refusal",
            reconciliations.clone(),
        );
        // Whoever asks for an increase is not told of the first if there was no zero before it.
        for reason in [Reason::PrivateKeyLost, Reason::PrivateKeyMismatch] {
            drop(reconciliations.get_or_create(&OutcomeLabels { outcome: reason.as_str() }));
        }
        let failures = Family::<StepLabels, Counter>::default();
        registry.register(
            "reconciliation_failures",
            "Reconciliations that failed and are tried again, by the step that failed",
            failures.clone(),
        );
        let histograms = Family::<OutcomeLabels, Histogram>::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "reconciliation_duration",
            "How long reconciliations took that came to their end, by outcome",
            Unit::Seconds,
            histograms.clone(),
        );
        let settling = durations();
        registry.register_with_unit(
            "settling_duration",
            "How long after its creation, which is known in whole seconds, a KeyPair had its first answer",
            Unit::Seconds,
            settling.clone(),
        );
        let generation = Family::<KindLabels, Histogram>::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "key_generation_duration",
            "How long it took to generate a key, the wait for a thread not included",
            Unit::Seconds,
            generation.clone(),
        );
        let pool = Family::<KindLabels, Gauge>::default();
        registry.register("key_pool", "Keys that were made before they are asked for (--key-pool)", pool.clone());
        let watching = Family::<ResourceLabels, Gauge>::default();
        registry.register(
            "watching",
            "Whether the last that was heard of a watch was not an error: 0 says what the operator waits for",
            watching.clone(),
        );
        let watch_failures = Family::<ResourceLabels, Counter>::default();
        registry.register("watch_failures", "Watches that failed and are begun again", watch_failures.clone());
        let watch_lag = durations();
        registry.register_with_unit(
            "watch_lag",
            "How long after the answer to a write of the operator's own to a KeyPair the watch brought it",
            Unit::Seconds,
            watch_lag.clone(),
        );
        let requests = Family::<StatusLabels, Counter>::default();
        registry.register(
            "api_requests",
            "Requests to the API server by the HTTP status of the answer; 0: there was none",
            requests.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this replica leads, or works alone", leader.clone());
        let reviews = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "admission_reviews",
            "Admission reviews that were answered, by outcome: Admitted, the reason of the refusal, or Unavailable",
            reviews.clone(),
        );
        registry.register_collector(Box::new(Usage(views)));
        Self {
            registry,
            reconciliations,
            failures,
            durations: histograms,
            settling,
            generation,
            pool,
            watching,
            watch_failures,
            watch_lag,
            requests,
            leader,
            reviews,
        }
    }

    /// Counts a reconciliation that came to its end after `duration`.
    pub fn reconciled(&self, outcome: &'static str, duration: Duration) {
        self.reconciliations.get_or_create(&OutcomeLabels { outcome }).inc();
        self.durations.get_or_create(&OutcomeLabels { outcome }).observe(duration.as_secs_f64());
    }

    /// Counts a reconciliation, or what is done ahead of one, that failed at this step.
    pub fn failed(&self, step: &'static str) {
        self.failures.get_or_create(&StepLabels { step }).inc();
    }

    /// Notes how long after its creation a `KeyPair` had its first answer.
    pub fn settled(&self, after: Duration) {
        self.settling.observe(after.as_secs_f64());
    }

    /// Notes how long it took to generate a key.
    pub fn generated(&self, algorithm: &'static str, bits: u32, duration: Duration) {
        self.generation.get_or_create(&KindLabels { algorithm, bits }).observe(duration.as_secs_f64());
    }

    /// Notes how many keys of this kind are in the pool.
    pub fn pooled(&self, algorithm: &'static str, bits: u32, keys: usize) {
        self.pool.get_or_create(&KindLabels { algorithm, bits }).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Notes that a watch of this resource brought something, or failed.
    pub fn watch(&self, resource: &'static str, works: bool) {
        let labels = ResourceLabels { resource };
        self.watching.get_or_create(&labels).set(i64::from(works));
        if !works {
            self.watch_failures.get_or_create(&labels).inc();
        }
    }

    /// Notes how long after the answer to a write of our own the watch brought it.
    pub fn lagged(&self, lag: Duration) {
        self.watch_lag.observe(lag.as_secs_f64());
    }

    /// Counts a request to the API server by the HTTP status of its answer; 0: there was none.
    pub fn requested(&self, code: u16) {
        self.requests.get_or_create(&StatusLabels { code }).inc();
    }

    /// Notes whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts an answer to an admission review.
    pub fn reviewed(&self, outcome: &'static str) {
        self.reviews.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Every metric as text.
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
