//! The reconciler: observe, decide, apply.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::PostParams,
    runtime::{controller::Action, events::Event, reflector::ObjectRef},
};

use super::{
    context::Context,
    error::{Error, in_brief},
    events,
    secrets::{self, CreateError},
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
    if context.written.supersedes(&key_pair) {
        // This version of the object is older than our own last write, whose event is under way.
        return Ok(Action::await_change());
    }
    let desired = translate::desired(&key_pair);
    let mut observed = observe(&key_pair, &context);
    for _ in 0..MAX_STEPS {
        let namespace = key_pair.namespace().unwrap_or_default();
        let plan = context.index.with_ledger(&namespace, |ledger| decide(&desired, &observed, ledger));
        match plan {
            Plan::Rest => return Ok(Action::await_change()),
            Plan::ReadSecret(name) => observed.secret = read_secret(&key_pair, &context, &desired, &name).await?,
            Plan::CreateSecret(name, spec) => {
                observed.secret = create_secret(&key_pair, &context, &desired, &name, spec).await?;
            }
            Plan::Report(report) => return write_status(&key_pair, &context, &desired, report).await,
        }
    }
    Err(Error::NoEnd)
}

/// What is known without asking the API server.
fn observe(key_pair: &KeyPair, context: &Context) -> Observed {
    let status = key_pair.status.as_ref();
    let recorded = status.and_then(KeyPairStatus::facts);
    let secret_name = recorded
        .as_ref()
        .and_then(|facts| facts.secret_name.clone())
        .unwrap_or_else(|| translate::parameters(key_pair).secret.name);
    let reference = ObjectRef::new(&secret_name).within(&key_pair.namespace().unwrap_or_default());
    Observed {
        recorded,
        refused: status
            .and_then(|status| status.error.as_ref())
            .and_then(|error| Reason::ALL.into_iter().find(|reason| reason.as_str() == error.reason)),
        secret: SecretView::Unread(
            context.secrets.get(&reference).map(|secret| secrets::cached(secret.as_ref(), key_pair)),
        ),
    }
}

async fn read_secret(
    key_pair: &KeyPair,
    context: &Context,
    desired: &Desired,
    name: &str,
) -> Result<SecretView, Error> {
    let read = secrets::read(&context.client, key_pair, name, &desired.parameters.secret);
    let secret = in_time(read).await?.map_err(Error::ReadSecret)?;
    Ok(secret.map_or(SecretView::Absent, SecretView::Read))
}

/// Generates a key pair and creates its Secret; where there is one of that name already, reads that instead.
async fn create_secret(
    key_pair: &KeyPair,
    context: &Context,
    desired: &Desired,
    name: &str,
    spec: KeySpec,
) -> Result<SecretView, Error> {
    let private_key = context.generator.generate(spec).await?;
    let public_key = private_key.public_key(secrets::NO_COMMENT)?;
    let settings = &desired.parameters.secret;
    let create = secrets::create(&context.client, key_pair, name, settings, &private_key, &public_key);
    match in_time(create).await? {
        Ok(()) => Ok(SecretView::Read(ReadSecret { owned: true, public_key: Some(public_key) })),
        Err(CreateError::Kube(kube::Error::Api(status))) if status.is_already_exists() => {
            read_secret(key_pair, context, desired, name).await
        }
        Err(CreateError::Kube(kube::Error::Api(status))) if status.is_invalid() => {
            Ok(SecretView::Invalid(status.message))
        }
        Err(CreateError::Kube(kube::Error::Api(status))) if status.is_forbidden() => {
            Ok(SecretView::Forbidden(status.message))
        }
        Err(error) => Err(Error::CreateSecret(error)),
    }
}

/// Makes the status say what `report` says, with one write if it does not yet.
async fn write_status(
    key_pair: &KeyPair,
    context: &Context,
    desired: &Desired,
    report: Report,
) -> Result<Action, Error> {
    let uid = desired.uid.as_str();
    let retry = report.refusals.iter().any(|refusal| refusal.reason.needs_another_look());
    let action = if retry { Action::requeue(context.backoff.failed(uid)) } else { Action::await_change() };
    let outcome = report.refusals.first().map_or("Ready", |refusal| refusal.reason.as_str());
    context.metrics.reconciled(outcome);

    let status = KeyPairStatus::from_report(key_pair, &desired.parameters.key_pair_name, report, Timestamp::now());
    if key_pair.status.as_ref() == Some(&status) {
        if !retry {
            context.backoff.forget(uid);
        }
        return Ok(action);
    }
    let mut written = key_pair.clone();
    written.status = Some(status);
    let namespace = key_pair.namespace().unwrap_or_default();
    let name = key_pair.name_any();
    let key_pairs: Api<KeyPair> = Api::namespaced(context.client.clone(), &namespace);
    match in_time(key_pairs.replace_status(&name, &PostParams::default(), &written)).await? {
        Ok(answer) => context.written.note(key_pair, &answer),
        // Gone, or changed since: the decision was about an object that is no more. Its events are under way.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            return Ok(Action::await_change());
        }
        Err(error) => return Err(Error::WriteStatus(error)),
    }
    if !retry {
        context.backoff.forget(uid);
    }
    let condition = written.status.as_ref().and_then(|status| status.condition(READY));
    if let Some(ready) = condition {
        tracing::info!(namespace, name, ready = ready.status, reason = ready.reason, "status written");
    }
    if let Some(event) = events::transition(key_pair.status.as_ref(), written.status.as_ref()) {
        publish(key_pair, context, &event).await;
    }
    Ok(action)
}

/// Writes an Event. It is for people only: that one could not be written must not hold up anything.
async fn publish(key_pair: &KeyPair, context: &Context, event: &Event) {
    let error = match in_time(context.recorder.publish(event, &key_pair.object_ref(&()))).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => in_brief(&error),
        Err(error) => error.to_string(),
    };
    tracing::warn!(namespace = key_pair.namespace(), name = key_pair.name_any(), error, "cannot write an Event");
}

async fn in_time<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.map_err(|_| Error::Timeout(REQUEST_TIMEOUT))
}
