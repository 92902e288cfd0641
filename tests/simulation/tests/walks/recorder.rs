//! The watch events of the cluster, by namespace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use keypair_simulation::server::ChangeKind;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;
use tokio::task::JoinSet;

/// The resources that the checks need.
pub const RESOURCES: [(&str, &str, &str, &str); 6] = [
    ("authorizedkeys", "keypairs.dev", "v1alpha1", "AuthorizedKeys"),
    ("configmaps", "", "v1", "ConfigMap"),
    ("keypairs", "keypairs.dev", "v1alpha1", "KeyPair"),
    ("knownhosts", "keypairs.dev", "v1alpha1", "KnownHosts"),
    ("secrets", "", "v1", "Secret"),
    ("namespaces", "", "v1", "Namespace"),
];

/// Whether Kubernetes creates an object of this name in every namespace.
pub fn is_of_every_namespace(resource: &str, object: &Value) -> bool {
    resource == "configmaps" && object["metadata"]["name"] == "kube-root-ca.crt"
}

/// A change of an object.
#[derive(Debug)]
pub struct Event {
    pub version: u64,
    pub kind: ChangeKind,
    pub resource: &'static str,
    /// The object after the change, or before it if it was deleted.
    pub object: Value,
    pub at: Instant,
    /// The time on the wall clock.
    pub clock: Timestamp,
}

type Events = BTreeMap<String, Vec<Arc<Event>>>;

/// Records watch events until it is dropped.
pub struct Recorder {
    events: Arc<Mutex<Events>>,
    _watches: JoinSet<()>,
}

impl Recorder {
    pub async fn start(client: &Client) -> Self {
        let events = Arc::<Mutex<Events>>::default();
        let mut watches = JoinSet::new();
        for (resource, group, version, kind) in RESOURCES {
            let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), resource);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let list = api.list(&ListParams::default().limit(1)).await.expect("the list succeeds");
            let version = list.metadata.resource_version.expect("a list has a resource version");
            watches.spawn(watch(api, resource, version, Arc::clone(&events)));
        }
        Self { events, _watches: watches }
    }

    /// The events in these namespaces so far, in order.
    pub fn of(&self, namespaces: &[String]) -> Vec<Arc<Event>> {
        let all = self.events.lock().unwrap();
        let mut events: Vec<_> =
            namespaces.iter().filter_map(|namespace| all.get(namespace)).flatten().cloned().collect();
        events.sort_by_key(|event| event.version);
        events
    }

    pub fn forget(&self, namespaces: &[String]) {
        let mut all = self.events.lock().unwrap();
        for namespace in namespaces {
            all.remove(namespace);
        }
    }
}

async fn watch(api: Api<DynamicObject>, resource: &'static str, mut version: String, events: Arc<Mutex<Events>>) {
    loop {
        let Ok(stream) = api.watch(&WatchParams::default().timeout(280), &version).await else { continue };
        let mut stream = stream.boxed();
        while let Some(Ok(event)) = stream.next().await {
            let (kind, object) = match event {
                WatchEvent::Added(object) => (ChangeKind::Created, object),
                WatchEvent::Modified(object) => (ChangeKind::Updated, object),
                WatchEvent::Deleted(object) => (ChangeKind::Deleted, object),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(error) => panic!("a gap in the record of {resource}: {error}"),
            };
            version = object.metadata.resource_version.clone().unwrap_or_default();
            let namespace = object.metadata.namespace.clone().or_else(|| object.metadata.name.clone());
            let mut object = serde_json::to_value(object).expect("the object can be serialized");
            if let Some(metadata) = object["metadata"].as_object_mut() {
                // Long, and no check needs it.
                metadata.remove("managedFields");
            }
            if is_of_every_namespace(resource, &object) {
                continue;
            }
            let (at, clock) = (Instant::now(), Timestamp::now());
            let event =
                Event { version: version.parse().expect("a numeric version"), kind, resource, object, at, clock };
            events.lock().unwrap().entry(namespace.unwrap_or_default()).or_default().push(Arc::new(event));
        }
    }
}
