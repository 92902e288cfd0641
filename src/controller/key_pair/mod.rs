//! The reconciler: observe, decide, apply.

pub(crate) mod admission_changes;
pub(crate) mod created_secrets;
pub(crate) mod error;
pub(crate) mod events;
mod report;
mod requests;
mod rotation;
pub(crate) mod secrets;
mod worker;

pub use self::worker::reconcile_while_current;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};

use self::error::Error;
use super::{context::Context, deadline};
use crate::{
    api::{KeyPair, KeyPairStatus, secret, translate},
    cache::{store::KeyPairEntry, watched::WatchedKeyPair},
    domain::{
        decide::{AcceptedKeyPair, Desired, NextStep, Observed, ObservedSecret, Original, decide},
        ledger::ClaimState,
        publication::{PublicationProgress, PublishedKey},
        reason::Reason,
        rotation::Phase,
    },
    leader::leadership::Leadership,
};

/// Every object needs fewer steps; more mean that two steps undo each other.
const MAX_STEPS: usize = 16;

/// The delay after which to requeue the object, unless it changes before.
type RequeueAfter = Option<Duration>;

/// Reconciles one `KeyPair`.
///
/// # Errors
///
/// The error of the API server or of the key generation; the caller retries later.
pub async fn reconcile(key_pair: Arc<KeyPair>, context: Arc<Context>) -> Result<RequeueAfter, Error> {
    let reconciliation = Reconciliation {
        desired: translate::desired(&key_pair),
        namespace: key_pair.namespace().unwrap_or_default(),
        name: key_pair.name_any(),
        key_pair: &key_pair,
        context: &context,
        started: Instant::now(),
    };
    // For traces only: log lines name the object themselves.
    let span = tracing::debug_span!(
        "reconcile",
        k8s.namespace.name = reconciliation.namespace,
        keypair.name = reconciliation.name,
        keypair.uid = reconciliation.desired.uid,
        keypair.outcome = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    let result = reconciliation.run().instrument(span.clone()).await;
    if let Err(error) = &result {
        span.record("otel.status_code", "ERROR").record("otel.status_description", error.step());
    }
    result
}

/// Reads a `KeyPair` of which the cache has only a summary; `None` if it is gone, or does not match the schema of this version.
///
/// Sends a list request for one object: the operator has the permission to list `KeyPair`s anyway, and so needs none to get them.
///
/// # Errors
///
/// The error of the API server.
pub async fn read(reference: &ObjectRef<KeyPair>, context: &Context) -> Result<Option<KeyPair>, Error> {
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let api: Api<WatchedKeyPair> = Api::namespaced(context.client.clone(), namespace);
    let one = ListParams::default().fields(&format!("metadata.name={}", reference.name)).limit(1);
    let list = with_deadline(&context.leadership, api.list(&one)).await?.map_err(Error::ReadKeyPair)?;
    Ok(list.items.into_iter().next().and_then(WatchedKeyPair::into_decoded))
}

/// One `KeyPair` that is being reconciled.
struct Reconciliation<'a> {
    key_pair: &'a KeyPair,
    context: &'a Context,
    desired: Desired,
    namespace: String,
    name: String,
    started: Instant,
}

impl Reconciliation<'_> {
    async fn run(&self) -> Result<RequeueAfter, Error> {
        let context = self.context;
        if context.own_writes.get(&self.desired.uid) == self.key_pair.resource_version() {
            // This version is older than our own last write, whose event has not arrived yet.
            return Ok(None);
        }
        context.own_writes.forget(&self.desired.uid);
        let mut observed = self.observe().await?;
        for _ in 0..MAX_STEPS {
            let step =
                context.cache.index.with_ledger(&self.namespace, |ledger| decide(&self.desired, &observed, ledger));
            // The Namespace is not in the cache yet; its event triggers another reconciliation.
            let Some(step) = step else { return Ok(None) };
            let (name, secret) = match step {
                NextStep::Rest => return Ok(None),
                NextStep::Report(report) => return Box::pin(self.write_status(*report)).await,
                NextStep::RecordMove { name, version } => return self.record_move(&name, &version).await,
                NextStep::ReadSecret(name) => {
                    let secret = self.read_secret(&name).await;
                    (name, secret)
                }
                NextStep::CreateSecret { name, spec, replaces } => {
                    let Some(secret) = Box::pin(self.create_secret(&name, spec, replaces, &observed)).await.transpose()
                    else {
                        return Ok(None);
                    };
                    (name, secret)
                }
                NextStep::UpdateSecret { name, version, moved_from } => {
                    let secret = Box::pin(self.update_secret(&name, &version, moved_from.as_deref())).await;
                    (name, secret)
                }
                NextStep::CopySecret { from, to } => Box::pin(self.copy_secret(from, to)).await,
                NextStep::EndMove { name, version } => {
                    let secret = self.end_move(&name, &version, &observed).await;
                    (name, secret)
                }
                NextStep::RotateSecret { name, version, change } => {
                    let Some(secret) = self.rotate_secret(&name, &version, change).await.transpose() else {
                        return Ok(None);
                    };
                    (name, secret)
                }
                NextStep::DeleteSecret(name) => {
                    let secret = self.delete_secret(&name, &observed).await;
                    (name, secret)
                }
                NextStep::ReleaseSecret(name) => {
                    let secret = Box::pin(self.release_secret(&name, &observed)).await;
                    (name, secret)
                }
            };
            let secret = secret.or_else(|error| self.report_persistent_failure(error))?;
            observed.secrets.insert(name, secret);
            // A previous key is kept from the moment when the request that replaced it was answered.
            observed.now = context.clock.now();
        }
        Err(Error::NoEnd)
    }

    /// Turns a persistent failure of requests for a Secret into an observation to report; any other error is retried silently.
    fn report_persistent_failure(&self, error: Error) -> Result<ObservedSecret, Error> {
        let is_persistent = self.context.backoff.is_persistent(&self.desired.uid, self.started);
        error.about_secret().filter(|_| is_persistent).map(ObservedSecret::Failing).ok_or(error)
    }

    /// Observes from the caches alone; only an original that is too large for the cache needs a request.
    async fn observe(&self) -> Result<Observed, Error> {
        let context = self.context;
        let status = self.key_pair.status.as_ref();
        let is_replay = status.is_some_and(KeyPairStatus::is_replay);
        let recorded = if is_replay { None } else { translate::accepted_key_pair(self.key_pair) };
        let created_secrets = context.created_secrets.names(&self.desired.uid, &self.namespace);
        let wanted = &self.desired.parameters.secret.name;
        let secret_name = self.desired.secret_name(recorded.as_ref(), &created_secrets).clone();
        let mut secrets: BTreeMap<String, ObservedSecret> = created_secrets
            .iter()
            .chain([wanted, &secret_name])
            .map(|name| {
                let cached = context.secret(&self.namespace, name);
                (name.clone(), ObservedSecret::Unread(cached.map(|secret| secret::cached(&secret, self.key_pair))))
            })
            .collect();
        let refused =
            status.and_then(|status| status.error.as_ref()).and_then(|error| Reason::from_name(&error.reason));
        // Another KeyPair waits for the same Secret: reading it is cheaper than generating a key for nothing.
        let is_contended = recorded.is_none()
            && refused.is_none()
            && context.secret_watches.is_waited_for(&self.namespace, &secret_name);
        let claim_state =
            context.cache.index.with_ledger(&self.namespace, |ledger| ledger.claim_state(&self.desired.uid));
        let original = match claim_state {
            Some(ClaimState::Replay(name)) => self.original(&name).await?,
            _ => None,
        };
        // A foreign Secret that a KeyPair waits for is watched, and so need not be read.
        for name in [secret_name.as_str(), wanted] {
            if let Some(foreign) = context.secret_watches.foreign_secret(self.key_pair, name)
                && !matches!(secrets.get(name), Some(ObservedSecret::Unread(Some(cached))) if cached.owned)
            {
                secrets.insert(name.to_owned(), ObservedSecret::Read(foreign));
            }
        }
        let open_gates = status.map(KeyPairStatus::open_gates).unwrap_or_default();
        let publication = self.publication_progress(recorded.as_ref());
        let now = context.clock.now();
        Ok(Observed {
            recorded,
            original,
            created_secrets,
            refused,
            is_contended,
            secrets,
            open_gates,
            publication,
            now,
        })
    }

    /// Whether the publications that select the pair have the next key that the status shows.
    fn publication_progress(&self, recorded: Option<&AcceptedKeyPair>) -> PublicationProgress {
        let next = recorded.and_then(|recorded| recorded.rotation.key(Phase::Next));
        let key = next.and_then(|next| PublishedKey::from_line(next.revision, &next.key.to_openssh()));
        key.map_or(PublicationProgress::Published, |key| {
            self.context.cache.publications.progress(&self.namespace, &self.name, &key.line)
        })
    }

    /// The original, which has this name.
    async fn original(&self, name: &str) -> Result<Option<Original>, Error> {
        let reference = ObjectRef::new(name).within(&self.namespace);
        Ok(match self.context.cache.key_pairs.get(&reference) {
            None | Some(KeyPairEntry::Undecoded(_)) => None,
            Some(KeyPairEntry::Whole(original)) => translate::original(&original),
            Some(KeyPairEntry::Summary(_)) => {
                let _permit = self.context.large_response_permits.acquire(&self.namespace).await;
                read(&reference, self.context).await?.as_ref().and_then(translate::original)
            }
        })
    }
}

/// Sends the request only while this process leads, and waits for the response only as long as it does.
async fn with_deadline<T>(leadership: &Leadership, request: impl Future<Output = T>) -> Result<T, Error> {
    Ok(deadline::with_deadline(leadership, request).await?)
}

#[cfg(test)]
mod tests;
