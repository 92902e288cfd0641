//! The end of a reconciliation: what was decided is told, in the status, in an Event and in the log.

use std::time::Duration;

use http::header::ACCEPT;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Resource, ResourceExt,
    api::{PartialObjectMeta, PostParams},
    core::Request,
    runtime::events::{Event, Recorder},
};
use serde_json::json;
use tracing::Span;

use super::{
    super::{answer::in_brief, error::Error, events, secrets},
    Again, Reconciliation,
};
use crate::{
    api::{ClaimRequest, KeyPair, KeyPairStatus, status::READY},
    domain::decide::Report,
};

/// After which time a status can be told from the one before, whose times are in whole seconds.
const RENEWED_AFTER: Duration = Duration::from_secs(1);

/// Makes a status that says nothing new another one than that which is there, so that its write makes a new version of the object: an
/// earlier write, which said that the pair is accepted and of which no answer came, can do no more then. Whether it is another.
fn renew(status: &mut KeyPairStatus, now: Timestamp) -> bool {
    let is_past = |condition: &Condition| condition.last_transition_time.0.as_second() < now.as_second();
    let can_be_told = status.conditions.iter().all(is_past);
    status.conditions.iter_mut().for_each(|condition| condition.last_transition_time = Time(now));
    can_be_told
}

impl Reconciliation<'_> {
    /// Makes the status say what `report` says, with one write if it does not yet.
    pub(super) async fn write_status(&self, report: Report) -> Result<Again, Error> {
        let Self { key_pair, context, desired, .. } = self;
        let uid = desired.uid.as_str();
        let again = self.look_again(&report);
        // Whoever has an answer needs no key, or another than was wanted before.
        context.keys.forget(uid);
        let outcome = report.refusals.first().map_or("Ready", |refusal| refusal.reason.as_str());
        context.metrics.reconciled(outcome, self.begun.elapsed());
        Span::current().record("keypair.outcome", outcome);
        let mut status =
            KeyPairStatus::from_report(key_pair, &desired.parameters.key_pair_name, report, context.clock.now());
        let version = key_pair.resource_version().unwrap_or_default();
        let is_there = key_pair.status.as_ref() == Some(&status);
        if is_there && !context.view.index.may_be_accepted(&self.namespace, uid, &version) {
            return Ok(again);
        }
        if is_there && !renew(&mut status, context.clock.now()) {
            return Ok(Some(RENEWED_AFTER));
        }
        let was_accepted = key_pair.status.as_ref().is_some_and(ClaimRequest::is_acceptance);
        if ClaimRequest::is_acceptance(&status)
            && !was_accepted
            && !context.view.index.begin_acceptance(&self.namespace, uid, &version)
        {
            // The slot or the name is another's by now. Whatever took it brings us back.
            return Ok(None);
        }
        if !self.replace_status(&status).await? {
            // Of one that is gone nothing is kept.
            return Ok(context.is_there(key_pair).then(|| context.backoff.failed(uid)));
        }
        if let Some(ready) = status.condition(READY) {
            let Self { namespace, name, .. } = self;
            tracing::info!(namespace, name, ready = ready.status, reason = ready.reason, "status written");
        }
        if key_pair.status.as_ref().is_none_or(|before| before.conditions.is_empty())
            && let Some(created) = &key_pair.metadata.creation_timestamp
        {
            let age = context.clock.now().duration_since(created.0).try_into().unwrap_or_default();
            context.metrics.settled(age);
        }
        if let Some(event) = events::transition(key_pair.status.as_ref(), Some(&status)) {
            self.publish(&event).await;
        }
        Ok(again)
    }

    /// Makes the status name this Secret, and leaves the rest of it: what there is to do is not done yet. The event of that brings us
    /// back.
    pub(super) async fn record_move(&self, name: &str, version: &str) -> Result<Again, Error> {
        let Some(before) = &self.key_pair.status else { return Ok(None) };
        let (secret_name, secret_version) = (Some(name.to_owned()), Some(version.to_owned()));
        let status = KeyPairStatus { secret_name, secret_version, ..before.clone() };
        let is_written = self.replace_status(&status).await?;
        Ok((!is_written).then(|| self.context.backoff.failed(&self.desired.uid)))
    }

    /// Writes the status. `false`: the object is gone, or has changed since, and the decision was about one that is no more. Its
    /// events should be under way, but proxies and servers that start up give these answers for other causes, too.
    async fn replace_status(&self, status: &KeyPairStatus) -> Result<bool, Error> {
        let Self { key_pair, context, desired, .. } = self;
        let answer = match self.in_time(self.put_status(status)).await? {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(false),
            Err(error) => return Err(Error::WriteStatus(error)),
        };
        // A write that changes nothing makes no new version, and no event would ever come.
        if let Some(replaced) = key_pair.resource_version()
            && answer.resource_version().as_ref() != Some(&replaced)
        {
            context.written.note(&desired.uid, replaced);
        }
        Ok(true)
    }

    /// After which time to look again at what is reported so, and for the Secret that it is about: watched, if that is possible.
    fn look_again(&self, report: &Report) -> Again {
        let Self { key_pair, context, desired, .. } = self;
        let unseen = report.out_of_sight.as_deref().filter(|name| {
            // One of ours, with our label, is in sight anyway.
            let cached = context.secret(&self.namespace, name);
            cached.is_none_or(|secret| !secrets::cached(&secret, key_pair).owned)
        });
        let is_watched = match unseen {
            Some(name) => context.secret_watches.wait(key_pair, name, report.facts.is_some()),
            None => context.secret_watches.leave(key_pair),
        };
        if report.failing {
            return Some(context.backoff.failed(&desired.uid));
        }
        if report.look_again && (report.overruled || !is_watched) {
            return Some(context.backoff.refused(&desired.uid));
        }
        context.backoff.forget(&desired.uid);
        (report.look_again || unseen.is_some()).then(|| context.backoff.seldom(&desired.uid))
    }

    /// Replaces the status, unless the object has changed since. The API server looks at nothing else of what it is sent, and
    /// has nothing to tell but the new version.
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

    /// Writes an Event. It is for people only: that one could not be written must not hold up anything.
    async fn publish(&self, event: &Event) {
        // A Recorder of its own for each: one that is kept takes an Event of the same reason for a repetition, counts up the
        // earlier one and so loses the new note.
        let recorder = Recorder::new(self.context.client.clone(), self.context.reporter.clone());
        let error = match self.in_time(recorder.publish(event, &self.key_pair.object_ref(&()))).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => in_brief(&error),
            Err(error) => error.to_string(),
        };
        let Self { namespace, name, .. } = self;
        tracing::warn!(namespace, name, error, "cannot write an Event");
    }
}
