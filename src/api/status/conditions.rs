//! Conditions: stable times, and those of other writers.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// A condition, which keeps its time while its status is as `before`.
pub(in crate::api) fn condition(
    before: &[Condition],
    (type_, status): (&str, &str),
    reason: &str,
    message: String,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let same = before.iter().find(|before| before.type_ == type_ && before.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation,
        last_transition_time: same.map_or(Time(now), |same| same.last_transition_time.clone()),
    }
}

/// The conditions `before`, with `ours` in place of the operator's own, which have these types. Conditions of other writers stay, and
/// so does the order.
pub(in crate::api) fn merge(before: &[Condition], mut ours: Vec<Condition>, own_types: &[&str]) -> Vec<Condition> {
    let mut merged = Vec::with_capacity(before.len() + ours.len());
    for condition in before {
        if let Some(index) = ours.iter().position(|own| own.type_ == condition.type_) {
            merged.push(ours.remove(index));
        } else if !own_types.contains(&condition.type_.as_str()) {
            merged.push(condition.clone());
        }
    }
    merged.append(&mut ours);
    merged
}
