//! The watches of the metadata of our Secrets.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::PartialObjectMeta,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use super::publications::apply_target;
use crate::{
    api::{
        KeyPair,
        secret::{KEYPAIR_UID_LABEL, OPERATOR, key_pair_name, key_pair_uid},
    },
    cache::{
        store::CompressedStore,
        stream::{log_failure, on_watch_success, watch_config, watch_events},
        watched::WatchedSecret,
    },
    controller::{api_in, context::Context, queue::Trigger},
    domain::{publication::TargetKind, secret::MANAGED_BY_LABEL},
};

/// The part of our Secrets that a watch selects. Each Secret is in exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSelector {
    /// Secrets whose `managed-by` label names this operator.
    Labelled,
    /// Secrets whose `managed-by` label belongs to another tool, and which carry the operator's UID label instead.
    Relabelled,
}

impl SecretSelector {
    const fn name(self) -> &'static str {
        match self {
            Self::Labelled => "Secrets",
            Self::Relabelled => "RelabelledSecrets",
        }
    }

    fn label_selector(self) -> String {
        match self {
            Self::Labelled => format!("{MANAGED_BY_LABEL}={OPERATOR}"),
            Self::Relabelled => format!("{KEYPAIR_UID_LABEL},{MANAGED_BY_LABEL}!={OPERATOR}"),
        }
    }

    fn store(self, context: &Context) -> &CompressedStore<PartialObjectMeta<Secret>> {
        match self {
            Self::Labelled => &context.secrets,
            Self::Relabelled => &context.relabelled,
        }
    }
}

/// Watches the metadata of our Secrets.
pub fn secrets(
    namespace: Option<&str>,
    context: Arc<Context>,
    selector: SecretSelector,
) -> impl Stream<Item = Trigger> + Send + use<> {
    let (metrics, success_metrics) = (Arc::clone(&context.metrics), Arc::clone(&context.metrics));
    let client = on_watch_success(&context.client, move || success_metrics.record_watch(selector.name(), true));
    let api: Api<WatchedSecret> = api_in(&client, namespace);
    watch_events(api, watch_config().labels(&selector.label_selector()), context.randomness)
        .map_ok(|event| convert(event, PartialObjectMeta::from))
        .filter_map(move |event| std::future::ready(log_failure(selector.name(), event, &metrics)))
        .flat_map(move |event| {
            let store = selector.store(&context);
            let mut publications = match selector {
                SecretSelector::Labelled => apply_target(TargetKind::Secret, &event, &context),
                SecretSelector::Relabelled => Vec::new(),
            };
            // A Secret may be handed over to another KeyPair. Then its previous KeyPair is reconciled, too.
            let before = match &event {
                Event::Apply(secret) => store.get(&ObjectRef::from_obj(secret)),
                _ => None,
            };
            if let (Some(secret), Event::Apply(now)) = (&before, &event)
                && key_pair_uid(now) != key_pair_uid(secret)
            {
                forget_created_secret(&context, secret);
            }
            let before = before.and_then(|secret| key_pair_of(&secret));
            let gone = store.apply(&event);
            for secret in &gone {
                // If only its label changed, the Secret is in the other store, or is about to be.
                if context.secret(&secret.namespace().unwrap_or_default(), &secret.name_any()).is_none() {
                    forget_created_secret(&context, secret);
                }
            }
            let mut triggers: Vec<Trigger> = match event {
                Event::Apply(secret) => {
                    record_created_secret(&context, &secret);
                    let now = key_pair_of(&secret);
                    let before = before.filter(|before| now.as_ref() != Some(before));
                    now.into_iter().chain(before).map(Trigger::from).collect()
                }
                Event::InitDone => {
                    store.for_each(|secret| record_created_secret(&context, &secret));
                    vec![Trigger::All]
                }
                _ => gone.iter().filter_map(key_pair_of).map(Trigger::from).collect(),
            };
            triggers.append(&mut publications);
            stream::iter(triggers)
        })
}

/// Records the `KeyPair` for which a Secret was created, according to its annotation.
fn record_created_secret(context: &Context, secret: &PartialObjectMeta<Secret>) {
    if let Some(uid) = key_pair_uid(secret) {
        context.created_secrets.record(uid, &secret.namespace().unwrap_or_default(), &secret.name_any());
    }
}

/// Removes the record of [`record_created_secret`].
fn forget_created_secret(context: &Context, secret: &PartialObjectMeta<Secret>) {
    if let Some(uid) = key_pair_uid(secret) {
        context.created_secrets.forget(uid, &secret.namespace().unwrap_or_default(), &secret.name_any());
    }
}

/// The `KeyPair` to which a Secret belongs.
fn key_pair_of(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<KeyPair>> {
    Some(ObjectRef::new(key_pair_name(secret)?).within(&secret.namespace()?))
}

/// Converts the object of an event.
fn convert<A, B>(event: Event<A>, into: impl FnOnce(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(into(object)),
        Event::Delete(object) => Event::Delete(into(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(into(object)),
        Event::InitDone => Event::InitDone,
    }
}
