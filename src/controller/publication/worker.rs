//! Reconciles a publication that comes out of the queue, and says when to requeue it.

use std::{sync::Arc, time::Duration};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::reconcile;
use crate::{
    api::publication::PublicationResource,
    cache::store::CompressedStore,
    controller::context::Context,
    domain::publication::{PublicationKind, PublicationRef},
};

/// Reconciles a publication unless the watch of the `KeyPair`s is interrupted. Returns the delay after which to requeue it.
pub async fn reconcile_while_current(reference: &PublicationRef, context: &Arc<Context>) -> Option<Duration> {
    let reconciled = async {
        match reference.kind {
            PublicationKind::AuthorizedKeys => {
                reconcile_cached(reference, &context.cache.authorized_keys, context).await
            }
            PublicationKind::KnownHosts => reconcile_cached(reference, &context.cache.known_hosts, context).await,
        }
    };
    context.while_current(Box::pin(reconciled)).await
}

async fn reconcile_cached<K: PublicationResource>(
    reference: &PublicationRef,
    store: &CompressedStore<K>,
    context: &Context,
) -> Option<Duration> {
    let object: Arc<K> = store.get(&ObjectRef::new(&reference.name).within(&reference.namespace))?;
    match reconcile(reference, &*object, store, context).await {
        Ok(requeue_after) => requeue_after,
        Err(error) => {
            let delay = context.backoff.delay_after_failure(&object.uid().unwrap_or_default());
            context.metrics.record_failure(error.step());
            tracing::warn!(
                kind = reference.kind.as_str(),
                namespace = reference.namespace,
                name = reference.name,
                retry_in = ?delay,
                error = %error,
                "reconciliation failed"
            );
            Some(delay)
        }
    }
}
