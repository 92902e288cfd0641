//! The end of a reconciliation: reports the outcome in the status, in an Event and in the log.

use http::header::ACCEPT;
use kube::{
    ResourceExt,
    api::{PartialObjectMeta, PostParams},
    core::Request,
    runtime::{
        events::{Event, Recorder},
        reflector::ObjectRef,
    },
};
use serde_json::json;
use tracing::Span;

use super::{Reconciliation, RequeueAfter, error::Error, events};
use crate::{
    api::{
        publication::{PublicationResource, PublicationStatus},
        status::READY,
    },
    client::answer::summarize,
    controller::METADATA_ONLY,
    domain::publication::{Publication, Rendered, Resolved, TargetOutcome, report},
};

impl<K: PublicationResource> Reconciliation<'_, K> {
    /// Writes the status, with one request, if it differs.
    pub(super) async fn write_status(
        &self,
        publication: &Publication,
        resolved: &[Resolved],
        rendered: &Rendered,
        outcome: &TargetOutcome,
    ) -> Result<RequeueAfter, Error> {
        let Self { object, reference, uid, context, .. } = self;
        let report = report(publication, resolved, rendered, outcome);
        Span::current().record("publication.outcome", report.reason.as_str());
        let now = context.clock.now();
        let status = PublicationStatus::from_report(*object, publication, (rendered, outcome), &report, now);
        if object.status() == Some(&status) {
            return Ok(None);
        }
        if let Some(delay) = self.delay() {
            return Ok(Some(delay));
        }
        self.begin_to_write();
        let answer = match self.with_deadline(self.put_status(&status)).await? {
            Ok(answer) => answer,
            // It is gone or has changed since. Its event should arrive soon, but proxies return these codes for other causes, too.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                let now = self.store.get(&ObjectRef::from_obj(*object));
                let exists = now.is_some_and(|now| now.meta().uid == object.meta().uid);
                return Ok(exists.then(|| context.backoff.delay_after_failure(uid)));
            }
            Err(error) => return Err(Error::WriteStatus(error)),
        };
        // A write that changes nothing creates no new version, and so no event.
        if let Some(replaced) = object.resource_version()
            && answer.resource_version().as_ref() != Some(&replaced)
        {
            context.publications.own_writes.record(uid, replaced);
        }
        if let Some(ready) = status.condition(READY) {
            let (kind, namespace, name) = (K::KIND.as_str(), &reference.namespace, &reference.name);
            tracing::info!(kind, namespace, name, ready = ready.status, reason = ready.reason, "status written");
        }
        if let Some(event) = events::transition(object.status(), &status) {
            self.publish_event(&event).await;
        }
        Ok(None)
    }

    /// Replaces the status, unless the object has changed since. The API server ignores the rest of the body, and only the new version in
    /// its response is of interest.
    async fn put_status(&self, status: &PublicationStatus) -> kube::Result<PartialObjectMeta<K>> {
        let metadata = self.object.meta();
        let object = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
            "spec": {},
            "status": status,
        });
        let url = K::url_path(&(), Some(&self.reference.namespace));
        let body = object.to_string().into_bytes();
        let request =
            Request::new(url).replace_subresource("status", &self.reference.name, &PostParams::default(), body);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, METADATA_ONLY);
        self.context.client.request(request).await
    }

    /// Writes an Event. Events are for people only, so a failed write must not delay anything.
    async fn publish_event(&self, event: &Event) {
        // A new Recorder for each Event: a shared one takes an Event with the same reason for a repetition.
        let recorder = Recorder::new(self.context.client.clone(), self.context.reporter.clone());
        let error = match self.with_deadline(recorder.publish(event, &self.object.object_ref(&()))).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => summarize(&error),
            Err(error) => error.to_string(),
        };
        let (namespace, name) = (&self.reference.namespace, &self.reference.name);
        tracing::warn!(namespace, name, error, "cannot write an Event");
    }
}
