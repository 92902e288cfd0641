//! The operator: its real index, and a reconciler that only writes statuses.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use keypair_operator::{
    api::{ClaimRequest, KeyPair},
    cache::Index,
    domain::ledger::ClaimState,
};
use kube::runtime::{reflector::ObjectRef, watcher::Event};

use super::world::{Config, NAMESPACE, Pair, Shown, Status, Write};

/// An index that is compared by its whole content.
#[derive(Clone, Default)]
pub struct Seen {
    index: Index,
    /// The hash of the whole index.
    digest: u64,
}

impl Seen {
    fn note(&mut self) {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.index).hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Seen {}

impl Hash for Seen {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operator {
    seen: Seen,
    /// The `KeyPair`s that the watch has shown.
    pub store: Vec<Option<Pair>>,
    /// The list in progress.
    pub list: Option<Vec<Option<Pair>>>,
    /// The objects to reconcile.
    pub queue: BTreeSet<usize>,
    /// The writes whose response is pending, by object.
    pub writes: Vec<Option<Write>>,
    /// The abandoned writes that may still arrive.
    pub late: Vec<Write>,
    /// The versions that the operator's own writes have replaced.
    written: Vec<Option<(u8, u8)>>,
}

impl Operator {
    /// An operator that has just listed everything.
    pub fn start(namespace: Option<Config>, pairs: &[Option<Pair>]) -> Self {
        let count = pairs.len();
        let mut operator = Self {
            seen: Seen::default(),
            store: vec![None; count],
            list: None,
            queue: BTreeSet::new(),
            writes: vec![None; count],
            late: Vec::new(),
            written: vec![None; count],
        };
        operator.list_namespaces(namespace);
        operator.begin_list(pairs);
        operator.end_list();
        operator
    }

    fn index(&self) -> &Index {
        &self.seen.index
    }

    /// Handles the list of Namespaces.
    pub fn list_namespaces(&mut self, namespace: Option<Config>) {
        if let Some(config) = namespace {
            self.see_namespace(Some(config));
        }
        self.index().forget_regions_except(&namespace.iter().map(|_| NAMESPACE.to_owned()).collect());
        self.seen.note();
    }

    /// Handles an event of the Namespace watch.
    pub fn see_namespace(&mut self, event: Option<Config>) {
        if let Some(config) = event {
            let region = config.region();
            for write in self.writes.iter_mut().flatten().chain(&mut self.late) {
                write.limit = write.limit.max(region.limit());
            }
            let concerned = self.index().set_region(NAMESPACE, region, |name| self.request(name));
            self.trigger(concerned);
        } else {
            self.index().forget_region(NAMESPACE);
        }
        self.seen.note();
    }

    /// Handles an event of the `KeyPair` watch.
    pub fn see_pair(&mut self, pair: Pair, is_there: bool) {
        let shown = (*pair.shown()).clone();
        let event = if is_there { Event::Apply(shown) } else { Event::Delete(shown) };
        let concerned = self.index().apply(&event);
        self.store[pair.object] = Some(pair).filter(|_| is_there);
        self.trigger(concerned);
        if is_there {
            self.queue.insert(pair.object);
        } else {
            self.queue.remove(&pair.object);
            self.written[pair.object] = None;
        }
        self.seen.note();
    }

    pub fn begin_list(&mut self, pairs: &[Option<Pair>]) {
        self.index().apply(&Event::<Shown>::Init);
        for pair in pairs.iter().flatten() {
            self.index().apply(&Event::InitApply((*pair.shown()).clone()));
        }
        self.list = Some(pairs.to_vec());
        self.seen.note();
    }

    pub fn end_list(&mut self) {
        let Some(list) = self.list.take() else { return };
        self.index().apply(&Event::<Shown>::InitDone);
        self.store = list;
        self.index().reevaluate_outdated(|reference| self.request(&reference.name));
        self.queue = self.store.iter().flatten().map(|pair| pair.object).collect();
        self.seen.note();
    }

    /// Reconciles an object: decides, and starts to write a status.
    pub fn reconcile(&mut self, object: usize) {
        self.queue.remove(&object);
        let Some(pair) = self.store[object] else { return };
        if self.written[object] == Some((pair.uid, pair.version)) {
            return;
        }
        self.written[object] = None;
        let (uid, version) = (pair.uid_text(), pair.version.to_string());
        let known = self.index().with_ledger(NAMESPACE, |ledger| (ledger.claim_state(&uid), ledger.region().clone()));
        let Some((claim_state, region)) = known else { return };
        if pair.is_accepted() {
            return;
        }
        let is_valid = pair.shown().request.claim(&region).is_some();
        let status = match (is_valid, claim_state) {
            (true, ClaimState::Granted) if self.index().begin_acceptance(NAMESPACE, &uid, &version) => Status::Accepted,
            (true, ClaimState::Granted | ClaimState::Unknown) => return,
            _ => match pair.status {
                Status::Refused(times) if self.index().is_acceptance_pending(NAMESPACE, &uid, &version) => {
                    Status::Refused(times + 1)
                }
                Status::Refused(_) => return,
                _ => Status::Refused(0),
            },
        };
        self.writes[object] = Some(Write { pair, status, limit: region.limit() });
        self.seen.note();
    }

    /// Handles the response to a write.
    pub fn answered(&mut self, object: usize, is_done: bool) {
        let Some(write) = self.writes[object].take() else { return };
        if is_done {
            self.written[object] = Some((write.pair.uid, write.pair.version));
        } else if self.store[object].is_some_and(|pair| pair.uid == write.pair.uid) {
            self.queue.insert(object);
        }
    }

    /// Handles the timeout of a write.
    pub fn give_up(&mut self, object: usize) {
        let Some(write) = self.writes[object] else { return };
        self.answered(object, false);
        self.late.push(write);
    }

    pub fn claim_state(&self, pair: &Pair) -> Option<ClaimState> {
        self.index().with_ledger(NAMESPACE, |ledger| ledger.claim_state(&pair.uid_text()))
    }

    /// Whether the pair has a valid request in the namespace, as the operator knows it.
    pub fn is_valid(&self, pair: &Pair) -> bool {
        let region = self.index().region(NAMESPACE);
        region.is_some_and(|region| pair.shown().request.claim(&region).is_some())
    }

    pub fn is_acceptance_pending(&self, pair: &Pair) -> bool {
        self.index().is_acceptance_pending(NAMESPACE, &pair.uid_text(), &pair.version.to_string())
    }

    fn request(&self, name: &str) -> Option<ClaimRequest> {
        let pair = self.store.iter().flatten().find(|pair| Pair::object_name(pair.object) == name);
        pair.map(|pair| pair.shown().request.clone())
    }

    fn trigger(&mut self, concerned: Vec<ObjectRef<KeyPair>>) {
        let names: BTreeSet<String> = concerned.into_iter().map(|reference| reference.name).collect();
        self.queue.extend((0..self.store.len()).filter(|object| names.contains(&Pair::object_name(*object))));
    }
}
