//! The RSA keys that are being generated for `KeyPair`s.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, Stream, channel::mpsc, future::RemoteHandle};
use kube::runtime::reflector::ObjectRef;
use tracing::Instrument;

use super::generator::{Generator, GeneratorError};
use crate::{
    api::KeyPair,
    domain::key::{KeySpec, PrivateKey},
};

type Generated = Result<PrivateKey, GeneratorError>;

/// Keys that are being generated or not fetched yet, by the UID of their `KeyPair`.
///
/// No reconciliation waits for them: a `KeyPair` is reconciled again when its key is ready. So an RSA key does not delay other objects, such
/// as imports or shorter keys.
#[derive(Debug)]
pub struct PendingKeys {
    generator: Generator,
    /// Dropping a handle cancels the generation of its key.
    pending: Mutex<HashMap<String, (KeySpec, RemoteHandle<Generated>)>>,
    done: mpsc::UnboundedSender<ObjectRef<KeyPair>>,
}

impl PendingKeys {
    /// Without keys yet; and a stream of the `KeyPair`s whose keys become ready.
    pub fn new(generator: Generator) -> (Self, impl Stream<Item = ObjectRef<KeyPair>> + Send + use<>) {
        let (done, ready) = mpsc::unbounded();
        (Self { generator, pending: Mutex::default(), done }, ready)
    }

    /// The key that was generated for this `KeyPair`, if it is ready.
    pub fn take_ready(&self, uid: &str, spec: KeySpec) -> Option<Generated> {
        let mut pending = self.lock();
        let (pending_spec, key) = pending.get_mut(uid)?;
        let ready = if *pending_spec == spec { Some(key.now_or_never()?) } else { None };
        pending.remove(uid);
        ready
    }

    /// A key that is available at once. Otherwise this starts to generate one, unless that is already under way.
    pub fn get_or_start(&self, key_pair: &ObjectRef<KeyPair>, uid: &str, spec: KeySpec) -> Option<Generated> {
        if let Some(key) = self.generator.at_once(spec) {
            return Some(key);
        }
        let mut pending = self.lock();
        if pending.get(uid).is_none_or(|(pending_spec, _)| *pending_spec != spec) {
            let (generator, namespace) = (self.generator.clone(), key_pair.namespace.clone().unwrap_or_default());
            let (generate, key) = async move { generator.generate(&namespace, spec).await }.remote_handle();
            let (done, key_pair) = (self.done.clone(), key_pair.clone());
            let generate = async move {
                generate.await;
                // It fails when the controller has ended.
                done.unbounded_send(key_pair).ok();
            };
            tokio::spawn(generate.in_current_span());
            pending.insert(uid.to_owned(), (spec, key));
        }
        None
    }

    /// Drops the key of a deleted `KeyPair`.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (KeySpec, RemoteHandle<Generated>)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use futures::StreamExt;

    use super::*;
    use crate::{cache::Usage, keygen::RsaGenerator, observe::Metrics};

    const SPEC: KeySpec = KeySpec::Rsa2048;

    fn keys() -> (PendingKeys, impl Stream<Item = ObjectRef<KeyPair>> + Send) {
        let metrics = Arc::new(Metrics::new(Usage::default()));
        PendingKeys::new(Generator::new(NonZeroUsize::MIN, RsaGenerator::DEFAULT, None, metrics))
    }

    #[tokio::test]
    async fn a_key_pair_is_triggered_when_its_key_is_ready() {
        let (keys, mut done) = keys();
        let key_pair = ObjectRef::new("web").within("shop");
        assert!(keys.take_ready("uid", SPEC).is_none());
        assert!(keys.get_or_start(&key_pair, "uid", SPEC).is_none());
        assert!(keys.get_or_start(&key_pair, "uid", SPEC).is_none(), "it is under way");
        assert_eq!(done.next().await, Some(key_pair));
        assert_eq!(keys.take_ready("uid", SPEC).unwrap().unwrap().public_key("").unwrap().bits(), 2048);
        assert!(keys.take_ready("uid", SPEC).is_none(), "no key is handed out twice");
    }

    #[tokio::test]
    async fn a_key_of_another_kind_is_dropped() {
        let (keys, mut done) = keys();
        let key_pair = ObjectRef::new("web").within("shop");
        keys.get_or_start(&key_pair, "uid", SPEC);
        done.next().await;
        assert!(keys.take_ready("uid", KeySpec::Rsa3072).is_none());
        assert!(keys.take_ready("uid", SPEC).is_none());
    }

    #[tokio::test]
    async fn short_keys_are_available_at_once() {
        let (keys, _) = keys();
        let key = keys.get_or_start(&ObjectRef::new("web").within("shop"), "uid", KeySpec::Ed25519);
        assert!(key.unwrap().is_ok());
    }
}
