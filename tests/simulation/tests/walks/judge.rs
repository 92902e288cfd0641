//! Applies the checks of the simulation to a history of a real cluster.
//!
//! The recording is replayed to the checks on a clock that jumps. For the final state, a simulated API server gets the objects of
//! the real one, so that a fresh operator can run against them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use keypair_simulation::{
    Server,
    history::History,
    oracle::{Guarantees, changes_of_a_fresh_operator, differences_from_an_empty_cluster, unsettled},
    replica,
    server::{Change, ChangeKind, Sightings, Snapshot},
    trace::Trace,
};
use serde_json::Value;

use crate::recorder::Event;

/// How long after the operator's last write it counts as quiet.
const QUIET: Duration = Duration::from_secs(3);
const USER: &str = "admin";
/// The garbage collector and the namespace controller.
const CONTROLLERS: &str = "system:kube-controller-manager";

/// The actions of users.
#[derive(Debug, Default, Clone)]
pub struct Deeds {
    /// Creates (`None`) and the bodies of patches, by the resource version in the answer. A patch that changes nothing returns the existing
    /// version, so a version may have several.
    pub written: BTreeMap<u64, Vec<Option<Value>>>,
    /// The UIDs of the objects that users have deleted.
    pub deleted: BTreeSet<String>,
}

/// Everything that is known about a history.
pub struct Case {
    pub history: History,
    pub begun: Instant,
    pub events: Vec<Arc<Event>>,
    pub deeds: Deeds,
    /// The current objects, with the plurals of their resources.
    pub objects: Vec<(&'static str, Value)>,
}

/// The result of the checks.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Broken guarantees: waiting does not help.
    pub broken: Vec<String>,
    /// What has not settled yet.
    pub unsettled: Vec<String>,
    pub trace: Vec<String>,
}

impl Case {
    /// Runs on the CPU for a moment, so it belongs on a blocking thread.
    pub fn judge(&self) -> Verdict {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("the runtime can be built").block_on(async {
            let (guarantees, trace) = (Guarantees::new(&self.history, Sightings::default()), Trace::new(true));
            let begun = tokio::time::Instant::now();
            let mut world = World::default();
            for event in &self.events {
                tokio::time::sleep_until(begun + event.at.saturating_duration_since(self.begun)).await;
                let change = world.change(event, &self.deeds);
                trace.change(&change);
                guarantees.see(&change);
            }
            tokio::time::sleep_until(begun + self.begun.elapsed()).await;
            let mut verdict = Verdict { broken: guarantees.violations(), unsettled: Vec::new(), trace: trace.lines() };
            verdict.unsettled = self.unsettled(&guarantees, &world).await;
            verdict
        })
    }

    async fn unsettled(&self, guarantees: &Guarantees, world: &World) -> Vec<String> {
        if !world.is_of(&self.objects) {
            return vec!["the record is not that of what there is".to_owned()];
        }
        let server = Server::new(self.history.seed);
        server.restore(&Snapshot::of(self.objects.iter().cloned()));
        // The objects have times of the real clock, by which a rotation is due or not.
        let behind = Timestamp::now().duration_since(server.now()).as_millis();
        server.jump(i64::try_from(behind).unwrap_or_default());
        let mut found = unsettled(&server, guarantees);
        if guarantees.last_write().is_some_and(|last| last.elapsed() < QUIET) {
            found.push("the operator still writes when nothing happens any more".to_owned());
        }
        let History { seed, setup, .. } = &self.history;
        if found.is_empty() {
            found = changes_of_a_fresh_operator(&server, setup, *seed, guarantees).await;
        }
        if found.is_empty() {
            found = differences_from_an_empty_cluster(&server, setup, *seed, guarantees).await;
        }
        found
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

type Key = (&'static str, String, String);

fn key(resource: &'static str, object: &Value) -> Key {
    (resource, text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned())
}

/// The objects after a part of the record.
#[derive(Default)]
struct World(BTreeMap<Key, Arc<Value>>);

impl World {
    fn change(&mut self, event: &Event, deeds: &Deeds) -> Change {
        let key = key(event.resource, &event.object);
        let object = Arc::new(event.object.clone());
        let before = self.0.get(&key).cloned();
        let user = self.user(event, before.as_deref(), deeds);
        let after = (event.kind != ChangeKind::Deleted).then_some(object);
        match &after {
            Some(after) => self.0.insert(key.clone(), Arc::clone(after)),
            None => self.0.remove(&key),
        };
        let (resource, namespace, name) = key;
        let (kind, version, clock) = (event.kind, event.version, event.clock);
        let at = tokio::time::Instant::now();
        Change { kind, resource, namespace, name, user, before, after, version, at, clock }
    }

    /// The user of a change, which a watch does not report.
    fn user(&self, event: &Event, before: Option<&Value>, deeds: &Deeds) -> String {
        let is_users = match event.kind {
            ChangeKind::Deleted => deeds.deleted.contains(text(&event.object, "/metadata/uid")),
            _ => deeds.written.get(&event.version).into_iter().flatten().any(|patch| {
                let changes = |patch: &Value| before.is_some_and(|before| merged(before, patch) != *before);
                patch.as_ref().is_none_or(changes)
            }),
        };
        if is_users || event.resource == "namespaces" {
            return USER.to_owned();
        }
        if event.kind == ChangeKind::Deleted && self.is_collected(&event.object) {
            return CONTROLLERS.to_owned();
        }
        replica::user(0)
    }

    /// Whether its owners no longer exist, or its namespace does not exist or is being deleted.
    fn is_collected(&self, object: &Value) -> bool {
        let uids: BTreeSet<&str> = self.0.values().map(|object| text(object, "/metadata/uid")).collect();
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let is_orphan = owners.is_some_and(|owners| owners.iter().all(|owner| !uids.contains(text(owner, "/uid"))));
        let namespace = self.0.get(&("namespaces", String::new(), text(object, "/metadata/namespace").to_owned()));
        is_orphan || namespace.is_none_or(|namespace| namespace.pointer("/metadata/deletionTimestamp").is_some())
    }

    /// Whether it equals the result of a list.
    fn is_of(&self, objects: &[(&'static str, Value)]) -> bool {
        let version = |object: &Value| text(object, "/metadata/resourceVersion").to_owned();
        let told: BTreeMap<Key, String> =
            objects.iter().map(|(resource, object)| (key(resource, object), version(object))).collect();
        told == self.0.iter().map(|(key, object)| (key.clone(), version(object))).collect()
    }
}

/// Applies a merge patch to an object.
fn merged(object: &Value, patch: &Value) -> Value {
    let Some(fields) = patch.as_object() else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        if value.is_null() {
            merged.remove(name);
        } else {
            let before = merged.get(name).cloned().unwrap_or_default();
            merged.insert(name.clone(), self::merged(&before, value));
        }
    }
    Value::Object(merged)
}
