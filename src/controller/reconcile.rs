//! The reconciler: observe, decide, apply.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::PostParams,
    runtime::{
        controller::Action,
        events::{Event, Recorder},
        reflector::ObjectRef,
    },
};

use super::{
    context::Context,
    error::{Error, in_brief, without_values},
    events,
    secrets::{self, Content, RequestError},
};
use crate::{
    api::{KeyPair, KeyPairStatus, status::READY, translate},
    domain::{
        decide::{Desired, Observed, Plan, ReadSecret, Report, SecretView, decide},
        key::KeySpec,
        reason::Reason,
    },
};

/// How long one request to the API server may take: the client has no limit of its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The steps that any object needs are fewer; more would mean that two steps undo each other.
const MAX_STEPS: usize = 8;

/// Brings one `KeyPair` to where its spec wants it.
///
/// # Errors
///
/// Whatever the API server or the key generation answered; the caller tries again later.
pub async fn reconcile(key_pair: Arc<KeyPair>, context: Arc<Context>) -> Result<Action, Error> {
    // A decision that does not know which Secrets there are would read each of them.
    context.secrets.wait_until_ready().await.map_err(|_| Error::Stopping)?;
    let reconciliation = Reconciliation {
        desired: translate::desired(&key_pair),
        namespace: key_pair.namespace().unwrap_or_default(),
        name: key_pair.name_any(),
        key_pair: &key_pair,
        context: &context,
    };
    reconciliation.run().await
}

/// One `KeyPair` that is being reconciled.
struct Reconciliation<'a> {
    key_pair: &'a KeyPair,
    context: &'a Context,
    desired: Desired,
    namespace: String,
    name: String,
}

impl Reconciliation<'_> {
    async fn run(&self) -> Result<Action, Error> {
        let context = self.context;
        if context.written.get(&self.desired.uid) == self.key_pair.resource_version() {
            // This version of the object is older than our own last write, whose event is under way.
            return Ok(Action::await_change());
        }
        context.written.forget(&self.desired.uid);
        let mut observed = self.observe();
        for _ in 0..MAX_STEPS {
            let plan = context.index.with_ledger(&self.namespace, |ledger| decide(&self.desired, &observed, ledger));
            match plan {
                Plan::Rest => return Ok(Action::await_change()),
                Plan::ReadSecret(name) => observed.secret = self.read_secret(&name).await?,
                Plan::CreateSecret(name, spec) => match self.create_secret(&name, spec, &observed).await? {
                    Some(secret) => observed.secret = secret,
                    // The KeyPair has been changed or deleted meanwhile; its event is under way.
                    None => return Ok(Action::await_change()),
                },
                Plan::Report(report) => return self.write_status(report).await,
            }
        }
        Err(Error::NoEnd)
    }

    /// What is known without asking the API server.
    fn observe(&self) -> Observed {
        let status = self.key_pair.status.as_ref();
        let recorded = status.and_then(KeyPairStatus::facts);
        let secret_name = self.desired.secret_name(recorded.as_ref());
        let cached = self
            .context
            .secrets
            .get(&ObjectRef::new(secret_name).within(&self.namespace))
            .map(|secret| secrets::cached(secret.as_ref(), self.key_pair, &self.context.verified));
        let refused =
            status.and_then(|status| status.error.as_ref()).and_then(|error| Reason::from_name(&error.reason));
        Observed { recorded, refused, secret: SecretView::Unread(cached) }
    }

    async fn read_secret(&self, name: &str) -> Result<SecretView, Error> {
        let settings = &self.desired.parameters.secret;
        match in_time(secrets::read(&self.context.client, self.key_pair, name, settings)).await? {
            Ok(Some((secret, version))) => {
                // Noted as right already, which only a report without refusals lets stand.
                self.context.verified.note(&self.desired.uid, &version);
                Ok(SecretView::Read(secret))
            }
            Ok(None) => Ok(SecretView::Absent),
            Err(error) => refused(error).map_err(Error::ReadSecret),
        }
    }

    /// Generates a key pair and creates its Secret; where there is one of that name already, reads that instead. `None`: the
    /// `KeyPair` is no longer what it was when the generation began.
    async fn create_secret(&self, name: &str, spec: KeySpec, observed: &Observed) -> Result<Option<SecretView>, Error> {
        // What was refused before may be refused again: that is found out before a key is generated for nothing.
        if matches!(observed.refused, Some(Reason::InvalidSecret | Reason::InternalError)) {
            let rehearsal = self.post_secret(name, &Content::placeholder(), true).await?;
            if rehearsal.is_some() {
                return Ok(rehearsal);
            }
        }
        let private_key = self.context.generator.generate(spec).await?;
        if !self.context.is_current(self.key_pair) {
            return Ok(None);
        }
        let public_key = private_key.public_key(secrets::NO_COMMENT)?;
        let content = Content::new(&private_key, &public_key, self.desired.parameters.secret.encoding)?;
        let instead = self.post_secret(name, &content, false).await?;
        Ok(Some(instead.unwrap_or(SecretView::Read(ReadSecret { owned: true, public_key: Some(public_key) }))))
    }

    /// Creates the Secret. `Some`: what is known instead, where it could not be created.
    async fn post_secret(&self, name: &str, content: &Content, dry_run: bool) -> Result<Option<SecretView>, Error> {
        let settings = &self.desired.parameters.secret;
        let create = secrets::create(&self.context.client, self.key_pair, name, settings, content, dry_run);
        match in_time(create).await? {
            Ok(version) => {
                if !dry_run {
                    self.context.verified.note(&self.desired.uid, &version);
                }
                Ok(None)
            }
            Err(RequestError::Kube(kube::Error::Api(status))) if status.is_already_exists() => {
                self.read_secret(name).await.map(Some)
            }
            Err(error) => refused(error).map(Some).map_err(Error::CreateSecret),
        }
    }

    /// Makes the status say what `report` says, with one write if it does not yet.
    async fn write_status(&self, report: Report) -> Result<Action, Error> {
        let Self { key_pair, context, desired, .. } = self;
        let uid = desired.uid.as_str();
        if !report.refusals.is_empty() {
            context.verified.distrust(uid);
        }
        let action = if report.look_again {
            Action::requeue(context.backoff.failed(uid))
        } else {
            context.backoff.forget(uid);
            Action::await_change()
        };
        context.metrics.reconciled(report.refusals.first().map_or("Ready", |refusal| refusal.reason.as_str()));

        let status = KeyPairStatus::from_report(key_pair, &desired.parameters.key_pair_name, report, Timestamp::now());
        if key_pair.status.as_ref() == Some(&status) {
            return Ok(action);
        }
        let written = KeyPair { status: Some(status), ..(*key_pair).clone() };
        let key_pairs: Api<KeyPair> = Api::namespaced(context.client.clone(), &self.namespace);
        let answer = match in_time(key_pairs.replace_status(&self.name, &PostParams::default(), &written)).await? {
            Ok(answer) => answer,
            // Gone, or changed since: the decision was about an object that is no more. Its events are under way.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                return Ok(Action::await_change());
            }
            Err(error) => return Err(Error::WriteStatus(error)),
        };
        // A write that changes nothing makes no new version, and no event would ever come.
        if let Some(replaced) = key_pair.resource_version()
            && answer.resource_version().as_ref() != Some(&replaced)
        {
            context.written.note(uid, &replaced);
        }
        if let Some(ready) = written.status.as_ref().and_then(|status| status.condition(READY)) {
            let Self { namespace, name, .. } = self;
            tracing::info!(namespace, name, ready = ready.status, reason = ready.reason, "status written");
        }
        if let Some(event) = events::transition(key_pair.status.as_ref(), written.status.as_ref()) {
            self.publish(&event).await;
        }
        Ok(action)
    }

    /// Writes an Event. It is for people only: that one could not be written must not hold up anything.
    async fn publish(&self, event: &Event) {
        // A Recorder of its own for each: one that is kept takes an Event of the same reason for a repetition, counts up the
        // earlier one and so loses the new note.
        let recorder = Recorder::new(self.context.client.clone(), self.context.reporter.clone());
        let error = match in_time(recorder.publish(event, &self.key_pair.object_ref(&()))).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => in_brief(&error),
            Err(error) => error.to_string(),
        };
        let Self { namespace, name, .. } = self;
        tracing::warn!(namespace, name, error, "cannot write an Event");
    }
}

/// What an answer of the API server says about the Secret, if it is one that a person has to act on.
fn refused(error: RequestError) -> Result<SecretView, RequestError> {
    match error {
        RequestError::Kube(kube::Error::Api(status)) if status.is_invalid() => {
            Ok(SecretView::Invalid(without_values(&status)))
        }
        // Conflicts, timeouts and overload pass by themselves.
        RequestError::Kube(kube::Error::Api(status))
            if (400..500).contains(&status.code) && ![408, 409, 429].contains(&status.code) =>
        {
            Ok(SecretView::Forbidden(status.message))
        }
        error => Err(error),
    }
}

async fn in_time<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.map_err(|_| Error::Timeout(REQUEST_TIMEOUT))
}
