//! Key generation off the runtime.

use std::{fmt::Debug, num::NonZeroUsize, sync::Arc, time::Instant};

use futures::future::BoxFuture;
use tracing::Span;

use super::{metrics::Metrics, pool::Pool, turns::Turns};
use crate::{
    domain::key::{Algorithm, KeySpec, PrivateKey},
    keygen::{self, KeygenError, RsaGenerator},
};

/// Generates key pairs; RSA on threads of their own, a limited number at a time, by turns of the namespaces.
///
/// Generating an RSA key takes a core from tens of milliseconds to seconds. On the threads of the runtime that would hold
/// up every watch, lease and probe.
#[derive(Debug, Clone)]
pub struct Generator {
    turns: Turns,
    metrics: Arc<Metrics>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Generated here.
    Generated { pool: Option<Arc<Pool>>, rsa: RsaGenerator },
    /// From somewhere else.
    Given(Arc<dyn KeySource>),
}

/// Another source of key pairs than this process: for simulations, in which thousands of them are needed within a second, and which
/// are repeatable because no thread takes part in them.
pub trait KeySource: Debug + Send + Sync {
    /// A key pair that needs not be waited for; `None`: it takes longer.
    fn at_once(&self, spec: KeySpec) -> Option<PrivateKey>;

    /// A key pair that is waited for.
    fn generate(&self, spec: KeySpec) -> BoxFuture<'static, PrivateKey>;
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
    /// A generator that uses at most `threads` threads at once, and what is in `pool` before. RSA keys are made by `rsa`.
    #[must_use]
    pub fn new(threads: NonZeroUsize, rsa: RsaGenerator, pool: Option<Arc<Pool>>, metrics: Arc<Metrics>) -> Self {
        Self { turns: Turns::new(threads.get()), metrics, source: Source::Generated { pool, rsa } }
    }

    /// A generator that hands out what `source` gives, to so many at once.
    #[must_use]
    pub fn given(source: Arc<dyn KeySource>, at_once: NonZeroUsize, metrics: Arc<Metrics>) -> Self {
        Self { turns: Turns::new(at_once.get()), metrics, source: Source::Given(source) }
    }

    /// A key pair of a kind that takes only microseconds, or one out of the pool; `None`: it takes longer.
    #[must_use]
    pub fn at_once(&self, spec: KeySpec) -> Option<Result<PrivateKey, GeneratorError>> {
        match (&self.source, spec.algorithm()) {
            (Source::Given(source), _) => source.at_once(spec).map(Ok),
            (Source::Generated { pool, .. }, Algorithm::Rsa) => pool.as_ref()?.take(spec).map(Ok),
            (Source::Generated { rsa, .. }, _) => Some(generate(spec, *rsa, &self.metrics)),
        }
    }

    /// Generates a key pair for this namespace, waiting for its turn first.
    ///
    /// # Errors
    ///
    /// [`GeneratorError`]; trying again is all that can be done about either.
    pub async fn generate(&self, namespace: &str, spec: KeySpec) -> Result<PrivateKey, GeneratorError> {
        let (pool, rsa) = match &self.source {
            Source::Given(source) => {
                let _turn = self.turns.take(namespace).await;
                return Ok(source.generate(spec).await);
            }
            Source::Generated { pool, rsa } => (pool, *rsa),
        };
        let _busy = pool.as_ref().map(|pool| pool.busy());
        let turn = self.turns.take(namespace).await;
        let metrics = Arc::clone(&self.metrics);
        let span = Span::current();
        let generated = tokio::task::spawn_blocking(move || {
            let _turn = turn;
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
    let begun = Instant::now();
    let generated = keygen::generate_with(spec, rsa);
    metrics.generated(kind, spec.bits(), begun.elapsed());
    Ok(generated?)
}
