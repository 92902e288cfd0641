//! What every reconciliation shares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    runtime::{events::Recorder, reflector::Store},
};

use super::{backoff::Backoff, generator::Generator, index::Index, metrics::Metrics};
use crate::api::KeyPair;

/// What every reconciliation shares.
pub struct Context {
    /// The connection to the API server.
    pub client: Client,
    /// The slots and names of every namespace.
    pub index: Arc<Index>,
    /// The metadata of our Secrets.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// Where key pairs are generated.
    pub generator: Generator,
    /// Where Events are written.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When to try again.
    pub backoff: Backoff,
    /// Which versions of objects we have replaced ourselves.
    pub written: Written,
}

/// The versions of objects that the operator has replaced by its own writes and whose events may still be under way.
///
/// Without it, an object that is reconciled again before that event arrives would be judged by its old status, at the cost
/// of requests that end in a conflict.
#[derive(Debug, Default)]
pub struct Written {
    replaced: Mutex<HashMap<String, String>>,
}

impl Written {
    /// Notes that the version `before` has been replaced by `after`.
    pub fn note(&self, before: &KeyPair, after: &KeyPair) {
        // A write that changes nothing makes no new version, and no event would ever come.
        if let Some((uid, replaced)) = version(before)
            && version(after) != Some((uid, replaced))
        {
            self.lock().insert(uid.to_owned(), replaced.to_owned());
        }
    }

    /// Whether this very version of `key_pair` has been replaced. Versions are compared for equality only, which is all
    /// that Kubernetes allows.
    pub fn supersedes(&self, key_pair: &KeyPair) -> bool {
        let Some((uid, version)) = version(key_pair) else { return false };
        let mut replaced = self.lock();
        if replaced.get(uid).is_some_and(|replaced| replaced == version) {
            return true;
        }
        replaced.remove(uid);
        false
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(key_pair: &KeyPair) -> Option<(&str, &str)> {
    let meta = key_pair.meta();
    Some((meta.uid.as_deref()?, meta.resource_version.as_deref()?))
}
