//! A history: user actions and faults, each at its time. It is drawn from a seed, and can be shortened.

mod draw;
mod request;
mod rotation;
mod shrink;
mod spec;

use std::{fmt, time::Duration};

use serde_json::Value;

pub use self::{
    draw::draw,
    request::UserRequest,
    rotation::{end_of_schedule, is_scheduled, with_condition},
    shrink::shorten,
};

/// The setup of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The number of replicas. With one, there is no leader election.
    pub replicas: usize,
    /// The operator's quota.
    pub quota: usize,
    /// The duration of the Lease in seconds.
    pub lease: u64,
    /// Whether replicas cache what they need for admission reviews, and watch even while another replica leads.
    pub answers_reviews: bool,
    /// The maximum number of concurrent reconciliations.
    pub concurrency: u16,
}

/// One step of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The time since the start.
    pub at: Duration,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A user sends a request to the API server.
    User {
        /// The method.
        verb: Verb,
        /// The plural of the resource.
        resource: &'static str,
        /// The namespace; empty for a cluster-scoped object.
        namespace: String,
        /// The name of the object.
        name: String,
        /// An object, or a patch; `null` for a delete. `$KEY<n>` is replaced by the base64 of a user's private key.
        body: Value,
    },
    /// A controller that registers keys sets a condition of a `KeyPair`.
    Gate {
        /// The namespace of the `KeyPair`.
        namespace: String,
        /// Its name.
        name: String,
        /// The type of the condition.
        gate: &'static str,
        /// Whether it becomes True.
        is_open: bool,
    },
    /// A replica is killed after a number of polls of its task.
    Crash {
        /// The number of the replica.
        replica: usize,
        /// The number of polls.
        polls: u64,
    },
    /// A replica is started, if it is not running.
    Start(usize),
    /// A replica receives SIGTERM.
    Stop(usize),
    /// A replica gets no CPU time.
    Suspend(usize),
    /// A suspended replica gets CPU time again.
    Resume(usize),
    /// Sets the faults of the network between a replica and the API server.
    Network(usize, NetworkFaults),
    /// Sets the fault of a replica's watches of a resource.
    Watch(usize, &'static str, WatchFault),
    /// Adds a policy for Secrets.
    Policy(Policy),
    /// Removes all policies.
    NoPolicy,
    /// The operator loses the permission for this verb and resource.
    Deny(&'static str, &'static str),
    /// The operator has all its permissions again.
    AllowAll,
    /// Takes a snapshot of the store.
    Snapshot,
    /// Restores the last snapshot.
    Restore,
    /// The wall clock of the API server jumps by this number of seconds.
    ClockJump(i64),
}

/// The method of a user's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// PATCH, as merge patch.
    Patch,
    /// DELETE.
    Delete,
}

/// The faults of the network between one replica and the API server. Each number of requests is out of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkFaults {
    /// The maximum time that a request, or its response, takes without further faults, in milliseconds.
    pub latency: u64,
    /// Requests that are lost before they are carried out.
    pub lost_requests: u64,
    /// Requests that are carried out, but whose response is lost.
    pub lost_responses: u64,
    /// Requests whose response is delayed.
    pub delayed: u64,
    /// The delay in milliseconds.
    pub delay: u64,
    /// Requests that are not carried out, but answered with an error.
    pub errors: u64,
    /// Whether nothing gets through.
    pub partitioned: bool,
}

/// The fault of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// None: every event arrives immediately.
    Clear,
    /// This many of the latest events are held back.
    LagBy(usize),
    /// Every event is delayed by this number of milliseconds.
    LagFor(u64),
    /// No further events arrive, and the connection stays open.
    Silent,
    /// The watch ends.
    Cut,
    /// The watch ends, and its resource version has expired.
    Expired,
}

/// What a policy does to the operator's writes of Secrets: change or refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Sets another `app.kubernetes.io/managed-by`.
    OverwriteLabel,
    /// Removes `app.kubernetes.io/managed-by`.
    RemoveLabel,
    /// Removes the annotation with the UID.
    RemoveUid,
    /// Removes the owner references.
    RemoveOwner,
    /// Refuses with 403.
    Refuse,
    /// Refuses with 422.
    Invalid,
    /// A webhook that does not answer: 500.
    Away,
    /// A quota of two Secrets.
    Quota,
}

/// A history.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The seed from which it was drawn.
    pub seed: u64,
    /// The setup.
    pub setup: Setup,
    /// The steps, in order of time.
    pub steps: Vec<Step>,
}

impl History {
    /// Whether a request may take longer than a third of the Lease's duration. If so, the guarantee of one leader does not apply.
    #[must_use]
    pub fn may_outlast_lease(&self) -> bool {
        let is_slow = |latency: u64| self.setup.replicas > 1 && latency * 3 >= self.setup.lease * 1000;
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::Network(_, NetworkFaults { latency, .. }) if is_slow(latency)))
    }

    /// Whether the store is restored from a snapshot.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::Restore)
    }

    /// Whether policies change what the operator writes.
    #[must_use]
    pub fn is_mutated(&self) -> bool {
        use Policy::{OverwriteLabel, RemoveLabel, RemoveOwner, RemoveUid};
        let of =
            |step: &Step| matches!(step.action, Action::Policy(OverwriteLabel | RemoveLabel | RemoveOwner | RemoveUid));
        self.steps.iter().any(of)
    }

    /// Whether anything happens but actions of users.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        let of_users =
            |step: &Step| matches!(step.action, Action::User { .. } | Action::Gate { .. } | Action::ClockJump(_));
        !self.steps.iter().all(of_users)
    }

    /// Whether the operator may learn of changes late, without noticing it.
    #[must_use]
    pub fn has_late_watches(&self) -> bool {
        let is_late = |step: &Step| matches!(step.action, Action::Watch(..) | Action::Deny(..) | Action::Restore);
        self.steps.iter().any(is_late)
    }

    /// Whether requests of the operator, or the operator itself, may be delayed.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Network(..) | Action::Suspend(_)))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}", self.seed, self.setup)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {number:>3}  {:>9.3}s  {}", step.at.as_secs_f64(), step.action)?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { verb, resource, namespace, name, body } => {
                let body = if body.is_null() { String::new() } else { format!(" {body}") };
                write!(f, "{verb:?} {resource} {namespace}/{name}{body}")
            }
            other => write!(f, "{other:?}"),
        }
    }
}
