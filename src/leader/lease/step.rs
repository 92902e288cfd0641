//! The steps of an election, and the contents of a Lease.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::Resource;
use tokio::time::Instant;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum ElectionStep {
    /// Nothing before this time.
    Wait(Instant),
    /// Read the Lease.
    Read,
    /// Replace the Lease, if it still has this version.
    Replace(Lease),
    /// Create the Lease.
    Create(Lease),
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseAnswer<T> {
    /// It was carried out.
    Done(T),
    /// The Lease has another version, or already exists: 409.
    Conflict,
    /// The Lease, or its namespace, does not exist: 404.
    Missing,
    /// It was refused, so it was not carried out.
    Refused,
    /// No conclusive response came. The request may have been carried out, or may still be.
    InDoubt,
}

/// The current time in microseconds, as a Lease stores it, but different from `before`: it identifies a renewal, whatever the clock does.
pub(super) fn distinct_time(before: Option<&MicroTime>, clock: Timestamp) -> MicroTime {
    let now = Timestamp::from_microsecond(clock.as_microsecond()).unwrap_or(clock);
    let is_same = before.is_some_and(|before| before.0 == now);
    MicroTime(if is_same { now.checked_add(SignedDuration::from_micros(1)).unwrap_or(now) } else { now })
}

pub(super) fn with_spec(lease: &Lease, spec: LeaseSpec) -> Lease {
    let mut lease = Lease { spec: Some(spec), ..lease.clone() };
    lease.meta_mut().managed_fields = None;
    lease
}

pub(super) fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

pub(super) fn transitions(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default()
}
