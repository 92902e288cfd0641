//! Reconciles a `KeyPair` that comes out of the queue, and says when to requeue it.

use std::{sync::Arc, time::Duration};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::error::Error;
use crate::{api::KeyPair, cache::store::KeyPairEntry, controller::context::Context};

/// Reconciles a `KeyPair` unless the watch is interrupted. Returns the delay after which to requeue it.
pub async fn reconcile_while_current(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    context.while_current(Box::pin(reconcile_cached(reference, context))).await
}

/// Reconciles a `KeyPair` in the cache. Returns the delay after which to requeue it.
async fn reconcile_cached(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    let summary = match context.cache.key_pairs.get(&reference)? {
        KeyPairEntry::Whole(key_pair) => return reconcile_object(key_pair, context).await,
        KeyPairEntry::Summary(summary) => summary,
        // Writing the status would drop what a newer version of the operator wrote to it.
        KeyPairEntry::Undecoded(_) => return None,
    };
    let _permit = context.large_key_pair_permits.acquire(reference.namespace.as_deref().unwrap_or_default()).await;
    match super::read(&reference, context).await {
        // A newer version is not in the ledger yet; its event triggers another reconciliation.
        Ok(Some(key_pair)) if key_pair.resource_version().as_deref() == summary.version() => {
            reconcile_object(Arc::new(key_pair), context).await
        }
        Ok(_) => Some(context.backoff.delay_after_failure(summary.uid())),
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
    let delay = context.backoff.delay_after_failure(uid);
    context.metrics.record_failure(error.step());
    tracing::warn!(
        namespace = reference.namespace,
        name = reference.name,
        retry_in = ?delay,
        error = %error,
        "reconciliation failed"
    );
    delay
}
