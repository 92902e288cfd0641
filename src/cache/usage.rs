//! Metrics about the use of the quotas, collected with those about publications and rotations when they are scraped.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{rotation_metrics, scope_cache::ScopeCaches};
use crate::client::wall_clock::WallClock;

/// Only this number of namespaces, the fullest ones, have metrics of their own: each is a time series, and a cluster may have thousands.
const MAX_NAMESPACES: usize = 100;

/// Collects the use of the quotas, and the states of publications and rotations, from the newest caches.
#[derive(Debug, Default)]
pub struct Usage {
    caches: Arc<ScopeCaches>,
    clock: WallClock,
}

impl Usage {
    /// Collects from these caches. Ages are those by this clock.
    #[must_use]
    pub fn new(caches: Arc<ScopeCaches>, clock: WallClock) -> Self {
        Self { caches, clock }
    }
}

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut usage = self.caches.usage();
        let accepted: usize = usage.iter().map(|(_, used, _)| used).sum();
        let mut total = |name, help, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&gauge))?)
        };
        total("accepted_key_pairs", "Key pairs that hold a slot, in all namespaces", accepted)?;
        let undecoded = "KeyPairs that do not match the schema of this version, which the operator does not process";
        total("undecoded_key_pairs", undecoded, self.caches.undecoded())?;
        total("namespaces", "Namespaces in which key pairs hold slots", usage.len())?;

        // The fullest first, then by name, so that the selection is stable.
        usage.sort_by(|(one, used, limit), (other, other_used, other_limit)| {
            let share = |used: usize, limit: usize| used.saturating_mul(1_000_000) / limit.max(1);
            share(*other_used, *other_limit).cmp(&share(*used, *limit)).then_with(|| one.cmp(other))
        });
        usage.truncate(MAX_NAMESPACES);
        let mut by_namespace = |name, help, value: fn(&(String, usize, usize)) -> usize| {
            let template = ConstGauge::new(0_i64);
            let mut family = encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&template))?;
            for row in &usage {
                let gauge = ConstGauge::new(i64::try_from(value(row)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("namespace", row.0.as_str())])?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        by_namespace(
            "quota_used",
            "Key pairs that hold a slot of the namespace's quota, for the 100 fullest namespaces",
            |(_, used, _)| *used,
        )?;
        by_namespace("quota_limit", "The quota of the namespace, for the 100 fullest namespaces", |(_, _, limit)| {
            *limit
        })?;
        let help = "AuthorizedKeys and KnownHosts by kind and the reason of their condition Ready; Pending without one";
        let mut family = encoder.encode_descriptor("publications", help, None, MetricType::Gauge)?;
        for ((kind, reason), count) in self.caches.publications() {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("kind", kind.as_str()), ("reason", reason)])?)?;
        }
        rotation_metrics::encode(self.caches.rotations(self.clock.now()), MAX_NAMESPACES, &mut encoder)
    }
}
