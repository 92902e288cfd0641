//! The state of a controller without watches.

use std::num::NonZeroUsize;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    cache::{Index, Usage},
    controller::{Generator, RsaGenerator},
};

/// The state of a controller whose watches have shown nothing yet, and its further triggers.
pub fn context(client: Client) -> (Context, mpsc::UnboundedReceiver<Trigger>) {
    let randomness = Randomness::from_seed(1);
    let metrics = Arc::new(Metrics::new(Usage::default()));
    let generator = Generator::new(NonZeroUsize::MIN, RsaGenerator::DEFAULT, None, Arc::clone(&metrics));
    let (triggers, triggered) = mpsc::unbounded();
    let context = Context {
        cache: Arc::new(ScopeCache::new(Index::default())),
        secrets: CompressedStore::default(),
        relabelled: CompressedStore::default(),
        secret_watches: SecretWatches::new(&client, randomness).0,
        pending_keys: PendingKeys::new(generator).0,
        leadership: Leadership::always(),
        reporter: Reporter { controller: "test".to_owned(), instance: None },
        metrics,
        clock: WallClock::simulated(|| Timestamp::UNIX_EPOCH),
        randomness,
        backoff: Backoff::new(randomness),
        own_writes: OwnWrites::default(),
        publications: Memory::default(),
        triggers,
        created_secrets: CreatedSecrets::default(),
        admission_changes: AdmissionChanges::default(),
        large_key_pair_permits: FairSemaphore::new(1),
        large_response_permits: FairSemaphore::new(1),
        client,
    };
    (context, triggered)
}
