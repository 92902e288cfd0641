//! The reconciler: observe, decide, apply.

mod report;
mod requests;

use std::{collections::BTreeMap, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};

use super::{
    context::Context, error::Error, leadership::Leadership, secrets, store::KeyPairEntry, watched::WatchedKeyPair,
};
use crate::{
    api::{KeyPair, KeyPairStatus, translate},
    domain::{
        decide::{Desired, Observed, Original, Plan, SecretView, decide},
        ledger::Standing,
        reason::Reason,
    },
};

/// How long one request to the API server may take: the client has no limit of its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The steps that any object needs are fewer; more would mean that two steps undo each other.
const MAX_STEPS: usize = 16;

/// After which time to look again, if not before it changes.
type Again = Option<Duration>;

/// Brings one `KeyPair` to where its spec wants it.
///
/// # Errors
///
/// Whatever the API server or the key generation answered; the caller tries again later.
pub async fn reconcile(key_pair: Arc<KeyPair>, context: Arc<Context>) -> Result<Again, Error> {
    let reconciliation = Reconciliation {
        desired: translate::desired(&key_pair),
        namespace: key_pair.namespace().unwrap_or_default(),
        name: key_pair.name_any(),
        key_pair: &key_pair,
        context: &context,
        begun: Instant::now(),
    };
    // For traces only: what is logged names the object itself.
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

/// Reads a `KeyPair` of which the watch has left a summary only; `None`: it is gone, or not of the schema of this version.
///
/// As a list of one: the operator lists `KeyPair`s anyway, and so needs no right to get them.
///
/// # Errors
///
/// Whatever the API server answered.
pub async fn read(reference: &ObjectRef<KeyPair>, context: &Context) -> Result<Option<KeyPair>, Error> {
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let api: Api<WatchedKeyPair> = Api::namespaced(context.client.clone(), namespace);
    let one = ListParams::default().fields(&format!("metadata.name={}", reference.name)).limit(1);
    let list = in_time(&context.leadership, api.list(&one)).await?.map_err(Error::ReadKeyPair)?;
    Ok(list.items.into_iter().next().and_then(WatchedKeyPair::into_decoded))
}

/// One `KeyPair` that is being reconciled.
struct Reconciliation<'a> {
    key_pair: &'a KeyPair,
    context: &'a Context,
    desired: Desired,
    namespace: String,
    name: String,
    begun: Instant,
}

impl Reconciliation<'_> {
    async fn run(&self) -> Result<Again, Error> {
        let context = self.context;
        if context.written.get(&self.desired.uid) == self.key_pair.resource_version() {
            // This version of the object is older than our own last write, whose event is under way.
            return Ok(None);
        }
        context.written.forget(&self.desired.uid);
        let mut observed = self.observe().await?;
        for _ in 0..MAX_STEPS {
            let plan =
                context.view.index.with_ledger(&self.namespace, |ledger| decide(&self.desired, &observed, ledger));
            // Where it is not known yet what the namespace is, that event brings us back.
            let Some(plan) = plan else { return Ok(None) };
            let (name, view) = match plan {
                Plan::Rest => return Ok(None),
                Plan::Report(report) => return self.write_status(*report).await,
                Plan::RecordMove { name, version } => return self.record_move(&name, &version).await,
                Plan::ReadSecret(name) => {
                    let view = self.read_secret(&name).await;
                    (name, view)
                }
                Plan::CreateSecret { name, spec, replaces } => {
                    let Some(view) = self.create_secret(&name, spec, replaces, &observed).await.transpose() else {
                        return Ok(None);
                    };
                    (name, view)
                }
                Plan::UpdateSecret { name, version, moved_from } => {
                    let view = self.update_secret(&name, &version, moved_from.as_deref()).await;
                    (name, view)
                }
                Plan::CopySecret { from, to } => self.copy_secret(from, to).await,
                Plan::EndMove { name, version } => {
                    let view = self.end_move(&name, &version, &observed).await;
                    (name, view)
                }
                Plan::DeleteSecret(name) => {
                    let view = self.delete_secret(&name, &observed).await;
                    (name, view)
                }
                Plan::ReleaseSecret(name) => {
                    let view = self.release_secret(&name, &observed).await;
                    (name, view)
                }
            };
            let view = view.or_else(|error| self.told(error))?;
            observed.secrets.insert(name, view);
        }
        Err(Error::NoEnd)
    }

    /// What is told of a failure that does not pass; any other is tried again without a word.
    fn told(&self, error: Error) -> Result<SecretView, Error> {
        let persists = self.context.backoff.persists(&self.desired.uid, self.begun);
        error.about_secret().filter(|_| persists).map(SecretView::Failing).ok_or(error)
    }

    /// What is known without asking the API server, or about a pair that this one repeats and that is too large to be kept.
    async fn observe(&self) -> Result<Observed, Error> {
        let context = self.context;
        let status = self.key_pair.status.as_ref();
        let is_replay = status.is_some_and(KeyPairStatus::is_replay);
        let recorded = if is_replay { None } else { translate::facts(self.key_pair) };
        let noted = context.made.names(&self.desired.uid, &self.namespace);
        let wanted = &self.desired.parameters.secret.name;
        let secret_name = self.desired.secret_name(recorded.as_ref(), &noted).clone();
        let mut secrets: BTreeMap<String, SecretView> = noted
            .iter()
            .chain([wanted, &secret_name])
            .map(|name| {
                let cached = context.secret(&self.namespace, name);
                (name.clone(), SecretView::Unread(cached.map(|secret| secrets::cached(&secret, self.key_pair))))
            })
            .collect();
        let refused =
            status.and_then(|status| status.error.as_ref()).and_then(|error| Reason::from_name(&error.reason));
        // Another waits for the same Secret: a look is cheaper than a key generated for nothing.
        let is_taken = || context.secret_watches.is_waited_for(&self.namespace, &secret_name);
        let refused = refused.or_else(|| (recorded.is_none() && is_taken()).then_some(Reason::SecretConflict));
        let standing = context.view.index.with_ledger(&self.namespace, |ledger| ledger.standing(&self.desired.uid));
        let original = match standing {
            Some(Standing::Replay(name)) => self.original(&name).await?,
            _ => None,
        };
        // What others have is known without asking, as long as it is watched for whoever waits for it.
        for name in [secret_name.as_str(), wanted] {
            if let Some(foreign) = context.secret_watches.foreign(self.key_pair, name)
                && !matches!(secrets.get(name), Some(SecretView::Unread(Some(cached))) if cached.owned)
            {
                secrets.insert(name.to_owned(), SecretView::Read(foreign));
            }
        }
        Ok(Observed { recorded, original, noted, refused, secrets })
    }

    /// What is known of the pair of this name, which this one repeats.
    async fn original(&self, name: &str) -> Result<Option<Original>, Error> {
        let reference = ObjectRef::new(name).within(&self.namespace);
        Ok(match self.context.view.key_pairs.get(&reference) {
            None | Some(KeyPairEntry::Undecoded(_)) => None,
            Some(KeyPairEntry::Whole(original)) => translate::original(&original),
            Some(KeyPairEntry::Summary(_)) => {
                let _turn = self.context.reading.take(&self.namespace).await;
                read(&reference, self.context).await?.as_ref().and_then(translate::original)
            }
        })
    }
}

/// Does not send the request if this process may not write, and waits for its answer only as long as it may.
async fn in_time<T>(leadership: &Leadership, request: impl Future<Output = T>) -> Result<T, Error> {
    let remaining = leadership.remaining().ok_or(Error::NotLeading)?;
    let limit = REQUEST_TIMEOUT.min(remaining);
    let mut request = pin!(request);
    // A process that was suspended goes on with the request before it looks at the clock, unless it is asked first.
    let as_leader = poll_fn(|cx| match leadership.remaining() {
        Some(_) => request.as_mut().poll(cx).map(Ok),
        None => Poll::Ready(Err(Error::NotLeading)),
    });
    tokio::time::timeout(limit, as_leader).await.map_err(|_| Error::Timeout(limit))?
}
