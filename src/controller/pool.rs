//! RSA keys that are made before they are asked for, while nothing else is to be done.
//!
//! They are in memory only. Each is taken out when it is handed over, and never put back, so that no two KeyPairs can get the
//! same one; a process that dies loses its pool, and the next one begins an empty one.

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::metrics::Metrics;
use crate::{
    domain::key::{Algorithm, KeySpec, PrivateKey},
    keygen::{self, RsaGenerator},
};

/// How long to wait after a generation that failed.
const RETRY: Duration = Duration::from_secs(10);
/// The lowest priority that there is.
const NICENESS: i32 = 19;

/// A pool of RSA keys. Those of other algorithms take microseconds to make.
#[derive(Debug)]
pub struct Pool {
    size: usize,
    rsa: RsaGenerator,
    state: Mutex<State>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    /// The keys of each kind that has been wanted.
    kept: BTreeMap<KeySpec, Vec<PrivateKey>>,
    /// How many keys are being generated because they were asked for.
    busy: usize,
    stopped: bool,
}

/// While there is one, the pool is not filled.
#[derive(Debug)]
pub struct Busy<'a>(&'a Pool);

impl Pool {
    /// Begins to fill a pool with `size` keys of each kind that is wanted: the default kind from the start, others when they
    /// have been asked for. They are made by `rsa`.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(size: NonZeroUsize, rsa: RsaGenerator, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let pool = Arc::new(Self {
            size: size.get(),
            rsa,
            state: Mutex::new(State {
                kept: BTreeMap::from([(KeySpec::Rsa2048, Vec::new())]),
                busy: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
            metrics,
        });
        let filled = Arc::clone(&pool);
        thread::Builder::new().name("key-pool".to_owned()).spawn(move || filled.fill())?;
        Ok(pool)
    }

    /// Takes a key of this kind, if there is one.
    pub fn take(&self, spec: KeySpec) -> Option<PrivateKey> {
        if spec.algorithm() != Algorithm::Rsa {
            return None;
        }
        let mut state = self.lock();
        let kept = state.kept.entry(spec).or_default();
        let key = kept.pop();
        self.metrics.pooled(spec.algorithm().name(), spec.bits(), kept.len());
        drop(state);
        self.changed.notify_all();
        key
    }

    /// Holds the filling up until what is returned is dropped.
    pub fn busy(&self) -> Busy<'_> {
        self.lock().busy += 1;
        Busy(self)
    }

    /// Wipes every key and makes no more.
    pub fn wipe(&self) {
        let mut state = self.lock();
        state.stopped = true;
        // They are overwritten when they are dropped.
        state.kept.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn fill(&self) {
        // Of this thread only. Where it is refused, the pool is filled at the priority of all else.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "cannot lower the priority of the key pool");
        }
        while let Some(spec) = self.next() {
            let begun = Instant::now();
            match keygen::generate_with(spec, self.rsa) {
                Ok(key) => {
                    self.metrics.generated(spec.algorithm().name(), spec.bits(), begun.elapsed());
                    self.put(spec, key);
                }
                Err(error) => {
                    self.metrics.failed("FillKeyPool");
                    tracing::warn!(%error, "cannot fill the key pool; trying again");
                    thread::sleep(RETRY);
                }
            }
        }
    }

    /// Waits until there is nothing else to do and a key is missing. `None`: no more keys are wanted.
    fn next(&self) -> Option<KeySpec> {
        let missing = |state: &State| {
            let kinds = state.kept.iter().filter(|(_, kept)| kept.len() < self.size);
            kinds.min_by_key(|(_, kept)| kept.len()).map(|(spec, _)| *spec)
        };
        let waits = |state: &mut State| !state.stopped && (state.busy > 0 || missing(state).is_none());
        let state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if state.stopped { None } else { missing(&state) }
    }

    fn put(&self, spec: KeySpec, key: PrivateKey) {
        let mut state = self.lock();
        if state.stopped {
            return;
        }
        let kept = state.kept.entry(spec).or_default();
        kept.push(key);
        self.metrics.pooled(spec.algorithm().name(), spec.bits(), kept.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::controller::Views;

    fn pool(size: usize) -> Arc<Pool> {
        let metrics = Arc::new(Metrics::new(Arc::<Views>::default()));
        Pool::start(NonZeroUsize::new(size).unwrap(), RsaGenerator::DEFAULT, metrics).unwrap()
    }

    fn wait_for(pool: &Pool, spec: KeySpec) -> PrivateKey {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(key) = pool.take(spec) {
                return key;
            }
            assert!(Instant::now() < deadline, "no {spec:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn no_key_is_handed_out_twice() {
        let pool = pool(2);
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let public = wait_for(&pool, KeySpec::Rsa2048).public_key("").unwrap();
            assert_eq!(public.bits(), 2048);
            assert!(seen.insert(public.to_openssh()));
        }
        assert!(pool.take(KeySpec::Ed25519).is_none());
        pool.wipe();
        assert!(pool.take(KeySpec::Rsa2048).is_none());
    }

    #[test]
    fn other_kinds_are_made_once_they_are_wanted() {
        let pool = pool(1);
        assert!(pool.take(KeySpec::Rsa3072).is_none());
        assert_eq!(wait_for(&pool, KeySpec::Rsa3072).public_key("").unwrap().bits(), 3072);
        pool.wipe();
    }

    #[test]
    fn it_is_not_filled_while_keys_are_asked_for() {
        let pool = pool(1);
        drop(wait_for(&pool, KeySpec::Rsa2048));
        let busy = pool.busy();
        // What had begun before is put in yet.
        thread::sleep(Duration::from_secs(3));
        drop(pool.take(KeySpec::Rsa2048));
        thread::sleep(Duration::from_secs(1));
        assert!(pool.take(KeySpec::Rsa2048).is_none());
        drop(busy);
        drop(wait_for(&pool, KeySpec::Rsa2048));
        pool.wipe();
    }
}
