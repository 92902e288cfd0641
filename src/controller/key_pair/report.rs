//! The end of a reconciliation: reports the decision in the status, in an Event and in the log.

use std::time::Duration;

use http::header::ACCEPT;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Resource, ResourceExt,
    api::{PartialObjectMeta, PostParams},
    core::Request,
    runtime::events::{Event, Recorder},
};
use serde_json::json;
use tracing::Span;

use super::{Reconciliation, RequeueAfter, error::Error, events, secrets};
use crate::{
    api::{
        KeyPair, KeyPairStatus, secret,
        status::{READY, is_own},
    },
    client::answer::summarize,
    domain::decide::Report,
};

/// The delay after which new timestamps, which are in whole seconds, differ from the present ones.
const RENEWED_AFTER: Duration = Duration::from_secs(1);

/// The shorter of two delays.
fn soonest(one: RequeueAfter, other: RequeueAfter) -> RequeueAfter {
    one.into_iter().chain(other).min()
}

/// Renews the timestamps of an unchanged status, so that its write creates a new version of the object. An earlier write without a
/// response, which accepted the pair, can then no longer take effect. Returns whether the status differs.
fn renew(status: &mut KeyPairStatus, now: Timestamp) -> bool {
    let mut is_distinguishable = true;
    for condition in status.conditions.iter_mut().filter(|condition| is_own(condition)) {
        is_distinguishable &= condition.last_transition_time.0.as_second() < now.as_second();
        condition.last_transition_time = Time(now);
    }
    is_distinguishable
}

impl Reconciliation<'_> {
    /// Writes `report` to the status, with one request, if the status differs.
    pub(super) async fn write_status(&self, report: Report) -> Result<RequeueAfter, Error> {
        let Self { key_pair, context, desired, .. } = self;
        let uid = desired.uid.as_str();
        let requeue_after = soonest(self.schedule_requeue(&report), self.until(report.due));
        // The outcome is known: a key that is still being generated is no longer needed.
        context.pending_keys.forget(uid);
        let outcome = report.refusals.first().map_or("Ready", |refusal| refusal.reason.as_str());
        context.metrics.record_reconciliation(outcome, self.started.elapsed());
        Span::current().record("keypair.outcome", outcome);
        let mut status =
            KeyPairStatus::from_report(key_pair, &desired.parameters.key_pair_name, report, context.clock.now());
        let version = key_pair.resource_version().unwrap_or_default();
        let is_unchanged = key_pair.status.as_ref() == Some(&status);
        if is_unchanged && !context.cache.index.is_acceptance_pending(&self.namespace, uid, &version) {
            return Ok(requeue_after);
        }
        if is_unchanged && !renew(&mut status, context.clock.now()) {
            return Ok(Some(RENEWED_AFTER));
        }
        let was_accepted = key_pair.status.as_ref().is_some_and(KeyPairStatus::is_acceptance);
        if status.is_acceptance()
            && !was_accepted
            && !context.cache.index.begin_acceptance(&self.namespace, uid, &version)
        {
            // Another KeyPair has taken the slot or the name; its events trigger another reconciliation.
            return Ok(None);
        }
        if !self.replace_status(&status).await? {
            // A KeyPair that is gone must leave no back-off behind.
            return Ok(context.still_exists(key_pair).then(|| context.backoff.delay_after_failure(uid)));
        }
        if let Some(ready) = status.condition(READY) {
            let Self { namespace, name, .. } = self;
            tracing::info!(namespace, name, ready = ready.status, reason = ready.reason, "status written");
        }
        if key_pair.status.as_ref().is_none_or(|before| before.condition(READY).is_none())
            && let Some(created) = &key_pair.metadata.creation_timestamp
        {
            let age = context.clock.now().duration_since(created.0).try_into().unwrap_or_default();
            context.metrics.record_first_outcome(age);
        }
        for (outcome, _) in events::rotations(key_pair.status.as_ref(), Some(&status)) {
            context.metrics.record_rotation(outcome);
        }
        for event in events::transitions(key_pair.status.as_ref(), Some(&status)) {
            self.publish(&event).await;
        }
        Ok(requeue_after)
    }

    /// How long it is until this time. When the clock jumps, all `KeyPair`s are reconciled.
    fn until(&self, time: Option<Timestamp>) -> RequeueAfter {
        let remaining = time?.duration_since(self.context.clock.now());
        // Times are in whole seconds of a clock that the timer does not follow exactly.
        Some(Duration::try_from(remaining).unwrap_or_default().saturating_add(Duration::from_millis(10)))
    }

    /// Makes the status name this Secret and keeps the rest of it, since more steps follow. The event of the write triggers them.
    pub(super) async fn record_move(&self, name: &str, version: &str) -> Result<RequeueAfter, Error> {
        let Some(before) = &self.key_pair.status else { return Ok(None) };
        let (secret_name, secret_version) = (Some(name.to_owned()), Some(version.to_owned()));
        let status = KeyPairStatus { secret_name, secret_version, ..before.clone() };
        let is_written = self.replace_status(&status).await?;
        Ok((!is_written).then(|| self.context.backoff.delay_after_failure(&self.desired.uid)))
    }

    /// Writes the status. `false`: the object is gone or has changed since, so the decision is outdated. Its events should arrive
    /// soon, but proxies and servers that start up return these codes for other causes, too.
    async fn replace_status(&self, status: &KeyPairStatus) -> Result<bool, Error> {
        let Self { key_pair, context, desired, .. } = self;
        let answer = match self.with_deadline(self.put_status(status)).await? {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(false),
            Err(error) => return Err(Error::WriteStatus(error)),
        };
        // A write that changes nothing creates no new version, and so no event.
        if let Some(replaced) = key_pair.resource_version()
            && answer.resource_version().as_ref() != Some(&replaced)
        {
            context.own_writes.record(&desired.uid, replaced);
        }
        Ok(true)
    }

    /// Returns the delay after which to requeue, and watches the awaited Secret, if possible.
    fn schedule_requeue(&self, report: &Report) -> RequeueAfter {
        let Self { key_pair, context, desired, .. } = self;
        let awaited = report.awaited_secret.as_deref().filter(|name| {
            // The watch by label shows our own Secrets anyway.
            let cached = context.secret(&self.namespace, name);
            cached.is_none_or(|secret| !secret::cached(&secret, key_pair).owned)
        });
        let is_watched = if let Some(name) = awaited {
            context.secret_watches.wait(key_pair, name, report.accepted.is_some())
        } else {
            context.secret_watches.stop_waiting(key_pair);
            false
        };
        if report.failing {
            return Some(context.backoff.delay_after_failure(&desired.uid));
        }
        if report.requeue && (report.changed_by_admission || !is_watched) {
            return Some(context.backoff.delay_after_refusal(&desired.uid));
        }
        context.backoff.forget(&desired.uid);
        (report.requeue || awaited.is_some()).then(|| context.backoff.resync_delay(&desired.uid))
    }

    /// Replaces the status, unless the object has changed since. The API server ignores the rest of the body, and only the new
    /// version in its response is of interest.
    async fn put_status(&self, status: &KeyPairStatus) -> kube::Result<PartialObjectMeta<KeyPair>> {
        let metadata = &self.key_pair.metadata;
        let object = json!({
            "apiVersion": KeyPair::api_version(&()),
            "kind": KeyPair::kind(&()),
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
            "status": status,
        });
        let url = KeyPair::url_path(&(), Some(&self.namespace));
        let body = object.to_string().into_bytes();
        let request = Request::new(url).replace_subresource("status", &self.name, &PostParams::default(), body);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, secrets::METADATA_ONLY);
        self.context.client.request(request).await
    }

    /// Writes an Event. Events are for people only, so a failed write must not delay anything.
    async fn publish(&self, event: &Event) {
        // A new Recorder for each Event: a shared one takes an Event with the same reason for a repetition, increments the count of the
        // earlier one and so loses the new note.
        let recorder = Recorder::new(self.context.client.clone(), self.context.reporter.clone());
        let error = match self.with_deadline(recorder.publish(event, &self.key_pair.object_ref(&()))).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => summarize(&error),
            Err(error) => error.to_string(),
        };
        let Self { namespace, name, .. } = self;
        tracing::warn!(namespace, name, error, "cannot write an Event");
    }
}
