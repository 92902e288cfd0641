//! Reconciles a `KeyPair` that comes out of the queue, and says when to requeue it.

use std::{sync::Arc, time::Duration};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::error::Error;
use crate::{
    api::KeyPair,
    cache::{Watch, store::KeyPairEntry},
    controller::context::Context,
};

/// How long to wait for the watch to be in sync before the worker takes another `KeyPair`, or stops.
const SYNC_TIMEOUT: Duration = Duration::from_millis(500);

/// Reconciles a `KeyPair` while the watch is in sync. Returns the delay after which to requeue it.
pub async fn reconcile_in_sync(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    let sight = context.view.sight(Watch::KeyPairs);
    // All workers wait here for a while, instead of requeueing in a busy loop.
    if tokio::time::timeout(SYNC_TIMEOUT, sight.until_there()).await.is_err() {
        return Some(SYNC_TIMEOUT);
    }
    tokio::select! {
        biased;
        () = sight.until_lost() => Some(SYNC_TIMEOUT),
        requeue_after = reconcile_cached(reference, context) => requeue_after,
    }
}

/// Reconciles a `KeyPair` in the cache. Returns the delay after which to requeue it.
async fn reconcile_cached(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    let summary = match context.view.key_pairs.get(&reference)? {
        KeyPairEntry::Whole(key_pair) => return reconcile_object(key_pair, context).await,
        KeyPairEntry::Summary(summary) => summary,
        // Writing the status would drop what a newer version of the operator wrote to it.
        KeyPairEntry::Undecoded(_) => return None,
    };
    let _turn = context.large.take(reference.namespace.as_deref().unwrap_or_default()).await;
    match super::read(&reference, context).await {
        // A newer version is not in the ledger yet; its event triggers another reconciliation.
        Ok(Some(key_pair)) if key_pair.resource_version().as_deref() == summary.version() => {
            reconcile_object(Arc::new(key_pair), context).await
        }
        Ok(_) => Some(context.backoff.failed(summary.uid())),
        Err(error) => Some(retry(&reference, summary.uid(), &error, context)),
    }
}

async fn reconcile_object(key_pair: Arc<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    match super::reconcile(Arc::clone(&key_pair), Arc::clone(context)).await {
        Ok(requeue_after) => requeue_after,
        Err(error) => {
            let uid = key_pair.metadata.uid.as_deref().unwrap_or_default();
            Some(retry(&ObjectRef::from_obj(&*key_pair), uid, &error, context))
        }
    }
}

/// Records a failure and returns the delay before the retry.
fn retry(reference: &ObjectRef<KeyPair>, uid: &str, error: &Error, context: &Context) -> Duration {
    let delay = context.backoff.failed(uid);
    context.metrics.failed(error.step());
    tracing::warn!(
        namespace = reference.namespace,
        name = reference.name,
        retry_in = ?delay,
        error = %error,
        "reconciliation failed"
    );
    delay
}
