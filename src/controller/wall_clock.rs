//! What time it is, for what objects say of it: transitions of conditions, renewals of the Lease. How long something takes is measured
//! by tokio's clock.

use std::{fmt, sync::Arc};

use k8s_openapi::jiff::Timestamp;

/// The clock of this machine, or another's: a simulation has a time of its own.
#[derive(Clone, Default)]
pub struct WallClock(Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>);

impl WallClock {
    /// A clock that shows what `now` says.
    #[must_use]
    pub fn simulated(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |now| now())
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WallClock").field("is_simulated", &self.0.is_some()).finish()
    }
}
