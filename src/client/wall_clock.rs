//! The wall clock, for times that are written into objects: transitions of conditions, renewals of the Lease. Durations are measured with
//! tokio's clock.

use std::{fmt, sync::Arc};

use k8s_openapi::jiff::Timestamp;

/// The clock of this machine, or of a simulation.
#[derive(Clone, Default)]
pub struct WallClock(Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>);

impl WallClock {
    /// A clock that shows the time of `now`.
    #[must_use]
    pub fn simulated(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// The current time.
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
