//! The guarantees of AuthorizedKeys and KnownHosts: no key stays that must not, none appears that was never accepted, foreign objects are
//! not modified, and rotations wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{Checker, MAX_DELAY, MAX_DELAY_WITH_FAULTS, NamespacedName};
use crate::{
    oracle::{
        facts::{is_operator, name, namespace, owners, text, uid},
        publication::{KINDS, keys_in, literal_keys, published_keys, selects, target_of, wanted},
    },
    server::Change,
};

/// The longest time that a key stays in a target after its pair was deleted, refused, unshared or unlabelled, without faults.
const MAX_STAY: Duration = Duration::from_secs(5);

/// The plural, namespace and name of an object.
type Place = (&'static str, String, String);

/// What is known about publications.
#[derive(Default)]
pub(super) struct PublicationRecord {
    publications: BTreeMap<Place, Arc<Value>>,
    config_maps: BTreeMap<NamespacedName, Arc<Value>>,
    /// The UIDs of all publications so far.
    uids: BTreeSet<String>,
    /// The UIDs of the pairs that have ever offered a key.
    offered: BTreeMap<String, BTreeSet<String>>,
    /// The namespaces in which a pair may be published: its own, and all with which it was ever shared. By UID.
    visible: BTreeMap<String, BTreeSet<String>>,
    /// The literal keys that publications have ever had, by UID.
    literal: BTreeMap<String, BTreeSet<String>>,
    /// Since when a target has a key that it must not have.
    obsolete: BTreeMap<(Place, String), Instant>,
    /// When a publication, the pairs that it might select, or its target was last changed, other than by the operator. By UID.
    disturbed: BTreeMap<String, Instant>,
}

impl PublicationRecord {
    /// Starts over with the current objects after a restore. What was ever accepted or shared still counts.
    pub(super) fn restored(&mut self, objects: impl IntoIterator<Item = (&'static str, Value)>) {
        self.publications.clear();
        self.config_maps.clear();
        self.obsolete.clear();
        for (resource, object) in objects {
            let (namespace, name) = (namespace(&object).to_owned(), name(&object).to_owned());
            let object = Arc::new(object);
            if resource == "configmaps" {
                self.config_maps.insert((namespace, name), object);
            } else {
                self.record_publication(&object);
                self.publications.insert((resource, namespace, name), object);
            }
        }
    }

    fn record_publication(&mut self, publication: &Value) {
        self.uids.insert(uid(publication).to_owned());
        self.literal.entry(uid(publication).to_owned()).or_default().extend(literal_keys(publication));
    }

    /// Records what a `KeyPair` offers, and to whom.
    pub(super) fn record_key_pair(&mut self, key_pair: &Value) {
        let of = uid(key_pair);
        for (_, key) in published_keys(key_pair) {
            self.offered.entry(key).or_default().insert(of.to_owned());
        }
        let shared = key_pair.pointer("/spec/shareWith").and_then(Value::as_array).into_iter().flatten();
        let shared = shared.filter_map(Value::as_str).chain([namespace(key_pair)]).map(str::to_owned);
        self.visible.entry(of.to_owned()).or_default().extend(shared);
    }

    /// Whether an object belongs to a publication that exists or existed.
    pub(super) fn owns(&self, object: &Value) -> bool {
        owners(object).any(|owner| self.uids.contains(owner))
    }

    /// Whether a target may have this key: it is or was offered to its namespace, or is or was written in its publication.
    fn may_have(&self, target: &Value, key: &str) -> bool {
        let is_literal = owners(target).any(|owner| self.literal.get(owner).is_some_and(|keys| keys.contains(key)));
        let is_visible = |of: &String| {
            let visible = self.visible.get(of);
            visible.is_some_and(|visible| visible.contains(namespace(target)) || visible.contains("*"))
        };
        is_literal || self.offered.get(key).into_iter().flatten().any(is_visible)
    }

    fn disturb(&mut self, uids: impl Iterator<Item = String>) {
        self.disturbed.extend(uids.map(|uid| (uid, Instant::now())));
    }
}

impl Checker {
    /// Observes a change that may concern publications.
    pub(super) fn publications(&mut self, change: &Change) {
        let place = (change.resource, change.namespace.clone(), change.name.clone());
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        let is_target = matches!(change.resource, "configmaps" | "secrets");
        match change.resource {
            kind if KINDS.contains(&kind) => {
                self.check_no_private_key(change);
                let spec = |object: Option<&Value>| object.and_then(|object| object.get("spec")).cloned();
                if spec(before) != spec(after) {
                    self.published.disturb(after.into_iter().map(|after| uid(after).to_owned()));
                }
                if let Some(after) = after {
                    self.published.record_publication(after);
                }
                match &change.after {
                    Some(after) => self.published.publications.insert(place.clone(), Arc::clone(after)),
                    None => self.published.publications.remove(&place),
                };
            }
            "keypairs" => {
                if let Some(after) = after {
                    self.published.record_key_pair(after);
                }
                let selected_by = |object: Option<&Value>| {
                    let field = |pointer: &str| object.and_then(|object| object.pointer(pointer)).cloned();
                    (field("/metadata/labels"), field("/spec/shareWith"))
                };
                if selected_by(before) != selected_by(after) {
                    let all: Vec<String> = self.published.publications.values().map(|of| uid(of).to_owned()).collect();
                    self.published.disturb(all.into_iter());
                }
            }
            "configmaps" => {
                let place = (change.namespace.clone(), change.name.clone());
                match &change.after {
                    Some(after) => self.published.config_maps.insert(place, Arc::clone(after)),
                    None => self.published.config_maps.remove(&place),
                };
                self.check_no_private_key(change);
            }
            "secrets" => {}
            _ => return,
        }
        if is_target && is_operator(&change.user) {
            self.check_target_write(change);
        } else if is_target {
            let owned = before.into_iter().chain(after).flat_map(owners).map(str::to_owned);
            self.published.disturb(owned.collect::<Vec<_>>().into_iter());
        }
        self.check_obsolete_keys();
    }

    fn check_target_write(&mut self, change: &Change) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        let at = format!("{} {}/{}", change.resource, change.namespace, change.name);
        if change.resource == "configmaps" {
            if before.is_some_and(|before| !self.published.owns(before)) && !self.is_restored {
                self.violated(&format!("{at}: a foreign ConfigMap was changed"));
            }
            if before.is_none() && after.is_some_and(|after| !self.published.owns(after)) {
                self.violated(&format!("{at}: a ConfigMap of no publication was created"));
            }
        }
        let Some(after) = after.filter(|after| self.published.owns(after)) else { return };
        for key in keys_in(after).into_iter().filter(|key| !self.published.may_have(after, key)).collect::<Vec<_>>() {
            self.violated(&format!("{at}: publishes a key that was never accepted and shared with it: {key}"));
        }
    }

    /// The targets of a publication, former ones included.
    fn targets_of(&self, publication: &Value) -> Vec<(Place, Arc<Value>)> {
        let place = |plural, of: &NamespacedName| (plural, of.0.clone(), of.1.clone());
        let config_maps = self.published.config_maps.iter().map(|(of, object)| (place("configmaps", of), object));
        let secrets = self.secrets.iter().map(|(of, object)| (place("secrets", of), object));
        let is_owned = |(_, object): &(Place, &Arc<Value>)| {
            namespace(object) == namespace(publication) && owners(object).any(|owner| owner == uid(publication))
        };
        config_maps.chain(secrets).filter(is_owned).map(|(place, object)| (place, Arc::clone(object))).collect()
    }

    /// A key that must not be published any more is gone from every target within [`MAX_STAY`].
    fn check_obsolete_keys(&mut self) {
        if self.published.publications.is_empty() && self.published.obsolete.is_empty() {
            return;
        }
        let key_pairs: Vec<&Value> = self.key_pairs.values().map(AsRef::as_ref).collect();
        let (mut now_obsolete, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for publication in self.published.publications.values() {
            if publication.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
                continue;
            }
            let wanted = wanted(publication, &key_pairs);
            let wanted = wanted.keys();
            for (place, target) in self.targets_of(publication) {
                let there = keys_in(&target);
                let before = self.published.obsolete.keys().filter(|(of, _)| *of == place);
                gone.extend(before.filter(|(_, key)| !there.contains(key)).cloned());
                if target.get("immutable") != Some(&Value::Bool(true)) {
                    let obsolete = there.into_iter().filter(|key| !wanted.contains(key.as_str()));
                    now_obsolete.extend(obsolete.map(|key| (place.clone(), key)));
                }
            }
        }
        let mut found = Vec::new();
        self.published.obsolete.retain(|obsolete, since| {
            if gone.contains(obsolete) && since.elapsed() > MAX_STAY {
                found.push((obsolete.clone(), since.elapsed()));
            }
            now_obsolete.contains(obsolete)
        });
        for obsolete in now_obsolete {
            self.published.obsolete.entry(obsolete).or_insert_with(Instant::now);
        }
        if self.has_faults {
            return;
        }
        for (((resource, namespace, name), key), elapsed) in found {
            self.violated(&format!(
                "{resource} {namespace}/{name}: a key stayed for {elapsed:?} that must not be published: {key}"
            ));
        }
    }

    /// The publications that select the `KeyPair` with this UID and have not this key, if they should: each that selects it for longer than
    /// a decision takes to arrive.
    pub(super) fn lacking(&self, of: &str, fingerprint: &str) -> Vec<String> {
        let key_pairs: Vec<&Value> = self.key_pairs.values().map(AsRef::as_ref).collect();
        let Some(key_pair) = key_pairs.iter().find(|key_pair| uid(key_pair) == of) else { return Vec::new() };
        let keys = key_pair.pointer("/status/keys").and_then(Value::as_array).into_iter().flatten();
        let mut keys = keys.filter(|key| text(key, "/fingerprints/sha256") == Some(fingerprint));
        let line = keys.next().and_then(|key| text(key, "/publicKey")).unwrap_or_default();
        let key = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let delay = if self.is_held_up { MAX_DELAY_WITH_FAULTS } else { MAX_DELAY };
        let is_calm = |publication: &Value| {
            self.published.disturbed.get(uid(publication)).is_none_or(|disturbed| disturbed.elapsed() > delay)
        };
        let lacks = |publication: &&Arc<Value>| {
            let (plural, name, _) = target_of(publication);
            let mut targets = self.targets_of(publication).into_iter();
            let has = targets
                .any(|(place, target)| (place.0, &*place.2) == (plural, name) && keys_in(&target).contains(&key));
            !has && is_calm(publication) && selects(publication, key_pair, &key_pairs)
        };
        let all = self.published.publications.values().filter(lacks);
        all.map(|publication| format!("{}/{}", namespace(publication), name(publication))).collect()
    }
}
