//! What the operator counts about itself, in the text format of Prometheus.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters and gauges.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<OutcomeLabels, Counter>,
    failures: Counter,
    watching: Family<ResourceLabels, Gauge>,
    watch_failures: Family<ResourceLabels, Counter>,
    leader: Gauge,
    reviews: Family<OutcomeLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("keypair_operator");
        let reconciliations = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "reconciliations",
            "Reconciliations that came to their end, by outcome: Ready or the reason of the refusal",
            reconciliations.clone(),
        );
        let failures = Counter::default();
        registry.register(
            "reconciliation_failures",
            "Reconciliations that failed and are tried again",
            failures.clone(),
        );
        let watching = Family::<ResourceLabels, Gauge>::default();
        registry.register(
            "watching",
            "Whether the last that was heard of a watch was not an error: 0 says what the operator waits for",
            watching.clone(),
        );
        let watch_failures = Family::<ResourceLabels, Counter>::default();
        registry.register("watch_failures", "Watches that failed and are begun again", watch_failures.clone());
        let leader = Gauge::default();
        registry.register("leader", "Whether this replica leads, or works alone", leader.clone());
        let reviews = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "admission_reviews",
            "Admission reviews that were answered, by outcome: Admitted, the reason of the refusal, or Unavailable",
            reviews.clone(),
        );
        Self { registry, reconciliations, failures, watching, watch_failures, leader, reviews }
    }

    /// Counts a reconciliation that came to its end.
    pub fn reconciled(&self, outcome: &'static str) {
        self.reconciliations.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Notes that a watch of this resource brought something, or failed.
    pub fn watch(&self, resource: &'static str, works: bool) {
        let labels = ResourceLabels { resource };
        self.watching.get_or_create(&labels).set(i64::from(works));
        if !works {
            self.watch_failures.get_or_create(&labels).inc();
        }
    }

    /// Counts a reconciliation that failed.
    pub fn failed(&self) {
        self.failures.inc();
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
