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

/// Keys that are under way or not fetched yet, each by the UID of its `KeyPair`.
///
/// Nobody waits for them: a `KeyPair` is looked at again when its key is there. So whoever waits for an RSA key holds up no
/// other, be it an import or a shorter key.
#[derive(Debug)]
pub struct Keys {
    generator: Generator,
    /// A key that is no longer wanted is dropped, and with it what is done for it.
    begun: Mutex<HashMap<String, (KeySpec, RemoteHandle<Generated>)>>,
    done: mpsc::UnboundedSender<ObjectRef<KeyPair>>,
}

impl Keys {
    /// No keys yet; and the `KeyPair`s whose keys are there, as they come.
    pub fn new(generator: Generator) -> (Self, impl Stream<Item = ObjectRef<KeyPair>> + Send + use<>) {
        let (done, is_done) = mpsc::unbounded();
        (Self { generator, begun: Mutex::default(), done }, is_done)
    }

    /// The key that was begun for this `KeyPair`, if it is there.
    pub fn fetch(&self, uid: &str, spec: KeySpec) -> Option<Generated> {
        let mut begun = self.lock();
        let (of, key) = begun.get_mut(uid)?;
        let fetched = if *of == spec { Some(key.now_or_never()?) } else { None };
        begun.remove(uid);
        fetched
    }

    /// A key that is there at once, or takes only microseconds; otherwise one is begun, unless one is under way already.
    pub fn begin(&self, key_pair: &ObjectRef<KeyPair>, uid: &str, spec: KeySpec) -> Option<Generated> {
        if let Some(key) = self.generator.at_once(spec) {
            return Some(key);
        }
        let mut begun = self.lock();
        if begun.get(uid).is_none_or(|(of, _)| *of != spec) {
            let (generator, namespace) = (self.generator.clone(), key_pair.namespace.clone().unwrap_or_default());
            let (generate, key) = async move { generator.generate(&namespace, spec).await }.remote_handle();
            let (done, key_pair) = (self.done.clone(), key_pair.clone());
            let generate = async move {
                generate.await;
                // Nobody looks any more when the controller has ended.
                done.unbounded_send(key_pair).ok();
            };
            tokio::spawn(generate.in_current_span());
            begun.insert(uid.to_owned(), (spec, key));
        }
        None
    }

    /// Gives up the key of a `KeyPair` that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (KeySpec, RemoteHandle<Generated>)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use futures::StreamExt;

    use super::*;
    use crate::{
        controller::{Metrics, Views},
        keygen::RsaGenerator,
    };

    const SPEC: KeySpec = KeySpec::Rsa2048;

    fn keys() -> (Keys, impl Stream<Item = ObjectRef<KeyPair>> + Send) {
        let metrics = Arc::new(Metrics::new(Arc::<Views>::default()));
        Keys::new(Generator::new(NonZeroUsize::MIN, RsaGenerator::DEFAULT, None, metrics))
    }

    #[tokio::test]
    async fn a_key_pair_is_looked_at_again_when_its_key_is_there() {
        let (keys, mut done) = keys();
        let key_pair = ObjectRef::new("web").within("shop");
        assert!(keys.fetch("uid", SPEC).is_none());
        assert!(keys.begin(&key_pair, "uid", SPEC).is_none());
        assert!(keys.begin(&key_pair, "uid", SPEC).is_none(), "it is under way");
        assert_eq!(done.next().await, Some(key_pair));
        assert_eq!(keys.fetch("uid", SPEC).unwrap().unwrap().public_key("").unwrap().bits(), 2048);
        assert!(keys.fetch("uid", SPEC).is_none(), "no key is handed out twice");
    }

    #[tokio::test]
    async fn a_key_of_another_kind_is_of_no_use() {
        let (keys, mut done) = keys();
        let key_pair = ObjectRef::new("web").within("shop");
        keys.begin(&key_pair, "uid", SPEC);
        done.next().await;
        assert!(keys.fetch("uid", KeySpec::Rsa3072).is_none());
        assert!(keys.fetch("uid", SPEC).is_none());
    }

    #[tokio::test]
    async fn short_keys_are_there_at_once() {
        let (keys, _) = keys();
        let key = keys.begin(&ObjectRef::new("web").within("shop"), "uid", KeySpec::Ed25519);
        assert!(key.unwrap().is_ok());
    }
}
