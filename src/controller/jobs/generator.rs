//! Key generation off the runtime.

use std::{fmt::Debug, num::NonZeroUsize, sync::Arc, time::Instant};

use futures::future::BoxFuture;
use tracing::Span;

use super::pool::KeyPool;
use crate::{
    controller::queue::fair_semaphore::FairSemaphore,
    domain::key::{Algorithm, KeySpec, PrivateKey},
    keygen::{self, KeygenError, RsaGenerator},
    observe::metrics::Metrics,
};

/// Generates key pairs: RSA on blocking threads, a limited number at a time, fair between namespaces.
///
/// Generating an RSA key occupies a core for tens of milliseconds to seconds. On the runtime's threads that would delay watches, the renewal
/// of the Lease and probes.
#[derive(Debug, Clone)]
pub struct Generator {
    permits: FairSemaphore,
    metrics: Arc<Metrics>,
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Generated { pool: Option<Arc<KeyPool>>, rsa: RsaGenerator },
    External(Arc<dyn KeySource>),
}

/// An external source of key pairs, for simulations: they need thousands of keys in a second, and no threads, to be repeatable.
pub trait KeySource: Debug + Send + Sync {
    /// A key pair that is available at once; `None` if [`Self::generate`] is needed.
    fn at_once(&self, spec: KeySpec) -> Option<PrivateKey>;

    /// A key pair that takes time.
    fn generate(&self, spec: KeySpec) -> BoxFuture<'static, PrivateKey>;
}

/// Why no key pair was generated.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The generation itself failed.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// The generation panicked, which is a bug.
    #[error("key generation panicked; please report this bug")]
    Panicked,
    /// The runtime is shutting down.
    #[error("the operator is stopping")]
    Stopping,
}

impl Generator {
    /// A generator that takes RSA keys from `pool`, and otherwise generates them with `rsa` on at most `threads` threads.
    #[must_use]
    pub fn new(threads: NonZeroUsize, rsa: RsaGenerator, pool: Option<Arc<KeyPool>>, metrics: Arc<Metrics>) -> Self {
        Self { permits: FairSemaphore::new(threads.get()), metrics, backend: Backend::Generated { pool, rsa } }
    }

    /// A generator that takes its keys from `source`, at most `concurrency` at a time.
    #[must_use]
    pub fn from_source(source: Arc<dyn KeySource>, concurrency: NonZeroUsize, metrics: Arc<Metrics>) -> Self {
        Self { permits: FairSemaphore::new(concurrency.get()), metrics, backend: Backend::External(source) }
    }

    /// A key pair that takes only microseconds to generate, or one from the pool; `None` if [`Self::generate`] is needed.
    #[must_use]
    pub fn at_once(&self, spec: KeySpec) -> Option<Result<PrivateKey, GeneratorError>> {
        match (&self.backend, spec.algorithm()) {
            (Backend::External(source), _) => source.at_once(spec).map(Ok),
            (Backend::Generated { pool, .. }, Algorithm::Rsa) => pool.as_ref()?.take(spec).map(Ok),
            (Backend::Generated { rsa, .. }, _) => Some(generate(spec, *rsa, &self.metrics)),
        }
    }

    /// Generates a key pair for this namespace, after waiting for its turn.
    ///
    /// # Errors
    ///
    /// [`GeneratorError`]; the only remedy is to retry.
    pub async fn generate(&self, namespace: &str, spec: KeySpec) -> Result<PrivateKey, GeneratorError> {
        let (pool, rsa) = match &self.backend {
            Backend::External(source) => {
                let _permit = self.permits.acquire(namespace).await;
                return Ok(source.generate(spec).await);
            }
            Backend::Generated { pool, rsa } => (pool, *rsa),
        };
        let _pause = pool.as_ref().map(|pool| pool.pause());
        let permit = self.permits.acquire(namespace).await;
        let metrics = Arc::clone(&self.metrics);
        let span = Span::current();
        let generated = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(|| generate(spec, rsa, &metrics))
        });
        generated
            .await
            .map_err(|error| if error.is_panic() { GeneratorError::Panicked } else { GeneratorError::Stopping })?
    }
}

fn generate(spec: KeySpec, rsa: RsaGenerator, metrics: &Metrics) -> Result<PrivateKey, GeneratorError> {
    let kind = spec.algorithm().name();
    let _span = tracing::debug_span!("generate key", keypair.algorithm = kind, keypair.bits = spec.bits()).entered();
    let started = Instant::now();
    let generated = keygen::generate_with(spec, rsa);
    metrics.record_generation(kind, spec.bits(), started.elapsed());
    Ok(generated?)
}
