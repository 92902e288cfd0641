//! Key generation off the runtime.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use tokio::sync::Semaphore;

use super::{metrics::Metrics, pool::Pool};
use crate::{
    domain::key::{KeySpec, PrivateKey},
    keygen::{self, KeygenError},
};

/// Generates key pairs on threads of their own, a limited number at a time.
///
/// Generating an RSA key takes a core from tens of milliseconds to seconds. On the threads of the runtime that would hold
/// up every watch, lease and probe.
#[derive(Debug, Clone)]
pub struct Generator {
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    pool: Option<Arc<Pool>>,
}

/// Why no key pair was generated.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The generation itself failed.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// The generation panicked: a mistake in the operator.
    #[error("key generation panicked; please report this")]
    Panicked,
    /// The runtime is shutting down.
    #[error("the operator is stopping")]
    Stopping,
}

impl Generator {
    /// A generator that uses at most `threads` threads at once, and what is in `pool` before.
    #[must_use]
    pub fn new(threads: NonZeroUsize, pool: Option<Arc<Pool>>, metrics: Arc<Metrics>) -> Self {
        Self { permits: Arc::new(Semaphore::new(threads.get())), metrics, pool }
    }

    /// Takes a key pair out of the pool, or generates one, waiting for a free thread first.
    ///
    /// # Errors
    ///
    /// [`GeneratorError`]; trying again is all that can be done about either.
    pub async fn generate(&self, spec: KeySpec) -> Result<PrivateKey, GeneratorError> {
        if let Some(key) = self.pool.as_ref().and_then(|pool| pool.take(spec)) {
            return Ok(key);
        }
        let _busy = self.pool.as_ref().map(|pool| pool.busy());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| GeneratorError::Stopping)?;
        let metrics = Arc::clone(&self.metrics);
        let generated = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let begun = Instant::now();
            let generated = keygen::generate(spec);
            metrics.generated(spec.algorithm().name(), spec.bits(), begun.elapsed());
            generated
        });
        let generated = generated
            .await
            .map_err(|error| if error.is_panic() { GeneratorError::Panicked } else { GeneratorError::Stopping })?;
        Ok(generated?)
    }
}
