//! The reconciler: observe, decide, apply.

mod report;

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use tracing::{Instrument, field::Empty};

use super::{
    answer::Answer,
    context::Context,
    error::Error,
    leadership::Leadership,
    secrets::{self, Content, RequestError},
    store::KeyPairEntry,
    watched::WatchedKeyPair,
};
use crate::{
    api::{KeyPair, KeyPairStatus, translate},
    domain::{
        decide::{Belongs, Desired, Facts, Observed, Plan, ReadSecret, SecretView, decide},
        key::{KeySpec, PrivateKey},
        ledger::Standing,
        reason::Reason,
    },
};

/// How long one request to the API server may take: the client has no limit of its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The steps that any object needs are fewer; more would mean that two steps undo each other.
const MAX_STEPS: usize = 8;

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
            match plan {
                Plan::Rest => return Ok(None),
                Plan::ReadSecret(name) => {
                    let view = self.read_secret(&name).await?;
                    self.note(&mut observed, &name, view);
                }
                Plan::CreateSecret { name, spec, replaces } => {
                    let Some(view) = self.create_secret(&name, spec, replaces, &observed).await? else {
                        return Ok(None);
                    };
                    self.note(&mut observed, &name, view);
                }
                Plan::UpdateSecret { name, version } => {
                    let view = self.update_secret(&name, &version).await?;
                    self.note(&mut observed, &name, view);
                }
                Plan::CopySecret { from, to } => {
                    let (place, view) = self.copy_secret(from, to).await?;
                    self.note(&mut observed, &place, view);
                }
                Plan::DeleteSecret(name) => {
                    self.delete_secret(&name, &observed).await?;
                    self.note(&mut observed, &name, SecretView::Absent);
                }
                Plan::ReleaseSecret(name) => {
                    let view = self.release_secret(&name, &observed).await?;
                    self.note(&mut observed, &name, view);
                }
                Plan::Report(report) => return self.write_status(*report).await,
            }
        }
        Err(Error::NoEnd)
    }

    /// What is known without asking the API server, or about a pair that this one repeats and that is too large to be kept.
    async fn observe(&self) -> Result<Observed, Error> {
        let context = self.context;
        let status = self.key_pair.status.as_ref();
        let is_replay = status.is_some_and(KeyPairStatus::is_replay);
        let recorded = if is_replay { None } else { translate::facts(self.key_pair) };
        let wanted = &self.desired.parameters.secret.name;
        let is_somewhere = recorded.as_ref().is_some_and(|facts| facts.secret_name.is_some());
        let left = if !is_somewhere && !self.desired.parameters.is_import() {
            context.made.elsewhere(&self.desired.uid, &self.namespace, wanted)
        } else {
            None
        };
        let secret_name = self.desired.secret_name(recorded.as_ref(), left.as_ref());
        let cached = context
            .secrets
            .get(&ObjectRef::new(secret_name).within(&self.namespace))
            .map(|secret| secrets::cached(&secret, self.key_pair));
        let refused =
            status.and_then(|status| status.error.as_ref()).and_then(|error| Reason::from_name(&error.reason));
        // Another waits for the same Secret: a look is cheaper than a key generated for nothing.
        let is_taken = || context.secret_watches.is_waited_for(&self.namespace, secret_name);
        let refused = refused.or_else(|| (recorded.is_none() && is_taken()).then_some(Reason::SecretConflict));
        let standing = context.view.index.with_ledger(&self.namespace, |ledger| ledger.standing(&self.desired.uid));
        let original = match standing {
            Some(Standing::Replay(name)) => self.original(&name).await?,
            _ => None,
        };
        // What others have is known without asking, as long as it is watched for whoever waits for it.
        let foreign = context.secret_watches.foreign(self.key_pair, secret_name);
        let foreign = foreign.filter(|_| cached.as_ref().is_none_or(|cached| !cached.owned));
        let secret = foreign.map_or(SecretView::Unread(cached), SecretView::Read);
        Ok(Observed { recorded, original, left, refused, secret, target: SecretView::Unread(None) })
    }

    /// The facts of the pair of this name, which this one repeats.
    async fn original(&self, name: &str) -> Result<Option<Facts>, Error> {
        let reference = ObjectRef::new(name).within(&self.namespace);
        Ok(match self.context.view.key_pairs.get(&reference) {
            None | Some(KeyPairEntry::Undecoded(_)) => None,
            Some(KeyPairEntry::Whole(original)) => translate::facts(&original),
            Some(KeyPairEntry::Summary(_)) => {
                let _turn = self.context.reading.take(&self.namespace).await;
                read(&reference, self.context).await?.as_ref().and_then(translate::facts)
            }
        })
    }

    /// Takes down what has been learned of the Secret of this name.
    fn note(&self, observed: &mut Observed, name: &str, view: SecretView) {
        if self.desired.secret_name(observed.recorded.as_ref(), observed.left.as_ref()) == name {
            observed.secret = view;
        } else {
            observed.target = view;
        }
    }

    async fn in_time<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        in_time(&self.context.leadership, request).await
    }

    /// The same with an answer that may be large, of which only so many are in memory at once.
    async fn in_turn<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        let _turn = self.context.reading.take(&self.namespace).await;
        self.in_time(request).await
    }

    async fn read_secret(&self, name: &str) -> Result<SecretView, Error> {
        let settings = &self.desired.parameters.secret;
        let read = self.in_turn(secrets::read(&self.context.client, self.key_pair, name, settings)).await?;
        viewed(read).map_err(Error::ReadSecret)
    }

    async fn update_secret(&self, name: &str, version: &str) -> Result<SecretView, Error> {
        let settings = &self.desired.parameters.secret;
        let update = secrets::update(&self.context.client, self.key_pair, name, settings, version);
        viewed(self.in_turn(update).await?).map_err(Error::UpdateSecret)
    }

    async fn release_secret(&self, name: &str, observed: &Observed) -> Result<SecretView, Error> {
        let SecretView::Read(ReadSecret { version, .. }) = &observed.secret else { return Ok(observed.secret.clone()) };
        let settings = &self.desired.parameters.secret;
        let release = secrets::release(&self.context.client, self.key_pair, name, settings, version);
        let released = viewed(self.in_turn(release).await?).map_err(Error::UpdateSecret)?;
        self.context.made.forget(&self.desired.uid, &self.namespace, name);
        Ok(released)
    }

    /// Creates the Secret `to` with the key in the Secret `from`. Answers with the Secret of which something new is known.
    async fn copy_secret(&self, from: String, to: String) -> Result<(String, SecretView), Error> {
        let settings = &self.desired.parameters.secret;
        let key = self.in_turn(secrets::private_key(&self.context.client, self.key_pair, &from, settings)).await?;
        let Some(key) = key.map_err(Error::ReadSecret)? else {
            let view = self.read_secret(&from).await?;
            return Ok((from, view));
        };
        let view = self.post_key(&to, &key, None).await?;
        Ok((to, view))
    }

    async fn delete_secret(&self, name: &str, observed: &Observed) -> Result<(), Error> {
        let SecretView::Read(ReadSecret { version, .. }) = &observed.secret else { return Ok(()) };
        let delete = secrets::delete(&self.context.client, self.key_pair, name, version);
        self.in_time(delete).await?.map_err(Error::DeleteSecret)
    }

    /// Creates the Secret with a key pair that is generated for it; where there is one of that name already, reads that instead.
    /// `None`: the key is being generated, or the `KeyPair` is no longer what it was, and either brings us back.
    async fn create_secret(
        &self,
        name: &str,
        spec: KeySpec,
        replaces: Option<String>,
        observed: &Observed,
    ) -> Result<Option<SecretView>, Error> {
        let keys = &self.context.keys;
        let uid = self.desired.uid.as_str();
        let mut private_key = keys.fetch(uid, spec);
        if private_key.is_none() {
            // What was refused before may be refused again: that is found out before a key is generated for nothing.
            if matches!(observed.refused, Some(Reason::InvalidSecret | Reason::InternalError)) {
                let rehearsal = self.post_secret(name, &Content::placeholder(), true).await?;
                if let Err(instead) = rehearsal {
                    return Ok(Some(instead));
                }
            }
            if !self.context.is_current(self.key_pair) {
                return Ok(None);
            }
            private_key = keys.begin(&ObjectRef::from_obj(self.key_pair), uid, spec);
        }
        let Some(private_key) = private_key else { return Ok(None) };
        self.post_key(name, &private_key?, replaces).await.map(Some)
    }

    /// Creates the Secret with this key; where there is one of that name already, reads that instead.
    async fn post_key(&self, name: &str, key: &PrivateKey, replaces: Option<String>) -> Result<SecretView, Error> {
        let public_key = key.public_key(secrets::NO_COMMENT)?;
        let encoding = self.desired.parameters.secret.encoding;
        let content = Content::new(key, &public_key, encoding)?.replacing(replaces.clone());
        let (version, in_sight) = match self.post_secret(name, &content, false).await? {
            Ok(created) => created,
            Err(instead) => return Ok(instead),
        };
        Ok(SecretView::Read(ReadSecret {
            belongs: Belongs::Ours,
            adopted: false,
            in_sight,
            obstacle: None,
            public_key: Some(public_key),
            up_to_date: true,
            type_fits: true,
            replaces,
            version,
        }))
    }

    /// Creates the Secret, and says which version it is and whether it is in sight, or what is known instead where it could not be
    /// created.
    async fn post_secret(
        &self,
        name: &str,
        content: &Content,
        dry_run: bool,
    ) -> Result<Result<(String, bool), SecretView>, Error> {
        let settings = &self.desired.parameters.secret;
        let made = &self.context.made;
        // Where an earlier answer did not come, the Secret may be there.
        let in_doubt = made.is_noted(&self.desired.uid, &self.namespace, name);
        if !dry_run {
            // Noted before: should the answer not come, the next try may want another name.
            made.note(&self.desired.uid, &self.namespace, name);
        }
        let create = secrets::create(&self.context.client, self.key_pair, name, settings, content, dry_run);
        let instead = match self.in_time(create).await? {
            Ok(created) => return Ok(Ok(created)),
            Err(RequestError::Kube(kube::Error::Api(status))) if status.is_already_exists() => {
                self.read_secret(name).await?
            }
            Err(error) => {
                let refusal = refused(error).map_err(Error::CreateSecret)?;
                let found = if in_doubt { self.read_secret(name).await? } else { SecretView::Absent };
                if found == SecretView::Absent {
                    made.forget(&self.desired.uid, &self.namespace, name);
                    refusal
                } else {
                    found
                }
            }
        };
        if matches!(&instead, SecretView::Read(secret) if secret.belongs != Belongs::Ours) {
            made.forget(&self.desired.uid, &self.namespace, name);
        }
        Ok(Err(instead))
    }
}

/// What a request about a Secret tells of it.
fn viewed(answer: Result<Option<ReadSecret>, RequestError>) -> Result<SecretView, RequestError> {
    match answer {
        Ok(Some(secret)) => Ok(SecretView::Read(secret)),
        Ok(None) => Ok(SecretView::Absent),
        Err(error) => refused(error),
    }
}

/// What an answer of the API server says about the Secret, if it is one that a person has to act on.
fn refused(error: RequestError) -> Result<SecretView, RequestError> {
    match error {
        RequestError::Kube(kube::Error::Api(status)) if status.is_invalid() => {
            Ok(SecretView::Invalid(Answer::of(&status).to_string()))
        }
        // Conflicts, timeouts and overload pass by themselves.
        RequestError::Kube(kube::Error::Api(status))
            if (400..500).contains(&status.code) && ![408, 409, 429].contains(&status.code) =>
        {
            Ok(SecretView::Forbidden(Answer::of(&status).to_string()))
        }
        error => Err(error),
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
