//! Publications as a watch decodes them.

use std::borrow::Cow;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, runtime::watcher::Event};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::Undecoded;
use crate::{api::publication::PublicationResource, domain::publication::bounds::SPEC_MAX_BYTES};

/// A publication with only the metadata that the operator uses.
#[derive(Debug, Clone)]
pub struct WatchedPublication<K> {
    /// If it does not match the schema of this version, it has an empty spec.
    publication: K,
    is_decoded: bool,
}

impl<K: PublicationResource> WatchedPublication<K> {
    /// The same event, of publications that are to be published. One that does not match the schema of this version counts as deleted: it
    /// is left alone. One that is being deleted does not: its target stays as long as it does. `None`: nothing has happened.
    pub fn known(event: Event<Self>) -> Option<Event<K>> {
        Some(match event {
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
            Event::InitApply(watched) => Event::InitApply(watched.into_decoded()?),
            Event::Apply(watched) if watched.is_decoded => Event::Apply(watched.publication),
            Event::Apply(watched) | Event::Delete(watched) => Event::Delete(watched.publication),
        })
    }

    /// Whether it matches the schema of this version.
    #[must_use]
    pub fn is_decoded(&self) -> bool {
        self.is_decoded
    }

    fn into_decoded(self) -> Option<K> {
        if self.is_decoded { Some(self.publication) } else { None }
    }
}

impl<'de, K: PublicationResource> Deserialize<'de> for WatchedPublication<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Undecoded { metadata, spec, status } = Undecoded::deserialize(deserializer)?;
        let read = serde_json::from_value::<K>(json!({ "metadata": {}, "spec": spec, "status": status })).ok();
        let is_decoded = read.is_some();
        let publication = match read {
            Some(publication) => publication,
            None => serde_json::from_value(json!({ "metadata": {}, "spec": {} })).map_err(serde::de::Error::custom)?,
        };
        let mut watched = Self { publication, is_decoded };
        *watched.publication.meta_mut() = ObjectMeta::from(metadata);
        if watched.publication.is_too_large() {
            watched.publication.shorten();
            // The schema bounds the rest.
            watched.is_decoded &= watched.publication.spec_bytes() <= SPEC_MAX_BYTES;
        }
        Ok(watched)
    }
}

impl<K: PublicationResource> Resource for WatchedPublication<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.publication.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.publication.meta_mut()
    }
}
