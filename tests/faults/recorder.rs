//! Watches the invariants that hold at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt as _,
    api::DynamicObject,
    runtime::watcher::{self, Event, watcher},
};
use tokio::task::JoinSet;

use super::{
    keys::digest,
    stage::{KEYPAIR_UID_ANNOTATION, key_pairs, secrets},
};

/// The revision of the current key, after the first rotation.
pub const REVISION_ANNOTATION: &str = "keypairs.dev/revision";

/// The parts of the status that change only with a rotation while a pair is accepted.
#[derive(Clone, PartialEq, Eq)]
struct Accepted {
    name: String,
    id: String,
    fingerprint: String,
}

/// What was seen so far in one namespace.
#[derive(Default)]
struct Seen {
    /// The existing accepted pairs, by UID.
    accepted: BTreeMap<String, Accepted>,
    /// All pairs that were ever accepted, by UID.
    ever: BTreeMap<String, Accepted>,
    /// The last private key seen for each KeyPair, by UID.
    keys: BTreeMap<String, Key>,
    /// Deleted KeyPairs, with the resource version of the deletion, or 0 if a broken watch missed it.
    deleted: BTreeMap<String, u64>,
    /// Keys that replaced an earlier one of the same UID.
    second: Vec<(String, Key, Key)>,
    /// The digests of the keys that were seen as the next one of a rotation.
    next: BTreeSet<String>,
    /// The fingerprints that a status showed as that of the next key.
    published: BTreeSet<String>,
    listed: BTreeSet<String>,
    /// Every KeyPair that was seen.
    known: BTreeSet<String>,
    most: usize,
    events: usize,
}

/// A private key in a Secret.
#[derive(Debug, Clone)]
struct Key {
    digest: String,
    secret: String,
    /// The resource version of the Secret.
    version: u64,
}

/// The watches of a run.
pub struct Recorder {
    violations: Arc<Mutex<Vec<String>>>,
    seen: Vec<Arc<Mutex<Seen>>>,
    _watches: JoinSet<()>,
}

impl Recorder {
    pub fn start(client: &Client, namespaces: &[String], quota: usize) -> Self {
        let violations = Arc::new(Mutex::new(Vec::new()));
        let mut watches = JoinSet::new();
        let mut all = Vec::new();
        for namespace in namespaces {
            let seen = Arc::new(Mutex::new(Seen::default()));
            all.push(Arc::clone(&seen));
            let api = key_pairs(client, namespace);
            let (found, state, name) = (Arc::clone(&violations), Arc::clone(&seen), namespace.clone());
            watches.spawn(async move {
                let mut events = pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    if let Ok(event) = event {
                        let new = state.lock().unwrap().key_pair(event, quota);
                        found.lock().unwrap().extend(new.into_iter().map(|text| format!("{name}: {text}")));
                    }
                }
            });
            let api = secrets(client, namespace);
            let (found, state, name) = (Arc::clone(&violations), seen, namespace.clone());
            watches.spawn(async move {
                let mut events = pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    let (secret, is_listed) = match event {
                        Ok(Event::Apply(secret)) => (secret, false),
                        Ok(Event::InitApply(secret)) => (secret, true),
                        _ => continue,
                    };
                    let new = state.lock().unwrap().secret(&secret, is_listed);
                    found.lock().unwrap().extend(new.into_iter().map(|text| format!("{name}: {text}")));
                }
            });
        }
        Self { violations, seen: all, _watches: watches }
    }

    /// The violations that were seen.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.violations.lock().unwrap().clone();
        for seen in &self.seen {
            let seen = seen.lock().unwrap();
            // An operator that has not seen a deletion yet may create a Secret, which the garbage collector removes.
            let alive = |uid: &String, key: &Key| seen.deleted.get(uid).is_none_or(|gone| *gone > key.version);
            let alive = seen.second.iter().filter(|(uid, _, key)| alive(uid, key));
            violations.extend(alive.map(|(uid, before, key)| {
                let [before, key] = [before, key].map(|key| format!("Secret {} (version {})", key.secret, key.version));
                format!("a second private key of {uid}, in the {key}, after that in the {before}")
            }));
        }
        violations
    }

    /// The maximum of simultaneously accepted pairs in a namespace, and the number of events.
    pub fn figures(&self) -> (usize, usize) {
        let figures = self.seen.iter().map(|seen| seen.lock().unwrap()).map(|seen| (seen.most, seen.events));
        figures.fold((0, 0), |(most, events), (more, further)| (most.max(more), events + further))
    }

    /// The number of pairs that are accepted now, in all namespaces.
    pub fn accepted(&self) -> usize {
        self.seen.iter().map(|seen| seen.lock().unwrap().accepted.len()).sum()
    }
}

impl Seen {
    fn key_pair(&mut self, event: Event<DynamicObject>, quota: usize) -> Vec<String> {
        self.events += 1;
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.extend(object.uid());
                // An incomplete list shows no single moment: deleted pairs still count.
                self.note(&object, true)
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                for uid in self.known.difference(&listed) {
                    self.deleted.entry(uid.clone()).or_default();
                }
                self.accepted.retain(|uid, _| listed.contains(uid));
                self.moment(quota)
            }
            Event::Apply(object) => {
                let mut violations = self.note(&object, false);
                violations.extend(self.moment(quota));
                violations
            }
            Event::Delete(object) => {
                let uid = object.uid().unwrap();
                self.accepted.remove(&uid);
                self.deleted.insert(uid, version(object.resource_version()));
                Vec::new()
            }
        }
    }

    /// `is_listed`: changes may have been missed before this one.
    fn note(&mut self, object: &DynamicObject, is_listed: bool) -> Vec<String> {
        let uid = object.uid().unwrap();
        self.known.insert(uid.clone());
        let text = |field: &str| object.data["status"][field].as_str().unwrap_or_default().to_owned();
        let keys = object.data["status"]["keys"].as_array();
        let next = keys.into_iter().flatten().filter(|key| key["phase"] == "Next");
        self.published.extend(next.filter_map(|key| key["fingerprint"].as_str()).map(str::to_owned));
        let now = Accepted { name: text("keyPairName"), id: text("keyPairID"), fingerprint: text("fingerprint") };
        let mut violations = Vec::new();
        let is_rotated = |before: &Accepted| {
            let is_published = is_listed || self.published.contains(&now.fingerprint);
            is_published
                && !object.data["spec"]["rotation"].is_null()
                && (&before.name, &before.id) == (&now.name, &now.id)
        };
        if let Some(before) = self.ever.get(&uid)
            && *before != now
            && !is_rotated(before)
        {
            violations.push(format!("{}: keyPairID, name or fingerprint changed after acceptance", object.name_any()));
        }
        if !now.id.is_empty() {
            self.ever.insert(uid.clone(), now.clone());
            self.accepted.insert(uid, now);
        }
        violations
    }

    fn moment(&mut self, quota: usize) -> Vec<String> {
        let mut violations = Vec::new();
        self.most = self.most.max(self.accepted.len());
        if self.accepted.len() > quota {
            violations.push(format!("{} accepted at once, the quota is {quota}", self.accepted.len()));
        }
        let mut names = BTreeSet::new();
        for Accepted { name, .. } in self.accepted.values() {
            if !names.insert(name) {
                violations.push(format!("two accepted pairs of the name {name}"));
            }
        }
        violations
    }

    fn secret(&mut self, secret: &Secret, is_listed: bool) -> Vec<String> {
        let Some(uid) = secret.annotations().get(KEYPAIR_UID_ANNOTATION) else { return Vec::new() };
        let entry = |name: &str| secret.data.as_ref().and_then(|data| data.get(name));
        self.next.extend(entry("ssh-privatekey.next").map(|key| digest(&key.0)));
        let Some(key) = entry("ssh-privatekey") else {
            return vec![format!("the Secret {} has no private key", secret.name_any())];
        };
        let version = version(secret.resource_version());
        let now = Key { digest: digest(&key.0), secret: secret.name_any(), version };
        if let Some(before) = self.keys.insert(uid.clone(), now.clone())
            && before.digest != now.digest
            && !self.is_switch(secret, &now, is_listed)
        {
            self.second.push((uid.clone(), before, now));
        }
        Vec::new()
    }
}

impl Seen {
    /// Whether a rotation made this key the current one.
    fn is_switch(&self, secret: &Secret, now: &Key, is_listed: bool) -> bool {
        let has_revision = secret.annotations().contains_key(REVISION_ANNOTATION);
        has_revision && (is_listed || self.next.contains(&now.digest))
    }
}

/// Resource versions are comparable within a cluster.
fn version(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
