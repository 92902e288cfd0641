//! Metrics about rotations, computed from the caches when they are scraped.
//!
//! Times are timestamps, not ages: the query subtracts them from its own time.

use std::{cmp::Reverse, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

use super::store::NamespaceRotations;

/// Encodes the rotations of all namespaces. Only so many namespaces, those that need attention most, have metrics of their own.
pub fn encode(
    mut namespaces: Vec<NamespaceRotations>,
    max_namespaces: usize,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let key_pairs: usize = namespaces.iter().map(|namespace| namespace.key_pairs).sum();
    let next_switch = namespaces.iter().filter_map(|namespace| namespace.next_switch).min();
    let mut total = |name, help, unit, value: Option<i64>| {
        let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| ConstGauge::new(value).encode(metric))
    };
    total("rotation_key_pairs", "Key pairs with spec.rotation, in all namespaces", None, Some(count(key_pairs)))?;
    total(
        "rotation_next_switch_timestamp",
        "When the next key pair switches to its next key, in seconds since 1970",
        Some(&Unit::Seconds),
        next_switch.map(i64::from),
    )?;

    // By age and name among those that need the same attention, so that the selection is stable.
    namespaces.sort_by(|one, other| {
        let key = |it: &NamespaceRotations| (Reverse(it.overdue.saturating_add(it.waiting)), it.oldest_key);
        key(one).cmp(&key(other)).then_with(|| one.namespace.cmp(&other.namespace))
    });
    namespaces.truncate(max_namespaces);
    let mut by_namespace = |name, help, unit, value: fn(&NamespaceRotations) -> Option<i64>| {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for row in &namespaces {
            if let Some(value) = value(row) {
                ConstGauge::new(value).encode(family.encode_family(&[("namespace", row.namespace.as_str())])?)?;
            }
        }
        Ok::<(), fmt::Error>(())
    };
    by_namespace(
        "rotation_oldest_key_timestamp",
        "Since when the oldest current key of the namespace's key pairs with spec.rotation is current, in seconds since 1970, for 100 namespaces",
        Some(&Unit::Seconds),
        |row| Some(row.oldest_key.into()),
    )?;
    by_namespace(
        "rotation_overdue_key_pairs",
        "Key pairs whose current key is older than twice spec.rotation.every, for 100 namespaces",
        None,
        |row| Some(count(row.overdue)),
    )?;
    by_namespace(
        "rotation_waiting_key_pairs",
        "Key pairs whose rotation waits only for gates, for 100 namespaces",
        None,
        |row| Some(count(row.waiting)),
    )?;
    by_namespace(
        "rotation_waiting_since_timestamp",
        "Since when the namespace's longest waiting rotation waits for gates, in seconds since 1970, for 100 namespaces",
        Some(&Unit::Seconds),
        |row| row.waiting_since.map(i64::from),
    )
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{collector::Collector, encoding::text, registry::Registry};

    use super::*;

    #[derive(Debug)]
    struct Rotations(Vec<NamespaceRotations>);

    impl Collector for Rotations {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            encode(self.0.clone(), 2, &mut encoder)
        }
    }

    /// The samples, in the order in which they are encoded.
    fn samples(namespaces: Vec<NamespaceRotations>) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Rotations(namespaces)));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn the_namespaces_that_need_attention_are_exported() {
        let idle = NamespaceRotations {
            namespace: "idle".to_owned(),
            key_pairs: 3,
            oldest_key: 1000,
            next_switch: Some(9000),
            overdue: 0,
            waiting: 0,
            waiting_since: None,
        };
        let old = NamespaceRotations {
            namespace: "old".to_owned(),
            oldest_key: 500,
            next_switch: Some(8000),
            ..idle.clone()
        };
        let waits = NamespaceRotations {
            namespace: "waits".to_owned(),
            overdue: 1,
            waiting: 2,
            waiting_since: Some(3000),
            next_switch: None,
            ..idle.clone()
        };
        assert_eq!(
            samples(vec![idle, old, waits]),
            [
                "rotation_key_pairs 9",
                "rotation_next_switch_timestamp_seconds 8000",
                r#"rotation_oldest_key_timestamp_seconds{namespace="waits"} 1000"#,
                r#"rotation_oldest_key_timestamp_seconds{namespace="old"} 500"#,
                r#"rotation_overdue_key_pairs{namespace="waits"} 1"#,
                r#"rotation_overdue_key_pairs{namespace="old"} 0"#,
                r#"rotation_waiting_key_pairs{namespace="waits"} 2"#,
                r#"rotation_waiting_key_pairs{namespace="old"} 0"#,
                r#"rotation_waiting_since_timestamp_seconds{namespace="waits"} 3000"#,
            ]
        );
    }

    /// A timestamp of 0 would look like a very old key.
    #[test]
    fn without_rotations_there_are_no_timestamps() {
        assert_eq!(samples(Vec::new()), ["rotation_key_pairs 0"]);
    }
}
