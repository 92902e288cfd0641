//! Translation of publications to the domain, and of what a `KeyPair` offers to them.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    AuthorizedKeys, AuthorizedKeysEntry, AuthorizedKeysLayout, HostMarker, KeyOptionsSpec, KnownHosts, KnownHostsEntry,
    KnownHostsLayout, LabelRequirementSpec, LabelSelectorSpec, PublicationStatus, TargetObject, TargetSpec,
};
use crate::{
    api::{
        key_pair::KeyPair,
        status::{KeyPairStatus, KeyStatus, READY},
    },
    domain::{
        publication::{
            EntryParameters, KeyOptions, Layout, Marker, PublicationKind, PublicationParameters, PublishedKey,
            PublishedPair, SelectorParameters, TargetParameters, bounds::SPEC_MAX_BYTES,
        },
        reason::Reason,
        rotation::Phase,
    },
};

/// A custom resource that publishes public keys.
pub trait PublicationResource:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const KIND: PublicationKind;

    /// The spec as written.
    fn parameters(&self) -> PublicationParameters;

    /// The status.
    fn status(&self) -> Option<&PublicationStatus>;

    /// The size of the spec as JSON.
    fn spec_bytes(&self) -> usize;

    /// Drops the entries, as [`Self::shorten`] does.
    fn drop_entries(&mut self);

    /// Whether the spec is larger than [`SPEC_MAX_BYTES`], or was.
    fn is_too_large(&self) -> bool {
        self.annotations().contains_key(TOO_LARGE) || self.spec_bytes() > SPEC_MAX_BYTES
    }

    /// Drops the entries of a spec that is too large, and marks the object: it needs no memory, and what is wrong can still be reported.
    fn shorten(&mut self) {
        self.drop_entries();
        self.annotations_mut().insert(TOO_LARGE.to_owned(), String::new());
    }
}

/// Marks an object in memory whose spec was too large. The watches decode no annotation of this name.
const TOO_LARGE: &str = "keypairs.dev/spec-too-large";

fn json_bytes(spec: &impl Serialize) -> usize {
    serde_json::to_vec(spec).map_or(usize::MAX, |json| json.len())
}

impl PublicationResource for AuthorizedKeys {
    const KIND: PublicationKind = PublicationKind::AuthorizedKeys;

    fn parameters(&self) -> PublicationParameters {
        let is_too_large = self.is_too_large();
        PublicationParameters {
            kind: Self::KIND,
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
            entries: if is_too_large { Vec::new() } else { self.spec.entries.iter().map(login_entry).collect() },
            is_too_large,
            target: target(self.spec.target.as_ref()),
            layout: match self.spec.layout {
                AuthorizedKeysLayout::File => Layout::File,
                AuthorizedKeysLayout::EntryPerKey => Layout::EntryPerKey,
            },
            hash_hosts: false,
        }
    }

    fn status(&self) -> Option<&PublicationStatus> {
        self.status.as_ref()
    }

    fn spec_bytes(&self) -> usize {
        json_bytes(&self.spec)
    }

    fn drop_entries(&mut self) {
        self.spec.entries = Vec::new();
    }
}

impl PublicationResource for KnownHosts {
    const KIND: PublicationKind = PublicationKind::KnownHosts;

    fn parameters(&self) -> PublicationParameters {
        let is_too_large = self.is_too_large();
        PublicationParameters {
            kind: Self::KIND,
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
            entries: if is_too_large { Vec::new() } else { self.spec.entries.iter().map(host_entry).collect() },
            is_too_large,
            target: target(self.spec.target.as_ref()),
            layout: match self.spec.layout {
                KnownHostsLayout::File => Layout::File,
            },
            hash_hosts: self.spec.hash_hosts,
        }
    }

    fn status(&self) -> Option<&PublicationStatus> {
        self.status.as_ref()
    }

    fn spec_bytes(&self) -> usize {
        json_bytes(&self.spec)
    }

    fn drop_entries(&mut self) {
        self.spec.entries = Vec::new();
    }
}

fn login_entry(entry: &AuthorizedKeysEntry) -> EntryParameters {
    let AuthorizedKeysEntry { key_pair, selector, namespace, options } = entry.clone();
    EntryParameters {
        key_pair,
        selector: selector.map(self::selector),
        namespace,
        options: options.map(self::options).unwrap_or_default(),
        ..EntryParameters::default()
    }
}

fn host_entry(entry: &KnownHostsEntry) -> EntryParameters {
    let KnownHostsEntry { hosts, key_pair, selector, public_keys, namespace, marker } = entry.clone();
    EntryParameters {
        key_pair,
        selector: selector.map(self::selector),
        public_keys,
        namespace,
        hosts,
        marker: marker.map(|marker| match marker {
            HostMarker::CertAuthority => Marker::CertAuthority,
            HostMarker::Revoked => Marker::Revoked,
        }),
        ..EntryParameters::default()
    }
}

fn selector(selector: LabelSelectorSpec) -> SelectorParameters {
    let LabelSelectorSpec { match_labels, match_expressions } = selector;
    let expression = |it: LabelRequirementSpec| (it.key, it.operator, it.values);
    SelectorParameters { match_labels, match_expressions: match_expressions.into_iter().map(expression).collect() }
}

fn options(options: KeyOptionsSpec) -> KeyOptions {
    let KeyOptionsSpec {
        restrict,
        from,
        command,
        environment,
        expiry_time,
        principals,
        cert_authority,
        permit_open,
        permit_listen,
        tunnel,
        agent_forwarding,
        port_forwarding,
        pty,
        user_rc,
        x11_forwarding,
        no_touch_required,
        verify_required,
    } = options;
    KeyOptions {
        restrict,
        from,
        command,
        environment,
        expiry_time,
        principals,
        cert_authority,
        permit_open,
        permit_listen,
        tunnel,
        agent_forwarding,
        port_forwarding,
        pty,
        user_rc,
        x11_forwarding,
        no_touch_required,
        verify_required,
    }
}

fn target(target: Option<&TargetSpec>) -> TargetParameters {
    let TargetSpec { config_map, secret } = target.cloned().unwrap_or_default();
    let names = |TargetObject { name, key }: TargetObject| (name, key);
    TargetParameters { config_map: config_map.map(names), secret: secret.map(names) }
}

/// What `key_pair` offers to publications; `None` if it is not accepted, or is being deleted.
///
/// A pair whose Secret has a problem keeps its public key, so the key stays published. A replay offers nothing: the original does.
#[must_use]
pub fn published_pair(key_pair: &KeyPair) -> Option<PublishedPair> {
    let status = key_pair.status.as_ref()?;
    let is_published = status.is_acceptance() && key_pair.metadata.deletion_timestamp.is_none() && keeps_keys(status);
    let keys = is_published.then(|| published_keys(status))?;
    (!keys.is_empty()).then(|| PublishedPair {
        namespace: key_pair.namespace().unwrap_or_default().into(),
        name: key_pair.name_any().into(),
        keys,
    })
}

/// Whether the pair is Ready, or only something other than its spec prevents that.
fn keeps_keys(status: &KeyPairStatus) -> bool {
    let Some(ready) = status.condition(READY) else { return false };
    match ready.status.as_str() {
        "True" => true,
        "False" => matches!(
            Reason::from_name(&ready.reason),
            Some(Reason::SecretConflict | Reason::PrivateKeyLost | Reason::PrivateKeyMismatch | Reason::InternalError)
        ),
        _ => false,
    }
}

/// The keys of the pair, in the order of their revisions. The lines were parsed when the pair was accepted; to parse them again would
/// cost too much for every event of every pair.
fn published_keys(status: &KeyPairStatus) -> Vec<PublishedKey> {
    let revision = |number: i64| u32::try_from(number).ok();
    let of_phase = |key: &KeyStatus| PublishedKey::from_line(revision(key.revision)?, &key.public_key);
    let mut keys: Vec<PublishedKey> = status.keys.iter().take(Phase::ALL.len()).filter_map(of_phase).collect();
    if keys.is_empty() {
        let only = status.revision.and_then(revision).unwrap_or(1);
        keys.extend(status.public_key.as_deref().and_then(|line| PublishedKey::from_line(only, line)));
    }
    keys.sort_by_key(|key| key.revision);
    keys
}

/// The namespaces that `key_pair` is shared with; `*` stands for every namespace.
#[must_use]
pub fn share_with(key_pair: &KeyPair) -> &[String] {
    &key_pair.spec.share_with
}
