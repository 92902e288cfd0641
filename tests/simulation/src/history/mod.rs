//! A history: what users do and what goes wrong, at which times. It is drawn from a seed, and can be shortened.

mod draw;
mod request;
mod shrink;
mod spec;

use std::{fmt, time::Duration};

use serde_json::Value;

pub use self::{draw::draw, request::UserRequest, shrink::shorten};

/// What a history begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// How many replicas there are; of one, no leader is elected.
    pub replicas: usize,
    /// The operator's quota.
    pub quota: usize,
    /// For how many seconds the Lease is valid.
    pub lease: u64,
    /// Whether replicas have a cache for admission reviews, and watch while another leads.
    pub answers_reviews: bool,
    /// How many objects are reconciled at once.
    pub concurrency: u16,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, after the beginning.
    pub at: Duration,
    /// What.
    pub action: Action,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A user asks the API server for something.
    User {
        /// What for.
        verb: Verb,
        /// The plural of the resource.
        resource: &'static str,
        /// Empty: an object of the cluster.
        namespace: String,
        /// The object.
        name: String,
        /// An object, or a patch; `null` for a delete. `$KEY<n>` stands for the base64 of a user's private key.
        body: Value,
    },
    /// A replica is killed, after its task has been polled so often.
    Crash {
        /// Which.
        replica: usize,
        /// How often.
        polls: u64,
    },
    /// A replica that does not run is started.
    Start(usize),
    /// A replica is told to stop (SIGTERM).
    Stop(usize),
    /// A replica gets no processor time.
    Suspend(usize),
    /// It gets some again.
    Resume(usize),
    /// What lies between a replica and the API server behaves so from now on.
    Network(usize, Weather),
    /// What the watches of a resource show to a replica from now on.
    Watch(usize, &'static str, WatchFault),
    /// A policy for Secrets is in force.
    Policy(Policy),
    /// No policy is in force.
    NoPolicy,
    /// The operator may not do this any more.
    Deny(&'static str, &'static str),
    /// The operator may do what it needs again.
    AllowAll,
    /// The store is copied.
    Snapshot,
    /// The last copy of the store takes its place.
    Restore,
    /// The wall clock of the API server jumps by so many seconds.
    ClockJump(i64),
}

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// PATCH, as merge patch.
    Patch,
    /// DELETE.
    Delete,
}

/// How requests fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// The longest time that a request, or its reply, takes usually, in milliseconds.
    pub latency: u64,
    /// Of a thousand requests, how many are lost before they are carried out.
    pub lost_requests: u64,
    /// Of a thousand, how many are carried out but not answered.
    pub lost_replies: u64,
    /// Of a thousand, how many are carried out or answered late only.
    pub late: u64,
    /// How late, in milliseconds.
    pub by: u64,
    /// Of a thousand, how many are answered by an error of the API server.
    pub errors: u64,
    /// Nothing comes through.
    pub partitioned: bool,
}

/// What a watch shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// All at once.
    Clear,
    /// The last so many events not yet.
    LagBy(usize),
    /// What happened so many milliseconds ago.
    LagFor(u64),
    /// Nothing any more, without a word.
    Silent,
    /// The watch ends.
    Cut,
    /// The watch ends, and the version that it went on from is too old.
    Expired,
}

/// What a policy does to the operator's writes of Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Another `app.kubernetes.io/managed-by`.
    OverwriteLabel,
    /// No label that says whose it is.
    RemoveLabel,
    /// No annotation with the UID.
    RemoveUid,
    /// No owner references.
    RemoveOwner,
    /// 403.
    Refuse,
    /// 422.
    Invalid,
    /// 500.
    Away,
    /// No more than two Secrets.
    Quota,
}

/// A history.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// From which it was drawn.
    pub seed: u64,
    /// What it begins with.
    pub setup: Setup,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
}

impl History {
    /// Whether a request can be on its way for longer than what is left of the Lease when its holder writes no more: then what is
    /// promised of one leader does not hold.
    #[must_use]
    pub fn is_late(&self) -> bool {
        let is_slow = |latency: u64| self.setup.replicas > 1 && latency * 3 >= self.setup.lease * 1000;
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::Network(_, Weather { latency, .. }) if is_slow(latency)))
    }

    /// Whether the store is put back.
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

    /// Whether requests of the operator are held up, or it is itself while it sends one.
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
