//! The reconciler of publications: check, resolve, render, compare with the target, write, report.

mod error;
mod events;
mod former;
pub(crate) mod memory;
mod object;
mod pace;
mod report;
mod requests;
mod target;
pub(crate) mod targets;
mod worker;

pub use self::worker::reconcile_while_current;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kube::ResourceExt;
use tokio::{sync::OnceCell, time::Instant};
use tracing::{Instrument, field::Empty};

use self::{
    error::Error,
    memory::Shape,
    object::Data,
    target::{Attempt, IfAbsent},
    targets::TargetName,
};
use super::{context::Context, deadline, queue::fair_semaphore::Permit};
use crate::{
    api::publication::PublicationResource,
    cache::store::CompressedStore,
    domain::publication::{
        Layout, Publication, PublicationRef, Rendered, Resolved, Target, TargetOutcome, check_in, render,
    },
};

/// The delay after which to requeue the object, unless it changes before.
type RequeueAfter = Option<Duration>;

/// The longest delay before a target is tried again that could not be written, for example because of a foreign object of that name.
const MAX_REFUSAL_DELAY: Duration = Duration::from_secs(60);

/// Up to this size, in bytes, a text is small: all workers may have one in memory.
const SMALL_TEXT: usize = 64 * 1024;

/// Reconciles one publication.
async fn reconcile<K: PublicationResource>(
    reference: &PublicationRef,
    object: &K,
    store: &CompressedStore<K>,
    context: &Context,
) -> Result<RequeueAfter, Error> {
    let reconciliation = Reconciliation {
        object,
        store,
        reference,
        uid: object.uid().unwrap_or_default(),
        context,
        started: Instant::now(),
        has_written: AtomicBool::new(false),
        permit: OnceCell::new(),
    };
    // For traces only: log lines name the object themselves.
    let span = tracing::debug_span!(
        "publish",
        k8s.namespace.name = reference.namespace,
        publication.kind = K::KIND.as_str(),
        publication.name = reference.name,
        publication.uid = reconciliation.uid,
        publication.outcome = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    let result = reconciliation.run().instrument(span.clone()).await;
    if let Err(error) = &result {
        span.record("otel.status_code", "ERROR").record("otel.status_description", error.step());
    }
    result
}

/// One publication that is being reconciled.
struct Reconciliation<'a, K> {
    object: &'a K,
    store: &'a CompressedStore<K>,
    reference: &'a PublicationRef,
    uid: String,
    context: &'a Context,
    started: Instant,
    /// Whether it has begun to write: all its writes count as one.
    has_written: AtomicBool,
    /// A permit to have a large text in memory, in several forms; until the end.
    permit: OnceCell<Permit>,
}

impl<K: PublicationResource> Reconciliation<'_, K> {
    async fn run(&self) -> Result<RequeueAfter, Error> {
        let Self { object, reference, uid, context, .. } = self;
        let own_writes = &context.publications.own_writes;
        // This version is older than our own last write, whose event has not arrived yet. The status has to wait for that, but not the
        // target: the watch may have failed, and a revoked key must leave it all the same.
        let is_outdated = own_writes.get(uid) == object.resource_version();
        if !is_outdated {
            own_writes.forget(uid);
        }
        if let Some(delay) = self.delay() {
            // A text that cannot be written yet is not worth rendering.
            return Ok(Some(delay));
        }
        let region = context.cache.index.region(&reference.namespace);
        let publication = check_in(region.as_ref(), &object.parameters());
        let resolved = context.cache.publications.resolve(reference, &publication);
        if object.meta().deletion_timestamp.is_some() {
            self.hold_permit().await;
            return self.follow_up(&publication, &resolved, false).await;
        }
        let rendered = self.render(&publication, &resolved).await;
        let (outcome, failure) = match self.write_target(&publication, &rendered).await {
            Ok(Attempt::Later(delay)) => return Ok(Some(delay)),
            Ok(Attempt::Done(outcome)) => (outcome, None),
            Err(error) => {
                // A persistent failure is reported; any other is retried silently.
                let is_persistent = context.backoff.is_persistent(uid, self.started);
                let Some(why) = error.about_target().filter(|_| is_persistent) else {
                    // The write may have been carried out or not.
                    context.cache.publications.forget_published(reference, uid);
                    return Err(error);
                };
                (TargetOutcome::Refused(why), Some(error))
            }
        };
        if outcome != TargetOutcome::Written {
            context.cache.publications.forget_published(reference, uid);
        }
        let former = self.follow_up(&publication, &resolved, outcome == TargetOutcome::Written).await;
        let reported =
            if is_outdated { None } else { self.write_status(&publication, &resolved, &rendered, &outcome).await? };
        let delay = [reported, former?].into_iter().flatten().min();
        if let Some(error) = failure {
            return Err(error);
        }
        Ok(match outcome {
            TargetOutcome::Written | TargetOutcome::Invalid => {
                context.backoff.forget(uid);
                delay
            }
            TargetOutcome::Conflict | TargetOutcome::Refused(_) => {
                let retry = context.backoff.delay_after_refusal(uid).min(MAX_REFUSAL_DELAY);
                Some(delay.map_or(retry, |delay| delay.min(retry)))
            }
        })
    }

    /// Writes the target, and records what is published.
    async fn write_target(&self, publication: &Publication, rendered: &Rendered) -> Result<Attempt, Error> {
        let Some(target) = &publication.target else { return Ok(Attempt::Done(TargetOutcome::Invalid)) };
        let attempt = self
            .write(&name_of(target), &rendered.data, &shape_of(publication.layout, target), IfAbsent::Create)
            .await?;
        if attempt == Attempt::Done(TargetOutcome::Written) {
            let published = rendered.published.clone();
            for key_pair in self.context.cache.publications.set_published(self.reference, &self.uid, published) {
                self.context.trigger(key_pair);
            }
        }
        Ok(attempt)
    }

    /// Renders the text. One that is or was large needs a permit.
    async fn render(&self, publication: &Publication, resolved: &[Resolved]) -> Rendered {
        let memory = &self.context.publications;
        if !memory.is_small(&self.uid) {
            self.hold_permit().await;
        }
        let rendered = render(publication, &self.uid, resolved);
        let is_small = size_of(&rendered.data) <= SMALL_TEXT;
        memory.set_small(&self.uid, is_small);
        if !is_small {
            self.hold_permit().await;
        }
        rendered
    }

    /// Waits for a permit to have a large text in memory, unless this reconciliation has one.
    async fn hold_permit(&self) {
        self.permit.get_or_init(|| self.context.large_response_permits.acquire(&self.reference.namespace)).await;
    }

    /// How long to wait before this reconciliation may write.
    fn delay(&self) -> RequeueAfter {
        if self.has_written.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.context.publications.delay(&self.uid)).filter(|delay| !delay.is_zero())
    }

    fn begin_to_write(&self) {
        if !self.has_written.swap(true, Ordering::Relaxed) {
            self.context.publications.record_write(&self.uid);
        }
    }

    async fn with_deadline<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        Ok(deadline::with_deadline(&self.context.leadership, request).await?)
    }
}

fn size_of(data: &Data) -> usize {
    data.iter().map(|(key, text)| key.len() + text.len()).sum()
}

fn name_of(target: &Target) -> TargetName {
    TargetName { kind: target.kind, name: target.name.clone() }
}

fn shape_of(layout: Layout, target: &Target) -> Shape {
    match layout {
        Layout::File => Shape::File(target.key.clone()),
        Layout::EntryPerKey => Shape::EntryPerKey,
    }
}

/// The publication with another target of this shape.
fn with_target(publication: &Publication, name: &TargetName, shape: &Shape) -> Publication {
    let (layout, key) = match shape {
        Shape::File(key) => (Layout::File, key.as_str()),
        Shape::EntryPerKey => (Layout::EntryPerKey, publication.kind.default_data_key()),
    };
    let target = Target { kind: name.kind, name: name.name.clone(), key: key.to_owned() };
    Publication { target: Some(target), layout, ..publication.clone() }
}

fn rendered_for(
    publication: &Publication,
    uid: &str,
    resolved: &[Resolved],
    (name, shape): (&TargetName, &Shape),
) -> Rendered {
    render(&with_target(publication, name, shape), uid, resolved)
}

#[cfg(test)]
mod tests;
