//! Leader election: the Lease, and the term of this process as leader.

pub(crate) mod leadership;
pub(crate) mod lease;

pub use leadership::{Leadership, Terms};
pub use lease::{ElectionSettings, LEASE_NAME, LeaderElector};
